package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/event"
	"gatehouse/ingest/importer"
)

// importTarget is where the events of an import go: the running server, or the
// stores of the data directory when none runs.
type importTarget struct {
	sink      importer.Sink
	companyID uint32
	siteID    uint32         // of events that came by a file and by no API key
	location  *time.Location // the company's zone
	stateDir  string         // DATA/import, "" to keep no state
	store     string         // names the store for the state
	stored    func(ctx context.Context, events []event.Event) (int, error)
	inexact   func() string // why what was accepted may be there already, "" when it is not; nil is never
	close     func(ctx context.Context) error
}

// openImport finds the target of an import for a company given by name or number.
type openImport func(ctx context.Context, cmd *cobra.Command, company string) (*importTarget, error)

const importHelp = `Import files of logon events for one company.

FILE may be, told by its content:
  - a Windows event log (.evtx)
  - Windows events as JSON, one a line or in an array, as NXLog, Winlogbeat,
    evtx_dump and Velociraptor write them
  - Windows events as XML, one or many
  - CSV or JSON with Gatehouse's own fields (EventType, UserName, ComputerName,
    Timestamp, …), or CSV of Windows events (EventID, Provider, Computer,
    TimeCreated and a column for each value)
each also compressed with gzip or in a zip archive, or a directory of such files.

An event counts once, however often it is imported and whatever file it comes
by: NEW counts those that the event store did not have. A file that was imported
whole is passed over the next time (--again sends it once more) as long as the
store has its events; an import that was interrupted goes on where it stood. What cannot be
read in a damaged file is listed, and the rest is imported.

Windows records are kept when they tell of logons, logoffs, locks, remote
sessions, failures, lockouts, starts, stops and sleep; others are counted as "other".

Exit status: 0 when every file was read to its end (damage is listed) and its
events can be counted in reports, 1 otherwise.`

