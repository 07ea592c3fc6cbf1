package rest

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// keyView is an API key: a site of a company. The key itself is in it once, when it is made or exchanged.
type keyView struct {
	ID        uint32           `json:"id"`
	CompanyID uint32           `json:"company_id"`
	Site      string           `json:"site"`
	Note      string           `json:"note"`
	Prefix    string           `json:"prefix"`
	Scopes    []string         `json:"scopes"`
	Networks  []string         `json:"networks"`
	State     authsvc.KeyState `json:"state"`
	Created   time.Time        `json:"created"`
	Expires   *time.Time       `json:"expires"`
	OldPrefix string           `json:"old_prefix,omitempty"` // while an exchange is under way
	OldUntil  *time.Time       `json:"old_until,omitempty"`
	LastUsed  *time.Time       `json:"last_used"`
	Address   string           `json:"last_used_address,omitempty"`
	Agent     string           `json:"last_used_agent,omitempty"` // what the client called itself
	Version   string           `json:"agent_version,omitempty"`   // as the last event said that named one
	Events    int64            `json:"events"`
	Errors    int64            `json:"errors"`
	Key       string           `json:"key,omitempty"`
}

func viewKey(k *authsvc.Key) keyView {
	v := keyView{
		ID: k.ID, CompanyID: k.CompanyID, Site: k.Site, Note: k.Note, Prefix: k.Prefix, Scopes: k.Scopes.Names(), Networks: []string{},
		State: k.State(time.Now()), Created: k.Created, Expires: optional(k.Expires), OldPrefix: k.OldPrefix, OldUntil: optional(k.OldUntil),
		LastUsed: optional(k.LastUsed), Address: k.LastUsedIP, Agent: k.LastUsedAgent, Version: k.AgentVersion, Events: k.Events, Errors: k.Errors,
	}
	for _, n := range k.Networks {
		v.Networks = append(v.Networks, n.String())
	}
	return v
}

