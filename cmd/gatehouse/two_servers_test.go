package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/password"
	"gatehouse/config"
	"gatehouse/engine"
	"gatehouse/internal/redistest"
	"gatehouse/internal/reldb/reldbtest"
)

// logBuffer is a log that a test reads while servers write it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// signInsOfTwo is how often one address may try to sign in at both servers together. They come back so slowly that none does during the test.
const signInsOfTwo = 40

// startTwo starts two servers on one PostgreSQL and one Redis, with sessions kept in store.
func startTwo(t *testing.T, store string, log *logBuffer) (one, two *people) {
	t.Helper()
	if _, err := engine.FindLibrary("", ""); err != nil {
		t.Skip(err)
	}
	databaseURL := reldbtest.Postgres(t)
	client, _ := redistest.Open(t)
	o := client.Options()
	address := url.URL{Scheme: "redis", Host: o.Addr, Path: "/" + strconv.Itoa(o.DB)}
	if o.Password != "" {
		address.User = url.UserPassword(o.Username, o.Password)
	}
	// Names of counters in Redis are made with the secret key, so that other tests count apart.
	secret := strings.Repeat("k", 32) + must(authsvc.NewSealer(strings.Repeat("s", 32))).MAC(authsvc.PurposeLimit, databaseURL)
	start := func() *people {
		cfg := config.Default()
		cfg.Security.SecretKey, cfg.Cache.RedisURL, cfg.Session.Store = config.Secret(secret), config.Secret(address.String()), store
		cfg.Ingest.RateLimit = 1
		cfg.RateLimiting.LoginLimit = config.Rate{Count: signInsOfTwo, Per: signInsOfTwo * 24 * time.Hour}
		p := &people{t: t}
		var err error
		p.server, err = startServer(context.Background(), serverOptions{
			dataDir: t.TempDir(), databaseURL: databaseURL, listen: "127.0.0.1:0", cfg: cfg, passwords: must(password.New(password.MinCost)),
			log: slog.New(slog.NewTextHandler(log, nil)),
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
		return p
	}
	return start(), start()
}

// at is the same browser, which a load balancer sends to another server.
func (b *browser) at(p *people) *browser {
	b.p = p
	return b
}

// TestTwoServers holds what counts over servers that share a PostgreSQL and a Redis: sessions, limits, and every kind of end.
func TestTwoServers(t *testing.T) {
	for _, store := range []string{"database", "redis"} {
		t.Run("sessions in "+store, func(t *testing.T) {
			var log logBuffer
			one, two := startTwo(t, store, &log)
			company := one.company("Acme")
			boss, ada, bob := one.person(authsvc.RoleGlobalAdmin, ""), one.person(authsvc.RoleUser, authsvc.RoleUser, company.ID), one.person(authsvc.RoleUser, authsvc.RoleUser, company.ID)

			// A session of one is a session of both, with its token against forged requests.
			b := one.signIn(&ada)
			if got := b.at(two).want(200, http.MethodGet, "/api/v1/me", "").text("name"); got != ada.Username {
				t.Errorf("the other server takes the session for %q's", got)
			}
			if cookie, ok := b.cookies[sessionCookie]; !ok || cookie == "" {
				t.Errorf("the session's cookie is not %s: %v", sessionCookie, b.cookies)
			}
			// What is refused is logged, and whose request it was.
			b.at(two).want(403, http.MethodGet, "/api/v1/settings", "")
			if text := log.String(); !strings.Contains(text, `msg="a request was refused"`) || !strings.Contains(text, fmt.Sprintf("user_id=%d ", ada.ID)) {
				t.Errorf("the refusal is not in the log:\n%s", text)
			}
			old := &browser{p: one, cookies: map[string]string{sessionCookie: b.cookies[sessionCookie]}}
			b.at(two).want(204, http.MethodPost, "/api/v1/auth/sign-out", "{}")
			old.want(401, http.MethodGet, "/api/v1/me", "")

			// Disabling by one ends what the other has given: sessions, and tokens of both kinds.
			b, admin := two.signIn(&ada), one.signIn(&boss)
			pair := one.program("", "").want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": ada.Username, "password": goodPassword}))
			personal := b.want(201, http.MethodPost, "/api/v1/me/tokens", jsonOf(map[string]any{"name": "script", "scopes": []string{"read"}, "expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})).text("token")
			holders := []*browser{b, two.program("Authorization", "Bearer "+pair.text("access_token")), one.program("Authorization", "Bearer "+personal)}
			for _, p := range []*people{one, two} {
				for i, h := range holders {
					if r := h.at(p).ask(http.MethodGet, "/api/v1/me", ""); r.status != 200 {
						t.Errorf("credential %d before: %d %s", i, r.status, r.body)
					}
				}
			}
			admin.at(one).want(200, http.MethodPost, fmt.Sprintf("/api/v1/users/%d/disable", ada.ID), "{}")
			for _, p := range []*people{two, one} {
				for i, h := range holders {
					if r := h.at(p).ask(http.MethodGet, "/api/v1/me", ""); r.status != 401 {
						t.Errorf("credential %d after its person was disabled: %d %s", i, r.status, r.body)
					}
				}
			}

			// A changed password ends the person's sessions at the other.
			b, other := one.signIn(&bob), two.signIn(&bob)
			b.want(204, http.MethodPost, "/api/v1/me/password", jsonOf(map[string]any{"old_password": goodPassword, "password": goodPassword + "-new"}))
			other.want(401, http.MethodGet, "/api/v1/me", "")
			b.at(two).want(200, http.MethodGet, "/api/v1/me", "")

			// A refresh token that was used at one is found again at the other, and takes all of its sign-in with it.
			first := two.program("", "").want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": boss.Username, "password": goodPassword}))
			refresh := func(p *people, token string) reply {
				return p.program("", "").ask(http.MethodPost, "/api/v1/auth/refresh", jsonOf(map[string]any{"refresh_token": token}))
			}
			second := refresh(one, first.text("refresh_token"))
			if second.status != 200 {
				t.Fatalf("refresh at the other server: %d %s", second.status, second.body)
			}
			if r := refresh(two, first.text("refresh_token")); r.status != 401 {
				t.Errorf("a used refresh token: %d %s", r.status, r.body)
			}
			if r := refresh(one, second.text("refresh_token")); r.status != 401 {
				t.Errorf("its family lives: %d %s", r.status, r.body)
			}
			one.program("Authorization", "Bearer "+second.text("access_token")).want(401, http.MethodGet, "/api/v1/me", "")

			revokedElsewhere(t, one, two, admin, company.ID)
			countedTogether(t, one, two)
			eventsTogether(t, one, two, company.ID)
		})
	}
}

// revokedWithin is how soon a revoked key must stop everywhere.
const revokedWithin = 2 * time.Second

// revokedElsewhere revokes a key at one server and waits until the other knows, which it should within two seconds.
func revokedElsewhere(t *testing.T, one, two *people, admin *browser, company uint32) {
	t.Helper()
	key, secret := one.key(company, authsvc.ScopeIngest|authsvc.ScopeRead)
	program := two.program("X-API-Key", secret)
	wait := func(want int, patience time.Duration) time.Duration {
		begin := time.Now()
		for r := program.ask(http.MethodGet, "/api/v1/reports", ""); r.status != want; r = program.ask(http.MethodGet, "/api/v1/reports", "") {
			if time.Since(begin) > patience {
				t.Fatalf("the other server answers %d %s after %v, want %d", r.status, r.body, time.Since(begin), want)
			}
			time.Sleep(5 * time.Millisecond)
		}
		return time.Since(begin)
	}
	wait(200, 20*time.Second)
	admin.at(one).want(204, http.MethodDelete, fmt.Sprintf("/api/v1/companies/%d/keys/%d", company, key.ID), "{}")
	t.Logf("the other server refused a revoked key after %v", wait(401, revokedWithin).Round(time.Millisecond))
}

// countedTogether tries names until a server refuses, and holds that the two did not each count for themselves.
func countedTogether(t *testing.T, one, two *people) {
	t.Helper()
	b := one.browser()
	for tried := 0; ; tried++ {
		r := b.at([]*people{one, two}[tried%2]).try(fmt.Sprintf("nobody-%d", tried), goodPassword)
		if r.status == http.StatusTooManyRequests {
			if r.header.Get("Retry-After") == "" {
				t.Error("a refusal does not say when to come again")
			}
			break
		}
		if tried > signInsOfTwo {
			t.Fatalf("%d tries at two servers, with a limit of %d", tried, signInsOfTwo)
		}
	}
	for _, p := range []*people{one, two} {
		if r := b.at(p).try("nobody", goodPassword); r.status != http.StatusTooManyRequests {
			t.Errorf("a further try: %d %s", r.status, r.body)
		}
	}
}

// eventsTogether sends events of one key to both servers in turn: they take together what one would.
func eventsTogether(t *testing.T, one, two *people, company uint32) {
	t.Helper()
	_, secret := one.key(company, authsvc.ScopeIngest)
	program := two.program("X-API-Key", secret)
	begin, taken := time.Now(), 0
	for i := 0; ; i++ {
		r := program.at([]*people{one, two}[i%2]).ask(http.MethodPost, "/api/log_event",
			fmt.Sprintf(`{"EventType":"Logon","UserName":"u%d","ComputerName":"c","Timestamp":%q}`, i, begin.UTC().Format(time.RFC3339)))
		if r.status == http.StatusTooManyRequests {
			if r.header.Get("Retry-After") == "" || r.header.Get("X-Ratelimit-Limit") != "10" {
				t.Errorf("a refusal without figures: %v", r.header)
			}
			break
		}
		if r.status != http.StatusCreated {
			t.Fatalf("event %d: %d %s", i, r.status, r.body)
		}
		taken++
	}
	if saved := 10 + int(time.Since(begin)/time.Second) + 1; taken < 10 || taken > saved {
		t.Errorf("the two took %d events, where one may take %d", taken, saved)
	}
}
