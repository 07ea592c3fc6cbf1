package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/engine"
	"gatehouse/internal/enginetest"
	"gatehouse/internal/reldb"
	"gatehouse/query"
)

// dataDir is a data directory with the companies Acme and Zenith, in which no server has run yet.
func dataDir(t *testing.T) (dir string, sh console) {
	t.Helper()
	if _, err := engine.FindLibrary("", ""); err != nil {
		enginetest.Check(t, err)
	}
	dir = t.TempDir()
	sh = console{t, []string{"--data", dir}, nil}
	sh.ok(nil, "company", "create", "Acme")
	sh.ok(nil, "company", "create", "Zenith")
	return dir, sh
}

func logonsFile(t *testing.T, n int) string {
	t.Helper()
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"EventType":"Logon","UserName":"user%d","ComputerName":"PC","Timestamp":"2025-05-25T%02d:%02d:00Z"}`+"\n", i, 8+i/60, i%60)
	}
	file := filepath.Join(t.TempDir(), "logons.ndjson")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// events counts a company's events by the command line.
func (c console) events(company string) (n int) {
	c.t.Helper()
	var report struct{ Rows []json.RawMessage }
	c.ok(&report, "report", "events", "--company", company, "--from", "2025-05-25", "--to", "2025-05-26", "--limit", "1000", "--json")
	return len(report.Rows)
}

// While one command has the data directory open with a server of its own, others work
// through that one, and go on when it ends.
func TestCommandsBesideEachOther(t *testing.T) {
	t.Parallel()
	dir, sh := dataDir(t)
	var stderr bytes.Buffer
	open := func() *local {
		t.Helper()
		l, err := (&cli{dataDir: dir}).openLocal(t.Context(), &stderr)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := open()
	second := open()
	if second.link.mine != nil {
		t.Fatal("the second command has a server of its own beside the first one's")
	}
	sh.ok(nil, "import", "--company", "Acme", "--json", logonsFile(t, 7))
	if n := sh.events("Acme"); n != 7 {
		t.Errorf("%d events, want 7", n)
	}
	sh.ok(nil, "company", "create", "Third")
	sh.ok(nil, "key", "create", "--company", "Third", "--scopes", "read")
	if n := sh.events("Third"); n != 0 {
		t.Errorf("%d events of a new company", n)
	}
	var states []migrateState
	sh.ok(&states, "migrate", "status", "--json")
	if len(states) != 2 || states[1].Name != "events" || states[1].Version == 0 || len(states[1].Pending) != 0 {
		t.Errorf("%+v", states)
	}

	// The second one is in the middle of its work when the first ends.
	done := make(chan error, 1)
	go func() { done <- first.Close() }()
	for range 3 {
		body, err := second.Get(t.Context(), query.ReportsPath+"totals", map[string][]string{"company": {"Acme"}, "from": {"2025-05-25"}, "to": {"2025-05-26"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := second.flush(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	if second.link.mine == nil {
		t.Error("the first one's server has ended, and the second has none")
	}
	// A server for all waits for the command to end.
	started := make(chan error, 1)
	var s *server
	go func() {
		var err error
		s, err = startAlone(t.Context(), &bytes.Buffer{}, testOptions(dir))
		started <- err
	}()
	if n := sh.events("Acme"); n != 7 {
		t.Errorf("%d events after the first one's end, want 7", n)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if n := sh.events("Acme"); n != 7 {
		t.Errorf("%d events by the server, want 7", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{fileServe, fileCommand} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s stays behind: %v", name, err)
		}
	}
}

func testOptions(dir string) serverOptions {
	return serverOptions{
		dataDir: dir, databaseURL: reldb.SQLiteURL(filepath.Join(dir, fileDatabase)), listen: "127.0.0.1:0",
		cfg: config.Default(), log: slog.New(slog.DiscardHandler),
	}
}

// What commands say and do while a server for all runs.
func TestBesideServer(t *testing.T) {
	t.Parallel()
	dir, sh := dataDir(t)
	s, err := startServer(t.Context(), testOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	begin := time.Now()
	_, err = startAlone(t.Context(), &bytes.Buffer{}, testOptions(dir))
	if err == nil {
		t.Fatal("a second server on the same directory")
	}
	for _, want := range []string{dir, fmt.Sprint("process ", os.Getpid()), s.url, "stop that one", "--data"} {
		if strings.Count(err.Error(), want) != 1 {
			t.Errorf("the second server says %q: want %q in it, once", err, want)
		}
	}
	if took := time.Since(begin); took > busyLimit/2 {
		t.Errorf("it waited %s for a server that stays", took)
	}
	var states []migrateState
	sh.ok(&states, "migrate", "status", "--json")
	if len(states) != 2 || states[1].Name != "events" || states[1].Version == 0 || states[1].Version != states[1].Latest {
		t.Errorf("%+v", states)
	}
	if text := sh.ok(nil, "migrate", "up"); strings.Count(text, "nothing to do") != 2 {
		t.Errorf("migrate up: %s", text)
	}
	sh.fails(1, []string{"stop it first", s.url}, "migrate", "down", "--only", "events")
	sh.fails(1, []string{"stop it first", s.url}, "migrate", "down", "--only", "relational")
	sh.ok(nil, "import", "--company", "Acme", "--json", logonsFile(t, 3))
	if n := sh.events("Acme"); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

// A server that was killed leaves its files; they must mislead nobody.
func TestStaleServeFiles(t *testing.T) {
	t.Parallel()
	dir, sh := dataDir(t)
	for _, name := range []string{fileServe, fileCommand} {
		text := fmt.Sprintf(`{"url":"https://127.0.0.1:1","control":%q,"pid":1}`, filepath.Join(dir, "control.sock"))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sh.fails(1, []string{"no server runs in", "gatehouse serve"}, "simulate", "--quiet")
	l, err := (&cli{dataDir: dir}).openLocal(t.Context(), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	sh.fails(1, []string{"no server runs in", "gatehouse serve"}, "simulate", "--quiet")
	if r := findRunning(t.Context(), dir); r == nil || !r.ofCommand || r.PID != os.Getpid() {
		t.Errorf("found %+v", r)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// A mistyped directory is told, and not made.
func TestNoGatehouseThere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mistyped")
	sh := console{t, []string{"--data", dir}, nil}
	for _, args := range [][]string{
		{"company", "list"},
		{"company", "update", "Acme", "--name", "x"},
		{"company", "disable", "Acme"},
		{"key", "list"},
		{"key", "create", "--company", "Acme", "--scopes", "read"},
		{"key", "revoke", "1"},
		{"report", "totals", "--company", "Acme"},
		{"import", "--company", "Acme", logonsFile(t, 1)},
		{"migrate", "status"},
		{"migrate", "down", "--only", "relational"},
	} {
		sh.fails(1, []string{"there is no Gatehouse in " + dir, "--data", "gatehouse serve"}, args...)
	}
	sh.fails(1, []string{"no server runs in"}, "simulate", "--quiet")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	sh.ok(nil, "company", "create", "Acme")
	sh.ok(nil, "company", "list")
}

// Wrong values of flags are told in words, not in the parser's.
func TestFlagValues(t *testing.T) {
	t.Parallel()
	sh := console{t, []string{"--data", t.TempDir()}, nil}
	for _, tc := range []struct{ flag, value, want string }{
		{"--users", "many", "not a whole number"},
		{"--seed", "-1", "not a whole number, 0 or more"},
		{"--events", "99999999999999999999", "is too large"},
		{"--late", "half", "not a number"},
		{"--rate", "-5", "--rate"},
		{"--batch", "0", "--batch"},
		{"--connections", "-1", "--connections"},
		{"--days", "-1", "want at least 1"},
		{"--late", "-1", "--late"},
		{"--late", "1.5", "--late"},
		{"--quiet=perhaps", "", "not true or false"},
	} {
		args := []string{"simulate", tc.flag}
		if tc.value != "" {
			args = append(args, tc.value)
		}
		status, _, errs := sh.run(args...)
		if status != exitUsage || !strings.Contains(errs, tc.want) || strings.Contains(errs, "strconv") {
			t.Errorf("%q: status %d, %q; want %q", args, status, errs, tc.want)
		}
	}
}
