package signin

import (
	"context"
	"errors"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// ErrConfirm is the answer to who changes what proves who they are, signed in some time ago, and does not give their password.
var ErrConfirm = event.FieldError("password", "give your password to confirm that it is you; after several wrong tries further ones are refused for a while")

// ErrProveAnew is ErrConfirm for who has no password: the identity provider has to say that it is them.
var ErrProveAnew = event.FieldError("password", "you have none here: sign in with the identity provider again to confirm that it is you, and then repeat this")

// ConfirmPassword checks the password of somebody who is signed in, before they change what a session left open must not be enough for. Wrong
// ones count like wrong old passwords. The errors are ErrConfirm, ErrProveAnew and *limit.Exceeded.
func (s *Service) ConfirmPassword(ctx context.Context, actor *authsvc.Actor, password string) error {
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
	err = s.endOldPassword(ctx, actor, set, &c, right)
	if errors.Is(err, authsvc.ErrOldPassword) {
		return ErrConfirm
	}
	return err
}
