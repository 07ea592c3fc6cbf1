package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/source"

	"gatehouse/internal/reldb"
)

// How far a migration has come in a database that commits each change of tables by itself: one row while one is under way, and no table otherwise.
const (
	progressCreate = `CREATE TABLE IF NOT EXISTS schema_progress (
    id        INTEGER     NOT NULL PRIMARY KEY,
    version   BIGINT      NOT NULL,
    direction VARCHAR(8)  NOT NULL,
    done      BIGINT      NOT NULL,
    begun     SMALLINT    NOT NULL
) ENGINE = InnoDB`
	progressDrop  = `DROP TABLE IF EXISTS schema_progress`
	progressThere = `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'schema_progress'`
	progressRead  = `SELECT version, direction, done, begun FROM schema_progress WHERE id = 1`
	progressAdd   = `INSERT INTO schema_progress (id, version, direction, done, begun) VALUES (1, ?, ?, 0, 0)`
	progressMove  = `UPDATE schema_progress SET done = ?, begun = ? WHERE id = 1`
	progressEnd   = `DELETE FROM schema_progress WHERE id = 1`
)

// progress is the row of schema_progress.
type progress struct {
	version   uint // of the migration's file
	direction source.Direction
	done      int  // statements that are through
	begun     bool // the one after these was sent to the server: it may have been done
}

// after is the version at which the schema stands when the migration is through.
func (p *progress) after() uint {
	if p.direction == source.Down {
		return p.version - 1 // numbers count up by one, as a test makes sure
	}
	return p.version
}

// readProgress gives nil when no migration is under way.
func readProgress(ctx context.Context, db *reldb.DB) (*progress, error) {
	var n int
	if err := db.QueryRow(ctx, progressThere).Scan(&n); err != nil {
		return nil, fmt.Errorf("progress of the migration: %w", err)
	}
	if n == 0 {
		return nil, nil //nolint:nilnil // that no migration is under way is the usual state, not an error
	}
	var p progress
	err := db.QueryRow(ctx, progressRead).Scan(&p.version, &p.direction, &p.done, &p.begun)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, fmt.Errorf("progress of the migration: %w", err)
	}
	return &p, nil
}

// stepwiseDriver is golang-migrate's view of MySQL and MariaDB, where a change of tables ends the transaction that it stands in. After each
// statement it notes how far it came; a migration that was cut off, by an error or a kill, is finished from there by the next run, before anything
// else. The caller holds the lock.
type stepwiseDriver struct {
	ctx    context.Context //nolint:containedctx // the library's interface has none; the driver lives for one call
	db     *reldb.DB
	now    func() time.Time
	latest uint

	from uint
	at   *progress // of the migration that runs
}

func (d *stepwiseDriver) began() uint { return d.from }

// Open is part of the library's interface for addresses, which are not used here.
func (d *stepwiseDriver) Open(string) (database.Driver, error) {
	return nil, errors.New("BUG: the relational driver is made from an open database")
}

// Close leaves the database open: it belongs to the caller.
func (d *stepwiseDriver) Close() error { return nil }

// Lock refuses a schema that is too new, and finishes what was cut off.
func (d *stepwiseDriver) Lock() error {
	if err := d.exec(relationalCreateHistory(d.db.Dialect())); err != nil {
		return fmt.Errorf("create the schema history: %w", err)
	}
	current, _, err := (&Relational{db: d.db}).current(d.ctx)
	if err != nil {
		return err
	}
	d.from = current
	p, err := readProgress(d.ctx, d.db)
	if err != nil {
		return err
	}
	if d.from > d.latest {
		return newerError(d.from, d.latest)
	}
	if p == nil {
		return nil
	}
	if p.version > d.latest {
		return newerError(p.version, d.latest)
	}
	text, err := migrationText(d.db.Dialect(), p.version, p.direction)
	if err != nil {
		return err
	}
	d.at = p
	if err := d.runText(text); err != nil {
		return err
	}
	return d.finish()
}

// Unlock leaves no table behind when no migration is under way.
func (d *stepwiseDriver) Unlock() error {
	p, err := readProgress(d.ctx, d.db)
	if err != nil || p != nil {
		return err
	}
	if err := d.exec(progressDrop); err != nil {
		return fmt.Errorf("end the migration: %w", err)
	}
	return nil
}

// SetVersion is called before a step, with dirty, and after it.
func (d *stepwiseDriver) SetVersion(version int, dirty bool) error {
	if !dirty {
		return d.finish()
	}
	current, _, err := (&Relational{db: d.db}).current(d.ctx)
	if err != nil {
		return err
	}
	p := progress{version: uint(max(version, 0)), direction: source.Up}
	if p.version < current {
		p = progress{version: current, direction: source.Down}
	}
	if err := d.exec(progressCreate); err != nil {
		return fmt.Errorf("begin the migration: %w", err)
	}
	if err := d.db.Update(d.ctx, func(tx *reldb.Tx) error {
		_, err := tx.Exec(d.ctx, progressAdd, p.version, string(p.direction))
		return err
	}); err != nil {
		return fmt.Errorf("begin the migration: %w", err)
	}
	d.at = &p
	return nil
}

