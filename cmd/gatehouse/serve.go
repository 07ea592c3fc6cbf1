package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gatehouse/engine"
)

const serveHelp = `Run Gatehouse: take events, store them, answer reports.

Everything is kept in the data directory. The first start makes the databases, a
self-signed certificate, a company "Default" with an API key, and the first
administrator; it prints them once. The address is printed and written to
serve.json in the data directory.

Without further settings the event store is the embedded ClickHouse and companies and
keys are in SQLite. CLICKHOUSE_URL and DATABASE_URL (or config.ini) name servers instead.

SIGTERM and Ctrl-C end it in order; nothing that was acknowledged is lost by any
other end either.`

// serveGCPercent keeps the server small beside the engine, which has better use for
// the memory: it allocates little while it takes events, so collecting earlier costs little.
const serveGCPercent = 40

// serveBallast is memory that is never touched, so that it takes none of the machine's. The collector counts it: with little
// in memory it then waits for as much garbage as 40 % of this, instead of coming several times a second.
const serveBallast = 48 << 20

// serverOptions are the settings that every way of starting a server shares.
func (c *cli) serverOptions(level slog.Level, logTo io.Writer) (serverOptions, error) {
	cfg, err := c.config()
	if err != nil {
		return serverOptions{}, err
	}
	url, err := c.databaseURL()
	if err != nil {
		return serverOptions{}, err
	}
	dir, err := filepath.Abs(c.dataDir)
	if err != nil {
		return serverOptions{}, err
	}
	log, err := c.logger(logTo)
	if err != nil {
		return serverOptions{}, err
	}
	if level > slog.LevelInfo {
		log = slog.New(slog.NewTextHandler(logTo, &slog.HandlerOptions{Level: level}))
	}
	return serverOptions{dataDir: dir, databaseURL: url, cfg: cfg, log: log}, nil
}

func newServeCommand(c *cli) *cobra.Command {
	var listen, profile string
	var plain bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long:  serveHelp,
		Example: `  gatehouse serve --data /var/lib/gatehouse --listen 0.0.0.0:8000
  gatehouse serve --data ./data --listen 127.0.0.1:0`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			o, err := c.serverOptions(slog.LevelInfo, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			o.plainHTTP = plain
			if c.getenv("GOGC") == "" {
				debug.SetGCPercent(serveGCPercent)
				ballast := make([]byte, serveBallast)
				defer runtime.KeepAlive(ballast)
			}
			o.listen = cmp.Or(listen, o.cfg.Server.Address())
			if _, _, err := net.SplitHostPort(o.listen); err != nil {
				return usageError{fmt.Errorf("--listen %q is not HOST:PORT", o.listen)}
			}
			ctx := cmd.Context()
			s, err := startAlone(ctx, cmd.ErrOrStderr(), o)
			if err != nil {
				return err
			}
			stop, err := startProfile(profile)
			if err != nil {
				return errors.Join(err, s.Close())
			}
			defer func() { err = errors.Join(err, stop()) }()
			if err := s.greet(cmd.OutOrStdout()); err != nil {
				return errors.Join(err, s.Close())
			}
			select {
			case <-ctx.Done():
				s.log.Info("stopping")
			case err = <-s.fatal:
			}
			return errors.Join(err, s.Close())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "HOST:PORT to listen on; port 0 takes a free one (default from the settings, else 127.0.0.1:8000)")
	cmd.Flags().BoolVar(&plain, "plain-http", false, "serve HTTP without TLS: for measuring, and behind a proxy on the same machine")
	cmd.Flags().StringVar(&profile, "cpu-profile", "", "write a CPU profile of the server to this file when it ends, for go tool pprof")
	return cmd
}

// shownURL is the address for people: by name where it is this machine, as browsers give no passkeys to bare addresses.
func (s *server) shownURL() string {
	u, err := url.Parse(s.url)
	if err != nil || u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" {
		return s.url
	}
	u.Host = net.JoinHostPort("localhost", u.Port())
	return u.String()
}

// greet says where the server is and, at the first start, what it made.
func (s *server) greet(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format, args...) } // Flush tells of failures
	p("Gatehouse listens on\t%s\n", s.shownURL())
	p("Data directory\t%s\n", s.dataDir)
	if s.first.AdminUsername != "" {
		p("First administrator\t%s (%s)", s.first.AdminUsername, s.first.AdminEmail)
		if s.first.AdminPassword != "" {
			p(", password %s, to be changed at the first sign-in", s.first.AdminPassword)
		}
		p("\n")
	}
	if s.first.Secret != "" {
		p("First company\t%s\n", s.first.Company.Name)
		p("Its API key\t%s (shown only now; ingest and read)\n", s.first.Secret)
	} else if s.first.AdminUsername != "" {
		p("API keys\tmake one with: gatehouse key create --company NAME --scopes ingest,read\n")
	}
	return t.Flush()
}

const engineHelp = `Run the embedded ClickHouse on its own data directory. "gatehouse serve" starts this as
a child process and looks after it; by hand it is of use for repairs only.`

func newEngineCommand() *cobra.Command {
	var o engine.ServeOptions
	cmd := &cobra.Command{
		Use:   "engine",
		Short: "Run the embedded ClickHouse (serve does this)",
		Long:  engineHelp,
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := engine.Main(cmd.Context(), o); err != nil {
				return statusError{err, engine.ExitCode(err)}
			}
			return nil
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}
