package dashboards

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"gatehouse/internal/edge"
)

//go:embed web
var web embed.FS

// contentPolicy lets the page run its own script and style and talk to its own
// server, and nothing else: a name in an event that looks like markup cannot
// run, load or send anything even if it ever became markup.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// contentTypes of what is served. The system's own table is not asked: it
// differs between machines, and nosniff makes a wrong type a broken page.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is one answer.
type file struct {
	body        []byte
	contentType string
	etag        string
	versioned   bool // its name tells its contents, which never change under it
}

// Handler serves the page at "/" and its files under "/assets/". Every other
// path is not found.
func Handler() http.Handler {
	files, err := load(web)
	if err != nil {
		panic("BUG: " + err.Error()) // the files are part of the binary
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		f, ok := files[r.URL.Path]
		if base := edge.FromContext(r.Context()).Prefix; ok && r.URL.Path == "/" && base != "" {
			f = below(base, f)
		}
		switch {
		case !ok:
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "not found", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		default:
			w.Header().Set("Content-Type", f.contentType)
			w.Header().Set("ETag", f.etag)
			if f.versioned {
				w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			} else {
				// Asked again each time, answered with 304 mostly: after an update the page names
				// the new files.
				w.Header().Set("Cache-Control", "no-cache")
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
		}
	})
}

// below is the page as it is shown by a proxy below a path: all that it asks for is there too.
func below(base string, page file) file {
	base = html.EscapeString(base)
	text := strings.NewReplacer(`data-base=""`, `data-base="`+base+`"`, `href="/`, `href="`+base+`/`, `src="/`, `src="`+base+`/`).Replace(string(page.body))
	return newFile([]byte(text), page.contentType)
}

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// load reads the files by the path that they are served at. What lies under assets/ is served under a second name too,
// which holds a sum of its contents and by which the page asks for it: browsers need not ask again.
func load(from fs.FS) (map[string]file, error) {
	files := map[string]file{}
	var names []string // pairs of a file's name and its versioned one
	err := fs.WalkDir(from, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(from, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		kind, ok := contentTypes[path.Ext(name)]
		if !ok {
			return fmt.Errorf("no content type for %s", name)
		}
		at := name[len("web"):]
		f := newFile(body, kind)
		files[at] = f
		if strings.HasPrefix(at, "/assets/") {
			f.versioned = true
			files[versionedName(at, body)] = f // at names its own copy, without the mark
			names = append(names, at, versionedName(at, body))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page := files["/index.html"]
	delete(files, "/index.html")
	files["/"] = newFile([]byte(strings.NewReplacer(names...).Replace(string(page.body))), page.contentType)
	return files, nil
}

func newFile(body []byte, contentType string) file {
	sum := sha256.Sum256(body)
	// Weak, as the same file may be sent compressed or not.
	return file{body: body, contentType: contentType, etag: `W/"` + hex.EncodeToString(sum[:16]) + `"`}
}

// versionedName is /assets/viewer.0123456789abcdef.js for /assets/viewer.js.
func versionedName(at string, body []byte) string {
	sum := sha256.Sum256(body)
	ext := path.Ext(at)
	return strings.TrimSuffix(at, ext) + "." + hex.EncodeToString(sum[:8]) + ext
}
