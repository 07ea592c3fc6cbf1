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

func TestReady(t *testing.T) {
	var used, limit int64 = 5, 10
	var broken error
	s := newServer(t, func(o *Options) {
		o.Ready = []Probe{SpoolProbe(func() (int64, int64) { return used, limit }), {"engine", func(context.Context) error { return broken }}}
	})
	if a := s.do(t, http.MethodGet, "/healthz", ""); a.status != 200 {
		t.Errorf("live: %d", a.status)
	}
	if a := s.do(t, http.MethodGet, "/readyz", ""); a.status != 200 || a.text != `{"checks":{"engine":"ok","spool":"ok","store":"ok"},"status":"ready"}`+"\n" {
		t.Errorf("%d %s", a.status, a.text)
	}
	used, broken = 10, errors.New("secret path")
	if a := s.do(t, http.MethodGet, "/readyz", ""); a.status != 503 || a.text != `{"checks":{"engine":"failing","spool":"failing","store":"ok"},"status":"not ready"}`+"\n" {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestMetricsAccess(t *testing.T) {
	reg := prometheus.NewRegistry()
	NewMetrics(reg, Gauges{SpoolAge: func() float64 { return 3 }, EngineRestarts: func() float64 { return 2 }, Recent: NewRecent(10)}).ObserveInsert(time.Second, 5, nil)
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
		for _, want := range []string{"gatehouse_spool_age_seconds 3", "gatehouse_engine_restarts_total 2", "gatehouse_recent_ids 0", "gatehouse_inserted_rows_total 5", `gatehouse_insert_seconds_count{result="ok"} 1`} {
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
