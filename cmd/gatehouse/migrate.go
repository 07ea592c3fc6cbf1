package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gatehouse/event"
	"gatehouse/internal/edge"
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
	CutOff   bool     `json:"cut_off"` // a migration stopped half way: up finishes it
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

func checkOnly(only string) error {
	switch only {
	case "", "relational", "events":
		return nil
	}
	return usageError{fmt.Errorf("--only %s: there are relational and events", only)}
}

// withMigrations opens the databases that only names (both when it is empty) and runs fn on each in order. Without a ClickHouse
// server in the settings it asks the server that runs on the data directory, or starts the embedded engine for the time
// that this takes. With create it may be the first that happens to a data directory.
func (c *cli) withMigrations(cmd *cobra.Command, only string, create bool, fn func(migrateTarget) error) (err error) {
	if err := checkOnly(only); err != nil {
		return err
	}
	if !create {
		if err := c.mustExist(only != "relational"); err != nil {
			return err
		}
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
	target, done, err := c.openEvents(ctx, cmd.ErrOrStderr(), db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return fn(target)
}

// openEvents reaches the event store's migrations: by the server that runs with the embedded engine, else directly.
func (c *cli) openEvents(ctx context.Context, stderr io.Writer, db *reldb.DB) (target migrateTarget, done func() error, err error) {
	cfg, err := c.config()
	if err != nil {
		return target, nil, err
	}
	dir, err := filepath.Abs(c.dataDir)
	if err != nil {
		return target, nil, err
	}
	// Who waits for a table wants to see what went wrong, not that the engine came up.
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	done = func() error { return nil }
	err = whenFree(ctx, stderr, func() error {
		if cfg.ClickHouse.URL.Reveal() == "" {
			if r := findRunning(ctx, dir); r != nil {
				target = runningTarget(r)
				return nil
			}
		}
		options, e, err := openClickHouse(ctx, dir, cfg, log)
		if err != nil {
			return err
		}
		if e != nil {
			done = e.Close
		}
		events, err := schema.NewClickHouse(options, eventLayout(cfg))
		if err != nil {
			return errors.Join(err, done())
		}
		target = eventsTarget(events, db, cfg.ClickHouse.Name)
		return nil
	})
	return target, done, err
}

// pathMigrations is where a server tells where its event store's tables stand.
const pathMigrations = "/internal/v1/migrations"

func (s *server) migrationState(w http.ResponseWriter, r *http.Request) {
	st, err := eventsState(r.Context(), s.migrations)
	if err != nil {
		s.log.Warn("the event store does not tell its version", slog.Any("error", err))
		edge.Fail(w, r, http.StatusServiceUnavailable, string(event.CodeUnavailable), "the event store does not tell its version")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = printJSON(w, st) // the command is gone then
}

// runningTarget is the event store of a server that has its embedded engine open: it can be asked, and has
// brought its tables up to date when it started.
func runningTarget(r *running) migrateTarget {
	state := func(ctx context.Context) (st migrateState, err error) {
		body, err := r.local().Get(ctx, pathMigrations, nil)
		if err != nil {
			return st, err
		}
		err = json.NewDecoder(body).Decode(&st)
		return st, errors.Join(err, body.Close())
	}
	return migrateTarget{name: "events", state: state, runner: usedEvents{r, state}}
}

// usedEvents are migrations of a store that a server is using.
type usedEvents struct {
	by    *running
	state func(context.Context) (migrateState, error)
}

// Up has nothing to do: the server has done it.
func (u usedEvents) Up(ctx context.Context) (from, to uint, err error) {
	st, err := u.state(ctx)
	if err == nil && len(st.Pending) > 0 {
		// This binary is newer than the server.
		err = fmt.Errorf("the server that runs (%s, version %s) uses the tables of the events: stop it first; the next one brings them up to date by itself", u.by.who(), u.by.Version)
	}
	return st.Version, st.Version, err
}

// Down would take the tables from under the server.
func (u usedEvents) Down(context.Context, int) (from, to uint, err error) {
	return 0, 0, usesTables(u.by)
}

// usesTables is why tables cannot be taken away while a process runs on the data directory.
func usesTables(r *running) error {
	if r.ofCommand {
		return fmt.Errorf("another command (%s) uses the tables: wait until it has ended", r.who())
	}
	return fmt.Errorf("the server that runs (%s) uses the tables: stop it first", r.who())
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
		return eventsState(ctx, events)
	}}
}

func eventsState(ctx context.Context, events *schema.ClickHouse) (migrateState, error) {
	st, err := events.Status(ctx)
	return migrateState{Name: "events", Database: st.Database, Version: st.Version, Latest: st.Latest, Pending: st.Pending, Newer: st.Newer, CutOff: st.Dirty}, err
}

func relationalTarget(r *schema.Relational) migrateTarget {
	return migrateTarget{name: "relational", runner: r, state: func(ctx context.Context) (migrateState, error) {
		st, err := r.Status(ctx)
		return migrateState{Name: "relational", Database: st.Database, Version: st.Version, Latest: st.Latest, Pending: st.Pending, Newer: st.Newer, CutOff: st.Dirty}, err
	}}
}

// migrated is what a command has done, for scripts: it is told at the end, also where a later database failed.
type migrated struct {
	asJSON bool
	list   []migratedView
}

// migratedView is what was done to one database.
type migratedView struct {
	Name string `json:"name"`
	From uint   `json:"from_version"`
	To   uint   `json:"to_version"`
}

func (m *migrated) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&m.asJSON, "json", false, "print a JSON array")
}

