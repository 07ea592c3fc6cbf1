package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// Credential is what a sign-in needs to know of a person. It is for package signin: the hash must go nowhere else.
type Credential struct {
	UserID          uint32
	Username        string
	Email           string
	DisplayName     string
	PasswordHash    string
	MustChange      bool
	PasswordChanged time.Time // zero: never since the account was made
	Disabled        bool
	Waiting         bool // registered, not yet approved
	Epoch           int64
	MFAPolicy       MFAPolicy
	TOTP            bool // an authenticator app is set up
	Passkeys        int
	LastAddress     netip.Addr // of the last sign-in that was right; the zero Addr: there was none, or it came from none
	Company         uint32     // whose administrators may see their sign-ins: of a User who belongs to one alone, else 0
}

// SecondFactor tells whether the person has one.
func (c *Credential) SecondFactor() bool { return c.TOTP || c.Passkeys > 0 }

// HasPassword tells whether the person has one: who signs in with an identity provider may have none.
func (c *Credential) HasPassword() bool { return c.PasswordHash != noPassword }

// Stage is how far the person has come. given: their second factor has been given, here or to who vouches for them; required: the setting that asks for one from everybody who is not
// excepted.
func (c *Credential) Stage(given, required bool) Stage {
	if c.MFAPolicy != MFAInherit {
		required = c.MFAPolicy != MFANotRequired
	}
	return stageOf(c.MustChange, c.SecondFactor(), required, given, given)
}

const (
	selectWhoSignsIn = `SELECT u.id, u.username, u.email, u.display_name, u.password_hash, u.must_change_password, u.password_changed_at, u.disabled_at, u.approved_at,
    u.epoch, u.mfa_policy, u.last_login_ip, CASE WHEN u.totp_secret IS NULL THEN 0 ELSE 1 END,
    (SELECT COUNT(*) FROM webauthn_credentials w WHERE w.user_id = u.id),
    u.role, (SELECT MIN(m.company_id) FROM memberships m WHERE m.user_id = u.id), (SELECT MAX(m.company_id) FROM memberships m WHERE m.user_id = u.id)
    FROM users u`
	whoByName  = selectWhoSignsIn + ` WHERE u.username_key = ?`
	whoByEmail = selectWhoSignsIn + ` WHERE u.email_key = ?`
	whoByID    = selectWhoSignsIn + ` WHERE u.id = ?`
)

// LoginKey is the form in which what people sign in with is compared: a username or an e-mail.
func LoginKey(login string) string {
	return clip(nameKey(strings.ToValidUTF8(login, "\uFFFD")), maxNameKey)
}

// TriedName is how the audit trail shows a name with which nobody can sign in. People type passwords there, and the trail forgets nothing: only what
// has the form of an e-mail is shown whole. Of everything else there are two characters, the length, and a keyed hash by which equal ones are known.
func TriedName(sealer *Sealer, login string) string {
	clean, _, err := cleanEmail(login)
	if host := clean[strings.LastIndexByte(clean, '@')+1:]; err == nil && mailHost.MatchString(host) {
		return clean
	}
	shown := []rune(strings.ToValidUTF8(strings.TrimSpace(login), "\uFFFD"))
	return fmt.Sprintf("%s… (%d characters, %s)", string(shown[:min(2, len(shown))]), len(shown), sealer.MAC(PurposeTried, LoginKey(login))[:16])
}

// mailHost is what a domain that takes mail looks like: it ends in a name of letters.
var mailHost = regexp.MustCompile(`^\S+\.(\p{L}{2,}|xn--\S+)$`)

// CredentialOf finds a person by what they sign in with, a username or an e-mail, as LoginKey gives it. Nobody is CodeNotFound; whoever asks must not let that be
// seen.
func (s *Store) CredentialOf(ctx context.Context, loginKey string) (Credential, error) {
	// Usernames have no @ and e-mails have one, so that nobody's name can be another's e-mail.
	query := whoByName
	if isEmail(loginKey) {
		query = whoByEmail
	}
	return s.credential(s.db.QueryRow(ctx, query, loginKey))
}

// CredentialOfID finds a person by id; nobody is CodeNotFound.
func (s *Store) CredentialOfID(ctx context.Context, userID uint32) (Credential, error) {
	return s.credential(s.db.QueryRow(ctx, whoByID, userID))
}

