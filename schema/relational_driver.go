package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/golang-migrate/migrate/v4/database"

	"gatehouse/internal/reldb"
)

// relationalLockKey is the advisory lock in PostgreSQL under which migrations run. Any constant does, as long as it never
// changes and nothing else in the same database uses it.
const relationalLockKey = 0x67617465686f7573 // "gatehous"

// relationalLockSQLServer is the same in SQL Server, held by the transaction. A negative answer means that it was not given.
const relationalLockSQLServer = `DECLARE @got INT;
EXEC @got = sp_getapplock @Resource = 'gatehouse migrations', @LockMode = 'Exclusive', @LockOwner = 'Transaction', @LockTimeout = @p1;
IF @got < 0 THROW 50000, 'another process migrates this database, and has not ended', 1;`

// The history of the schema: one row for each step, up or down. The last row is where the schema stands; version 0 is
// "nothing". Rows are never removed, so that it can be told later what ran when.
const (
	relationalHistory = `schema_migrations (
    seq        BIGINT NOT NULL PRIMARY KEY,
    version    BIGINT NOT NULL,
    applied_at BIGINT NOT NULL
)`
	relationalReadHistory = `SELECT version, applied_at FROM schema_migrations WHERE seq = (SELECT MAX(seq) FROM schema_migrations)`
	relationalNextHistory = `SELECT COALESCE(MAX(seq), 0) + 1 FROM schema_migrations`
	relationalAddHistory  = `INSERT INTO schema_migrations (seq, version, applied_at) VALUES (?, ?, ?)`
)

// relationalCreateHistory makes the history where it is not there yet.
func relationalCreateHistory(d reldb.Dialect) string {
	if d == reldb.SQLServer {
		return `IF OBJECT_ID('schema_migrations') IS NULL CREATE TABLE ` + relationalHistory
	}
	return `CREATE TABLE IF NOT EXISTS ` + relationalHistory
}

// relationalHasHistory tells whether the history is there, without an error that would spoil a transaction.
var relationalHasHistory = map[reldb.Dialect]string{
	reldb.SQLite:    `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'`,
	reldb.Postgres:  `SELECT COUNT(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('schema_migrations')`,
	reldb.MySQL:     `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'schema_migrations'`,
	reldb.SQLServer: `SELECT COUNT(*) FROM sys.tables WHERE object_id = OBJECT_ID('schema_migrations')`,
}

// current reads the version, 0 for an empty database.
func (r *Relational) current(ctx context.Context) (uint, time.Time, error) {
	var n int
	if err := r.db.QueryRow(ctx, relationalHasHistory[r.db.Dialect()]).Scan(&n); err != nil {
		return 0, time.Time{}, fmt.Errorf("schema version: %w", err)
	}
	if n == 0 {
		return 0, time.Time{}, nil
	}
	var version uint
	var at int64
	err := r.db.QueryRow(ctx, relationalReadHistory).Scan(&version, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("schema version: %w", err)
	}
	return version, time.UnixMilli(at).UTC(), nil
}

// relationalDriver is golang-migrate's view of the database. The library's own drivers are not used: theirs for SQLite
// locks within the process alone, and all of them commit step by step with a "dirty" mark that an operator must repair by
// hand. Here the lock is a transaction that holds every step, so that a failed or killed migration leaves no trace.
// MySQL, where each change of tables commits by itself, has a driver of its own, see stepwiseDriver.
type relationalDriver struct {
	ctx    context.Context //nolint:containedctx // the library's interface has none; the driver lives for one call
	db     *reldb.DB
	now    func() time.Time
	latest uint

	tx     *sql.Tx
	failed bool
	from   uint
}

func (d *relationalDriver) began() uint { return d.from }

// Open is part of the library's interface for addresses, which are not used here.
func (d *relationalDriver) Open(string) (database.Driver, error) {
	return nil, errors.New("BUG: the relational driver is made from an open database")
}

