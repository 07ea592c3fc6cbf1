package rest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
)

// asksItself are the routes of people who are signed in that leave the permission to the store, because it shows only there whom or which
// company it is about. Each has rows in cmd/gatehouse's table of scenarios.
var asksItself = []string{
	"GET /api/v1/users", "POST /api/v1/users", "GET /api/v1/users/{user}", "PATCH /api/v1/users/{user}", "DELETE /api/v1/users/{user}",
	"POST /api/v1/users/{user}/approve", "POST /api/v1/users/{user}/disable", "POST /api/v1/users/{user}/enable",
	"POST /api/v1/users/{user}/reset-password", "POST /api/v1/users/{user}/reset-mfa",
	"GET /api/v1/users/{user}/identities", "DELETE /api/v1/users/{user}/identities/{identity}",
	"GET /api/v1/users/{user}/sessions", "DELETE /api/v1/users/{user}/sessions", "GET /api/v1/users/{user}/memberships",
	"GET /api/v1/companies", "GET /api/v1/keys", "GET /api/v1/audit",
}

// readsOnly are the routes by GET that may yet write something of the asker's own: a session without anybody in it, or a sign-in with a
// provider, which the standard sends by GET and protects by a value of its own.
var readsOnly = []string{"/api/v1/auth/csrf", "/api/v1/auth/oidc", "/api/v1/auth/oidc/callback"}

func TestRouteTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, rt := range routes() {
		name := rt.method + " " + rt.path
		if seen[name] {
			t.Errorf("%s stands twice in the table", name)
		}
		seen[name] = true
		if rt.does == "" || rt.run == nil || !strings.HasPrefix(rt.path, "/api/v1/") {
			t.Errorf("%s is not whole", name)
		}
		if rt.method == http.MethodGet && (rt.body != nil || rt.answer == nil) {
			t.Errorf("%s takes a body or answers nothing, and is no GET then", name)
		}
		if open := rt.access == anyone || rt.access == apart; rt.method == http.MethodGet && open && rt.path != "/api/v1/me" && !slices.Contains(readsOnly, rt.path) {
			t.Errorf("%s is open to everybody", name)
		}
		if rt.access == member && rt.perm == "" && !slices.Contains(asksItself, name) {
			t.Errorf("%s names no permission", name)
		}
		if rt.access == member && rt.perm != "" && slices.Contains(asksItself, name) {
			t.Errorf("%s names its permission: take it off the list", name)
		}
		if rt.status == http.StatusCreated && (rt.method != http.MethodPost || rt.answer == nil) {
			t.Errorf("%s cannot create", name)
		}
		for _, p := range rt.params {
			if p.does == "" || rt.method != http.MethodGet && rt.method != http.MethodDelete {
				t.Errorf("%s: parameter %s", name, p.name)
			}
		}
	}
	for _, name := range asksItself {
		if !seen[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

func TestCSRFToken(t *testing.T) {
	t.Parallel()
	one := &websession.Session{Data: websession.Data{CSRF: []byte("the secret of one session: 32 byte")}}
	other := &websession.Session{Data: websession.Data{CSRF: []byte("the secret of another: 32 bytes…")}}
	a, b := csrfToken(one), csrfToken(one)
	if a == b {
		t.Error("two tokens are the same: a compressed page could give them away")
	}
	for _, token := range []string{a, b} {
		if !csrfValid(one, token) {
			t.Errorf("%s is not taken", token)
		}
		if csrfValid(other, token) || csrfValid(&websession.Session{}, token) {
			t.Errorf("%s is taken for another session", token)
		}
		for i := range token {
			changed := []byte(token)
			changed[i] ^= 1
			if csrfValid(one, string(changed)) {
				t.Errorf("%s is taken, changed at %d", token, i)
			}
		}
		if csrfValid(one, token[:len(token)-1]) || csrfValid(one, token+"A") || csrfValid(one, token+"=") || csrfValid(one, "") {
			t.Error("a token of another length is taken")
		}
	}
	// A session without a secret has no token that is right, also not the one that an empty secret would make.
	if csrfValid(&websession.Session{}, csrfToken(&websession.Session{})) {
		t.Error("a session without a secret takes a token")
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		authorization, key, credential string
		ok                             bool
	}{
		{"", "", "", false},
		{"Bearer a", "", "a", true},
		{"bearer  a ", "", "a", true},
		{"", "k", "k", true},
		{"Bearer k", "k", "k", true},
		{"Bearer a", "k", "", true}, // two that differ are none
		{"Basic dTpw", "", "", true},
		{"Basic dTpw", "k", "k", true},
		{"Bearer", "", "", true},
		{"Bearer ", "", "", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Authorization", c.authorization)
		r.Header.Set("X-API-Key", c.key)
		if credential, ok := bearer(r); credential != c.credential || ok != c.ok {
			t.Errorf("%q, %q: %q, %v", c.authorization, c.key, credential, ok)
		}
	}
}

func TestPatchedCompany(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		change companyChange
		want   authsvc.CompanySettings
		wrong  bool
	}{
		"nothing":        {companyChange{}, authsvc.CompanySettings{}, false},
		"a name":         {companyChange{Name: text("A")}, authsvc.CompanySettings{Name: "A"}, false},
		"an empty name":  {companyChange{Name: text("")}, authsvc.CompanySettings{}, true},
		"an empty zone":  {companyChange{Timezone: text("")}, authsvc.CompanySettings{}, true},
		"not a time":     {companyChange{MaxSession: text("soon")}, authsvc.CompanySettings{}, true},
		"no time at all": {companyChange{MaxSession: text("0s")}, authsvc.CompanySettings{MaxSession: -1}, false},
	} {
		got, err := c.change.settings()
		if (err != nil) != c.wrong || err == nil && got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
