package ingest

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
)

// deadlineWriter is a response writer that records read deadlines.
type deadlineWriter struct {
	discardWriter
	set []time.Time
}

func (w *deadlineWriter) SetReadDeadline(t time.Time) error {
	w.set = append(w.set, t)
	return nil
}

// wrapped hides the methods of a writer, as middleware does.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestBodyDeadlines(t *testing.T) {
	for _, wrap := range []bool{false, true} {
		w := &deadlineWriter{}
		var writer http.ResponseWriter = w
		if wrap {
			writer = wrapped{w}
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.LimitReader(zeros{}, 5<<20+1))
		b, err := readBody(writer, r, 8<<20, nil)
		if err != nil || len(b.bytes) != 5<<20+1 {
			t.Fatal(err)
		}
		b.release()
		// One to begin with, and about one for each MiB that has come.
		if n := len(w.set); n < 5 || n > 7 {
			t.Errorf("%d deadlines for 5 MiB", n)
		}
		if d := time.Until(w.set[0]); d <= 0 || d > bodyPatience {
			t.Errorf("the deadline lies %v ahead", d)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return min(len(p), 50_000), nil }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestBodyErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err      error
		encoding string
		status   int
	}{
		"too slow":             {os.ErrDeadlineExceeded, "", 408},
		"too slow, compressed": {os.ErrDeadlineExceeded, "gzip", 408},
		"too slow, zstd":       {os.ErrDeadlineExceeded, "zstd", 408},
		"broken off":           {io.ErrUnexpectedEOF, "", 400},
		"reset":                {errors.New("connection reset"), "zstd", 400},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", failing{c.err})
		r.Header.Set("Content-Encoding", c.encoding)
		_, err := readBody(&discardWriter{h: http.Header{}}, r, 1000, nil)
		if got := statusOf(event.ErrorCode(err)); got != c.status {
			t.Errorf("%s: %d, want %d: %v", name, got, c.status, err)
		}
	}
}

func TestBodyBudget(t *testing.T) {
	in := budget{limit: 10 << 20}
	read := func(n int64) (*body, error) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.LimitReader(zeros{}, n))
		return readBody(&discardWriter{h: http.Header{}}, r, 8<<20, &in)
	}
	a, err := read(6 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(6 << 20); !errors.Is(err, errBusy) || retryAfter(err) != 1 {
		t.Errorf("beyond the budget: %v", err)
	}
	b, err := read(1000) // small ones always pass
	if err != nil {
		t.Fatal(err)
	}
	b.release()
	a.release()
	if used := in.used.Load(); used != 0 {
		t.Errorf("%d bytes are still held", used)
	}
	if a, err = read(6 << 20); err != nil {
		t.Errorf("after the release: %v", err)
	} else {
		a.release()
	}
	for range 10 {
		_, _ = read(9 << 20) // too large
	}
	if used := in.used.Load(); used != 0 {
		t.Errorf("%d bytes are still held after refusals", used)
	}
}

