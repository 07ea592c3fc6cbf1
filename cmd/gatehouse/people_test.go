package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/authsvc/password"
	"gatehouse/config"
	"gatehouse/engine"
	"gatehouse/internal/reldb"
)

// goodPassword is everybody's in these tests.
const goodPassword = "rather-long-and-odd-7"

// people is a whole server with cheap passwords, for tests of accounts over HTTP.
type people struct {
	*server
	t     *testing.T
	http  *http.Client
	work  atomic.Int64 // of bcrypt
	count atomic.Int64 // makes names differ
	said  lockedBuffer // what it logged
}

// startPeople starts a server, without limits unless change says otherwise.
func startPeople(t *testing.T, change func(*config.Config)) *people {
	t.Helper()
	if _, err := engine.FindLibrary("", ""); err != nil {
		t.Skip(err)
	}
	p := &people{t: t}
	hasher, err := password.New(password.MinCost, password.WithTurns(8, time.Minute), password.WithWork(func(cost int) { p.work.Add(1 << cost) }))
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.RateLimiting.Enabled = false
	if change != nil {
		change(cfg)
	}
	dir := t.TempDir()
	p.server, err = startServer(context.Background(), serverOptions{
		dataDir: dir, databaseURL: reldb.SQLiteURL(filepath.Join(dir, "gatehouse.db")), listen: "127.0.0.1:0", cfg: cfg, passwords: hasher,
		log: slog.New(slog.NewTextHandler(&p.said, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	p.http = testClient(t, p.server)
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return p
}

// base is where the server listens, by the name that passkeys need.
func (p *people) base() string { return strings.Replace(p.url, "127.0.0.1", "localhost", 1) }

// must fails the test on an error of what prepares it.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("prepare: %v", err))
	}
	return v
}

func (p *people) unique(prefix string) string { return fmt.Sprintf("%s%d", prefix, p.count.Add(1)) }

func (p *people) company(name string) authsvc.Company {
	return must(p.store.CreateCompany(context.Background(), localActor(), authsvc.CompanySettings{Name: name}))
}

// person makes an account with a role over all companies and one in each company given.
func (p *people) person(role authsvc.Role, in authsvc.Role, companies ...uint32) authsvc.User {
	name := p.unique("person")
	n := authsvc.NewUser{Username: name, Email: name + "@example.com", Password: goodPassword, KeepPassword: true, Role: role}
	for _, id := range companies {
		n.Memberships = append(n.Memberships, authsvc.Grant{CompanyID: id, Role: in})
	}
	u, _, err := p.store.CreateUser(context.Background(), localActor(), n)
	return must(u, err)
}

// browser is a client with cookies, which knows the token of its session as a page of ours would.
type browser struct {
	p       *people
	cookies map[string]string
	csrf    string
	headers []string // sent with every request
}

func (p *people) browser() *browser { return &browser{p: p, cookies: map[string]string{}} }

// program is a client that sends a token or a key.
func (p *people) program(header, value string) *browser {
	b := p.browser()
	b.headers = []string{header, value}
	return b
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) field(name string) any {
	var all map[string]any
	if json.Unmarshal([]byte(r.body), &all) != nil {
		return nil
	}
	return all[name]
}

func (r reply) text(name string) string {
	s, _ := r.field(name).(string)
	return s
}

// ask makes a request. Headers given here replace those that the browser would send; an empty one takes a header away.
func (b *browser) ask(method, path, body string, headers ...string) reply {
	b.p.t.Helper()
	all := map[string]string{}
	if body != "" {
		all["Content-Type"] = "application/json"
	}
	if method != http.MethodGet && b.csrf != "" {
		all["X-CSRF-Token"] = b.csrf
	}
	var jar []string
	for name, value := range b.cookies {
		jar = append(jar, name+"="+value)
	}
	all["Cookie"] = strings.Join(jar, "; ")
	list := append(append([]string{}, b.headers...), headers...)
	for i := 0; i+1 < len(list); i += 2 {
		all[list[i]] = list[i+1]
	}
	var flat []string
	for name, value := range all {
		if value != "" {
			flat = append(flat, name, value)
		}
	}
	got, text := request(b.p.t, b.p.http, method, b.p.base()+path, body, flat...)
	for _, c := range (&http.Response{Header: got.Header}).Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	r := reply{got.StatusCode, got.Header, text}
	if token := r.text("csrf_token"); token != "" && r.status < 300 {
		b.csrf = token
	}
	return r
}

// want is ask that fails the test on another status.
func (b *browser) want(status int, method, path, body string, headers ...string) reply {
	b.p.t.Helper()
	r := b.ask(method, path, body, headers...)
	if r.status != status {
		b.p.t.Errorf("%s %s: %d, want %d: %s", method, path, r.status, status, r.body)
	}
	return r
}

const sessionCookie = "__Host-gatehouse_session"

// try gives a name and a password.
func (b *browser) try(login, pass string) reply {
	b.p.t.Helper()
	if b.csrf == "" {
		b.want(200, http.MethodGet, "/api/v1/auth/csrf", "")
	}
	return b.ask(http.MethodPost, "/api/v1/auth/sign-in", jsonOf(map[string]any{"login": login, "password": pass}))
}

// signIn is a browser in which the person has given their password.
func (p *people) signIn(u *authsvc.User) *browser {
	p.t.Helper()
	b := p.browser()
	if r := b.try(u.Username, goodPassword); r.status != 200 {
		p.t.Fatalf("sign in: %d %s", r.status, r.body)
	}
	return b
}

// withApp gives the person an authenticator app, and the browser in which it was set up.
func (p *people) withApp(u *authsvc.User) (*browser, mfa.TOTP) {
	p.t.Helper()
	b := p.signIn(u)
	app := must(mfa.ReadTOTP(b.want(200, http.MethodPost, "/api/v1/me/totp", "{}").text("secret")))
	b.want(200, http.MethodPost, "/api/v1/me/totp/confirm", jsonOf(map[string]any{"code": must(app.Code(time.Now()))}))
	b.want(200, http.MethodGet, "/api/v1/auth/csrf", "")
	return b, app
}

func jsonOf(v any) string { return string(must(json.Marshal(v))) }

func (p *people) key(company uint32, scopes authsvc.Scopes) (authsvc.Key, string) {
	k, secret, err := p.store.CreateKey(context.Background(), localActor(), company, authsvc.NewKey{Site: p.unique("site"), Scopes: scopes})
	return must(k, err), secret
}

// actor is the person as their own requests would be.
func (p *people) actor(u *authsvc.User) *authsvc.Actor {
	return must(p.store.ActorFor(context.Background(), u.ID, authsvc.Claim{SecondFactor: true, Scopes: authsvc.AllScopes}))
}
