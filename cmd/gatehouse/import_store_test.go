package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

// A file counts as imported while the event store has its events: not after the tables were dropped and made anew, and not
// in an older copy of the store.
func TestImportAfterTheStoreChanged(t *testing.T) {
	dir := t.TempDir()
	s := startTestServerIn(t, dir, nil)
	newKey(t, s, "Acme", "read")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for i := range 40 {
		fmt.Fprintf(&lines, `{"EventType":"Logon","UserName":"u%d","ComputerName":"pc","Timestamp":"2025-05-25T13:30:%02dZ"}`+"\n", i, i)
	}
	file := filepath.Join(t.TempDir(), "a.ndjson")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	engineDir, backup := filepath.Join(dir, dirEngine), filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(engineDir)); err != nil {
		t.Fatal(err)
	}
	imported := func(what string, passedOver bool, accepted int) {
		t.Helper()
		sum := importJSON(t, dir, "--company", "Acme", file)
		if f := sum.Files[0]; f.AlreadyImported != passedOver || f.Accepted != accepted || f.Read != 40 || sum.Inexact != "" {
			t.Errorf("%s: %+v %s", what, f, sum.Inexact)
		}
	}
	imported("the first time", false, 40)
	imported("again", true, 0)
	for _, step := range []string{"down", "up"} {
		args := []string{"--data", dir, "migrate", step, "--only", "events"}
		if step == "down" {
			args = append(args, "--steps", "1")
		}
		var out, errs bytes.Buffer
		if code := run(args, []string{"PATH=" + os.Getenv("PATH")}, &out, &errs); code != 0 {
			t.Fatalf("migrate %s: %d %s", step, code, errs.String())
		}
	}
	imported("into tables made anew", false, 40)
	imported("again", true, 0)
	if err := os.RemoveAll(engineDir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(engineDir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	imported("into an older copy of the store", false, 40)
	imported("again", true, 0)
}

// With the event store away an import takes everything, and says what it cannot know and that nothing is lost.
func TestImportWithTheStoreAway(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.ClickHouse.URL = "http://127.0.0.1:1/"
	s := startTestServerWith(t, dir, nil, cfg)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	newKey(t, s, "Acme", "read")
	l := &local{http: controlClient(s.controlAt)}
	if err := l.flush(t.Context(), time.Millisecond); err != nil {
		t.Errorf("nothing waits, and still: %v", err)
	}
	file := filepath.Join(t.TempDir(), "a.ndjson")
	if err := os.WriteFile(file, []byte(`{"EventType":"Logon","UserName":"u","ComputerName":"pc","Timestamp":"2025-05-25T13:30:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run([]string{"--data", dir, "import", "--company", "Acme", file}, []string{"PATH=" + os.Getenv("PATH")}, &out, &errs)
	if code == 0 || !strings.Contains(errs.String(), "all events are stored safely and will appear in reports") {
		t.Errorf("import: %d %s", code, errs.String())
	}
	for _, want := range []string{"TAKEN", "did not answer"} {
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "NEW") {
			t.Errorf("the summary does not say %q, or speaks of new events:\n%s", want, out.String())
		}
	}
	if st := s.spool.Stats(); st.Records != 1 {
		t.Errorf("%d events are safe, want 1", st.Records)
	}
	if _, err := l.Get(t.Context(), pathMigrations, nil); err == nil || err.Error() != "the event store does not tell its version" {
		t.Errorf("migrations: %v", err)
	}
}
