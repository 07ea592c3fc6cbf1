package edge

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
)

// Compression gives away secrets by the size of answers (BREACH) where three things meet in one: a secret, text that an attacker
// chooses, and a browser that the attacker can make ask. So it is not on for all, but for the answers that handlers name, and these
// are files, which hold no secret, and reports, in which no cookie, key or token ever stands. Pages with forms, sessions, tokens and
// keys are never compressed. For reports two things are done besides: requests that another site's page made are answered
// uncompressed, and answers get a random length of filling that depends on their content, so that asking again does not average it out.
const (
	// compressFrom is the size from which it is worth it: below, the answer fits into one packet anyway.
	compressFrom = 1400
	filling      = 64
)

// Compress compresses next's answers to requests for which the handler says so by only, with gzip or zstd as the client asks.
func Compress(next http.Handler, only func(*http.Request) bool) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(compressFrom), gzhttp.ContentTypeFilter(compressible), gzhttp.RandomJitter(filling, 0, false))
	if err != nil {
		return nil, fmt.Errorf("BUG: compression: %w", err)
	}
	compressed := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !only(r) || fromElsewhere(r) {
			next.ServeHTTP(w, r)
			return
		}
		compressed.ServeHTTP(w, r)
	}), nil
}

// fromElsewhere tells requests that a page of another site made a browser send. Programs do not say.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

func compressible(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	switch strings.TrimSpace(strings.ToLower(kind)) {
	// Not text/html: a page may hold the token of a form.
	case "application/json", "text/csv", "text/css", "text/javascript", "image/svg+xml", "application/x-ndjson", "application/yaml":
		return true
	}
	return false
}
