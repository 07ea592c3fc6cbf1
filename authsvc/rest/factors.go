package rest

import (
	"encoding/json"
	"net/http"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// confirmBody is by what whoever signed in some time ago confirms that it is them.
type confirmBody struct {
	Password string `json:"password,omitempty"`
	Code     string `json:"code,omitempty"` // where they have a second factor
}

type codeBody struct {
	Code string `json:"code"`
}

// appView is an authenticator app that is being set up.
type appView struct {
	Secret string `json:"secret"` // to type in where the QR code cannot be scanned
	URL    string `json:"url"`
}

// codesView are recovery codes, shown once.
type codesView struct {
	Codes []string `json:"recovery_codes"`
}

type leftView struct {
	Left int `json:"left"`
}

// passkeyView is a passkey.
type passkeyView struct {
	ID       uint32     `json:"id"`
	Name     string     `json:"name"`
	Created  time.Time  `json:"created"`
	LastUsed *time.Time `json:"last_used"`
}

// passkeyBody is what the browser made, as JSON of the WebAuthn standard.
type passkeyBody struct {
	Name       string          `json:"name"`
	Credential json.RawMessage `json:"credential"`
}

var factorRoutes = []route{
	{method: http.MethodPost, path: "/api/v1/me/totp", access: begun, does: "Begin to set up an authenticator app", body: confirmBody{}, answer: appView{}, run: beginApp},
	{method: http.MethodGet, path: "/api/v1/me/totp/qr", access: begun, does: "The QR code of the app that is being set up, as PNG", answer: picture{}, run: func(c *call) (any, error) {
		_, _, qr, err := c.api.factors.PendingTOTP(c.ctx, c.actor)
		if err != nil {
			return nil, err
		}
		return picture(qr), nil
	}},
	{method: http.MethodPost, path: "/api/v1/me/totp/confirm", access: begun, does: "Set the app up with a code that it shows", body: codeBody{}, answer: codesView{}, run: confirmApp},
	{method: http.MethodDelete, path: "/api/v1/me/totp", perm: authsvc.PermOwnAccount, does: "Take your authenticator app away; 409 for the last second factor of somebody who must have one", body: confirmBody{}, run: confirmed(func(c *call) (any, error) {
		return nil, c.api.store.RemoveTOTP(c.ctx, c.actor)
	})},
	{method: http.MethodGet, path: "/api/v1/me/recovery-codes", perm: authsvc.PermOwnAccount, does: "How many recovery codes are left", answer: leftView{}, run: func(c *call) (any, error) {
		n, err := c.api.store.RecoveryCodesLeft(c.ctx, c.actor)
		return leftView{n}, err
	}},
	{method: http.MethodPost, path: "/api/v1/me/recovery-codes", perm: authsvc.PermOwnAccount, does: "Make new recovery codes, which are shown once and replace the old", body: confirmBody{}, answer: codesView{}, run: confirmed(func(c *call) (any, error) {
		codes, err := c.api.store.NewRecoveryCodes(c.ctx, c.actor)
		return codesView{codes}, err
	})},
	{method: http.MethodGet, path: "/api/v1/me/passkeys", perm: authsvc.PermOwnAccount, does: "Your passkeys", answer: list[passkeyView]{}, run: func(c *call) (any, error) {
		rows, err := c.api.store.Passkeys(c.ctx, c.actor.ID)
		if err != nil {
			return nil, err
		}
		return listOf(rows, func(p *authsvc.PasskeyRow) passkeyView {
			return passkeyView{p.ID, p.Name, p.Created, optional(p.LastUsed)}
		}, ""), nil
	}},
	{method: http.MethodPost, path: "/api/v1/me/passkeys/begin", access: begun, does: "Get what the browser needs to make a passkey", body: confirmBody{}, answer: json.RawMessage{}, run: beginPasskey},
	{method: http.MethodPost, path: "/api/v1/me/passkeys", access: begun, does: "Add the passkey that the browser made", body: passkeyBody{}, answer: codesView{}, status: http.StatusCreated, run: addPasskey},
	{method: http.MethodDelete, path: "/api/v1/me/passkeys/{passkey}", perm: authsvc.PermOwnAccount, does: "Take a passkey away; 409 for the last second factor of somebody who must have one", body: confirmBody{}, run: confirmed(func(c *call) (any, error) {
		id, err := c.id("passkey")
		if err != nil {
			return nil, err
		}
		return nil, c.api.store.RemovePasskey(c.ctx, c.actor, id)
	})},
}

// confirmed makes a route of an act that a session left open is not enough for.
func confirmed(act func(*call) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		var b confirmBody
		if err := c.body(&b); err != nil {
			return nil, err
		}
		if err := c.recent(b); err != nil {
			return nil, err
		}
		return act(c)
	}
}

// mayBegin asks whether the actor may set up a second factor now: it is what is missing of their sign-in, or they confirm who they are.
func (c *call) mayBegin() error {
	var b confirmBody
	if err := c.body(&b); err != nil {
		return err
	}
	if c.actor.Stage == authsvc.StageSetUpFactor {
		return nil
	}
	if err := c.actor.Require(authsvc.PermOwnAccount, 0); err != nil {
		return err
	}
	return c.recent(b)
}

func beginApp(c *call) (any, error) {
	if err := c.mayBegin(); err != nil {
		return nil, err
	}
	secret, address, _, err := c.api.factors.BeginTOTP(c.ctx, c.actor)
	if err != nil {
		return nil, err
	}
	return appView{secret, address}, nil
}

func confirmApp(c *call) (any, error) {
	var b codeBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	codes, err := c.api.factors.ConfirmTOTP(c.ctx, c.actor, b.Code)
	if err != nil {
		return nil, err
	}
	return codesView{codes}, c.factorSetUp(websession.MethodTOTP)
}

// factorSetUp raises what the session may do: the person has just shown the new factor.
func (c *call) factorSetUp(method string) error {
	if c.session == nil {
		return nil
	}
	if err := c.api.signin.FactorSetUp(c.ctx, of(c.session), method); err != nil {
		return err
	}
	c.api.sessions.SetCookie(c.w, c.session)
	return nil
}

// passkeyTime is how long a browser may take to make a passkey.
const passkeyTime = 5 * time.Minute

func beginPasskey(c *call) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	if err := c.mayBegin(); err != nil {
		return nil, err
	}
	options, state, err := c.api.factors.BeginPasskey(c.ctx, c.actor)
	if err != nil {
		return nil, err
	}
	own.Challenge, own.ChallengeUntil = state, time.Now().Add(passkeyTime).UnixMilli()
	return options, c.api.sessions.Save(c.r, c.w, c.session)
}

func addPasskey(c *call) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	var b passkeyBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	state := own.Challenge
	if time.Now().UnixMilli() >= own.ChallengeUntil || c.actor.Stage < authsvc.StageSetUpFactor {
		return nil, event.FieldError("credential", "came too late: begin anew")
	}
	// A challenge is answered once, right or wrong.
	own.Challenge, own.ChallengeUntil = nil, 0
	if err := c.api.sessions.Save(c.r, c.w, c.session); err != nil {
		return nil, err
	}
	codes, err := c.api.factors.FinishPasskey(c.ctx, c.actor, b.Name, state, b.Credential)
	if err != nil {
		return nil, err
	}
	return codesView{codes}, c.factorSetUp(websession.MethodPasskey)
}
