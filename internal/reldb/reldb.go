// Package reldb opens the relational database and hides the few places where the SQL databases differ: the
// address, the placeholders, how a write transaction begins and how a broken rule is reported. What the tables
// are is the business of package schema, what stands in them that of package authsvc.
//
// Every statement is written once, with `?` placeholders and in the SQL that SQLite, PostgreSQL, MySQL, MariaDB and
// SQL Server share. Where one of them needs other words, the statement's owner keeps an override per Dialect. In the common subset
//
//   - the first rows are `ORDER BY … LIMIT ?`, at the end of the statement or in a subquery. SQL Server's words for it are put in here;
//     it needs the ORDER BY, and at least 1. `LIMIT ? OFFSET ?` and `LIMIT` without an order are not in the subset;
//   - "insert or update" is an UPDATE, and an INSERT when that matched no row (Tx.Exec counts matched rows everywhere, changed or not). Two
//     that do so at once can both come to the INSERT: the second gets IsUnique, and may run its transaction again. There is no RETURNING and no ON CONFLICT;
//   - a list of values is `IN (` + Marks(n) + `)`, at most MaxMarks at a time;
//   - rows are deleted in portions by `WHERE id IN (SELECT id FROM (SELECT id FROM t WHERE … ORDER BY id LIMIT ?) x)`: MySQL refuses a
//     LIMIT right in the IN, and a table that a statement both changes and reads, except in such a derived table;
//   - texts are joined in Go, not in SQL (`||`), and are compared byte by byte; for "equal but for case" there are folded columns;
//   - LIKE has an ESCAPE: `LIKE ? ESCAPE '!'` (not the backslash, which MySQL may read as half of something), with %, _, [ and ! escaped in what people
//     type ([ means something in SQL Server alone);
//   - there are no booleans: a SMALLINT is 0 or 1, and a condition is not a value that can be selected;
//   - an UPDATE sees the old values only by luck where it sets a column and uses it: MySQL goes from left to right;
//   - a query gives its columns and expressions names where a subquery is read.
package reldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
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
	schema  string // the database's name on a server
	read    *sql.DB
	write   *sql.DB
}

// Open connects to the database at rawURL: sqlite:///path/to/file.db, postgresql://user:password@host/database, mysql://… or
// sqlserver://…, see ParseURL. It creates a SQLite file (mode 0600) that does not exist yet, but no tables.
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
	case MySQL:
		return openMySQL(ctx, target)
	case SQLServer:
		return openSQLServer(ctx, target)
	default:
		return nil, fmt.Errorf("BUG: no way to open %s", target.Dialect)
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

// How often Update runs its function at most, and how long it waits after the first failure, twice as long after each further one.
const (
	updateTries = 6
	updateWait  = 5 * time.Millisecond
)

// Update runs fn in one write transaction: committed when fn returns nil, rolled back on an error or a panic. Keep fn short,
// since with SQLite every other writer of every process waits for it.
//
// fn may run several times: when the database gave up the transaction for the sake of others (a deadlock, a conflict in a cluster), nothing of it
// was kept, and it is run again from the start. What fn keeps outside it must set anew, not add to. It must hand on the database's errors, wrapped or
// not, for that to be seen.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	wait := updateWait
	for try := 1; ; try++ {
		err := db.update(ctx, fn)
		if err == nil || try == updateTries || !isConflict(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(wait):
			wait *= 2
		}
	}
}

// begin starts a transaction. Each statement sees what was committed before it, which is the default of all servers but MySQL, where a
// transaction would see the state of its first read, and take more locks.
func (db *DB) begin(ctx context.Context) (*sql.Tx, error) {
	var options *sql.TxOptions
	if db.dialect != SQLite {
		options = &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	}
	tx, err := db.write.BeginTx(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return tx, nil
}

func (db *DB) update(ctx context.Context, fn func(*Tx) error) (err error) {
	tx, err := db.begin(ctx)
	if err != nil {
		return err
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

// Exec runs a statement and returns the number of rows that it matched, also those that had the new values before.
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

// Insert adds one row and returns the id that the database gave it. The statement is a plain INSERT … VALUES (…) without a RETURNING
// clause: how the id comes back differs by dialect, and is decided here.
func (tx *Tx) Insert(ctx context.Context, query string, args ...any) (int64, error) {
	returning, ok := tx.dialect.insertReturning(query)
	if ok {
		var id int64
		err := tx.tx.QueryRowContext(ctx, tx.dialect.Rebind(returning), args...).Scan(&id)
		return id, err
	}
	res, err := tx.tx.ExecContext(ctx, tx.dialect.Rebind(query), args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// insertReturning is the INSERT with what makes it answer the new id; false where the driver tells the id by itself.
func (d Dialect) insertReturning(query string) (string, bool) {
	switch d {
	case SQLite, Postgres:
		return query + " RETURNING id", true
	case SQLServer:
		// Its clause stands between the columns and the values. No column is named "values".
		if i := strings.Index(strings.ToUpper(query), "VALUES"); i >= 0 {
			return query[:i] + "OUTPUT INSERTED.id " + query[i:], true
		}
		return query, true
	default:
		return query, false
	}
}