// Run runs one migration file.
func (d *stepwiseDriver) Run(migration io.Reader) error {
	text, err := io.ReadAll(migration)
	if err != nil {
		return err
	}
	return d.runText(string(text))
}

func (d *stepwiseDriver) runText(text string) error {
	list := statements(text)
	for i := d.at.done; i < len(list); i++ {
		var err error
		switch firstWord(list[i]) {
		case "INSERT", "UPDATE", "DELETE":
			err = d.change(list[i])
		default:
			err = d.define(list[i])
		}
		if err != nil {
			return d.explain(i, len(list), err)
		}
	}
	return nil
}

// change runs a statement that changes rows: it is done with the note that it is, or neither is.
func (d *stepwiseDriver) change(statement string) error {
	err := d.db.Update(d.ctx, func(tx *reldb.Tx) error {
		if _, err := tx.Exec(d.ctx, statement); err != nil {
			return err
		}
		_, err := tx.Exec(d.ctx, progressMove, d.at.done+1, 0)
		return err
	})
	if err == nil {
		d.at.done++
		d.at.begun = false
	}
	return err
}

// define runs a statement that changes tables, each of which the server does whole or not at all. That it was done is noted together with the beginning of
// the next one: if it was sent before by a run that came no further, the answer "is there already" means that it was done then.
func (d *stepwiseDriver) define(statement string) error {
	again := d.at.begun
	if err := d.move(d.at.done, true); err != nil {
		return err
	}
	err := d.exec(statement)
	switch {
	case err == nil, again && reldb.IsDone(err):
		d.at.done++
		d.at.begun = false
		return nil
	case reldb.IsRefused(err):
		return errors.Join(err, d.move(d.at.done, false)) // it was not done, and "is there already" is then somebody else's table
	default:
		return err
	}
}

func (d *stepwiseDriver) move(done int, begun bool) error {
	mark := 0
	if begun {
		mark = 1
	}
	if err := d.db.Update(d.ctx, func(tx *reldb.Tx) error {
		_, err := tx.Exec(d.ctx, progressMove, done, mark)
		return err
	}); err != nil {
		return fmt.Errorf("note the migration's progress: %w", err)
	}
	d.at.done, d.at.begun = done, begun
	return nil
}

// explain tells what a failed statement means. A migration that failed at its first one has changed nothing, and is taken as not begun.
func (d *stepwiseDriver) explain(i, n int, err error) error {
	if i == 0 && !d.at.begun {
		err = errors.Join(err, d.write(progressEnd))
		return fmt.Errorf("statement 1 failed, nothing was changed: %w", err)
	}
	return fmt.Errorf("statement %d of %d of migration %d (%s) failed, those before it stay, since this kind of database keeps each by itself. Mend the cause and run `gatehouse migrate up`: it goes on at that statement: %w",
		i+1, n, d.at.version, d.at.direction, err)
}

// finish writes the history and ends the progress, both or neither.
func (d *stepwiseDriver) finish() error {
	after := d.at.after()
	if err := d.db.Update(d.ctx, func(tx *reldb.Tx) error {
		var seq int64
		if err := tx.QueryRow(d.ctx, relationalNextHistory).Scan(&seq); err != nil {
			return err
		}
		if _, err := tx.Exec(d.ctx, relationalAddHistory, seq, after, d.now().UnixMilli()); err != nil {
			return err
		}
		_, err := tx.Exec(d.ctx, progressEnd)
		return err
	}); err != nil {
		return fmt.Errorf("write the schema history: %w", err)
	}
	d.at = nil
	return nil
}

// Version reads the history. There is no dirty state for the library to refuse: Lock has finished what was cut off.
func (d *stepwiseDriver) Version() (int, bool, error) {
	v, _, err := (&Relational{db: d.db}).current(d.ctx)
	if err != nil || v == 0 {
		return database.NilVersion, false, err
	}
	return int(v), false, nil
}

// Drop is the library's "remove everything", which Gatehouse never does.
func (d *stepwiseDriver) Drop() error {
	return errors.New("BUG: dropping the whole database is not offered")
}

// exec runs a statement outside any transaction.
func (d *stepwiseDriver) exec(statement string) error {
	_, err := d.db.Writer().ExecContext(d.ctx, statement)
	return err
}

// write runs a statement on the progress.
func (d *stepwiseDriver) write(statement string) error {
	return d.db.Update(d.ctx, func(tx *reldb.Tx) error {
		_, err := tx.Exec(d.ctx, statement)
		return err
	})
}

// migrationText reads an embedded migration.
func migrationText(dialect reldb.Dialect, version uint, direction source.Direction) (string, error) {
	prefix := fmt.Sprintf("%06d_", version)
	entries, err := relationalFiles.ReadDir(string(dialect))
	if err != nil {
		return "", fmt.Errorf("migrations of %s: %w", dialect, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), "."+string(direction)+".sql") {
			text, err := relationalFiles.ReadFile(string(dialect) + "/" + e.Name())
			return string(text), err
		}
	}
	return "", fmt.Errorf("BUG: no migration %d (%s) embedded for %s", version, direction, dialect)
}

var _ runner = (*stepwiseDriver)(nil)