func (s *Store) credential(row *sql.Row) (Credential, error) {
	var c Credential
	var changed, disabled, approved *int64
	var least, most *uint32
	var address *string
	var role Role
	err := row.Scan(&c.UserID, &c.Username, &c.Email, &c.DisplayName, &c.PasswordHash, &c.MustChange, &changed, &disabled, &approved,
		&c.Epoch, &c.MFAPolicy, &address, &c.TOTP, &c.Passkeys, &role, &least, &most)
	if errors.Is(err, sql.ErrNoRows) {
		return Credential{}, event.Errorf(event.CodeNotFound, "there is no such person")
	}
	if err != nil {
		return Credential{}, fail(err, "read who signs in")
	}
	c.PasswordChanged, c.Disabled, c.Waiting = optionalTime(changed), disabled != nil, approved == nil
	if address != nil {
		c.LastAddress, _ = netip.ParseAddr(*address) // what we wrote; else there is none
	}
	if role == RoleUser && least != nil && *least == *most {
		c.Company = *least
	}
	return c, nil
}

// Attempt is a try to sign in, as far as it changes the database.
type Attempt struct {
	Subject LockoutSubject // whose failures count
	Lockout LockoutPolicy
	Right   bool   // what was given is right. It does not count while the subject pauses
	Person  *Actor // who it is, if it counts: until then the actor is nobody
	// SignedIn notes the time and address of the sign-in with the person: the last step is done.
	SignedIn bool
	// Success or Failure goes into the audit trail, as it ends.
	Success, Failure Entry
}

const (
	// Not when it was changed meanwhile: the newer one counts.
	renewHash  = `UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?`
	noteSignIn = `UPDATE users SET last_login_at = ?, last_login_ip = ? WHERE id = ?`
)

// EndAttempt writes down how a try to sign in ended, all in one transaction: the count of failures, the audit trail, and what a right one
// changes. ok is false for a wrong one, and for a right one while the subject pauses: asked here, under the lock that all tries take in turn, no burst
// of tries at one moment gets past the pause.
func (s *Store) EndAttempt(ctx context.Context, actor *Actor, a Attempt) (ok bool, err error) {
	err = s.update(ctx, actor, func(tx *auditedTx) error {
		failures, until, err := s.lockout(ctx, tx, a.Subject, a.Lockout)
		if err != nil {
			return err
		}
		ok = a.Right && until.IsZero()
		if !ok {
			a.Failure.Outcome = Failed
			if !until.IsZero() {
				// A try during the pause is not counted: else whoever goes on trying would make it last for ever.
				a.Failure.Detail = "refused: there were too many failures shortly before"
			} else if err := s.countFailure(ctx, tx.Tx, a.Subject, failures, a.Lockout); err != nil {
				return err
			}
			return tx.record(ctx, a.Failure)
		}
		tx.actor = a.Person
		if failures > 0 {
			if err := clearLockout(ctx, tx.Tx, a.Subject); err != nil {
				return err
			}
		}
		if a.SignedIn {
			if err := tx.noteSignIn(ctx, a.Person); err != nil {
				return err
			}
		}
		return tx.record(ctx, a.Success)
	})
	return ok && err == nil, fail(err, "sign in")
}

func (tx *auditedTx) noteSignIn(ctx context.Context, person *Actor) error {
	_, err := tx.Exec(ctx, noteSignIn, millis(tx.now), addressText(person.Address), person.ID)
	return err
}

// NoteSignIn writes down a sign-in that needed no try: somebody else has vouched for the person.
func (s *Store) NoteSignIn(ctx context.Context, person *Actor, e Entry) error {
	return fail(s.update(ctx, person, func(tx *auditedTx) error {
		if err := tx.noteSignIn(ctx, person); err != nil {
			return err
		}
		return tx.record(ctx, e)
	}), "sign in")
}

// addressText is an address for a nullable column.
func addressText(a netip.Addr) *string {
	if !a.IsValid() {
		return nil
	}
	text := a.Unmap().WithZone("").String()
	return &text
}

// Rehash puts a hash of today's cost in the place of an older one of the same password.
func (s *Store) Rehash(ctx context.Context, userID uint32, oldHash, newHash string) error {
	return fail(s.db.Update(ctx, func(tx *reldb.Tx) error {
		_, err := tx.Exec(ctx, renewHash, newHash, userID, oldHash)
		return err
	}), "renew a password's hash")
}

