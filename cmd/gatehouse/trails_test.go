package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
)

// TestKeyCommands walks through the life of a key: changed, exchanged, looked at.
func TestKeyCommands(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		sh := console{t, []string{"--data", filepath.Join(t.TempDir(), "new")}, []string{"DATABASE_URL=" + databaseURL}}
		sh.ok(nil, "company", "create", "Acme")
		var k keyView
		sh.ok(&k, "key", "create", "--company", "Acme", "--scopes", "ingest", "--networks", "192.0.2.7, 10.0.0.0/8", "--note", "for the test", "--json")
		if len(k.Networks) != 2 || k.Networks[0].String() != "10.0.0.0/8" || k.Note != "for the test" || k.Company != "Acme" {
			t.Errorf("%+v", k)
		}
		store := authsvc.New(reldbtest.Open(t, databaseURL))
		keys, err := store.NewResolver(ctx, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		from := netip.MustParseAddr("10.1.2.3")
		p, err := keys.Resolve(ctx, k.Key, from)
		if err != nil {
			t.Fatal(err)
		}
		keys.Record(p.SiteID, from, "agent\x1b[31m/1.0", "", 12, 3)
		if err := keys.Close(); err != nil {
			t.Fatal(err)
		}
		var changed, rotated keyView
		sh.ok(&changed, "key", "update", k.Prefix, "--site", "Office", "--networks", "", "--expires", "30d", "--json")
		if changed.Site != "Office" || len(changed.Networks) != 0 || changed.Note != "for the test" || changed.Expires.Before(time.Now().AddDate(0, 0, 29)) {
			t.Errorf("%+v", changed)
		}
		sh.ok(&changed, "key", "update", k.Prefix, "--expires", "never", "--json")
		sh.ok(&rotated, "key", "rotate", k.Prefix, "--overlap", "2d", "--json")
		if rotated.ID != k.ID || rotated.Key == "" || rotated.Key == k.Key || rotated.OldPrefix != k.Prefix || rotated.OldUntil.Before(time.Now().Add(47*time.Hour)) {
			t.Errorf("%+v", rotated)
		}
		if text := sh.ok(nil, "key", "rotate", "1", "--overlap", "0"); !strings.HasPrefix(text, "gh_") || !strings.Contains(text, "has ended") {
			t.Errorf("%s", text)
		}
		var days []struct {
			Day    string
			Events int64 `json:"event_count"`
			Errors int64 `json:"error_count"`
		}
		sh.ok(&days, "key", "days", "1", "--days", "3", "--json")
		if len(days) != 3 || days[0].Events+days[1].Events+days[2].Events != 12 || days[1].Errors+days[2].Errors != 3 {
			t.Errorf("%+v", days)
		}
		if text := sh.ok(nil, "key", "list", "--state", "active", "--text", "offi"); !strings.Contains(text, "10.1.2.3") || strings.Contains(text, "\x1b") || strings.Count(text, "\n") != 2 {
			t.Errorf("%s", text)
		}
		if text := sh.ok(nil, "key", "list", "--idle", "1h"); strings.Count(text, "\n") != 1 {
			t.Errorf("a key used just now is idle: %s", text)
		}
		sh.fails(2, []string{"name what to change"}, "key", "update", "1")
		sh.fails(2, []string{"networks", "did you mean 10.0.0.0/8"}, "key", "update", "1", "--networks", "10.1.0.0/8")
		sh.fails(2, []string{"overlap"}, "key", "rotate", "1", "--overlap", "soon")
		sh.fails(1, []string{"overlap", "90 days"}, "key", "rotate", "1", "--overlap", "91d")
		sh.fails(1, []string{"state", "active"}, "key", "list", "--state", "asleep")
		sh.fails(1, []string{"400 days"}, "key", "days", "1", "--days", "401")
	})
}

