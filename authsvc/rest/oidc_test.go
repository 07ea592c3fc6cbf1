package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
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
	"gatehouse/authsvc/mfa"
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

// TestProvider signs people in with a real provider, over HTTP from end to end.
func TestProvider(t *testing.T) {
	t.Parallel()
	s := newSite(t, authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{{Value: "logons", Role: authsvc.RoleCompanyAdmin, Company: "Acme"}}})
	newCompany(t, s)
	s.people.groups["id1"] = []string{"logons"}
	b := s.browser(t)

	back := b.begin("test-user@127.0.0.1", "/reports?x=1")
	planted := b.cookie()
	if status, location, body := b.get(back); status != http.StatusFound || location != "/reports?x=1" {
		t.Fatalf("back: %d %s %s", status, location, body)
	}
	if b.cookie() == planted || planted == "" {
		t.Error("the session kept its id over the sign-in")
	}
	who, status := b.me()
	if status != http.StatusOK || who.Name != "test-user" || who.Next != "done" || who.Role != authsvc.RoleUser || who.Companies["1"] != authsvc.RoleCompanyAdmin {
		t.Errorf("signed in as %+v (%d)", who, status)
	}
	if status, _, _ := b.get(back); status != http.StatusUnauthorized {
		t.Errorf("the answer a second time: %d", status)
	}
	if again, status := b.me(); status != http.StatusOK || again.ID != who.ID {
		t.Errorf("a refused answer ended the session: %+v (%d)", again, status)
	}
	old := s.browser(t)
	old.Jar.SetCookies(mustURL(t, s.gate.URL), []*http.Cookie{{Name: "gatehouse", Value: planted}})
	if _, status := old.me(); status != http.StatusUnauthorized {
		t.Errorf("the session's id from before the sign-in: %d", status)
	}

	// What the provider takes away is gone at the next sign-in, in all sessions.
	s.people.mu.Lock()
	s.people.groups["id1"] = nil
	s.people.mu.Unlock()
	other := s.browser(t)
	if status, _, body := other.signIn("test-user@127.0.0.1"); status != http.StatusFound {
		t.Fatalf("%d %s", status, body)
	}
	for _, b := range []*browser{b, other} {
		if now, _ := b.me(); now.ID != who.ID || len(now.Companies) != 0 {
			t.Errorf("after the group was taken away: %+v", now)
		}
	}

	// Somebody to whom nothing is mapped gets no account, and somebody disabled no session; both are told the same.
	stranger := s.browser(t)
	status, _, refusal := stranger.signIn("test-user2")
	if _, me := stranger.me(); status != http.StatusForbidden || me != http.StatusUnauthorized || !strings.Contains(refusal, "no account") {
		t.Errorf("a stranger: %d %s, then %d", status, refusal, me)
	}
	if _, err := s.store.DisableUser(t.Context(), authsvc.Local("test"), who.ID); err != nil {
		t.Fatal(err)
	}
	disabled := s.browser(t)
	if status, _, same := disabled.signIn("test-user@127.0.0.1"); status != http.StatusForbidden || message(t, same) != message(t, refusal) {
		t.Errorf("somebody disabled: %d %s", status, same)
	}
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

