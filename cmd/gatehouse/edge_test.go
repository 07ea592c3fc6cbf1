package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/config"
	"gatehouse/engine"
	"gatehouse/internal/reldb"
)

// startEdgeServer starts the product with settings of the test's, and gives what it logs.
func startEdgeServer(t *testing.T, change func(*config.Config)) (*server, *lockedBuffer) {
	t.Helper()
	if _, err := engine.FindLibrary("", ""); err != nil {
		t.Skip(err)
	}
	cfg := config.Default()
	change(cfg)
	dir, log := t.TempDir(), &lockedBuffer{}
	s, err := startServer(context.Background(), serverOptions{
		dataDir: dir, databaseURL: reldb.SQLiteURL(filepath.Join(dir, "gatehouse.db")), listen: "127.0.0.1:0",
		cfg: cfg, log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, log
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// answer is what a server said.
type answer struct {
	StatusCode int
	Header     http.Header
}

// request makes a request with headers and gives the answer and its body.
func request(t *testing.T, c *http.Client, method, address, body string, headers ...string) (answer, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header}, string(raw)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEdge asks a whole server as people, agents, proxies and attackers do.
func TestEdge(t *testing.T) {
	redirectPort := freePort(t)
	s, log := startEdgeServer(t, func(c *config.Config) {
		c.Proxy.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		c.Security.AllowedHosts = []string{"logons.example.org"}
		c.Server.HTTPRedirectPort = redirectPort
		c.Server.HeaderTimeout = 500 * time.Millisecond
	})
	c := testClient(t, s)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	key := newKey(t, s, "Alpha", "ingest,read")

	t.Run("headers and errors", func(t *testing.T) {
		for _, q := range []struct {
			method, path, accept string
			status               int
			kind                 string
		}{
			{"GET", "/", "text/html", 200, "text/html"},
			{"GET", "/assets/viewer.js", "*/*", 200, "text/javascript"},
			{"GET", "/nothing", "text/html,*/*", 404, "text/html"},
			{"GET", "/nothing", "*/*", 404, "application/json"},
			{"POST", "/", "text/html", 405, ""},
			{"DELETE", "/healthz", "text/html", 405, "text/html"},
			{"GET", "/api/nothing", "text/html", 404, "application/json"},
			{"DELETE", "/api/v1/reports/totals", "*/*", 405, "application/json"},
			{"GET", "/api/log_event", "*/*", 405, "application/json"},
			{"GET", "/api/v1/reports/totals", "*/*", 401, "application/json"},
			{"GET", "/api/health", "*/*", 200, "application/json"},
			{"GET", "/healthz", "*/*", 200, ""},
		} {
			resp, body := request(t, c, q.method, s.url+q.path, "", "Accept", q.accept)
			if resp.StatusCode != q.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), q.kind) {
				t.Errorf("%s %s: %d %s %s", q.method, q.path, resp.StatusCode, resp.Header.Get("Content-Type"), body)
			}
			for _, name := range []string{"X-Request-Id", "Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy", "Permissions-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Cache-Control"} {
				if n := len(resp.Header.Values(name)); n != 1 {
					t.Errorf("%s %s: %d times %s", q.method, q.path, n, name)
				}
			}
			if csp := resp.Header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") {
				t.Errorf("%s %s: policy %q", q.method, q.path, csp)
			}
			if resp.Header.Get("Strict-Transport-Security") != "" {
				t.Errorf("%s %s: HSTS with a self-signed certificate", q.method, q.path)
			}
			if strings.HasPrefix(q.path, "/api/") && resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: Cache-Control %q", q.method, q.path, resp.Header.Get("Cache-Control"))
			}
			if q.status == 405 && resp.Header.Get("Allow") == "" {
				t.Errorf("%s %s: no Allow", q.method, q.path)
			}
			if strings.HasPrefix(q.kind, "application/json") && q.status >= 404 && q.path != "/api/log_event" {
				var f struct {
					Status, Code, Message string
					RequestID             string `json:"request_id"`
				}
				if err := json.Unmarshal([]byte(body), &f); err != nil || f.Status != "error" || f.Code == "" || f.Message == "" || f.RequestID != resp.Header.Get("X-Request-Id") {
					t.Errorf("%s %s: %s %v", q.method, q.path, body, err)
				}
			}
		}
	})

	t.Run("the client's address", func(t *testing.T) {
		// This machine is the trusted proxy: what it says of the client is right in logs and for keys.
		const event = `{"EventType":"Logon","UserName":"alice","ComputerName":"PC1","Timestamp":"2025-05-25T09:00:00Z"}`
		resp, body := request(t, c, http.MethodPost, s.url+"/api/log_event", event, "X-API-Key", key, "X-Forwarded-For", "203.0.113.66, 198.51.100.7", "X-Request-Id", "agent-1")
		if resp.StatusCode != 201 || resp.Header.Get("X-Request-Id") != "agent-1" {
			t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, body)
		}
		if err := s.keys.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		k, err := s.store.FindKey(t.Context(), authsvc.System(), key)
		if err != nil || k.LastUsedIP != "198.51.100.7" {
			t.Errorf("the key was used from %q, %v", k.LastUsedIP, err)
		}
		if resp, body := request(t, c, http.MethodGet, s.url+"/api/v1/reports/totals?secret=hunter2", "", "X-API-Key", key, "X-Forwarded-For", "198.51.100.8"); resp.StatusCode == 401 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
		text := log.String()
		if !strings.Contains(text, "request_id=agent-1 address=198.51.100.7") || !strings.Contains(text, "address=198.51.100.8") || strings.Contains(text, "203.0.113.66") || strings.Contains(text, "hunter2") {
			t.Errorf("the log: %s", text)
		}
	})

	t.Run("names", func(t *testing.T) {
		for host, want := range map[string]int{"logons.example.org": 200, "evil.example": 421} {
			if resp, body := request(t, c, http.MethodGet, s.url+"/", "", "Host", host); resp.StatusCode != want || strings.Contains(body, "evil") {
				t.Errorf("%s: %d %s", host, resp.StatusCode, body)
			}
		}
		if resp, _ := request(t, c, http.MethodGet, s.url+"/", "", "X-Forwarded-Host", "evil.example"); resp.StatusCode != 421 {
			t.Errorf("a forwarded name that is not ours: %d", resp.StatusCode)
		}
		if resp, _ := request(t, c, http.MethodGet, s.url+"/healthz", "", "Host", "192.0.2.1"); resp.StatusCode != 200 {
			t.Errorf("a probe by address: %d", resp.StatusCode)
		}
	})

	t.Run("metrics", func(t *testing.T) {
		// From here come proxies, of which one may say nothing: it looks like any other program on this machine.
		if resp, _ := request(t, c, http.MethodGet, s.url+"/metrics", ""); resp.StatusCode != 404 {
			t.Errorf("by a proxy that says nothing: %d", resp.StatusCode)
		}
		control := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.controlAt)
		}}}
		if resp, body := request(t, control, http.MethodGet, "http://control/metrics", ""); resp.StatusCode != 200 || !strings.Contains(body, "gatehouse_") {
			t.Errorf("at the control socket: %d", resp.StatusCode)
		}
		for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"} {
			if resp, _ := request(t, c, http.MethodGet, s.url+"/metrics", "", header, "127.0.0.1"); resp.StatusCode != 404 {
				t.Errorf("by a proxy that says so in %s: %d", header, resp.StatusCode)
			}
		}
	})

	t.Run("plain HTTP goes to HTTPS", func(t *testing.T) {
		plain := fmt.Sprintf("http://127.0.0.1:%d", redirectPort)
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.url, "https://"))
		for host, want := range map[string]string{
			"logons.example.org":    "https://logons.example.org:" + port + "/a?b=c",
			"logons.example.org:80": "https://logons.example.org:" + port + "/a?b=c",
			"evil.example":          "https://logons.example.org:" + port + "/a?b=c",
		} {
			resp, _ := request(t, c, http.MethodPost, plain+"/a?b=c", "x", "Host", host)
			if resp.StatusCode != 308 || resp.Header.Get("Location") != want || resp.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s: %d %q", host, resp.StatusCode, resp.Header.Get("Location"))
			}
		}
	})

	t.Run("compression", func(t *testing.T) {
		for _, q := range []struct{ path, site, want string }{
			{"/assets/viewer.js", "", "gzip"},
			{"/api/openapi.json", "same-origin", "gzip"},
			{"/api/openapi.json", "cross-site", ""},
			{"/", "", ""},
			{"/healthz", "", ""},
		} {
			resp, _ := request(t, c, http.MethodGet, s.url+q.path, "", "Accept-Encoding", "gzip", "Sec-Fetch-Site", q.site)
			if got := resp.Header.Get("Content-Encoding"); got != q.want || resp.StatusCode != 200 {
				t.Errorf("%+v: %d %q", q, resp.StatusCode, got)
			}
		}
	})

	t.Run("slow clients", func(t *testing.T) {
		address := strings.TrimPrefix(s.url, "https://")
		var slow []*tls.Conn
		for range 50 {
			raw, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn := raw.(*tls.Conn)
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-A"); err != nil {
				t.Fatal(err)
			}
			slow = append(slow, conn)
		}
		if resp, _ := request(t, c, http.MethodGet, s.url+"/", ""); resp.StatusCode != 200 {
			t.Errorf("beside them: %d", resp.StatusCode)
		}
		for _, conn := range slow {
			if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			var timeout net.Error
			if _, err := bufio.NewReader(conn).ReadString(0); errors.As(err, &timeout) && timeout.Timeout() {
				t.Error("a client that does not finish its head was not cut off")
			}
			_ = conn.Close()
		}
	})

	t.Run("heads that are too large", func(t *testing.T) {
		if resp, _ := request(t, c, http.MethodGet, s.url+"/", "", "X-Large", strings.Repeat("x", 80<<10)); resp.StatusCode != 431 {
			t.Errorf("%d", resp.StatusCode)
		}
	})
}

// TestMetrics: without a proxy, programs on this machine see metrics, and nobody who asks by a name that others use.
func TestMetrics(t *testing.T) {
	s, _ := startEdgeServer(t, func(*config.Config) {})
	c := testClient(t, s)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.url, "https://"))
	for host, want := range map[string]int{"": 200, "localhost:" + port: 200, "[::1]:" + port: 200, "logons.example.org": 404, "192.0.2.1": 404} {
		headers := []string{"Host", host}
		if resp, body := request(t, c, http.MethodGet, s.url+"/metrics", "", headers...); resp.StatusCode != want || strings.Contains(body, "gatehouse_") != (want == 200) {
			t.Errorf("as %q: %d", host, resp.StatusCode)
		}
	}
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"} {
		if resp, _ := request(t, c, http.MethodGet, s.url+"/metrics", "", header, "127.0.0.1"); resp.StatusCode != 404 {
			t.Errorf("by a proxy that says so in %s: %d", header, resp.StatusCode)
		}
	}
}
