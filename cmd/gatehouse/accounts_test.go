package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/rest"
)

// TestAccountRequests holds what all routes of accounts have in common.
func TestAccountRequests(t *testing.T) {
	p := startPeople(t, nil)
	alpha := p.company("Alpha")
	admin := p.person(authsvc.RoleGlobalAdmin, "")
	b := p.signIn(&admin)
	company, keys := fmt.Sprintf("/api/v1/companies/%d", alpha.ID), fmt.Sprintf("/api/v1/companies/%d/keys", alpha.ID)

	if r := b.want(200, http.MethodHead, "/api/v1/me", ""); r.body != "" || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Errorf("HEAD: %v %q", r.header, r.body)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		field              string
	}{
		{"GET", "/api/v1/users?org=1", "", 400, "org"},
		{"GET", "/api/v1/users?company=1&company=2", "", 400, "company"},
		{"GET", "/api/v1/users?company=x", "", 400, "company"},
		{"GET", "/api/v1/users?q=%00", "", 400, "q"},
		{"GET", "/api/v1/users?q=%zz", "", 400, ""},
		{"GET", "/api/v1/users?q=a;b", "", 400, ""},
		{"GET", "/api/v1/users?limit=501", "", 400, "limit"},
		{"GET", "/api/v1/users?limit=-1", "", 400, "limit"},
		{"GET", "/api/v1/users?cursor=nonsense", "", 400, "cursor"},
		{"GET", "/api/v1/users?total=maybe", "", 400, "total"},
		{"GET", "/api/v1/users/0", "", 404, ""},
		{"GET", "/api/v1/users/-1", "", 404, ""},
		{"GET", "/api/v1/users/1e3", "", 404, ""},
		{"GET", "/api/v1/users/4294967297", "", 404, ""},
		{"GET", "/api/v1/users/99999999999999999999", "", 404, ""},
		{"PATCH", company, `{"name":""}`, 400, "name"},
		{"PATCH", company, `{"max_session":"0s"}`, 400, "max_session"},
		{"PATCH", company, `{"timezone":"Mars/Olympus"}`, 400, "timezone"},
		{"POST", company + "/disable", `{"x":1}`, 400, "x"},
		{"POST", company + "/disable", `[]`, 400, ""},
		{"POST", "/api/v1/companies", `{"name":"a\u0000b"}`, 400, ""},
		{"POST", "/api/v1/companies", `{"name":"a","name":"b"}`, 400, "name"},
		{"POST", "/api/v1/companies", `{"name":"alpha"}`, 409, "name"},
		{"POST", "/api/v1/companies", `{"name":"` + strings.Repeat("a", 70<<10) + `"}`, 413, ""},
		{"POST", keys, `{"scopes":["read"],"expires":"tomorrow"}`, 400, "expires"},
		{"POST", keys, `{"scopes":["everything"]}`, 400, "scopes"},
		{"POST", keys, `{"scopes":["read"],"networks":["10.0.0.0/99"]}`, 400, "networks"},
		{"POST", keys, `{"scopes":["read"],"networks":[""]}`, 400, "networks"},
		{"POST", keys, `{"scopes":["read"],"networks":["10.0.0.0/8 192.0.2.7"]}`, 400, "networks"},
		{"POST", keys, `{"scopes":["read"],"networks":["192.0.2.7","2001:db8::7","10.0.0.0/8"]}`, 201, ""},
		{"PUT", "/api/v1/settings/nonsense", `{"value":"1"}`, 404, ""},
		{"DELETE", "/api/v1/errors", "", 400, "before"},
		{"PUT", "/api/v1/me", "{}", 405, ""},
		{"POST", "/api/v1/me/passwords", "{}", 404, ""},
	} {
		if r := b.ask(c.method, c.path, c.body); r.status != c.status || c.field != "" && r.text("field") != c.field {
			t.Errorf("%s %s %.60s: %d, want %d about %q: %s", c.method, c.path, c.body, r.status, c.status, c.field, r.body)
		}
	}

	// What is not given stays; null lifts an end.
	b.want(200, http.MethodPatch, company, `{"timezone":"Europe/London","max_session":"12h"}`)
	if r := b.want(200, http.MethodPatch, company, `{"name":"Alpha Ltd"}`); r.text("timezone") != "Europe/London" || r.text("max_session") != "12h0m0s" || r.text("name") != "Alpha Ltd" {
		t.Errorf("a changed company: %s", r.body)
	}
	made := b.want(201, http.MethodPost, keys, jsonOf(map[string]any{"scopes": []string{"ingest", "read"}, "note": "n", "expires": time.Now().Add(time.Hour)}))
	key := fmt.Sprint(keys, "/", made.field("id"))
	if made.text("key") == "" || made.text("expires") == "" {
		t.Errorf("a key: %s", made.body)
	}
	if r := b.want(200, http.MethodPatch, key, `{"note":"m"}`); r.text("expires") == "" || r.text("note") != "m" || strings.Contains(r.body, made.text("key")) {
		t.Errorf("a changed key: %s", r.body)
	}
	if r := b.want(200, http.MethodPatch, key, `{"expires":null}`); r.field("expires") != nil || r.text("note") != "m" {
		t.Errorf("a key without an end: %s", r.body)
	}
	b.want(204, http.MethodDelete, key, "")

	// The people of a company, the companies of a person, and what belongs to one, in pages and by what they are.
	chief := p.person("", authsvc.RoleCompanyAdmin, alpha.ID, p.company("Beta").ID)
	plain := p.person("", authsvc.RoleUser, alpha.ID)
	own := p.signIn(&chief)
	for range 2 {
		own.want(201, http.MethodPost, "/api/v1/me/tokens", jsonOf(map[string]any{"name": p.unique("t"), "scopes": []string{"read"}, "expires": time.Now().Add(time.Hour)}))
		own.want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": chief.Username, "password": goodPassword}))
		p.signIn(&chief)
	}
	for _, c := range []struct {
		by   *browser
		path string
		rows int
	}{
		{b, company + "/members", 2},
		{b, company + "/members?role=CompanyAdmin", 1},
		{b, company + "/members?q=" + plain.Username, 1},
		{b, company + "/members?state=disabled", 0},
		{b, fmt.Sprintf("/api/v1/users/%d/memberships", chief.ID), 2},
		{b, fmt.Sprintf("/api/v1/users/%d/memberships?role=User", chief.ID), 0},
		{b, fmt.Sprintf("/api/v1/users/%d/sessions", chief.ID), 3},
		{own, "/api/v1/me/tokens", 2},
		{own, "/api/v1/me/programs", 2},
		{own, "/api/v1/me/sessions", 3},
		{b, keys + "?state=revoked", 1},
		{b, keys + "?scope=sql", 0},
	} {
		seen := map[string]bool{}
		page := c.path + map[bool]string{true: "&", false: "?"}[strings.Contains(c.path, "?")] + "limit=1"
		for at := page; at != ""; {
			var got struct {
				Rows []json.RawMessage
				Next string `json:"next_cursor"`
			}
			if err := json.Unmarshal([]byte(c.by.want(200, http.MethodGet, at, "").body), &got); err != nil || len(got.Rows) > 1 {
				t.Fatal(err, got)
			}
			for _, row := range got.Rows {
				seen[string(row)] = true
			}
			if at = ""; got.Next != "" {
				at = page + "&cursor=" + got.Next
			}
		}
		if len(seen) != c.rows {
			t.Errorf("%s gives %d rows, want %d: %v", c.path, len(seen), c.rows, slices.Sorted(maps.Keys(seen)))
		}
	}
	if r := b.want(200, http.MethodGet, company+"/members?role=User", ""); !strings.Contains(r.body, `"role":"User"`) || !strings.Contains(r.body, plain.Email) {
		t.Errorf("members: %s", r.body)
	}
	if r := b.want(200, http.MethodGet, "/api/v1/settings/token_max_days", ""); r.text("name") != "token_max_days" || r.text("value") == "" {
		t.Errorf("one setting: %s", r.body)
	}
	b.want(404, http.MethodGet, "/api/v1/settings/nonsense", "")
	for _, u := range []uint32{chief.ID, plain.ID} {
		b.want(204, http.MethodDelete, fmt.Sprintf("/api/v1/users/%d", u), "")
	}

	// Pages neither overlap nor leave out.
	for range 7 {
		p.person("", authsvc.RoleUser, alpha.ID)
	}
	seen, path := map[float64]bool{}, "/api/v1/users?limit=3&total=true"
	for range 10 {
		var page struct {
			Rows []struct {
				ID float64 `json:"id"`
			}
			Next  string `json:"next_cursor"`
			Total int    `json:"total"`
		}
		if err := json.Unmarshal([]byte(b.want(200, http.MethodGet, path, "").body), &page); err != nil || page.Total != 9 {
			t.Fatal(page, err)
		}
		for _, row := range page.Rows {
			if seen[row.ID] {
				t.Errorf("person %v comes twice", row.ID)
			}
			seen[row.ID] = true
		}
		if page.Next == "" {
			break
		}
		path = "/api/v1/users?limit=3&total=true&cursor=" + page.Next
	}
	if len(seen) != 9 {
		t.Errorf("%d people of 9", len(seen))
	}
}

