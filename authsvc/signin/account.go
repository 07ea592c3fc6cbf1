package signin

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// ChangePassword gives the actor a new password in the place of the old one, which must be given. All of their sessions and tokens end, personal ones too;
// session, which may be nil, goes on under a new id, and its cookie has to be set.
//
// Who has no password yet gives no old one, and must have signed in shortly before: else it is ErrProveAnew.
//
// The errors are field errors of "old_password" and "password", and *limit.Exceeded.
func (s *Service) ChangePassword(ctx context.Context, actor *authsvc.Actor, session *websession.Session, oldPassword, newPassword string) error {
	switch {
	case actor.Kind != authsvc.ActorPerson:
		return event.Errorf(event.CodeForbidden, "only a person has a password")
	case actor.Stage == authsvc.StageChangePassword: // it is what they have to do
	default:
		if err := actor.Require(authsvc.PermOwnAccount, 0); err != nil {
			return err
		}
	}
	if _, err := s.guard.Check(ctx, limitChange, idText(actor.ID), s.limit); err != nil {
		return err
	}
	set, err := s.settings(ctx)
	if err != nil {
		return err
	}
	c, err := s.store.CredentialOfID(ctx, actor.ID)
	if err != nil {
		return err
	}
	// The new one is looked at first: a person who chose a bad one should not have to wait for the old one to be checked, and learns nothing by it.
	if err := s.checkNew(ctx, actor, set, &c, newPassword); err != nil {
		return err
	}
	if norm.NFKC.String(oldPassword) == norm.NFKC.String(newPassword) {
		return event.FieldError("password", "must differ from the old one")
	}
	if err := s.provedBefore(ctx, actor, session, set, &c, oldPassword); err != nil {
		return err
	}
	hash, err := s.passwords.Hash(ctx, newPassword)
	if err != nil {
		return err
	}
	epoch, err := s.store.ChangeOwnPassword(ctx, actor, &c, hash)
	if err != nil {
		return err
	}
	return s.keepOnly(ctx, actor.ID, session, epoch)
}

// provedBefore asks for the old password or, where there is none, for a sign-in a short while ago.
func (s *Service) provedBefore(ctx context.Context, actor *authsvc.Actor, session *websession.Session, set authsvc.Settings, c *authsvc.Credential, oldPassword string) error {
	if !c.HasPassword() {
		if session == nil || !session.Recent(s.now()) {
			return ErrProveAnew
		}
		return nil
	}
	right, err := s.passwords.Verify(ctx, c.PasswordHash, oldPassword)
	if err != nil {
		return err
	}
	return s.endOldPassword(ctx, actor, set, c, right)
}

// endOldPassword counts wrong old passwords, so that a session left open is no way to guess one.
func (s *Service) endOldPassword(ctx context.Context, actor *authsvc.Actor, set authsvc.Settings, c *authsvc.Credential, right bool) error {
	if right {
		until, err := s.store.LockedUntil(ctx, authsvc.ChangeSubject(c.UserID))
		if err != nil {
			return err
		}
		if until.IsZero() {
			return nil
		}
	}
	failure := c.Entry("password.change")
	failure.Detail = "wrong old password"
	if _, err := s.store.EndAttempt(ctx, actor, authsvc.Attempt{
		Subject: authsvc.ChangeSubject(c.UserID), Lockout: lockout(set), Failure: failure,
	}); err != nil {
		return err
	}
	return authsvc.ErrOldPassword
}

// checkNew holds a new password to the policy.
func (s *Service) checkNew(ctx context.Context, actor *authsvc.Actor, set authsvc.Settings, c *authsvc.Credential, newPassword string) error {
	personal := []string{c.Username, c.DisplayName, c.Email}
	companies := make([]uint32, 0, len(actor.Members))
	for id := range actor.Members {
		companies = append(companies, id)
	}
	slices.Sort(companies)
	for _, id := range companies[:min(len(companies), authsvc.MaxNamedCompanies)] {
		company, err := s.store.Company(ctx, id)
		if err != nil {
			return err
		}
		personal = append(personal, company.Name)
	}
	return set.PasswordPolicy().Check(newPassword, personal...)
}

