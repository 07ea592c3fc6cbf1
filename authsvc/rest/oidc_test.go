package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/authsvc"
)

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
