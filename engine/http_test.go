//go:build linux || darwin

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func httpClient(e *Engine) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, n, a string) (net.Conn, error) { return e.DialContext(ctx, n, a) },
		DisableCompression: true,
	}}
}

func do(t testing.TB, e *Engine, method string, q url.Values, body io.Reader, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://engine/?"+q.Encode(), body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c := httpClient(e)
	defer c.CloseIdleConnections()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return answer{res.StatusCode, res.Header, string(b), err}
}

// post sends a statement as the body.
func post(t testing.TB, e *Engine, sql string, q url.Values, header ...string) answer {
	t.Helper()
	return do(t, e, http.MethodPost, q, strings.NewReader(sql), header...)
}

func TestHTTPBasics(t *testing.T) {
	e := sharedEngine(t)
	if r := do(t, e, "GET", nil, nil); r.body != "Ok.\n" {
		t.Errorf("GET /: %q", r.body)
	}
	if r := do(t, e, "GET", url.Values{"query": {"SELECT 1, 'é'"}}, nil); r.body != "1\té\n" {
		t.Errorf("GET query: %q", r.body)
	}
	// The parameter and the body are one text.
	if r := post(t, e, "+ 2 FORMAT CSV", url.Values{"query": {"SELECT 1"}}); r.body != "3\n" || r.header.Get("X-ClickHouse-Format") != "CSV" {
		t.Errorf("split text: %q %v", r.body, r.header)
	}
	r := post(t, e, "SELECT number FROM numbers(10)", url.Values{"query_id": {"my-id"}, "default_format": {"JSONEachRow"}})
	h := r.header
	if h.Get("X-ClickHouse-Query-Id") != "my-id" || h.Get("X-ClickHouse-Format") != "JSONEachRow" || h.Get("X-ClickHouse-Timezone") != "UTC" ||
		h.Get("X-ClickHouse-Server-Display-Name") == "" || !strings.HasPrefix(h.Get("Content-Type"), "application/x-ndjson") {
		t.Errorf("headers %v", h)
	}
	var sum map[string]string
	if err := json.Unmarshal([]byte(h.Get("X-ClickHouse-Summary")), &sum); err != nil || sum["read_rows"] != "10" || sum["result_rows"] != "10" {
		t.Errorf("summary %s (%v)", h.Get("X-ClickHouse-Summary"), err)
	}
	if r := post(t, e, "SELECT {a:Array(String)}, {s:String}", url.Values{"param_a": {`['x','y']`}, "param_s": {`it\'s\t"`}}); r.body != "['x','y']\tit\\'s\\t\"\n" {
		t.Errorf("parameters: %q %d", r.body, r.status)
	}
	if r := post(t, e, "SELECT 1", url.Values{"default_format": {"JSON"}}, "X-ClickHouse-Format", "TSKV"); r.body != "1=1\n" {
		t.Errorf("X-ClickHouse-Format: %q", r.body)
	}
	if r := post(t, e, "SELECT currentDatabase()", nil, "X-ClickHouse-Database", "system"); r.body != "system\n" {
		t.Errorf("X-ClickHouse-Database: %q", r.body)
	}
	if r := post(t, e, "SELECT getSetting('max_threads')", url.Values{"max_threads": {"1"}}); r.body != "1\n" {
		t.Errorf("setting: %q", r.body)
	}
	if r := post(t, e, "SELECT getSetting('max_threads') = 1", nil); r.body == "1\n" && defaultThreads() != 1 {
		t.Errorf("a setting of an earlier request is still there")
	}
}

func TestHTTPErrors(t *testing.T) {
	e := sharedEngine(t)
	for _, tc := range []struct {
		sql    string
		q      url.Values
		code   string
		status int
	}{
		{"SELEC 1", nil, "62", 400},
		{"", nil, "62", 400},
		{"SELECT 1; SELECT 2", nil, "62", 400},
		{"SELECT * FROM no_such_table", nil, "60", 404},
		{"SELECT 1", url.Values{"database": {"no_such_db"}}, "81", 404},
		{"SELECT no_such_function(1)", nil, "46", 404},
		{"SELECT no_such_column", nil, "47", 404},
		{"SELECT 1", url.Values{"no_such_setting": {"1"}}, "115", 404},
		{"SELECT 1", url.Values{"max_threads": {"x"}}, "27", 400},
		{"SELECT 1 FORMAT NoSuchFormat", nil, "73", 404},
		{"SELECT 1", url.Values{"bad'; DROP TABLE x": {"1"}}, "115", 404},
		{"SELECT throwIf(1)", nil, "395", 500},
		{"SELECT {p:UInt8}", nil, "456", 500},
		{"SELECT toUInt8('x')", nil, "6", 400},
		{"SELECT 1 INTO OUTFILE 'x'", nil, "358", 500},
		{"SELECT count() FROM numbers(100000000000)", url.Values{"max_execution_time": {"1"}}, "159", 408},
		{"SELECT groupArray(number) FROM numbers(100000000)", url.Values{"max_memory_usage": {"10000000"}}, "241", 500},
	} {
		r := post(t, e, tc.sql, tc.q)
		if r.header.Get("X-ClickHouse-Exception-Code") != tc.code || r.status != tc.status || !strings.HasPrefix(r.body, "Code: "+tc.code+". DB::") || !strings.HasSuffix(r.body, ")\n") {
			t.Errorf("%s %v: status %d code %s: %.300s", tc.sql, tc.q, r.status, r.header.Get("X-ClickHouse-Exception-Code"), r.body)
		}
	}
	if r := do(t, e, "GET", url.Values{"query": {"CREATE TABLE over_get (a Int8) ENGINE = Memory"}}, nil); r.header.Get("X-ClickHouse-Exception-Code") != "164" {
		t.Errorf("GET may write: %d %s", r.status, r.body)
	}
	if r := do(t, e, "GET", url.Values{"query": {"INSERT INTO t VALUES (1)"}}, nil); r.header.Get("X-ClickHouse-Exception-Code") != "164" {
		t.Errorf("GET may insert: %d %s", r.status, r.body)
	}
}

