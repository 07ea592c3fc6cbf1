package rest

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/gorilla/mux"
	"github.com/gorilla/sessions"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
	"gatehouse/internal/edge"
)

// access is who may come to a route at all. What they may do there is the permission's to say.
type access uint8

const (
	member access = iota // signed in to the end
	begun                // signed in as far as a password: what is missing is done by these routes
	anyone               // needs no sign-in; the session, if any, is looked at
	apart                // needs no sign-in and looks at none: for programs, whose old token must not keep them from getting a new one
)

// route is one line of the table. run does the work: it gets the call and gives the answer, which becomes JSON; nil is 204.
type route struct {
	method, path string
	access       access
	perm         authsvc.Permission // asked before run, in the company of the path where it names one; "": run's store method asks
	does         string             // for the documentation
	params       []param            // of the query
	body, answer any                // zero values, for the documentation
	status       int                // of success, 0 for 200 or 204
	optional     bool               // answers 404 where it is not set up
	run          func(*call) (any, error)
}

// param is one parameter of a query. kind is a type or format of JSON Schema, or several.
type param struct{ name, kind, does string }

// several is the kind of parameters that may be given more than once.
const several = "strings"

// pageParams are those of every list.
var pageParams = []param{
	{"limit", "integer", "Rows of a page, 1 to 500; 50 by default."},
	{"cursor", "string", "next_cursor of the page before."},
}

// routes is the whole table.
func routes() []route {
	return slices.Concat(signInRoutes, providerRoutes, tokenRoutes, ownRoutes, factorRoutes, identityRoutes, userRoutes, companyRoutes, keyRoutes, settingRoutes, trailRoutes)
}

// call is one request to a route.
type call struct {
	api     *API
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context //nolint:containedctx // of the request, which a call is
	actor   *authsvc.Actor
	session *sessions.Session // nil for requests by token or key
	query   url.Values
}

// own is the session behind the cookie; an error for requests by token or key, to which what needs one means nothing.
func (c *call) own() (*websession.Session, error) {
	if c.session == nil {
		return nil, event.Errorf(event.CodeForbidden, "this is for people who are signed in with a browser")
	}
	return of(c.session), nil
}

// body reads the request's body.
func (c *call) body(into any) error { return readBody(c.w, c.r, into) }

// id is a number of the path; what cannot be one is not found.
func (c *call) id(name string) (uint32, error) {
	n, err := strconv.ParseUint(mux.Vars(c.r)[name], 10, 32)
	if err != nil || n == 0 || n > math.MaxInt32 {
		return 0, event.Errorf(event.CodeNotFound, "there is nothing at this address")
	}
	return uint32(n), nil
}

// text is a parameter of the query.
func (c *call) text(name string) string { return c.query.Get(name) }

// number is a numeric parameter of the query, 0 where it is not given.
func (c *call) number(name string) (int64, error) {
	text := c.text(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, event.FieldError(name, "must be a whole number")
	}
	return n, nil
}

// flag is a parameter of the query that is true or false, def where it is not given.
func (c *call) flag(name string, def bool) (bool, error) {
	switch c.text(name) {
	case "":
		return def, nil
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, event.FieldError(name, "must be true or false")
}

// moment is a time of the query in RFC 3339, zero where it is not given.
func (c *call) moment(name string) (time.Time, error) {
	text := c.text(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, event.FieldError(name, "must be a time such as 2026-03-01T00:00:00Z")
	}
	return t, nil
}

// page is which part of a list is asked for.
func (c *call) page() (authsvc.Page, error) {
	n, err := c.number("limit")
	if err != nil {
		return authsvc.Page{}, err
	}
	total, err := c.flag("total", false)
	if err != nil {
		return authsvc.Page{}, err
	}
	if n < 0 || n > authsvc.MaxPage {
		return authsvc.Page{}, event.FieldError("limit", "must be between 1 and %d", authsvc.MaxPage)
	}
	return authsvc.Page{Limit: int(n), Cursor: c.text("cursor"), Total: total}, nil
}

// serve answers one request to rt.
func (a *API) serve(rt *route, w http.ResponseWriter, r *http.Request) {
	c := &call{api: a, w: w, r: r, ctx: r.Context()}
	answer, err := c.answer(rt)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		a.fail(w, c.r, err)
		return
	}
	status := rt.status
	if status == 0 {
		status = http.StatusOK
	}
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if to, ok := answer.(redirect); ok {
		h.Set("Location", string(to))
		w.WriteHeader(status)
		return
	}
	if raw, ok := answer.(picture); ok {
		h.Set("Content-Type", "image/png")
		w.WriteHeader(status)
		_, _ = w.Write(raw) // else the client is gone
		return
	}
	a.write(w, r, status, answer)
}

// picture is an answer that is a PNG file.
type picture []byte

func (c *call) answer(rt *route) (any, error) {
	if isForm(c.r) {
		return nil, event.Errorf(event.CodeUnsupported, "send the body as JSON, with Content-Type: application/json")
	}
	err := c.asks(rt)
	if rt.access == member { // the others are the ways in, which have limits of their own, and out
		if refused := c.api.limited(c.w, c.r, c.actor); refused != nil {
			return nil, refused
		}
	}
	if err != nil {
		return nil, err
	}
	if err := c.admit(rt); err != nil {
		return nil, err
	}
	if err := c.input(rt); err != nil {
		return nil, err
	}
	return rt.run(c)
}

