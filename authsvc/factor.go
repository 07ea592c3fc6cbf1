package authsvc

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"gatehouse/authsvc/mfa"
	"gatehouse/event"
)

const (
	selectTOTP  = `SELECT totp_secret, totp_pending, totp_step FROM users WHERE id = ?`
	pendTOTP    = `UPDATE users SET totp_pending = ? WHERE id = ?`
	confirmTOTP = `UPDATE users SET totp_secret = ?, totp_pending = NULL, totp_step = ? WHERE id = ?`
	removeTOTP  = `UPDATE users SET totp_secret = NULL, totp_pending = NULL, totp_step = 0 WHERE id = ?`
	// The condition makes two requests with one code take turns: the second finds the step used.
	moveTOTPStep   = `UPDATE users SET totp_step = ?, totp_secret = ? WHERE id = ? AND totp_step < ?`
	deleteRecovery = `DELETE FROM recovery_codes WHERE user_id = ?`
	insertRecovery = `INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)`
	useRecovery    = `UPDATE recovery_codes SET used_at = ? WHERE user_id = ? AND code_hash = ? AND used_at IS NULL`
	countRecovery  = `SELECT COUNT(*) FROM recovery_codes WHERE user_id = ? AND used_at IS NULL`
	countPasskeys  = `SELECT COUNT(*) FROM webauthn_credentials WHERE user_id = ?` //nolint:gosec // SQL, no credential
)

// ownEntry is what the audit trail says of an act on one's own account. Of a User who belongs to one company alone its administrators read it.
func (a *Actor) ownEntry(action, detail string) Entry {
	e := Entry{Action: action, TargetKind: "user", TargetID: strconv.FormatUint(uint64(a.ID), 10), TargetName: a.Name, Detail: detail}
	if a.Role == RoleUser && len(a.Members) == 1 {
		for company := range a.Members {
			e.Company = company
		}
	}
	return e
}

// sealedRow is the row to which a person's sealed secret is bound.
func sealedRow(userID uint32) string { return strconv.FormatUint(uint64(userID), 10) }

// pendingTime is how long somebody may take from the QR code to the first code. Whoever finds the session later has to confirm who they are to begin anew.
const pendingTime = 10 * time.Minute

// pendingMark begins what is sealed of an app that is being set up: the time, and the session or token in which it was begun.
const pendingMark = "v1"

// BeginTOTP makes a new secret for the actor's authenticator app. It counts once ConfirmTOTP has seen a code of it, in the same session and within
// pendingTime; until then an app that is set up already goes on.
func (s *Store) BeginTOTP(ctx context.Context, actor *Actor, sealer *Sealer) (mfa.TOTP, error) {
	if err := actor.own(actor.ID, StageSetUpFactor); err != nil {
		return mfa.TOTP{}, err
	}
	made, err := mfa.NewTOTP(rand.Reader)
	if err != nil {
		return mfa.TOTP{}, fail(err, "set up an authenticator app")
	}
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error {
		plain := strings.Join([]string{pendingMark, strconv.FormatInt(millis(tx.now), 10), actor.Via, made.Secret()}, "|")
		sealed, err := sealer.Seal(PurposeTOTP, sealedRow(actor.ID), []byte(plain))
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, pendTOTP, sealed, actor.ID)
		if err == nil && n == 0 {
			return ErrNoSession // deleted in this moment
		}
		return err
	})
	return made, fail(err, "set up an authenticator app")
}

// totpState is what is stored of a person's app.
type totpState struct {
	secret, pending string // sealed, empty for none
	step            int64
}

func readTOTP(ctx context.Context, q rowQuerier, userID uint32) (totpState, error) {
	var secret, pending sql.NullString
	var st totpState
	err := q.QueryRow(ctx, selectTOTP, userID).Scan(&secret, &pending, &st.step)
	if errors.Is(err, sql.ErrNoRows) {
		return st, ErrNoSession
	}
	st.secret, st.pending = secret.String, pending.String
	return st, err
}

func openTOTP(sealer *Sealer, userID uint32, sealed string) (mfa.TOTP, error) {
	plain, err := sealer.Open(PurposeTOTP, sealedRow(userID), sealed)
	if err != nil {
		return mfa.TOTP{}, err
	}
	return mfa.ReadTOTP(string(plain))
}

// PendingTOTP gives the secret that BeginTOTP made for this session and nobody confirmed yet, to show it again.
func (s *Store) PendingTOTP(ctx context.Context, actor *Actor, sealer *Sealer) (mfa.TOTP, error) {
	if err := actor.own(actor.ID, StageSetUpFactor); err != nil {
		return mfa.TOTP{}, err
	}
	st, err := readTOTP(ctx, s.db, actor.ID)
	if err != nil {
		return mfa.TOTP{}, fail(err, "read an authenticator app")
	}
	t, err := openPending(sealer, actor, st.pending, s.now())
	return t, fail(err, "read an authenticator app")
}

