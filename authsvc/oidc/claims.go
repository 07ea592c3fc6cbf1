package oidc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/authsvc"
)

// Bounds of what is taken of a claim; a token of an ordinary person is far below. What is beyond does not count.
const (
	maxValues = 1000
	maxValue  = 400 // bytes
)

// claims are what a provider says of a person, by name.
type claims map[string]any

// identity puts together what the ID token and, where that leaves something out, the provider's userinfo say.
func (c *Client) identity(ctx context.Context, p *provider, token *oauth2.Token, said *oidc.IDToken) (authsvc.Identity, error) {
	all := claims{}
	if err := said.Claims(&all); err != nil {
		return authsvc.Identity{}, bad(err)
	}
	// Of the ID token alone: userinfo is not about this sign-in.
	signedIn, factor := all.moment("auth_time", c.Now()), c.TrustFactors || all.tells(c.FactorValues)
	if p.UserInfoEndpoint() != "" && !c.complete(all) {
		more, err := p.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			// Without it, roles would look as if they had been taken away.
			return authsvc.Identity{}, unavailable(err)
		}
		if more.Subject != said.Subject {
			return authsvc.Identity{}, bad(errors.New("the provider's userinfo is about somebody else"))
		}
		told := claims{}
		if err := more.Claims(&told); err != nil {
			return authsvc.Identity{}, bad(err)
		}
		all = merge(told, all)
	}
	id := authsvc.Identity{
		Issuer: c.Issuer, Subject: said.Subject, SignedIn: signedIn, SecondFactor: factor, Username: all.text("preferred_username"), DisplayName: all.text("name"),
		Email: all.text("email"), EmailVerified: all.truth("email_verified"), Values: all.values(c.RoleClaim), Companies: all.values(c.CompanyClaim),
	}
	for _, name := range []string{c.RoleClaim, c.CompanyClaim} {
		if all.elsewhere(name) {
			return authsvc.Identity{}, bad(fmt.Errorf("the provider did not send the claim %s but a reference to it, as some do for people in very many groups: have it send those alone that are mapped", plain(name)))
		}
	}
	return id, nil
}

// complete tells whether nothing that matters is missing.
func (c *Client) complete(all claims) bool {
	for _, name := range []string{"email", "email_verified", "preferred_username", c.RoleClaim, c.CompanyClaim} {
		if name == "" {
			continue
		}
		if _, ok := all.find(name); !ok {
			return false
		}
	}
	return true
}

// merge takes what the ID token says before what userinfo says. Whether an e-mail is verified is said of that e-mail alone.
func merge(userinfo, idToken claims) claims {
	all := maps.Clone(userinfo)
	if email := idToken.text("email"); email != "" && email != userinfo.text("email") {
		delete(all, "email_verified")
	}
	maps.Copy(all, idToken)
	return all
}

// find looks a claim up by its name, or by a path such as realm_access.roles.
func (c claims) find(name string) (any, bool) {
	if v, ok := c[name]; ok {
		return v, true
	}
	first, rest, nested := strings.Cut(name, ".")
	if !nested {
		return nil, false
	}
	inner, ok := c[first].(map[string]any)
	if !ok {
		return nil, false
	}
	return claims(inner).find(rest)
}

func (c claims) text(name string) string {
	text, _ := c[name].(string)
	return text
}

// truth reads true, which some providers write as a text.
func (c claims) truth(name string) bool {
	return c[name] == true || c[name] == "true"
}

// moment reads a time in Unix seconds, zero where there is none. One that is yet to come is now: a clock that is ahead makes nobody's proof newer.
func (c claims) moment(name string, now time.Time) time.Time {
	seconds, ok := c[name].(float64)
	if !ok || seconds <= 0 {
		return time.Time{}
	}
	if seconds >= float64(now.Unix()) {
		return now
	}
	return time.Unix(int64(seconds), 0)
}

// tells tells whether the provider names one of the values as how the person proved who they are (RFC 8176) or how good the proof was.
func (c claims) tells(values []string) bool {
	how := append(c.values("amr"), c.text("acr"))
	return slices.ContainsFunc(values, func(v string) bool { return v != "" && slices.Contains(how, v) })
}

// values are those of a claim that is a text or a list of texts.
func (c claims) values(name string) []string {
	if name == "" {
		return nil
	}
	v, _ := c.find(name)
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for _, one := range list {
		if text, ok := one.(string); ok && text != "" && len(text) <= maxValue && len(out) < maxValues {
			out = append(out, text)
		}
	}
	return out
}

// elsewhere tells whether the provider sent a reference in place of a claim (OpenID Connect Core, 5.6.2).
func (c claims) elsewhere(name string) bool {
	if name == "" {
		return false
	}
	if _, here := c.find(name); here {
		return false
	}
	names, _ := c["_claim_names"].(map[string]any)
	_, ok := names[name]
	return ok
}