func (m *migrated) add(cmd *cobra.Command, name string, from, to uint) error {
	m.list = append(m.list, migratedView{name, from, to})
	if m.asJSON {
		return nil
	}
	return printMigrated(cmd, name, from, to)
}

func (m *migrated) print(cmd *cobra.Command) error {
	if !m.asJSON {
		return nil
	}
	return printJSON(cmd.OutOrStdout(), append([]migratedView{}, m.list...))
}

func newMigrateUpCommand(c *cli) *cobra.Command {
	var only string
	var done migrated
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Apply what is pending",
		Long:  "Apply all pending migrations. Several processes may do so at once: one works, the others wait for it.",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(c.withMigrations(cmd, only, true, func(t migrateTarget) error {
				from, to, err := t.runner.Up(cmd.Context())
				if err != nil {
					return err
				}
				return done.add(cmd, t.name, from, to)
			}), done.print(cmd))
		},
	}
	onlyFlag(cmd, &only)
	done.flag(cmd)
	return cmd
}

func newMigrateDownCommand(c *cli) *cobra.Command {
	var only string
	var steps int
	var done migrated
	cmd := &cobra.Command{
		Use:   "down --only DATABASE",
		Short: "Take back the last migrations, with what stands in their tables",
		Long: `Take back the last migrations of one database, for going back to an older Gatehouse. Tables and columns
that these migrations made are dropped WITH WHAT STANDS IN THEM: make a backup first, and stop every
server that uses them; while one runs on the data directory this is refused. What is taken back whole
is made anew, empty, by the next command of this Gatehouse that needs it.`,
		Example: "  gatehouse migrate down --only relational --steps 1",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if steps < 1 {
				return usageError{fmt.Errorf("--steps %d: want at least 1", steps)}
			}
			if err := checkOnly(only); err != nil {
				return err
			}
			ctx := cmd.Context()
			dir, err := filepath.Abs(c.dataDir)
			if err != nil {
				return err
			}
			if r := findRunning(ctx, dir); r != nil {
				return usesTables(r)
			}
			return errors.Join(c.withMigrations(cmd, only, false, func(t migrateTarget) error {
				st, err := t.state(ctx)
				if err != nil {
					return err
				}
				if steps > int(st.Version) {
					return usageError{fmt.Errorf("--steps %d: there are %d migrations to take back", steps, st.Version)}
				}
				from, to, err := t.runner.Down(ctx, steps)
				if err != nil {
					return err
				}
				return done.add(cmd, t.name, from, to)
			}), done.print(cmd))
		},
	}
	onlyFlag(cmd, &only)
	done.flag(cmd)
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
			err := c.withMigrations(cmd, only, false, func(t migrateTarget) error {
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
				case st.CutOff:
					state = "a migration was cut off, run up to finish it"
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
