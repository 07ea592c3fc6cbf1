package rest

import (
	"encoding/json"
	"net/http"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/token"
	"gatehouse/event"
	"gatehouse/internal/edge"
)

// deviceCookie makes a browser known to the people who signed in with it, so that their tries are counted apart from everybody else's.
const deviceCookie = "gatehouse_device"

// signInBody is a name with its password.
type signInBody struct {
	Login    string `json:"login"` // username or e-mail
	Password string `json:"password"`
}

// proofBody is a second factor: a code, or what a passkey signed.
type proofBody struct {
	Code      string          `json:"code,omitempty"`
	Assertion json.RawMessage `json:"assertion,omitempty"`
}

// stageView tells a client how far a sign-in has come, and what is next.
type stageView struct {
	UserID   uint32 `json:"user_id"`
	Username string `json:"username"`
	Next     string `json:"next"` // second_factor, change_password, set_up_factor, or done
	CSRF     string `json:"csrf_token,omitempty"`
}

// stageNames are how the API calls the stages.
var stageNames = map[authsvc.Stage]string{
	authsvc.StageNobody: "sign_in", authsvc.StageSecondFactor: "second_factor", authsvc.StageChangePassword: "change_password",
	authsvc.StageSetUpFactor: "set_up_factor", authsvc.StageDone: "done",
}

// registerBody is somebody who asks for an account.
type registerBody struct {
	Username    string `json:"username"`
	Email       string `json:"email"`
	DisplayName string `json:"display_name,omitempty"`
	Password    string `json:"password"`
}

// everywhereBody says what ends besides sessions and programs. Whoever ends their own with it, and signed in some time ago, confirms it with Password
// and Code.
type everywhereBody struct {
	Tokens   bool   `json:"tokens,omitempty"` // personal access tokens too
	Password string `json:"password,omitempty"`
	Code     string `json:"code,omitempty"`
}

// messageView is a plain sentence.
type messageView struct {
	Message string `json:"message"`
}

var signInRoutes = []route{
	{method: http.MethodGet, path: "/api/v1/auth/csrf", access: anyone, does: "Begin a session, and get the token that requests by cookie need in X-CSRF-Token", answer: stageView{}, run: startSession},
	{method: http.MethodPost, path: "/api/v1/auth/sign-in", access: anyone, does: "Sign in with a password", body: signInBody{}, answer: stageView{}, run: signIn},
	{method: http.MethodPost, path: "/api/v1/auth/passkey", access: begun, does: "Get what a passkey is to sign", answer: json.RawMessage{}, run: func(c *call) (any, error) {
		own, err := c.own()
		if err != nil {
			return nil, err
		}
		return c.api.signin.Challenge(c.ctx, own)
	}},
	{method: http.MethodPost, path: "/api/v1/auth/second-factor", access: begun, does: "Give the second factor", body: proofBody{}, answer: stageView{}, run: giveFactor},
	{method: http.MethodPost, path: "/api/v1/auth/sign-out", access: begun, does: "Sign out: a browser, or the program whose access token is sent", run: signOut},
	{
		method: http.MethodPost, path: "/api/v1/auth/sign-out-everywhere", access: member, perm: authsvc.PermOwnAccount, body: everywhereBody{},
		does: "End all of your sessions but this one, sign out your programs and, with tokens, revoke your personal access tokens", run: signOutEverywhere,
	},
	{method: http.MethodPost, path: "/api/v1/auth/register", access: apart, does: "Ask for an account, where that is allowed", body: registerBody{}, answer: messageView{}, status: http.StatusAccepted, run: register},
}

// startSession gives a browser a session, so that its next request can prove that it comes from a page of ours.
func startSession(c *call) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	if !own.Stored() {
		if _, err := c.api.guard.Check(c.ctx, "guests", limit.Network(addressOf(c.r)), c.api.guests); err != nil {
			return nil, err
		}
		if err := c.api.sessions.Save(c.r, c.w, c.session); err != nil {
			return nil, err
		}
	}
	return stageView{UserID: c.actor.ID, Username: c.actor.Name, Next: stageNames[c.actor.Stage], CSRF: csrfToken(own)}, nil
}

