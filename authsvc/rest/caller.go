package rest

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/sessions"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/token"
	"gatehouse/event"
	"gatehouse/internal/edge"
	"gatehouse/internal/logctx"
)

// sessionName is under which name a request's session is kept for its duration. The cookie has the name that is configured.
const sessionName = "gatehouse"

// maxAgent is how much of a User-Agent is kept.
const maxAgent = 255

// Caller tells who sent a request, by what it brings: a token or key in the header Authorization: Bearer or X-API-Key, else a session
// cookie. A header that is there decides alone: a browser adds none by itself, so that such requests need no other protection. Somebody who
// brings nothing is an actor at StageNobody; whoever brings something that does not count is an error, CodeUnauthorized.
//
// A request by cookie that changes something must prove that it comes from a page of ours; one that does not is CodeForbidden. The
// session is nil for requests by header.
func (a *API) Caller(r *http.Request) (*authsvc.Actor, *sessions.Session, error) {
	if known, ok := r.Context().Value(foundKey{}).(*found); ok {
		return known.actor, known.session, known.err
	}
	actor, session, err := a.caller(r)
	if err == nil && session != nil && actor.Stage == authsvc.StageNobody {
		err = checkCSRF(r, of(session))
	}
	return actor, session, err
}

// caller is Caller without asking guests where their requests come from: most routes refuse them anyway, and it is better to say so.
func (a *API) caller(r *http.Request) (*authsvc.Actor, *sessions.Session, error) {
	if credential, ok := bearer(r); ok {
		actor, err := a.byHeader(r, credential)
		tellLog(r, actor)
		return actor, nil, err
	}
	session, err := a.sessions.Get(r, sessionName)
	if err != nil {
		return nil, nil, err
	}
	actor, err := a.bySession(r, session)
	tellLog(r, actor)
	return actor, session, err
}

// tellLog has everything that is logged of the request from here on say who sent it, whoever logs it.
func tellLog(r *http.Request, actor *authsvc.Actor) {
	switch {
	case actor == nil || actor.Stage == authsvc.StageNobody:
	case actor.Kind == authsvc.ActorPerson:
		logctx.SetCaller(r.Context(), actor.ID, actor.Name, actor.Via)
	default:
		logctx.SetCaller(r.Context(), 0, actor.Name, actor.Via)
	}
}

// Reader is Caller for routes that give reports and data: somebody has to be signed in to the end.
func (a *API) Reader(r *http.Request) (*authsvc.Actor, error) {
	actor, _, err := a.Caller(r)
	if err == nil && actor.Stage != authsvc.StageDone {
		err = actor.Require(authsvc.PermReadReports, 0)
	}
	return actor, err
}

// LimitReads lets each key or person ask next as often as the settings say. Who it is is found out once: Caller gives next the same answer.
func (a *API) LimitReads(next http.Handler) http.Handler {
	if a.reads.None() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var known found
		known.actor, known.session, known.err = a.Caller(r)
		if err := a.limited(w, r, known.actor); err != nil {
			a.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), foundKey{}, &known)))
	})
}

// found is what Caller has found out about a request, kept with it.
type found struct {
	actor   *authsvc.Actor
	session *sessions.Session
	err     error
}

type foundKey struct{}

// limited counts a request to reports, data or administration for whoever sends it: by key or person, not by what they show for it, or each new
// token and session would be a new allowance. Who brings nothing that counts is refused anyway, and counted by address.
func (a *API) limited(w http.ResponseWriter, r *http.Request, actor *authsvc.Actor) error {
	who := "address " + limit.Network(addressOf(r))
	switch {
	case actor == nil || actor.Stage == authsvc.StageNobody:
	case actor.Kind == authsvc.ActorKey:
		who = "key " + strconv.FormatUint(uint64(actor.ID), 10)
	default:
		who = "user " + strconv.FormatUint(uint64(actor.ID), 10)
	}
	result, err := a.guard.Check(r.Context(), "api", who, a.reads)
	if err == nil {
		limitHeaders(w, result)
	}
	return err
}

