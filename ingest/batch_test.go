package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"gatehouse/event"
	"gatehouse/spool"
)

// line is a valid event with a user of its own.
func line(n int) string {
	return fmt.Sprintf(`{"EventType":"Logon","UserName":"user%d","ComputerName":"PC%d","Timestamp":"2025-05-25T12:00:%02d.%03dZ","IPAddress":"10.0.0.%d"}`, n, n%7, n%60, n%1000, n%250)
}

func lines(from, to int) string {
	var b strings.Builder
	for n := from; n < to; n++ {
		b.WriteString(line(n))
		b.WriteByte('\n')
	}
	return b.String()
}

func arrayOf(from, to int) string {
	return "[" + strings.ReplaceAll(strings.TrimSuffix(lines(from, to), "\n"), "\n", ",\n ") + "]"
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_ = must(w.Write([]byte(s)))
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func zstded(s string) string {
	return string(must(zstd.NewWriter(nil)).EncodeAll([]byte(s), nil))
}

// result is the answer to a batch, compared as text: "accepted duplicate rejected | index:status:field …".
func (a answer) result(t testing.TB) string {
	t.Helper()
	var r struct {
		Accepted, Duplicate, Rejected int
		Results                       []struct {
			Index                  int
			Status, Field, Message string
		}
	}
	if err := json.Unmarshal([]byte(a.text), &r); err != nil {
		t.Fatalf("%v: %s", err, a.text)
	}
	out := fmt.Sprintf("%d %d %d |", r.Accepted, r.Duplicate, r.Rejected)
	for _, x := range r.Results {
		out += fmt.Sprintf(" %d:%s:%s", x.Index, x.Status, x.Field)
	}
	return out
}

func TestEventsContract(t *testing.T) {
	const (
		ndjson = "application/x-ndjson"
		plain  = "application/json"
	)
	noUser := `{"EventType":"Logon","ComputerName":"c","Timestamp":1748174400}`
	for _, c := range []struct {
		name, body string
		header     []string // X-API-Key acme unless given
		setup      func(s *fakeSpool, o *Options)
		query      string
		status     int
		result     string // of a batch, or
		message    string // of a refusal
		retry      string
	}{
		{name: "array", body: arrayOf(0, 3), header: []string{"Content-Type", plain}, status: 200, result: "3 0 0 |"},
		{name: "array, all results", body: "[" + line(1) + "," + noUser + "," + line(1) + "]", query: "?results=all", status: 200, result: "1 1 1 | 0:accepted: 1:rejected:UserName 2:duplicate:"},
		{name: "another parameter", body: line(1), query: "?result=all", status: 400, message: "result is not a parameter of sending events; there is results alone"},
		{name: "another value", body: line(1), query: "?results=foo", status: 400, message: "results must be all, once, or absent"},
		{name: "given twice", body: line(1), query: "?results=all&results=all", status: 400, message: "results must be all, once, or absent"},
		{name: "parameters in no form", body: line(1), query: "?results=%zz", status: 400, message: "the parameters are not well-formed: …"},
		{name: "another parameter, no key", body: line(1), header: []string{"X-API-Key", ""}, query: "?a=b", status: 401, message: "No API key provided"},
		{name: "one object", body: " " + line(1) + "\r\n", header: []string{"Content-Type", plain}, status: 200, result: "1 0 0 |"},
		{name: "one object over several lines", body: "{\n" + line(1)[1:], status: 200, result: "1 0 0 |"},
		{name: "one bad object", body: noUser, status: 200, result: "0 0 1 | 0:rejected:UserName"},
		{name: "NDJSON", body: lines(0, 5), header: []string{"Content-Type", ndjson + "; charset=utf-8"}, status: 200, result: "5 0 0 |"},
		{name: "NDJSON without a last newline, and blank lines", body: "\n" + line(1) + "\r\n \n" + line(2), header: []string{"Content-Type", ndjson}, status: 200, result: "2 0 0 |"},
		{name: "NDJSON sniffed", body: lines(0, 5), header: []string{"Content-Type", plain}, status: 200, result: "5 0 0 |"},
		{name: "NDJSON without a type, and a mark", body: "\ufeff" + lines(0, 5), status: 200, result: "5 0 0 |"},
		{name: "NDJSON with damage", body: line(0) + "\n" + `{"EventType":"Log` + "\n" + line(2) + "\n7\n" + line(4) + line(5) + "\n" + noUser, header: []string{"Content-Type", ndjson}, status: 200, result: "2 0 4 | 1:rejected: 3:rejected: 4:rejected: 5:rejected:UserName"},
		{name: "NDJSON, first line damaged, sniffed", body: `{"EventType":"Log` + "\n" + line(2), status: 200, result: "1 0 1 | 0:rejected:"},
		{name: "NDJSON, nothing readable", body: "{{\n}}\n", header: []string{"Content-Type", ndjson}, status: 400, result: "0 0 2 | 0:rejected: 1:rejected:"},
		{name: "gzip", body: gzipped(lines(0, 5)), header: []string{"Content-Encoding", "gzip"}, status: 200, result: "5 0 0 |"},
		{name: "zstd", body: zstded(lines(0, 5)), header: []string{"Content-Encoding", "ZSTD"}, status: 200, result: "5 0 0 |"},
		{name: "array with other things", body: "[" + line(1) + `,7,"x",[1,{"a":[]}],null,` + line(2) + "]", status: 200, result: "2 0 4 | 1:rejected: 2:rejected: 3:rejected: 4:rejected:"},
		{name: "Arrow", body: string(arrowStream(t, 5)), header: []string{"Content-Type", "application/vnd.apache.arrow.stream"}, status: 200, result: "5 0 0 |"},
		{name: "Arrow sniffed, zstd", body: zstded(string(arrowStream(t, 5))), header: []string{"Content-Encoding", "zstd"}, status: 200, result: "5 0 0 |"},

		{name: "damaged array", body: "[" + line(1) + "," + line(2)[:20], status: 400, message: "not valid JSON at byte …"},
		{name: "array with a comma too many", body: "[" + line(1) + ",]", status: 400, message: "not valid JSON at byte …"},
		{name: "array and more", body: "[" + line(1) + "] []", status: 400, message: "not valid JSON at byte …"},
		{name: "empty array", body: " [ ] ", status: 400, message: "the body holds no records"},
		{name: "empty body", body: "", status: 400, message: "the body is empty"},
		{name: "text", body: "EventType=Logon", status: 400, message: "the body is neither …"},
		{name: "damaged Arrow", body: string(arrowStream(t, 5)[:200]), header: []string{"Content-Type", "application/vnd.apache.arrow.stream"}, status: 400, message: "the body is not a valid Arrow IPC stream"},
		{name: "damaged gzip", body: gzipped(lines(0, 5))[:40], header: []string{"Content-Encoding", "gzip"}, status: 400, message: "the body is not valid gzip"},
		{name: "no gzip", body: lines(0, 5), header: []string{"Content-Encoding", "gzip"}, status: 400, message: "the body is not valid gzip"},
		{name: "damaged zstd", body: zstded(lines(0, 50))[:40], header: []string{"Content-Encoding", "zstd"}, status: 400, message: "the body is not valid zstd"},
		{name: "two encodings", body: lines(0, 5), header: []string{"Content-Encoding", "gzip, zstd"}, status: 415, message: "Content-Encoding must be gzip, zstd or absent"},
		{name: "no key", body: lines(0, 5), header: []string{"X-API-Key", ""}, status: 401, message: "No API key provided"},
		{name: "wrong key", body: lines(0, 5), header: []string{"X-API-Key", "x"}, status: 401, message: "Invalid API key"},
		{name: "without the scope", body: lines(0, 5), header: []string{"X-API-Key", "reader"}, status: 403, message: "this API key may not …"},
		{name: "too many records, NDJSON", body: lines(0, 1001), status: 413, message: "more than 1000 records in one request; send them in several"},
		{name: "too many records, array", body: arrayOf(0, 1001), status: 413, message: "more than 1000 records in one request; send them in several"},
		{name: "too many records, Arrow", body: string(arrowStream(t, 1001)), status: 413, message: "more than 1000 records in one request; send them in several"},
		{name: "just as many as may be", body: lines(0, 1000) + "\n\n", status: 200, result: "1000 0 0 |"},
		{name: "too large", body: strings.Repeat(" ", 1<<20+1), status: 413, message: "the body is larger than 1 MiB; send less in one request"},
		{name: "too large unpacked, gzip", body: gzipped(strings.Repeat(" ", 1<<20+1)), header: []string{"Content-Encoding", "gzip"}, status: 413, message: "the body is larger than 1 MiB; send less in one request"},
		{name: "too large unpacked, zstd", body: zstded(strings.Repeat(" ", 64<<20)), header: []string{"Content-Encoding", "zstd"}, status: 413, message: "the body is larger than 1 MiB; send less in one request"},
		{name: "limited", body: lines(0, 5), setup: func(_ *fakeSpool, o *Options) { o.Limiter = limit{time.Minute} }, status: 429, message: "too many events; …", retry: "60"},
		{name: "spool full", body: lines(0, 5), setup: func(s *fakeSpool, _ *Options) { s.fail(spool.ErrFull) }, status: 503, message: "the spool is full and nothing was taken; …", retry: "10"},
		{name: "more than the spool takes", body: lines(0, 5), setup: func(s *fakeSpool, _ *Options) { s.fail(spool.ErrTooLarge) }, status: 413, message: "more than the spool takes at once, …"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, func(o *Options) {
				if c.setup != nil {
					c.setup(o.Spool.(*fakeSpool), o)
				}
			})
			a := s.post(t, "/api/v1/events"+c.query, c.body, c.header...)
			if a.status != c.status {
				t.Fatalf("status %d, want %d: %.300s", a.status, c.status, a.text)
			}
			if got := a.header.Get("Retry-After"); got != c.retry {
				t.Errorf("Retry-After %q, want %q", got, c.retry)
			}
			if c.message != "" {
				message, _ := a.json["message"].(string)
				if !says(message, c.message) {
					t.Errorf("message %q, want %q", message, c.message)
				}
				if n := len(s.spool.records); n != 0 {
					t.Errorf("%d records were taken from a refused request", n)
				}
				return
			}
			nothing := strings.HasPrefix(c.result, "0 0 ")
			if got := a.json["status"]; got != map[bool]string{true: "error", false: "success"}[nothing] {
				t.Errorf("status %q of %s", got, c.result)
			}
			if got := a.result(t); got != c.result {
				t.Errorf("result %s\nwant   %s\n%s", got, c.result, a.text)
			}
			var n int
			if _, err := fmt.Sscan(c.result, &n); err != nil || n != len(s.spool.records) {
				t.Errorf("%d records in the spool: %v", len(s.spool.records), err)
			}
		})
	}
}