// TestProviderAnswersBelongToBrowsers tries answers where they do not belong.
func TestProviderAnswersBelongToBrowsers(t *testing.T) {
	t.Parallel()
	s := newSite(t, authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{{Value: "logons", Role: authsvc.RoleUser}}})
	s.people.groups["id1"], s.people.groups["id2"] = []string{"logons"}, []string{"logons"}
	attacker, victim := s.browser(t), s.browser(t)

	// An attacker's answer in the victim's browser would sign the victim in to the attacker's account.
	back := attacker.begin("test-user2", "/")
	for what, address := range map[string]string{
		"a browser that began nothing": back, "no answer at all": s.gate.URL + "/api/v1/auth/oidc/callback",
	} {
		if status, _, _ := victim.get(address); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", what, status)
		}
	}
	own := victim.begin("test-user@127.0.0.1", "/")
	if status, _, _ := victim.get(back); status != http.StatusUnauthorized {
		t.Errorf("an attacker's answer in the middle of a sign-in: %d", status)
	}
	if _, status := victim.me(); status != http.StatusUnauthorized {
		t.Errorf("signed in: %d", status)
	}
	// A wrong answer ends what was begun: there is no trying on.
	if status, _, _ := victim.get(own); status != http.StatusUnauthorized {
		t.Errorf("the right answer after a wrong one: %d", status)
	}
	// The victim's code with the attacker's state: PKCE and nonce bind the code to the browser that asked for it.
	stolen, mine := mustURL(t, victim.begin("test-user@127.0.0.1", "/")), mustURL(t, attacker.begin("test-user2", "/"))
	q := mine.Query()
	q.Set("code", stolen.Query().Get("code"))
	mine.RawQuery = q.Encode()
	if status, _, body := attacker.get(mine.String()); status != http.StatusUnauthorized {
		t.Errorf("a stolen code: %d %s", status, body)
	}
	if _, status := attacker.me(); status != http.StatusUnauthorized {
		t.Errorf("signed in by a stolen code: %d", status)
	}

	// Nobody is sent anywhere else afterwards.
	for _, next := range []string{"//evil.example", "https://evil.example", `/\evil.example`, "/%2fevil.example", "javascript:alert(1)"} {
		b := s.browser(t)
		if status, location, _ := b.get(b.begin("test-user@127.0.0.1", next)); status != http.StatusFound || location != "/" {
			t.Errorf("next %s: %d %s", next, status, location)
		}
	}
	// What the provider adds to its answer is not looked at; what it must not say twice is.
	b := s.browser(t)
	if status, _, body := b.get(b.begin("test-user@127.0.0.1", "/") + "&session_state=x&session_state=y&scope=openid"); status != http.StatusFound {
		t.Errorf("more parameters: %d %s", status, body)
	}
	if status, _, _ := b.get(s.gate.URL + "/api/v1/auth/oidc?next=/&nxt=/"); status != http.StatusBadRequest {
		t.Errorf("an unknown parameter of ours: %d", status)
	}
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

// TestProviderLinks has somebody whose account is there already come by the provider: they are told to link it, and do.
func TestProviderLinks(t *testing.T) {
	t.Parallel()
	s := newSite(t, authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{{Value: "root", Role: authsvc.RoleGlobalAdmin}}})
	s.people.groups["id1"] = []string{"root"}
	u := s.zed(t)
	maker := s.browser(t) // whoever made the account knows its password
	if status, body := maker.post(http.MethodPost, "/api/v1/auth/sign-in", `{"login":"zed","password":"`+goodPassword+`"}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if status, _ := maker.me(); status.ID != u.ID {
		t.Fatalf("signed in as %+v", status)
	}

	b := s.browser(t)
	status, _, body := b.signIn("test-user@127.0.0.1")
	if _, me := b.me(); status != http.StatusConflict || me != http.StatusUnauthorized || !strings.Contains(message(t, body), "link it on your account page") {
		t.Fatalf("the first time: %d %s, then %d", status, body, me)
	}
	if status, body := b.post(http.MethodPost, "/api/v1/me/identities", "{}"); status != http.StatusUnauthorized {
		t.Errorf("linked by nobody: %d %s", status, body)
	}
	if status, body := b.post(http.MethodPost, "/api/v1/auth/sign-in", `{"login":"zed","password":"`+goodPassword+`"}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	link := func() string {
		t.Helper()
		status, body := b.post(http.MethodPost, "/api/v1/me/identities", "{}")
		address := field(t, body, "address")
		if q := mustURL(t, address).Query(); status != http.StatusOK || q.Get("prompt") != "login" || q.Get("max_age") != "0" {
			t.Fatalf("begin to link: %d %s", status, body)
		}
		return address
	}
	// What was begun in one browser links nothing in another.
	foreign := b.atProvider(link(), "test-user@127.0.0.1")
	if status, _, body := maker.get(foreign); status != http.StatusUnauthorized {
		t.Errorf("linked in another browser: %d %s", status, body)
	}
	before := b.cookie()
	if status, location, body := b.get(b.atProvider(link(), "test-user@127.0.0.1")); status != http.StatusFound || location != "/account?done=linked#identities" {
		t.Fatalf("%d %s %s", status, location, body)
	}
	if who, status := b.me(); status != http.StatusOK || who.ID != u.ID || who.Next != "done" || who.Role != authsvc.RoleGlobalAdmin || b.cookie() == before {
		t.Errorf("linked: %+v (%d)", who, status)
	}
	if _, status := maker.me(); status != http.StatusUnauthorized {
		t.Errorf("the maker's session is still there: %d", status)
	}
	if status, body := maker.post(http.MethodPost, "/api/v1/auth/sign-in", `{"login":"zed","password":"`+goodPassword+`"}`); status != http.StatusUnauthorized {
		t.Errorf("the maker's password is still good: %d %s", status, body)
	}

	// The list, and the last way in.
	var list struct {
		Rows []struct {
			ID              int
			Issuer, Subject string
		}
	}
	_, _, body = b.get(s.gate.URL + "/api/v1/me/identities")
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Rows) != 1 || list.Rows[0].Issuer != s.provider.URL || list.Rows[0].Subject != "id1" {
		t.Fatalf("%v %s", err, body)
	}
	path := "/api/v1/me/identities/" + strconv.Itoa(list.Rows[0].ID)
	if status, body := b.post(http.MethodDelete, path, "{}"); status != http.StatusConflict {
		t.Errorf("unlinked the last way in: %d %s", status, body)
	}
	if status, body := b.post(http.MethodPost, "/api/v1/me/password", `{"old_password":"","password":"another-Teapot-92-quartz"}`); status != http.StatusNoContent {
		t.Fatalf("a password of their own: %d %s", status, body)
	}
	if status, body := b.post(http.MethodPost, "/api/v1/me/password", `{"old_password":"","password":"a-third-Teapot-93-quartz"}`); status != http.StatusBadRequest {
		t.Errorf("another password without the old one: %d %s", status, body)
	}
	if status, body := b.post(http.MethodDelete, path, "{}"); status != http.StatusNoContent {
		t.Errorf("unlink: %d %s", status, body)
	}
	if who, status := b.me(); status != http.StatusOK || who.ID != u.ID {
		t.Errorf("after unlinking: %+v (%d)", who, status)
	}
	if status, _, _ := s.browser(t).signIn("test-user@127.0.0.1"); status != http.StatusConflict {
		t.Errorf("signed in by an identity that was unlinked: %d", status)
	}
}