// keepOnly ends a person's sessions but one, which goes on in the new epoch under a new id.
func (s *Service) keepOnly(ctx context.Context, userID uint32, session *websession.Session, epoch int64) error {
	if err := s.sessions.EndAll(ctx, userID, session); err != nil || session == nil {
		return err
	}
	session.Epoch = epoch
	return s.sessions.Rotate(ctx, session)
}

// SignOut ends the session of the request. One that nobody has signed in to is ended without an entry.
func (s *Service) SignOut(ctx context.Context, actor *authsvc.Actor, session *websession.Session) error {
	if session.UserID == 0 {
		return s.sessions.End(ctx, session)
	}
	if err := s.recordOwn(ctx, actor, "session.sign_out", session.Ref(), ""); err != nil {
		return err
	}
	return s.ended(ctx, actor, "session.sign_out", session.Ref(), s.sessions.End(ctx, session))
}

// SignOutEverywhere ends all sessions and programs of the actor, with tokens their personal access tokens too. keep, which may be nil, goes on under a new
// id, and its cookie has to be set.
func (s *Service) SignOutEverywhere(ctx context.Context, actor *authsvc.Actor, keep *websession.Session, tokens bool) error {
	c, err := s.store.CredentialOfID(ctx, actor.ID)
	if err != nil {
		return err
	}
	epoch, err := s.store.EndOwnSessions(ctx, actor, &c, tokens)
	if err != nil {
		return err
	}
	return s.keepOnly(ctx, actor.ID, keep, epoch)
}

// SessionsOf lists a page of the sessions of a person below the actor, as their own list shows them.
func (s *Service) SessionsOf(ctx context.Context, actor *authsvc.Actor, userID uint32, page authsvc.Page) ([]websession.Info, string, error) {
	if err := s.store.MaySignOut(ctx, actor, userID); err != nil {
		return nil, "", err
	}
	return s.sessions.List(ctx, userID, page)
}

// EndSessionsOf ends all sessions and programs of a person below the actor, with tokens their personal access tokens too.
func (s *Service) EndSessionsOf(ctx context.Context, actor *authsvc.Actor, userID uint32, tokens bool) error {
	if _, err := s.store.SignOutUser(ctx, actor, userID, tokens); err != nil {
		return err
	}
	return s.sessions.EndAll(ctx, userID, nil) // they count no more; there is no need to keep them
}

// EndSession ends one of the actor's own sessions, by the ref that the list shows. Another's is CodeNotFound.
func (s *Service) EndSession(ctx context.Context, actor *authsvc.Actor, ref string) error {
	if err := actor.Require(authsvc.PermOwnAccount, 0); err != nil {
		return err
	}
	if actor.Kind != authsvc.ActorPerson {
		return event.Errorf(event.CodeForbidden, "only a person has sessions")
	}
	ref = strings.ToLower(ref)
	recorded := false
	err := s.sessions.EndByRef(ctx, actor.ID, ref, func() error {
		recorded = true
		return s.recordOwn(ctx, actor, "session.end", ref, "")
	})
	if !recorded {
		return err
	}
	return s.ended(ctx, actor, "session.end", ref, err)
}

// ended adds to the entry that a session ends, which is there before it does, that it did not. Sessions may be kept in Redis, where no transaction
// holds both: so none ends without an entry, and an entry may be of one that has not.
func (s *Service) ended(ctx context.Context, actor *authsvc.Actor, action, ref string, err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(err, s.recordOwn(ctx, actor, action, ref, "it did not end: its store failed"))
}

// recordOwn records what somebody does to a session of theirs; failed says why it was not done.
func (s *Service) recordOwn(ctx context.Context, actor *authsvc.Actor, action, ref, failed string) error {
	c, err := s.store.CredentialOfID(ctx, actor.ID)
	if err != nil {
		return err
	}
	e := authsvc.Entry{Action: action, Company: c.Company, TargetKind: "session", TargetID: ref, TargetName: c.Username, Detail: failed}
	if failed != "" {
		e.Outcome = authsvc.Failed
	}
	return s.store.Record(ctx, actor, e)
}
