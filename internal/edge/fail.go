package edge

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
)

// failure is the body of an error, as the API has it everywhere.
type failure struct {
	Status    string `json:"status"` // always "error"
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
}

// Fail answers with an error: as JSON to programs, as a plain page to people with a browser. message is one sentence that is safe
// to show and says what to do. Headers that were set before stay.
func Fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	id := RequestID(r)
	h := w.Header()
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, sniff
	var body []byte
	if WantsPage(r) {
		h["Content-Type"] = []string{"text/html; charset=utf-8"}
		body = fmt.Appendf(nil, page, status, html.EscapeString(http.StatusText(status)), html.EscapeString(sentence(message)), html.EscapeString(id), html.EscapeString(FromContext(r.Context()).Prefix+"/"))
	} else {
		h["Content-Type"] = []string{"application/json; charset=utf-8"}
		body, _ = json.Marshal(failure{"error", code, message, id}) // four strings: it cannot fail
		body = append(body, '\n')
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // else the client is gone
}

// page has no style: the policy of errors allows none, and it needs none.
const page = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>%[1]d %[2]s</title></head>
<body><main><h1>%[2]s</h1><p>%[3]s</p><p>Request id: <code>%[4]s</code></p><p><a href="%[5]s">To the start page</a></p></main></body>
</html>
`

// sentence makes a message, which begins in lower case as errors do, a sentence.
func sentence(s string) string {
	if s == "" {
		return s
	}
	if 'a' <= s[0] && s[0] <= 'z' {
		s = string(s[0]-'a'+'A') + s[1:]
	}
	return s + "."
}

// NotFound answers for paths that nothing serves.
func NotFound(w http.ResponseWriter, r *http.Request) {
	Fail(w, r, http.StatusNotFound, "not_found", "there is nothing at this address")
}
