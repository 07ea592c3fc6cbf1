package rest_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"gatehouse/authsvc"
)

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
