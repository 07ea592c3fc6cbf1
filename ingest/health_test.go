package ingest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestHealth(t *testing.T) {
	away := func(context.Context) error { return errors.New("dial tcp 10.1.2.3: refused") }
	for _, c := range []struct {
		name, key, method string
		store             func(context.Context) error
		status, database  string
		verified          bool
		company           any
	}{
		{"with a key", "acme", "POST", nil, "healthy", "connected", true, 7.0},
		{"without a key", "", "POST", nil, "healthy", "connected", false, nil},
		{"with a wrong key", "x", "POST", nil, "healthy", "connected", false, nil},
		{"with a disabled key", "disabled", "POST", nil, "healthy", "connected", false, nil},
		{"by GET", "", "GET", nil, "healthy", "connected", false, nil},
		{"without the store", "acme", "POST", away, "degraded", "disconnected", true, 7.0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, func(o *Options) { o.Store = c.store })
			a := s.do(t, c.method, "/api/health", "{}", "X-API-Key", c.key)
			if a.status != 200 || a.json["status"] != c.status || a.json["database"] != c.database ||
				a.json["api_key_verified"] != c.verified || a.json["company_id"] != c.company ||
				a.json["timestamp"] != "2025-05-25T14:00:00Z" || a.json["message"] == "" || len(a.json) != 6 {
				t.Errorf("%d %s", a.status, a.text)
			}
			if strings.Contains(a.text, "10.1.2.3") {
				t.Error("the answer tells where the store is")
			}
		})
	}
}

func TestHealthAsksTheStoreOnceASecond(t *testing.T) {
	now, asked := testNow, 0
	s := newServer(t, func(o *Options) {
		o.Clock = func() time.Time { return now }
		o.Store = func(context.Context) error { asked++; return nil }
	})
	for range 5 {
		s.do(t, http.MethodPost, "/api/health", "")
	}
	if asked != 1 {
		t.Errorf("asked %d times within a second", asked)
	}
	now = now.Add(time.Second)
	s.do(t, http.MethodPost, "/api/health", "")
	if asked != 2 {
		t.Errorf("asked %d times after a second", asked)
	}
}

// What is needed to take events makes the server ready; what works behind the acknowledgement is told, and takes
// no intake out of a load balancer.
func TestReady(t *testing.T) {
	var disk, writer, store error
	s := newServer(t, func(o *Options) {
		o.Clock = time.Now // the answer about the store is kept for a second of it
		o.Ready = []Probe{{"spool", func(context.Context) error { return disk }}}
		o.Behind = []Probe{{"writer", func(context.Context) error { return writer }}}
		o.Store = func(context.Context) error { return store }
	})
	if a := s.do(t, http.MethodGet, "/healthz", ""); a.status != 200 {
		t.Errorf("live: %d", a.status)
	}
	away := errors.New("secret path")
	for _, c := range []struct {
		disk, writer, store error
		status              int
		text                string
	}{
		{nil, nil, nil, 200, `{"checks":{"spool":"ok","store":"ok","writer":"ok"},"status":"ready"}`},
		{nil, away, nil, 200, `{"checks":{"spool":"ok","store":"ok","writer":"failing"},"status":"degraded"}`},
		{nil, nil, away, 200, `{"checks":{"spool":"ok","store":"failing","writer":"ok"},"status":"degraded"}`},
		{away, nil, nil, 503, `{"checks":{"spool":"failing","store":"ok","writer":"ok"},"status":"not ready"}`},
		{away, away, away, 503, `{"checks":{"spool":"failing","store":"failing","writer":"failing"},"status":"not ready"}`},
	} {
		disk, writer, store = c.disk, c.writer, c.store
		s.store.asked = time.Time{}
		if a := s.do(t, http.MethodGet, "/readyz", ""); a.status != c.status || a.text != c.text+"\n" {
			t.Errorf("%d %s, want %d %s", a.status, a.text, c.status, c.text)
		}
	}
}