// A compressed body whose length is not known beforehand may be too large before it is unpacked.
func TestBodyPackedTooLarge(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for encoding, packed := range map[string]string{"gzip": gzipped(string(noise)), "zstd": zstded(string(noise))} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.MultiReader(strings.NewReader(packed)))
		r.ContentLength = -1
		r.Header.Set("Content-Encoding", encoding)
		_, err := readBody(&discardWriter{h: http.Header{}}, r, 50_000, nil)
		if event.ErrorCode(err) != event.CodeTooLarge {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

// Over a real connection: a body that stops coming is answered and the connection closed;
// other requests are served meanwhile; chunked bodies and 100-continue work.
func TestBodyOverTheWire(t *testing.T) {
	s := newServer(t)
	srv := httptest.NewServer(s.http)
	t.Cleanup(srv.Close)
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c, bufio.NewReader(c)
	}
	send := func(c net.Conn, text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	status := func(in *bufio.Reader) int {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		return readAnswer(t, resp).status
	}
	chunked, in := dial()
	send(chunked, "POST /api/log_event HTTP/1.1\r\nHost: x\r\nX-Api-Key: acme\r\nTransfer-Encoding: chunked\r\n\r\n")
	for i := 0; i < len(oldAgent); i += 50 {
		part := oldAgent[i:min(i+50, len(oldAgent))]
		send(chunked, strings.ToUpper(hexLen(len(part)))+"\r\n"+part+"\r\n")
	}
	send(chunked, "0\r\n\r\n")
	if got := status(in); got != 201 {
		t.Errorf("chunked: %d", got)
	}
	send(chunked, "POST /api/log_event HTTP/1.1\r\nHost: x\r\nX-Api-Key: acme\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n"+strings.Repeat(" ", 4096)+"\r\n5\r\nxxxxx\r\n")
	if got := status(in); got != 413 {
		t.Errorf("chunked and too large: %d", got)
	}
	wait, in := dial()
	send(wait, "POST /api/log_event HTTP/1.1\r\nHost: x\r\nX-Api-Key: nonsense\r\nExpect: 100-continue\r\nContent-Length: 4000\r\n\r\n")
	if got := status(in); got != 401 { // without asking for the body
		t.Errorf("100-continue with a wrong key: %d", got)
	}
	cut, in := dial()
	send(cut, "POST /api/log_event HTTP/1.1\r\nHost: x\r\nX-Api-Key: acme\r\nContent-Length: 4000\r\n\r\n{")
	if err := cut.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := status(in); got != 400 {
		t.Errorf("a body that is cut off: %d", got)
	}
}

// TestRefusalsArrive: a body that is refused before it is read to its end is told why: over HTTP/2 without giving up the connection, which made curl lose
// the answer, and over HTTP/1 with the last answer of its connection.
func TestRefusalsArrive(t *testing.T) {
	srv := httptest.NewUnstartedServer(newServer(t).http)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	old := srv.Client().Transport.(*http.Transport).Clone()
	old.Protocols = new(http.Protocols)
	old.Protocols.SetHTTP1(true)
	old.TLSClientConfig.NextProtos = nil
	t.Cleanup(old.CloseIdleConnections)
	curl, _ := exec.LookPath("curl")
	for _, c := range []struct {
		name, encoding string
		size, status   int
		message        string
	}{
		{"too large", "", 2 << 20, 413, "the body is larger than 1 MiB; send less in one request"},
		{"another encoding", "br", 700_000, 415, "Content-Encoding must be gzip, zstd or absent"},
		{"no gzip", "gzip", 700_000, 400, "the body is not valid gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Repeat("x", c.size)
			ask := func(client *http.Client) (a answer, reused bool, last bool) {
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+PathEvents, strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-API-Key", "acme")
				r.Header.Set("Content-Encoding", c.encoding)
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				return readAnswer(t, resp), reused, resp.Close
			}
			ask(srv.Client())
			if a, reused, _ := ask(srv.Client()); a.status != c.status || a.json["message"] != c.message || !reused {
				t.Errorf("HTTP/2, connection kept: %v: %d %s", reused, a.status, a.text)
			}
			if a, _, last := ask(&http.Client{Transport: old}); a.status != c.status || a.json["message"] != c.message || !last {
				t.Errorf("HTTP/1, connection ended: %v: %d %s", last, a.status, a.text)
			}
			if curl == "" {
				return
			}
			// A curl that is still sending when the stream ends may drop the answer that it has: then once more. The connection's fate is asked for above.
			var out []byte
			var err error
			for range 5 {
				cmd := exec.CommandContext(t.Context(), curl, "-sSk", "--http2", "-H", "X-API-Key: acme", "-H", "Content-Encoding: "+c.encoding, "--data-binary", "@-", srv.URL+PathEvents)
				cmd.Stdin = strings.NewReader(text)
				if out, err = cmd.CombinedOutput(); err == nil && strings.Contains(string(out), c.message) {
					return
				}
			}
			t.Errorf("curl: %s, %v", out, err)
		})
	}
}

func hexLen(n int) string { return string("0123456789abcdef"[n>>4]) + string("0123456789abcdef"[n&15]) }
