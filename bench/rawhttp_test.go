package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRawConnSpeaksHTTP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			w.Header().Set("X-Seen-Key", r.Header.Get("X-API-Key"))
			w.WriteHeader(http.StatusCreated)
			switch {
			case bytes.HasPrefix(body, []byte("chunks")):
				_ = http.NewResponseController(w).Flush()
				_, _ = w.Write(bytes.Repeat([]byte("x"), 100_000))
			default:
				_, _ = fmt.Fprintf(w, "%s %s %s", r.URL.Path, r.Header.Get("Content-Type"), body)
			}
		})
		srv := httptest.NewUnstartedServer(h)
		if secure {
			srv.StartTLS()
		} else {
			srv.Start()
		}
		defer srv.Close()
		conf := srv.Client().Transport.(*http.Transport).TLSClientConfig
		if !secure {
			conf = nil
		}
		c, err := dialRaw(t.Context(), srv.Listener.Addr().String(), conf)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 { // one connection, several requests
			want := fmt.Sprintf("/p text/plain body %d", i)
			status, body, err := c.do(appendRequest(nil, "/p", "host", "key", "text/plain", fmt.Appendf(nil, "body %d", i)))
			if err != nil || status != 201 || string(body) != want {
				t.Fatalf("%d %q %v, want %q", status, body, err, want)
			}
			if err := c.send(appendHead(nil, "/p", "host", "key", "text/plain", 6), []byte("chunks")); err != nil {
				t.Fatal(err)
			}
			status, body, err = c.read()
			if err != nil || status != 201 || len(body) != 100_000 {
				t.Fatalf("%d %d bytes %v", status, len(body), err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// readAnswer reads one answer from text.
func readAnswer(text []byte) (int, []byte, error) {
	c := &rawConn{r: bufio.NewReaderSize(bytes.NewReader(text), 16<<10)}
	return c.read()
}

func FuzzRawAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		status, body, err := readAnswer(text)
		if err == nil && (status < 0 || status > 999 || len(body) > len(text)) {
			t.Errorf("%d, %d bytes out of %d", status, len(body), len(text))
		}
	})
}

func TestBoardTellsWhatIsShort(t *testing.T) {
	var out strings.Builder
	b := NewBoard(&out)
	b.AtLeast("fast", 15_000, "events/s", 15_000)
	b.AtLeast("slow", 14_999, "events/s", 15_000)
	b.Below("small", 19.99, "bytes", 20)
	b.Below("large", 20, "bytes", 20)
	b.Plain("other", 0.5, "times")
	if got := fmt.Sprint(b.Short()); got != "[slow large]" {
		t.Errorf("short: %s", got)
	}
	for _, line := range []string{"bench fast 15000 events/s\n", "# slow: SHORT, target at least 15000 events/s\n", "bench small 20.0 bytes\n", "bench other 0.500 times\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
}

func TestMedianAndPercentile(t *testing.T) {
	if m := median([]float64{5, 1, 3}); m != 3 {
		t.Errorf("median %v", m)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v", m)
	}
	if m := median([]float64(nil)); m != 0 {
		t.Errorf("median of nothing %v", m)
	}
}

func TestLoadIsDistinct(t *testing.T) {
	l, err := makeLoad(3, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[16]byte]bool{}
	for i := range l.events {
		e := &l.events[i]
		if id := e.ID(); seen[id] {
			t.Fatalf("twice: %+v", *e)
		} else {
			seen[id] = true
		}
		if e.Time < l.from.UnixMilli() || e.Time >= l.to.UnixMilli() {
			t.Fatalf("outside of the load's range: %+v", *e)
		}
	}
	rows := 0
	for _, b := range l.ndjson(1000) {
		rows += bytes.Count(b, []byte("\n"))
	}
	if rows != 20_000 {
		t.Errorf("%d rows", rows)
	}
}
