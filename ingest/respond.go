package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/event"
)

// The fixed answers, and header values shared by all responses: net/http only reads them.
var (
	bodyLogged = newStatic(`{"message":"Event logged successfully","status":"success"}`)
	bodyKnown  = newStatic(`{"message":"Event already recorded","status":"success"}`)

	typeJSON = []string{"application/json; charset=utf-8"}
)

type static struct {
	text   []byte
	length []string
}

func newStatic(s string) *static {
	return &static{append([]byte(s), '\n'), []string{strconv.Itoa(len(s) + 1)}}
}

func writeStatic(w http.ResponseWriter, status int, s *static) {
	h := w.Header()
	h["Content-Type"], h["Content-Length"] = typeJSON, s.length
	w.WriteHeader(status)
	_, _ = w.Write(s.text) // the client is gone then, and what it sent is stored
}

func writeJSON(w http.ResponseWriter, status int, text []byte) {
	h := w.Header()
	h["Content-Type"], h["Content-Length"] = typeJSON, []string{strconv.Itoa(len(text))}
	w.WriteHeader(status)
	_, _ = w.Write(text) //nolint:gosec // JSON, and said to be. On an error the client is gone, and what it sent is stored
}

// refuse answers a request of which nothing was taken.
func (in *Intake) refuse(w http.ResponseWriter, r *http.Request, rt route, p *Principal, err error, start time.Time) {
	code := event.ErrorCode(err)
	status := statusOf(code)
	message, field := "internal error", ""
	var e *event.Error
	if errors.As(err, &e) && code != event.CodeInternal {
		message, field = e.Message, e.Field
	}
	in.tell(r, rt, p, status, err)
	if after := retryAfter(err); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(after))
	}
	text := append([]byte(`{"message":`), quoted(inWords(field, message))...)
	text = append(text, `,"status":"error"`...)
	if field != "" {
		text = append(append(text, `,"field":`...), quoted(field)...)
	}
	writeJSON(w, status, append(text, "}\n"...))
	if p.CompanyID != 0 {
		in.keys.Used(*p, in.clientIP(r), r.UserAgent(), "", 0, 1)
	}
	if errors.Is(err, errParameter) {
		field = ""
	}
	in.metrics.refused(p, code, field)
	in.metrics.request(rt, status, in.clock().Sub(start))
}

// tell has the log say that a request was refused: one that we could not take, and one that had no right or came too often.
func (in *Intake) tell(r *http.Request, rt route, p *Principal, status int, err error) {
	kind := event.Refusal(err)
	if status >= http.StatusInternalServerError {
		kind = "not_taken"
	}
	if kind == "" {
		return // input that is merely wrong is counted, and told to its sender
	}
	in.refused.Note(r.Context(), kind, slog.String("route", rt.String()), slog.Int("status", status), slog.String("path", r.URL.Path),
		slog.Uint64("company", uint64(p.CompanyID)), slog.Uint64("site", uint64(p.SiteID)), slog.Any("error", err))
}

// inWords puts the field before what is wrong with it: "UserName is missing".
func inWords(field, message string) string {
	if field == "" {
		return message
	}
	return field + " " + message
}

// quoted is s as a JSON string.
func quoted(s string) []byte {
	q, _ := jsontext.AppendQuote(nil, s) // its error tells of bad UTF-8, which it has replaced
	return q
}

func formatBytes(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
