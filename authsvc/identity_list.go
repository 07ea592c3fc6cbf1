package authsvc

import (
	"context"
	"errors"
	"time"

	"gatehouse/event"
)

// LinkedIdentity is an identity of a provider by which a person signs in.
type LinkedIdentity struct {
	ID      uint32
	Issuer  string
	Subject string
	Linked  time.Time
}

const (
	listIdentities = `SELECT id, issuer, subject, created_at FROM user_identities WHERE user_id = ? ORDER BY id`
	deleteIdentity = `DELETE FROM user_identities WHERE user_id = ? AND id = ?`
)

// mayLink asks whether the actor may see and take away by which identities a person signs in: their own, or those of somebody below them.
func (a *Actor) mayLink(u *User) error {
	if a.is(u.ID) {
		return a.Require(PermOwnAccount, 0)
	}
	return a.below(u)
}

// Identities lists the identities that are linked with a person's account, by id.
func (s *Store) Identities(ctx context.Context, actor *Actor, userID uint32) ([]LinkedIdentity, error) {
	if actor.Stage != StageDone {
		return nil, actor.stageError()
	}
	u, err := s.user(ctx, s.db, userID)
	if err == nil {
		err = actor.mayLink(&u)
	}
	if err != nil {
		return nil, fail(err, "list identities")
	}
	list, err := s.identities(ctx, s.db, userID)
	return list, fail(err, "list identities")
}

func (s *Store) identities(ctx context.Context, q querier, userID uint32) (list []LinkedIdentity, err error) {
	rows, err := q.Query(ctx, listIdentities, userID)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var l LinkedIdentity
		var linked int64
		if err := rows.Scan(&l.ID, &l.Issuer, &l.Subject, &linked); err != nil {
			return nil, err
		}
		l.Linked = time.UnixMilli(linked).UTC()
		list = append(list, l)
	}
	return list, rows.Err()
}

// UnlinkIdentity takes an identity away from a person, whose sessions and program tokens end. Done by somebody else it ends personal tokens too, which
// whoever came by the identity may have made. epoch is the person's new one. One's own last way in is CodeConflict; one that is not the
// person's is CodeNotFound.
func (s *Store) UnlinkIdentity(ctx context.Context, actor *Actor, userID, identityID uint32) (epoch int64, err error) {
	if actor.Stage != StageDone {
		return 0, actor.stageError()
	}
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error {
		u, err := s.user(ctx, tx, userID)
		if err != nil {
			return err
		}
		if err := actor.mayLink(&u); err != nil {
			return err
		}
		linked, err := s.identities(ctx, tx, userID)
		if err != nil {
			return err
		}
		for i := range linked {
			if linked[i].ID != identityID {
				continue
			}
			if actor.is(userID) && len(linked) == 1 && !u.Password {
				return event.Errorf(event.CodeConflict, "you have no password, so this is your only way to sign in: set a password first")
			}
			if !actor.is(userID) {
				if _, err := tx.Exec(ctx, revokeTokens, millis(tx.now), userID); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, raiseEpoch, userID); err != nil {
				return err
			}
			if err := tx.QueryRow(ctx, selectEpoch, userID).Scan(&epoch); err != nil {
				return err
			}
			return tx.unlink(ctx, &u, &linked[i])
		}
		return event.Errorf(event.CodeNotFound, "there is no identity with id %d in this account", identityID)
	})
	return epoch, fail(err, "unlink an identity")
}

// dropIdentities takes all identities of a person away. The epoch is for the caller to raise.
func (s *Store) dropIdentities(ctx context.Context, tx *auditedTx, u *User) error {
	linked, err := s.identities(ctx, tx, u.ID)
	if err != nil {
		return err
	}
	for i := range linked {
		if err := tx.unlink(ctx, u, &linked[i]); err != nil {
			return err
		}
	}
	return nil
}

func (tx *auditedTx) unlink(ctx context.Context, u *User, l *LinkedIdentity) error {
	if _, err := tx.Exec(ctx, deleteIdentity, u.ID, l.ID); err != nil {
		return err
	}
	e := u.target("identity.unlink")
	e.Detail = l.Issuer + " as " + l.Subject
	return tx.record(ctx, e)
}
