package dashboards_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"golang.org/x/net/html"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/mfa"
	"gatehouse/authsvc/password"
	"gatehouse/authsvc/rest"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/dashboards"
	"gatehouse/internal/edge"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/query"
	"gatehouse/schema"
)

const (
	good   = "rather-long-and-odd-7"
	better = "quite-another-thing-8"
)

var operator = authsvc.Local("test")

// site is a whole server of accounts and pages, over SQLite.
type site struct {
	store  *authsvc.Store
	api    *rest.API
	router *mux.Router
	url    string
	idp    identityProvider
	offset atomic.Int64 // of its clock
}

func (s *site) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

func (s *site) at(offset time.Duration) { s.offset.Store(int64(offset)) }

func newSite(t *testing.T, change ...func(*dashboards.PagesConfig)) *site {
	t.Helper()
	ctx := context.Background()
	s := &site{}
	hasher, err := password.New(password.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if s.store, err = authsvc.Open(ctx, reldbtest.New(t, reldb.SQLite), authsvc.WithClock(s.now), authsvc.WithPasswords(hasher)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	if _, _, err := schema.NewRelational(s.store.DB()).Up(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Bootstrap(ctx, ""); err != nil {
		t.Fatal(err)
	}
	keys, err := s.store.NewResolver(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	sealer, err := authsvc.NewSealer(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	sessions := websession.NewManager(s.store, sealer, func() (time.Duration, time.Duration) { return time.Hour, 12 * time.Hour }, websession.WithClock(s.now))
	factors := signin.NewFactors(s.store, sealer, func(ctx context.Context) string { return edge.FromContext(ctx).BaseURL() })
	guard := limit.NewGuard(limit.NewMemory(s.now), sealer.Key(authsvc.PurposeLimit), log)
	service := signin.New(signin.Config{
		Store: s.store, Sessions: sessions, Guard: guard, Factor: factors, Sealer: sealer, Settings: s.store.GetSettings, Log: log, Now: s.now,
		Provider: &s.idp, Rules: authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{{Value: "staff", Role: authsvc.RoleUser}}},
	})
	tokens, err := signin.NewTokens(service)
	if err != nil {
		t.Fatal(err)
	}
	api := rest.New(rest.Config{
		Store: s.store, Keys: keys, SignIn: service, Tokens: tokens, Factors: factors, Guard: guard, Log: log,
		Sessions: rest.NewSessions(sessions, rest.Cookies{Name: "gatehouse", SameSite: http.SameSiteLaxMode, Secure: func(*http.Request) bool { return false }}),
	})
	config := dashboards.PagesConfig{
		API: api, Store: s.store, Sessions: sessions, Service: service, Factors: factors, Settings: s.store.GetSettings, Log: log, Now: s.now,
	}
	for _, c := range change {
		c(&config)
	}
	r := mux.NewRouter()
	s.api, s.router = api, r
	for _, rt := range append(api.Routes(), dashboards.NewPages(config).Routes()...) {
		r.Handle(rt.Path, rt.Handler).Methods(rt.Method)
	}
	described, err := query.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	r.HandleFunc("/api/openapi.json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(described) })
	r.Handle("/", dashboards.Handler())
	r.PathPrefix("/assets/").Handler(dashboards.Handler())
	server := httptest.NewServer(edge.New(edge.Options{Proxies: edge.Proxies{
		Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, Hops: 1, For: true, Host: true, Prefix: true,
	}}).Handler(r))
	t.Cleanup(server.Close)
	// By name, as passkeys want it.
	s.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	return s
}

// below puts a proxy before the site that shows it below a path, and nothing else.
func (s *site) below(t *testing.T, path string) {
	t.Helper()
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.StripPrefix(path, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.SetXForwarded()
		r.Out.Header.Set("X-Forwarded-Prefix", path)
	}}))
	t.Cleanup(proxy.Close)
	s.url = strings.Replace(proxy.URL, "127.0.0.1", "localhost", 1)
}

// identityProvider signs in at once whoever it is told to.
type identityProvider struct {
	who  authsvc.Identity
	anew bool // it was asked to have them prove anew who they are
}

func (p *identityProvider) Begin(_ context.Context, redirect string, anew bool) (string, []byte, error) {
	p.anew = anew
	return redirect, []byte("begun"), nil
}

func (p *identityProvider) Finish(context.Context, []byte, url.Values) (authsvc.Identity, error) {
	return p.who, nil
}

// person makes an account whose password is good.
func (s *site) person(t *testing.T, name string, change ...func(*authsvc.NewUser)) authsvc.User {
	t.Helper()
	n := authsvc.NewUser{Username: name, Email: name + "@example.com", Password: good, KeepPassword: true}
	for _, c := range change {
		c(&n)
	}
	u, _, err := s.store.CreateUser(context.Background(), operator, n)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// browser is one without scripts: it keeps cookies, follows redirects and sends forms.
type browser struct {
	t      *testing.T
	site   *site
	client *http.Client
	agent  string

	path   string // where it is
	status int
	header http.Header
	text   string
	doc    *html.Node
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, site: s, client: &http.Client{Jar: jar}, agent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
}

func (b *browser) do(method, path string, form url.Values, header ...string) *browser {
	b.t.Helper()
	var body io.Reader = http.NoBody
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.site.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", b.agent)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.path, b.status, b.header, b.text = resp.Request.URL.RequestURI(), resp.StatusCode, resp.Header, string(text)
	if b.doc, err = html.Parse(strings.NewReader(b.text)); err != nil {
		b.t.Fatal(err)
	}
	return b
}

func (b *browser) get(path string) *browser { b.t.Helper(); return b.do(http.MethodGet, path, nil) }

// find lists the elements for which want is true.
func find(n *html.Node, want func(*html.Node) bool) (list []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && want(d) {
			list = append(list, d)
		}
	}
	return list
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func words(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// fields are what the form with an action on this page would send, as it is shown.
func (b *browser) fields(action string) url.Values {
	b.t.Helper()
	forms := find(b.doc, func(n *html.Node) bool { return n.Data == "form" && attr(n, "action") == action })
	if len(forms) == 0 {
		b.t.Fatalf("%s has no form that is sent to %s:\n%s", b.path, action, b.text)
	}
	values := url.Values{}
	for _, n := range find(forms[0], func(n *html.Node) bool { return n.Data == "input" && attr(n, "name") != "" }) {
		checked := false
		for _, a := range n.Attr {
			checked = checked || a.Key == "checked"
		}
		if attr(n, "type") != "checkbox" || checked {
			values.Add(attr(n, "name"), attr(n, "value"))
		}
	}
	for _, n := range find(forms[0], func(n *html.Node) bool { return n.Data == "option" }) {
		for _, a := range n.Attr {
			if a.Key == "selected" {
				values.Set(attr(n.Parent, "name"), attr(n, "value"))
			}
		}
	}
	return values
}

// send fills in the form with an action and sends it.
func (b *browser) send(action string, set ...string) *browser {
	b.t.Helper()
	values := b.fields(action)
	for i := 0; i+1 < len(set); i += 2 {
		values.Set(set[i], set[i+1])
	}
	return b.do(http.MethodPost, action, values)
}

// want fails unless the browser is at path, with the status and all of the words in what it shows.
func (b *browser) want(path string, status int, texts ...string) *browser {
	b.t.Helper()
	if b.path != path || b.status != status {
		b.t.Fatalf("at %s with %d, want %s with %d:\n%s", b.path, b.status, path, status, words(b.doc))
	}
	for _, text := range texts {
		if !strings.Contains(words(b.doc), text) {
			b.t.Errorf("%s does not say %q:\n%s", path, text, words(b.doc))
		}
	}
	return b
}

// problem is what stands beside a field, and whether the field says so to screen readers.
func (b *browser) problem(field string) string {
	b.t.Helper()
	inputs := find(b.doc, func(n *html.Node) bool { return attr(n, "name") == field && attr(n, "aria-invalid") == "true" })
	if len(inputs) != 1 {
		return ""
	}
	for id := range strings.FieldsSeq(attr(inputs[0], "aria-describedby")) {
		for _, n := range find(b.doc, func(n *html.Node) bool { return attr(n, "id") == id && attr(n, "class") == "problem" }) {
			return words(n)
		}
	}
	return ""
}

// focus is the field that the cursor is in; empty: none is.
func (b *browser) focus() string {
	for _, n := range find(b.doc, func(n *html.Node) bool { return n.Data == "input" }) {
		for _, a := range n.Attr {
			if a.Key == "autofocus" {
				return attr(n, "name")
			}
		}
	}
	return ""
}

func (b *browser) login(name, pass string) *browser {
	b.t.Helper()
	return b.get("/login").send("/login", "login", name, "password", pass)
}

// secret is what the page for setting up an app shows as text.
func (b *browser) secret() string {
	b.t.Helper()
	shown := find(b.doc, func(n *html.Node) bool { return n.Data == "code" && attr(n, "class") == "secret" })
	if len(shown) != 1 {
		b.t.Fatalf("%s shows no secret:\n%s", b.path, b.text)
	}
	return strings.ReplaceAll(words(shown[0]), " ", "")
}

func (b *browser) codes() (list []string) {
	b.t.Helper()
	for _, n := range find(b.doc, func(n *html.Node) bool {
		return n.Data == "li" && n.Parent.Data == "ol" && attr(n.Parent, "class") == "codes"
	}) {
		list = append(list, words(n))
	}
	return list
}

// code is what an app with that secret shows now.
func (s *site) code(t *testing.T, secret string) string {
	t.Helper()
	app, err := mfa.ReadTOTP(secret)
	if err != nil {
		t.Fatal(err)
	}
	code, err := app.Code(s.now())
	if err != nil {
		t.Fatal(err)
	}
	return code
}