// Close leaves the database open: it belongs to the caller. A transaction still there is one whose Unlock did not come.
func (d *relationalDriver) Close() error {
	if d.tx == nil {
		return nil
	}
	d.failed = true
	return d.Unlock()
}

// Lock begins the transaction and refuses a schema that is too new.
func (d *relationalDriver) Lock() (err error) {
	tx, err := d.db.Writer().BeginTx(d.ctx, nil)
	if err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	if err := lockMigrations(d.ctx, tx, d.db.Dialect()); err != nil {
		return err
	}
	if _, err := tx.ExecContext(d.ctx, relationalCreateHistory(d.db.Dialect())); err != nil {
		return fmt.Errorf("create the schema history: %w", err)
	}
	d.tx, d.failed = tx, false
	version, _, err := d.Version()
	if err == nil {
		d.from = uint(max(version, 0))
		if d.from > d.latest {
			err = newerError(d.from, d.latest)
		}
	}
	if err != nil {
		d.tx = nil
	}
	return err
}

// lockMigrations makes tx the one transaction that may migrate. With SQLite it is that already, as it began IMMEDIATE.
func lockMigrations(ctx context.Context, tx *sql.Tx, dialect reldb.Dialect) (err error) {
	switch dialect {
	case reldb.Postgres:
		_, err = tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(relationalLockKey))
	case reldb.SQLServer:
		_, err = tx.ExecContext(ctx, relationalLockSQLServer, relationalLockTimeout.Milliseconds())
	}
	if err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	return nil
}

// Unlock ends the transaction: kept when every step went through.
func (d *relationalDriver) Unlock() error {
	tx := d.tx
	d.tx = nil
	if tx == nil {
		return nil
	}
	if d.failed {
		if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			return fmt.Errorf("roll back: %w", err)
		}
		return nil
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit the migration: %w", err)
	}
	return nil
}

// Run runs one migration file.
func (d *relationalDriver) Run(migration io.Reader) error {
	text, err := io.ReadAll(migration)
	if err != nil {
		d.failed = true
		return err
	}
	// One by one: SQL Server looks at a whole text before it runs it, and would not find the columns that the text adds.
	for i, statement := range statements(string(text)) {
		if _, err := d.tx.ExecContext(d.ctx, statement); err != nil {
			d.failed = true
			return fmt.Errorf("statement %d failed, nothing was changed: %w", i+1, err)
		}
	}
	return nil
}

// SetVersion adds to the history. The library marks a step dirty before it runs; the transaction makes that needless.
func (d *relationalDriver) SetVersion(version int, dirty bool) error {
	if dirty {
		return nil
	}
	var seq int64
	err := d.tx.QueryRowContext(d.ctx, relationalNextHistory).Scan(&seq)
	if err == nil {
		_, err = d.tx.ExecContext(d.ctx, d.db.Dialect().Rebind(relationalAddHistory), seq, max(version, 0), d.now().UnixMilli())
	}
	if err != nil {
		d.failed = true
		return fmt.Errorf("write the schema history: %w", err)
	}
	return nil
}

// Version reads the history, inside the transaction when there is one.
func (d *relationalDriver) Version() (int, bool, error) {
	var version int
	var err error
	if d.tx != nil {
		var at int64
		err = d.tx.QueryRowContext(d.ctx, relationalReadHistory).Scan(&version, &at)
	} else {
		var v uint
		v, _, err = (&Relational{db: d.db}).current(d.ctx)
		version = int(v)
	}
	if errors.Is(err, sql.ErrNoRows) || err == nil && version == 0 {
		return database.NilVersion, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("schema version: %w", err)
	}
	return version, false, nil
}

// Drop is the library's "remove everything", which Gatehouse never does.
func (d *relationalDriver) Drop() error {
	return errors.New("BUG: dropping the whole database is not offered")
}

var _ runner = (*relationalDriver)(nil)
