package query

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gatehouse/event"
	"gatehouse/internal/refusal"
)

// Authenticator says who reads, and of which company. It gives an
// *event.Error with CodeUnauthorized or CodeForbidden when of none.
type Authenticator func(ctx context.Context, req *http.Request) (Caller, error)

// Caller is who sends a request, as far as it matters here.
type Caller struct {
	Company          // whose events they may read
	Exports Exporter // nil: they may take nothing out as a file
}

// maxQuery bounds the text of a request's parameters. What is longer is refused with 413.
const maxQuery = 64 << 10

// retryAfter is what clients are told to wait when the answer is "later".
const retryAfter = 5 * time.Second

// API serves reports and event search over HTTP. It is an http.Handler; Routes
// lists the same for a router that serves other things on the same paths.
type API struct {
	reports   *Reports
	auth      Authenticator
	log       *slog.Logger
	refused   *refusal.Log
	requestID func(*http.Request) string
	mux       *http.ServeMux
	openAPI   []byte
}

// APIOptions are what an API may be told.
type APIOptions struct {
	Log *slog.Logger // nil: none
	// RequestID gives a request's id where something before us set one; nil, or
	// an empty answer, means that we make one.
	RequestID func(*http.Request) string
	// Extra are other packages' operations, for the OpenAPI document.
	Extra []Operation
}

// NewAPI makes the API.
func NewAPI(reports *Reports, auth Authenticator, o APIOptions) (*API, error) {
	a := &API{reports: reports, auth: auth, log: o.Log, requestID: o.RequestID, mux: http.NewServeMux()}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.refused = refusal.New(a.log, time.Now)
	doc, err := OpenAPI(o.Extra...)
	if err != nil {
		return nil, err
	}
	a.openAPI = doc
	for _, rt := range a.Routes() {
		a.mux.Handle(rt.Method+" "+rt.Path, rt.Handler)
	}
	return a, nil
}

// Route is one path of the API. {id} in a path stands for one segment.
type Route struct {
	Method  string
	Path    string
	Handler http.Handler
}

// Routes lists what the API serves. GET stands for HEAD too.
func (a *API) Routes() []Route {
	out := make([]Route, 0, len(routes)+3)
	for _, rt := range allRoutes() {
		out = append(out, Route{http.MethodGet, rt.path, a.handle(rt)})
	}
	return append(out,
		Route{http.MethodGet, ReportsPath + "{name}", http.HandlerFunc(a.unknownReport)},
		Route{http.MethodGet, OpenAPIPath, http.HandlerFunc(a.serveOpenAPI)})
}

// ServeHTTP serves all routes.
func (a *API) ServeHTTP(w http.ResponseWriter, req *http.Request) { a.mux.ServeHTTP(w, req) }

func (a *API) handle(rt *route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		id := a.idOf(w, req)
		format, answer, err := a.answer(req, rt)
		if err != nil {
			a.fail(w, req, id, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		begun, err := writeAnswer(w, rt.spec.Name, format, answer)
		if err != nil && !begun {
			a.fail(w, req, id, event.Wrap(event.CodeInternal, err, "internal error"))
			return
		}
		if err != nil { // nobody is left to tell
			a.log.DebugContext(req.Context(), "answer not delivered", slog.String("request_id", id), slog.Any("error", err))
		}
	})
}

func (a *API) answer(req *http.Request, rt *route) (Format, any, error) {
	ctx := req.Context()
	caller, err := a.auth(ctx, req)
	if err != nil {
		return "", nil, err
	}
	if len(req.URL.RawQuery) > maxQuery {
		return "", nil, event.Errorf(event.CodeTooLarge, "the parameters are longer than %d bytes", maxQuery)
	}
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return "", nil, event.Errorf(event.CodeInvalid, "the parameters are not well-formed: write %% as %%25 and & as %%26")
	}
	p, err := ParseParams(rt.spec, caller.Company, a.reports.now(), values)
	if err != nil {
		return "", nil, err
	}
	if p.Format == FormatCSV {
		if err := caller.mayExport(); err != nil {
			return "", nil, err
		}
	}
	answer, err := rt.run(ctx, a.reports, caller.Company, p, req)
	if err == nil && p.Format == FormatCSV {
		// What cannot be recorded is not given out: not a byte has gone yet.
		err = caller.Exports.Exported(ctx, exportOf(rt.spec, &p, values, answer))
	}
	return p.Format, answer, err
}

// unknownReport answers for reports that do not exist, to callers that may know.
func (a *API) unknownReport(w http.ResponseWriter, req *http.Request) {
	id := a.idOf(w, req)
	if _, err := a.auth(req.Context(), req); err != nil {
		a.fail(w, req, id, err)
		return
	}
	a.fail(w, req, id, unknownReport(req.URL.Path[len(ReportsPath):]))
}

// idOf gives a request's id, and tells it to the client.
func (a *API) idOf(w http.ResponseWriter, req *http.Request) string {
	id := ""
	if a.requestID != nil {
		id = a.requestID(req)
	}
	if id == "" {
		var b [8]byte
		_, _ = rand.Read(b[:]) // it cannot fail
		id = hex.EncodeToString(b[:])
	}
	w.Header().Set("X-Request-Id", id)
	return id
}

// problem is one thing wrong with a request.
type problem struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// failure is the body of every answer that is an error.
type failure struct {
	Status    string    `json:"status"` // always "error"
	Code      string    `json:"code"`
	Message   string    `json:"message"`
	Field     string    `json:"field,omitempty"`
	Errors    []problem `json:"errors,omitempty"` // every field that is wrong
	RequestID string    `json:"request_id"`
}

func (a *API) fail(w http.ResponseWriter, req *http.Request, id string, err error) {
	if errors.Is(err, context.Canceled) && req.Context().Err() != nil {
		return // the client went away
	}
	code := event.ErrorCode(err)
	body := failure{Status: "error", Code: string(code), Message: event.ErrorMessage(err), RequestID: id}
	var one *event.Error
	if errors.As(err, &one) && one.Field != "" {
		body.Field = one.Field
		body.Errors = []problem{{one.Field, one.Message}}
	}
	var all Errors
	if errors.As(err, &all) {
		body.Errors = body.Errors[:0]
		for _, e := range all {
			body.Errors = append(body.Errors, problem{e.Field, e.Message})
			if e.Code != event.CodeInvalid { // a company that is not the caller's
				code, body.Code = e.Code, string(e.Code)
			}
		}
	}
	if kind := event.Refusal(err); kind != "" {
		a.refused.Request(req, kind, body.Message)
	}
	if code == event.CodeInternal || code == event.CodeUnavailable {
		a.log.ErrorContext(req.Context(), "report failed", slog.String("request_id", id), slog.String("path", req.URL.Path), slog.Any("error", err))
	}
	switch code {
	case event.CodeUnavailable, event.CodeRateLimited:
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	case event.CodeUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="gatehouse"`)
	}
	w.Header().Set("Cache-Control", "no-store")
	text, err := encodeJSON(body)
	if err == nil { // texts alone: it cannot fail
		err = writeJSON(w, code.Status(), text)
	}
	if err != nil {
		a.log.DebugContext(req.Context(), "answer not delivered", slog.String("request_id", id), slog.Any("error", err))
	}
}

func (a *API) serveOpenAPI(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if _, err := w.Write(a.openAPI); err != nil {
		a.log.DebugContext(req.Context(), "answer not delivered", slog.Any("error", err))
	}
}
