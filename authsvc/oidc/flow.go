package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// flow is what is kept in the browser's session on the server while the person is at the provider.
type flow struct {
	State    string `json:"state"`    // comes back with the answer: the same browser began
	Nonce    string `json:"nonce"`    // stands in the ID token: it was made for this sign-in
	Verifier string `json:"verifier"` // of PKCE: whoever sees the code alone has nothing
	Redirect string `json:"redirect"`
	Anew     int64  `json:"anew,omitempty"` // Unix seconds: the person had to prove who they are after this; 0: whenever they did
}

// skew is how far the provider's clock may be behind ours.
const skew = time.Minute

// Begin gives the address at which a person signs in at the provider, who sends them back to redirect, and what the session keeps until then. anew: the
// provider has to ask for proof again, also of somebody who is signed in there. A provider that is away is CodeUnavailable.
func (c *Client) Begin(ctx context.Context, redirect string, anew bool) (address string, kept []byte, err error) {
	p, err := c.provider(ctx)
	if err != nil {
		return "", nil, err
	}
	// Each has 256 random bits.
	f := flow{State: oauth2.GenerateVerifier(), Nonce: oauth2.GenerateVerifier(), Verifier: oauth2.GenerateVerifier(), Redirect: redirect}
	options := []oauth2.AuthCodeOption{oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)}
	if anew {
		f.Anew = c.Now().Unix()
		// max_age too: it obliges the provider to tell when it asked (OpenID Connect Core, 3.1.2.1), and prompt alone is easily taken out of the address.
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	if kept, err = json.Marshal(f); err != nil {
		return "", nil, event.Wrap(event.CodeInternal, err, "begin a sign-in with the identity provider")
	}
	oauth := p.oauth
	oauth.RedirectURL = redirect
	return oauth.AuthCodeURL(f.State, options...), kept, nil
}

// bad is the answer to an answer that does not hold; the cause is for the log and the audit trail.
func bad(cause error) error {
	return event.Wrap(event.CodeUnauthorized, cause, "the sign-in with the identity provider did not work out: begin anew")
}

// Finish reads the provider's answer to what Begin asked: who the person is. kept is what Begin gave; it must be used for one answer alone. An
// answer that does not hold is CodeUnauthorized, a provider that does not answer CodeUnavailable.
func (c *Client) Finish(ctx context.Context, kept []byte, answer url.Values) (authsvc.Identity, error) {
	var f flow
	if err := json.Unmarshal(kept, &f); err != nil || f.State == "" {
		return authsvc.Identity{}, bad(errors.New("no sign-in was begun"))
	}
	p, err := c.provider(ctx)
	if err != nil {
		return authsvc.Identity{}, err
	}
	code, err := c.code(p, &f, answer)
	if err != nil {
		return authsvc.Identity{}, bad(err)
	}
	ctx = oidc.ClientContext(ctx, c.http)
	oauth := p.oauth
	oauth.RedirectURL = f.Redirect
	token, err := oauth.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < http.StatusInternalServerError {
			return authsvc.Identity{}, bad(fmt.Errorf("the provider did not take the code: %s", plain(refused.ErrorCode)))
		}
		return authsvc.Identity{}, unavailable(err)
	}
	said, err := c.verify(ctx, p, &f, token)
	if err != nil {
		return authsvc.Identity{}, bad(err)
	}
	id, err := c.identity(ctx, p, token, said)
	if err == nil && f.Anew != 0 && id.SignedIn.Before(time.Unix(f.Anew, 0).Add(-skew)) {
		return authsvc.Identity{}, bad(errors.New("the provider was to ask for proof again, and does not say that it did (auth_time)"))
	}
	return id, err
}

// code takes the code out of an answer that belongs to f.
func (c *Client) code(p *provider, f *flow, answer url.Values) (string, error) {
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(answer[name]) > 1 {
			return "", fmt.Errorf("the answer has %s twice", name)
		}
	}
	if subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(f.State)) != 1 {
		return "", errors.New("the state is not that of this browser")
	}
	// Without it, a code could be one of another provider, sent here to be given away to this one.
	if iss := answer.Get("iss"); iss != "" && iss != c.Issuer || iss == "" && p.namesIss {
		return "", fmt.Errorf("the answer is one of another issuer: %s", plain(iss))
	}
	if refused := answer.Get("error"); refused != "" {
		return "", fmt.Errorf("the provider did not sign the person in: %s", plain(refused))
	}
	code := answer.Get("code")
	if code == "" {
		return "", errors.New("the answer has no code")
	}
	return code, nil
}

// plain is a short text from elsewhere as it may stand in a log.
func plain(text string) string {
	const most = 100
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), most)]
}

// verify checks the ID token (OpenID Connect Core, 3.1.3.7). The library looks at the signature, by an asymmetric algorithm and a key of the provider's, at
// issuer, audience and times; the rest is ours.
func (c *Client) verify(ctx context.Context, p *provider, f *flow, token *oauth2.Token) (*oidc.IDToken, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, errors.New("the provider sent no ID token: openid must be among the scopes")
	}
	said, err := p.VerifierContext(oidc.ClientContext(ctx, c.http), &oidc.Config{ClientID: c.ClientID, Now: c.Now}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(said.Nonce), []byte(f.Nonce)) != 1 {
		return nil, errors.New("the ID token is not of this sign-in: its nonce is another")
	}
	if said.Subject == "" {
		return nil, errors.New("the ID token names nobody")
	}
	var more struct {
		Party string `json:"azp"`
	}
	if err := said.Claims(&more); err != nil {
		return nil, err
	}
	if more.Party != "" && more.Party != c.ClientID || more.Party == "" && len(said.Audience) > 1 {
		return nil, fmt.Errorf("the ID token was made for %s", plain(more.Party))
	}
	if said.AccessTokenHash != "" {
		if err := said.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, err
		}
	}
	return said, nil
}
