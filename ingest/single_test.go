package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
	"gatehouse/spool"
)

// oldAgent is what the agent of the old application sends, to the letter.
const oldAgent = `{"EventType":"Sign-In","UserName":"alice","ComputerName":"PC1","IPAddress":"192.168.1.5","PublicIP":"81.2.69.142","Timestamp":"2025-05-25 14:30:00 BST","retry":0}`

func TestLogEventContract(t *testing.T) {
	ok := `{"EventType":"Logon","UserName":"u","ComputerName":"c","Timestamp":"2025-05-25T12:00:00Z"}`
	for _, c := range []struct {
		name    string
		body    string
		key     string
		header  []string
		setup   func(s *server, o *Options)
		status  int
		message string // "…" stands for anything
		field   string
		retry   string
	}{
		{name: "old agent", body: oldAgent, key: "acme", status: 201, message: "Event logged successfully"},
		{name: "names in any case", body: `{"eventtype":"LOGOFF","USER_NAME":"u","computer name":"c","localip":"","publicip":null,"TIMESTAMP":1748174400,"Retry":true}`, key: "acme", status: 201, message: "Event logged successfully"},
		{name: "computer event without user", body: `{"EventType":"Startup","ComputerName":"c","Timestamp":"2025-05-25T12:00:00Z"}`, key: "acme", status: 201, message: "Event logged successfully"},
		{name: "unknown fields", body: `{"EventType":"Lock","UserName":"u","ComputerName":"c","Timestamp":"2025-05-25T12:00:00Z","x":{"y":[1,{"z":null}]},"w":1e5}`, key: "acme", status: 201, message: "Event logged successfully"},
		{name: "byte order mark", body: "\ufeff" + ok, key: "acme", status: 201, message: "Event logged successfully"},
		{name: "no key", body: ok, status: 401, message: "No API key provided"},
		{name: "wrong key", body: ok, key: "nonsense", status: 401, message: "Invalid API key"},
		{name: "disabled key", body: ok, key: "disabled", status: 401, message: "API key has been disabled"},
		{name: "key without the scope", body: ok, key: "reader", status: 403, message: "this API key may not send events: it lacks the scope ingest"},
		{name: "keys cannot be checked", body: ok, key: "stale", status: 503, message: "API keys cannot be checked at the moment", retry: "1"},
		{name: "empty", body: "", key: "acme", status: 400, message: "the body is empty; send a JSON object"},
		{name: "not JSON", body: `{"EventType":`, key: "acme", status: 400, message: "not valid JSON at byte 13: it ends in the middle"},
		{name: "two objects", body: ok + ok, key: "acme", status: 400, message: fmt.Sprintf("not valid JSON at byte %d: something stands behind the object", len(ok))},
		{name: "an array", body: `[` + ok + `]`, key: "acme", status: 400, message: "not valid JSON at byte 0: expected an object"},
		{name: "no type", body: `{"UserName":"u","ComputerName":"c","Timestamp":"2025-05-25T12:00:00Z"}`, key: "acme", status: 400, field: "EventType", message: "EventType is missing;…"},
		{name: "unknown type", body: `{"EventType":"Dance","UserName":"u","ComputerName":"c","Timestamp":"2025-05-25T12:00:00Z"}`, key: "acme", status: 400, field: "EventType", message: `EventType "Dance" is not an event type;…`},
		{name: "no user", body: `{"EventType":"Logon","ComputerName":"c","Timestamp":"2025-05-25T12:00:00Z"}`, key: "acme", status: 400, field: "UserName", message: "UserName is missing"},
		{name: "no computer", body: `{"EventType":"Logon","UserName":"u","Timestamp":"2025-05-25T12:00:00Z"}`, key: "acme", status: 400, field: "ComputerName", message: "ComputerName is missing"},
		{name: "no time", body: `{"EventType":"Logon","UserName":"u","ComputerName":"c"}`, key: "acme", status: 400, field: "Timestamp", message: "Timestamp is missing;…"},
		{name: "bad time", body: `{"EventType":"Logon","UserName":"u","ComputerName":"c","Timestamp":"soon"}`, key: "acme", status: 400, field: "Timestamp", message: `Timestamp "soon" is not a time;…`},
		{name: "future", body: `{"EventType":"Logon","UserName":"u","ComputerName":"c","Timestamp":"2025-05-26T14:00:00.001Z"}`, key: "acme", status: 400, field: "Timestamp", message: "Timestamp 2025-05-26T14:00:00Z lies more than 24 hours in the future…"},
		{name: "just not future", body: `{"EventType":"Logon","UserName":"u","ComputerName":"c","Timestamp":"2025-05-26T14:00:00Z"}`, key: "acme", status: 201, message: "Event logged successfully"},
		{name: "bad address", body: `{"EventType":"Logon","UserName":"u","ComputerName":"c","Timestamp":1748174400,"IPAddress":"1.2.3"}`, key: "acme", status: 400, field: "LocalIP", message: `LocalIP "1.2.3" is not an IP address`},
		{name: "object as a user", body: `{"EventType":"Logon","UserName":{},"ComputerName":"c","Timestamp":1748174400}`, key: "acme", status: 400, field: "UserName", message: "UserName must be text, a number, true, false or null"},
		{name: "too large", body: `{"EventType":"Logon","x":"` + strings.Repeat("x", 5000) + `"}`, key: "acme", status: 413, message: "the body is larger than 4 KiB; send less in one request"},
		{name: "unknown encoding", body: ok, key: "acme", header: []string{"Content-Encoding", "br"}, status: 415, field: "Content-Encoding", message: "Content-Encoding must be gzip, zstd or absent"},
		{name: "limited", body: ok, key: "acme", setup: func(_ *server, o *Options) { o.Limiter = limit{1500 * time.Millisecond} }, status: 429, message: "too many events; wait before sending more", retry: "2"},
		{name: "spool full", body: ok, key: "acme", setup: func(s *server, _ *Options) { s.spool.fail(fmt.Errorf("x: %w", spool.ErrFull)) }, status: 503, message: "the spool is full and nothing was taken; send it again later", retry: "10"},
		{name: "spool closed", body: ok, key: "acme", setup: func(s *server, _ *Options) { s.spool.fail(spool.ErrClosed) }, status: 503, message: "the server is shutting down and nothing was taken; send it again", retry: "2"},
		{name: "disk broken", body: ok, key: "acme", setup: func(s *server, _ *Options) { s.spool.fail(errors.New("input/output error on /secret")) }, status: 503, message: "it is not certain that the events were stored; send them again, none will count twice", retry: "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, func(o *Options) {
				if c.setup != nil {
					c.setup(&server{spool: o.Spool.(*fakeSpool)}, o)
				}
			})
			header := c.header
			if c.key != "" {
				header = append(header, "X-API-Key", c.key)
			}
			a := s.do(t, http.MethodPost, "/api/log_event", c.body, header...)
			if a.status != c.status {
				t.Fatalf("status %d, want %d: %s", a.status, c.status, a.text)
			}
			message, _ := a.json["message"].(string)
			if !says(message, c.message) {
				t.Errorf("message %q, want %q", message, c.message)
			}
			wantStatus := "error"
			if c.status < 300 {
				wantStatus = "success"
			}
			if a.json["status"] != wantStatus {
				t.Errorf("status in the body %q, want %q", a.json["status"], wantStatus)
			}
			if field, _ := a.json["field"].(string); field != c.field {
				t.Errorf("field %q, want %q", field, c.field)
			}
			if got := a.header.Get("Retry-After"); got != c.retry {
				t.Errorf("Retry-After %q, want %q", got, c.retry)
			}
			limited := a.header.Get("X-Ratelimit-Limit") == "100" && a.header.Get("X-Ratelimit-Remaining") == "3" && a.header.Get("X-Ratelimit-Reset") == "60"
			if limited != (c.status == 429) {
				t.Errorf("the headers tell of a limit: %v", a.header)
			}
			if n := len(s.spool.records); n != boolInt(c.status == 201) {
				t.Errorf("%d records in the spool", n)
			}
		})
	}
}

