package authsvc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// maxPasskeys is how many passkeys a person may have.
const maxPasskeys = 20

const (
	selectHandle      = `SELECT webauthn_handle FROM users WHERE id = ?`
	setHandle         = `UPDATE users SET webauthn_handle = ? WHERE id = ? AND webauthn_handle IS NULL`
	selectPasskeys    = `SELECT id, name, credential, created_at, last_used_at FROM webauthn_credentials WHERE user_id = ? ORDER BY id` //nolint:gosec // SQL, no credential
	insertPasskey     = `INSERT INTO webauthn_credentials (user_id, credential_hash, name, credential, created_at) VALUES (?, ?, ?, ?, ?)`
	updatePasskey     = `UPDATE webauthn_credentials SET credential = ?, last_used_at = ? WHERE user_id = ? AND credential_hash = ? AND credential = ?` //nolint:gosec // SQL, no credential
	selectPasskeyName = `SELECT name FROM webauthn_credentials WHERE user_id = ? AND id = ?`
	deletePasskey     = `DELETE FROM webauthn_credentials WHERE user_id = ? AND id = ?`
)

// Passkey is a passkey as its owner sees it.
type Passkey struct {
	ID       uint32
	Name     string
	Created  time.Time
	LastUsed time.Time // zero: never
}

// PasskeyRow is a passkey with what the WebAuthn library keeps of it, as JSON.
type PasskeyRow struct {
	Passkey
	Credential string
}

// PasskeyHandle is the random name by which authenticators know a person, 32 bytes. It is made at the first call.
func (s *Store) PasskeyHandle(ctx context.Context, userID uint32) ([]byte, error) {
	for range 2 {
		var text sql.NullString
		if err := s.db.QueryRow(ctx, selectHandle, userID).Scan(&text); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return nil, ErrNoSession
			}
			return nil, fail(err, "read a passkey's owner")
		}
		if text.String != "" {
			raw, err := base64.RawURLEncoding.DecodeString(text.String)
			return raw, fail(err, "read a passkey's owner")
		}
		raw := make([]byte, 32)
		_, _ = rand.Read(raw) // it cannot fail
		if err := s.db.Update(ctx, func(tx *reldb.Tx) error {
			_, err := tx.Exec(ctx, setHandle, base64.RawURLEncoding.EncodeToString(raw), userID)
			return err
		}); err != nil {
			return nil, fail(err, "name a passkey's owner")
		}
	}
	return nil, event.Errorf(event.CodeInternal, "BUG: a person's name for passkeys does not stay")
}

// Passkeys lists a person's passkeys by id.
func (s *Store) Passkeys(ctx context.Context, userID uint32) (list []PasskeyRow, err error) {
	rows, err := s.db.Query(ctx, selectPasskeys, userID)
	if err != nil {
		return nil, fail(err, "list passkeys")
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p PasskeyRow
		var created int64
		var used *int64
		if err := rows.Scan(&p.ID, &p.Name, &p.Credential, &created, &used); err != nil {
			return nil, fail(err, "list passkeys")
		}
		p.Created, p.LastUsed = time.UnixMilli(created).UTC(), optionalTime(used)
		list = append(list, p)
	}
	return list, fail(rows.Err(), "list passkeys")
}

func passkeyHash(id []byte) string {
	sum := sha256.Sum256(id)
	return hex.EncodeToString(sum[:])
}

// AddPasskey adds a passkey to the actor's account. credentialID is its own, by which no other account may have it. codes are recovery
// codes where this is the person's first factor.
func (s *Store) AddPasskey(ctx context.Context, actor *Actor, name string, credentialID []byte, credential string) (codes []string, err error) {
	if err := actor.own(actor.ID, StageSetUpFactor); err != nil {
		return nil, err
	}
	clean, _, err := cleanName("name", name)
	if err != nil {
		return nil, err
	}
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error { // not by a session that a reset ends at this moment
		codes = nil
		var n int
		if err := tx.QueryRow(ctx, countPasskeys, actor.ID).Scan(&n); err != nil {
			return err
		}
		if n >= maxPasskeys {
			return event.Errorf(event.CodeConflict, "you have %d passkeys: remove one first", n)
		}
		id, err := tx.Insert(ctx, insertPasskey, actor.ID, passkeyHash(credentialID), clean, credential, millis(tx.now))
		if reldb.IsUnique(err) {
			return event.Errorf(event.CodeConflict, "this passkey is registered already")
		}
		if err != nil {
			return err
		}
		if codes, err = firstCodes(ctx, tx, actor.ID); err != nil {
			return err
		}
		return tx.record(ctx, actor.ownEntry("passkey.add", numbered(uint32(id), clean))) //nolint:gosec // ids are INTEGER columns that count up from 1
	})
	if err != nil {
		return nil, fail(err, "add a passkey")
	}
	return codes, nil
}

// UsePasskey writes what the library keeps of a passkey after it was used: its counter has moved. old is what was read before: when another request
// has used the passkey meanwhile, the answer is false, and the use does not count.
func (s *Store) UsePasskey(ctx context.Context, userID uint32, id []byte, old, credential string) (ok bool, err error) {
	err = s.db.Update(ctx, func(tx *reldb.Tx) error {
		n, err := tx.Exec(ctx, updatePasskey, credential, millis(s.now()), userID, passkeyHash(id), old)
		ok = n == 1
		return err
	})
	return ok && err == nil, fail(err, "use a passkey")
}

// numbered names one of a person's things in an entry of the audit trail.
func numbered(id uint32, name string) string {
	return name + " (" + strconv.FormatUint(uint64(id), 10) + ")"
}

// RemovePasskey takes a passkey of the actor away, and with the last second factor the recovery codes. The last factor of somebody who must have one
// is CodeConflict.
func (s *Store) RemovePasskey(ctx context.Context, actor *Actor, passkeyID uint32) error {
	if err := actor.Require(PermOwnAccount, 0); err != nil {
		return err
	}
	return fail(s.changePeople(ctx, actor, func(tx *auditedTx) error {
		var name string
		err := tx.QueryRow(ctx, selectPasskeyName, actor.ID, passkeyID).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			return event.Errorf(event.CodeNotFound, "you have no passkey with id %d", passkeyID)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, deletePasskey, actor.ID, passkeyID); err != nil {
			return err
		}
		if err := s.factorRemoved(ctx, tx, actor.ID); err != nil {
			return err
		}
		return tx.record(ctx, actor.ownEntry("passkey.remove", numbered(passkeyID, name)))
	}), "remove a passkey")
}
