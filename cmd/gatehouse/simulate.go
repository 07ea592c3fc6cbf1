package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/simulate"
)

const simulateHelp = `Make up the logon events of a believable workforce and send them to a server, or write
them to a file.

People work in shifts in their company's time zone, with weekends and holidays; they lock
and unlock, work on a terminal server, have a second machine, mistype passwords, forget to
log off; laptops crash; servers, services and computer accounts make their noise; now and
then somebody sprays passwords. Some events come late, some twice, some from old agents.

The same --seed and --from give the same events; without --from the days end today, and the
summary says from which day they were. Memory follows the number of people, not the
number of events.

Without --out events go to the server of the data directory (or to --url). Companies that
do not exist there are created in it, with an API key each for the site "Simulation";
with --key, everything is sent under that one key.

--out FILE writes NDJSON, or CSV when FILE ends in .csv; "-" is standard output. "{company}" in the
name gives each company a file of its own, ready for "gatehouse import".`

type simulateFlags struct {
	cfg         simulate.Config
	from        string
	days        int
	url, key    string
	ca          string
	insecure    bool
	out         string
	format      string
	batch       int
	connections int
	rate        float64
	asJSON      bool
	quiet       bool
}

func newSimulateCommand(c *cli) *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Make up a workforce's events, for a server or a file",
		Long:  simulateHelp,
		Example: `  gatehouse simulate --name Demo --users 60 --days 30
  gatehouse simulate --companies 20 --events 1000000 --format arrow
  gatehouse simulate --companies 1 --users 10 --days 7 --out - | head
  gatehouse simulate --companies 3 --out "events-{company}.ndjson"`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.simulate(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.Uint64Var(&f.cfg.Seed, "seed", 1, "the same seed, with the same --from, gives the same events")
	fl.IntVar(&f.cfg.Companies, "companies", 0, fmt.Sprintf("how many companies (default %d, or as many as --name is given)", simulate.DefaultCompanies))
	fl.StringArrayVar(&f.cfg.Names, "name", nil, "name of a company; may be given several times")
	fl.StringArrayVar(&f.cfg.Zones, "timezone", nil, "IANA time zone of the companies, in turn; may be given several times (default a mixture)")
	fl.IntVar(&f.cfg.Users, "users", 0, fmt.Sprintf("people in each company (default %d, or as many as --events need)", simulate.DefaultUsers))
	fl.StringVar(&f.from, "from", "", "the first day, for instance 2025-03-01 (default --days ago)")
	fl.IntVar(&f.days, "days", 0, fmt.Sprintf("how many days (default %d)", simulate.DefaultDays))
	fl.Int64Var(&f.cfg.Events, "events", 0, "end after so many events")
	fl.Float64Var(&f.cfg.Late, "late", simulate.DefaultLate, "share of events that arrive late")
	fl.Float64Var(&f.cfg.Repeat, "repeat", simulate.DefaultRepeat, "share of events that are delivered twice")
	fl.Float64Var(&f.cfg.OldAgents, "old-agents", simulate.DefaultOldAgents, "share of computers whose agent sends the seven old fields only")
	fl.StringVar(&f.url, "url", "", "the server (default: that of the data directory)")
	fl.StringVar(&f.key, "key", "", "send everything under this API key (also $GATEHOUSE_KEY)")
	fl.StringVar(&f.ca, "ca", "", "trust the server certificate in this PEM file (default: that of the data directory)")
	fl.BoolVar(&f.insecure, "insecure", false, "do not check the server's certificate")
	fl.StringVar(&f.out, "out", "", "write to this file instead of sending")
	fl.StringVar(&f.format, "format", string(simulate.FormatNDJSON), "how to send: single, ndjson or arrow")
	fl.IntVar(&f.batch, "batch", 1000, "events in one request")
	fl.IntVar(&f.connections, "connections", 4, "requests at a time")
	fl.Float64Var(&f.rate, "rate", 0, "events a second at most (default no limit)")
	fl.BoolVar(&f.asJSON, "json", false, "print the summary as JSON")
	fl.BoolVar(&f.quiet, "quiet", false, "no progress bar; why it waits is told all the same")
	return cmd
}