type limit struct{ wait time.Duration }

func (l limit) Allow(context.Context, uint32, uint32, int) Allowance {
	return Allowance{Limit: 100, Remaining: 3, Reset: time.Minute, Retry: l.wait}
}

func TestLogEventStoresWhatWasSent(t *testing.T) {
	s := newServer(t)
	if a := s.post(t, "/api/log_event", oldAgent, "User-Agent", "agent/1"); a.status != 201 {
		t.Fatal(a.text)
	}
	e := s.spool.events(t)[0]
	if e.CompanyID != 7 || e.SiteID != 70 || e.Type != event.Logon || e.User != "alice" || e.Computer != "PC1" || e.Account != event.AccountUser ||
		e.LocalIP.String() != "192.168.1.5" || e.PublicIP.String() != "81.2.69.142" || e.Received != testNow.UnixMilli() ||
		time.UnixMilli(e.Time).UTC().Format(time.RFC3339) != "2025-05-25T13:30:00Z" {
		t.Errorf("stored %+v", e)
	}
	if u := s.keys.used; len(u) != 1 || u[0].p.SiteID != 70 || u[0].agent != "agent/1" || u[0].accepted != 1 || u[0].refused != 0 || u[0].from.String() != "192.0.2.1" {
		t.Errorf("use of the key: %+v", u)
	}
}

