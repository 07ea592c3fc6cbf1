package authsvc

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"gatehouse/authsvc/token"
	"gatehouse/event"
)

// Family is all tokens that came from one sign-in of a program: a refresh token at a time, and the access tokens made by it.
type Family struct {
	ID           string // see newFamily; no secret
	UserID       uint32
	Epoch        int64
	Scopes       Scopes
	SecondFactor bool
}

// FamilyInfo is a family as its owner sees it.
type FamilyInfo struct {
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`   // the sign-in
	LastUsed time.Time `json:"last_used"` // when its last tokens were made
	Expires  time.Time `json:"expires"`
	Scopes   Scopes    `json:"scopes"`
	Address  string    `json:"address"`
	Agent    string    `json:"agent"`
}

// ErrToken is the answer to every token that does not count (any more), whatever the reason.
var ErrToken = event.Errorf(event.CodeUnauthorized, "the token is not valid, or has ended: sign in again")

const (
	insertRefresh = `INSERT INTO refresh_tokens (user_id, epoch, family, token_hash, scopes, second_factor, created_at, expires_at, ip, user_agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	selectRefresh = `SELECT r.user_id, r.epoch, r.family, r.scopes, r.second_factor, r.expires_at, r.used_at, r.revoked_at,
    CASE WHEN u.epoch = r.epoch AND u.disabled_at IS NULL AND u.approved_at IS NOT NULL THEN 1 ELSE 0 END
    FROM refresh_tokens r JOIN users u ON u.id = r.user_id WHERE r.token_hash = ?`
	// The condition lets one of two requests with the same token through.
	takeRefresh  = `UPDATE refresh_tokens SET used_at = ? WHERE token_hash = ? AND used_at IS NULL AND revoked_at IS NULL`
	revokeFamily = `UPDATE refresh_tokens SET revoked_at = ? WHERE user_id = ? AND family = ? AND revoked_at IS NULL`
	liveFamily   = `SELECT COUNT(*) FROM refresh_tokens WHERE user_id = ? AND family = ? AND used_at IS NULL AND revoked_at IS NULL AND expires_at > ?`
	listFamilies = `SELECT r.family, (SELECT MIN(f.created_at) FROM refresh_tokens f WHERE f.user_id = r.user_id AND f.family = r.family), r.created_at, r.expires_at, r.scopes, r.ip, r.user_agent
    FROM refresh_tokens r JOIN users u ON u.id = r.user_id
    WHERE r.user_id = ? AND r.used_at IS NULL AND r.revoked_at IS NULL AND r.expires_at > ? AND r.epoch = u.epoch ORDER BY r.created_at DESC, r.family`
)

const (
	// RefreshLifetime is how long a refresh token can wait for its use. Each use gives a new one.
	RefreshLifetime = 30 * 24 * time.Hour
	// FamilyLifetime is after how long a program has to sign in again, however often it exchanged its tokens.
	FamilyLifetime = 90 * 24 * time.Hour
)

// newFamily names a sign-in that begins now, by its time and 80 random bits. The time is part of the name because the rows from the beginning are
// removed long before a family ends.
func newFamily(now time.Time) string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(id[6:]) // it cannot fail
	return hex.EncodeToString(id[:])
}

// FamilyVia names the tokens of one sign-in in the audit trail and the log.
func FamilyVia(family string) string { return "tokens " + family[:min(16, len(family))] }

// familyEnd is when the family of a name is over, whatever happens; long ago for what is no name of ours.
func familyEnd(id string) time.Time {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 16 {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(raw) >> 16)).Add(FamilyLifetime)
}

// StartFamily makes the first refresh token of a sign-in by person, and records the sign-in: the last step of it is done. f.ID is made here.
func (s *Store) StartFamily(ctx context.Context, person *Actor, f Family) (Family, string, error) {
	f.ID = newFamily(s.now())
	by := *person
	by.Via = FamilyVia(f.ID)
	var secret string
	err := s.update(ctx, &by, func(tx *auditedTx) (err error) {
		if secret, err = s.addRefresh(ctx, tx, f); err != nil {
			return err
		}
		if err := tx.noteSignIn(ctx, &by); err != nil {
			return err
		}
		return tx.record(ctx, by.ownEntry("session.sign_in", "a program, for tokens limited to "+f.Scopes.String()))
	})
	if err != nil {
		return Family{}, "", fail(err, "make a token")
	}
	return f, secret, nil
}

