package dashboards

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/rest"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
	"gatehouse/internal/edge"
)

// PagesConfig is what Pages are made of.
type PagesConfig struct {
	API      *rest.API
	Store    *authsvc.Store
	Sessions *websession.Manager
	Service  *signin.Service
	Factors  *signin.Factors
	Settings func(context.Context) (authsvc.Settings, error)
	// Provider is what the button for signing in with an identity provider says, such as "Sign in with Example"; empty: there is none.
	Provider string
	Log      *slog.Logger
	Now      func() time.Time // nil: the clock
}

// Pages are those by which people sign in and look after their account. They are rendered on the server and work without scripts, but for
// passkeys. What may be done, and what is wrong with what was given, is said by the packages behind them.
type Pages struct {
	api      *rest.API
	store    *authsvc.Store
	sessions *websession.Manager
	signin   *signin.Service
	factors  *signin.Factors
	settings func(context.Context) (authsvc.Settings, error)
	provider string
	log      *slog.Logger
	now      func() time.Time
	looks    *looks
}

// NewPages makes Pages.
func NewPages(c PagesConfig) *Pages {
	p := &Pages{
		api: c.API, store: c.Store, sessions: c.Sessions, signin: c.Service, factors: c.Factors, settings: c.Settings, provider: c.Provider, log: c.Log,
		now: c.Now, looks: newLooks(),
	}
	if p.now == nil {
		p.now = time.Now
	}
	return p
}

// page is one line of the table: what is at a path, and for whom. Everybody else is sent to where they have to go.
type page struct {
	method, path string
	from, to     authsvc.Stage
	run          func(*visit) error
}

var pageTable = []page{
	{http.MethodGet, "/login", authsvc.StageNobody, authsvc.StageNobody, showLogin},
	{http.MethodPost, "/login", authsvc.StageNobody, authsvc.StageNobody, doLogin},
	{http.MethodGet, "/login/second-factor", authsvc.StageSecondFactor, authsvc.StageSecondFactor, showSecond},
	{http.MethodPost, "/login/second-factor", authsvc.StageSecondFactor, authsvc.StageSecondFactor, doSecond},
	{http.MethodGet, "/login/new-password", authsvc.StageChangePassword, authsvc.StageChangePassword, showNewPassword},
	{http.MethodPost, "/login/new-password", authsvc.StageChangePassword, authsvc.StageChangePassword, doNewPassword},
	{http.MethodGet, "/login/set-up", authsvc.StageSetUpFactor, authsvc.StageDone, showSetUp},
	{http.MethodPost, "/login/set-up", authsvc.StageSetUpFactor, authsvc.StageDone, doSetUp},
	{http.MethodPost, "/login/set-up/app", authsvc.StageSetUpFactor, authsvc.StageDone, beginApp},
	{http.MethodGet, "/register", authsvc.StageNobody, authsvc.StageNobody, showRegister},
	{http.MethodPost, "/register", authsvc.StageNobody, authsvc.StageNobody, doRegister},
	{http.MethodPost, "/logout", authsvc.StageNobody, authsvc.StageDone, doLogout},
	{http.MethodGet, "/account", authsvc.StageDone, authsvc.StageDone, showAccount},
	{http.MethodPost, "/account/name", authsvc.StageDone, authsvc.StageDone, changeName},
	{http.MethodPost, "/account/password", authsvc.StageDone, authsvc.StageDone, changePassword},
	{http.MethodPost, "/account/identities/link", authsvc.StageDone, authsvc.StageDone, linkIdentity},
	{http.MethodPost, "/account/identities/unlink", authsvc.StageDone, authsvc.StageDone, unlinkIdentity},
	{http.MethodPost, "/account/app/remove", authsvc.StageDone, authsvc.StageDone, removeApp},
	{http.MethodPost, "/account/passkeys/remove", authsvc.StageDone, authsvc.StageDone, removePasskey},
	{http.MethodPost, "/account/recovery-codes", authsvc.StageDone, authsvc.StageDone, renewCodes},
	{http.MethodPost, "/account/sessions/end", authsvc.StageDone, authsvc.StageDone, endSession},
	{http.MethodPost, "/account/sessions/end-all", authsvc.StageDone, authsvc.StageDone, endSessions},
	{http.MethodPost, "/account/tokens", authsvc.StageDone, authsvc.StageDone, makeToken},
	{http.MethodPost, "/account/tokens/revoke", authsvc.StageDone, authsvc.StageDone, revokeToken},
	{http.MethodPost, "/account/programs/end", authsvc.StageDone, authsvc.StageDone, endProgram},
}

// placeOf is where somebody has to go who has come so far in signing in; empty: nothing is missing.
func placeOf(stage authsvc.Stage) string {
	switch stage {
	case authsvc.StageNobody:
		return "/login"
	case authsvc.StageSecondFactor:
		return "/login/second-factor"
	case authsvc.StageChangePassword:
		return "/login/new-password"
	case authsvc.StageSetUpFactor:
		return "/login/set-up"
	case authsvc.StageDone:
	}
	return ""
}

// Routes lists the pages. GET stands for HEAD too.
func (p *Pages) Routes() []rest.Route {
	list := make([]rest.Route, len(pageTable))
	for i := range pageTable {
		at := &pageTable[i]
		list[i] = rest.Route{Method: at.method, Path: at.path, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(at, w, r) })}
	}
	return list
}

// maxForm is the longest form that is read.
const maxForm = 64 << 10

// pagePolicy is the viewer's, with forms that are sent to this server alone.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func (p *Pages) serve(at *page, w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	setHeaders(h)
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "same-origin") // with none, browsers send Origin: null with forms, which the CSRF check refuses
	h.Set("Cache-Control", "no-store")
	if err := p.answer(at, w, r); err != nil {
		p.fail(w, r, err)
	}
}

func (p *Pages) answer(at *page, w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if _, long := errors.AsType[*http.MaxBytesError](err); long {
			return event.Errorf(event.CodeTooLarge, "the form is longer than %d KiB", maxForm>>10)
		}
		return event.Wrap(event.CodeInvalid, err, "the form is not well-formed")
	}
	if !validText(r.Form) {
		return event.Errorf(event.CodeInvalid, "the form holds what is not text")
	}
	visited, err := p.api.Visit(w, r)
	if err != nil {
		return err
	}
	v := &visit{Visit: visited, pages: p, w: w, r: r, ctx: r.Context(), form: r.PostForm}
	stage := v.Actor().Stage
	if stage < at.from || stage > at.to {
		return v.goOn(stage)
	}
	return at.run(v)
}

// fail answers with an error that is not the visitor's to mend in a form.
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the client went away
	}
	code := event.ErrorCode(err)
	if code == event.CodeInternal || code == event.CodeUnavailable {
		p.log.LogAttrs(r.Context(), slog.LevelError, "page failed", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	p.api.Refused(r, err)
	message := event.ErrorMessage(err)
	if code == event.CodeInternal {
		message = "something went wrong on our side; tell your administrator the request id"
	}
	limited(w, err)
	edge.Fail(w, r, code.Status(), string(code), message)
}

// limited sets the headers of a try that a limit counted.
func limited(w http.ResponseWriter, err error) {
	if r, counted := limit.ResultOf(err); counted {
		rest.LimitHeaders(w, r)
	}
}