// TestParametersOfSending: what a client makes up as a parameter is told as the field, and is no label of a metric. The old contract takes no notice of any.
func TestParametersOfSending(t *testing.T) {
	s := newServer(t)
	if a := s.post(t, PathEvents+"?made-up=1", line(1)); a.status != 400 || a.json["field"] != "made-up" {
		t.Errorf("%d %s", a.status, a.text)
	}
	if got := s.counter(t, "gatehouse_events_total", "company", "Acme", "reason", "invalid", "result", "refused"); got != 1 {
		t.Errorf("refused requests counted: %v", got)
	}
	if a := s.post(t, PathLogEvent+"?made-up=1&results=foo", line(1)); a.status != 201 {
		t.Errorf("the old contract: %d %s", a.status, a.text)
	}
}

func TestEventsRepetition(t *testing.T) {
	s := newServer(t)
	if got := s.post(t, PathEvents, lines(0, 10)).result(t); got != "10 0 0 |" {
		t.Fatal(got)
	}
	if got := s.post(t, PathEvents, lines(8, 12)).result(t); got != "2 2 0 | 0:duplicate: 1:duplicate:" {
		t.Error(got)
	}
	if a := s.post(t, PathLogEvent, line(11)); a.status != 200 {
		t.Errorf("a single event that a batch brought: %d", a.status)
	}
	if got := s.post(t, PathEvents, string(arrowStream(t, 3))).result(t); got != "0 3 0 | 0:duplicate: 1:duplicate: 2:duplicate:" {
		t.Errorf("the same events as Arrow: %s", got)
	}
	if got := s.counter(t, "gatehouse_events_total", "company", "Acme", "reason", "", "result", "duplicate"); got != 6 {
		t.Errorf("duplicates counted: %v", got)
	}
}

