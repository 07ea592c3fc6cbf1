package edge

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	h := Hosts{"Logons.Example.org", "*.example.net", "192.0.2.1", "[2001:db8::1]"}
	for host, want := range map[string]bool{
		"logons.example.org": true, "LOGONS.example.org:8443": true, "logons.example.org.": true, "192.0.2.1": true, "192.0.2.1:80": true, "[2001:db8::1]:80": true, "[2001:DB8:0::1]": true,
		"a.example.net": true, "b.a.example.net:1": true, "localhost": true, "localhost:8000": true, "127.0.0.1:8000": true, "127.9.9.9": true, "[::1]": true,
		"example.net": false, ".example.net": false, "evilexample.net": false, "example.org": false, "evil-logons.example.org": false, "logons.example.org.evil.com": false,
		"": false, "192.0.2.2": false, "localhost.evil.com": false, "[::2]": false, "127.0.0.1.evil.com": false,
	} {
		if got := h.Allow(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	if !(Hosts{}).allow("anything") || (Hosts{}).Allow("anything") {
		t.Error("no names must mean all to allow, and none to Allow")
	}
}

func TestProbesComeByAddress(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 421, "/healthz/x": 421, "/api/health": 421} {
		r := get(t, path)
		r.Host = "192.0.2.99:8000"
		w := serve(t, New(Options{Hosts: Hosts{"a.example"}}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), r)
		if w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestValidHost(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"": true, "a": true, "a.b-c.d_e": true, "a.example.": true, "a:1": true, "a:65535": true, "192.0.2.1:80": true, "[::1]": true, "[::1]:80": true, "xn--bcher-kva.example": true,
		"a:": false, ":80": false, "a:0": false, "a:65536": false, "a:+1": false, "a:01": false, "a b": false, "a/b": false, "a@b": false, "a..b": false, ".a": false, "[::1": false, "[::1]x": false, "[127.0.0.1]": false,
		"[fe80::1%25eth0]": false, "::1": false, "a:b:c": false, "bücher.example": false, "a\"": false, "<a>": false, "a%00": false, "[]": false,
	} {
		if got := validHost(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.example:80", "[::1]:80", "a..b", "[", "]:", "a:1:2", "127.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := Hosts{"a.example", "*.b.example"}
		name, port := splitHost(s)
		if !validHost(s) {
			return
		}
		if port != "" && !validPort(port) {
			t.Errorf("%q: port %q", s, port)
		}
		if h.Allow(s) != h.Allow(s[:len(s)-len(tail(s, port))]) {
			t.Errorf("%q is allowed or not by its port", s)
		}
		// An address that we build from it must lead to the name that was looked at.
		if r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s+"/x", http.NoBody); s != "" && (err != nil || r.URL.Hostname() != name) {
			t.Errorf("%q: %v, name %q", s, err, name)
		}
	})
}

func tail(s, port string) string {
	if port == "" {
		return ""
	}
	return s[len(s)-len(port)-1:]
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	known := Hosts{"logons.example.org", "2001:db8::1"}.Allow
	for _, c := range []struct{ port, fallback, host, target, want string }{
		{"443", "", "logons.example.org", "/a/b?c=d%20e", "https://logons.example.org/a/b?c=d%20e"},
		{"443", "", "logons.example.org:80", "/", "https://logons.example.org/"},
		{"8443", "", "logons.example.org", "/", "https://logons.example.org:8443/"},
		{"443", "", "[2001:db8::1]:80", "/", "https://[2001:db8::1]/"},
		{"8443", "", "[2001:db8::1]", "/", "https://[2001:db8::1]:8443/"},
		{"443", "", "localhost", "//evil.example/x", "https://localhost//evil.example/x"},
		{"443", "", "localhost", "http://evil.example/x?y", "https://localhost/x?y"},
		{"443", "", "evil.example", "/", ""},
		{"443", "", "", "/", ""},
		{"443", "logons.example.org", "evil.example", "/x", "https://logons.example.org/x"},
		{"443", "logons.example.org", "", "/x", "https://logons.example.org/x"},
	} {
		r := get(t, c.target)
		r.Host = c.host
		w := serve(t, New(Options{}).Handler(Redirect(c.port, known, c.fallback)), r)
		wantStatus := http.StatusPermanentRedirect
		if c.want == "" {
			wantStatus = http.StatusMisdirectedRequest
		}
		if got := w.Header().Get("Location"); got != c.want || w.Code != wantStatus {
			t.Errorf("%+v: %d %q", c, w.Code, got)
		}
	}
	// Programs must notice that they send their keys in plain text.
	for _, target := range []string{"/api", "/api/log_event", "/api/v1/events?x=/y", "//api/log_event", "/./api/log_event", "/x/../api/log_event", "/%2e/api/log_event", "//x/..//api//v1/events"} {
		r := get(t, target)
		r.Host = "logons.example.org"
		if w := serve(t, New(Options{}).Handler(Redirect("443", known, "logons.example.org")), r); w.Code != http.StatusForbidden || w.Header().Get("Location") != "" {
			t.Errorf("%s over plain HTTP: %d %q", target, w.Code, w.Header().Get("Location"))
		}
	}
}

// TestOnlyHTTPS: what a trusted proxy says came by plain HTTP is answered as at the port for plain HTTP; what nobody says so of is served.
func TestOnlyHTTPS(t *testing.T) {
	t.Parallel()
	e := New(Options{Proxies: Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Hops: 1, For: true, Proto: true, Host: true, Prefix: true}})
	h := e.Handler(OnlyHTTPS(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		Redirect("443", func(string) bool { return true }, "")))
	for _, c := range []struct {
		peer, proto, path, location string
		status                      int
	}{
		{"10.0.0.1:5", "http", "/login?next=%2F", "https://logons.example.org/login?next=%2F", 308},
		{"10.0.0.1:5", "http", "/api/log_event", "", 403},
		{"10.0.0.1:5", "http", "//api/v1/users", "", 403},
		{"10.0.0.1:5", "http", "/healthz", "", 204},
		{"10.0.0.1:5", "https", "/login", "", 204},
		{"10.0.0.1:5", "", "/login", "", 204},
		{"192.0.2.1:5", "http", "/login", "", 204}, // nobody believes it
	} {
		r := get(t, c.path)
		r.Host, r.RemoteAddr = "logons.example.org", c.peer
		if c.proto != "" {
			r.Header.Set("X-Forwarded-Proto", c.proto)
		}
		if w := serve(t, h, r); w.Code != c.status || w.Header().Get("Location") != c.location {
			t.Errorf("%+v: %d %q", c, w.Code, w.Header().Get("Location"))
		}
	}
	r := get(t, "/login")
	r.Host, r.RemoteAddr = "logons.example.org", "10.0.0.1:5"
	r.Header.Set("X-Forwarded-Proto", "http")
	r.Header.Set("X-Forwarded-Prefix", "/gate")
	if w := serve(t, h, r); w.Header().Get("Location") != "https://logons.example.org/gate/login" {
		t.Errorf("below a folder: %q", w.Header().Get("Location"))
	}
}
