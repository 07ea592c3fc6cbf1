package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"text/tabwriter"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/spf13/cobra"

	"gatehouse/engine"
	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

const migrateHelp = `Gatehouse keeps its tables in two databases: companies, users and keys in a relational one, events
in ClickHouse. "gatehouse serve" brings both up to date when it starts; these commands do it apart
from a start, or take it back.

A database that a newer Gatehouse has migrated is refused by an older one.`

// migrator is one database's migrations.
type migrator interface {
	Up(ctx context.Context) (from, to uint, err error)
	Down(ctx context.Context, steps int) (from, to uint, err error)
}

// migrateState is where one database stands.
type migrateState struct {
	Name     string   `json:"name"` // relational or events
	Database string   `json:"database"`
	Version  uint     `json:"version"`
	Latest   uint     `json:"latest"`
	Pending  []string `json:"pending"`
	Newer    bool     `json:"newer_than_this_build"`
}

// migrateTarget is one database that migrate works on.
type migrateTarget struct {
	name   string
	state  func(ctx context.Context) (migrateState, error)
	runner migrator
}

func newMigrateCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the databases' tables up to date, or take that back",
		Long:  migrateHelp,
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMigrateUpCommand(c), newMigrateDownCommand(c), newMigrateStatusCommand(c))
	return cmd
}

// withMigrations opens the databases that only names (both when it is empty) and runs fn on each in order. Without a ClickHouse
// server in the settings it starts the embedded engine for the time that this takes.
func (c *cli) withMigrations(cmd *cobra.Command, only string, fn func(migrateTarget) error) (err error) {
	switch only {
	case "", "relational", "events":
	default:
		return usageError{fmt.Errorf("--only %s: there are relational and events", only)}
	}
	ctx := cmd.Context()
	url, err := c.databaseURL()
	if err != nil {
		return err
	}
	db, err := reldb.Open(ctx, url) // also for the events: it has the lock under which they are migrated
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if only != "events" {
		if err := fn(relationalTarget(schema.NewRelational(db))); err != nil {
			return err
		}
	}
	if only == "relational" {
		return nil
	}
	options, closeEngine, err := c.openEvents(ctx, cmd.ErrOrStderr())
	if errors.Is(err, engine.ErrDirInUse) {
		return fmt.Errorf("the server that runs has brought the tables of the events up to date when it started, and uses them now: stop it first, or name --only relational: %w", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEngine()) }()
	layout := schema.Layout{Database: c.cfg.ClickHouse.Name, Cluster: c.cfg.ClickHouse.Cluster, RetentionMonths: c.cfg.Ingest.RetentionMonths}
	events, err := schema.NewClickHouse(options, layout)
	if err != nil {
		return err
	}
	return fn(eventsTarget(events, db, layout.Database))
}

