package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/logctx"
)

func serve(t *testing.T, h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func get(t *testing.T, target string, header ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

var protection = map[string]string{
	"Content-Security-Policy":      "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"X-Frame-Options":              "DENY",
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cache-Control":                "no-store",
}

// TestHeadersOnEveryAnswer: whatever the handler does, with errors of the edge's own too.
func TestHeadersOnEveryAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		host    string
		status  int
	}{
		"answer":    {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }, "a.example", 200},
		"nothing":   {func(http.ResponseWriter, *http.Request) {}, "a.example", 200},
		"error":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }, "a.example", 418},
		"not found": {NotFound, "a.example", 404},
		"panic":     {func(http.ResponseWriter, *http.Request) { panic("x") }, "a.example", 500},
		"not ours":  {NotFound, "evil.example", 421},
		"no host":   {NotFound, "a/b", 400},
	} {
		r := get(t, "/x")
		r.Host = c.host
		w := serve(t, New(Options{Hosts: Hosts{"a.example"}}).Handler(c.handler), r)
		if w.Code != c.status {
			t.Errorf("%s: status %d, want %d", name, w.Code, c.status)
		}
		for header, want := range protection {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s is %q", name, header, got)
			}
		}
		if !strings.Contains(w.Header().Get("Permissions-Policy"), "camera=()") || len(w.Header().Get("X-Request-Id")) != 16 || w.Header().Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: %v", name, w.Header())
		}
	}
}

func TestHandlersSetHeadersAnew(t *testing.T) {
	t.Parallel()
	h := New(Options{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public")
		w.Header().Add("Content-Security-Policy", "second")
	}))
	w := serve(t, h, get(t, "/"))
	if got := w.Header().Values("Cache-Control"); len(got) != 1 || got[0] != "public" {
		t.Errorf("%q", got)
	}
	if got := w.Header().Values("Content-Security-Policy"); len(got) != 2 {
		t.Errorf("%q", got)
	}
	// What one answer added must not be in the next.
	if got := serve(t, New(Options{}).Handler(http.HandlerFunc(NotFound)), get(t, "/")).Header().Values("Content-Security-Policy"); len(got) != 1 {
		t.Errorf("the next answer has %q", got)
	}
}

func TestHSTS(t *testing.T) {
	t.Parallel()
	on := true
	h := New(Options{Proxies: allHeaders, Lean: func(r *http.Request) bool { return r.URL.Path == "/lean" }, HSTS: func() []string {
		if !on {
			return nil
		}
		return HSTSHeader(365*24*time.Hour, true)
	}}).Handler(http.HandlerFunc(NotFound))
	overTLS := get(t, "/")
	overTLS.TLS = &tls.ConnectionState{}
	lean := get(t, "/lean")
	lean.TLS = overTLS.TLS
	proxied := get(t, "/", "X-Forwarded-Proto", "https")
	proxied.RemoteAddr = "10.0.0.1:5"
	const want = "max-age=31536000; includeSubDomains"
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{"TLS": {overTLS, want}, "lean": {lean, want}, "proxied": {proxied, want}, "plain": {get(t, "/"), ""}, "claimed": {get(t, "/", "X-Forwarded-Proto", "https"), ""}} {
		if got := serve(t, h, c.r).Header().Get("Strict-Transport-Security"); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	on = false
	if got := serve(t, h, overTLS).Header().Get("Strict-Transport-Security"); got != "" {
		t.Errorf("with a self-signed certificate: %q", got)
	}
}

func TestLean(t *testing.T) {
	t.Parallel()
	h := New(Options{Lean: func(r *http.Request) bool { return r.URL.Path == "/lean" }}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Id-Seen", RequestID(r))
	}))
	w := serve(t, h, get(t, "/lean"))
	if w.Header().Get("X-Request-Id") == "" || w.Header().Get("X-Request-Id") != w.Header().Get("Id-Seen") || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("X-Frame-Options") != "" ||
		!strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("%v", w.Header())
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	e := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r := get(t, "/api/v1/x?key=hunter2")
	w := serve(t, e.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "7")
		w.Header().Set("ETag", `"x"`)
		panic("the cause")
	})), r)
	var body failure
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err, w.Body.String())
	}
	if w.Code != 500 || body.Status != "error" || body.Code != "internal" || body.RequestID != w.Header().Get("X-Request-Id") || strings.Contains(w.Body.String(), "cause") ||
		w.Header().Get("Content-Length") != "" || w.Header().Get("ETag") != "" {
		t.Errorf("%d %+v %v", w.Code, body, w.Header())
	}
	for _, want := range []string{"the cause", "edge_test.go", "request_id=" + body.RequestID, "address=192.0.2.1", "path=/api/v1/x"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the log shows a parameter: %s", log.String())
	}
}

// TestPanicAfterTheBeginning: over a real connection, half an answer must not look like a whole one.
func TestPanicAfterTheBeginning(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(http.ResponseWriter){
		"wrote":   func(w http.ResponseWriter) { _, _ = io.WriteString(w, "half") },
		"flushed": func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"status":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"abort":   func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		srv := httptest.NewServer(New(Options{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			do(w)
			panic("x")
		})))
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		resp, err := srv.Client().Get(srv.URL)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			err = errors.Join(err, resp.Body.Close())
		}
		if err == nil {
			t.Errorf("%s: the answer was whole", name)
		}
		srv.Close()
	}
}