// bearer is the credential of a request's headers. Two different ones are one that counts for nothing.
func bearer(r *http.Request) (credential string, ok bool) {
	header := r.Header.Get("Authorization")
	key := r.Header.Get("X-API-Key")
	scheme, value, found := strings.Cut(header, " ")
	switch {
	case found && strings.EqualFold(scheme, "Bearer"):
		value = strings.TrimSpace(value)
		if key != "" && key != value {
			return "", true
		}
		return value, true
	case key != "":
		return key, true
	}
	return "", header != "" // a scheme that is not ours
}

// shows tells whether a request brings a credential at all.
func (a *API) shows(r *http.Request) bool {
	_, ok := bearer(r)
	return ok || a.sessions.idOf(r) != ""
}

func (a *API) byHeader(r *http.Request, credential string) (*authsvc.Actor, error) {
	switch {
	case token.APIKey.WellFormed(credential):
		return a.byKey(r, credential)
	case token.Personal.WellFormed(credential) || token.LooksLikeAccess(credential):
		return a.tokens.Actor(r.Context(), credential, claimOf(r))
	}
	return nil, authsvc.ErrInvalidKey
}

func (a *API) byKey(r *http.Request, key string) (*authsvc.Actor, error) {
	from := addressOf(r)
	p, err := a.keys.Resolve(r.Context(), key, from)
	if err != nil {
		logctx.SetCaller(r.Context(), 0, "", "key "+token.APIKey.Prefix(key)) // which one is still in use somewhere
		return nil, err
	}
	a.keys.Record(p.SiteID, from, agentOf(r), "", 0, 0)
	return &authsvc.Actor{
		Kind: authsvc.ActorKey, ID: p.SiteID, Name: p.SiteName, Stage: authsvc.StageDone, Company: p.CompanyID, Scopes: p.Scopes,
		Address: from, Agent: agentOf(r), RequestID: edge.RequestID(r), Via: "key " + token.APIKey.Prefix(key),
	}, nil
}

func (a *API) bySession(r *http.Request, g *sessions.Session) (*authsvc.Actor, error) {
	own := of(g)
	claim := claimOf(r)
	if own.UserID == 0 {
		return guest(r), nil
	}
	if err := checkCSRF(r, own); err != nil {
		logctx.SetCaller(r.Context(), own.UserID, "", "session "+own.Ref())
		return nil, err
	}
	claim.Epoch, claim.Via, claim.Scopes = own.Epoch, "session "+own.Ref(), authsvc.AllScopes
	claim.SecondFactor = own.SecondFactor() && !own.Pending
	claim.Vouched, claim.VouchedFactor = own.Vouched(), own.VouchedFactor() && !own.Pending
	actor, err := a.store.ActorFor(r.Context(), own.UserID, claim)
	if event.ErrorCode(err) == event.CodeUnauthorized {
		// It ended since the session was read a moment ago: as if it had ended before, so that the person can sign in anew.
		return guest(r), a.sessions.renew(r, g)
	}
	if err != nil {
		return nil, err
	}
	if own.Pending {
		actor.Stage = authsvc.StageSecondFactor
	}
	return actor, nil
}

// guest is the actor of a request by somebody who has not signed in.
func guest(r *http.Request) *authsvc.Actor {
	return &authsvc.Actor{Kind: authsvc.ActorNobody, Stage: authsvc.StageNobody, Address: addressOf(r), Agent: agentOf(r), RequestID: edge.RequestID(r)}
}

func claimOf(r *http.Request) authsvc.Claim {
	return authsvc.Claim{Address: addressOf(r), Agent: agentOf(r), RequestID: edge.RequestID(r)}
}

func agentOf(r *http.Request) string {
	agent := r.UserAgent()
	if len(agent) > maxAgent {
		agent = strings.ToValidUTF8(agent[:maxAgent], "")
	}
	return agent
}