// Whatever the form, the same event comes out.
func TestEventsSameInEveryForm(t *testing.T) {
	var want []event.Event
	for form, body := range map[string]string{
		"array": arrayOf(0, 300), "lines": lines(0, 300), "arrow": string(arrowStream(t, 300)), "gzip": gzipped(lines(0, 300)),
	} {
		var header []string
		if form == "gzip" {
			header = []string{"Content-Encoding", "gzip"}
		}
		s := newServer(t)
		if got := s.post(t, PathEvents, body, header...).result(t); got != "300 0 0 |" {
			t.Fatalf("%s: %s", form, got)
		}
		got := s.spool.events(t)
		if want == nil {
			want = got
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: event %d is\n%+v, in another form\n%+v", form, i, got[i], want[i])
			}
		}
	}
}

func TestInternalEvents(t *testing.T) {
	s := newServer(t)
	parse := event.ParseOptions{Now: testNow, CompanyID: 99, SiteID: 98}
	var text []byte
	for n := range 3 {
		var scan jsonScanner
		if _, err := scan.object([]byte(line(n)), 0); err != nil {
			t.Fatal(err)
		}
		e, err := scan.fields.Parse(&parse)
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			e.Computer = ""
		}
		text = appendFrame(text, &e)
	}
	text = append(text, 3, 9, 9, 9)
	a := s.do(t, http.MethodPost, PathInternalEvents+"?company=7&site=3", string(text))
	if got := a.result(t); got != "2 0 2 | 1:rejected:ComputerName 3:rejected:" {
		t.Fatalf("%s\n%s", got, a.text)
	}
	for _, e := range s.spool.events(t) {
		if e.CompanyID != 7 || e.SiteID != 3 || e.Received != testNow.UnixMilli() {
			t.Errorf("stored %+v", e)
		}
	}
	for path, body := range map[string]string{
		PathInternalEvents + "?company=7&site=3":  "\xff\xff\xff\xff\x0f",
		PathInternalEvents + "?company=0&site=3":  string(text),
		PathInternalEvents + "?company=x&site=3":  string(text),
		PathInternalEvents + "?company=7&site=-1": string(text),
	} {
		if a := s.do(t, http.MethodPost, path, body); a.status != 400 {
			t.Errorf("%s: status %d", path, a.status)
		}
	}
}

