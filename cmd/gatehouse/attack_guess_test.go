package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/config"
)

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
	for i := range 40 {
		if r := from(p.browser(), i).try(u.Username, fmt.Sprint("guess", i)); r.status != 401 {
			t.Fatal(r.status, r.body)
		}
	}
	list, _, err := p.store.ListAudit(t.Context(), localActor(), authsvc.AuditFilter{Action: "session.sign_in", TargetKind: "user", TargetID: fmt.Sprint(u.ID)}, authsvc.Page{})
	if err != nil {
		t.Fatal(err)
	}
	counted, limited := 0, 0
	for _, r := range list {
		switch {
		case r.Detail == "wrong password":
			counted++
		case r.Outcome == authsvc.Denied:
			limited++
		}
	}
	if limited == 0 || counted == 0 || counted > 12 {
		t.Errorf("%d of 40 guesses from 40 addresses counted, %d entries of refused ones", counted, limited)
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
			if sprayed++; r.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
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
