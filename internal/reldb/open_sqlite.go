package reldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// The settings of every SQLite connection stand in its address, since a pool opens connections at any time and a PRAGMA
// run once would reach only one of them. WAL lets reports read while a writer writes; synchronous=FULL makes a
// commit durable, so that a key shown once is never lost to a power cut; busy_timeout lets the command line and the
// server share the file. A write transaction begins IMMEDIATE: taking the lock late can fail without a wait.
var sqlitePragmas = []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)"}

func openSQLite(ctx context.Context, t Target) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(t.Path), 0o700); err != nil {
		return nil, fmt.Errorf("database directory: %w", err)
	}
	// SQLite would create the file with the umask's mode, and its -wal and -shm files take the mode of the file.
	f, err := os.OpenFile(t.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("database file: %w", err)
	}
	write, err := sql.Open("sqlite", sqliteDSN(t.Path, "immediate"))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", sqliteDSN(t.Path, "deferred", "query_only(1)"))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(maxConns)
	read.SetMaxIdleConns(maxConns)
	db := &DB{dialect: SQLite, name: t.Name(), path: t.Path, read: read, write: write}
	// The writer first: it is the one that may turn a new file into a WAL database.
	for _, pool := range []*sql.DB{write, read} {
		if err := pool.PingContext(ctx); err != nil {
			return nil, errors.Join(sqliteOpenError(t.Path, err), db.Close())
		}
	}
	return db, nil
}

func sqliteDSN(path, txlock string, extra ...string) string {
	q := url.Values{"_txlock": {txlock}}
	for _, p := range append(sqlitePragmas[:len(sqlitePragmas):len(sqlitePragmas)], extra...) {
		q.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + q.Encode()
}

func sqliteOpenError(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("database file %s: %w", path, err)
	}
	if strings.Contains(err.Error(), "file is not a database") {
		return fmt.Errorf("database file %s is not a SQLite database (damaged, or another program's file): restore it from a backup, or move it away to start anew: %w", path, err)
	}
	return fmt.Errorf("open database file %s: %w", path, err)
}