// TestProviderLinkIsForWhoBegan signs somebody else in between.
func TestProviderLinkIsForWhoBegan(t *testing.T) {
	t.Parallel()
	s := newSite(t, authsvc.IdentityRules{})
	s.zed(t)
	if _, _, err := s.store.CreateUser(t.Context(), authsvc.Local("test"), authsvc.NewUser{Username: "other", Email: "other@example.com", Password: goodPassword, KeepPassword: true}); err != nil {
		t.Fatal(err)
	}
	b := s.browser(t)
	signIn := func(name string) {
		t.Helper()
		if status, body := b.post(http.MethodPost, "/api/v1/auth/sign-in", `{"login":"`+name+`","password":"`+goodPassword+`"}`); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	signIn("zed")
	_, body := b.post(http.MethodPost, "/api/v1/me/identities", "{}")
	back := b.atProvider(field(t, body, "address"), "test-user@127.0.0.1")
	signIn("other")
	if status, _, body := b.get(back); status != http.StatusUnauthorized {
		t.Errorf("linked with whoever came after: %d %s", status, body)
	}
}

// TestProviderSecondFactor asks people who come by the provider for a second factor, as the settings have it.
func TestProviderSecondFactor(t *testing.T) {
	t.Parallel()
	rules := authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{{Value: "logons", Role: authsvc.RoleUser}}}
	for what, c := range map[string]struct {
		change func(*oidc.Config)
		amr    []string
		done   bool
	}{
		"ask":                              {func(*oidc.Config) {}, []string{"pwd", "mfa"}, false},
		"by amr, a password alone":         {func(c *oidc.Config) { c.FactorValues = []string{"mfa"} }, []string{"pwd"}, false},
		"by amr, and more":                 {func(c *oidc.Config) { c.FactorValues = []string{"hwk", "mfa"} }, []string{"pwd", "mfa"}, true},
		"trust, whatever the provider did": {func(c *oidc.Config) { c.TrustFactors = true }, []string{"pwd"}, true},
	} {
		s := newSite(t, rules, c.change)
		s.people.groups["id1"] = []string{"logons"}
		s.people.prove(0, c.amr...)
		b := s.browser(t)
		if status, _, body := b.signIn("test-user@127.0.0.1"); status != http.StatusFound {
			t.Fatalf("%s: %d %s", what, status, body)
		}
		who, _ := b.me()
		if who.Next != "done" {
			t.Errorf("%s, with nothing required: %s", what, who.Next)
		}
		if _, err := s.store.UpdateUser(t.Context(), authsvc.Local("test"), who.ID, authsvc.UserChange{MFAPolicy: new(authsvc.MFARequired)}); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "done", false: "set_up_factor"}[c.done]
		again := s.browser(t)
		if status, _, body := again.signIn("test-user@127.0.0.1"); status != http.StatusFound {
			t.Fatalf("%s: %d %s", what, status, body)
		}
		if who, _ := again.me(); who.Next != want {
			t.Errorf("%s, with one required: %s, want %s", what, who.Next, want)
		}
		if want == "done" {
			continue
		}
		// What they set up is asked for from then on.
		status, body := again.post(http.MethodPost, "/api/v1/me/totp", "{}")
		app, err := mfa.ReadTOTP(field(t, body, "secret"))
		if status != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s, %v", what, status, body, err)
		}
		code := func(at time.Time) string {
			t.Helper()
			code, err := app.Code(at)
			if err != nil {
				t.Fatal(err)
			}
			return code
		}
		if status, body := again.post(http.MethodPost, "/api/v1/me/totp/confirm", `{"code":"`+code(time.Now())+`"}`); status != http.StatusOK {
			t.Fatalf("%s: %d %s", what, status, body)
		}
		if who, _ := again.me(); who.Next != "done" {
			t.Errorf("%s, after setting one up: %s", what, who.Next)
		}
		later := s.browser(t)
		// Where they wanted to go is there again after the code, and only then.
		next := func(when string, b *browser, want string) {
			t.Helper()
			session, err := s.sessions.Get(t.Context(), b.cookie(), netip.Addr{})
			if err != nil {
				t.Fatal(err)
			}
			if got := session.Values[websession.NextPage]; got != want {
				t.Errorf("%s, %s: to go on at %q, want %q", what, when, got, want)
			}
		}
		if status, location, body := later.get(later.begin("test-user@127.0.0.1", "/account")); status != http.StatusFound || location != "/account" {
			t.Fatalf("%s: %d %s %s", what, status, location, body)
		}
		next("nothing to do after the provider", b, "")
		next("before the code", later, "/account")
		if who, _ := later.me(); who.Next != "second_factor" {
			t.Errorf("%s, with one set up: %s", what, who.Next)
		}
		if status, body := later.post(http.MethodGet, "/api/v1/me/identities", ""); status != http.StatusUnauthorized {
			t.Errorf("%s, before the code: %d %s", what, status, body)
		}
		if status, body := later.post(http.MethodPost, "/api/v1/auth/second-factor", `{"code":"`+code(time.Now().Add(30*time.Second))+`"}`); status != http.StatusOK {
			t.Errorf("%s, the code: %d %s", what, status, body)
		}
		if who, _ := later.me(); who.Next != "done" {
			t.Errorf("%s, after the code: %s", what, who.Next)
		}
	}
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