func TestReadyDetail(t *testing.T) {
	s := newServer(t, func(o *Options) {
		o.Detail = func() map[string]string { return map[string]string{"engine_fence": "none"} }
	})
	if a := s.do(t, http.MethodGet, "/readyz", ""); a.text != `{"checks":{"store":"ok"},"detail":{"engine_fence":"none"},"status":"ready"}`+"\n" {
		t.Error(a.text)
	}
}

func TestMetricsAccess(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg, Gauges{SpoolAge: func() float64 { return 3 }, WriterFailing: func() float64 { return 1 }, EngineRestarts: func() float64 { return 2 }, Recent: NewRecent(10)})
	m.ObserveInsert(time.Second, 5, nil)
	m.ObserveInsert(time.Second, 7, errors.New("refused"))
	for _, c := range []struct {
		name, from, auth, forwarded string
		access                      MetricsAccess
		open                        bool
	}{
		{"this machine", "127.0.0.1:5", "", "", MetricsAccess{Loopback: true}, true},
		{"this machine, IPv6", "[::1]:5", "", "", MetricsAccess{Loopback: true}, true},
		{"this machine, mapped", "[::ffff:127.0.0.1]:5", "", "", MetricsAccess{Loopback: true}, true},
		{"this machine, not allowed", "127.0.0.1:5", "", "", MetricsAccess{}, false},
		{"through a proxy here", "127.0.0.1:5", "", "8.8.8.8", MetricsAccess{Loopback: true}, false},
		{"elsewhere", "10.0.0.1:5", "", "", MetricsAccess{Loopback: true}, false},
		{"with the token", "10.0.0.1:5", "Bearer tok", "", MetricsAccess{Token: "tok"}, true},
		{"with another token", "10.0.0.1:5", "Bearer tik", "", MetricsAccess{Token: "tok"}, false},
		{"with an empty token, none set", "10.0.0.1:5", "Bearer ", "", MetricsAccess{}, false},
		{"from nowhere", "@", "", "", MetricsAccess{Loopback: true}, false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.RemoteAddr = c.from
		r.Header.Set("Authorization", c.auth)
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		w := httptest.NewRecorder()
		MetricsHandler(reg, c.access).ServeHTTP(w, r)
		if open := w.Code == 200; open != c.open {
			t.Errorf("%s: status %d", c.name, w.Code)
		}
		if !c.open {
			continue
		}
		for _, want := range []string{"gatehouse_spool_age_seconds 3", "gatehouse_engine_restarts_total 2", "gatehouse_writer_failing 1", "gatehouse_recent_ids 0", "gatehouse_inserted_rows_total 5", `gatehouse_insert_seconds_count{result="ok"} 1`, `gatehouse_insert_seconds_count{result="error"} 1`} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: no %q", c.name, want)
			}
		}
	}
}

// What a client sends must not become a label, or it could make the server's memory grow.
func TestMetricsLabels(t *testing.T) {
	s := newServer(t)
	s.post(t, PathLogEvent, `{"Evil":"x","EventType":"evil","UserName":"evil"}`)
	s.post(t, PathEvents, `{"Evil":1}`+"\n"+`{"EventType":"evil"}`+"\n"+`evil`)
	s.do(t, http.MethodPost, PathLogEvent, oldAgent, "X-API-Key", "evil")
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if text := strings.ToLower(f.String()); strings.Contains(text, "evil") {
			t.Errorf("%s", text)
		}
	}
	for reason, want := range map[string]float64{"EventType": 3, "unreadable": 1} {
		if got := s.counter(t, "gatehouse_events_total", "company", "Acme", "reason", reason, "result", "rejected"); got != want {
			t.Errorf("rejected for %s: %v, want %v", reason, got, want)
		}
	}
	if got := s.counter(t, "gatehouse_ingest_unauthorized_total", "status", "401"); got != 1 {
		t.Errorf("unauthorized: %v", got)
	}
}
