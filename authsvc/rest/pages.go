package rest

import (
	"net/http"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// Visit is a browser's request for a page. What it does is what the API's routes do, by the same rules; it sets the cookies that go with it.
type Visit struct {
	call *call
	csrf string
}

// Visit looks at a request for a page. Forms must have been parsed, under a limit. The errors are those of Caller; a request by key or token,
// for which pages are not made, is CodeForbidden.
func (a *API) Visit(w http.ResponseWriter, r *http.Request) (*Visit, error) {
	actor, session, err := a.Caller(r)
	if err == nil && session == nil {
		err = event.Errorf(event.CodeForbidden, "this page is for people who are signed in with a browser; programs use /api/v1")
	}
	if err != nil {
		return nil, err
	}
	return &Visit{call: &call{api: a, w: w, r: r, ctx: r.Context(), actor: actor, session: session}}, nil
}

// Actor is who asks.
func (v *Visit) Actor() *authsvc.Actor { return v.call.actor }

// Session is the browser's session. What a page changes in its Values is kept by Keep.
func (v *Visit) Session() *websession.Session { return of(v.call.session) }

// Keep stores the session.
func (v *Visit) Keep() error { return v.call.api.sessions.Save(v.call.r, v.call.w, v.call.session) }

// CSRF is the token for the forms of the page. It begins a session where the browser has none, which needs to happen before the answer begins.
func (v *Visit) CSRF() (string, error) {
	if v.csrf != "" {
		return v.csrf, nil
	}
	started, err := startSession(v.call)
	if err != nil {
		return "", err
	}
	if view, ok := started.(stageView); ok {
		v.csrf = view.CSRF
	}
	return v.csrf, nil
}

// SignIn is signin.Service.SignIn for the browser, and gives what comes next.
func (v *Visit) SignIn(login, password string) (authsvc.Stage, error) {
	result, err := v.call.api.signin.SignIn(v.call.ctx, v.Session(), signin.Request{Login: login, Password: password, Client: v.call.client()})
	return v.signedIn(result, err)
}

// SecondFactor gives a code as the second factor, and gives what comes next.
func (v *Visit) SecondFactor(code string) (authsvc.Stage, error) {
	result, err := v.call.api.signin.SecondFactor(v.call.ctx, v.Session(), signin.Proof{Code: code}, v.call.client())
	return v.signedIn(result, err)
}

func (v *Visit) signedIn(result signin.Result, err error) (authsvc.Stage, error) {
	if err != nil {
		return authsvc.StageNobody, err
	}
	_, err = v.call.signedIn(result)
	return result.Stage, err
}

// SignOut ends the session and takes its cookie back.
func (v *Visit) SignOut() error {
	_, err := signOut(v.call)
	return err
}

// SignOutEverywhere ends all sessions of the person but this one, and their programs; with tokens, their personal tokens too.
func (v *Visit) SignOutEverywhere(tokens bool) error {
	return v.changed(v.call.api.signin.SignOutEverywhere(v.call.ctx, v.call.actor, v.Session(), tokens))
}

// ChangePassword is signin.Service.ChangePassword for the browser, which stays signed in.
func (v *Visit) ChangePassword(oldPassword, newPassword string) error {
	return v.changed(v.call.api.signin.ChangePassword(v.call.ctx, v.call.actor, v.Session(), oldPassword, newPassword))
}

// FactorSetUp is signin.Service.FactorSetUp for the browser.
func (v *Visit) FactorSetUp(method string) error { return v.call.factorSetUp(method) }

// BeginLink gives the address at the identity provider at which the person goes on to link an identity. They must have been asked to confirm it.
func (v *Visit) BeginLink() (string, error) { return v.call.beginLink(linked) }

// UnlinkIdentity takes one of the person's identities away. They must have been asked to confirm it.
func (v *Visit) UnlinkIdentity(id uint32) error { return v.call.unlinkIdentity(v.call.actor.ID, id) }

// changed gives the browser the new id of its session.
func (v *Visit) changed(err error) error {
	if err == nil {
		v.call.api.sessions.SetCookie(v.call.w, v.call.session)
	}
	return err
}

// Recent tells whether the person signed in so short a while ago that Confirm asks for nothing.
func (v *Visit) Recent() bool { return v.Session().Recent(time.Now()) }

// Confirm asks whether the person may change what a session left open is not enough for: they signed in a short while ago, or the password is theirs, and
// the code where they have a second factor. Else it is signin.ErrConfirm, signin.ErrConfirmCode, for who has no password signin.ErrProveAnew,
// or *limit.Exceeded.
func (v *Visit) Confirm(password, code string) error {
	return v.call.recent(confirmBody{password, code})
}

// Register asks for an account, see authsvc.Store.RegisterUser, as often as one address may.
func (v *Visit) Register(r authsvc.Registration) error {
	c := v.call
	limited, err := c.api.guard.Check(c.ctx, "register", limit.Network(addressOf(c.r)), c.api.register)
	if err != nil {
		return err
	}
	limitHeaders(c.w, limited)
	return c.api.store.RegisterUser(c.ctx, c.actor, r)
}

// LimitHeaders tells a client how it stands with a limit.
func LimitHeaders(w http.ResponseWriter, r limit.Result) { limitHeaders(w, r) }
