package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"gatehouse/event"
	"gatehouse/ingest/importer"
)

type importSink map[event.ID]event.Event

func (s importSink) Send(_ context.Context, events []event.Event) (duplicates []int, rejected []importer.Rejection, err error) {
	for i, e := range events {
		switch _, known := s[e.ID()]; {
		case e.User == "blocked":
			rejected = append(rejected, importer.Rejection{Index: i, Field: "UserName", Reason: "is blocked"})
		case known:
			duplicates = append(duplicates, i)
		default:
			s[e.ID()] = e
		}
	}
	return duplicates, rejected, nil
}

// runImport runs the command as a user would, and gives what it printed.
func runImport(t *testing.T, sink importer.Sink, state string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	closed := false
	cmd := newImportCommand(func(_ context.Context, _ *cobra.Command, company string) (*importTarget, error) {
		if company != "Acme" {
			return nil, event.Errorf(event.CodeNotFound, "there is no company %q", company)
		}
		return &importTarget{
			sink: sink, companyID: 7, siteID: 1, stateDir: state,
			close: func(context.Context) error { closed = true; return nil },
		}, nil
	})
	var out, errOut bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(args)
	cmd.SilenceUsage = true
	err = cmd.ExecuteContext(t.Context())
	if sink != nil && !closed && err == nil {
		t.Error("the target was not closed")
	}
	return out.String(), errOut.String(), err
}

func TestImportCommand(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	line := func(user string) string {
		return `{"EventType":"Logon","UserName":"` + user + `","ComputerName":"pc","Timestamp":"2025-05-25T13:30:00Z"}` + "\n"
	}
	file := filepath.Join(dir, "a.ndjson")
	content := line("ann") + line("bob") + line("ann") + "{broken\n" + line("blocked") +
		`{"EventID":7001,"SourceName":"Service \u001b[31mControl Manager","Channel":"System","Hostname":"pc","TimeCreated":"2025-05-25T13:30:00Z"}` + "\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	sink := importSink{}
	out, errOut, err := runImport(t, sink, state, "--company", "Acme", file)
	if err != nil || len(sink) != 2 {
		t.Fatalf("%v, %d events\n%s", err, len(sink), out)
	}
	for _, want := range []string{"a.ndjson", "json", "logon", "line 4: ", "1 × UserName is blocked (first: line 5)", "1 kinds that are not kept"} {
		if !strings.Contains(out, want) {
			t.Errorf("the summary does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") || errOut != "" {
		t.Errorf("control characters or a progress bar where there is no terminal: %q %q", out, errOut)
	}

	out, _, err = runImport(t, sink, state, "--company", "Acme", "--json", file)
	if err != nil {
		t.Fatal(err)
	}
	var sum importer.Summary
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if sum.Totals != (importer.Counts{Read: 5, Duplicate: 3, Rejected: 1, Other: 1}) || !sum.Files[0].AlreadyImported || sum.Damage != 1 {
		t.Errorf("the second import: %+v", sum)
	}

	// A file that cannot be read makes the exit status, and not the others' fate.
	if _, _, err = runImport(t, sink, "", "--company", "Acme", file, filepath.Join(dir, "missing")); err == nil || err.Error() != "1 of 2 files could not be read" {
		t.Errorf("a missing file: %v", err)
	}
	for _, args := range [][]string{{file}, {"--company", "Acme"}, {"--company", "Nobody", file}, {"--company", "Acme", "--max-unpacked", "0", file}} {
		if _, _, err := runImport(t, nil, "", args...); err == nil {
			t.Errorf("%v passed", args)
		}
	}
}

// What was not read is not called damaged, and a file of rubbish does not fill the screen.
func TestImportCommandTellsWhatWasNotRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	logon := `{"EventType":"Logon","UserName":"a","ComputerName":"pc","Timestamp":1748179800}` + "\n"
	good := write("good.ndjson", logon+strings.Repeat("{broken\n", 30))
	bad := write("bad.ndjson", logon+strings.Repeat("{broken\n", 130))
	var cut bytes.Buffer
	gz := gzip.NewWriter(&cut)
	if _, err := gz.Write([]byte(strings.Repeat(logon, 1000))); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	short := write("short.gz", cut.String()[:cut.Len()-20])
	out, _, err := runImport(t, importSink{}, "", "--company", "Acme", good, bad, short,
		filepath.Join(dir, "nosuch.evtx"), write("empty.evtx", ""), write("picture.png", "\x89PNG\x00"))
	if err == nil || err.Error() != "3 of 6 files could not be read; 1 of 6 files were not read to their end" {
		t.Errorf("%v", err)
	}
	for _, want := range []string{
		"NOT READ: no such file or directory", "NOT READ: is empty", "NOT READ: is no format", "NOT WHOLE: unexpected EOF",
		"good.ndjson: 30 places", "and 20 more (--json lists them)", "bad.ndjson: 130 places", "and 120 more (--json lists the first 100)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the summary does not say %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "the object does not end on its line"); n != 20 {
		t.Errorf("%d damaged places are listed, want 10 of each file:\n%s", n, out)
	}
}

type goneSink struct{}

var errGone = errors.New("gone")

func (goneSink) Send(context.Context, []event.Event) (duplicates []int, rejected []importer.Rejection, err error) {
	return nil, nil, errGone
}

func TestImportCommandStops(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.json")
	if err := os.WriteFile(file, []byte(`{"EventType":"Logon","UserName":"a","ComputerName":"pc","Timestamp":1748179800}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runImport(t, goneSink{}, "", "--company", "Acme", file); !errors.Is(err, errGone) || !strings.Contains(err.Error(), "run the same command again") {
		t.Errorf("%v", err)
	}
}