// newImportCommand makes "gatehouse import".
func newImportCommand(open openImport) *cobra.Command {
	var (
		company     string
		asJSON      bool
		again       bool
		salvage     bool
		maxUnpacked int64
	)
	cmd := &cobra.Command{
		Use:   "import --company NAME FILE...",
		Short: "Import Windows event logs and files of logon events",
		Long:  importHelp,
		Example: `  gatehouse import --company Acme Security.evtx System.evtx.gz
  gatehouse import --company Acme --json logs/ > summary.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if maxUnpacked < 1 {
				return errors.New("--max-unpacked must be at least 1 (GiB)")
			}
			ctx := cmd.Context()
			target, err := open(ctx, cmd, company)
			if err != nil {
				return err
			}
			if target.close != nil {
				// Closing hands on what is under way: also after an interrupt.
				defer func() { err = errors.Join(err, target.close(context.WithoutCancel(ctx))) }()
			}
			im := &importer.Importer{
				Sink: target.sink, CompanyID: target.companyID, SiteID: target.siteID, Location: target.location,
				StateDir: target.stateDir, Store: target.store, Stored: target.stored, Again: again, Salvage: salvage, MaxUnpacked: maxUnpacked << 30,
			}
			done := func() {}
			if !asJSON {
				im.Progress, done = importProgress(cmd.ErrOrStderr())
			}
			sum, runErr := im.Import(ctx, args)
			done()
			if target.inexact != nil {
				sum.Inexact = target.inexact()
			}
			if err := printImport(cmd.OutOrStdout(), &sum, target.location, asJSON); err != nil {
				return err
			}
			if !asJSON && !salvage && slices.ContainsFunc(sum.Files, func(f importer.FileSummary) bool { return f.DamageCount > 0 && strings.Contains(f.Format, "evtx") }) {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), "\nWith --salvage, records behind damage in .evtx files are looked for."); err != nil {
					return err
				}
			}
			switch {
			case errors.Is(runErr, context.Canceled):
				return errors.New("interrupted; run the same command again to go on")
			case runErr != nil:
				return fmt.Errorf("the import stopped; run the same command again to go on: %w", runErr)
			}
			return notRead(&sum)
		},
	}
	f := cmd.Flags()
	f.StringVar(&company, "company", "", "the company that the events belong to (required)")
	f.BoolVar(&asJSON, "json", false, "print the summary as one JSON object, and no progress")
	f.BoolVar(&again, "again", false, "send files again that were imported before; their events still count once")
	f.BoolVar(&salvage, "salvage", false, "look for records behind damage in .evtx files, where other readers give up")
	f.Int64Var(&maxUnpacked, "max-unpacked", importer.DefaultMaxUnpacked>>30, "GiB to take out of one compressed file at most")
	if err := cmd.MarkFlagRequired("company"); err != nil {
		panic("BUG: " + err.Error()) // only when the flag above is misspelt
	}
	return cmd
}

// notRead is the error for files that were not read, or not to their end.
func notRead(sum *importer.Summary) error {
	var words []string
	for _, w := range []struct {
		n    int
		what string
	}{{sum.Unread, "could not be read"}, {sum.Failed, "were not read to their end"}} {
		if w.n > 0 {
			words = append(words, fmt.Sprintf("%d of %d files %s", w.n, len(sum.Files), w.what))
		}
	}
	if words == nil {
		return nil
	}
	return errors.New(strings.Join(words, "; "))
}

// importProgress draws a bar on a terminal and nothing elsewhere.
func importProgress(w io.Writer) (func(importer.Progress), func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	show := func(p importer.Progress) {
		if bar == nil {
			bar = progressbar.NewOptions64(max(p.Total, 1),
				progressbar.OptionSetWriter(f), progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
		}
		name := p.File
		if i := strings.LastIndexAny(name, `/\`); i >= 0 {
			name = name[i+1:]
		}
		bar.Describe(fmt.Sprintf("%s, %d records", name, p.Records))
		_ = bar.Set64(min(p.Done, p.Total)) // a bar that cannot be drawn is no reason to stop
	}
	return show, func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
}

// printImport prints the summary for a person, with days in their company's zone, or whole as JSON.
func printImport(w io.Writer, sum *importer.Summary, zone *time.Location, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(sum)
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(tw, format, args...) } // Flush tells of failures
	taken := "NEW"
	if sum.Inexact != "" {
		taken = "TAKEN"
	}
	p("FILE\tFORMAT\tRECORDS\t%s\tKNOWN\tREJECTED\tOTHER\t\n", taken)
	for i := range sum.Files {
		f := &sum.Files[i]
		p("%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", f.File, f.Format, f.Read, f.Accepted, f.Duplicate, f.Rejected, f.Other, importNote(f))
	}
	t := sum.Totals
	p("total\t\t%d\t%d\t%d\t%d\t%d\t\n\n", t.Read, t.Accepted, t.Duplicate, t.Rejected, t.Other)

	p("EVENT\tREAD\t%s\tKNOWN\tREJECTED\tOTHER\n", taken)
	kinds := make([]string, 0, len(sum.Events))
	others, otherKinds := 0, 0
	for kind, c := range sum.Events {
		if c.Read == c.Other {
			others += c.Other
			otherKinds++
			continue
		}
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		c := sum.Events[kind]
		p("%s\t%d\t%d\t%d\t%d\t%d\n", kind, c.Read, c.Accepted, c.Duplicate, c.Rejected, c.Other)
	}
	if otherKinds > 0 {
		p("%d kinds that are not kept (--json lists them)\t%d\t0\t0\t0\t%d\n", otherKinds, others, others)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if sum.First != nil {
		if zone == nil {
			zone = time.UTC
		}
		first, last := sum.First.In(zone).Format(time.DateOnly), sum.Last.In(zone).Format(time.DateOnly)
		after := sum.Last.In(zone).AddDate(0, 0, 1).Format(time.DateOnly)
		if _, err := fmt.Fprintf(w, "\nThe events are from %s to %s: reports of all of them need --from %s --to %s.\n", first, last, first, after); err != nil {
			return err
		}
	}
	return printImportTroubles(w, sum)
}

func importNote(f *importer.FileSummary) string {
	switch {
	case f.Unread != "":
		return "NOT READ: " + f.Unread
	case f.Error != "":
		return "NOT WHOLE: " + f.Error
	case f.AlreadyImported:
		return "imported before, passed over"
	case f.ResumedAt > 0:
		return fmt.Sprintf("went on after record %d", f.ResumedAt)
	}
	return ""
}

// printImportTroubles lists what was not read and what was refused.
func printImportTroubles(w io.Writer, sum *importer.Summary) error {
	var b strings.Builder
	for i := range sum.Files {
		f := &sum.Files[i]
		if f.DamageCount > 0 {
			places, they := "one place", "it"
			if f.DamageCount > 1 {
				places, they = fmt.Sprint(f.DamageCount, " places"), "they"
			}
			fmt.Fprintf(&b, "\n%s: %s could not be read as %s should:\n", f.File, places, they)
			shown := f.Damaged[:min(len(f.Damaged), maxDamagePrinted)]
			for _, d := range shown {
				fmt.Fprintf(&b, "  %s: %s\n", d.Where, d.Reason)
			}
			if n := f.DamageCount - len(shown); n > 0 {
				fmt.Fprintf(&b, "  and %d more (--json lists %s)\n", n, jsonLists(f))
			}
		}
		if len(f.Rejections) > 0 {
			fmt.Fprintf(&b, "\n%s: rejected records:\n", f.File)
			for _, r := range f.Rejections {
				fmt.Fprintf(&b, "  %d × %s (first: %s)\n", r.Count, strings.TrimSpace(r.Field+" "+r.Reason), r.First)
			}
		}
		if f.StateError != "" {
			fmt.Fprintf(&b, "\n%s: the next import will read it again: %s\n", f.File, f.StateError)
		}
	}
	if sum.Inexact != "" {
		fmt.Fprintf(&b, "\nTAKEN counts what is stored safely now, what was there before perhaps among it: %s. No event counts twice.\n", sum.Inexact)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// maxDamagePrinted is how many damaged places of a file are printed; more are only counted.
const maxDamagePrinted = 10

// jsonLists says how many of a file's damaged places --json lists.
func jsonLists(f *importer.FileSummary) string {
	if len(f.Damaged) < f.DamageCount {
		return fmt.Sprintf("the first %d", len(f.Damaged))
	}
	return "them"
}