// TestProviderRecent signs somebody in without the provider asking them anything: that is no proof of who sits there.
func TestProviderRecent(t *testing.T) {
	t.Parallel()
	s := newSite(t, authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{{Value: "logons", Role: authsvc.RoleUser}}})
	s.people.groups["id1"] = []string{"logons"}
	b := s.browser(t)
	token := func(want int) {
		t.Helper()
		body := `{"name":"x","scopes":["read"],"expires":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`
		status, answer := b.post(http.MethodPost, "/api/v1/me/tokens", body)
		if status != want || status != http.StatusCreated && !strings.Contains(message(t, answer), "sign in with the identity provider again") {
			t.Errorf("a token: %d %s, want %d", status, answer, want)
		}
	}
	anew := func() (status int) {
		t.Helper()
		stop := *b.Client
		stop.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		_, location, _ := (&browser{t, s, &stop}).get(s.gate.URL + "/api/v1/auth/oidc?anew=true&next=/account")
		if q := mustURL(t, location).Query(); q.Get("prompt") != "login" || q.Get("max_age") != "0" {
			t.Fatalf("asked for %v", q)
		}
		status, _, _ = b.get(b.atProvider(location, "test-user@127.0.0.1"))
		return status
	}

	s.people.prove(20 * time.Minute) // they were signed in there, and nothing was asked
	if status, _, body := b.signIn("test-user@127.0.0.1"); status != http.StatusFound {
		t.Fatalf("%d %s", status, body)
	}
	who, _ := b.me()
	token(http.StatusBadRequest)
	if status, body := b.post(http.MethodPost, "/api/v1/me/password", `{"old_password":"","password":"another-Teapot-92-quartz"}`); status != http.StatusBadRequest {
		t.Errorf("a password: %d %s", status, body)
	}
	// A provider that does not ask again is not believed.
	if status := anew(); status != http.StatusUnauthorized {
		t.Errorf("anew, and it did not ask: %d", status)
	}
	token(http.StatusBadRequest)
	s.people.prove(0)
	if status := anew(); status != http.StatusFound {
		t.Errorf("anew: %d", status)
	}
	if now, _ := b.me(); now.ID != who.ID {
		t.Errorf("then signed in as %+v", now)
	}
	token(http.StatusCreated)
}