// TestAgentVersion: the use of a key tells which agent sent the events, as the last of them says that says it.
func TestAgentVersion(t *testing.T) {
	s := newServer(t)
	line := func(second int, version string) string {
		return fmt.Sprintf(`{"EventType":"Logon","UserName":"u","ComputerName":"c","Timestamp":"2025-05-25T12:00:%02dZ"%s}`, second, version) + "\n"
	}
	for _, c := range []struct{ path, body, want string }{
		{"/api/log_event", line(1, `,"AgentVersion":"3.1.0"`), "3.1.0"},
		{"/api/log_event", line(2, ""), ""},
		{"/api/log_event", line(1, `,"version":"3.1.0"`), "3.1.0"},                                                                      // known already, and a use all the same
		{"/api/v1/events", line(20, `,"version":"3.\u0031.0"`) + line(21, `,"Domain":"\u0041\u0042\u0043\u0044\u0045\u0046"`), "3.1.0"}, // written with escapes, which are read in memory that the next record uses
		{"/api/v1/events", line(3, `,"AgentVersion":"3.1.1"`) + line(4, `,"AgentVersion":"3.2.0"`) + line(5, ""), "3.2.0"},
		{"/api/v1/events", line(6, ""), ""},
	} {
		if a := s.post(t, c.path, c.body, "User-Agent", "curl/8"); a.status >= 300 {
			t.Fatal(a.text)
		}
		if u := s.keys.used[len(s.keys.used)-1]; u.version != c.want || u.agent != "curl/8" {
			t.Errorf("%s %s: %+v", c.path, c.body, u)
		}
	}
}

