package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/query"
)

// canned answers with one text, and notes what it was asked.
type canned struct {
	body   string
	err    error
	path   string
	query  url.Values
	closed int
}

func (c *canned) Get(_ context.Context, path string, q url.Values) (io.ReadCloser, error) {
	c.path, c.query = path, q
	return io.NopCloser(strings.NewReader(c.body)), c.err
}

func (c *canned) Close() error { c.closed++; return nil }

func runReport(t *testing.T, c *canned, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := newReportCommand(func(context.Context, io.Writer) (fetcher, error) { return c, nil })
	var out, errs bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func TestReportTable(t *testing.T) {
	c := &canned{body: `{"report":"failures","company":"Acme","from":"2025-05-01T00:00:00+01:00","to":"2025-06-01T00:00:00+01:00","tz":"Europe/London",
		"generated_at":"2025-06-02T09:00:00+01:00","group_by":"user","failures":12,
		"rows":[{"user":"ann","failures":11,"first":"2025-05-02T10:00:00.5+01:00","reasons":[{"reason":"wrong_password","text":"wrong password","codes":["0xC000006A"],"failures":11}]},
		        {"user":"Zo\u00eb \u009b31m","failures":1,"first":"2025-05-03T10:00:00+01:00","reasons":[]}],
		"bursts":[{"kind":"user","user":"ann","failures":11}],"sprays":[],"next_cursor":"abc"}`}
	out, errs, err := runReport(t, c, "failures", "--company", "Acme", "--group-by", "user", "--from", "-7d", "--burst-count", "7")
	if err != nil {
		t.Fatal(err)
	}
	want := `failures: Acme, 2025-05-01 00:00:00 to 2025-06-01 00:00:00 (Europe/London)

group by  user
failures  12

user      failures  first                reasons
ann             11  2025-05-02 10:00:00  wrong password (11)
Zoë ?31m         1  2025-05-03 10:00:00

Bursts

kind  user  failures
user  ann         11
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if !strings.Contains(errs, "--cursor abc") {
		t.Errorf("the next page is not told of: %q", errs)
	}
	if c.path != "/api/v1/reports/failures" || c.query.Get("burst_count") != "7" || c.query.Get("from") != "-7d" || c.query.Get("company") != "Acme" || c.closed != 1 {
		t.Errorf("asked %s %v, closed %d times", c.path, c.query, c.closed)
	}
}

func TestReportDurationsAndEmptyTables(t *testing.T) {
	c := &canned{body: `{"report":"time-spent","company":"A","from":"2025-05-01T00:00:00Z","to":"2025-05-02T00:00:00Z","tz":"UTC","group_by":["user"],
		"rows":[{"user":"ann","users":1,"sessions":2,"total_seconds":93784.5,"active_seconds":12.25,"first":"2025-05-01T08:00:00Z","sum_total_seconds":5}]}`}
	out, _, err := runReport(t, c, "time-spent", "--company", "A")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"26:03:05", "12.25s", "user  users  sessions     total  active  first"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	c.body = `{"report":"sessions","company":"A","from":"2025-05-01T00:00:00Z","to":"2025-05-02T00:00:00Z","tz":"UTC","rows":[]}`
	out, errs, err := runReport(t, c, "sessions", "--company", "A")
	if err != nil || !strings.Contains(out, "no rows") || !strings.Contains(errs, "report coverage") {
		t.Errorf("%v\n%s\n%s", err, out, errs)
	}
	if _, errs, err = runReport(t, c, "coverage", "--company", "A"); err != nil || errs != "" {
		t.Errorf("%v\n%s", err, errs)
	}
}

func TestReportRawForms(t *testing.T) {
	c := &canned{body: "{\"rows\":[]}\n"}
	if out, _, err := runReport(t, c, "totals", "--company", "A", "--json"); err != nil || out != c.body {
		t.Errorf("%v %q", err, out)
	}
	if c.query.Has("format") {
		t.Errorf("asked %v", c.query)
	}
	c.body = "a,b\r\n"
	if out, _, err := runReport(t, c, "events", "--company", "A", "--csv", "--logon-id", "0x3e7"); err != nil || out != c.body {
		t.Errorf("%v %q", err, out)
	}
	if c.path != "/api/v1/events" || c.query.Get("format") != "csv" || c.query.Get("logon_id") != "0x3e7" {
		t.Errorf("asked %s %v", c.path, c.query)
	}
	for _, args := range [][]string{
		{"totals"}, // no company
		{"totals", "--company", "A", "--json", "--csv"},      // both
		{"totals", "--company", "A", "--group-by", "user"},   // not a parameter of it
		{"totals", "--company", "A", "x"},                    // no arguments
		{"total", "--company", "A"},                          // no such report
		{"time-spent", "--company", "A", "--sparkle", "yes"}, // no such flag
	} {
		if _, _, err := runReport(t, c, args...); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	c.err = errors.New("from: is not a time")
	if _, _, err := runReport(t, c, "totals", "--company", "A"); err == nil || !strings.Contains(err.Error(), "is not a time") {
		t.Errorf("%v", err)
	}
	c.err, c.body = nil, "<html>"
	if _, _, err := runReport(t, c, "totals", "--company", "A"); err == nil {
		t.Error("an answer that is no JSON was printed")
	}
}

// Every parameter of a report is a flag of its command.
func TestReportFlagsAreParameters(t *testing.T) {
	cmd := newReportCommand(nil)
	for _, info := range query.ListReports() {
		sub, _, err := cmd.Find([]string{info.Spec.Name})
		if err != nil || sub.Name() != info.Spec.Name {
			t.Fatalf("no command for %s: %v", info.Spec.Name, err)
		}
		for _, name := range info.Spec.Params {
			flag := strings.ReplaceAll(name, "_", "-")
			if (sub.Flags().Lookup(flag) == nil) != (name == "format") {
				t.Errorf("%s --%s", info.Spec.Name, flag)
			}
		}
		if columns := reportColumns[info.Spec.Name]; len(columns) != len(slices.Compact(slices.Sorted(slices.Values(columns)))) {
			t.Errorf("%s has a column twice", info.Spec.Name)
		}
	}
}

// The columns that a table shows are columns of its report, and first-last shows both
// ends of what people did as well as of what was seen of them.
func TestReportColumnsExist(t *testing.T) {
	raw, err := query.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{
		"time-spent": "TimeSpentRow", "sessions": "Session", "signed-in": "Session", "frequency": "FrequencyRow", "failures": "FailureRow",
		"first-last": "FirstLastRow", "coverage": "CoverageRow", "events": "EventRow",
	}
	for report, columns := range reportColumns {
		have := doc.Components.Schemas[rows[report]].Properties
		if len(have) == 0 {
			t.Errorf("%s: the type of its rows is not in the document", report)
		}
		for _, column := range columns {
			if _, ok := have[column]; !ok {
				t.Errorf("%s has no column %s", report, column)
			}
		}
	}
	for _, column := range []string{"first_logon", "last_logon", "last_logoff", "first_seen", "last_seen"} {
		if !slices.Contains(reportColumns["first-last"], column) {
			t.Errorf("first-last does not show %s", column)
		}
	}
}
