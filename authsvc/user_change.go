package authsvc

import (
	"context"

	"gatehouse/event"
)

// UserChange is what is to be different about a person; nil leaves a field as it is.
type UserChange struct {
	Username    *string
	Email       *string
	DisplayName *string
	Role        *Role // over all companies
	MFAPolicy   *MFAPolicy
}

const (
	updatePerson = `UPDATE users SET username = ?, username_key = ?, email = ?, email_key = ?, display_name = ?, role = ?, mfa_policy = ? WHERE id = ?`
	// COALESCE keeps the first time: disabling twice must not look like one that happened today.
	disablePerson = `UPDATE users SET disabled_at = COALESCE(disabled_at, ?), epoch = epoch + 1 WHERE id = ?`
	enablePerson  = `UPDATE users SET disabled_at = NULL WHERE id = ?`
	approvePerson = `UPDATE users SET approved_at = ? WHERE id = ?`
	resetHash     = `UPDATE users SET password_hash = ?, must_change_password = ?, password_changed_at = ?, totp_pending = NULL, epoch = epoch + 1 WHERE id = ?`
	resetFactors  = `UPDATE users SET totp_secret = NULL, totp_pending = NULL, totp_step = 0, epoch = epoch + 1 WHERE id = ?`
	revokeTokens  = `UPDATE personal_tokens SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL`
	deletePerson  = `DELETE FROM users WHERE id = ?`
	// Those who can sign in for certain: with a password that is their own, or by an identity provider. A temporary one becomes too old, and may never have
	// reached its owner.
	otherAdmins = `SELECT COUNT(*) FROM users u WHERE u.role = 'GlobalAdmin' AND u.disabled_at IS NULL AND u.approved_at IS NOT NULL AND u.id <> ? AND (
    u.password_hash <> '` + noPassword + `' AND u.must_change_password = 0 OR u.id IN (SELECT i.user_id FROM user_identities i))`
)

// changeUser runs fn for a person whom allowed lets the actor change, and records the act. before holds all memberships; what is
// returned only those that the actor may know of.
func (s *Store) changeUser(ctx context.Context, actor *Actor, userID uint32, action string, allowed func(*User) error, fn func(*auditedTx, *User) error) (User, error) {
	if actor.Stage != StageDone {
		return User{}, actor.stageError()
	}
	var u User
	err := s.changePeople(ctx, actor, func(tx *auditedTx) error {
		before, err := s.user(ctx, tx, userID)
		if err != nil {
			return err
		}
		if err := allowed(&before); err != nil {
			return err
		}
		if err := fn(tx, &before); err != nil {
			return err
		}
		if u, err = s.user(ctx, tx, userID); err != nil {
			return err
		}
		if err := tx.record(ctx, u.entry(action, &before)); err != nil {
			return err
		}
		return actor.see(&u)
	})
	if err != nil {
		return User{}, fail(err, "change person")
	}
	return u, nil
}

// below is what most changes ask for.
func (a *Actor) below(u *User) error { return a.mayChange(PermChangePerson, u) }

// notThemselves keeps people from getting around what their own profile asks them for.
func (a *Actor) notThemselves(u *User, instead string) error {
	if err := a.below(u); err != nil {
		return err
	}
	if a.is(u.ID) {
		return event.Errorf(event.CodeForbidden, "this is your own account: %s", instead)
	}
	return nil
}

// UpdateUser changes a person's names, e-mail, role over all companies or second-factor policy. Everybody may change their own display name.
// A new role ends the person's sessions and programs at once, a higher one their personal tokens too.
func (s *Store) UpdateUser(ctx context.Context, actor *Actor, userID uint32, c UserChange) (User, error) {
	onlyName := c.Username == nil && c.Email == nil && c.Role == nil && c.MFAPolicy == nil
	return s.changeUser(ctx, actor, userID, "user.change", func(u *User) error {
		if onlyName && actor.is(u.ID) {
			return actor.Require(PermOwnAccount, 0)
		}
		return actor.mayUpdate(u, c)
	}, func(tx *auditedTx, u *User) error {
		next := *u
		if err := next.apply(c); err != nil {
			return err
		}
		usernameKey := nameKey(next.Username)
		_, emailKey, err := cleanEmail(next.Email)
		if err != nil {
			return err
		}
		if err := s.nameFree(ctx, tx, usernameKey, emailKey, u.ID); err != nil {
			return err
		}
		if next.Role != u.Role {
			if err := s.changeRole(ctx, tx, u, next.Role); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, updatePerson, next.Username, usernameKey, next.Email, emailKey, next.DisplayName, string(next.Role), string(next.MFAPolicy), u.ID)
		return err
	})
}