// openEvents reaches the event store: the server that the settings name, else the embedded engine.
func (c *cli) openEvents(ctx context.Context, stderr io.Writer) (*clickhouse.Options, func() error, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, nil, err
	}
	if address := cfg.ClickHouse.URL.Reveal(); address != "" {
		options, err := outsideClickHouse(address)
		return options, func() error { return nil }, err
	}
	// Who waits for a table wants to see what went wrong, not that the engine came up.
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	dir, err := filepath.Abs(filepath.Join(c.dataDir, dirEngine))
	if err != nil {
		return nil, nil, err
	}
	e, err := engine.Start(ctx, engine.Config{
		Dir: dir, Library: cfg.Engine.Library,
		MemoryLimit: int64(cfg.Engine.MemoryLimit), Threads: cfg.Engine.Threads, Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	return e.Options(), e.Close, nil
}

// eventsLock is the lock under which every process migrates the event store.
func eventsLock(database string) string { return "gatehouse-events-" + database }

// lockedEvents runs the event store's migrations under the lock, which ClickHouse itself does not offer.
type lockedEvents struct {
	*schema.ClickHouse
	db   *reldb.DB
	name string
}

func (l lockedEvents) Up(ctx context.Context) (from, to uint, err error) {
	err = l.db.WithLock(ctx, l.name, func(ctx context.Context) error {
		from, to, err = l.ClickHouse.Up(ctx)
		return err
	})
	return from, to, err
}

func (l lockedEvents) Down(ctx context.Context, steps int) (from, to uint, err error) {
	err = l.db.WithLock(ctx, l.name, func(ctx context.Context) error {
		from, to, err = l.ClickHouse.Down(ctx, steps)
		return err
	})
	return from, to, err
}

func eventsTarget(events *schema.ClickHouse, db *reldb.DB, database string) migrateTarget {
	return migrateTarget{name: "events", runner: lockedEvents{events, db, eventsLock(database)}, state: func(ctx context.Context) (migrateState, error) {
		st, err := events.Status(ctx)
		return migrateState{Name: "events", Database: st.Database, Version: st.Version, Latest: st.Latest, Pending: st.Pending, Newer: st.Newer}, err
	}}
}

func relationalTarget(r *schema.Relational) migrateTarget {
	return migrateTarget{name: "relational", runner: r, state: func(ctx context.Context) (migrateState, error) {
		st, err := r.Status(ctx)
		return migrateState{Name: "relational", Database: st.Database, Version: st.Version, Latest: st.Latest, Pending: st.Pending, Newer: st.Newer}, err
	}}
}

func newMigrateUpCommand(c *cli) *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Apply what is pending",
		Long:  "Apply all pending migrations. Several processes may do so at once: one works, the others wait for it.",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withMigrations(cmd, only, func(t migrateTarget) error {
				from, to, err := t.runner.Up(cmd.Context())
				if err != nil {
					return err
				}
				return printMigrated(cmd, t.name, from, to)
			})
		},
	}
	onlyFlag(cmd, &only)
	return cmd
}

func newMigrateDownCommand(c *cli) *cobra.Command {
	var only string
	var steps int
	cmd := &cobra.Command{
		Use:   "down --only DATABASE",
		Short: "Take back the last migrations, with what stands in their tables",
		Long: `Take back the last migrations of one database, for going back to an older Gatehouse. Tables and columns
that these migrations made are dropped WITH WHAT STANDS IN THEM: make a backup first, and stop the
server.`,
		Example: "  gatehouse migrate down --only relational --steps 1",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if steps < 1 {
				return usageError{fmt.Errorf("--steps %d: want at least 1", steps)}
			}
			return c.withMigrations(cmd, only, func(t migrateTarget) error {
				from, to, err := t.runner.Down(cmd.Context(), steps)
				if err != nil {
					return err
				}
				return printMigrated(cmd, t.name, from, to)
			})
		},
	}
	onlyFlag(cmd, &only)
	requireFlags(cmd, "only")
	cmd.Flags().IntVar(&steps, "steps", 1, "how many migrations to take back")
	return cmd
}

func newMigrateStatusCommand(c *cli) *cobra.Command {
	var only string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell where the databases stand",
		Long:  "Tell which migrations have run and which are pending, without a change to anything.",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			states := []migrateState{}
			err := c.withMigrations(cmd, only, func(t migrateTarget) error {
				st, err := t.state(cmd.Context())
				if st.Pending == nil {
					st.Pending = []string{}
				}
				states = append(states, st)
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), states)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tVERSION\tLATEST\tSTATE\tDATABASE")
			for _, st := range states {
				state := "up to date"
				switch {
				case st.Newer:
					state = "migrated by a newer Gatehouse"
				case len(st.Pending) > 0:
					state = fmt.Sprintf("%d pending", len(st.Pending))
				}
				fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", st.Name, st.Version, st.Latest, state, st.Database)
				for _, p := range st.Pending {
					fmt.Fprintf(w, "\t\t\t%s\t\n", p)
				}
			}
			return w.Flush()
		},
	}
	onlyFlag(cmd, &only)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func onlyFlag(cmd *cobra.Command, only *string) {
	cmd.Flags().StringVar(only, "only", "", "one database: relational or events")
}

func printMigrated(cmd *cobra.Command, name string, from, to uint) error {
	text := fmt.Sprintf("%s: at version %d, nothing to do\n", name, to)
	if from != to {
		text = fmt.Sprintf("%s: from version %d to %d\n", name, from, to)
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}