// A request as large as the settings allow beside the smallest spool is taken, even when what the
// queue has of an event is longer than its JSON. Package config bounds [ingest] max_bytes so.
func TestLargestRequestFitsTheSpool(t *testing.T) {
	const (
		bound  = 64 << 20
		events = 50_000
		limit  = bound/4 - 64*events
	)
	sp, err := spool.Open(t.TempDir(), spool.Options{MaxBytes: bound})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sp.Close() })
	s := newServer(t, func(o *Options) {
		o.Spool, o.Limits = sp, Limits{BatchBytes: limit, BatchEvents: events}
	})
	var b strings.Builder
	records := 0
	for ; records < events; records++ {
		next := fmt.Sprintf(`{"type":"boot","host":"%d%0200d","time":1,"ip":"::1","publicip":"::1","sourceip":"::1"}`+"\n", records, 0)
		if b.Len()+len(next) > limit {
			break
		}
		b.WriteString(next)
	}
	if a := s.post(t, PathEvents, b.String(), "Content-Type", "application/x-ndjson"); a.status != 200 || a.result(t) != fmt.Sprintf("%d 0 0 |", records) {
		t.Fatalf("%d records in %d bytes: %d %.300s", records, b.Len(), a.status, a.text)
	}
	if n := sp.Stats().Records; n != int64(records) {
		t.Errorf("%d records are in the spool, sent %d", n, records)
	}
}
