package schema

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"gatehouse/internal/reldb"
)

// Each dialect has a folder with the same list of migrations; a test holds the lists equal.
//
//go:embed sqlite/*.sql postgres/*.sql mysql/*.sql sqlserver/*.sql
var relationalFiles embed.FS

// relationalLockTimeout is how long a migration waits for that of another process. Relational tables are small, so whoever
// holds the lock for longer than this hangs, and the error tells so.
const relationalLockTimeout = 2 * time.Minute

// ErrNewer means that a newer Gatehouse has migrated the database. This binary must not touch it: it does not know
// what the newer columns mean, and would write rows that break their rules.
var ErrNewer = errors.New("the database was migrated by a newer version of Gatehouse")

// ErrPending means that the database lacks migrations that this binary needs.
var ErrPending = errors.New("the database schema is older than this version of Gatehouse needs")

// Relational runs the migrations of the relational database: companies, API keys, users. All steps of one call are one
// transaction under a lock: it is done whole or not at all, and of several processes that start at once one does it while
// the others wait. With MySQL and MariaDB, which commit each change of tables by itself, a call that is cut off is finished by the next.
type Relational struct {
	db  *reldb.DB
	now func() time.Time
}

// NewRelational makes the runner for an open database.
func NewRelational(db *reldb.DB) *Relational {
	return &Relational{db: db, now: time.Now}
}

// RelationalStatus tells where a database stands.
type RelationalStatus struct {
	Dialect   string    `json:"dialect"`
	Database  string    `json:"database"`              // its address without password
	Version   uint      `json:"version"`               // 0: no migration has run
	Latest    uint      `json:"latest"`                // what this binary knows
	AppliedAt time.Time `json:"applied_at,omitzero"`   // when the last step ran
	Pending   []string  `json:"pending,omitempty"`     // what `migrate up` would do, in order
	Newer     bool      `json:"newer_than_this_build"` // the binary is too old
	Dirty     bool      `json:"dirty"`                 // a migration was cut off (MySQL): `migrate up` finishes it
}

// Up applies what is pending and returns the versions before and after.
func (r *Relational) Up(ctx context.Context) (from, to uint, err error) {
	return r.run(ctx, func(m *migrate.Migrate) error { return m.Up() })
}

// Down takes back the last steps migrations, at most all of them. What stood in the dropped tables is gone.
func (r *Relational) Down(ctx context.Context, steps int) (from, to uint, err error) {
	if steps <= 0 {
		return 0, 0, fmt.Errorf("migrate down: %d is not a number of steps", steps)
	}
	return r.run(ctx, func(m *migrate.Migrate) error {
		current, _, err := m.Version()
		if err != nil {
			return err
		}
		versions, err := r.versions()
		if err != nil {
			return err
		}
		applied := 0
		for _, v := range versions {
			if v.number <= current {
				applied++
			}
		}
		return m.Steps(-min(steps, applied))
	})
}

// Check returns ErrNewer or ErrPending, with what to do, when this binary cannot work on the database as it is.
func (r *Relational) Check(ctx context.Context) error {
	st, err := r.Status(ctx)
	switch {
	case err != nil:
		return err
	case st.Newer:
		return newerError(st.Version, st.Latest)
	case st.Dirty:
		return fmt.Errorf("%w: a migration of it was cut off: run `gatehouse migrate up`, which goes on where it stopped", ErrPending)
	case len(st.Pending) > 0:
		return fmt.Errorf("%w (version %d of %d): run `gatehouse migrate up`", ErrPending, st.Version, st.Latest)
	}
	return nil
}

// Status reads where the database stands, without a lock and without a change to it.
func (r *Relational) Status(ctx context.Context) (RelationalStatus, error) {
	st := RelationalStatus{Dialect: string(r.db.Dialect()), Database: r.db.Name()}
	versions, err := r.versions()
	if err != nil {
		return st, err
	}
	st.Latest = versions[len(versions)-1].number
	st.Version, st.AppliedAt, err = r.current(ctx)
	if err != nil {
		return st, err
	}
	st.Newer = st.Version > st.Latest
	if r.db.Dialect() == reldb.MySQL {
		p, err := readProgress(ctx, r.db)
		if err != nil {
			return st, err
		}
		st.Dirty = p != nil
	}
	for _, v := range versions {
		if v.number > st.Version {
			st.Pending = append(st.Pending, fmt.Sprintf("%06d_%s", v.number, v.name))
		}
	}
	return st, nil
}

// runner is a driver that has noted at which version it began.
type runner interface {
	database.Driver
	began() uint
}

