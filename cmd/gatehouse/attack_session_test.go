package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
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
		{"another role", "PATCH", "", `{"role":"Admin"}`, 200, 401}, // one that somebody else saw or planted must not be worth more
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
