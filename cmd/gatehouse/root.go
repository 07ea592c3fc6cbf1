package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	_ "time/tzdata" // companies have time zones on machines that have none

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/authsvc"
	"gatehouse/config"
	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

const rootHelp = `Gatehouse answers who signed in where, when, for how long, what failed, and what is
unusual. It takes logon events from many companies' computers and keeps them apart.

Everything is kept in one data directory (--data): companies and API keys, the
queue of events, the events themselves, certificates. All commands work on it, also
while the server runs.

Settings come from config.ini in the data directory (or --config), then from the
environment; "gatehouse config default" prints a file that explains all of them.`

// cli is what the subcommands share: the flags that belong to all of them and what follows from these.
type cli struct {
	dataDir    string
	configFile string
	environ    []string

	cfg     *config.Config // see config
	started bool           // a command's own code runs: what fails now is not the way it was called
}

// The exit statuses. "gatehouse engine" has some more, by which the server knows why its child ended: see engine.ExitCode.
const (
	exitFailed = 1
	exitUsage  = 2 // the command was not called as it should be
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is main without the process: tests call it.
func run(args, environ []string, stdout, stderr io.Writer) int {
	// The first signal asks for an orderly end; the second one, with the handler gone, ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	c := &cli{environ: environ}
	root := newRootCommand(c)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "gatehouse: %v\n", err)
	if _, usage := errors.AsType[usageError](err); usage || !c.started {
		return exitUsage
	}
	if e, ok := errors.AsType[statusError](err); ok {
		return e.status
	}
	return exitFailed
}

func newRootCommand(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:           "gatehouse",
		Short:         "Who signed in where, when and for how long",
		Long:          rootHelp,
		Args:          groupArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true, // run prints them once
		SilenceUsage:  true, // a failed command is not helped by its flags
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nSee \"%s --help\"", flagError(err), cmd.CommandPath())
	})
	defaultData := "data"
	if dir := c.getenv("GATEHOUSE_DATA"); dir != "" {
		defaultData = dir
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.dataDir, "data", defaultData, "data directory (also $GATEHOUSE_DATA)")
	flags.StringVar(&c.configFile, "config", c.getenv("GATEHOUSE_CONFIG"), "settings file (also $GATEHOUSE_CONFIG; default config.ini in the data directory)")
	root.AddCommand(
		newAuditCommand(c),
		newBenchCommand(),
		newCompanyCommand(c),
		newConfigCommand(c),
		newDBCommand(c),
		newEngineCommand(),
		newErrorsCommand(c),
		newImportCommand(c.openImport),
		newKeyCommand(c),
		newMigrateCommand(c),
		newReportCommand(c.openReports),
		newSecretCommand(c),
		newServeCommand(c),
		newSettingsCommand(c),
		newSimulateCommand(c),
		newUserCommand(c),
		newVersionCommand(),
	)
	c.markStart(root)
	return root
}

// flagError words what is wrong with a flag's value for people: the flag library hands on what strconv says to programmers.
func flagError(err error) error {
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	want := map[string]string{
		"int": "a whole number", "int64": "a whole number", "uint64": "a whole number, 0 or more", "float64": "a number",
		"duration": "a time such as 90s, 15m or 8h", "bool": "true or false",
	}[bad.GetFlag().Value.Type()]
	switch {
	case want == "":
		return err
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("--%s: %s is too large", bad.GetFlag().Name, bad.GetValue())
	}
	return fmt.Errorf("--%s: %q is not %s", bad.GetFlag().Name, bad.GetValue(), want)
}

// groupArgs is for commands that only hold others: whatever is not one of them is a mistake.
func groupArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	message := fmt.Sprintf("there is no command %q", strings.TrimSpace(cmd.CommandPath()+" "+args[0]))
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s\nSee \"%s --help\"", message, cmd.CommandPath())
}

// markStart has every command note that its own code begins. What cobra refuses before (flags, arguments, unknown names) is
// then known to be a mistake in the call.
func (c *cli) markStart(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.started = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		c.markStart(sub)
	}
}