func (a *Actor) mayUpdate(u *User, c UserChange) error {
	if err := a.below(u); err != nil {
		return err
	}
	if c.Role != nil && *c.Role != u.Role {
		if err := a.Require(PermGrantGlobal, 0); err != nil {
			return err
		}
	}
	if c.MFAPolicy == nil || *c.MFAPolicy == u.MFAPolicy || a.Can(PermChangeSettings, 0) {
		return nil
	}
	if a.is(u.ID) {
		return notAbove()
	}
	if u.MFAPolicy == MFARequired { // somebody has decided so: no administrator of a company takes it back
		return a.Require(PermChangeSettings, 0)
	}
	return a.mayExempt(*c.MFAPolicy)
}

// apply checks the new values and puts them in.
func (u *User) apply(c UserChange) (err error) {
	if c.Username != nil {
		if u.Username, _, err = cleanUsername(*c.Username); err != nil {
			return err
		}
	}
	if c.Email != nil {
		if u.Email, _, err = cleanEmail(*c.Email); err != nil {
			return err
		}
	}
	if c.DisplayName != nil {
		if u.DisplayName, err = cleanDisplayName(*c.DisplayName); err != nil {
			return err
		}
	}
	if c.Role != nil {
		if u.Role, err = ParseGlobalRole(string(*c.Role)); err != nil {
			return err
		}
	}
	if c.MFAPolicy != nil {
		u.MFAPolicy, err = ParseMFAPolicy(string(*c.MFAPolicy))
	}
	return err
}

// changeRole does what belongs to a new role besides writing it. Sessions and programs end, and with a higher one personal tokens too: one that somebody
// else planted in the account of a User must not become an administrator's.
func (s *Store) changeRole(ctx context.Context, tx *auditedTx, u *User, role Role) error {
	if err := s.keepGlobalAdmin(ctx, tx, u); err != nil {
		return err
	}
	if role == RoleUser {
		if err := endAssignments(ctx, tx, u); err != nil {
			return err
		}
	}
	return tx.endSessions(ctx, u.ID, role.Outranks(u.Role))
}

// keepGlobalAdmin fails when the person is the last GlobalAdmin who can sign in, and is about to be that no longer. The lock of the audit trail
// makes it certain: whoever takes another one away has to wait.
func (s *Store) keepGlobalAdmin(ctx context.Context, tx *auditedTx, u *User) error {
	if u.Role != RoleGlobalAdmin || u.State() != UserActive {
		return nil
	}
	var others int
	if err := tx.QueryRow(ctx, otherAdmins, u.ID).Scan(&others); err != nil {
		return err
	}
	if others == 0 {
		return event.Errorf(event.CodeConflict, "this is the last active %s who can sign in: make another one first, who chooses a password of their own", RoleGlobalAdmin)
	}
	return nil
}

// ApproveUser lets a person sign in who registered by themselves, and gives them their first memberships. Somebody who is not waiting is
// CodeConflict.
func (s *Store) ApproveUser(ctx context.Context, actor *Actor, userID uint32, grants []Grant) (User, error) {
	return s.changeUser(ctx, actor, userID, "user.approve", actor.below, func(tx *auditedTx, u *User) error {
		if !u.Approved.IsZero() {
			return event.Errorf(event.CodeConflict, "this person is not waiting for approval")
		}
		for _, g := range grants {
			if err := actor.mayGrant(u, g); err != nil {
				return err
			}
			if err := s.setMembership(ctx, tx, u, g); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, approvePerson, millis(tx.now), u.ID)
		return err
	})
}

// DisableUser keeps a person from signing in and ends their sessions and programs at once. Personal tokens stop until EnableUser. The account stays.
func (s *Store) DisableUser(ctx context.Context, actor *Actor, userID uint32) (User, error) {
	return s.changeUser(ctx, actor, userID, "user.disable", actor.below, func(tx *auditedTx, u *User) error {
		if err := s.keepGlobalAdmin(ctx, tx, u); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, disablePerson, millis(tx.now), u.ID)
		return err
	})
}

// EnableUser lets a disabled person sign in again.
func (s *Store) EnableUser(ctx context.Context, actor *Actor, userID uint32) (User, error) {
	return s.changeUser(ctx, actor, userID, "user.enable", actor.below, func(tx *auditedTx, u *User) error {
		_, err := tx.Exec(ctx, enablePerson, u.ID)
		return err
	})
}

