package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb"
	"gatehouse/schema/dbcopy"
)

const dbCopyHelp = `Copy companies, people, keys, settings and trails into another database, of whatever kind:
from SQLite to PostgreSQL when one machine is outgrown, or any other way. Events are not in it.

Addresses are written as in DATABASE_URL:
  sqlite:///var/lib/gatehouse/gatehouse.db
  postgresql://user:password@host:5432/gatehouse
  mysql://user:password@host:3306/gatehouse        (also mariadb://)
  sqlserver://user:password@host:1433/gatehouse
Since others can see the command line, an address with a password is better kept in a file,
and named as @FILE.

Stop the servers that use either database first. The target must be new; it gets its tables by
itself. A copy that is interrupted goes on where it stood when it is called again. At the end the
rows on both sides are counted and compared by a checksum over all values.

Then set DATABASE_URL to the target and start the server. The data directory's secret.key is
needed as before: secrets are stored sealed with it.`

func newDBCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "db",
		Short: "Move companies, people and keys to another database",
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDBCopyCommand(c))
	return cmd
}

func newDBCopyCommand(c *cli) *cobra.Command {
	var from, to string
	var startOver, asJSON bool
	cmd := &cobra.Command{
		Use:   "copy --to ADDRESS",
		Short: "Copy everything into another database, and compare",
		Long:  dbCopyHelp,
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := c.copyDatabase(cmd, from, to, startOver)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), report)
			}
			return printCopied(cmd.OutOrStdout(), report)
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "address of the database to copy, or @FILE (default: the one of the settings)")
	f.StringVar(&to, "to", "", "address of the database to copy into, or @FILE")
	f.BoolVar(&startOver, "start-over", false, "empty a target that holds a part of an earlier copy, instead of going on with it")
	f.BoolVar(&asJSON, "json", false, "print a JSON object")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic("BUG: " + err.Error()) // only when the flag above is misspelt
	}
	return cmd
}

func (c *cli) copyDatabase(cmd *cobra.Command, fromAddress, toAddress string, startOver bool) (report dbcopy.Report, err error) {
	ctx := cmd.Context()
	if fromAddress == "" {
		if err := c.mustExist(false); err != nil {
			return report, err
		}
		if fromAddress, err = c.databaseURL(); err != nil {
			return report, err
		}
	}
	from, err := c.openIdle(ctx, "--from", fromAddress, true)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := c.openIdle(ctx, "--to", toAddress, false)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	progress, end := copyProgress(cmd.ErrOrStderr())
	defer end()
	return dbcopy.Copy(ctx, from, to, dbcopy.Options{StartOver: startOver, Progress: progress, Begin: func(ctx context.Context) error {
		// Hashes and sealed secrets go with it: the trail of the source tells where to, as does the copy's.
		return authsvc.New(from).Record(ctx, localActor(), authsvc.Entry{Action: "db.copy", TargetKind: "database", Detail: "to " + to.Name()})
	}})
}

// openIdle opens a database that no server of this machine may be using.
func (c *cli) openIdle(ctx context.Context, flag, address string, mustExist bool) (*reldb.DB, error) {
	address, err := readAddress(address)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	target, err := reldb.ParseURL(address)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	dirs := []string{}
	if target.Dialect == reldb.SQLite {
		if _, err := os.Stat(target.Path); err != nil && mustExist {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		dirs = append(dirs, filepath.Dir(target.Path))
	}
	own, err := c.databaseURL()
	if err != nil {
		return nil, err
	}
	if t, err := reldb.ParseURL(own); err == nil && t.Name() == target.Name() {
		dirs = append(dirs, c.dataDir)
	}
	for _, dir := range dirs {
		if r := findRunning(ctx, dir); r != nil {
			return nil, fmt.Errorf("%s: %s is in use by the server that runs (%s): stop it first", flag, target.Name(), r.who())
		}
	}
	db, err := reldb.Open(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return db, nil
}

// readAddress gives the address, or that which stands in the file of @FILE.
func readAddress(address string) (string, error) {
	file, ok := strings.CutPrefix(address, "@")
	if !ok {
		return address, nil
	}
	raw, err := os.ReadFile(file)
	return strings.TrimSpace(string(raw)), err
}

// copyProgress draws a bar on a terminal and nothing elsewhere.
func copyProgress(w io.Writer) (func(dbcopy.Progress), func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	show := func(p dbcopy.Progress) {
		if bar == nil {
			bar = progressbar.NewOptions64(max(p.Total, 1), progressbar.OptionSetWriter(f),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
		}
		bar.Describe(fmt.Sprintf("%s %s", p.Phase, p.Table))
		_ = bar.Set64(min(p.Done, p.Total)) // a bar that cannot be drawn is no reason to stop
	}
	return show, func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
}

func printCopied(out io.Writer, r dbcopy.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TABLE\tROWS\tCHECKSUM OF BOTH SIDES")
	for _, t := range r.Tables {
		fmt.Fprintf(w, "%s\t%d\t%.16s\n", t.Table, t.Rows, t.Checksum)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d rows copied from %s to %s, and found equal.\nNow set DATABASE_URL (or url in [database] of config.ini) to the target, and keep the data directory's secret.key.\n", r.Rows, r.From, r.To)
	return err
}
