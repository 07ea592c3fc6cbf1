package authsvc

import "context"

const raiseEveryEpoch = `UPDATE users SET epoch = epoch + 1`

const revokeEveryToken = `UPDATE personal_tokens SET revoked_at = ? WHERE revoked_at IS NULL`

// MaySignOut asks whether the actor may see and end a person's sessions: whoever may change the account may.
func (s *Store) MaySignOut(ctx context.Context, actor *Actor, userID uint32) error {
	if actor.Stage != StageDone {
		return actor.stageError()
	}
	u, err := s.user(ctx, s.db, userID)
	if err != nil {
		return fail(err, "read person")
	}
	return actor.below(&u)
}

// SignOutUser ends a person's sessions and programs at once, wherever sessions are kept; tokens: their personal tokens too. They can sign in again.
func (s *Store) SignOutUser(ctx context.Context, actor *Actor, userID uint32, tokens bool) (User, error) {
	if actor.Stage != StageDone {
		return User{}, actor.stageError()
	}
	var u User
	err := s.changePeople(ctx, actor, func(tx *auditedTx) (err error) {
		if u, err = s.user(ctx, tx, userID); err != nil {
			return err
		}
		if err := actor.below(&u); err != nil {
			return err
		}
		if err := tx.endSessions(ctx, u.ID, tokens); err != nil {
			return err
		}
		e := u.target("session.end")
		e.Detail = signedOut("signed out everywhere by an administrator", tokens)
		if err := tx.record(ctx, e); err != nil {
			return err
		}
		return actor.see(&u)
	})
	if err != nil {
		return User{}, fail(err, "sign a person out")
	}
	return u, nil
}

// SignOutEverybody ends all sessions and programs of all people, the actor's own too; tokens: all personal tokens as well. API keys go on.
func (s *Store) SignOutEverybody(ctx context.Context, actor *Actor, tokens bool) error {
	if err := actor.Require(PermEndSessions, 0); err != nil {
		return err
	}
	return fail(s.changePeople(ctx, actor, func(tx *auditedTx) error {
		if _, err := tx.Exec(ctx, raiseEveryEpoch); err != nil {
			return err
		}
		if tokens {
			if _, err := tx.Exec(ctx, revokeEveryToken, millis(tx.now)); err != nil {
				return err
			}
		}
		return tx.record(ctx, Entry{Action: "session.end_all", TargetKind: "session", Detail: signedOut("everybody is signed out", tokens)})
	}), "sign everybody out")
}
