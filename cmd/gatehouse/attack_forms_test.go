package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"golang.org/x/net/html"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/authsvc/websession"
	"gatehouse/config"
	"gatehouse/schema"
)

// paper is a form as a page shows it: what a browser would send.
type paper struct {
	action string
	fields url.Values
	kinds  map[string]string // of each field: its autocomplete, else its type
}

// key tells forms apart.
func (f *paper) key() string {
	return f.action + " " + strings.Join(slices.Sorted(maps.Keys(f.kinds)), ",")
}

// set has an answer in every field that the page leaves to the person.
func (f *paper) set(name string) url.Values {
	out := maps.Clone(f.fields)
	for field, kind := range f.kinds {
		if out.Get(field) != "" {
			continue
		}
		switch kind {
		case "username", "email":
			out.Set(field, name+strings.Repeat("@example.com", strings.Count(kind, "email")))
		case "current-password", "password":
			out.Set(field, goodPassword)
		case "new-password":
			out.Set(field, "quite-another-thing-8")
		case "one-time-code":
			out.Set(field, "000000")
		case "checkbox", "hidden":
		default:
			out.Set(field, "something")
		}
	}
	return out
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// papers are the forms of a page that a browser sends by itself.
func papers(page *html.Node) (list []paper) {
	for n := range page.Descendants() {
		action, sent := attribute(n, "action")
		if n.Type != html.ElementNode || n.Data != "form" || !sent {
			continue
		}
		f := paper{action, url.Values{}, map[string]string{}}
		for d := range n.Descendants() {
			name, named := attribute(d, "name")
			if !named || !slices.Contains([]string{"input", "select", "textarea"}, d.Data) {
				continue
			}
			kind, _ := attribute(d, "type")
			value, _ := attribute(d, "value")
			_, on := attribute(d, "checked")
			for option := range d.Descendants() {
				if _, chosen := attribute(option, "selected"); chosen {
					value, _ = attribute(option, "value")
				}
			}
			if kind != "checkbox" || on {
				f.fields.Add(name, value)
			}
			if complete, has := attribute(d, "autocomplete"); has {
				kind = complete
			}
			f.kinds[name] = kind
		}
		list = append(list, f)
	}
	return list
}

// formTest sends hostile texts by the forms of the pages.
type formTest struct {
	*people
	t       *testing.T
	company authsvc.Company
	stored  *websession.Manager
	known   map[string]bool // forms that a page before has shown
	sent    map[string]int  // how often a form was sent to a path
	refused int
}

// visitor is a browser of somebody who has come so far, and their name.
type visitor struct {
	*browser
	name    string
	id      uint32 // of their account, 0 where they have none
	refused int
}

// page asks for a page, or sends a form, as a browser does.
func (v *visitor) page(method, path string, form url.Values) reply {
	v.p.t.Helper()
	headers := []string{"Accept", "text/html", "X-CSRF-Token", ""}
	if form != nil {
		headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
	}
	return v.ask(method, path, form.Encode(), headers...)
}

// forms are those of a page and, where the person is asked something first, of what comes of the first form sent as it is.
func (v *visitor) forms(path, first string) []paper {
	v.p.t.Helper()
	list := papers(must(html.Parse(strings.NewReader(v.page(http.MethodGet, path, nil).body))))
	if first == "" {
		return list
	}
	i := slices.IndexFunc(list, func(f paper) bool { return f.key() == first })
	if i < 0 {
		return nil
	}
	r := v.page(http.MethodPost, list[i].action, list[i].set(v.name))
	return papers(must(html.Parse(strings.NewReader(r.body))))
}

// places are the pages with forms, by how far a visitor has come who sees them.
var places = []struct {
	name  string
	pages []string
	come  func(*formTest, *visitor, authsvc.User)
}{
	{"nobody yet", []string{"/register"}, nil},
	{"who has an account", []string{"/login"}, func(*formTest, *visitor, authsvc.User) {}},
	{"second factor", []string{"/login/second-factor"}, func(f *formTest, v *visitor, u authsvc.User) {
		f.withApp(&u)
		v.enter(goodPassword)
	}},
	{"new password", []string{"/login/new-password"}, func(f *formTest, v *visitor, u authsvc.User) {
		_, temporary, err := f.store.ResetPassword(f.t.Context(), localActor(), u.ID, "")
		v.enter(must(temporary, err))
	}},
	{"set up", []string{"/login/set-up"}, func(f *formTest, v *visitor, u authsvc.User) {
		required := authsvc.MFARequired
		must(f.store.UpdateUser(f.t.Context(), localActor(), u.ID, authsvc.UserChange{MFAPolicy: &required}))
		v.enter(goodPassword)
		v.want(200, http.MethodPost, "/api/v1/me/totp", "{}")
	}},
	{"signed in", []string{"/account", "/login/set-up"}, func(_ *formTest, v *visitor, _ authsvc.User) { v.enter(goodPassword) }},
	{"with everything", []string{"/account"}, func(f *formTest, v *visitor, u authsvc.User) { f.everything(v, &u) }},
	{"some time ago", []string{"/account"}, func(f *formTest, v *visitor, u authsvc.User) {
		f.everything(v, &u)
		session := must(f.stored.Get(f.t.Context(), v.cookies[sessionCookie], netip.Addr{}))
		session.Created = session.Created.Add(-time.Hour)
		if err := f.stored.Save(f.t.Context(), session); err != nil {
			f.t.Fatal(err)
		}
	}},
}

// enter signs in with a password.
func (v *visitor) enter(pass string) {
	v.p.t.Helper()
	if r := v.try(v.name, pass); r.status != http.StatusOK {
		v.p.t.Fatalf("sign in: %d %s", r.status, r.body)
	}
	v.csrf = v.want(200, http.MethodGet, "/api/v1/auth/csrf", "").text("csrf_token")
}

// everything gives somebody what their account page can show, and signs them in.
func (f *formTest) everything(v *visitor, u *authsvc.User) {
	ctx := f.t.Context()
	v.enter(goodPassword)
	other := f.browser()
	other.headers = v.headers
	if r := other.try(u.Username, goodPassword); r.status != http.StatusOK {
		f.t.Fatal(r.status, r.body)
	}
	app := must(mfa.ReadTOTP(v.want(200, http.MethodPost, "/api/v1/me/totp", "{}").text("secret")))
	v.want(200, http.MethodPost, "/api/v1/me/totp/confirm", jsonOf(map[string]any{"code": must(app.Code(time.Now()))}))
	program := f.program(v.headers[0], v.headers[1])
	program.want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword, "code": must(app.Code(time.Now().Add(30 * time.Second)))}))
	actor := f.actor(u)
	_, _, err := f.store.CreatePersonalToken(ctx, actor, authsvc.NewPersonalToken{Name: "nightly", Scopes: authsvc.ScopeRead, Expires: time.Now().Add(time.Hour)})
	must(0, err)
	must(f.store.AddPasskey(ctx, actor, "blue key", []byte(u.Username), "{}"))
	// Behind the store's back, which would end what they have here.
	db := f.store.DB()
	must(db.Writer().ExecContext(ctx, db.Dialect().Rebind(`INSERT INTO user_identities (user_id, issuer, subject, identity_hash, created_at) VALUES (?, 'https://id.example', ?, ?, 1)`), u.ID, u.Username, u.Username))
}