// TestOwnNames: what one signs in with is changed by who signed in a short while ago or confirms that it is them, also by a CompanyAdmin, who is above themselves.
func TestOwnNames(t *testing.T) {
	p := startPeople(t, nil)
	alpha := p.company("Alpha")
	u, other := p.person("", authsvc.RoleCompanyAdmin, alpha.ID), p.person("", authsvc.RoleUser, alpha.ID)
	b := p.signIn(&u)
	token := b.want(201, http.MethodPost, "/api/v1/me/tokens", jsonOf(map[string]any{
		"name": "x", "scopes": []string{"read", "manage"}, "expires": time.Now().Add(time.Hour),
	})).text("token")
	own, program := fmt.Sprintf("/api/v1/users/%d", u.ID), p.program("Authorization", "Bearer "+token)
	change := func(b *browser, path string, status int, field string, more ...any) {
		t.Helper()
		body := map[string]any{}
		for i := 0; i < len(more); i += 2 {
			body[fmt.Sprint(more[i])] = more[i+1]
		}
		if r := b.want(status, http.MethodPatch, path, jsonOf(body)); r.text("field") != field {
			t.Errorf("%v: about %q, want %q: %s", body, r.text("field"), field, r.body)
		}
	}
	change(b, own, 200, "", "email", "one@example.com")
	change(program, own, 400, "password", "email", "two@example.com")
	change(program, own, 400, "password", "username", "two", "password", "wrong")
	change(program, own, 200, "", "username", "two", "password", goodPassword)
	change(program, own, 200, "", "display_name", "Two")
	change(program, fmt.Sprintf("/api/v1/users/%d", other.ID), 200, "", "email", "other@example.com")
	_, app := p.withApp(&authsvc.User{ID: u.ID, Username: "two"})
	change(program, own, 400, "code", "email", "three@example.com", "password", goodPassword)
	change(program, own, 400, "code", "email", "three@example.com", "password", goodPassword, "code", "000000")
	change(program, own, 200, "", "email", "three@example.com", "password", goodPassword, "code", must(app.Code(time.Now().Add(30*time.Second))))
	if got := must(p.store.GetUser(t.Context(), localActor(), u.ID)); got.Email != "three@example.com" || got.Username != "two" {
		t.Errorf("%+v", got)
	}
}

