package reldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// lockCheck is how often a connection that holds a lock is asked whether it is still there. Tests shorten it.
var lockCheck = 5 * time.Second

// lockWait is for how long a server is asked to wait at a time, where it does not see by itself that the one who waits has gone.
const lockWait = time.Second

// serverLock is a lock that belongs to one connection of a server and ends with it.
type serverLock struct {
	// take waits for the lock. It tells false when it has waited in vain, to be called again.
	take func(ctx context.Context, conn *sql.Conn) (bool, error)
	free func(ctx context.Context, conn *sql.Conn) error
}

// lockNamed is the server's kind of lock, under a name that is its own within the database.
func (db *DB) lockNamed(name string) serverLock {
	switch db.dialect {
	case MySQL:
		return mysqlLock(db.schema, name)
	case SQLServer:
		return sqlServerLock(name)
	default:
		return postgresLock(name)
	}
}

func postgresLock(name string) serverLock {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("gatehouse " + name)) // never fails
	key := int64(hash.Sum64())                     //nolint:gosec // any 64 bits will do, with whatever sign
	return serverLock{
		take: func(ctx context.Context, conn *sql.Conn) (bool, error) {
			// A machine that lost its power says nothing: without these, its lock would stay for two hours.
			_, err := conn.ExecContext(ctx, `SELECT set_config('tcp_keepalives_idle', '15', false), set_config('tcp_keepalives_interval', '5', false),
	set_config('tcp_keepalives_count', '3', false), pg_advisory_lock($1)`, key)
			return true, err
		},
		free: func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, key)
			return err
		},
	}
}

// mysqlLock has the database in its name, since these locks belong to the whole server, and is hashed, since a name has 64 characters at most.
func mysqlLock(database, name string) serverLock {
	sum := sha256.Sum256([]byte(database + "\x00" + name))
	key := "gatehouse " + hex.EncodeToString(sum[:16])
	return serverLock{
		take: func(ctx context.Context, conn *sql.Conn) (bool, error) {
			var got sql.NullInt64
			err := conn.QueryRowContext(ctx, `SELECT GET_LOCK(?, ?)`, key, int(lockWait/time.Second)).Scan(&got)
			if err == nil && !got.Valid {
				err = errors.New("the server could not give it (out of memory, or the connection was killed)")
			}
			return got.Int64 == 1, err
		},
		free: func(ctx context.Context, conn *sql.Conn) error {
			var freed sql.NullInt64
			err := conn.QueryRowContext(ctx, `SELECT RELEASE_LOCK(?)`, key).Scan(&freed)
			if err == nil && freed.Int64 != 1 {
				err = errors.New("it was not held any more")
			}
			return err
		},
	}
}

func sqlServerLock(name string) serverLock {
	key := "gatehouse " + name
	return serverLock{
		take: func(ctx context.Context, conn *sql.Conn) (bool, error) {
			var got int
			err := conn.QueryRowContext(ctx, `DECLARE @got INT;
EXEC @got = sp_getapplock @Resource = @p1, @LockMode = 'Exclusive', @LockOwner = 'Session', @LockTimeout = @p2;
SELECT @got`, key, lockWait.Milliseconds()).Scan(&got)
			const timeout = -1
			if err == nil && got < timeout {
				err = fmt.Errorf("sp_getapplock answered %d", got)
			}
			return got >= 0, err
		},
		free: func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, `EXEC sp_releaseapplock @Resource = @p1, @LockOwner = 'Session'`, key)
			return err
		},
	}
}

func (db *DB) withServerLock(ctx context.Context, name string, fn func(context.Context, *sql.Conn) error) (err error) {
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	defer func() {
		if cerr := conn.Close(); cerr != nil && !errors.Is(cerr, sql.ErrConnDone) {
			err = errors.Join(err, fmt.Errorf("lock %s: %w", name, cerr))
		}
	}()
	lock := db.lockNamed(name)
	for taken := false; !taken; {
		taken, err = lock.take(ctx, conn)
		if err != nil {
			// Whether the server gave the lock at the last moment is not known: ending the connection ends the lock too.
			discard(conn)
			return fmt.Errorf("wait for the lock %s: %w", name, err)
		}
	}
	held, lost := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watchLock(held, conn, func(err error) {
			lost(fmt.Errorf("the connection that held the lock %s is gone: %w", name, err))
		})
	}()
	err = fn(held, conn)
	if cause := context.Cause(held); err != nil && cause != nil && !errors.Is(err, cause) {
		err = errors.Join(err, cause)
	}
	lost(nil)
	<-watched
	// The connection goes back to the pool, so the lock must not stay with it, whatever became of ctx.
	unlock, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	if uerr := lock.free(unlock, conn); uerr != nil {
		discard(conn)
		err = errors.Join(err, fmt.Errorf("unlock %s: %w", name, uerr))
	}
	return err
}

// watchLock asks the connection again and again until held ends, and calls lost when it is gone.
func watchLock(held context.Context, conn *sql.Conn, lost func(error)) {
	for {
		select {
		case <-held.Done():
			return
		case <-time.After(lockCheck):
		}
		// Not under held: cancelling a ping would close the connection that still has to unlock.
		ping, cancel := context.WithTimeout(context.WithoutCancel(held), lockCheck)
		err := conn.PingContext(ping)
		cancel()
		if err != nil {
			lost(err)
			return
		}
	}
}

// discard ends the connection instead of giving it back to the pool, and with it every lock that it holds.
func discard(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }
