package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/config"
	"gatehouse/engine"
	"gatehouse/ingest/importer"
	"gatehouse/internal/reldb"
	"gatehouse/query"
)

// TestMain lets the test binary be the engine's child process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
	}
	// Tests run in their package's folder, from where the library is not found by itself.
	if lib, err := engine.FindLibrary(filepath.Join("..", "..", "engine", "node_modules", "@chdb", "lib-linux-x64-gnu", "libchdb.so"), ""); err == nil && os.Getenv(engine.LibraryEnv) == "" {
		if lib, err = filepath.Abs(lib); err == nil {
			_ = os.Setenv(engine.LibraryEnv, lib) // a failure shows as a missing library
		}
	}
	os.Exit(m.Run())
}

// startTestServer starts the whole product on a free port, on a directory of its own.
func startTestServer(t *testing.T) *server {
	t.Helper()
	s := startTestServerIn(t, t.TempDir(), nil)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func startTestServerIn(t *testing.T, dir string, now func() time.Time) *server {
	t.Helper()
	return startTestServerWith(t, dir, now, config.Default())
}

func startTestServerWith(t *testing.T, dir string, now func() time.Time, cfg *config.Config) *server {
	t.Helper()
	if _, err := engine.FindLibrary("", ""); errors.Is(err, engine.ErrLibraryMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	s, err := startServer(context.Background(), serverOptions{
		dataDir: dir, databaseURL: reldb.SQLiteURL(filepath.Join(dir, "gatehouse.db")), listen: "127.0.0.1:0",
		cfg: cfg, now: now, log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// testClient trusts the server's self-made certificate, and nothing else.
func testClient(t *testing.T, s *server) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(s.cert.CertFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in " + s.cert.CertFile())
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
}

// call makes a request and gives status and body.
func call(t *testing.T, c *http.Client, method, address, key, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func newKey(t *testing.T, s *server, company, scopes string) string {
	t.Helper()
	ctx := t.Context()
	c, err := s.store.FindCompany(ctx, company)
	if err != nil {
		if c, err = s.store.CreateCompany(ctx, localActor(), authsvc.CompanySettings{Name: company}); err != nil {
			t.Fatal(err)
		}
	}
	sc, err := authsvc.ParseScopes(scopes)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := s.store.CreateKey(ctx, localActor(), c.ID, authsvc.NewKey{Scopes: sc})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// TestOldContract sends what the agents of the former application send.
func TestOldContract(t *testing.T) {
	s := startTestServer(t)
	c := testClient(t, s)
	if s.first.Secret == "" || s.first.AdminUsername != "superadmin" {
		t.Fatalf("the first start made %+v", s.first)
	}
	const in = `{"EventType":"Sign-In","UserName":"alice","ComputerName":"PC1","IPAddress":"192.168.1.5","PublicIP":"81.2.69.142","Timestamp":"2025-05-25 14:30:00 BST","retry":0}`
	for _, want := range []struct {
		status int
		body   string
	}{
		{201, `{"message":"Event logged successfully","status":"success"}`},
		{200, `{"message":"Event already recorded","status":"success"}`},
	} {
		if status, body := call(t, c, http.MethodPost, s.url+"/api/log_event", s.first.Secret, in); status != want.status || strings.TrimSpace(body) != want.body {
			t.Fatalf("%d %s, want %d %s", status, body, want.status, want.body)
		}
	}
	for key, want := range map[string]string{"": "No API key provided", "gh_no": "Invalid API key"} {
		if status, body := call(t, c, http.MethodPost, s.url+"/api/log_event", key, in); status != 401 || !strings.Contains(body, want) {
			t.Errorf("key %q: %d %s", key, status, body)
		}
	}
	status, body := call(t, c, http.MethodPost, s.url+"/api/health", s.first.Secret, "")
	var health struct {
		Status    string `json:"status"`
		Database  string `json:"database"`
		Verified  bool   `json:"api_key_verified"`
		CompanyID uint32 `json:"company_id"`
	}
	if err := json.Unmarshal([]byte(body), &health); err != nil || status != 200 || health.Status != "healthy" || health.Database != "connected" || !health.Verified || health.CompanyID != s.first.Company.ID {
		t.Errorf("health: %d %s %v", status, body, err)
	}
	if _, body = call(t, c, http.MethodPost, s.url+"/api/log_event", s.first.Secret, strings.NewReplacer("Sign-In", "SignOut", "14:30", "17:00").Replace(in)); !strings.Contains(body, "success") {
		t.Fatal(body)
	}
	if err := s.writer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, body = call(t, c, http.MethodGet, s.url+"/api/v1/reports/time-spent?from=2025-05-25&to=2025-05-26", s.first.Secret, "")
	var report query.TimeSpentReport
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		t.Fatal(err, body)
	}
	if len(report.Rows) != 1 || *report.Rows[0].User != "alice" || report.Rows[0].TotalSeconds != 2.5*3600 {
		t.Errorf("time spent: %s", body)
	}
}

// TestCompaniesApart asks every report of a company with another's key, by every
// way of naming a company, and looks for a trace of the other.
func TestCompaniesApart(t *testing.T) {
	s := startTestServer(t)
	c := testClient(t, s)
	keys := map[string]string{}
	for _, company := range []string{"Alpha", "Beta"} {
		keys[company] = newKey(t, s, company, "ingest,read")
		for hour, kind := range []string{"Logon", "LogonFailed", "Lock", "Unlock", "Logoff", "Startup"} {
			body := fmt.Sprintf(`{"EventType":%q,"UserName":"person-of-%s","ComputerName":"machine-of-%s","Timestamp":"2025-05-25T%02d:00:00Z"}`, kind, company, company, 9+hour)
			if status, answer := call(t, c, http.MethodPost, s.url+"/api/log_event", keys[company], body); status != 201 {
				t.Fatal(status, answer)
			}
		}
	}
	if err := s.writer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	beta, err := s.store.FindCompany(t.Context(), "Beta")
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{query.EventsPath}
	for _, r := range query.ListReports() {
		paths = append(paths, query.ReportsPath+r.Spec.Name)
	}
	for _, path := range paths {
		q := url.Values{"from": {"2025-05-25"}, "to": {"2025-05-26"}}
		if strings.HasSuffix(path, "signed-in") {
			q = url.Values{"at": {"2025-05-25T09:30:00Z"}}
		}
		status, own := call(t, c, http.MethodGet, s.url+path+"?"+q.Encode(), keys["Alpha"], "")
		if status != 200 || !strings.Contains(strings.ToLower(own), "alpha") {
			t.Errorf("%s: own company: %d %s", path, status, own)
		}
		if strings.Contains(strings.ToLower(own), "beta") {
			t.Errorf("%s shows another company: %s", path, own)
		}
		var answers []string
		for _, name := range []string{"Beta", fmt.Sprint(beta.ID), "Nobody"} {
			q.Set("company", name)
			status, body := call(t, c, http.MethodGet, s.url+path+"?"+q.Encode(), keys["Alpha"], "")
			if status < 400 || strings.Contains(body, "person-of-") {
				t.Errorf("%s?company=%s: %d %s", path, name, status, body)
			}
			var failure map[string]any
			if err := json.Unmarshal([]byte(body), &failure); err != nil {
				t.Fatal(err)
			}
			delete(failure, "request_id")
			raw, err := json.Marshal(failure)
			if err != nil {
				t.Fatal(err)
			}
			answers = append(answers, fmt.Sprint(status, strings.ReplaceAll(string(raw), name, "NAME")))
		}
		if answers[0] != answers[2] || answers[1] != answers[2] {
			t.Errorf("%s tells a company that exists from one that does not: %q", path, answers)
		}
		if status, _ := call(t, c, http.MethodGet, s.url+path, newKey(t, s, "Alpha", "ingest"), ""); status != 403 {
			t.Errorf("%s with a key that may not read: %d", path, status)
		}
		if status, _ := call(t, c, http.MethodGet, s.url+path, "", ""); status != 401 {
			t.Errorf("%s without a key: %d", path, status)
		}
	}
}

// TestImportTwice imports all real logs, as the command does, once and again, and
// compares every report byte for byte.
func TestImportTwice(t *testing.T) {
	files := os.Getenv("GATEHOUSE_TESTDATA")
	if files == "" {
		files = filepath.Join("..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(files); err != nil {
		t.Skipf("no real logs at %s: set GATEHOUSE_TESTDATA to the folder that holds evtx, json and xml", files)
	}
	first, last := yearsOf(t, filepath.Join(files, "expected.json"))
	dir, now := t.TempDir(), func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }
	s := startTestServerIn(t, dir, now)
	newKey(t, s, "Museum", "read")
	l := &local{http: controlClient(s.controlAt)}
	importAll := func() importer.Counts {
		sum := importJSON(t, s.dataDir, "--company", "Museum", "--again", filepath.Join(files, "evtx"), filepath.Join(files, "json"), filepath.Join(files, "xml"))
		if sum.Inexact != "" {
			t.Errorf("what is new is not known: %s", sum.Inexact)
		}
		return sum.Totals
	}
	ask := func(path string, q url.Values) map[string]any {
		q.Set("company", "Museum")
		body, err := l.Get(t.Context(), path, q)
		if err != nil {
			t.Fatal(path, err)
		}
		var answer map[string]any
		if err := errors.Join(json.NewDecoder(body).Decode(&answer), body.Close()); err != nil {
			t.Fatal(err)
		}
		delete(answer, "generated_at")
		return answer
	}
	found := 0 // by the search
	reports := func() map[string]string {
		out := map[string]string{}
		keep := func(name string, answer map[string]any) {
			raw, err := json.Marshal(answer)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = string(raw)
		}
		found = 0
		for year := first; year <= last; year++ {
			window := func() url.Values {
				return url.Values{"from": {fmt.Sprintf("%d-01-01", year)}, "to": {fmt.Sprintf("%d-01-01", year+1)}}
			}
			for _, r := range query.ListReports() {
				q := window()
				if r.Spec.Name == "signed-in" {
					q = url.Values{"at": {fmt.Sprintf("%d-02-13T04:00:00Z", year)}}
				}
				keep(fmt.Sprint(r.Spec.Name, " of ", year), ask(query.ReportsPath+r.Spec.Name, q))
			}
			q := window()
			q.Set("limit", "1000")
			for page := 1; ; page++ {
				answer := ask(query.EventsPath, q)
				keep(fmt.Sprint("page ", page, " of the events of ", year), answer)
				if rows, ok := answer["rows"].([]any); ok {
					found += len(rows)
				}
				next, more := answer["next_cursor"].(string)
				if !more {
					break
				}
				q.Set("cursor", next)
			}
		}
		return out
	}
	count := func() (n, distinct uint64) {
		if err := s.conn.QueryRow(t.Context(), "SELECT count(), uniqExact(id) FROM events").Scan(&n, &distinct); err != nil {
			t.Fatal(err)
		}
		return n, distinct
	}
	taken := importAll()
	then, before := reports(), s.writer.Stats()
	n, distinct := count()
	if n == 0 || n != distinct || uint64(taken.Accepted) != n {
		t.Fatalf("%d events, %d distinct; the import says that %d were new", n, distinct, taken.Accepted)
	}
	if uint64(found) != n {
		t.Errorf("the searches of %d to %d show %d of %d events", first, last, found, n)
	}
	// A restarted server remembers no identity: what it drops it has to look up.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = startTestServerIn(t, dir, now)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	l = &local{http: controlClient(s.controlAt)}
	if again := importAll(); again.Accepted != 0 || again.Duplicate != taken.Accepted+taken.Duplicate {
		t.Errorf("the second import says %+v, the first %+v", again, taken)
	}
	if again, d := count(); again != n || d != distinct {
		t.Errorf("%d events after the second import, %d after the first", again, n)
	}
	afterwards := reports()
	for name, body := range afterwards {
		if body != then[name] {
			t.Errorf("%s changed:\n%s\n%s", name, then[name], body)
		}
	}
	if len(afterwards) != len(then) {
		t.Errorf("%d reports and pages, %d before", len(afterwards), len(then))
	}
	t.Logf("%d distinct events, %d reports and pages; writer: %+v, then %+v", n, len(then), before, s.writer.Stats())
}

// yearsOf are the years in which the first and the last of the real events lie.
func yearsOf(t *testing.T, expected string) (first, last int) {
	t.Helper()
	raw, err := os.ReadFile(expected)
	if err != nil {
		t.Fatal(err)
	}
	var data struct {
		Files map[string]struct {
			First time.Time `json:"first_time"`
			Last  time.Time `json:"last_time"`
		} `json:"files"`
	}
	if err := json.Unmarshal(raw, &data); err != nil {
		t.Fatal(err)
	}
	for _, f := range data.Files {
		if first == 0 || f.First.UTC().Year() < first {
			first = f.First.UTC().Year()
		}
		last = max(last, f.Last.UTC().Year())
	}
	return first, last
}

// importJSON runs "gatehouse import --json" and gives its summary.
func importJSON(t *testing.T, dataDir string, args ...string) importer.Summary {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(append([]string{"--data", dataDir, "import", "--json"}, args...), []string{"PATH=" + os.Getenv("PATH")}, &out, &errs); code != 0 {
		t.Fatalf("import: %d %s", code, errs.String())
	}
	var sum importer.Summary
	if err := json.Unmarshal(out.Bytes(), &sum); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return sum
}
