package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// SessionRow is a web session as it is stored. What it means, and when it is over, is for package websession.
type SessionRow struct {
	IDHash   string // SHA-256 of what the cookie holds, in hex
	UserID   uint32 // 0 before somebody has signed in
	Epoch    int64  // of the user, when the session was made
	Data     string // sealed
	Created  time.Time
	LastSeen time.Time
	Expires  time.Time
	Address  string
	Agent    string
}

// ErrNoSession is the answer for a session that is not there, is over, or whose user may not have it any more.
var ErrNoSession = event.Errorf(event.CodeUnauthorized, "you are not signed in, or your session has ended: sign in")

const (
	sessionColumns = `s.id_hash, s.user_id, s.epoch, s.data, s.created_at, s.last_seen_at, s.expires_at, s.ip, s.user_agent`
	// liveSession is what ends a session at once: the person is gone, disabled or not approved, or something raised their epoch.
	liveSession   = `(s.user_id IS NULL OR (u.epoch = s.epoch AND u.disabled_at IS NULL AND u.approved_at IS NOT NULL))`
	selectSession = `SELECT ` + sessionColumns + ` FROM web_sessions s LEFT JOIN users u ON u.id = s.user_id WHERE s.id_hash = ? AND ` + liveSession
	listSessions  = `SELECT ` + sessionColumns + ` FROM web_sessions s JOIN users u ON u.id = s.user_id WHERE s.user_id = ? AND s.expires_at > ? AND ` + liveSession +
		` ORDER BY s.last_seen_at DESC, s.id_hash`
	insertSession = `INSERT INTO web_sessions (id_hash, user_id, epoch, data, created_at, last_seen_at, expires_at, ip, user_agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateSession = `UPDATE web_sessions SET user_id = ?, epoch = ?, data = ?, created_at = ?, last_seen_at = ?, expires_at = ?, ip = ?, user_agent = ? WHERE id_hash = ?`
	touchSession  = `UPDATE web_sessions SET last_seen_at = ?, expires_at = ?, ip = ? WHERE id_hash = ?`
	deleteSession = `DELETE FROM web_sessions WHERE id_hash = ?`
	endSessions   = `DELETE FROM web_sessions WHERE user_id = ? AND id_hash <> ?`
	purgeSessions = `DELETE FROM web_sessions WHERE expires_at <= ?`

	selectUserEpoch = `SELECT epoch FROM users WHERE id = ? AND disabled_at IS NULL AND approved_at IS NOT NULL`
)

// Session reads a session by the hash of its id. One whose user was deleted, disabled, or has another epoch since is ErrNoSession, as
// is one that is not there. Whether its time is over is for the caller.
func (s *Store) Session(ctx context.Context, idHash string) (SessionRow, error) {
	r, err := scanSession(s.db.QueryRow(ctx, selectSession, idHash).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return SessionRow{}, ErrNoSession
	}
	return r, fail(err, "read session")
}

// PutSession writes a session. replaces is the hash under which it stands, which may differ from r.IDHash: it then gets the new id, and the old
// one is gone in the same moment. A session that is to be replaced and is not there any more is ErrNoSession, so that one which somebody has ended does not
// come back. Empty: it is new.
func (s *Store) PutSession(ctx context.Context, replaces string, r SessionRow) error {
	err := s.db.Update(ctx, func(tx *reldb.Tx) error {
		var user *int64
		if r.UserID != 0 {
			id := int64(r.UserID)
			user = &id
		}
		agent, address := clip(r.Agent, 255), clip(r.Address, 45)
		if replaces == r.IDHash {
			n, err := tx.Exec(ctx, updateSession, user, r.Epoch, r.Data, millis(r.Created), millis(r.LastSeen), millis(r.Expires), address, agent, r.IDHash)
			return gone(n, err)
		}
		if replaces != "" {
			if err := gone(tx.Exec(ctx, deleteSession, replaces)); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, insertSession, r.IDHash, user, r.Epoch, r.Data, millis(r.Created), millis(r.LastSeen), millis(r.Expires), address, agent)
		if reldb.IsForeignKey(err) {
			return ErrNoSession // the person was deleted in this moment
		}
		return err
	})
	return fail(err, "write session")
}

func gone(changed int64, err error) error {
	if err == nil && changed == 0 {
		return ErrNoSession
	}
	return err
}

// TouchSession notes that a session was used. One that is gone stays gone, without an error.
func (s *Store) TouchSession(ctx context.Context, idHash string, seen, expires time.Time, address string) error {
	return fail(s.db.Update(ctx, func(tx *reldb.Tx) error {
		_, err := tx.Exec(ctx, touchSession, millis(seen), millis(expires), clip(address, 45), idHash)
		return err
	}), "write session")
}

// DeleteSession ends a session. One that is not there is no error.
func (s *Store) DeleteSession(ctx context.Context, idHash string) error {
	return fail(s.db.Update(ctx, func(tx *reldb.Tx) error {
		_, err := tx.Exec(ctx, deleteSession, idHash)
		return err
	}), "end session")
}

// DeleteSessionsOf ends all sessions of a user but the one with the hash except, which may be empty.
func (s *Store) DeleteSessionsOf(ctx context.Context, userID uint32, except string) error {
	return fail(s.db.Update(ctx, func(tx *reldb.Tx) error {
		_, err := tx.Exec(ctx, endSessions, userID, except)
		return err
	}), "end sessions")
}

// SessionsOf lists a user's sessions that count at the time now, the last used first.
func (s *Store) SessionsOf(ctx context.Context, userID uint32, now time.Time) (list []SessionRow, err error) {
	rows, err := s.db.Query(ctx, listSessions, userID, millis(now))
	if err != nil {
		return nil, fail(err, "list sessions")
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		r, err := scanSession(rows.Scan)
		if err != nil {
			return nil, fail(err, "list sessions")
		}
		list = append(list, r)
	}
	return list, fail(rows.Err(), "list sessions")
}

// PurgeSessions removes the sessions that were over at the time now, and tells how many.
func (s *Store) PurgeSessions(ctx context.Context, now time.Time) (removed int64, err error) {
	err = s.db.Update(ctx, func(tx *reldb.Tx) error {
		removed, err = tx.Exec(ctx, purgeSessions, millis(now))
		return err
	})
	return removed, fail(err, "remove old sessions")
}

// UserEpoch is the epoch of a user who may sign in; any other is ErrNoSession. It is for sessions and tokens that are kept elsewhere.
func (s *Store) UserEpoch(ctx context.Context, userID uint32) (int64, error) {
	var epoch int64
	err := s.db.QueryRow(ctx, selectUserEpoch, userID).Scan(&epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNoSession
	}
	return epoch, fail(err, "read a user's epoch")
}

func scanSession(scan func(...any) error) (SessionRow, error) {
	var r SessionRow
	var user *uint32
	var created, seen, expires int64
	if err := scan(&r.IDHash, &user, &r.Epoch, &r.Data, &created, &seen, &expires, &r.Address, &r.Agent); err != nil {
		return SessionRow{}, err
	}
	if user != nil {
		r.UserID = *user
	}
	r.Created, r.LastSeen, r.Expires = time.UnixMilli(created).UTC(), time.UnixMilli(seen).UTC(), time.UnixMilli(expires).UTC()
	return r, nil
}
