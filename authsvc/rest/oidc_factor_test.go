package rest_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/authsvc/oidc"
	"gatehouse/authsvc/websession"
)

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
