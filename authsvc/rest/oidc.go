package rest

import (
	"net/http"

	"gatehouse/authsvc/limit"
	"gatehouse/internal/edge"
)

// providerBack is where the identity provider sends people back to. It is registered there.
const providerBack = "/api/v1/auth/oidc/callback"

// redirect is an answer that sends the browser on, with 302.
type redirect string

// anyParam stands for parameters of any name: what the provider's answer holds besides the standard's is the provider's to choose.
const anyParam = "*"

// Both change a session, by GET as the standard has it. Another site gains nothing by them: the answer must fit what the same browser began.
var providerRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/auth/oidc", access: anyone, does: "Sign in with the identity provider: sends the browser there", answer: redirect(""), status: http.StatusFound,
		params: []param{
			{"next", "string", "The path of this server to go to afterwards."},
			{"anew", "boolean", "The provider has to ask for proof again, also of somebody who is signed in there: for who confirms that it is them."},
		},
		run: beginProvider,
	},
	{
		method: http.MethodGet, path: providerBack, access: anyone, does: "Where the identity provider sends the browser back to", answer: redirect(""), status: http.StatusFound,
		params: []param{
			{"state", "string", "As it was sent to the provider."},
			{"code", "string", "The authorization code."},
			{"iss", "string", "The provider's name of itself (RFC 9207)."},
			{"error", "string", "Why the provider did not sign the person in."},
			{anyParam, several, "Whatever else the provider sends, which is not looked at."},
		},
		run: finishProvider,
	},
}

func beginProvider(c *call) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	if err := c.limitProvider(); err != nil {
		return nil, err
	}
	anew, err := c.flag("anew", false)
	if err != nil {
		return nil, err
	}
	address, err := c.api.signin.BeginProvider(c.ctx, own, c.providerBack(), LocalPath(c.text("next")), anew)
	if err != nil {
		return nil, err
	}
	c.api.sessions.SetCookie(c.w, c.session)
	return redirect(address), nil
}

// limitProvider bounds how often one address may begin what makes a session and asks a provider.
func (c *call) limitProvider() error {
	if !c.api.signin.HasProvider() {
		return nil
	}
	_, err := c.api.guard.Check(c.ctx, "provider", limit.Network(addressOf(c.r)), c.api.guests)
	return err
}

// providerBack is the address to which the provider sends this browser back.
func (c *call) providerBack() string {
	if c.api.callback != "" {
		return c.api.callback
	}
	return edge.FromContext(c.ctx).BaseURL() + providerBack
}

// beginLink gives the address at which the provider tells whom to link with the account of the session.
func (c *call) beginLink(next string) (string, error) {
	own, err := c.own()
	if err != nil {
		return "", err
	}
	if err := c.limitProvider(); err != nil {
		return "", err
	}
	address, err := c.api.signin.BeginLink(c.ctx, c.actor, own, c.providerBack(), next)
	if err == nil {
		c.api.sessions.SetCookie(c.w, c.session)
	}
	return address, err
}

func finishProvider(c *call) (any, error) {
	own, err := c.own()
	if err != nil {
		return nil, err
	}
	result, next, err := c.api.signin.FinishProvider(c.ctx, c.actor, own, c.query, c.client())
	if err != nil {
		return nil, err
	}
	if _, err := c.signedIn(result); err != nil {
		return nil, err
	}
	// next is a path of ours, before which a proxy may have another.
	return redirect(edge.FromContext(c.ctx).Prefix + LocalPath(next)), nil
}