// visitor makes one of a place, whose browser calls itself by a text.
func (f *formTest) visitor(place int, text string) *visitor {
	f.t.Helper()
	v := &visitor{browser: f.browser(), name: f.unique("nobody")}
	v.headers = []string{"User-Agent", strings.NewReplacer("\r", "", "\n", "").Replace(text)}
	if come := places[place].come; come != nil {
		u := f.person("", authsvc.RoleUser, f.company.ID)
		v.name, v.id = u.Username, u.ID
		come(f, v, u)
	}
	return v
}

// kept is what a refused form must not change: how much there is in the tables, and what the visitor has in them.
func (f *formTest) kept(v *visitor) string {
	var all strings.Builder
	for _, table := range schema.Tables() {
		var n int
		switch table.Name {
		case "web_sessions", "lockouts", "audit_log", "audit_head", "error_log":
			continue // what is kept of refusals too
		case "users":
			f.rows(&all, "SELECT * FROM users WHERE id = ?", v.id)
		case "memberships", "recovery_codes", "webauthn_credentials", "user_identities", "refresh_tokens", "personal_tokens":
			f.rows(&all, "SELECT * FROM "+table.Name+" WHERE user_id = ?", v.id)
		}
		if err := f.store.DB().QueryRow(f.t.Context(), "SELECT COUNT(*) FROM "+table.Name).Scan(&n); err != nil {
			f.t.Fatal(err)
		}
		fmt.Fprintln(&all, table.Name, n)
	}
	return all.String()
}