// usageError is a mistake in the call that a command's own code finds.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// statusError is an error by which the process ends with a status of its own.
type statusError struct {
	err    error
	status int
}

func (e statusError) Error() string { return e.err.Error() }
func (e statusError) Unwrap() error { return e.err }

func (c *cli) getenv(name string) string {
	for i := len(c.environ) - 1; i >= 0; i-- { // the last one counts, as in os/exec
		if len(c.environ[i]) > len(name) && c.environ[i][len(name)] == '=' && c.environ[i][:len(name)] == name {
			return c.environ[i][len(name)+1:]
		}
	}
	return ""
}

// config reads the settings once, from --config, else from config.ini in the data directory if there is one.
func (c *cli) config() (*config.Config, error) {
	if c.cfg != nil {
		return c.cfg, nil
	}
	file := c.configFile
	if file == "" {
		file = filepath.Join(c.dataDir, "config.ini")
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			file = ""
		}
	}
	cfg, err := config.Load(file, c.environ)
	if err != nil {
		return nil, err
	}
	c.cfg = cfg
	return cfg, nil
}

// databaseURL is where the relational database is: that of the settings, else a SQLite file in the data directory.
func (c *cli) databaseURL() (string, error) {
	cfg, err := c.config()
	if err != nil {
		return "", err
	}
	if url := cfg.Database.URL.Reveal(); url != "" {
		return url, nil
	}
	dir, err := filepath.Abs(c.dataDir)
	if err != nil {
		return "", err
	}
	return reldb.SQLiteURL(filepath.Join(dir, fileDatabase)), nil
}

// logger is the program's log on w, as the settings ask for.
func (c *cli) logger(w io.Writer) (*slog.Logger, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Logging.Level)); err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Logging.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}

// mustExist refuses a data directory in which no Gatehouse has begun, so that a mistyped one is not made and found
// empty. Where the settings name servers for what is asked for (companies and keys, or events too), nothing needs to be there.
func (c *cli) mustExist(events bool) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	mark := fileDatabase
	switch {
	case cfg.Database.URL.Reveal() == "":
	case events && cfg.ClickHouse.URL.Reveal() == "":
		mark = dirSpool
	default:
		return nil
	}
	dir, err := filepath.Abs(c.dataDir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, mark)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no Gatehouse in %s: name its directory with --data (or $GATEHOUSE_DATA), or begin a new one with \"gatehouse serve\" or \"gatehouse company create\"", dir)
	}
	return nil
}

// openStore opens companies and keys of a data directory in which there is a Gatehouse.
func (c *cli) openStore(ctx context.Context) (*authsvc.Store, error) {
	if err := c.mustExist(false); err != nil {
		return nil, err
	}
	return c.makeStore(ctx)
}

// makeStore opens companies and keys for a command that may run before the server ever did: an empty database gets its
// tables. One that is merely older does not, as a server of the older version may be working on it.
func (c *cli) makeStore(ctx context.Context) (_ *authsvc.Store, err error) {
	url, err := c.databaseURL()
	if err != nil {
		return nil, err
	}
	store, err := authsvc.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	tables := schema.NewRelational(store.DB())
	status, err := tables.Status(ctx)
	if err != nil {
		return nil, err
	}
	if status.Version == 0 {
		if _, _, err := tables.Up(ctx); err != nil {
			return nil, err
		}
	}
	return store, tables.Check(ctx)
}

// withStore runs fn with the store of a data directory in which there is a Gatehouse, and closes it.
func (c *cli) withStore(ctx context.Context, fn func(*authsvc.Store) error) error {
	return withOpened(ctx, c.openStore, fn)
}

// withNewStore is withStore for a command that may be the first in its data directory.
func (c *cli) withNewStore(ctx context.Context, fn func(*authsvc.Store) error) error {
	return withOpened(ctx, c.makeStore, fn)
}

func withOpened(ctx context.Context, open func(context.Context) (*authsvc.Store, error), fn func(*authsvc.Store) error) (err error) {
	store, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return fn(store)
}

// printJSON writes v as one line of JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // it is read by programs, not browsers
	return enc.Encode(v)
}