func TestFailForms(t *testing.T) {
	t.Parallel()
	h := New(Options{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Fail(w, r, http.StatusForbidden, "forbidden", `you may not see <b>this</b> & "that"`)
	}))
	for _, c := range []struct {
		path, accept, dest, kind string
	}{
		{"/x", "text/html,application/xhtml+xml,*/*;q=0.8", "", "text/html; charset=utf-8"},
		{"/x", "*/*", "", "application/json; charset=utf-8"},
		{"/x", "", "", "application/json; charset=utf-8"},
		{"/api/x", "text/html", "", "application/json; charset=utf-8"},
		{"/api", "text/html", "", "application/json; charset=utf-8"},
		{"/apix", "text/html", "", "text/html; charset=utf-8"},
		{"/api/x", "text/html", "document", "text/html; charset=utf-8"},
		{"/api/x", "*/*", "empty", "application/json; charset=utf-8"},
	} {
		w := serve(t, h, get(t, c.path, "Accept", c.accept, "Sec-Fetch-Dest", c.dest))
		body := w.Body.String()
		if w.Code != 403 || w.Header().Get("Content-Type") != c.kind || !strings.Contains(body, w.Header().Get("X-Request-Id")) || strings.Contains(body, "<b>") {
			t.Errorf("%s for %q: %d %s\n%s", c.path, c.accept, w.Code, w.Header().Get("Content-Type"), body)
		}
		if strings.HasPrefix(c.kind, "text") && !strings.Contains(body, "You may not see &lt;b&gt;this&lt;/b&gt; &amp; &#34;that&#34;.") {
			t.Errorf("page: %s", body)
		}
	}
}

func TestLogContext(t *testing.T) {
	t.Parallel()
	New(Options{Proxies: allHeaders}).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		logctx.SetCaller(r.Context(), 7, "x", "session ab")
		f := logctx.From(r.Context())
		if f.RequestID != "id-1" || f.Address.String() != "198.51.100.1" || f.UserID != 7 || RequestID(r) != "id-1" {
			t.Errorf("%+v", f)
		}
	})).ServeHTTP(httptest.NewRecorder(), func() *http.Request {
		r := get(t, "/", "X-Forwarded-For", "198.51.100.1", "X-Request-Id", "id-1")
		r.RemoteAddr = "10.0.0.1:5"
		return r
	}())
	if got := FromContext(t.Context()); got != (Info{}) || RequestID(get(t, "/")) != "" {
		t.Errorf("without an edge: %+v", got)
	}
}

// TestPanicTellsWho: what ends a request is logged with the person whom a handler far inside has recognised.
func TestPanicTellsWho(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil))}).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		logctx.SetCaller(ctx, 7, "ada", "session ab")
		panic("a slip")
	}))
	serve(t, h, get(t, "/some/path"))
	if s := log.String(); !strings.Contains(s, "a slip") || !strings.Contains(s, "user_id=7 via=\"session ab\"") {
		t.Error(s)
	}
}

func TestRequestLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := New(Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}).Handler(http.HandlerFunc(NotFound))
	serve(t, h, get(t, "/some/path?secret=hunter2"))
	if s := log.String(); !strings.Contains(s, "status=404") || !strings.Contains(s, "path=/some/path ") || strings.Contains(s, "hunter2") {
		t.Error(s)
	}
}

func TestLimitBody(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(New(Options{}).Handler(LimitBody(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			Fail(w, r, http.StatusRequestEntityTooLarge, "too_large", "cut off")
		}
	}), 1<<10, func(r *http.Request) bool { return r.URL.Path == "/large" })))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	second := srv.Client().Transport
	first := second.(*http.Transport).Clone()
	first.Protocols = new(http.Protocols)
	first.Protocols.SetHTTP1(true)
	first.TLSClientConfig.NextProtos = nil
	defer first.CloseIdleConnections()
	for _, c := range []struct {
		path    string
		size    int
		chunked bool
		status  int
	}{
		{"/", 1 << 10, false, 200},
		{"/", 1<<10 + 1, false, 413},
		{"/", 1 << 10, true, 200},
		{"/", 1<<10 + 1, true, 413},
		{"/large", 1 << 20, false, 200},
		{"/large", 1 << 20, true, 200},
	} {
		for _, transport := range []http.RoundTripper{first, second} {
			var body io.Reader = strings.NewReader(strings.Repeat("x", c.size))
			if c.chunked {
				body = io.MultiReader(body)
			}
			resp, err := (&http.Client{Transport: transport}).Post(srv.URL+c.path, "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil || resp.StatusCode != c.status {
				t.Errorf("%+v: %s %d, %v", c, resp.Proto, resp.StatusCode, err)
			}
			if refused := c.status != 200 && !c.chunked; refused && resp.Close != (resp.ProtoMajor == 1) {
				t.Errorf("%+v: %s, and the connection ends: %v", c, resp.Proto, resp.Close)
			}
		}
	}
}