// newKeyBody is a key to be made.
type newKeyBody struct {
	Site     string    `json:"site,omitempty"`
	Note     string    `json:"note,omitempty"`
	Scopes   []string  `json:"scopes"`
	Networks []string  `json:"networks,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
}

// keyBody is what to change of a key; what is not given stays, and expires: null lifts the end.
type keyBody struct {
	Site     *string         `json:"site,omitempty"`
	Note     *string         `json:"note,omitempty"`
	Scopes   *[]string       `json:"scopes,omitempty"`
	Networks *[]string       `json:"networks,omitempty"`
	Expires  json.RawMessage `json:"expires,omitempty"`
}

type rotateBody struct {
	Overlap string `json:"overlap,omitempty"` // how long the old key goes on, such as 24h; 0s: no longer
}

// dayView is what a key brought on one day in UTC.
type dayView struct {
	Day    string `json:"day"`
	Events int64  `json:"events"`
	Errors int64  `json:"errors"`
}

const keyPath = "/api/v1/companies/{company}/keys/{key}"

// keyParams are those of lists of keys.
var keyParams = append([]param{
	{"state", "string", "active, disabled, expired or revoked."},
	{"scope", "string", "With these scopes."},
	{"q", "string", "In the site's name or note, or how the key begins."},
}, pageParams...)

var keyRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/keys", does: "List API keys of all companies that you manage", answer: list[keyView]{},
		params: append([]param{{"company", "integer", "Of one company."}}, keyParams...), run: listKeys,
	},
	{method: http.MethodGet, path: "/api/v1/companies/{company}/keys", perm: authsvc.PermListKeys, does: "List a company's API keys", answer: list[keyView]{}, params: keyParams, run: listKeys},
	{method: http.MethodPost, path: "/api/v1/companies/{company}/keys", perm: authsvc.PermManageKeys, does: "Create an API key, which is shown once", body: newKeyBody{}, answer: keyView{}, status: http.StatusCreated, run: createKey},
	{method: http.MethodGet, path: keyPath, perm: authsvc.PermListKeys, does: "One API key", answer: keyView{}, run: onKey(func(_ *call, k authsvc.Key) (authsvc.Key, error) { return k, nil })},
	{method: http.MethodPatch, path: keyPath, perm: authsvc.PermManageKeys, does: "Change an API key", body: keyBody{}, answer: keyView{}, run: onKey(changeKey)},
	{method: http.MethodPost, path: keyPath + "/rotate", perm: authsvc.PermManageKeys, does: "Exchange an API key: the new one is shown once, the old one goes on for a while", body: rotateBody{}, answer: keyView{}, run: rotateKey},
	{method: http.MethodPost, path: keyPath + "/disable", perm: authsvc.PermManageKeys, does: "Stop an API key for a while", answer: keyView{}, run: onKey(func(c *call, k authsvc.Key) (authsvc.Key, error) {
		return k, c.api.store.SetKeyDisabled(c.ctx, c.actor, k.CompanyID, k.ID, true)
	})},
	{method: http.MethodPost, path: keyPath + "/enable", perm: authsvc.PermManageKeys, does: "Let an API key work again", answer: keyView{}, run: onKey(func(c *call, k authsvc.Key) (authsvc.Key, error) {
		return k, c.api.store.SetKeyDisabled(c.ctx, c.actor, k.CompanyID, k.ID, false)
	})},
	{method: http.MethodDelete, path: keyPath, perm: authsvc.PermManageKeys, does: "Revoke an API key for good; its events stay", run: func(c *call) (any, error) {
		k, err := c.key()
		if err != nil {
			return nil, err
		}
		return nil, c.api.store.RevokeKey(c.ctx, c.actor, k.CompanyID, k.ID)
	}},
	{
		method: http.MethodGet, path: keyPath + "/days", perm: authsvc.PermListKeys, does: "What an API key brought day by day", answer: list[dayView]{},
		params: []param{{"from", "date", "First day, in UTC; 30 days before today by default."}, {"to", "date", "Last day; today by default."}}, run: keyDays,
	},
}

// key reads the key of a path. One of another company is not there.
func (c *call) key() (authsvc.Key, error) {
	company, err := c.id("company")
	if err != nil {
		return authsvc.Key{}, err
	}
	id, err := c.id("key")
	if err != nil {
		return authsvc.Key{}, err
	}
	k, err := c.api.store.GetKey(c.ctx, c.actor, id)
	if err == nil && k.CompanyID != company {
		err = event.Errorf(event.CodeNotFound, "there is no key with id %d", id)
	}
	return k, err
}

// onKey makes a route of an act on one key that gives the key as it is after it.
func onKey(act func(*call, authsvc.Key) (authsvc.Key, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		k, err := c.key()
		if err != nil {
			return nil, err
		}
		if _, err = act(c, k); err != nil {
			return nil, err
		}
		if k, err = c.key(); err != nil {
			return nil, err
		}
		return viewKey(&k), nil
	}
}

func listKeys(c *call) (any, error) {
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	want := authsvc.KeyFilter{State: authsvc.KeyState(c.text("state")), Text: c.text("q")}
	if text := c.text("scope"); text != "" {
		if want.Scope, err = authsvc.ParseKeyScopes(text); err != nil {
			return nil, err
		}
	}
	if want.Company, err = c.companyParam(); err != nil {
		return nil, err
	}
	if id, err := c.id("company"); err == nil {
		want.Company = id
	}
	rows, next, err := c.api.store.ListKeys(c.ctx, c.actor, want, page)
	if err != nil {
		return nil, err
	}
	return listOf(rows, viewKey, next), nil
}

func networks(texts []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list, err := authsvc.ParseNetworks(text)
		if err != nil {
			return nil, err
		}
		if len(list) != 1 { // an empty text would else be a key for everywhere
			return nil, event.FieldError("networks", "must be a list of networks such as 192.0.2.0/24 or 2001:db8::/32, or addresses, one in each text")
		}
		out[i] = list[0]
	}
	return out, nil
}

func createKey(c *call) (any, error) {
	company, err := c.id("company")
	if err != nil {
		return nil, err
	}
	var b newKeyBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	spec := authsvc.NewKey{Site: b.Site, Note: b.Note, Expires: b.Expires}
	if spec.Scopes, err = authsvc.ParseKeyScopes(strings.Join(b.Scopes, ",")); err != nil {
		return nil, err
	}
	if spec.Networks, err = networks(b.Networks); err != nil {
		return nil, err
	}
	k, secret, err := c.api.store.CreateKey(c.ctx, c.actor, company, spec)
	if err != nil {
		return nil, err
	}
	view := viewKey(&k)
	view.Key = secret
	return view, nil
}

func changeKey(c *call, k authsvc.Key) (authsvc.Key, error) {
	var b keyBody
	if err := c.body(&b); err != nil {
		return k, err
	}
	change := authsvc.KeyChange{Site: b.Site, Note: b.Note}
	if b.Scopes != nil {
		scopes, err := authsvc.ParseKeyScopes(strings.Join(*b.Scopes, ","))
		if err != nil {
			return k, err
		}
		change.Scopes = &scopes
	}
	if b.Networks != nil {
		list, err := networks(*b.Networks)
		if err != nil {
			return k, err
		}
		change.Networks = &list
	}
	if len(b.Expires) > 0 {
		var end time.Time // stays zero for null: never
		if err := json.Unmarshal(b.Expires, &end); err != nil {
			return k, event.FieldError("expires", "must be a time such as 2027-01-31T00:00:00Z, or null for never")
		}
		change.Expires = &end
	}
	return c.api.store.UpdateKey(c.ctx, c.actor, k.CompanyID, k.ID, change)
}

func rotateKey(c *call) (any, error) {
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	var b rotateBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	overlap := 24 * time.Hour
	if b.Overlap != "" {
		if overlap, err = time.ParseDuration(b.Overlap); err != nil {
			return nil, event.FieldError("overlap", "must be a time span such as 24h or 0s")
		}
	}
	k, secret, err := c.api.store.RotateKey(c.ctx, c.actor, k.CompanyID, k.ID, overlap)
	if err != nil {
		return nil, err
	}
	view := viewKey(&k)
	view.Key = secret
	return view, nil
}

// daysShown is how many days are shown without from.
const daysShown = 30

func keyDays(c *call) (any, error) {
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	to, err := c.day("to", time.Now())
	if err != nil {
		return nil, err
	}
	from, err := c.day("from", to.AddDate(0, 0, 1-daysShown))
	if err != nil {
		return nil, err
	}
	days, err := c.api.store.KeyDays(c.ctx, c.actor, k.CompanyID, k.ID, from, to)
	if err != nil {
		return nil, err
	}
	return listOf(days, func(d *authsvc.KeyDay) dayView {
		return dayView{d.Day.UTC().Format(time.DateOnly), d.Events, d.Errors}
	}, ""), nil
}

// day is a date of the query, def where it is not given.
func (c *call) day(name string, def time.Time) (time.Time, error) {
	text := c.text(name)
	if text == "" {
		return def, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, event.FieldError(name, "must be a date such as 2026-03-01")
	}
	return t, nil
}