const (
	// The hash is compared too: of two changes at one moment, the second would be by somebody who knew only the old password.
	changeOwnHash = `UPDATE users SET password_hash = ?, must_change_password = 0, password_changed_at = ?, totp_pending = NULL, epoch = epoch + 1
    WHERE id = ? AND password_hash = ?`
	raiseEpoch  = `UPDATE users SET epoch = epoch + 1 WHERE id = ?`
	selectEpoch = `SELECT epoch FROM users WHERE id = ?`
)

// ErrOldPassword is the answer to who wants a new password and does not give the old one, or gave a wrong one too often shortly before.
var ErrOldPassword = event.FieldError("old_password", "is not your password; after several wrong tries further ones are refused for a while")

// ChangeOwnPassword gives the actor a new password in place of the one that c was read with, and gives the new epoch: their sessions and tokens,
// personal ones too, have ended. CodeConflict when the password was changed meanwhile, ErrOldPassword during a pause.
func (s *Store) ChangeOwnPassword(ctx context.Context, actor *Actor, c *Credential, newHash string) (epoch int64, err error) {
	if err := actor.own(c.UserID, StageChangePassword); err != nil {
		return 0, err
	}
	subject := ChangeSubject(c.UserID)
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error {
		// Asked again under the lock, so that no burst of guesses at one moment gets past the pause.
		failures, until, err := s.lockout(ctx, tx, subject, LockoutPolicy{})
		if err != nil {
			return err
		}
		if !until.IsZero() {
			return ErrOldPassword
		}
		if failures > 0 {
			if err := clearLockout(ctx, tx.Tx, subject); err != nil {
				return err
			}
		}
		n, err := tx.Exec(ctx, changeOwnHash, newHash, millis(tx.now), c.UserID, c.PasswordHash)
		if err != nil {
			return err
		}
		if n == 0 {
			return event.Errorf(event.CodeConflict, "the password was changed by somebody else at this moment: sign in again")
		}
		if _, err := tx.Exec(ctx, revokeTokens, millis(tx.now), c.UserID); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, selectEpoch, c.UserID).Scan(&epoch); err != nil {
			return err
		}
		return tx.record(ctx, c.Entry("password.change"))
	})
	return epoch, fail(err, "change the password")
}

// EndOwnSessions raises the actor's epoch, which ends all of their sessions and programs at once, and gives the new one. tokens: their personal tokens end too.
func (s *Store) EndOwnSessions(ctx context.Context, actor *Actor, c *Credential, tokens bool) (epoch int64, err error) {
	if err := actor.own(c.UserID, StageSecondFactor); err != nil {
		return 0, err
	}
	// Not by a session that somebody ends at this moment: it would go on in the new epoch.
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error {
		if err := tx.endSessions(ctx, c.UserID, tokens); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, selectEpoch, c.UserID).Scan(&epoch); err != nil {
			return err
		}
		e := c.Entry("session.end")
		e.Detail = signedOut("signed out everywhere", tokens)
		return tx.record(ctx, e)
	})
	return epoch, fail(err, "sign out everywhere")
}

// endSessions ends a person's sessions and programs, and their personal tokens where that is asked for.
func (tx *auditedTx) endSessions(ctx context.Context, userID uint32, tokens bool) error {
	if _, err := tx.Exec(ctx, raiseEpoch, userID); err != nil || !tokens {
		return err
	}
	_, err := tx.Exec(ctx, revokeTokens, millis(tx.now), userID)
	return err
}

// signedOut is what the trail says of it.
func signedOut(how string, tokens bool) string {
	if tokens {
		return how + ", personal tokens too"
	}
	return how
}

// own fails unless the actor is the person and has come at least so far in signing in. It is for the few things that are needed before that is done.
func (a *Actor) own(userID uint32, stage Stage) error {
	switch {
	case a.Kind != ActorPerson || a.ID != userID || a.Stage < stage:
		return a.stageError()
	case a.Stage == StageDone:
		return a.Require(PermOwnAccount, 0)
	case !a.Scopes.Has(rowOf(PermOwnAccount).Scope):
		return a.forbidden(PermOwnAccount)
	}
	return nil
}

// Entry is an entry of the audit trail about this person.
func (c *Credential) Entry(action string) Entry {
	e := Entry{Action: action, Company: c.Company, TargetKind: "user", TargetName: c.Username}
	if c.UserID != 0 {
		e.TargetID = strconv.FormatUint(uint64(c.UserID), 10)
	}
	return e
}
