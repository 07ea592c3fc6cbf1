package edge

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func TestCompress(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("alice,PC1,2025-05-25\r\n", 1000)
	kinds := map[string]string{"/report": "text/csv; charset=utf-8; header=present", "/json": "application/json; charset=utf-8", "/page": "text/html; charset=utf-8", "/secret": "application/json"}
	h, err := Compress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kinds[r.URL.Path])
		if r.URL.RawQuery == "small" {
			_, _ = io.WriteString(w, text[:500])
			return
		}
		_, _ = io.WriteString(w, text)
	}), func(r *http.Request) bool { return r.URL.Path != "/secret" })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ target, accept, site, want string }{
		{"/report", "gzip, zstd", "", "zstd"},
		{"/report", "gzip", "same-origin", "gzip"},
		{"/report", "gzip", "none", "gzip"},
		{"/json", "gzip", "", "gzip"},
		{"/report", "", "", ""},
		{"/report", "br", "", ""},
		{"/report?small", "gzip", "", ""},
		{"/report", "gzip", "cross-site", ""}, // another site's page asks
		{"/report", "gzip", "same-site", ""},
		{"/page", "gzip", "", ""}, // may hold the token of a form
		{"/secret", "gzip", "", ""},
	} {
		r := get(t, c.target, "Accept-Encoding", c.accept, "Sec-Fetch-Site", c.site)
		w := serve(t, New(Options{}).Handler(h), r)
		if got := w.Header().Get("Content-Encoding"); got != c.want {
			t.Errorf("%+v: %q", c, got)
			continue
		}
		var body io.Reader = w.Body
		switch c.want {
		case "gzip":
			body, err = gzip.NewReader(w.Body)
		case "zstd":
			body, err = zstd.NewReader(w.Body)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := text
		if strings.HasSuffix(c.target, "small") {
			want = text[:500]
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != want {
			t.Errorf("%+v: %d bytes, %v", c, len(got), err)
		}
	}
}

// TestLengthsDiffer: that an answer is longer by one guessed letter does not show in its length.
func TestLengthsDiffer(t *testing.T) {
	t.Parallel()
	lengths := map[int]bool{}
	for i := range 20 {
		body := bytes.Repeat([]byte("alice,PC1,2025-05-25\r\n"), 200)
		copy(body[100:], []byte{byte('a' + i)})
		h, err := Compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/csv")
			_, _ = w.Write(body)
		}), func(*http.Request) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		lengths[serve(t, h, get(t, "/", "Accept-Encoding", "gzip")).Body.Len()] = true
	}
	if len(lengths) < 5 {
		t.Errorf("only %d lengths of 20 answers", len(lengths))
	}
}
