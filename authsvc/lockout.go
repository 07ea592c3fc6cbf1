package authsvc

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"gatehouse/internal/reldb"
)

// LockoutPolicy says how long an account pauses after failures to sign in.
type LockoutPolicy struct {
	Free   int           // failures without a pause
	First  time.Duration // the first pause; each further failure doubles it
	Max    time.Duration // the longest pause
	Forget time.Duration // after this long without a failure, counting begins anew
}

// DefaultLockout lets a person err five times. Who guesses against it gets about a hundred tries a day.
func DefaultLockout() LockoutPolicy {
	return LockoutPolicy{Free: 5, First: 30 * time.Second, Max: 15 * time.Minute, Forget: 24 * time.Hour}
}

// pause is how long the account pauses after so many failures in a row.
func (p LockoutPolicy) pause(failures int) time.Duration {
	if failures < p.Free || p.First <= 0 {
		return 0
	}
	d := p.First
	for range failures - p.Free {
		if d >= p.Max {
			break
		}
		d *= 2
	}
	return min(d, p.Max)
}

// LockoutSubject names what failures are counted for. It is a hash: a copy of the table shows nobody's name.
type LockoutSubject string

func subject(kind, of string) LockoutSubject {
	sum := sha256.Sum256([]byte("gatehouse lockout\x00" + kind + "\x00" + of))
	return LockoutSubject(hex.EncodeToString(sum[:]))
}

// AccountSubject counts the failures for an account from all devices and networks that are not known to it together.
func AccountSubject(userID uint32) LockoutSubject {
	return subject("account", strconv.FormatUint(uint64(userID), 10))
}

// DeviceSubject counts the failures for an account from one device that has signed in to it before. It has a counter of its own, so that nobody elsewhere can keep
// the owner out.
func DeviceSubject(userID uint32, device string) LockoutSubject {
	return subject("device", strconv.FormatUint(uint64(userID), 10)+"\x00"+device)
}

// NetworkSubject counts the failures for an account from the network of its last sign-in, by devices that are not known to it: programs, and a new
// browser at the usual place. Whoever guesses from elsewhere cannot keep them out. A reset password raises the epoch and begins a new count with it.
func NetworkSubject(userID uint32, epoch int64, network string) LockoutSubject {
	return subject("network", strconv.FormatUint(uint64(userID), 10)+"\x00"+strconv.FormatInt(epoch, 10)+"\x00"+network)
}

// FactorSubject counts wrong second factors of an account. Only who knows the password can raise it.
func FactorSubject(userID uint32) LockoutSubject {
	return subject("factor", strconv.FormatUint(uint64(userID), 10))
}

// ChangeSubject counts wrong passwords of somebody who is signed in, and wants a new one or confirms that it is them. Only who has a session of the account can raise it.
func ChangeSubject(userID uint32) LockoutSubject {
	return subject("change", strconv.FormatUint(uint64(userID), 10))
}

// LoginSubject counts the failures for a name that is nobody's, just as for an account, so that the two take the same work. mac is a keyed
// hash of the name.
func LoginSubject(mac string) LockoutSubject { return subject("login", mac) }

const (
	selectLockout = `SELECT failures, locked_until, updated_at FROM lockouts WHERE subject = ?`
	updateLockout = `UPDATE lockouts SET failures = ?, locked_until = ?, updated_at = ? WHERE subject = ?`
	insertLockout = `INSERT INTO lockouts (failures, locked_until, updated_at, subject) VALUES (?, ?, ?, ?)`
	deleteLockout = `DELETE FROM lockouts WHERE subject = ?`
	purgeLockouts = `DELETE FROM lockouts WHERE updated_at <= ? AND locked_until <= ?`
)

// LockedUntil tells until when a subject pauses; the zero time: it does not.
func (s *Store) LockedUntil(ctx context.Context, subject LockoutSubject) (time.Time, error) {
	_, until, err := s.lockout(ctx, s.db, subject, LockoutPolicy{})
	return until, fail(err, "read lockout")
}

// lockout reads a subject's failures that still count, and until when it pauses.
func (s *Store) lockout(ctx context.Context, q rowQuerier, subject LockoutSubject, p LockoutPolicy) (failures int, until time.Time, err error) {
	var untilMs, updatedMs int64
	err = q.QueryRow(ctx, selectLockout, string(subject)).Scan(&failures, &untilMs, &updatedMs)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, err
	}
	now := s.now()
	if p.Forget > 0 && now.Sub(time.UnixMilli(updatedMs)) >= p.Forget {
		failures = 0
	}
	if until = time.UnixMilli(untilMs).UTC(); !now.Before(until) {
		until = time.Time{}
	}
	return failures, until, nil
}

// countFailure adds a failure to a subject, and the pause that comes of it. The caller's transaction holds the audit trail's lock, so no other counts at the
// same time.
func (s *Store) countFailure(ctx context.Context, tx *reldb.Tx, subject LockoutSubject, failures int, p LockoutPolicy) error {
	// What is beyond the longest pause needs no number.
	failures = min(failures+1, 1_000_000)
	now := s.now()
	until := int64(0)
	if d := p.pause(failures); d > 0 {
		until = millis(now.Add(d))
	}
	n, err := tx.Exec(ctx, updateLockout, failures, until, millis(now), string(subject))
	if err == nil && n == 0 {
		_, err = tx.Exec(ctx, insertLockout, failures, until, millis(now), string(subject))
	}
	return err
}

// clearLockout forgets the failures of a subject.
func clearLockout(ctx context.Context, tx *reldb.Tx, subject LockoutSubject) error {
	_, err := tx.Exec(ctx, deleteLockout, string(subject))
	return err
}

// PurgeLockouts removes counts that no longer matter, and tells how many. Once an hour keeps the table small.
func (s *Store) PurgeLockouts(ctx context.Context, p LockoutPolicy) (removed int64, err error) {
	now := s.now()
	err = s.db.Update(ctx, func(tx *reldb.Tx) error {
		removed, err = tx.Exec(ctx, purgeLockouts, millis(now.Add(-p.Forget)), millis(now))
		return err
	})
	return removed, fail(err, "remove old lockouts")
}
