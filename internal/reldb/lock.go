package reldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockRetry is how often a lock on a file is tried for: files have no queue for those who wait.
const lockRetry = 50 * time.Millisecond

// WithLock runs fn while holding the named lock, which at most one process that uses this database has at a time. It waits for
// the lock until ctx ends. The lock is not a transaction: fn may take long, and others may write meanwhile. It ends with the
// process, however that ends; if the connection to a server database breaks, the server gives the lock to another, and fn's context is cancelled as soon
// as that is seen (within twice lockCheck).
func (db *DB) WithLock(ctx context.Context, name string, fn func(ctx context.Context) error) error {
	if db.dialect == SQLite {
		return db.withFileLock(ctx, name, fn)
	}
	return db.withServerLock(ctx, name, func(ctx context.Context, _ *sql.Conn) error { return fn(ctx) })
}

// withFileLock locks a file beside the database. Whoever uses a SQLite database does so on the same machine.
func (db *DB) withFileLock(ctx context.Context, name string, fn func(context.Context) error) (err error) {
	path := filepath.Join(filepath.Dir(db.path), "."+filepath.Base(db.path)+"."+name+".lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }() // which ends the lock
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the lock %s, which another process holds: %w", name, ctx.Err())
		case <-time.After(lockRetry):
		}
	}
	return fn(ctx)
}