func TestHTTPMidStreamError(t *testing.T) {
	e := sharedEngine(t)
	const q = "SELECT throwIf(number = 900000), randomPrintableASCII(20) FROM numbers(1000000)"
	r := post(t, e, q, url.Values{"max_block_size": {"10000"}, "max_threads": {"1"}})
	tag := r.header.Get("X-ClickHouse-Exception-Tag")
	if r.status != 200 || len(tag) != 16 {
		t.Fatalf("status %d, tag %q", r.status, tag)
	}
	i := strings.Index(r.body, "\r\n__exception__\r\n"+tag+"\r\nCode: 395. DB::Exception: ")
	if i < 0 || !strings.HasSuffix(r.body, " "+tag+"\r\n__exception__\r\n") {
		t.Fatalf("no exception block at the end: %q", r.body[max(0, len(r.body)-400):])
	}
	if strings.Count(r.body[:i], "\n") < 500000 {
		t.Error("the rows before the error are missing")
	}
	// With wait_end_of_query nothing of the result goes out.
	r = post(t, e, q, url.Values{"max_block_size": {"10000"}, "max_threads": {"1"}, "wait_end_of_query": {"1"}})
	if r.status != 500 || r.header.Get("X-ClickHouse-Exception-Code") != "395" || !strings.HasPrefix(r.body, "Code: 395") {
		t.Fatalf("wait_end_of_query: %d %.100s", r.status, r.body)
	}
	r = post(t, e, "SELECT number FROM numbers(2000000)", url.Values{"wait_end_of_query": {"1"}})
	if r.status != 200 || strings.Count(r.body, "\n") != 2000000 || !strings.Contains(r.header.Get("X-ClickHouse-Summary"), `"result_rows":"2000000"`) {
		t.Fatalf("wait_end_of_query: %d bytes, summary %s", len(r.body), r.header.Get("X-ClickHouse-Summary"))
	}
}

func TestHTTPInsertForms(t *testing.T) {
	e := sharedEngine(t)
	post(t, e, "CREATE OR REPLACE TABLE forms (a UInt64, b String) ENGINE = MergeTree ORDER BY a", nil)
	want := 0
	for _, tc := range []struct {
		query, body string
		rows        int
	}{
		{"", "INSERT INTO forms VALUES (1, 'x'), (2, 'y');", 2},
		{"", "INSERT INTO forms (b, a) FORMAT CSV\n\"q\",3\n", 1},
		{"", "INSERT INTO forms FORMAT JSONEachRow {\"a\":4,\"b\":\"z\"}\n{\"a\":5}", 2},
		{"INSERT INTO forms FORMAT TSV", "6\tx\n7\ty\n8\tz\n", 3},
		{"INSERT INTO forms (a) VALUES", "(9), (10)", 2},
		{"INSERT INTO forms (a) VALUES (11)", "", 1},
		{"INSERT INTO forms SELECT number, 'n' FROM numbers(5)", "", 5},
		{"", "INSERT INTO forms SELECT number, 'n' FROM numbers(5)", 5},
		{"INSERT INTO forms SETTINGS max_insert_threads=1 FORMAT CSV", "12,a\n", 1},
		{"INSERT INTO forms FORMAT CSV", "", 0},
		{"", "INSERT INTO forms VALUES " + strings.TrimRight(strings.Repeat("(13,'long'),", 200000), ","), 200000},
	} {
		q := url.Values{}
		if tc.query != "" {
			q.Set("query", tc.query)
		}
		r := post(t, e, tc.body, q)
		if r.status != 200 || r.body != "" {
			t.Fatalf("%s %.60s: %d %s", tc.query, tc.body, r.status, r.body)
		}
		want += tc.rows
		var sum map[string]string
		if err := json.Unmarshal([]byte(r.header.Get("X-ClickHouse-Summary")), &sum); err != nil || sum["written_rows"] != u(uint64(tc.rows)) {
			t.Errorf("%s %.60s: summary %v, want %d rows", tc.query, tc.body, sum, tc.rows)
		}
	}
	for _, format := range []string{"JSON", "CSV"} {
		r := post(t, e, "WITH 14 AS x INSERT INTO forms SELECT x, 'w'", url.Values{"default_format": {format}})
		if want++; r.status != 200 || r.body != "" {
			t.Errorf("WITH … INSERT: %d %s", r.status, r.body)
		}
	}
	if r := post(t, e, "SELECT count() FROM forms", nil); r.body != u(uint64(want))+"\n" {
		t.Errorf("%s rows, want %d", r.body, want)
	}
	for _, bad := range []string{"INSERT INTO forms FORMAT CSV\nx,y\n", "INSERT INTO forms (nope) VALUES (1)", "INSERT INTO nope VALUES (1)", "INSERT INTO forms FORMAT Nope\nx"} {
		if r := post(t, e, bad, nil); r.status == 200 || r.header.Get("X-ClickHouse-Exception-Code") == "" {
			t.Errorf("%s: %d %s", bad, r.status, r.body)
		}
	}
}