// TestAuditCommands: what the commands above do is told by these, and tampering is found.
func TestAuditCommands(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		dir := t.TempDir()
		sh := console{t, []string{"--data", dir}, []string{"DATABASE_URL=" + databaseURL}}
		for _, name := range []string{"Acme", "Zenith", "Third"} {
			sh.ok(nil, "company", "create", name)
		}
		anchor := strings.TrimSpace(sh.ok(nil, "audit", "head"))
		if !strings.HasPrefix(anchor, "3:") {
			t.Errorf("head %q", anchor)
		}
		sh.ok(nil, "company", "disable", "zenith")
		if text := sh.ok(nil, "audit", "verify", "--anchor", anchor); !strings.Contains(text, "whole: 4 entries, from 1 to 4") {
			t.Errorf("%s", text)
		}
		var list []authsvc.AuditRecord
		sh.ok(&list, "audit", "list", "--company", "zenith", "--since", "1h", "--json")
		if len(list) != 2 || list[0].Action != "company.disable" || list[0].ActorKind != "local" || !strings.Contains(string(list[0].After), `"disabled":true`) || !strings.Contains(string(list[0].Before), `"disabled":false`) {
			t.Errorf("%+v", list)
		}
		if text := sh.ok(nil, "audit", "list", "--action", "company", "--limit", "2"); strings.Count(text, "\n") != 3 || !strings.Contains(text, "company Third") {
			t.Errorf("%s", text)
		}
		file := filepath.Join(dir, "trail.ndjson")
		sh.ok(nil, "audit", "export", "--out", file)
		if raw, err := os.ReadFile(file); err != nil || strings.Count(string(raw), "\n") != 5 || !strings.Contains(string(raw[:bytes.IndexByte(raw, '\n')]), `"action":"audit.export"`) {
			t.Errorf("%s, %v", raw, err) // the four, and that they were taken out
		}
		sh.fails(1, []string{"write the export"}, "audit", "export", "--out", file) // it is never written over
		sh.ok(&list, "audit", "list", "--action", "audit.export", "--json")
		if len(list) != 1 || string(list[0].After) != "{}" {
			t.Errorf("%+v", list)
		}
		// Whoever reads one line and goes is in the trail too, with what they asked for.
		run(append(sh.args, "audit", "export", "--company", "Acme", "--action", "key"), sh.env, closedPipe{}, io.Discard)
		sh.ok(&list, "audit", "list", "--action", "audit.export", "--json")
		if len(list) != 2 || string(list[0].After) != `{"action":"key","company_id":1}` {
			t.Errorf("%+v", list)
		}
		sh.fails(2, []string{"between 1 and 500", "audit export"}, "audit", "list", "--limit", "501")
		sh.fails(2, []string{"SEQ:HASH"}, "audit", "verify", "--anchor", "3")
		sh.fails(1, []string{"BROKEN at entry 3", "written anew"}, "audit", "verify", "--anchor", "3:"+strings.Repeat("0", 64))
		sh.fails(1, []string{"outcome"}, "audit", "list", "--outcome", "good")
		sh.fails(2, []string{"since"}, "audit", "list", "--since", "yesterday")

		db := reldbtest.Open(t, databaseURL)
		if err := db.Update(t.Context(), func(tx *reldb.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE audit_log SET actor_name = 'somebody else' WHERE seq = 4`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		sh.fails(1, []string{"BROKEN at entry 4", "was changed"}, "audit", "verify")
	})
}

// closedPipe is an output of which nobody reads more.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestExportsRecorded: whatever leaves as a file is in the trail: who took it, by which key or session, what was asked for, how many rows it had.
func TestExportsRecorded(t *testing.T) {
	t.Parallel()
	p := startPeople(t, nil)
	acme := p.company("Acme")
	u := p.person(authsvc.RoleUser, authsvc.RoleUser, acme.ID)
	ada := p.signIn(&u)
	key, secret := p.key(acme.ID, authsvc.ScopeRead)
	const report, events = "/api/v1/reports/time-spent?from=2025-05-01&to=2025-06-01", "/api/v1/events?user=ann"
	ada.want(200, "GET", report, "")
	ada.want(200, "GET", report+"&format=csv", "")
	p.program("X-API-Key", secret).want(200, "GET", events+"&format=csv", "")
	sh := console{t, []string{"--data", p.dataDir}, nil}
	sh.ok(nil, "report", "totals", "--company", "Acme", "--csv")
	list, _, err := p.store.ListAudit(t.Context(), localActor(), authsvc.AuditFilter{TargetKind: "report"}, authsvc.Page{})
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	// What a key did can be asked for.
	boss := p.person(authsvc.RoleGlobalAdmin, "")
	admin := p.signIn(&boss)
	for query, n := range map[string]int{fmt.Sprintf("actor_kind=key&actor_id=%d", key.ID): 1, "actor_kind=key": 1, fmt.Sprintf("actor_kind=key&actor_id=%d", key.ID+1): 0} {
		if r := admin.want(200, "GET", "/api/v1/audit?"+query, ""); strings.Count(r.body, `"seq":`) != n {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	admin.want(400, "GET", "/api/v1/audit?actor_kind=cat", "")
	admin.want(200, "GET", fmt.Sprintf("/api/v1/errors?user_id=%d", u.ID), "")
	admin.want(400, "GET", "/api/v1/errors?user_id=-1", "")
	var acts []authsvc.AuditRecord
	sh.ok(&acts, "audit", "list", "--actor-kind", "key", "--actor-id", fmt.Sprint(key.ID), "--json")
	if len(acts) != 1 || acts[0].Action != "events.export" {
		t.Errorf("%+v", acts)
	}
	sh.ok(nil, "errors", "list", "--user-id", fmt.Sprint(u.ID))
	for i, want := range []struct {
		action, target string
		kind           authsvc.ActorKind
		name, via      string
		after          string
	}{
		{"report.export", "totals", authsvc.ActorLocal, localActor().Name, "command line", `"rows":`},
		{"events.export", "events", authsvc.ActorKey, key.Site, "key " + key.Prefix, `"parameters":{"user":["ann"]},"rows":0`},
		{"report.export", "time-spent", authsvc.ActorPerson, u.Username, "session ", `{"from":"2025-05-01T00:00:00Z","to":"2025-06-01T00:00:00Z","rows":0}`},
	} {
		r := list[i]
		if r.Action != want.action || r.TargetName != want.target || r.ActorKind != want.kind || r.ActorName != want.name || r.Company != acme.ID ||
			!strings.HasPrefix(r.Via, want.via) || !strings.Contains(string(r.After), want.after) {
			t.Errorf("%+v\nwant %+v\nafter %s", r, want, r.After)
		}
	}
}

func TestErrorCommands(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		sh := console{t, []string{"--data", filepath.Join(t.TempDir(), "new")}, []string{"DATABASE_URL=" + databaseURL}}
		sh.ok(nil, "company", "create", "Acme")
		db := reldbtest.Open(t, databaseURL)
		if err := db.Update(ctx, func(tx *reldb.Tx) error {
			for _, level := range []int{4, 8} {
				now := time.Now().UnixMilli()
				if _, err := tx.Exec(ctx, `INSERT INTO error_log (first_at, last_at, occurrences, level, logger, message, fingerprint, request_id, attributes, stack) VALUES (?, ?, 3, ?, 'ingest', ?, 'f', 'r1', '{"a":1,"path":"/api/v1/me","reason":"sign in first"}', ?)`,
					now, now, level, "disk\x1b full", "main.go:1\nmain.go:2"); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		var list []authsvc.ErrorRecord
		sh.ok(&list, "errors", "list", "--level", "error", "--logger", "ingest", "--json")
		if len(list) != 1 || list[0].Level != slog.LevelError || list[0].Occurrences != 3 {
			t.Fatalf("%+v", list)
		}
		if text := sh.ok(nil, "errors", "list"); strings.Count(text, "\n") != 3 || strings.Count(text, "full /api/v1/me: sign in first\n") != 2 || strings.Contains(text, "\x1b") {
			t.Errorf("%s", text)
		}
		if text := sh.ok(nil, "errors", "show", "2"); !strings.Contains(text, "main.go:2") || !strings.Contains(text, `"a":1`) || strings.Contains(text, "\x1b") {
			t.Errorf("%s", text)
		}
		sh.fails(1, []string{"no record 99"}, "errors", "show", "99")
		sh.fails(2, []string{"before"}, "errors", "clear")
		if text := sh.ok(nil, "errors", "clear", "--before", "1h"); text != "0 records removed.\n" {
			t.Errorf("%s", text)
		}
		if text := sh.ok(nil, "errors", "clear", "--before", "0"); text != "2 records removed.\n" {
			t.Errorf("%s", text)
		}
	})
}