// TestOwnSessionsAreConfirmed: what ends one's own sessions is confirmed also by the routes by which administrators end others'.
func TestOwnSessionsAreConfirmed(t *testing.T) {
	p := startPeople(t, nil)
	other := p.person("", authsvc.RoleUser, p.company("Alpha").ID)
	for _, c := range []struct{ method, path string }{
		{http.MethodDelete, "/api/v1/users/{user}/sessions"},
		{http.MethodPost, "/api/v1/sessions/end-all"},
	} {
		u := p.person(authsvc.RoleGlobalAdmin, "")
		b, app := p.withApp(&u)
		// A program proved nothing a short while ago, as a browser that signed in long ago did not.
		program := p.program("Authorization", "Bearer "+b.want(201, http.MethodPost, "/api/v1/me/tokens", jsonOf(map[string]any{
			"name": "x", "scopes": []string{"read", "manage"}, "expires": time.Now().Add(time.Hour),
		})).text("token"))
		program.want(204, http.MethodDelete, fmt.Sprintf("/api/v1/users/%d/sessions", other.ID), "{}")
		path := strings.ReplaceAll(c.path, "{user}", strconv.FormatUint(uint64(u.ID), 10))
		for _, r := range []struct {
			body  map[string]any
			field string
		}{
			{map[string]any{"tokens": true}, "password"},
			{map[string]any{"tokens": true, "password": "wrong"}, "password"},
			{map[string]any{"tokens": true, "password": goodPassword}, "code"},
		} {
			if got := program.want(400, c.method, path, jsonOf(r.body)); got.text("field") != r.field {
				t.Errorf("%s %s %v: about %q, want %q: %s", c.method, path, r.body, got.text("field"), r.field, got.body)
			}
		}
		b.want(200, http.MethodGet, "/api/v1/me/sessions", "")
		program.want(204, c.method, path, jsonOf(map[string]any{"password": goodPassword, "code": must(app.Code(time.Now().Add(30 * time.Second)))}))
		b.want(401, http.MethodGet, "/api/v1/me/sessions", "")
	}
}

