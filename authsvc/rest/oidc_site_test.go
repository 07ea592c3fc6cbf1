package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	provideroidc "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/crypto/bcrypt"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/oidc"
	"gatehouse/authsvc/rest"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema"
)

// directory is what the provider keeps of people: its own example, with groups besides.
type directory struct {
	*storage.Storage
	mu     sync.Mutex
	groups map[string][]string // by subject
	amr    []string            // by what people prove who they are there; nil: pwd
	before time.Duration       // so long ago
}

// proof is a request as the directory answers it.
type proof struct {
	op.AuthRequest
	d *directory
}

func (p proof) GetAMR() []string {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	if p.d.amr == nil {
		return p.AuthRequest.GetAMR()
	}
	return p.d.amr
}

func (p proof) GetAuthTime() time.Time {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	return p.AuthRequest.GetAuthTime().Add(-p.d.before)
}

func (d *directory) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	r, err := d.Storage.AuthRequestByCode(ctx, code)
	if err != nil {
		return nil, err
	}
	return proof{r, d}, nil
}

func (d *directory) CreateAccessToken(ctx context.Context, r op.TokenRequest) (string, time.Time, error) {
	if p, ok := r.(proof); ok {
		r = p.AuthRequest
	}
	return d.Storage.CreateAccessToken(ctx, r)
}

// prove sets by what people prove who they are at the provider from now on, and how long ago they did.
func (d *directory) prove(before time.Duration, amr ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.amr, d.before = amr, before
}

func (d *directory) SetUserinfoFromToken(ctx context.Context, info *provideroidc.UserInfo, tokenID, subject, origin string) error {
	if err := d.Storage.SetUserinfoFromToken(ctx, info, tokenID, subject, origin); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	info.AppendClaims("groups", d.groups[subject])
	return nil
}

var _ op.Storage = (*directory)(nil)

// site is a Gatehouse whose people sign in with a provider; both listen on free ports.
type site struct {
	gate, provider *httptest.Server
	store          *authsvc.Store
	sessions       *websession.Manager
	people         *directory
}

func newSite(t *testing.T, rules authsvc.IdentityRules, change ...func(*oidc.Config)) *site {
	t.Helper()
	ctx, quiet := t.Context(), slog.New(slog.DiscardHandler)
	s := &site{}
	db := reldbtest.Open(t, reldbtest.New(t, reldb.SQLite))
	if _, _, err := schema.NewRelational(db).Up(ctx); err != nil {
		t.Fatal(err)
	}
	s.store = authsvc.New(db, authsvc.WithPasswordCost(bcrypt.MinCost))
	keys, err := s.store.NewResolver(ctx, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	})
	sealer, err := authsvc.NewSealer(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	router, provider := mux.NewRouter(), http.NewServeMux()
	s.gate, s.provider = httptest.NewServer(router), httptest.NewServer(provider)
	t.Cleanup(s.gate.Close)
	t.Cleanup(s.provider.Close)

	callback := s.gate.URL + "/api/v1/auth/oidc/callback"
	s.people = &directory{groups: map[string][]string{}, Storage: storage.NewStorageWithClients(storage.NewUserStore(s.provider.URL), map[string]*storage.Client{
		"gatehouse": storage.WebClient("gatehouse", "secret", callback),
	})}
	provider.Handle("/", setUpProvider(s.provider.URL, s.people, quiet))

	guard := limit.NewGuard(limit.NewMemory(time.Now), sealer.Key(authsvc.PurposeLimit), quiet)
	s.sessions = websession.NewManager(s.store, sealer, func() (time.Duration, time.Duration) { return time.Hour, 12 * time.Hour })
	factors := signin.NewFactors(s.store, sealer, func(context.Context) string { return s.gate.URL })
	asked := oidc.Config{
		Issuer: s.provider.URL, ClientID: "gatehouse", ClientSecret: "secret", Scopes: []string{"openid", "profile", "email"}, RoleClaim: "groups",
	}
	for _, c := range change {
		c(&asked)
	}
	service := signin.New(signin.Config{
		Store: s.store, Sessions: s.sessions, Guard: guard, Factor: factors, Sealer: sealer, Settings: s.store.GetSettings, Log: quiet, Rules: rules,
		Provider: oidc.New(asked),
	})
	tokens, err := signin.NewTokens(service)
	if err != nil {
		t.Fatal(err)
	}
	api := rest.New(rest.Config{
		Store: s.store, Keys: keys, SignIn: service, Tokens: tokens, Factors: factors, Guard: guard, Log: quiet, Callback: callback,
		Sessions: rest.NewSessions(s.sessions, rest.Cookies{Name: "gatehouse", SameSite: http.SameSiteLaxMode, Secure: func(*http.Request) bool { return false }}),
	})
	for _, rt := range api.Routes() {
		router.Handle(rt.Path, rt.Handler).Methods(rt.Method)
	}
	return s
}