func (f *formTest) rows(all *strings.Builder, query string, args ...any) {
	rows := must(f.store.DB().Query(f.t.Context(), query, args...))
	defer func() { _ = rows.Close() }()
	columns := must(rows.Columns())
	for rows.Next() {
		values, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			f.t.Fatal(err)
		}
		fmt.Fprintln(all, values)
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
}

// ownFile is what pages load.
var ownFile = regexp.MustCompile(`^/assets/[a-z]+\.[0-9a-f]{16}\.(js|css|svg)$|^/api/v1/me/totp/qr$`)

// ownPath is what leads to this server.
var ownPath = regexp.MustCompile(`^($|#|/($|[^/\\]))`)

// clean holds that an answer is a page of ours, in which a text is nothing but text.
func (f *formTest) clean(what, text string, r reply) {
	f.t.Helper()
	policy := r.header.Get("Content-Security-Policy")
	if r.status >= 500 || r.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
		strings.Contains(fmt.Sprint(r.header), "Set-Cookie: x=y") || r.body != "" && r.header.Get("Content-Type") != "text/html; charset=utf-8" {
		f.t.Errorf("%s: %d %v %s", what, r.status, r.header, r.body)
		return
	}
	if strings.ContainsAny(text, `<>"'`) && strings.Contains(r.body, text) {
		f.t.Errorf("%s: the text is shown as it is:\n%s", what, r.body)
	}
	if to := r.header.Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n")) {
		f.t.Errorf("%s leads to %q", what, to)
	}
	for n := range must(html.Parse(strings.NewReader(r.body))).Descendants() {
		src, _ := attribute(n, "src")
		switch {
		case n.Type != html.ElementNode:
			continue
		case slices.Contains([]string{"script", "img"}, n.Data) && (n.FirstChild != nil || !ownFile.MatchString(src)),
			slices.Contains([]string{"style", "svg", "iframe", "object", "embed", "base"}, n.Data):
			f.t.Errorf("%s: <%s %v>:\n%s", what, n.Data, n.Attr, r.body)
		}
		for _, a := range n.Attr {
			leads := slices.Contains([]string{"href", "src", "action", "formaction"}, a.Key)
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || leads && !ownPath.MatchString(a.Val) && !strings.HasPrefix(a.Val, f.cfg.OIDC.Issuer+"/authorize?") {
				f.t.Errorf("%s: <%s %s=%q>", what, n.Data, a.Key, a.Val)
			}
		}
	}
}

// send fills a form, with a text in one field or, without one, in all of them, and sends it: whether the visitor is still where they were.
func (f *formTest) send(v *visitor, form *paper, place, field, text string) bool {
	f.t.Helper()
	what := fmt.Sprintf("%s: %s, %s=%q", place, form.action, field, text)
	values := form.set(v.name)
	for name := range form.kinds {
		if name == field || field == "" && name != "csrf_token" {
			values[name] = []string{text}
		}
	}
	before := f.kept(v)
	r := v.page(http.MethodPost, form.action, values)
	f.sent[form.action]++
	f.clean(what, text, r)
	if r.status == http.StatusSeeOther {
		f.clean(what+", afterwards", text, v.page(http.MethodGet, r.header.Get("Location"), nil))
	}
	if r.status < 400 {
		if field == "csrf_token" {
			f.t.Errorf("%s: taken, %d", what, r.status)
		}
		return false
	}
	f.refused++
	v.refused++
	if after := f.kept(v); after != before {
		f.t.Errorf("%s: refused with %d, and the tables have changed:\n%s\n%s", what, r.status, before, after)
	}
	return v.refused < 4 // after more wrong passwords and codes the account pauses, and the rest would not be looked at
}