// TestAnswersMatchTheirSchemas holds what routes answer to what the document says of them.
func TestAnswersMatchTheirSchemas(t *testing.T) {
	s := newScene(t)
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal([]byte(s.browser().want(200, http.MethodGet, "/api/openapi.json", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, d := range rest.Describe() {
		for i := range scenarios {
			sc := &scenarios[i]
			if sc.pattern() != d.Method+" "+d.Path || d.Answer == nil || d.Status >= 300 {
				continue
			}
			b, who := s.caller("global")
			method, address, body := s.request(sc, &who)
			r := b.ask(method, address, body)
			schema := doc.Paths[d.Path][strings.ToLower(d.Method)].Responses[fmt.Sprint(r.status)].Content["application/json"].Schema
			if schema == nil {
				t.Errorf("%s %s answers %d, of which nothing is said", d.Method, d.Path, r.status)
				continue
			}
			var value any
			if err := json.Unmarshal([]byte(r.body), &value); err != nil {
				t.Errorf("%s %s: %v %s", d.Method, d.Path, err, r.body)
			}
			for _, wrong := range unlike(doc.Components.Schemas, schema, value, "") {
				t.Errorf("%s %s: %s in %s", d.Method, d.Path, wrong, r.body)
			}
			checked++
			break
		}
	}
	if checked < 35 {
		t.Errorf("%d answers were checked", checked)
	}
}

// unlike tells where a value is not what its schema says.
func unlike(schemas map[string]map[string]any, schema map[string]any, value any, at string) (out []string) {
	if ref, ok := schema["$ref"].(string); ok {
		return unlike(schemas, schemas[strings.TrimPrefix(ref, "#/components/schemas/")], value, at)
	}
	if either, ok := schema["anyOf"].([]any); ok && value != nil {
		schema, _ = either[0].(map[string]any)
		return unlike(schemas, schema, value, at)
	}
	kind := fmt.Sprint(schema["type"])
	switch v := value.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		more, _ := schema["additionalProperties"].(map[string]any)
		if kind != "object" && schema["type"] != nil {
			return []string{at + " is an object"}
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[fmt.Sprint(name)]; !ok {
				out = append(out, fmt.Sprint(at, ".", name, " is missing"))
			}
		}
		for name, field := range v {
			of, ok := properties[name].(map[string]any)
			switch {
			case ok:
				out = append(out, unlike(schemas, of, field, at+"."+name)...)
			case more != nil:
				out = append(out, unlike(schemas, more, field, at+"."+name)...)
			case properties != nil:
				out = append(out, at+"."+name+" is not in the document")
			}
		}
	case []any:
		items, _ := schema["items"].(map[string]any)
		if kind != "array" && schema["type"] != nil {
			return []string{at + " is a list"}
		}
		for i, item := range v {
			out = append(out, unlike(schemas, items, item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	default:
		want := map[bool]string{true: "null", false: fmt.Sprintf("%T", value)}[value == nil]
		want = map[string]string{"string": "string", "bool": "boolean", "float64": "integer", "null": "null"}[want]
		if schema["type"] != nil && !strings.Contains(kind, want) && (want != "integer" || !strings.Contains(kind, "number")) {
			out = append(out, fmt.Sprintf("%s is %v, not %s", at, value, kind))
		}
	}
	return out
}