// browser keeps cookies, and stops before it is sent to Gatehouse.
type browser struct {
	t *testing.T
	s *site
	*http.Client
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, s, &http.Client{Jar: jar, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(next.URL.String(), s.gate.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// do sends a request and gives its status, the address that it is sent on to, and the body.
func (b *browser) do(r *http.Request, err error) (status int, location, body string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(text)
}

func (b *browser) get(address string) (status int, location, body string) {
	b.t.Helper()
	return b.do(http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, http.NoBody))
}

// begin goes to the provider and signs in there. It gives the address at which the provider sends the browser back.
func (b *browser) begin(username, next string) (back string) {
	b.t.Helper()
	stop := *b.Client
	stop.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	status, location, body := (&browser{b.t, b.s, &stop}).get(b.s.gate.URL + "/api/v1/auth/oidc?next=" + url.QueryEscape(next))
	if status != http.StatusFound || !strings.HasPrefix(location, b.s.provider.URL) {
		b.t.Fatalf("begin: %d %s %s", status, location, body)
	}
	return b.atProvider(location, username)
}

// atProvider signs in at the provider, at the address to which we sent the browser. It gives the address at which the provider sends it back.
func (b *browser) atProvider(address, username string) (back string) {
	b.t.Helper()
	status, _, page := b.get(address)
	_, rest, _ := strings.Cut(page, `name="id" value="`)
	id, _, ok := strings.Cut(rest, `"`)
	if status != http.StatusOK || !ok {
		b.t.Fatalf("the provider's page: %d %s", status, page)
	}
	form := url.Values{"id": {id}, "username": {username}, "password": {"verysecure"}}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.s.provider.URL+"/login/username", strings.NewReader(form.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	status, back, body := b.do(r, err)
	if !strings.HasPrefix(back, b.s.gate.URL+"/api/v1/auth/oidc/callback?") {
		b.t.Fatalf("after the provider's page: %d %s %s", status, back, body)
	}
	return back
}

func (b *browser) cookie() string {
	u, err := url.Parse(b.s.gate.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == "gatehouse" {
			return c.Value
		}
	}
	return ""
}

type whoAmI struct {
	ID        uint32                  `json:"id"`
	Name      string                  `json:"name"`
	Next      string                  `json:"next"`
	Role      authsvc.Role            `json:"role"`
	Companies map[string]authsvc.Role `json:"companies"`
}

func (b *browser) me() (who whoAmI, status int) {
	b.t.Helper()
	status, _, body := b.get(b.s.gate.URL + "/api/v1/me")
	if err := json.Unmarshal([]byte(body), &who); err != nil {
		b.t.Fatalf("%v: %s", err, body)
	}
	return who, status
}

// signIn is the whole way.
func (b *browser) signIn(username string) (status int, location, body string) {
	b.t.Helper()
	return b.get(b.begin(username, "/"))
}

func newCompany(t *testing.T, s *site) authsvc.Company {
	t.Helper()
	c, err := s.store.CreateCompany(t.Context(), authsvc.Local("test"), authsvc.CompanySettings{Name: "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustURL(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func message(t *testing.T, body string) string {
	t.Helper()
	var b struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(body), &b); err != nil || b.Message == "" {
		t.Fatalf("%v: %s", err, body)
	}
	return b.Message
}

// post sends JSON as a page of ours would.
func (b *browser) post(method, path, body string) (status int, text string) {
	b.t.Helper()
	var csrf struct {
		Token string `json:"csrf_token"`
	}
	_, _, got := b.get(b.s.gate.URL + "/api/v1/auth/csrf")
	if err := json.Unmarshal([]byte(got), &csrf); err != nil {
		b.t.Fatalf("%v: %s", err, got)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.s.gate.URL+path, strings.NewReader(body))
	if err == nil {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-CSRF-Token", csrf.Token)
	}
	status, _, text = b.do(r, err)
	return status, text
}

// field is a text of an answer in JSON.
func field(t *testing.T, body, name string) string {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	text, _ := all[name].(string)
	return text
}

const goodPassword = "plover-Teapot-91-quartz"

// zed makes an account with the e-mail of the provider's first person.
func (s *site) zed(t *testing.T) authsvc.User {
	t.Helper()
	u, _, err := s.store.CreateUser(t.Context(), authsvc.Local("test"), authsvc.NewUser{
		Username: "zed", Email: "Test-User@zitadel.ch", Password: goodPassword, KeepPassword: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// oneProvider: each writes its addresses into what the library has for all of them.
var oneProvider sync.Mutex

func setUpProvider(issuer string, people *directory, log *slog.Logger) http.Handler {
	oneProvider.Lock()
	defer oneProvider.Unlock()
	own := *op.DefaultEndpoints
	op.DefaultEndpoints = &own
	return exampleop.SetupServer(issuer, people, log, false)
}
