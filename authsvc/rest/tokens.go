package rest

import (
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"gatehouse/authsvc"
	"gatehouse/authsvc/signin"
)

// tokenBody is a program that signs in for a person.
type tokenBody struct {
	Login    string   `json:"login"`
	Password string   `json:"password"`
	Code     string   `json:"code,omitempty"`   // the second factor, where the person has one
	Scopes   []string `json:"scopes,omitempty"` // what the tokens are limited to; none: all that the person may do
}

type refreshBody struct {
	Refresh string `json:"refresh_token"`
}

// pairView has the names of RFC 6749, 5.1.
type pairView struct {
	Access    string `json:"access_token"`
	TokenType string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"` // seconds
	Refresh   string `json:"refresh_token"`
	Scope     string `json:"scope"`
}

// personalView is a personal access token; the token itself is in it once.
type personalView struct {
	ID       uint32     `json:"id"`
	Name     string     `json:"name"`
	Prefix   string     `json:"prefix"`
	Scopes   []string   `json:"scopes"`
	Created  time.Time  `json:"created"`
	Expires  time.Time  `json:"expires"`
	LastUsed *time.Time `json:"last_used"`
	Address  string     `json:"last_used_address,omitempty"`
	Token    string     `json:"token,omitempty"`
}

func viewPersonal(t *authsvc.PersonalToken) personalView {
	return personalView{t.ID, t.Name, t.Prefix, t.Scopes.Names(), t.Created, t.Expires, optional(t.LastUsed), t.Address, ""}
}

// personalBody is a personal token to be made.
type personalBody struct {
	Name     string    `json:"name"`
	Scopes   []string  `json:"scopes"`
	Expires  time.Time `json:"expires"`
	Password string    `json:"password,omitempty"` // where you signed in some time ago
	Code     string    `json:"code,omitempty"`     // the same, where you have a second factor
}

var tokenRoutes = []route{
	{method: http.MethodPost, path: "/api/v1/auth/token", access: apart, does: "Sign a program in for a person", body: tokenBody{}, answer: pairView{}, run: issueTokens},
	{method: http.MethodPost, path: "/api/v1/auth/refresh", access: apart, does: "Exchange a refresh token for a new pair; each is good once", body: refreshBody{}, answer: pairView{}, run: func(c *call) (any, error) {
		var b refreshBody
		if err := c.body(&b); err != nil {
			return nil, err
		}
		return c.pair(c.api.tokens.Refresh(c.ctx, b.Refresh, c.client()))
	}},
	{method: http.MethodGet, path: "/api/v1/me/programs", perm: authsvc.PermOwnAccount, does: "Programs that are signed in for you", answer: list[authsvc.FamilyInfo]{}, params: pageParams, run: func(c *call) (any, error) {
		rows, err := c.api.store.Families(c.ctx, c.actor)
		if err != nil {
			return nil, err
		}
		return counted(c, "programs", rows, itself)
	}},
	{method: http.MethodDelete, path: "/api/v1/me/programs/{program}", perm: authsvc.PermOwnAccount, does: "Sign a program out", run: func(c *call) (any, error) {
		return nil, c.api.store.EndFamily(c.ctx, c.actor, mux.Vars(c.r)["program"])
	}},
	{method: http.MethodGet, path: "/api/v1/me/tokens", perm: authsvc.PermOwnAccount, does: "Your personal access tokens", answer: list[personalView]{}, params: pageParams, run: func(c *call) (any, error) {
		rows, err := c.api.store.PersonalTokens(c.ctx, c.actor)
		if err != nil {
			return nil, err
		}
		return counted(c, "tokens", rows, viewPersonal)
	}},
	{method: http.MethodPost, path: "/api/v1/me/tokens", perm: authsvc.PermOwnAccount, does: "Make a personal access token, which is shown once", body: personalBody{}, answer: personalView{}, status: http.StatusCreated, run: makeToken},
	{method: http.MethodDelete, path: "/api/v1/me/tokens/{token}", perm: authsvc.PermOwnAccount, does: "Revoke a personal access token", run: func(c *call) (any, error) {
		id, err := c.id("token")
		if err != nil {
			return nil, err
		}
		return nil, c.api.store.RevokePersonalToken(c.ctx, c.actor, id)
	}},
}

func (c *call) pair(p signin.TokenPair, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	limitHeaders(c.w, p.Limit)
	return pairView{
		Access: p.Access, TokenType: "Bearer", ExpiresIn: int(time.Until(p.Expires).Seconds()), Refresh: p.Refresh, Scope: strings.Join(p.Scopes.Names(), " "),
	}, nil
}

func issueTokens(c *call) (any, error) {
	var b tokenBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	req := signin.TokenRequest{Request: signin.Request{Login: b.Login, Password: b.Password, Client: c.client()}, Code: b.Code}
	if len(b.Scopes) > 0 {
		var err error
		if req.Scopes, err = authsvc.ParseScopes(strings.Join(b.Scopes, ",")); err != nil {
			return nil, err
		}
	}
	return c.pair(c.api.tokens.Issue(c.ctx, req))
}

func makeToken(c *call) (any, error) {
	var b personalBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	scopes, err := authsvc.ParseScopes(strings.Join(b.Scopes, ","))
	if err != nil {
		return nil, err
	}
	if err := c.recent(confirmBody{b.Password, b.Code}); err != nil {
		return nil, err
	}
	t, secret, err := c.api.store.CreatePersonalToken(c.ctx, c.actor, authsvc.NewPersonalToken{Name: b.Name, Scopes: scopes, Expires: b.Expires})
	if err != nil {
		return nil, err
	}
	view := viewPersonal(&t)
	view.Token = secret
	return view, nil
}

// recent refuses what a session left open must not be enough for, unless the person signed in a short while ago or confirms now that it is them.
func (c *call) recent(by confirmBody) error {
	if c.session != nil && of(c.session).Recent(time.Now()) {
		return nil
	}
	return c.api.signin.Confirm(c.ctx, c.actor, by.Password, by.Code)
}