// TestNastyForms puts hostile texts into every field of every form that the pages show, and into the addresses of the pages.
func TestNastyForms(t *testing.T) {
	if testing.Short() {
		t.Skip("it sends thousands of forms")
	}
	var provider *httptest.Server
	provider = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // it only says where it is
		_, _ = fmt.Fprint(w, jsonOf(map[string]any{
			"issuer": provider.URL, "authorization_endpoint": provider.URL + "/authorize", "token_endpoint": provider.URL + "/token", "jwks_uri": provider.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		}))
	}))
	t.Cleanup(provider.Close)
	f := &formTest{t: t, known: map[string]bool{}, sent: map[string]int{}, people: startPeople(t, func(c *config.Config) { c.OIDC.Issuer = provider.URL })}
	must(f.store.SetSetting(t.Context(), localActor(), "registration_enabled", "true"))
	f.company = f.people.company(`"><img src=x onerror=alert(1)>`)
	sealer := must(authsvc.NewSealer(must(authsvc.LoadSecretKey("", f.dataDir))...))
	f.stored = websession.NewManager(f.store, sealer, func() (time.Duration, time.Duration) { return time.Hour, 12 * time.Hour })
	for i := range places {
		place := &places[i]
		for _, path := range place.pages {
			f.attack(i, path)
		}
	}
	err := f.router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		methods, _ := route.GetMethods()
		if err == nil && slices.Contains(methods, http.MethodPost) && !strings.HasPrefix(path, "/api/") && f.sent[path] < len(nasty) {
			t.Errorf("a form was sent to %s %d times: is there a page that shows it, and is it among the places?", path, f.sent[path])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.refused < 500 {
		t.Errorf("%d forms were refused: the test shows nothing", f.refused)
	}
	admin := f.person(authsvc.RoleGlobalAdmin, "")
	if check := f.signIn(&admin).want(200, http.MethodGet, "/api/v1/audit/verify", ""); check.field("broken") != nil {
		t.Errorf("the audit trail: %s", check.body)
	}
}

// attack sends every form of a page that no page before has shown, and those that are asked before one of them is done.
func (f *formTest) attack(place int, path string) {
	f.t.Helper()
	name := places[place].name
	type step struct{ first, key string }
	var steps []step
	shown := f.visitor(place, "x").forms(path, "")
	for _, form := range shown {
		if !f.known[form.key()] {
			f.known[form.key()] = true
			steps = append(steps, step{"", form.key()})
		}
	}
	for _, first := range shown {
		for _, form := range f.visitor(place, "x").forms(path, first.key()) {
			if !f.known[form.key()] {
				f.known[form.key()] = true
				steps = append(steps, step{first.key(), form.key()})
			}
		}
	}
	for _, text := range nasty {
		var v *visitor
		for _, s := range steps {
			_, listed, _ := strings.Cut(s.key, " ")
			_, before, _ := strings.Cut(s.first, " ")
			for _, field := range append(strings.Split(listed, ","), "") {
				if field != "" && slices.Contains(strings.Split(before, ","), field) {
					continue // it goes along from a form where it was tried
				}
				if v == nil {
					v = f.visitor(place, text)
				}
				forms := v.forms(path, s.first)
				i := slices.IndexFunc(forms, func(form paper) bool { return form.key() == s.key })
				if i < 0 {
					f.t.Errorf("%s: %s no longer has the form %s", name, path, s.key)
					v = nil
					continue
				}
				if !f.send(v, &forms[i], name, field, text) {
					v = nil
				}
			}
		}
		if v == nil {
			v = f.visitor(place, text)
		}
		for _, param := range []string{"next", "done", "sent", "id", text} {
			f.clean(fmt.Sprintf("%s: %s?%s=%q", name, path, param, text), text, v.page(http.MethodGet, path+"?"+url.Values{param: {text}}.Encode(), nil))
		}
	}
}
