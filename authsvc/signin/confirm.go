package signin

import (
	"context"
	"errors"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// The answers to who changes what proves who they are, signed in some time ago, and does not confirm that it is them.
var (
	ErrConfirm     = event.FieldError("password", "give your password to confirm that it is you; after several wrong tries further ones are refused for a while")
	ErrConfirmCode = event.FieldError("code", "give a code of your authenticator app, or a recovery code, that you have not used; after several wrong ones further tries are refused for a while")
)

// ErrProveAnew is ErrConfirm for who has no password: the identity provider has to say that it is them.
var ErrProveAnew = event.FieldError("password", "you have none here: sign in with the identity provider again to confirm that it is you, and then repeat this")

// Confirm checks the password of somebody who is signed in, and a code where they have a second factor, before they change what a session left open must
// not be enough for. Wrong ones count like wrong old passwords and wrong second factors. Who has passkeys alone gives a recovery code, or signs in
// anew. The errors are ErrConfirm, ErrConfirmCode, ErrProveAnew and *limit.Exceeded.
func (s *Service) Confirm(ctx context.Context, actor *authsvc.Actor, password, code string) error {
	if err := actor.Require(authsvc.PermOwnAccount, 0); err != nil {
		return err
	}
	c, err := s.store.CredentialOfID(ctx, actor.ID)
	switch {
	case err != nil:
		return err
	case !c.HasPassword():
		return ErrProveAnew
	case password == "":
		return ErrConfirm
	}
	if _, err := s.guard.Check(ctx, limitChange, idText(actor.ID), s.limit); err != nil {
		return err
	}
	set, err := s.settings(ctx)
	if err != nil {
		return err
	}
	right, err := s.passwords.Verify(ctx, c.PasswordHash, password)
	if err != nil {
		return err
	}
	success, failure := c.Entry("session.confirm"), c.Entry("session.confirm")
	success.Detail, failure.Detail = "the password", "wrong password"
	ok, err := s.store.EndAttempt(ctx, actor, authsvc.Attempt{
		Subject: authsvc.ChangeSubject(c.UserID), Lockout: lockout(set), Right: right, Person: actor, Success: success, Failure: failure,
	})
	switch {
	case err != nil:
		return err
	case !ok:
		return ErrConfirm
	case !c.SecondFactor():
		return nil
	}
	return s.confirmCode(ctx, actor, &c, code)
}

func (s *Service) confirmCode(ctx context.Context, actor *authsvc.Actor, c *authsvc.Credential, code string) error {
	if code == "" {
		return ErrConfirmCode
	}
	if _, err := s.guard.Check(ctx, limitFactor, idText(c.UserID), s.limit); err != nil {
		return err
	}
	_, err := s.checkFactor(ctx, actor, c, Proof{Code: code}, factorUse{actor, "session.confirm", "session.confirm", false})
	if errors.Is(err, ErrWrongFactor) {
		return ErrConfirmCode
	}
	return err
}