// openPending reads what BeginTOTP sealed. What another session began, or this one too long ago, is not there.
func openPending(sealer *Sealer, actor *Actor, sealed string, now time.Time) (mfa.TOTP, error) {
	if sealed == "" {
		return mfa.TOTP{}, noPending()
	}
	plain, err := sealer.Open(PurposeTOTP, sealedRow(actor.ID), sealed)
	if err != nil {
		return mfa.TOTP{}, err
	}
	parts := strings.Split(string(plain), "|")
	if len(parts) != 4 || parts[0] != pendingMark || parts[2] != actor.Via {
		return mfa.TOTP{}, noPending()
	}
	begun, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || now.Sub(time.UnixMilli(begun)) >= pendingTime {
		return mfa.TOTP{}, noPending()
	}
	return mfa.ReadTOTP(parts[3])
}

func noPending() error {
	return event.Errorf(event.CodeConflict, "no authenticator app is being set up: begin anew")
}

// ConfirmTOTP makes the app that is being set up the actor's second factor, when code is one of it. codes are new recovery codes, which replace
// those from before, where this is the person's first factor; else they are nil. A wrong code is a field error.
func (s *Store) ConfirmTOTP(ctx context.Context, actor *Actor, sealer *Sealer, code string) (codes []string, err error) {
	if err := actor.own(actor.ID, StageSetUpFactor); err != nil {
		return nil, err
	}
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error { // not by a session that a reset ends at this moment
		codes = nil
		st, err := readTOTP(ctx, tx, actor.ID)
		if err != nil {
			return err
		}
		app, err := openPending(sealer, actor, st.pending, tx.now)
		if err != nil {
			return err
		}
		step, ok := app.Verify(code, tx.now, 0)
		if !ok {
			return event.FieldError("code", "is not the code that the app shows now; check that the clock of the device is right")
		}
		sealed, err := sealer.Seal(PurposeTOTP, sealedRow(actor.ID), []byte(app.Secret()))
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, confirmTOTP, sealed, step, actor.ID); err != nil {
			return err
		}
		if codes, err = firstCodes(ctx, tx, actor.ID); err != nil {
			return err
		}
		return tx.record(ctx, actor.ownEntry("mfa.totp_enable", ""))
	})
	if err != nil {
		return nil, fail(err, "set up an authenticator app")
	}
	return codes, nil
}

// firstCodes makes recovery codes for somebody who has none that are unused.
func firstCodes(ctx context.Context, tx *auditedTx, userID uint32) ([]string, error) {
	var left int
	if err := tx.QueryRow(ctx, countRecovery, userID).Scan(&left); err != nil || left > 0 {
		return nil, err
	}
	return newCodes(ctx, tx, userID)
}

func newCodes(ctx context.Context, tx *auditedTx, userID uint32) ([]string, error) {
	codes, err := mfa.NewRecoveryCodes(rand.Reader)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, deleteRecovery, userID); err != nil {
		return nil, err
	}
	for _, c := range codes {
		hash, ok := mfa.HashRecoveryCode(c)
		if !ok {
			return nil, errors.New("BUG: a recovery code that is none")
		}
		if _, err := tx.Exec(ctx, insertRecovery, userID, hash); err != nil {
			return nil, err
		}
	}
	return codes, nil
}

// NewRecoveryCodes replaces the actor's recovery codes. They are shown now and never again. Somebody without a second factor is CodeConflict.
func (s *Store) NewRecoveryCodes(ctx context.Context, actor *Actor) (codes []string, err error) {
	if err := actor.Require(PermOwnAccount, 0); err != nil {
		return nil, err
	}
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error {
		if has, err := hasFactorNow(ctx, tx, actor.ID); err != nil || !has {
			return errors.Join(err, noFactor(has))
		}
		if codes, err = newCodes(ctx, tx, actor.ID); err != nil {
			return err
		}
		return tx.record(ctx, actor.ownEntry("mfa.recovery_renew", ""))
	})
	if err != nil {
		return nil, fail(err, "make recovery codes")
	}
	return codes, nil
}

func noFactor(has bool) error {
	if has {
		return nil
	}
	return event.Errorf(event.CodeConflict, "set up an authenticator app or a passkey first")
}

