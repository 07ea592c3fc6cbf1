package schema

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/golang-migrate/migrate/v4"
	chmigrate "github.com/golang-migrate/migrate/v4/database/clickhouse"
	"github.com/golang-migrate/migrate/v4/source/iofs"
)

//go:embed clickhouse/*.sql
var clickhouseFiles embed.FS

const clickhouseTable = "schema_migrations"

// ClickHouse runs the migrations of the event store. One source renders for
// the embedded engine, a single server and a cluster, see [Layout].
type ClickHouse struct {
	options *clickhouse.Options
	layout  Layout
}

// NewClickHouse makes the runner for the store that options reach. The
// database named in layout is created when it is not there.
func NewClickHouse(options *clickhouse.Options, layout Layout) (*ClickHouse, error) {
	if err := layout.check(); err != nil {
		return nil, err
	}
	o := *options
	o.Auth.Database = layout.Database
	return &ClickHouse{options: &o, layout: layout}, nil
}

// ClickHouseStatus tells where the event store stands.
type ClickHouseStatus struct {
	Database string   `json:"database"`
	Version  uint     `json:"version"` // 0: no migration has run
	Latest   uint     `json:"latest"`  // what this binary knows
	Dirty    bool     `json:"dirty"`   // a migration was cut off; `up` runs it again
	Pending  []string `json:"pending,omitempty"`
	Newer    bool     `json:"newer_than_this_build"`
}

// Up applies what is pending, then sets the retention of the layout. Every
// statement may run twice, so a migration that was cut off is run again. The caller
// holds the lock that keeps other processes from migrating at the same time.
func (c *ClickHouse) Up(ctx context.Context) (from, to uint, err error) {
	if err := c.createDatabase(ctx); err != nil {
		return 0, 0, err
	}
	from, to, err = c.run(ctx, func(m *migrate.Migrate) error { return m.Up() })
	if err != nil {
		return from, to, err
	}
	return from, to, c.applyRetention(ctx)
}

// Down takes back the last steps migrations. Down from the first drops every event.
func (c *ClickHouse) Down(ctx context.Context, steps int) (from, to uint, err error) {
	if steps <= 0 {
		return 0, 0, fmt.Errorf("migrate down: %d is not a number of steps", steps)
	}
	return c.run(ctx, func(m *migrate.Migrate) error {
		err := m.Steps(-steps)
		if short := (migrate.ErrShortLimit{}); errors.As(err, &short) {
			return nil // fewer were applied than asked to take back
		}
		return err
	})
}

// Check returns [ErrNewer] or [ErrPending], with what to do, when this binary
// cannot work on the store as it is.
func (c *ClickHouse) Check(ctx context.Context) error {
	st, err := c.Status(ctx)
	switch {
	case err != nil:
		return err
	case st.Newer:
		return newerError(st.Version, st.Latest)
	case st.Dirty || len(st.Pending) > 0:
		return fmt.Errorf("%w (version %d of %d): run `gatehouse migrate up`", ErrPending, st.Version, st.Latest)
	}
	return nil
}

// Status reads where the store stands and changes nothing.
func (c *ClickHouse) Status(ctx context.Context) (ClickHouseStatus, error) {
	st := ClickHouseStatus{Database: c.layout.Database}
	versions, err := relationalVersions(clickhouseFiles, "clickhouse")
	if err != nil {
		return st, err
	}
	st.Latest = versions[len(versions)-1].number
	if st.Version, st.Dirty, err = c.version(ctx); err != nil {
		return st, err
	}
	st.Newer = st.Version > st.Latest
	for _, v := range versions {
		if v.number > st.Version || (st.Dirty && v.number == st.Version) {
			st.Pending = append(st.Pending, fmt.Sprintf("%06d_%s", v.number, v.name))
		}
	}
	return st, nil
}

func (c *ClickHouse) version(ctx context.Context) (version uint, dirty bool, err error) {
	db := c.open("default")
	defer func() { err = errors.Join(err, db.Close()) }()
	var exists uint8
	err = db.QueryRowContext(ctx, "SELECT toUInt8(count() > 0) FROM system.tables WHERE database = ? AND name = ?", c.layout.Database, clickhouseTable).Scan(&exists)
	if err != nil {
		return 0, false, fmt.Errorf("read the event store's tables: %w", err)
	}
	if exists == 0 {
		return 0, false, nil
	}
	var v int64
	var d uint8
	query := "SELECT version, dirty FROM " + quote(c.layout.Database) + "." + clickhouseTable + " ORDER BY sequence DESC LIMIT 1"
	switch err := db.QueryRowContext(ctx, query).Scan(&v, &d); {
	case errors.Is(err, sql.ErrNoRows) || v < 0:
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read the event store's version: %w", err)
	}
	return uint(v), d == 1, nil
}

