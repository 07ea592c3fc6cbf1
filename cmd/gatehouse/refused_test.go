package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb"
)

// TestRefusalsLogged: wherever somebody is refused, the log says so, and who it was; nothing that was given as a credential is in it.
func TestRefusalsLogged(t *testing.T) {
	t.Parallel()
	p := startPeople(t, nil)
	acme, other := p.company("Acme"), p.company("Other")
	u := p.person(authsvc.RoleUser, authsvc.RoleUser, acme.ID)
	ada := p.signIn(&u)
	readOnly, reads := p.key(acme.ID, authsvc.ScopeRead)
	sendOnly, sends := p.key(acme.ID, authsvc.ScopeIngest)
	revoked, gone := p.key(acme.ID, authsvc.ScopeIngest)
	if err := p.store.RevokeKey(t.Context(), localActor(), acme.ID, revoked.ID); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Repeat("W", 10)
	person := fmt.Sprintf("user_id=%d ", u.ID)
	// Each is the first of its kind in its part of the program: of others there is one line a second.
	for name, c := range map[string]struct {
		who                *browser
		status             int
		method, path, body string
		words              []string
	}{
		"a key that was revoked":         {p.program("X-API-Key", gone), 401, "POST", "/api/log_event", event1, []string{"logger=ingest", "refusal=unauthorized", "key " + revoked.Prefix}},
		"a key that may not send":        {p.program("X-API-Key", reads), 403, "POST", "/api/v1/events", event1, []string{"logger=ingest", "refusal=forbidden", fmt.Sprintf("site=%d", readOnly.ID)}},
		"a wrong key at reports":         {p.program("X-API-Key", wrong), 401, "GET", "/api/v1/reports/totals", "", []string{"logger=query", "refusal=unauthorized", "path=/api/v1/reports/totals"}},
		"a key that may not read":        {p.program("X-API-Key", sends), 403, "GET", "/api/v1/events", "", []string{"logger=query", "refusal=forbidden", "key " + sendOnly.Prefix}},
		"reports of a foreign company":   {ada, 404, "GET", fmt.Sprintf("/api/v1/reports/totals?company=%d", other.ID), "", []string{"logger=query", "refusal=hidden", person, "session "}},
		"a wrong token at accounts":      {p.program("Authorization", "Bearer "+wrong), 401, "GET", "/api/v1/me", "", []string{"logger=accounts", "refusal=unauthorized", "path=/api/v1/me"}},
		"a foreign company":              {ada, 404, "GET", fmt.Sprintf("/api/v1/companies/%d", other.ID), "", []string{"logger=accounts", "refusal=hidden", person}},
		"a form that is not from a page": {&browser{p: p, cookies: ada.cookies, csrf: "forged"}, 403, "POST", "/account/name", "display_name=x", []string{"logger=accounts", "refusal=forbidden", "path=/account/name", person}},
	} {
		var headers []string
		if strings.HasPrefix(c.body, "display_name") {
			headers = []string{"Content-Type", "application/x-www-form-urlencoded"}
		}
		if r := c.who.ask(c.method, c.path, c.body, headers...); r.status != c.status {
			t.Errorf("%s: %d, want %d: %s", name, r.status, c.status, r.body)
		}
		found := false
		for line := range strings.Lines(p.said.String()) {
			all := strings.Contains(line, "request_id=") && strings.Contains(line, "address=127.0.0.1")
			for _, word := range c.words {
				all = all && strings.Contains(line, word)
			}
			found = found || all
		}
		if !found {
			t.Errorf("%s is not in the log with %q:\n%s", name, c.words, p.said.String())
		}
	}
	if text := p.said.String(); strings.Contains(text, wrong) || strings.Contains(text, gone) || strings.Contains(text, reads) || strings.Contains(text, sends) {
		t.Errorf("a credential is in the log:\n%s", text)
	}
	// A read without any credential is a first visit, and nothing to tell of.
	before := strings.Count(p.said.String(), "a request was refused")
	time.Sleep(1100 * time.Millisecond) // of a kind there is one line a second
	if r := p.browser().ask("GET", "/api/v1/me", ""); r.status != 401 {
		t.Errorf("a first visit: %d %s", r.status, r.body)
	}
	if n := strings.Count(p.said.String(), "a request was refused"); n != before {
		t.Errorf("a first visit is in the log:\n%s", p.said.String())
	}
	// And in the error log, under the person.
	var list []authsvc.ErrorRecord
	for deadline := time.Now().Add(20 * time.Second); len(list) < 3 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		list, _, _ = p.store.ListErrors(t.Context(), localActor(), authsvc.ErrorFilter{UserID: u.ID}, authsvc.Page{}) // an error leaves it empty
	}
	if len(list) != 3 {
		t.Errorf("%d records of the person: %+v", len(list), list)
	}
	// Where the database fails, the log alone can tell which request it was.
	if err := p.store.DB().Update(t.Context(), func(tx *reldb.Tx) error {
		_, err := tx.Exec(t.Context(), `ALTER TABLE web_sessions RENAME TO gone`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	answer := ada.ask(http.MethodGet, "/account", "")
	if id := answer.header.Get("X-Request-Id"); answer.status < 500 || !strings.Contains(p.said.String(), "request_id="+id) {
		t.Errorf("%d, request %q is not in the log:\n%s", answer.status, id, p.said.String())
	}
}