func (c *cli) simulate(cmd *cobra.Command, f *simulateFlags) error {
	f.cfg.Days = f.days
	for name, share := range map[string]*float64{"late": &f.cfg.Late, "repeat": &f.cfg.Repeat, "old-agents": &f.cfg.OldAgents} {
		if !(*share >= 0 && *share <= 1) {
			return usageError{fmt.Errorf("--%s %v: a share is from 0 to 1", name, *share)}
		}
		if *share == 0 { // asked for: the flags have their defaults
			*share = -1
		}
	}
	for _, name := range []string{"companies", "users", "days", "events", "batch", "connections"} {
		if flag := cmd.Flags().Lookup(name); flag.Changed && (flag.Value.String() == "0" || strings.HasPrefix(flag.Value.String(), "-")) {
			return usageError{fmt.Errorf("--%s %s: want at least 1", name, flag.Value)}
		}
	}
	if !(f.rate >= 0) {
		return usageError{fmt.Errorf("--rate %v: want events a second, or 0 for no limit", f.rate)}
	}
	if f.from != "" {
		from, err := time.Parse(time.DateOnly, f.from)
		if err != nil {
			return usageError{fmt.Errorf("--from %q is not a day such as 2025-03-01", f.from)}
		}
		f.cfg.From = from
	}
	switch simulate.Format(f.format) {
	case simulate.FormatSingle, simulate.FormatNDJSON, simulate.FormatArrow:
	default:
		return usageError{fmt.Errorf("--format %q is none of single, ndjson and arrow", f.format)}
	}
	if f.key == "" {
		f.key = c.getenv("GATEHOUSE_KEY")
	}
	sim, err := simulate.New(f.cfg)
	if err != nil {
		return usageError{err}
	}
	progress, done := simulateProgress(cmd.ErrOrStderr(), f.cfg.Events, f.quiet)
	o := simulate.Options{Batch: f.batch, Connections: f.connections, Rate: f.rate, Progress: progress}
	var out simulate.Outcome
	if f.out != "" {
		out, err = simulateToFile(cmd, sim, f.out, o)
	} else {
		out, err = c.simulateToServer(cmd, sim, f, o)
	}
	done()
	if err != nil {
		return err
	}
	summary := cmd.OutOrStdout()
	if f.out == "-" {
		summary = cmd.ErrOrStderr()
	}
	return printSimulated(summary, sim.Config(), &out, f.asJSON, f.out == "")
}

func simulateToFile(cmd *cobra.Command, sim *simulate.Simulation, path string, o simulate.Options) (_ simulate.Outcome, err error) {
	w := simulate.NewWriter(path, cmd.OutOrStdout(), sim.Companies())
	defer func() { err = errors.Join(err, w.Close()) }()
	return sim.Write(cmd.Context(), w, o)
}

