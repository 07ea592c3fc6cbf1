package authsvc

import (
	"context"

	"gatehouse/event"
)

// takePassword leaves an account without a password, so that none need be changed either.
const takePassword = `UPDATE users SET password_hash = '` + noPassword + `', must_change_password = 0 WHERE id = ?`

// LinkIdentity makes an identity of a provider the actor's: from now on they sign in with it, and its claims give and take roles. The actor must
// have proved shortly before who they are, which is for the caller to see to.
//
// Whoever made the account, or reset its password, may know that password and hold tokens, and must not rise with the person when the claims give more
// than they themselves may give. So what proved who the person is until now is taken away in the same moment: password, second factors, recovery
// codes, tokens and sessions. What they set up afterwards is theirs alone; ResetPassword unlinks, so that it stays so.
//
// An identity that is somebody's, and an account that has one, are CodeConflict.
func (s *Store) LinkIdentity(ctx context.Context, actor *Actor, id Identity) error {
	if err := id.check(); err != nil {
		return err
	}
	if err := actor.own(actor.ID, StageDone); err != nil {
		return err
	}
	return fail(s.changePeople(ctx, actor, func(tx *auditedTx) error {
		u, err := s.user(ctx, tx, actor.ID)
		if err != nil {
			return err
		}
		holder, err := holderOf(ctx, tx, &id)
		if err != nil {
			return err
		}
		var linked int
		if err := tx.QueryRow(ctx, countIdentities, u.ID).Scan(&linked); err != nil {
			return err
		}
		switch {
		case holder != 0 && holder != u.ID:
			return event.Errorf(event.CodeConflict, "this identity is linked with another account here")
		case linked > 0:
			return event.Errorf(event.CodeConflict, "your account is linked with an identity already: unlink that one first")
		}
		if _, err := tx.Exec(ctx, takePassword, u.ID); err != nil {
			return err
		}
		if err := tx.takeFactors(ctx, u.ID); err != nil {
			return err
		}
		return s.link(ctx, tx, &u, &id)
	}), "link an identity")
}

// link writes an identity of an account, which has no other proof of who its owner is.
func (s *Store) link(ctx context.Context, tx *auditedTx, u *User, id *Identity) error {
	if _, err := tx.Exec(ctx, insertIdentity, u.ID, id.Issuer, id.Subject, id.hash(), millis(tx.now)); err != nil {
		return err
	}
	e := u.target("identity.link")
	e.Detail = id.Issuer + " as " + id.Subject
	return tx.record(ctx, e)
}

// takeFactors takes a person's second factors and recovery codes away, and ends their sessions and tokens.
func (tx *auditedTx) takeFactors(ctx context.Context, userID uint32) error {
	for _, statement := range []string{resetFactors, deleteRecovery, `DELETE FROM webauthn_credentials WHERE user_id = ?`} {
		if _, err := tx.Exec(ctx, statement, userID); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, revokeTokens, millis(tx.now), userID)
	return err
}
