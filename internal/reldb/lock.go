package reldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockRetry is how often a lock on a file is tried for: files have no queue for those who wait.
const lockRetry = 50 * time.Millisecond

// WithLock runs fn while holding the named lock, which at most one process that uses this database has at a time. It waits for
// the lock until ctx ends. The lock is not a transaction: fn may take long, and others may write meanwhile. It ends with the
// process, however that ends; if the connection to a server database breaks, fn's context is cancelled.
func (db *DB) WithLock(ctx context.Context, name string, fn func(ctx context.Context) error) error {
	if db.dialect == SQLite {
		return db.withFileLock(ctx, name, fn)
	}
	return db.withAdvisoryLock(ctx, name, fn)
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

// lockCheck is how often a connection that holds a lock is asked whether it is still there.
const lockCheck = 5 * time.Second

func (db *DB) withAdvisoryLock(ctx context.Context, name string, fn func(context.Context) error) (err error) {
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	defer func() {
		if cerr := conn.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("lock %s: %w", name, cerr))
		}
	}()
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("gatehouse " + name)) // never fails
	key := int64(hash.Sum64())                     //nolint:gosec // any 64 bits will do, with whatever sign
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, key); err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	held, lost := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-held.Done():
				return
			case <-time.After(lockCheck):
				// Not under held: cancelling a ping would close the connection that still has to unlock.
				ping, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockCheck)
				if err := conn.PingContext(ping); err != nil {
					lost(fmt.Errorf("the connection that held the lock %s is gone: %w", name, err))
				}
				cancel()
			}
		}
	}()
	err = fn(held)
	if cause := context.Cause(held); err != nil && cause != nil && !errors.Is(err, cause) {
		err = errors.Join(err, cause)
	}
	lost(nil)
	<-watched
	// The connection goes back to the pool, so the lock must not stay with it, whatever became of ctx.
	unlock, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	if _, uerr := conn.ExecContext(unlock, `SELECT pg_advisory_unlock($1)`, key); uerr != nil {
		// Closing the session ends the lock as well.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		err = errors.Join(err, fmt.Errorf("unlock %s: %w", name, uerr))
	}
	return err
}
