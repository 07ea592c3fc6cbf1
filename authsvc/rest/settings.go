package rest

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"gatehouse/authsvc"
)

// domainView is a domain whose people may register.
type domainView struct {
	Domain  string    `json:"domain"`
	Created time.Time `json:"created"`
}

// settingView is a setting: its value, what it may be, and what it is for.
type settingView struct {
	Name    string              `json:"name"`
	Kind    authsvc.SettingKind `json:"kind"`
	Value   string              `json:"value"`
	Default string              `json:"default"`
	Min     string              `json:"min,omitempty"`
	Max     string              `json:"max,omitempty"`
	Does    string              `json:"does"`
	Changed *time.Time          `json:"changed"` // null: it has its default
	By      string              `json:"changed_by,omitempty"`
}

func viewSetting(s *authsvc.Setting) settingView {
	return settingView{s.Name, s.Kind, s.Value, s.Default, s.Min, s.Max, s.Doc, optional(s.Changed), s.By}
}

// oneSetting gives a setting as it is after an act on it.
func oneSetting(s authsvc.Setting, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return viewSetting(&s), nil
}

type valueBody struct {
	Value string `json:"value"`
}

type domainBody struct {
	Domain string `json:"domain"`
}

func viewDomain(d *authsvc.Domain) domainView { return domainView{d.Name, d.Created} }

// itself is the view of what is shown as it is.
func itself[T any](v *T) T { return *v }

var settingRoutes = []route{
	{method: http.MethodGet, path: "/api/v1/settings", perm: authsvc.PermReadSettings, does: "All settings with their values, bounds and meaning", answer: list[settingView]{}, run: func(c *call) (any, error) {
		rows, err := c.api.store.ListSettings(c.ctx, c.actor)
		if err != nil {
			return nil, err
		}
		return listOf(rows, viewSetting, ""), nil
	}},
	{method: http.MethodGet, path: "/api/v1/settings/{name}", perm: authsvc.PermReadSettings, does: "One setting", answer: settingView{}, run: func(c *call) (any, error) {
		return oneSetting(c.api.store.GetSetting(c.ctx, c.actor, mux.Vars(c.r)["name"]))
	}},
	{method: http.MethodPut, path: "/api/v1/settings/{name}", perm: authsvc.PermChangeSettings, does: "Change a setting", body: valueBody{}, answer: settingView{}, run: func(c *call) (any, error) {
		var b valueBody
		if err := c.body(&b); err != nil {
			return nil, err
		}
		return oneSetting(c.api.store.SetSetting(c.ctx, c.actor, mux.Vars(c.r)["name"], b.Value))
	}},
	{method: http.MethodDelete, path: "/api/v1/settings/{name}", perm: authsvc.PermChangeSettings, does: "Give a setting its default back", answer: settingView{}, run: func(c *call) (any, error) {
		return oneSetting(c.api.store.ResetSetting(c.ctx, c.actor, mux.Vars(c.r)["name"]))
	}},
	{method: http.MethodGet, path: "/api/v1/domains", perm: authsvc.PermReadSettings, does: "E-mail domains whose people may register; none: all", answer: list[domainView]{}, run: func(c *call) (any, error) {
		rows, err := c.api.store.ListDomains(c.ctx, c.actor)
		if err != nil {
			return nil, err
		}
		return listOf(rows, viewDomain, ""), nil
	}},
	{method: http.MethodPost, path: "/api/v1/domains", perm: authsvc.PermChangeSettings, does: "Let people of an e-mail domain register", body: domainBody{}, answer: domainView{}, status: http.StatusCreated, run: func(c *call) (any, error) {
		var b domainBody
		if err := c.body(&b); err != nil {
			return nil, err
		}
		d, err := c.api.store.AddDomain(c.ctx, c.actor, b.Domain)
		if err != nil {
			return nil, err
		}
		return viewDomain(&d), nil
	}},
	{method: http.MethodDelete, path: "/api/v1/domains/{domain}", perm: authsvc.PermChangeSettings, does: "Take an e-mail domain off the list", run: func(c *call) (any, error) {
		return nil, c.api.store.RemoveDomain(c.ctx, c.actor, mux.Vars(c.r)["domain"])
	}},
}
