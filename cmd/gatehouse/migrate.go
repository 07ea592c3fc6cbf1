package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

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
	Check(ctx context.Context) error
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

// withMigrations opens the databases that only names (both when it is empty) and runs fn on each in order.
func (c *cli) withMigrations(ctx context.Context, only string, fn func(migrateTarget) error) (err error) {
	switch only {
	case "", "relational", "events":
	default:
		return usageError{fmt.Errorf("--only %s: there are relational and events", only)}
	}
	if only != "events" {
		url, err := c.databaseURL()
		if err != nil {
			return err
		}
		db, err := reldb.Open(ctx, url)
		if err != nil {
			return err
		}
		err = errors.Join(fn(relationalTarget(schema.NewRelational(db))), db.Close())
		if err != nil {
			return err
		}
	}
	return nil
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
			return c.withMigrations(cmd.Context(), only, func(t migrateTarget) error {
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
			return c.withMigrations(cmd.Context(), only, func(t migrateTarget) error {
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
			err := c.withMigrations(cmd.Context(), only, func(t migrateTarget) error {
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