func TestHTTPExternalTables(t *testing.T) {
	e := sharedEngine(t)
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	if err := m.WriteField("query", "SELECT sum(n), any(s) FROM ext WHERE n > {low:UInt32}"); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteField("param_low", "1"); err != nil {
		t.Fatal(err)
	}
	f, err := m.CreateFormFile("ext", "ext.csv")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(f, "1,a\n2,a\n3,a\n")
	_ = m.Close()
	r := do(t, e, "POST", url.Values{"ext_structure": {"n UInt32, s String"}, "ext_format": {"CSV"}}, &b, "Content-Type", m.FormDataContentType())
	if r.body != "5\ta\n" {
		t.Fatalf("%d %s", r.status, r.body)
	}
}

func TestHTTPSessions(t *testing.T) {
	e := sharedEngine(t)
	id := url.Values{"session_id": {"s1"}, "session_timeout": {"1"}}
	if r := post(t, e, "CREATE TEMPORARY TABLE tmp1 (a Int8)", id); r.status != 200 {
		t.Fatal(r.body)
	}
	if r := post(t, e, "INSERT INTO tmp1 VALUES (7)", id); r.status != 200 {
		t.Fatal(r.body)
	}
	if r := post(t, e, "SELECT a FROM tmp1", id); r.body != "7\n" {
		t.Fatal(r.body)
	}
	if r := post(t, e, "SELECT a FROM tmp1", nil); r.status != 404 {
		t.Fatalf("a temporary table leaks: %s", r.body)
	}
	if r := post(t, e, "SELECT 1", url.Values{"session_id": {"nobody"}, "session_check": {"1"}}); r.header.Get("X-ClickHouse-Exception-Code") != "372" {
		t.Fatalf("%d %s", r.status, r.body)
	}
}

// A client that goes away ends its statement.
func TestHTTPDisconnectKills(t *testing.T) {
	e := sharedEngine(t)
	const mark = "/* to be killed */"
	for name, q := range map[string]url.Values{
		"streamed": {"query": {"SELECT " + mark + " sum(number) FROM numbers(1000000000000)"}, "query_id": {"victim"}},
		"whole":    {"query": {"SELECT " + mark + " sum(number) FROM numbers(1000000000000) FORMAT JSON"}, "query_id": {"victim"}},
		"insert":   {"query": {"INSERT INTO FUNCTION null('a UInt64') SELECT " + mark + " number FROM numbers(1000000000000)"}, "query_id": {"victim"}},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/?"+q.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		c := httpClient(e)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := c.Do(req); err == nil {
				_ = res.Body.Close()
			}
		}()
		running := func() bool {
			return post(t, e, "SELECT count() FROM system.processes WHERE query LIKE '%to be kil%' AND query NOT LIKE '%system.processes%'", nil).body != "0\n"
		}
		waitFor(t, name+" to run", running)
		if r := post(t, e, "SELECT 1", url.Values{"query_id": {"victim"}}); r.header.Get("X-ClickHouse-Exception-Code") != "216" {
			t.Errorf("a second statement ran under the same id: %s", r.body)
		}
		cancel()
		<-done
		waitFor(t, name+" to be killed", func() bool { return !running() })
		c.CloseIdleConnections()
	}
}

// waitFor polls until cond holds. The limit is generous: it only ends a test that hangs.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("waited too long for %s", what)
}