// asks finds out who sends the request.
func (c *call) asks(rt *route) (err error) {
	if rt.access == apart {
		c.actor = guest(c.r)
		if crossOrigin.Check(c.r) != nil {
			err = errCSRF
		}
		return err
	}
	if c.actor, c.session, err = c.api.caller(c.r); err != nil {
		return err
	}
	if rt.access == anyone && c.session != nil && c.actor.Stage == authsvc.StageNobody {
		return checkCSRF(c.r, of(c.session)) // or another site could sign people in to its own account
	}
	return nil
}

// input refuses what the route has no use for: a parameter with a slip in its name would else be a list of everything, and a field
// that somebody tries out would look as if it had been taken.
func (c *call) input(rt *route) (err error) {
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return event.Errorf(event.CodeInvalid, "the parameters are not well-formed: write %% as %%25, & as %%26 and ; as %%3B")
	}
	for _, name := range slices.Sorted(maps.Keys(c.query)) {
		i := slices.IndexFunc(rt.params, func(p param) bool { return p.name == name || p.name == anyParam })
		switch given := c.query[name]; {
		case i < 0:
			return event.FieldError(shown(name), "there is no such parameter here")
		case len(given) > 1 && rt.params[i].kind != several:
			return event.FieldError(name, "is given twice")
		case slices.ContainsFunc(given, notText):
			return event.FieldError(name, "is not valid text")
		}
	}
	for _, value := range mux.Vars(c.r) {
		if notText(value) {
			return event.Errorf(event.CodeNotFound, "there is nothing at this address")
		}
	}
	if rt.body == nil && c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return c.body(&struct{}{})
	}
	return nil
}

// notText tells what no database takes as a text.
func notText(s string) bool { return !utf8.ValidString(s) || strings.ContainsRune(s, 0) }

// admit asks what the table says of a route.
func (c *call) admit(rt *route) error {
	switch {
	case rt.access == anyone || rt.access == apart:
		return nil
	case rt.access == begun && c.actor.Kind == authsvc.ActorKey:
		return event.Errorf(event.CodeForbidden, "this is for people, not for API keys")
	case rt.access == begun && c.actor.Stage > authsvc.StageNobody:
		return nil
	case c.actor.Stage != authsvc.StageDone:
		return c.actor.Require(authsvc.PermOwnAccount, 0) // says what is missing
	case rt.perm == "":
		return nil
	}
	company := uint32(0)
	if _, named := mux.Vars(c.r)["company"]; named {
		var err error
		if company, err = c.id("company"); err != nil {
			return err
		}
	}
	return c.actor.Require(rt.perm, company)
}

// problem is one thing wrong with a request.
type problem struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// failure is the body of every answer that is an error: the same as that of reports.
type failure struct {
	Status    string    `json:"status"` // always "error"
	Code      string    `json:"code"`
	Message   string    `json:"message"`
	Field     string    `json:"field,omitempty"`
	Errors    []problem `json:"errors,omitempty"` // here one at most
	RequestID string    `json:"request_id"`
}

// fail answers with an error.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the client went away
	}
	code := event.ErrorCode(err)
	body := failure{Status: "error", Code: string(code), Message: event.ErrorMessage(err), RequestID: edge.RequestID(r)}
	var one *event.Error
	if errors.As(err, &one) && one.Field != "" {
		body.Field, body.Errors = one.Field, []problem{{one.Field, one.Message}}
	}
	if r, counted := limit.ResultOf(err); counted {
		limitHeaders(w, r)
	}
	switch code {
	case event.CodeUnavailable:
		w.Header().Set("Retry-After", "5")
	case event.CodeUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="gatehouse"`)
	}
	if code == event.CodeInternal || code == event.CodeUnavailable {
		a.log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	a.Refused(r, err)
	if edge.WantsPage(r) {
		edge.Fail(w, r, code.Status(), string(code), body.Message)
		return
	}
	a.write(w, r, code.Status(), body)
}

// Refused tells the log of a request that was refused with err; of any other error it says nothing. Nor does it of one to read that shows nothing for it: every
// first visit to a page makes some.
func (a *API) Refused(r *http.Request, err error) {
	if _, told := errors.AsType[*limit.Exceeded](err); told {
		return // by the guard, which knows the limit
	}
	kind := event.Refusal(err)
	if kind == string(event.CodeUnauthorized) && (r.Method == http.MethodGet || r.Method == http.MethodHead) && !a.shows(r) {
		return
	}
	if kind != "" {
		a.refused.Request(r, kind, event.ErrorMessage(err))
	}
}

// limitHeaders tells a client how it stands with a limit.
func limitHeaders(w http.ResponseWriter, r limit.Result) {
	if r.Limit == 0 {
		return
	}
	seconds := func(d time.Duration) string { return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10) }
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(r.Limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(r.Remaining))
	h.Set("X-RateLimit-Reset", seconds(r.Reset))
	if !r.Allowed {
		h.Set("Retry-After", seconds(r.Retry))
	}
}

func (a *API) write(w http.ResponseWriter, r *http.Request, status int, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		a.log.LogAttrs(r.Context(), slog.LevelError, "BUG: an answer cannot be JSON", slog.Any("error", err))
		status, text = http.StatusInternalServerError, []byte(`{"status":"error","code":"internal","message":"internal error"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // else the client is gone
}
