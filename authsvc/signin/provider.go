package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// Provider is an identity provider that signs people in.
type Provider interface {
	// Begin gives the address at which a person signs in there, who is sent back to redirect, and what the session keeps until the answer comes. anew: the
	// provider has to ask for proof again, also of somebody who is signed in there. A provider that is away is event.CodeUnavailable.
	Begin(ctx context.Context, redirect string, anew bool) (address string, kept []byte, err error)

	// Finish reads the answer: who the person is. kept is what Begin gave. An answer that does not hold is event.CodeUnauthorized, its cause
	// wrapped.
	Finish(ctx context.Context, kept []byte, answer url.Values) (authsvc.Identity, error)
}

// The values of a session while its person is at the provider.
const (
	keptFlow  = "oidc"
	keptUntil = "oidc_until" // RFC 3339
	keptLink  = "oidc_link"  // not empty: to link who comes back with the account of the session
)

// flowTime is how long somebody may take at the provider.
const flowTime = 15 * time.Minute

// HasProvider tells whether people can sign in with an identity provider.
func (s *Service) HasProvider() bool { return s.provider != nil }

var errNoProvider = event.Errorf(event.CodeNotFound, "sign-in with an identity provider is not set up here")

// BeginProvider gives the address at which the browser of the session signs in with the provider. redirect is ours, to which it then comes back; next,
// which must be a path of ours, is where the person wants to go. anew: whoever is signed in there already has to prove again who they are. The session
// is saved, and its cookie has to be set.
func (s *Service) BeginProvider(ctx context.Context, session *websession.Session, redirect, next string, anew bool) (address string, err error) {
	return s.beginProvider(ctx, session, redirect, next, anew, "")
}

// BeginLink is BeginProvider to link the identity with which the browser comes back with the account of the session. That the person has proved shortly
// before who they are is for the caller to ask. The provider asks anew, so that nobody links whoever sat at the computer before.
func (s *Service) BeginLink(ctx context.Context, actor *authsvc.Actor, session *websession.Session, redirect, next string) (address string, err error) {
	if err := actor.Require(authsvc.PermOwnAccount, 0); err != nil {
		return "", err
	}
	if actor.Kind != authsvc.ActorPerson || session.UserID != actor.ID {
		return "", authsvc.ErrNoSession
	}
	return s.beginProvider(ctx, session, redirect, next, true, idText(actor.ID))
}

func (s *Service) beginProvider(ctx context.Context, session *websession.Session, redirect, next string, anew bool, link string) (address string, err error) {
	if s.provider == nil {
		return "", errNoProvider
	}
	address, kept, err := s.provider.Begin(ctx, redirect, anew)
	if err != nil {
		return "", err
	}
	if session.Values == nil {
		session.Values = map[string]string{}
	}
	session.Values[keptFlow], session.Values[keptUntil], session.Values[websession.NextPage] = string(kept), s.now().Add(flowTime).Format(time.RFC3339), next
	session.Values[keptLink] = link
	return address, s.sessions.Save(ctx, session)
}

// FinishProvider ends what BeginProvider or BeginLink began by the provider's answer. The session gets a new id and is the person's; its cookie, and the
// device's, have to be set. actor is who the session was before. next is where they wanted to go, which the session keeps while something is missing of the sign-in. What goes wrong is recorded; the errors are those of
// Provider and of authsvc.Store.SignInIdentity and LinkIdentity. How often an address may come is for the caller to limit, where it begins.
func (s *Service) FinishProvider(ctx context.Context, actor *authsvc.Actor, session *websession.Session, answer url.Values, client Client) (result Result, next string, err error) {
	if s.provider == nil {
		return Result{}, "", errNoProvider
	}
	kept, link := session.Values[keptFlow], session.Values[keptLink]
	until, _ := time.Parse(time.RFC3339, session.Values[keptUntil])
	next = session.Values[websession.NextPage]
	if kept == "" || s.now().After(until) {
		return Result{}, "", event.Errorf(event.CodeUnauthorized, "this browser began no sign-in with the identity provider, or it took too long: begin anew")
	}
	// One answer, right or wrong: what belongs to it is taken out of the session before the answer is looked at.
	for _, name := range []string{keptFlow, keptUntil, keptLink, websession.NextPage} {
		delete(session.Values, name)
	}
	if err := s.sessions.Save(ctx, session); err != nil {
		return Result{}, "", err
	}
	id, err := s.provider.Finish(ctx, []byte(kept), answer)
	if err != nil {
		s.noteRefusal(ctx, client, err)
		return Result{}, "", err
	}
	if link != "" {
		if link != idText(session.UserID) || actor.ID != session.UserID {
			return Result{}, "", authsvc.ErrNoSession // somebody else signed in with this browser meanwhile
		}
		if err := s.store.LinkIdentity(ctx, actor, id); err != nil {
			return Result{}, "", err
		}
	}
	userID, err := s.store.SignInIdentity(ctx, nobody(client, id.Email), id, s.rules)
	if err != nil {
		return Result{}, "", err
	}
	result, err = s.SignInVouched(ctx, session, userID, &id, client)
	if errors.Is(err, ErrWrong) {
		err = authsvc.ErrNoAccount // which says nothing of a password
	}
	if err != nil || result.Stage == authsvc.StageDone {
		return result, next, err
	}
	// Something is asked for before they get there: what asks for it finds in the session where they then go on.
	if session.Values == nil {
		session.Values = map[string]string{}
	}
	session.Values[websession.NextPage] = next
	return result, next, s.sessions.Save(ctx, session)
}

// UnlinkIdentity is authsvc.Store.UnlinkIdentity. Where the actor's own is unlinked, session, which may be nil, goes on under a new id, and its
// cookie has to be set.
func (s *Service) UnlinkIdentity(ctx context.Context, actor *authsvc.Actor, session *websession.Session, userID, identityID uint32) error {
	epoch, err := s.store.UnlinkIdentity(ctx, actor, userID, identityID)
	if err != nil || actor.Kind != authsvc.ActorPerson || actor.ID != userID {
		return err
	}
	return s.keepOnly(ctx, userID, session, epoch)
}

// noteRefusal records why a provider's answer did not count. That it cannot be recorded changes nothing for the person.
func (s *Service) noteRefusal(ctx context.Context, client Client, why error) {
	s.log.LogAttrs(ctx, slog.LevelWarn, "a sign-in with the identity provider failed", slog.Any("error", why))
	if event.ErrorCode(why) != event.CodeUnauthorized {
		return // nobody's fault but the provider's
	}
	detail := why.Error()
	if cause := errors.Unwrap(why); cause != nil {
		detail = cause.Error()
	}
	err := s.store.Record(ctx, nobody(client, ""), authsvc.Entry{Action: "session.sign_in", Outcome: authsvc.Failed, TargetKind: "user", Detail: "by oidc: " + detail})
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "a failed sign-in was not recorded", slog.Any("error", err))
	}
}