func TestLogEventRepetition(t *testing.T) {
	s := newServer(t)
	s.spool.fail(spool.ErrFull)
	if a := s.post(t, "/api/log_event", oldAgent); a.status != 503 {
		t.Fatalf("full spool: %d", a.status)
	}
	s.spool.fail(nil)
	// What was refused is not remembered as recorded.
	if a := s.post(t, "/api/log_event", oldAgent); a.status != 201 {
		t.Fatalf("first: %d %s", a.status, a.text)
	}
	again := strings.Replace(oldAgent, `"retry":0`, `"retry":1`, 1)
	a := s.post(t, "/api/log_event", again)
	if a.status != 200 || a.json["message"] != "Event already recorded" || a.json["status"] != "success" {
		t.Errorf("second: %d %s", a.status, a.text)
	}
	if a := s.post(t, "/api/log_event", oldAgent, "X-API-Key", "globex"); a.status != 201 {
		t.Errorf("another company's event of the same words: %d", a.status)
	}
	if n := len(s.spool.records); n != 2 {
		t.Errorf("%d records in the spool, want 2", n)
	}
	for result, want := range map[string]float64{"accepted": 1, "duplicate": 1} {
		if got := s.counter(t, "gatehouse_events_total", "company", "Acme", "reason", "", "result", result); got != want {
			t.Errorf("%s: %v, want %v", result, got, want)
		}
	}
	if got := s.counter(t, "gatehouse_events_total", "company", "Acme", "reason", "unavailable", "result", "refused"); got != 1 {
		t.Errorf("refused: %v", got)
	}
}

// Requests with the same event at the same time: one is told 201, the others 200, and
// nobody is told anything before the event is durable.
func TestLogEventAtTheSameTime(t *testing.T) {
	const n = 8
	arrived := make(chan struct{}, n)
	release := make(chan struct{})
	s := newServer(t)
	s.spool.before = func() { arrived <- struct{}{}; <-release }
	answers := make(chan int, n)
	for range n {
		go func() {
			w := s.do(t, http.MethodPost, "/api/log_event", oldAgent, "X-API-Key", "acme")
			answers <- w.status
		}()
	}
	for range n {
		<-arrived
	}
	select {
	case status := <-answers:
		t.Fatalf("answered %d before the event was durable", status)
	default:
	}
	close(release)
	count := map[int]int{}
	for range n {
		count[<-answers]++
	}
	if count[201] != 1 || count[200] != n-1 {
		t.Errorf("answers %v, want one 201 and %d 200", count, n-1)
	}
}

// While the spool is full each request is refused, and the log must not fill the disk the more.
func TestRefusalsAreLoggedOnceASecond(t *testing.T) {
	now := testNow
	var log bytes.Buffer
	s := newServer(t, func(o *Options) {
		o.Clock = func() time.Time { return now }
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	s.spool.fail(fmt.Errorf("%w: no space on disk", spool.ErrFull))
	for range 100 {
		s.post(t, PathLogEvent, oldAgent)
	}
	now = now.Add(time.Second)
	s.post(t, PathLogEvent, oldAgent)
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "others_since_the_last=99") || !strings.Contains(text, "no space on disk") {
		t.Errorf("log:\n%s", text)
	}
}

// TestRightsRefusedAreLogged: whoever may not send, or sends too much, is in the log, and nothing that they gave as a key.
func TestRightsRefusedAreLogged(t *testing.T) {
	var log bytes.Buffer
	s := newServer(t, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		o.Limiter = never{}
	})
	for kind, key := range map[string]string{"unauthorized": "gh_wrong", "forbidden": "reader", "rate_limited": "acme"} {
		s.do(t, http.MethodPost, PathLogEvent, oldAgent, "X-API-Key", key)
		if text := log.String(); strings.Count(text, "refusal="+kind+" ") != 1 || !strings.Contains(text, "path=/api/log_event") {
			t.Errorf("%s: log:\n%s", kind, text)
		}
	}
	s.do(t, http.MethodPost, PathLogEvent, "{}", "X-API-Key", "acme") // merely wrong
	if text := log.String(); strings.Count(text, "\n") != 3 || strings.Contains(text, "gh_wrong") {
		t.Errorf("log:\n%s", text)
	}
}

// never is a limiter that lets nothing through.
type never struct{}

func (never) Allow(context.Context, uint32, uint32, int) Allowance {
	return Allowance{Retry: time.Second}
}

func TestLogEventMethod(t *testing.T) {
	s := newServer(t)
	a := s.do(t, http.MethodGet, "/api/log_event", "", "X-API-Key", "acme")
	if a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("%d, Allow %q", a.status, a.header.Get("Allow"))
	}
}
