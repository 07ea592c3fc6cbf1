package rest

import (
	"net/http"
	"time"

	"gatehouse/authsvc"
)

// identityView is an identity of a provider that is linked with an account.
type identityView struct {
	ID      uint32    `json:"id"`
	Issuer  string    `json:"issuer"`
	Subject string    `json:"subject"`
	Linked  time.Time `json:"linked"`
}

func viewIdentity(l *authsvc.LinkedIdentity) identityView {
	return identityView{l.ID, l.Issuer, l.Subject, l.Linked}
}

// linkView is where a browser goes on to link an identity.
type linkView struct {
	Address string `json:"address"` // at the provider
}

// linked is where the browser comes back to after it has linked an identity.
const linked = "/account?done=linked#identities"

var identityRoutes = []route{
	{method: http.MethodGet, path: "/api/v1/me/identities", perm: authsvc.PermOwnAccount, does: "The identities of the provider by which you sign in", answer: list[identityView]{}, run: func(c *call) (any, error) {
		return c.identities(c.actor.ID)
	}},
	{method: http.MethodPost, path: "/api/v1/me/identities", perm: authsvc.PermOwnAccount, optional: true, does: "Begin to link an identity: the address at the provider to which your browser goes on. Your password, second factors and tokens end with it", body: confirmBody{}, answer: linkView{}, run: confirmed(func(c *call) (any, error) {
		address, err := c.beginLink(linked)
		return linkView{address}, err
	})},
	{method: http.MethodDelete, path: "/api/v1/me/identities/{identity}", perm: authsvc.PermOwnAccount, does: "Unlink an identity; your other sessions end", body: confirmBody{}, run: func(c *call) (any, error) {
		return nil, c.unlink(c.actor.ID)
	}},
	{method: http.MethodGet, path: "/api/v1/users/{user}/identities", does: "The identities of the provider by which a person signs in", answer: list[identityView]{}, run: func(c *call) (any, error) {
		id, err := c.id("user")
		if err != nil {
			return nil, err
		}
		return c.identities(id)
	}},
	{method: http.MethodDelete, path: "/api/v1/users/{user}/identities/{identity}", does: "Unlink an identity of a person: their sessions and tokens end", body: confirmBody{}, run: func(c *call) (any, error) {
		id, err := c.id("user")
		if err != nil {
			return nil, err
		}
		return nil, c.unlink(id)
	}},
}

func (c *call) identities(userID uint32) (any, error) {
	rows, err := c.api.store.Identities(c.ctx, c.actor, userID)
	if err != nil {
		return nil, err
	}
	return listOf(rows, viewIdentity, ""), nil
}

// unlink takes an identity away. One's own needs more than a session left open.
func (c *call) unlink(userID uint32) error {
	var b confirmBody
	if err := c.body(&b); err != nil {
		return err
	}
	identity, err := c.id("identity")
	if err != nil {
		return err
	}
	if c.isSelf(userID) {
		if err := c.recent(b); err != nil {
			return err
		}
	}
	return c.unlinkIdentity(userID, identity)
}

func (c *call) unlinkIdentity(userID, identity uint32) error {
	if c.session == nil {
		return c.api.signin.UnlinkIdentity(c.ctx, c.actor, nil, userID, identity)
	}
	err := c.api.signin.UnlinkIdentity(c.ctx, c.actor, of(c.session), userID, identity)
	if err == nil {
		c.api.sessions.SetCookie(c.w, c.session)
	}
	return err
}
