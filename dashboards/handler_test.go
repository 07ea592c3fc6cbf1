package dashboards

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

func TestPathsAndTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/assets/viewer.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/assets/viewer.css", 200, "text/css; charset=utf-8"},
		{"GET", "/assets/icon.svg", 200, "image/svg+xml"},
		{"POST", "/", 405, "text/plain; charset=utf-8"},
		{"GET", "/index.html", 404, "text/plain; charset=utf-8"},
		{"GET", "/assets/", 404, "text/plain; charset=utf-8"},
		{"GET", "/assets", 404, "text/plain; charset=utf-8"},
		{"GET", "/assets/../handler.go", 404, "text/plain; charset=utf-8"},
		{"GET", "/web/index.html", 404, "text/plain; charset=utf-8"},
		{"GET", "/favicon.ico", 404, "text/plain; charset=utf-8"},
		{"POST", "/api/v1/events", 404, "text/plain; charset=utf-8"},
	} {
		w := get(t, c.method, c.path)
		if w.Code != c.status || w.Header().Get("Content-Type") != c.kind {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, w.Code, w.Header().Get("Content-Type"), c.status, c.kind)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"X-Frame-Options":         "DENY",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s %s: %s is %q", c.method, c.path, name, got)
			}
		}
		wantCache := "no-cache"
		if c.status != 200 {
			wantCache = "no-store"
		}
		if got := w.Header().Get("Cache-Control"); got != wantCache {
			t.Errorf("%s %s: Cache-Control is %q", c.method, c.path, got)
		}
		if (c.method == "HEAD" || c.status != 200) == (w.Body.Len() > 100) {
			t.Errorf("%s %s: a body of %d bytes", c.method, c.path, w.Body.Len())
		}
	}
}

func TestUnchangedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	tag := get(t, "GET", "/assets/viewer.js").Header().Get("ETag")
	if w := get(t, "GET", "/assets/viewer.js", "If-None-Match", tag); tag == "" || w.Code != http.StatusNotModified {
		t.Errorf("with its own tag %q: %d", tag, w.Code)
	}
	if w := get(t, "GET", "/assets/viewer.js", "If-None-Match", `"old"`); w.Code != http.StatusOK {
		t.Errorf("with an old tag: %d", w.Code)
	}
}

// TestVersionedFiles: the page asks for its files by names under which they never change.
func TestVersionedFiles(t *testing.T) {
	t.Parallel()
	page := get(t, "GET", "/").Body.String()
	found := regexp.MustCompile(`"(/assets/([a-z]+)\.[0-9a-f]{16}(\.[a-z]+))"`).FindAllStringSubmatch(page, -1)
	if all := strings.Count(page, `"/assets/`); len(found) != all || all < 3 {
		t.Fatalf("%d of %d files are asked for by a versioned name", len(found), all)
	}
	for _, m := range found {
		w, plain := get(t, "GET", m[1]), get(t, "GET", "/assets/"+m[2]+m[3])
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Body.String() != plain.Body.String() || plain.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %d %q", m[1], w.Code, w.Header().Get("Cache-Control"))
		}
	}
	if w := get(t, "GET", "/assets/viewer.0123456789abcdef.js"); w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("another version: %d %q", w.Code, w.Header().Get("Cache-Control"))
	}
}

// What the policy would block must not be in the page, or it breaks in the browser alone.
func TestNothingInline(t *testing.T) {
	t.Parallel()
	page := get(t, "GET", "/").Body.String()
	for what, re := range map[string]string{
		"script in the page":          `(?is)<script[^>]*>\s*[^<\s]`,
		"script from elsewhere":       `(?i)<script(?:[^>]*)src="(?:https?:|//)`,
		"style element":               `(?i)<style`,
		"style attribute":             `(?i)\sstyle\s*=`,
		"event handler":               `(?i)\son[a-z]+\s*=`,
		"javascript address":          `(?i)javascript:`,
		"form that sends by itself":   `(?i)<form[^>]*\saction=`,
		"something loaded elsewhere":  `(?i)(?:src|href)="(?:https?:)?//`,
		"field whose value is stored": `(?i)id="key"[^>]*autocomplete="on"`,
	} {
		if found := regexp.MustCompile(re).FindString(page); found != "" {
			t.Errorf("%s: %q", what, found)
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(page, -1) {
		if w := get(t, "GET", m[1]); w.Code != http.StatusOK {
			t.Errorf("the page asks for %s: %d", m[1], w.Code)
		}
	}
}

// Every element that the script looks up by its id stands in the page, and names from events have no way to become markup.
func TestScript(t *testing.T) {
	t.Parallel()
	script, page := get(t, "GET", "/assets/viewer.js").Body.String(), get(t, "GET", "/").Body.String()
	both := script + get(t, "GET", "/assets/tables.js").Body.String()
	for _, bad := range []string{
		"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "createContextualFragment", "DOMParser", "srcdoc",
		"localStorage", "sessionStorage", "indexedDB", "document.cookie", "setAttribute(\"style\"", "http://", "https://",
	} {
		if strings.Contains(both, bad) {
			t.Errorf("the script uses %s", bad)
		}
	}
	ids := regexp.MustCompile(`\$\("([a-z-]+)"\)`).FindAllStringSubmatch(script, -1)
	if len(ids) < 10 {
		t.Fatalf("%d look-ups found: the test looks for the wrong thing", len(ids))
	}
	for _, m := range ids {
		if !strings.Contains(page, `id="`+m[1]+`"`) {
			t.Errorf("the script wants #%s, which the page does not have", m[1])
		}
	}
}

// Labels: a field without one has no name for a screen reader.
func TestFieldsHaveLabels(t *testing.T) {
	t.Parallel()
	page := get(t, "GET", "/").Body.String()
	for _, m := range regexp.MustCompile(`<(?:input|select)[^>]* id="([^"]+)"|<(?:input|select) id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		id := m[1] + m[2]
		if !strings.Contains(page, `<label for="`+id+`"`) {
			t.Errorf("#%s has no label", id)
		}
	}
}

func TestEveryFileIsServed(t *testing.T) {
	t.Parallel()
	files, err := load(web)
	if err != nil {
		t.Fatal(err)
	}
	n, served := 0, 0
	if err := fs.WalkDir(web, "web", func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !f.versioned {
			served++
		}
	}
	if n != served || n < 4 || len(files) != 2*n-1 {
		t.Errorf("%d files, %d served, %d names", n, served, len(files))
	}
}