// ResetPassword gives a person another password, ends their sessions and tokens, personal ones too, and unlinks the identities of a provider: the new
// password is the one way in. Without a given one it makes a
// temporary one, which is in the result and nowhere else. Either way the person must change it. Nobody resets their own.
func (s *Store) ResetPassword(ctx context.Context, actor *Actor, userID uint32, given string) (User, string, error) {
	allowed := func(u *User) error {
		return actor.notThemselves(u, "change your password in your profile, which asks for the present one")
	}
	if actor.Stage != StageDone {
		return User{}, "", actor.stageError()
	}
	// Once before the hash, which is work, and again within the transaction.
	u, err := s.user(ctx, s.db, userID)
	if err != nil {
		return User{}, "", fail(err, "reset the password")
	}
	if err := allowed(&u); err != nil {
		return User{}, "", err
	}
	temporary := ""
	if given == "" {
		if temporary, err = s.temporaryPassword(); err != nil {
			return User{}, "", fail(err, "reset the password")
		}
	}
	others := []string{u.Username, u.Email, u.DisplayName}
	for _, m := range u.Memberships[:min(len(u.Memberships), MaxNamedCompanies)] {
		others = append(others, m.CompanyName)
	}
	hash, err := s.newHash(ctx, given, temporary, others...)
	if err != nil {
		return User{}, "", err
	}
	u, err = s.changeUser(ctx, actor, userID, "password.reset", allowed, func(tx *auditedTx, u *User) error {
		if _, err := tx.Exec(ctx, resetHash, hash, smallint(true), millis(tx.now), u.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, revokeTokens, millis(tx.now), u.ID); err != nil {
			return err
		}
		// The account has a password that somebody else knows: claims of a provider must not give it more. See LinkIdentity.
		if err := s.dropIdentities(ctx, tx, u); err != nil {
			return err
		}
		// Who was locked out by somebody's guessing is let in with it.
		return clearLockout(ctx, tx.Tx, AccountSubject(u.ID))
	})
	if err != nil {
		return User{}, "", err
	}
	return u, temporary, nil
}

// ResetMFA takes a person's authenticator app, recovery codes and passkeys away, for when they are lost or stolen, and ends their sessions and
// tokens, personal ones too. Identities of a provider stay, as the password does: they are no second factor. Nobody resets their own.
func (s *Store) ResetMFA(ctx context.Context, actor *Actor, userID uint32) (User, error) {
	return s.changeUser(ctx, actor, userID, "mfa.reset", func(u *User) error {
		return actor.notThemselves(u, "change your second factor in your profile, which asks for it")
	}, func(tx *auditedTx, u *User) error {
		return tx.takeFactors(ctx, u.ID)
	})
}

// ofPerson are the rows that go with a person, in an order in which they can be deleted. What the audit trail says of them stays.
var ofPerson = []string{
	`DELETE FROM memberships WHERE user_id = ?`,
	`DELETE FROM recovery_codes WHERE user_id = ?`,
	`DELETE FROM webauthn_credentials WHERE user_id = ?`,
	`DELETE FROM user_identities WHERE user_id = ?`,
	`DELETE FROM web_sessions WHERE user_id = ?`,
	`DELETE FROM refresh_tokens WHERE user_id = ?`,
	`DELETE FROM personal_tokens WHERE user_id = ?`,
	deletePerson,
}

// DeleteUser removes an account with all that belongs to it. The audit trail keeps the name.
func (s *Store) DeleteUser(ctx context.Context, actor *Actor, userID uint32) error {
	if err := actor.Require(PermDeletePerson, 0); err != nil {
		return err
	}
	return fail(s.changePeople(ctx, actor, func(tx *auditedTx) error {
		u, err := s.user(ctx, tx, userID)
		if err != nil {
			return err
		}
		if err := s.keepGlobalAdmin(ctx, tx, &u); err != nil {
			return err
		}
		for _, statement := range ofPerson {
			if _, err := tx.Exec(ctx, statement, userID); err != nil {
				return err
			}
		}
		// One for each company, where its administrators look for who could reach it.
		for i := range u.Memberships {
			entry := membershipEntry("membership.remove", &u, u.Memberships[i].CompanyID)
			entry.Before, entry.Detail = u.Memberships[i].record(), "with the account"
			if err := tx.record(ctx, entry); err != nil {
				return err
			}
		}
		entry := u.target("user.delete")
		entry.Before = u.record()
		return tx.record(ctx, entry)
	}), "delete person")
}
