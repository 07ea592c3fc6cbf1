package reldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Handover is a lock while it is held, which tells its next holder how it was let go. See [DB.WithHandover].
type Handover struct {
	on        statements
	ping      func(ctx context.Context) error
	abandoned bool
	settled   bool
}

// statements runs statements on one connection, or any.
type statements interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// A lock's turn is a counter of the table revisions: odd from when a holder begins until it has said that all is settled. They run on
// the lock's own connection, so that who lost the lock cannot end the turn of the one who has it now.
const (
	beginTurnSQL = `UPDATE revisions SET revision = revision + 1 WHERE topic = ? AND revision % 2 = 0`
	firstTurnSQL = `INSERT INTO revisions (topic, revision) VALUES (?, 1)`
	endTurnSQL   = `UPDATE revisions SET revision = revision + 1 WHERE topic = ? AND revision % 2 = 1`
)

// checkTimeout is how long the lock's connection may take to answer a holder that asks.
const checkTimeout = 5 * time.Second

// LockNotice is within how long after a server has given a lock to another its holder's context ends, if that process runs at all.
func LockNotice() time.Duration { return 2 * lockCheck }

// WithHandover is WithLock for work that may outlast its lock: where a holder was killed, or lost the lock with its connection, what
// it had begun elsewhere may still be under way when the next one begins. fn is told so by Abandoned, and says by Settled that it leaves
// nothing of the kind. The tables must be there (package schema).
func (db *DB) WithHandover(ctx context.Context, name string, fn func(ctx context.Context, h *Handover) error) error {
	run := func(ctx context.Context, conn *sql.Conn) error {
		h := &Handover{on: db.write, ping: func(context.Context) error { return nil }} // a lock on a file lasts as long as the process
		if conn != nil {
			h.on, h.ping = conn, conn.PingContext
		}
		return db.turn(ctx, turnTopic(name), h, fn)
	}
	if db.dialect == SQLite {
		return db.withFileLock(ctx, name, func(ctx context.Context) error { return run(ctx, nil) })
	}
	return db.withServerLock(ctx, name, run)
}

// turnTopic is the lock's name as a topic, which has 32 characters at most.
func turnTopic(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "lock " + hex.EncodeToString(sum[:12])
}

func (db *DB) turn(ctx context.Context, topic string, h *Handover, fn func(context.Context, *Handover) error) error {
	n, err := h.exec(ctx, db.dialect.Rebind(beginTurnSQL), topic)
	if err == nil && n == 0 {
		_, err = h.exec(ctx, db.dialect.Rebind(firstTurnSQL), topic)
		if IsUnique(err) {
			h.abandoned, err = true, nil
		}
	}
	if err != nil {
		return fmt.Errorf("begin a turn of the lock: %w", err)
	}
	err = fn(ctx, h)
	if !h.settled {
		return err
	}
	// Also when ctx has ended: or the next holder would wait for nothing.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	if _, eerr := h.exec(end, db.dialect.Rebind(endTurnSQL), topic); eerr != nil {
		err = errors.Join(err, fmt.Errorf("end a turn of the lock: %w", eerr))
	}
	return err
}

func (h *Handover) exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := h.on.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Abandoned tells that the last holder did not say that all is settled: it was killed, lost the lock, or could not tell.
func (h *Handover) Abandoned() bool { return h.abandoned }

// Settled says that nothing that fn or a holder before it has begun is under way any more. It takes effect when fn
// returns, if the lock is still held then.
func (h *Handover) Settled() { h.settled = true }

// Check asks the lock's connection: after nil, the lock was held when the call began or later.
func (h *Handover) Check(ctx context.Context) error {
	// Not under ctx: a question that is broken off closes the connection, and the lock with it.
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	if err := h.ping(ask); err != nil {
		return fmt.Errorf("the lock's connection does not answer: %w", err)
	}
	return ctx.Err()
}
