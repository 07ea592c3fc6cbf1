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

// historyTable is in every database of ours, since the migration that makes the first table.
const historyTable = "schema_migrations"

// sqliteForeign lists the tables of a file, and whether they are not ours. It changes nothing: not even the journal's mode, which stays with the file.
const sqliteForeign = `SELECT COALESCE(group_concat(name, ', '), ''), COALESCE(SUM(name = ?), 0) FROM
(SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name = ? DESC, name LIMIT 5)`

// checkSQLite refuses a file of another program before anything is done to it. The application that Gatehouse replaces had its database in such a
// file, and DATABASE_URL may still name it.
func checkSQLite(ctx context.Context, path string) (err error) {
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		return nil
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var tables string
	var ours int
	if err := db.QueryRowContext(ctx, sqliteForeign, historyTable, historyTable).Scan(&tables, &ours); err != nil {
		return sqliteOpenError(path, err)
	}
	if tables == "" || ours > 0 {
		return nil
	}
	return fmt.Errorf("database file %s is another program's (tables %s, and no history of Gatehouse's), and was left as it is: if it is that of the application that Gatehouse replaces, "+
		"leave DATABASE_URL out, and Gatehouse keeps its own file in the data directory, or name a file that is not there yet", path, tables)
}

// checkDirectory refuses to make a directory at the root of the file system: it is where an address ends up that was meant to be relative.
func checkDirectory(path string) error {
	top := filepath.Dir(path)
	for parent := filepath.Dir(top); parent != filepath.Dir(parent); parent = filepath.Dir(top) {
		top = parent
	}
	if _, err := os.Stat(top); !errors.Is(err, fs.ErrNotExist) || !filepath.IsAbs(path) {
		return nil
	}
	return fmt.Errorf("there is no directory %s for the database file %s: what follows sqlite:// is the whole path here, where the application that Gatehouse replaces looked for "+
		"sqlite:///%s in its own folder. Name the whole path, as in %s, or leave DATABASE_URL out, and Gatehouse keeps its file in the data directory",
		top, path, strings.TrimPrefix(filepath.ToSlash(path), "/"), examples[SQLite])
}

func openSQLite(ctx context.Context, t Target) (*DB, error) {
	if err := errors.Join(checkDirectory(t.Path), checkSQLite(ctx, t.Path)); err != nil {
		return nil, err
	}
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
