package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/authsvc/rest"
)

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