func hasFactorNow(ctx context.Context, tx *auditedTx, userID uint32) (bool, error) {
	st, err := readTOTP(ctx, tx, userID)
	if err != nil || st.secret != "" {
		return err == nil, err
	}
	var passkeys int
	err = tx.QueryRow(ctx, countPasskeys, userID).Scan(&passkeys)
	return passkeys > 0, err
}

// RecoveryCodesLeft is how many unused recovery codes the actor has.
func (s *Store) RecoveryCodesLeft(ctx context.Context, actor *Actor) (int, error) {
	if err := actor.Require(PermOwnAccount, 0); err != nil {
		return 0, err
	}
	var n int
	err := s.db.QueryRow(ctx, countRecovery, actor.ID).Scan(&n)
	return n, fail(err, "count recovery codes")
}

// RemoveTOTP takes the actor's authenticator app away, and with the last second factor the recovery codes. Nothing set up is CodeConflict, and so is
// the last factor of somebody who must have one.
func (s *Store) RemoveTOTP(ctx context.Context, actor *Actor) error {
	if err := actor.Require(PermOwnAccount, 0); err != nil {
		return err
	}
	return fail(s.changePeople(ctx, actor, func(tx *auditedTx) error {
		st, err := readTOTP(ctx, tx, actor.ID)
		if err != nil {
			return err
		}
		if st.secret == "" {
			return event.Errorf(event.CodeConflict, "no authenticator app is set up")
		}
		if _, err := tx.Exec(ctx, removeTOTP, actor.ID); err != nil {
			return err
		}
		if err := s.factorRemoved(ctx, tx, actor.ID); err != nil {
			return err
		}
		return tx.record(ctx, actor.ownEntry("mfa.totp_disable", ""))
	}), "remove an authenticator app")
}

// factorRemoved fails where somebody who must have a second factor has none any more, and else removes recovery codes that stand for nothing. What a
// provider asks for does not matter here: the password, where there is one, would be left alone.
func (s *Store) factorRemoved(ctx context.Context, tx *auditedTx, userID uint32) error {
	left := &Actor{Kind: ActorPerson, ID: userID, Members: map[uint32]Role{}}
	if _, err := s.loadActor(ctx, tx, left, Claim{Vouched: true}); err != nil {
		return err
	}
	switch left.Stage {
	case StageSecondFactor: // there is another one
		return nil
	case StageSetUpFactor:
		return event.Errorf(event.CodeConflict, "a second factor is required here: set up another one first")
	}
	_, err := tx.Exec(ctx, deleteRecovery, userID)
	return err
}

// UseTOTP tells whether code is a right one of a person's authenticator app, and uses it up: the same code, or an older one, is never right
// again, also not in two requests at one moment.
func (s *Store) UseTOTP(ctx context.Context, actor *Actor, sealer *Sealer, userID uint32, code string) (ok bool, err error) {
	err = s.update(ctx, actor, func(tx *auditedTx) error {
		ok = false
		st, err := readTOTP(ctx, tx, userID)
		if err != nil || st.secret == "" {
			return err
		}
		app, err := openTOTP(sealer, userID, st.secret)
		if err != nil {
			return err
		}
		step, right := app.Verify(code, tx.now, st.step)
		if !right {
			return nil
		}
		if sealer.Stale(st.secret) {
			if st.secret, err = sealer.Seal(PurposeTOTP, sealedRow(userID), []byte(app.Secret())); err != nil {
				return err
			}
		}
		n, err := tx.Exec(ctx, moveTOTPStep, step, st.secret, userID, step)
		ok = n == 1
		return err
	})
	return ok && err == nil, fail(err, "check a code")
}

// UseRecoveryCode tells whether code is an unused recovery code of a person, and uses it up, which goes into the audit trail.
func (s *Store) UseRecoveryCode(ctx context.Context, actor *Actor, userID uint32, code string) (ok bool, err error) {
	hash, is := mfa.HashRecoveryCode(code)
	if !is {
		return false, nil
	}
	err = s.update(ctx, actor, func(tx *auditedTx) error {
		n, err := tx.Exec(ctx, useRecovery, millis(tx.now), userID, hash)
		if ok = n == 1; err != nil || !ok {
			return err
		}
		var left int
		if err := tx.QueryRow(ctx, countRecovery, userID).Scan(&left); err != nil {
			return err
		}
		// Not by the actor: while they sign in, their companies have not been read.
		c, err := s.credential(tx.QueryRow(ctx, whoByID, userID))
		if err != nil {
			return err
		}
		e := c.Entry("mfa.recovery_use")
		e.Detail = strconv.Itoa(left) + " left"
		return tx.record(ctx, e)
	})
	return ok && err == nil, fail(err, "check a recovery code")
}