func (c *cli) simulateToServer(cmd *cobra.Command, sim *simulate.Simulation, f *simulateFlags, o simulate.Options) (_ simulate.Outcome, err error) {
	ctx := cmd.Context()
	url := f.url
	if url == "" {
		if url, err = runningURL(ctx, c.dataDir); err != nil {
			return simulate.Outcome{}, err
		}
	}
	client, err := c.agentClient(f.ca, f.insecure, f.connections)
	if err != nil {
		return simulate.Outcome{}, err
	}
	sink := &simulate.HTTP{URL: url, Format: simulate.Format(f.format), Client: client}
	lead := ""
	if o.Progress != nil {
		lead = "\n" // the bar's line has no end
	}
	sink.Waiting = func(reason string, wait time.Duration) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%swaiting %s: %s\n", lead, wait.Round(time.Millisecond), reason)
	}
	if f.key != "" {
		sink.Key = func(context.Context, simulate.Company) (string, error) { return f.key, nil }
		return sim.Run(ctx, sink, o)
	}
	store, err := c.openStore(ctx)
	if err != nil {
		return simulate.Outcome{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	sink.Key = func(ctx context.Context, company simulate.Company) (string, error) {
		return simulationKey(ctx, store, company)
	}
	return sim.Run(ctx, sink, o)
}

// simulationKey makes a key for a simulated company, and the company when there is none of its name.
func simulationKey(ctx context.Context, store *authsvc.Store, company simulate.Company) (string, error) {
	owner, err := store.FindCompany(ctx, company.Name)
	if event.ErrorCode(err) == event.CodeNotFound {
		owner, err = store.CreateCompany(ctx, localActor(), authsvc.CompanySettings{Name: company.Name, Timezone: company.Zone})
	}
	if err != nil {
		return "", err
	}
	scopes, err := authsvc.ParseKeyScopes("ingest")
	if err != nil {
		return "", err
	}
	const site = "Simulation"
	_, secret, err := store.CreateKey(ctx, localActor(), owner.ID, authsvc.NewKey{Site: site, Scopes: scopes})
	if event.ErrorCode(err) == event.CodeConflict { // of an earlier run
		_, secret, err = store.CreateKey(ctx, localActor(), owner.ID, authsvc.NewKey{Site: site + " " + time.Now().UTC().Format("2006-01-02 15:04:05.000"), Scopes: scopes})
	}
	return secret, err
}

// connectTimeout bounds what a simulation waits for a server to take a connection.
const connectTimeout = 10 * time.Second

// agentClient speaks to a server as an agent does: it trusts the certificates of
// the system, that of the data directory, and that of a file.
func (c *cli) agentClient(ca string, insecure bool, connections int) (*http.Client, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", ca)
		}
	} else if text, err := os.ReadFile(filepath.Join(c.dataDir, "tls", "cert.pem")); err == nil {
		pool.AppendCertsFromPEM(text)
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout: connectTimeout,
		MaxIdleConnsPerHost: max(connections, 1),
		IdleConnTimeout:     time.Minute,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, InsecureSkipVerify: insecure}, //nolint:gosec // asked for by name
	}}, nil
}

// simulateProgress draws a bar of events and events/s on a terminal, and
// nothing elsewhere.
func simulateProgress(w io.Writer, total int64, quiet bool) (func(int64), func()) {
	f, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	if total == 0 {
		total = -1 // a spinner: nobody knows the end before it is there
	}
	bar := progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription("events"),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
	return func(n int64) { _ = bar.Add64(n) }, func() { _ = bar.Finish() } // a bar that cannot be drawn is no reason to stop
}

func printSimulated(w io.Writer, cfg simulate.Config, out *simulate.Outcome, asJSON, sent bool) error {
	perSecond := float64(out.Events) / max(out.Elapsed.Seconds(), 1e-9)
	types := map[string]int64{}
	for _, t := range event.Types() {
		if n := out.ByType[t]; n > 0 {
			types[t.String()] = n
		}
	}
	if asJSON {
		v := map[string]any{
			"events": out.Events, "distinct": out.Distinct(), "repeated": out.Repeated, "late": out.Late, "types": types,
			"seed": cfg.Seed, "from": cfg.From.Format(time.DateOnly), "days": cfg.Days,
			"first": time.UnixMilli(out.First).UTC(), "last": time.UnixMilli(out.Last).UTC(),
			"seconds": out.Elapsed.Seconds(), "events_per_second": perSecond,
		}
		if sent {
			v["accepted"], v["duplicate"], v["rejected"] = out.Accepted, out.Duplicate, out.Rejected
		}
		return printJSON(w, v)
	}
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, t := range event.Types() {
		if n := types[t.String()]; n > 0 {
			fmt.Fprintf(tw, "%d\t %s\t\n", n, t)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\n%d events (%d different, %d delivered twice, %d late), %s to %s, in %s: %.0f events/s\n",
		out.Events, out.Distinct(), out.Repeated, out.Late, time.UnixMilli(out.First).UTC().Format(time.DateOnly),
		time.UnixMilli(out.Last).UTC().Format(time.DateOnly), out.Elapsed.Round(time.Millisecond), perSecond)
	fmt.Fprintf(&b, "the same days again: --seed %d --from %s", cfg.Seed, cfg.From.Format(time.DateOnly))
	if cfg.Days > 0 {
		fmt.Fprintf(&b, " --days %d", cfg.Days)
	}
	b.WriteByte('\n')
	if sent {
		fmt.Fprintf(&b, "the server answered: %d accepted, %d known already, %d rejected\n", out.Accepted, out.Duplicate, out.Rejected)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if out.Rejected > 0 {
		return fmt.Errorf("%d events were rejected", out.Rejected)
	}
	return nil
}