// run has step work on the migrations under the lock.
func (r *Relational) run(ctx context.Context, step func(*migrate.Migrate) error) (from, to uint, err error) {
	latest, err := r.latest()
	if err != nil {
		return 0, 0, err
	}
	if r.db.Dialect() != reldb.MySQL {
		return r.runWith(ctx, &relationalDriver{ctx: ctx, db: r.db, now: r.now, latest: latest}, step)
	}
	err = r.lockStepwise(ctx, func(ctx context.Context) error {
		from, to, err = r.runWith(ctx, &stepwiseDriver{ctx: ctx, db: r.db, now: r.now, latest: latest}, step)
		return err
	})
	return from, to, err
}

// lockStepwise runs fn under the lock of the migrations in MySQL. It is that of a connection, as there is no transaction that could hold it.
func (r *Relational) lockStepwise(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waiting := time.AfterFunc(relationalLockTimeout, func() {
		cancel(errors.New("another process migrates this database, and has not ended"))
	})
	defer waiting.Stop()
	err := r.db.WithLock(ctx, "migrations", func(ctx context.Context) error {
		waiting.Stop()
		return fn(ctx)
	})
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = errors.Join(err, cause)
	}
	return err
}

// Hold runs fn while nobody can migrate the database. With SQLite, nobody can write to it at all meanwhile, nor can fn.
func (r *Relational) Hold(ctx context.Context, fn func(context.Context) error) (err error) {
	if r.db.Dialect() == reldb.MySQL {
		return r.lockStepwise(ctx, fn)
	}
	tx, err := r.db.Writer().BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	defer func() {
		if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = errors.Join(err, rerr)
		}
	}()
	if err := lockMigrations(ctx, tx, r.db.Dialect()); err != nil {
		return err
	}
	return fn(ctx)
}

func (r *Relational) runWith(ctx context.Context, drv runner, step func(*migrate.Migrate) error) (from, to uint, err error) {
	src, err := r.source()
	if err != nil {
		return 0, 0, err
	}
	m, err := migrate.NewWithInstance("iofs", src, string(r.db.Dialect()), drv)
	if err != nil {
		return 0, 0, errors.Join(err, src.Close())
	}
	m.LockTimeout = relationalLockTimeout
	err = step(m)
	if err != nil && !errors.Is(err, migrate.ErrNoChange) && !errors.Is(err, migrate.ErrNilVersion) {
		err = fmt.Errorf("migrate %s: %w", r.db.Name(), err)
	} else {
		err = nil
	}
	srcErr, drvErr := m.Close()
	if err := errors.Join(err, srcErr, drvErr); err != nil {
		return drv.began(), drv.began(), err
	}
	if to, _, err = r.current(ctx); err != nil {
		return drv.began(), drv.began(), err
	}
	return drv.began(), to, nil
}

func (r *Relational) source() (source.Driver, error) {
	src, err := iofs.New(relationalFiles, string(r.db.Dialect()))
	if err != nil {
		return nil, fmt.Errorf("migrations of %s: %w", r.db.Dialect(), err)
	}
	return src, nil
}

func (r *Relational) latest() (uint, error) {
	versions, err := r.versions()
	if err != nil {
		return 0, err
	}
	return versions[len(versions)-1].number, nil
}

type relationalVersion struct {
	number uint
	name   string
}

// versions lists the embedded migrations of the dialect in order. It is never empty.
func (r *Relational) versions() ([]relationalVersion, error) {
	return relationalVersions(relationalFiles, r.db.Dialect())
}

func relationalVersions(files fs.ReadDirFS, dialect reldb.Dialect) ([]relationalVersion, error) {
	entries, err := files.ReadDir(string(dialect))
	if err != nil {
		return nil, fmt.Errorf("migrations of %s: %w", dialect, err)
	}
	var out []relationalVersion
	for _, e := range entries { // ReadDir sorts by name, and the numbers have a fixed width
		m, err := source.DefaultParse(e.Name())
		if err != nil {
			return nil, fmt.Errorf("BUG: migration %s/%s has no valid name: %w", dialect, e.Name(), err)
		}
		if m.Direction == source.Up {
			out = append(out, relationalVersion{m.Version, m.Identifier})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("BUG: no migrations embedded for %s", dialect)
	}
	return out, nil
}

func newerError(version, latest uint) error {
	return fmt.Errorf("%w: its schema is at version %d, this binary knows up to %d. Run that newer version, or use it to go back first (`gatehouse migrate down --only relational --steps %d` or `--only events`)",
		ErrNewer, version, latest, version-latest)
}