// client is where a request comes from, as the sign-in counts it.
func (c *call) client() signin.Client {
	device := ""
	if cookie, err := c.r.Cookie(hostOnly(deviceCookie, c.api.sessions.cookies.Secure(c.r))); err == nil {
		device = cookie.Value
	}
	return signin.Client{Address: addressOf(c.r), Agent: agentOf(c.r), RequestID: edge.RequestID(c.r), Device: device}
}

// signedIn gives the browser its new id, and answers how far it has come.
func (c *call) signedIn(result signin.Result) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	c.api.sessions.SetCookie(c.w, c.session)
	if result.Device != "" {
		o := c.session.Options
		http.SetCookie(c.w, &http.Cookie{ //nolint:gosec // Secure is that of the session: set for every request by HTTPS
			Name: hostOnly(deviceCookie, o.Secure), Value: result.Device, Path: "/", MaxAge: int(signin.DeviceLifetime / time.Second),
			HttpOnly: true, Secure: o.Secure, SameSite: http.SameSiteStrictMode,
		})
	}
	limitHeaders(c.w, result.Limit)
	return stageView{UserID: result.UserID, Username: result.Username, Next: stageNames[result.Stage], CSRF: csrfToken(own)}, nil
}

func signIn(c *call) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	var b signInBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	result, err := c.api.signin.SignIn(c.ctx, own, signin.Request{Login: b.Login, Password: b.Password, Client: c.client()})
	if err != nil {
		return nil, err
	}
	return c.signedIn(result)
}

func giveFactor(c *call) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	var b proofBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	result, err := c.api.signin.SecondFactor(c.ctx, own, signin.Proof{Code: b.Code, Assertion: b.Assertion}, c.client())
	if err != nil {
		return nil, err
	}
	return c.signedIn(result)
}

func signOut(c *call) (any, error) {
	if c.session == nil {
		return nil, c.endTokens()
	}
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	if err := c.api.signin.SignOut(c.ctx, c.actor, own); err != nil {
		return nil, err
	}
	c.session.Options.MaxAge = -1
	return nil, c.api.sessions.Save(c.r, c.w, c.session)
}

func signOutEverywhere(c *call) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	var b everywhereBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	if err := c.recent(confirmBody{b.Password, b.Code}); err != nil {
		return nil, err
	}
	if err := c.api.signin.SignOutEverywhere(c.ctx, c.actor, own, b.Tokens); err != nil {
		return nil, err
	}
	c.api.sessions.SetCookie(c.w, c.session)
	return nil, nil
}

// endTokens ends the sign-in of the program that asks.
func (c *call) endTokens() error {
	credential, _ := bearer(c.r)
	if !token.LooksLikeAccess(credential) {
		return event.Errorf(event.CodeForbidden, "this is for people and for programs that signed in with a password; keys and personal tokens are revoked instead")
	}
	// A token that is limited to reading may still give itself up.
	whole := *c.actor
	whole.Scopes = authsvc.AllScopes
	return c.api.tokens.End(c.ctx, &whole, credential)
}

func register(c *call) (any, error) {
	var b registerBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	limited, err := c.api.guard.Check(c.ctx, "register", limit.Network(addressOf(c.r)), c.api.register)
	if err != nil {
		return nil, err
	}
	limitHeaders(c.w, limited)
	err = c.api.store.RegisterUser(c.ctx, c.actor, authsvc.Registration{Username: b.Username, Email: b.Email, DisplayName: b.DisplayName, Password: b.Password})
	if err != nil {
		return nil, err
	}
	return messageView{"Thank you. If the account can be made, an administrator will look at it; you can sign in once it is approved."}, nil
}
