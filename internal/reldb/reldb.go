// Package reldb opens the relational database and hides the few places where the SQL databases differ: the
// address, the placeholders, how a write transaction begins and how a broken rule is reported. What the tables
// are is the business of package schema, what stands in them that of package authsvc.
//
// Every statement is written once, with `?` placeholders and in the SQL that SQLite, PostgreSQL, MySQL, MariaDB and
// SQL Server share. Where one of them needs other words, the statement's owner keeps an override per Dialect.
package reldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// connectTimeout bounds the first connection. A database that needs longer is reported as unreachable: an operator who
// waits for a start wants the reason, not a silent minute.
const connectTimeout = 10 * time.Second

// maxConns is the pool per process. The hot path reads from memory, so the pool serves administration and the
// flush of usage counts; more work than this waits for a free connection.
const maxConns = 8

// DB is one open relational database. Reads and writes have their own pool because SQLite allows one writer at a time:
// with a single writing connection, writers of this process queue here instead of failing with "database is locked".
// With a server database both are the same pool.
type DB struct {
	dialect Dialect
	name    string
	path    string // of a SQLite file
	read    *sql.DB
	write   *sql.DB
}

// Open connects to the database at rawURL: sqlite:///path/to/file.db or postgresql://user:password@host/database.
// It creates a SQLite file (mode 0600) that does not exist yet, but no tables.
func Open(ctx context.Context, rawURL string) (*DB, error) {
	target, err := ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	switch target.Dialect {
	case SQLite:
		return openSQLite(ctx, target)
	case Postgres:
		return openPostgres(ctx, target)
	default:
		return nil, fmt.Errorf("%s databases are not yet supported by this build: use sqlite:///path or postgresql://", target.Dialect)
	}
}

// Dialect says which database this is.
func (db *DB) Dialect() Dialect { return db.dialect }

// Name is where the database is, without a password: fit for logs and error texts.
func (db *DB) Name() string { return db.name }

// Writer is the pool that may write. Only migrations need it as it is; others use Update.
func (db *DB) Writer() *sql.DB { return db.write }

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.read.PingContext(ctx) }

// Close closes both pools. Running statements end first.
func (db *DB) Close() error {
	err := db.read.Close()
	if db.write != db.read {
		err = errors.Join(err, db.write.Close())
	}
	return err
}

// Query runs a reading statement. The caller closes the rows and checks their Err.
func (db *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return db.read.QueryContext(ctx, db.dialect.Rebind(query), args...)
}

// QueryRow runs a reading statement that yields at most one row.
func (db *DB) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return db.read.QueryRowContext(ctx, db.dialect.Rebind(query), args...)
}

// Update runs fn in one write transaction: committed when fn returns nil, rolled back on an error or a panic. Keep fn short,
// since with SQLite every other writer of every process waits for it.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) (err error) {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	done := false
	defer func() {
		if done {
			return
		}
		// A panic or an error of fn: the rollback's own error adds nothing to it, except for a connection that
		// is already gone, which the error of fn tells better.
		if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) && err != nil {
			err = errors.Join(err, fmt.Errorf("rollback: %w", rerr))
		}
	}()
	if err := fn(&Tx{tx: tx, dialect: db.dialect}); err != nil {
		return err
	}
	done = true
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Tx is a write transaction. It rebinds placeholders as DB does.
type Tx struct {
	tx      *sql.Tx
	dialect Dialect
}

// Dialect says which database the transaction runs in.
func (tx *Tx) Dialect() Dialect { return tx.dialect }

// Exec runs a statement and returns the number of rows that it changed.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := tx.tx.ExecContext(ctx, tx.dialect.Rebind(query), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Query runs a reading statement inside the transaction. The caller closes the rows and checks their Err.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return tx.tx.QueryContext(ctx, tx.dialect.Rebind(query), args...)
}

// QueryRow runs a reading statement that yields at most one row.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return tx.tx.QueryRowContext(ctx, tx.dialect.Rebind(query), args...)
}

// Insert adds one row and returns the id that the database gave it. The statement is a plain INSERT without a RETURNING
// clause: how the id comes back differs by dialect, and is decided here.
func (tx *Tx) Insert(ctx context.Context, query string, args ...any) (int64, error) {
	if tx.dialect.insertReturning() {
		var id int64
		err := tx.tx.QueryRowContext(ctx, tx.dialect.Rebind(query)+" RETURNING id", args...).Scan(&id)
		return id, err
	}
	res, err := tx.tx.ExecContext(ctx, tx.dialect.Rebind(query), args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}