func (s *Store) addRefresh(ctx context.Context, tx *auditedTx, f Family) (string, error) {
	secret, err := token.Refresh.New(s.rand)
	if err != nil {
		return "", err
	}
	second := 0
	if f.SecondFactor {
		second = 1
	}
	expires := tx.now.Add(RefreshLifetime)
	if end := familyEnd(f.ID); end.Before(expires) {
		expires = end
	}
	address := ""
	if tx.actor.Address.IsValid() {
		address = tx.actor.Address.Unmap().WithZone("").String()
	}
	_, err = tx.Exec(ctx, insertRefresh, f.UserID, f.Epoch, f.ID, token.HashText(secret), f.Scopes.String(), second,
		millis(tx.now), millis(expires), address, clip(tx.actor.Agent, 255))
	return secret, err
}

// UseRefresh exchanges a refresh token for the next one of its family. A token that was used before is in two hands: its family ends,
// for the thief and for the owner, who signs in again; the audit trail tells. That holds for two requests at one moment too: a program must not use
// one token twice. Whatever is wrong is ErrToken.
func (s *Store) UseRefresh(ctx context.Context, by *Actor, secret string) (f Family, next string, err error) {
	if !token.Refresh.WellFormed(secret) {
		return Family{}, "", ErrToken
	}
	hash := token.HashText(secret)
	valid := false
	err = s.update(ctx, by, func(tx *auditedTx) error {
		valid, f, next = false, Family{}, ""
		var scopes string
		var second, live bool
		var expires int64
		var used, revoked *int64
		err := tx.QueryRow(ctx, selectRefresh, hash).Scan(&f.UserID, &f.Epoch, &f.ID, &scopes, &second, &expires, &used, &revoked, &live)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		f.Scopes, f.SecondFactor = storedScopes(scopes), second
		if used != nil && revoked == nil {
			return s.endStolen(ctx, tx, f)
		}
		if used != nil || revoked != nil || !live || expires <= millis(tx.now) {
			return nil
		}
		n, err := tx.Exec(ctx, takeRefresh, millis(tx.now), hash)
		if err != nil || n != 1 {
			return err
		}
		valid = true
		next, err = s.addRefresh(ctx, tx, f)
		return err
	})
	if err != nil {
		return Family{}, "", fail(err, "exchange a token")
	}
	if !valid {
		return Family{}, "", ErrToken
	}
	return f, next, nil
}

func (s *Store) endStolen(ctx context.Context, tx *auditedTx, f Family) error {
	if _, err := tx.Exec(ctx, revokeFamily, millis(tx.now), f.UserID, f.ID); err != nil {
		return err
	}
	c, err := s.credential(tx.QueryRow(ctx, whoByID, f.UserID))
	if err != nil {
		return err
	}
	e := c.Entry("token.reuse")
	e.Outcome, e.Detail = Denied, "a refresh token came a second time: all tokens of its sign-in have ended"
	return tx.record(ctx, e)
}

// FamilyLives tells whether access tokens of a family still count: it was not ended since.
func (s *Store) FamilyLives(ctx context.Context, userID uint32, family string) (bool, error) {
	var n int
	err := s.db.QueryRow(ctx, liveFamily, userID, family, millis(s.now())).Scan(&n)
	return n > 0, fail(err, "check a token")
}

// Families lists the actor's sign-ins by programs that have not ended, the last used first.
func (s *Store) Families(ctx context.Context, actor *Actor) (list []FamilyInfo, err error) {
	if err := actor.Require(PermOwnAccount, 0); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, listFamilies, actor.ID, millis(s.now()))
	if err != nil {
		return nil, fail(err, "list sign-ins")
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var f FamilyInfo
		var created, used, expires int64
		var scopes string
		if err := rows.Scan(&f.ID, &created, &used, &expires, &scopes, &f.Address, &f.Agent); err != nil {
			return nil, fail(err, "list sign-ins")
		}
		f.Created, f.LastUsed, f.Expires = time.UnixMilli(created).UTC(), time.UnixMilli(used).UTC(), time.UnixMilli(expires).UTC()
		f.Scopes = storedScopes(scopes)
		list = append(list, f)
	}
	return list, fail(rows.Err(), "list sign-ins")
}

// EndFamily ends a sign-in of the actor by a program. One that is not theirs, or has ended, is CodeNotFound.
func (s *Store) EndFamily(ctx context.Context, actor *Actor, family string) error {
	if err := actor.own(actor.ID, StageChangePassword); err != nil {
		return err
	}
	return fail(s.update(ctx, actor, func(tx *auditedTx) error {
		n, err := tx.Exec(ctx, revokeFamily, millis(tx.now), actor.ID, family)
		if err != nil {
			return err
		}
		if n == 0 {
			return event.Errorf(event.CodeNotFound, "there is no such sign-in; it may have ended already")
		}
		return tx.record(ctx, actor.ownEntry("session.end", "tokens of a program"))
	}), "end a sign-in")
}