func (c *ClickHouse) createDatabase(ctx context.Context) (err error) {
	db := c.open("default")
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+quote(c.layout.Database)+" "+c.layout.OnCluster()); err != nil {
		return fmt.Errorf("create database %s: %w", c.layout.Database, err)
	}
	return nil
}

func (c *ClickHouse) run(ctx context.Context, step func(*migrate.Migrate) error) (from, to uint, err error) {
	from, dirty, err := c.version(ctx)
	if err != nil {
		return 0, 0, err
	}
	st, err := c.Status(ctx)
	if err != nil {
		return from, from, err
	}
	if st.Newer {
		return from, from, newerError(st.Version, st.Latest)
	}
	src, err := iofs.New(rendered{clickhouseFiles, c.layout}, "clickhouse")
	if err != nil {
		return from, from, fmt.Errorf("migrations of the event store: %w", err)
	}
	drv, err := chmigrate.WithInstance(c.open(c.layout.Database), &chmigrate.Config{
		DatabaseName:          c.layout.Database,
		ClusterName:           c.layout.Cluster,
		MigrationsTable:       clickhouseTable,
		MigrationsTableEngine: c.layout.historyEngine(),
		MultiStatementEnabled: true,
	})
	if err != nil {
		return from, from, errors.Join(fmt.Errorf("event store: %w", err), src.Close())
	}
	m, err := migrate.NewWithInstance("iofs", src, "clickhouse", drv)
	if err != nil {
		return from, from, errors.Join(err, src.Close(), drv.Close())
	}
	defer func() {
		srcErr, drvErr := m.Close()
		err = errors.Join(err, srcErr, drvErr)
	}()
	if dirty {
		// Cut off half-way. Its statements are all IF [NOT] EXISTS: from the version
		// before, they may run again.
		before := int(from) - 1
		if before < 1 {
			before = -1 // the library's word for "none"
		}
		if err := m.Force(before); err != nil {
			return from, from, fmt.Errorf("migrate the event store: %w", err)
		}
	}
	if err := step(m); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		return from, from, fmt.Errorf("migrate the event store: %w", err)
	}
	to, _, err = c.version(ctx)
	return from, to, err
}

// applyRetention makes the tables drop what is older than the layout says.
// Whole months go at once, when their last event is old enough.
func (c *ClickHouse) applyRetention(ctx context.Context) (err error) {
	db := c.open(c.layout.Database)
	defer func() { err = errors.Join(err, db.Close()) }()
	want := c.layout.ttl()
	for _, table := range []string{"events", "presence"} {
		var ddl string
		local := strings.Trim(c.layout.localName(table), "`")
		if err := db.QueryRowContext(ctx, "SELECT create_table_query FROM system.tables WHERE database = ? AND name = ?", c.layout.Database, local).Scan(&ddl); err != nil {
			return fmt.Errorf("read the retention of %s: %w", table, err)
		}
		has := strings.Contains(ddl, " TTL ")
		var stmt string
		switch {
		case want == "" && has:
			stmt = "REMOVE TTL"
		case want != "" && !strings.Contains(ddl, " TTL "+want+" "):
			stmt = "MODIFY TTL " + want
		default:
			continue
		}
		stmt = "ALTER TABLE " + c.layout.Local(table) + " " + c.layout.OnCluster() + " " + stmt
		if _, err := db.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("set the retention of %s: %w", table, err)
		}
	}
	return nil
}

func (c *ClickHouse) open(database string) *sql.DB {
	o := *c.options
	o.Auth.Database = database
	db := clickhouse.OpenDB(&o)
	db.SetConnMaxIdleTime(time.Minute)
	return db
}

// rendered is the migrations' folder with each file's template carried out.
type rendered struct {
	fs.FS
	layout Layout
}

// Open gives the rendered file.
func (r rendered) Open(name string) (fs.File, error) {
	f, err := r.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return f, err
	}
	raw, err := fs.ReadFile(r.FS, name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	text, err := r.layout.render(name, string(raw))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &renderedFile{File: f, Reader: strings.NewReader(text)}, nil
}

type renderedFile struct {
	fs.File
	*strings.Reader
}

// Read reads the rendered text, not the template.
func (f *renderedFile) Read(p []byte) (int, error) { return f.Reader.Read(p) }
