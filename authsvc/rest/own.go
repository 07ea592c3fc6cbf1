package rest

import (
	"net/http"
	"slices"

	"github.com/gorilla/mux"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// meView is who is asking, and what they may do.
type meView struct {
	Kind        authsvc.ActorKind           `json:"kind"`
	ID          uint32                      `json:"id"`
	Name        string                      `json:"name"`
	Next        string                      `json:"next"` // what is missing of the sign-in, or done
	Role        authsvc.Role                `json:"role,omitempty"`
	Scopes      []string                    `json:"scopes"`
	Companies   map[uint32]authsvc.Role     `json:"companies"`            // role by company
	Permissions map[authsvc.Permission]bool `json:"permissions"`          // those held somewhere; true: everywhere
	CSRF        string                      `json:"csrf_token,omitempty"` // for requests by cookie
}

type ownPasswordBody struct {
	Old string `json:"old_password"`
	New string `json:"password"`
}

var ownRoutes = []route{
	{method: http.MethodGet, path: "/api/v1/me", access: anyone, does: "Who is asking, and what they may do: of permissions, those held somewhere, true where they hold everywhere and false where in some companies only", answer: meView{}, run: me},
	{method: http.MethodPost, path: "/api/v1/me/password", access: begun, does: "Change your password; your other sessions, your programs and your personal access tokens end", body: ownPasswordBody{}, run: ownPassword},
	{method: http.MethodGet, path: "/api/v1/me/sessions", perm: authsvc.PermOwnAccount, does: "Your sessions", answer: list[websession.Info]{}, params: pageParams, run: func(c *call) (any, error) {
		page, err := c.page()
		if err != nil {
			return nil, err
		}
		rows, next, err := c.api.signin.Sessions().List(c.ctx, c.actor.ID, page)
		if err != nil {
			return nil, err
		}
		return listOf(rows, itself, next), nil
	}},
	{method: http.MethodDelete, path: "/api/v1/me/sessions/{session}", perm: authsvc.PermOwnAccount, does: "End one of your sessions", body: confirmBody{}, run: confirmed(func(c *call) (any, error) {
		return nil, c.api.signin.EndSession(c.ctx, c.actor, mux.Vars(c.r)["session"])
	})},
}

func me(c *call) (any, error) {
	if c.actor.Stage == authsvc.StageNobody {
		return nil, event.Errorf(event.CodeUnauthorized, "sign in first")
	}
	v := meView{
		Kind: c.actor.Kind, ID: c.actor.ID, Name: c.actor.Name, Next: stageNames[c.actor.Stage], Scopes: c.actor.Scopes.Names(),
		Companies: map[uint32]authsvc.Role{}, Permissions: map[authsvc.Permission]bool{},
	}
	for id := range c.actor.Members {
		v.Companies[id] = c.actor.RoleIn(id)
	}
	if c.actor.Stage == authsvc.StageDone {
		v.Role = c.actor.Role
		for _, p := range authsvc.Permissions() {
			if everywhere, in := c.actor.ReachOf(p); everywhere || len(in) > 0 {
				v.Permissions[p] = everywhere
			}
		}
	} else {
		v.Companies = map[uint32]authsvc.Role{} // until they have proved who they are
		v.Scopes = slices.Clip([]string{})
	}
	if c.session != nil {
		v.CSRF = csrfToken(of(c.session))
	}
	return v, nil
}

func ownPassword(c *call) (any, error) {
	var b ownPasswordBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	var own *websession.Session
	if c.session != nil {
		own = of(c.session)
	}
	if err := c.api.signin.ChangePassword(c.ctx, c.actor, own, b.Old, b.New); err != nil {
		return nil, err
	}
	if c.session != nil {
		c.api.sessions.SetCookie(c.w, c.session)
	}
	return nil, nil
}
