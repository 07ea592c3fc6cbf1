package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/query"
)

// fetcher asks a server for a path and gives the answer's body. The caller
// closes the body, and the fetcher when it is done.
type fetcher interface {
	Get(ctx context.Context, path string, q url.Values) (io.ReadCloser, error)
	Close() error
}

// openReports finds whom a report is asked of: the running server, or one that is
// started for the command.
type openReports func(ctx context.Context, stderr io.Writer) (fetcher, error)

const reportHelp = `Print a report about one company: as a table, as JSON (--json) or as CSV (--csv).

A range is [--from, --to): RFC 3339 times, dates (their local midnight: --from
2025-05-01 --to 2025-06-01 is May), now, today, yesterday, or distances such as
-30d and -12h. Without them it is the last 30 days. Days and hours are those of the
company's time zone, or of --tz. What each figure means stands in docs/reports.md.

The reports work whether the server runs or not.`

// newReportCommand makes "gatehouse report" with a subcommand for each report.
func newReportCommand(open openReports) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Print reports about a company",
		Long:  reportHelp,
		Example: `  gatehouse report time-spent --company Acme --from 2025-05-01 --to 2025-06-01
  gatehouse report failures --company Acme --from -7d --group-by address
  gatehouse report signed-in --company Acme --at 2025-05-12T09:30:00Z --json`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// A report that does not exist is the mistake to tell, not the flags that it would have.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
	}
	for _, info := range query.ListReports() {
		cmd.AddCommand(newOneReportCommand(open, info, query.ReportsPath+info.Spec.Name))
	}
	cmd.AddCommand(newOneReportCommand(open, query.ReportInfo{
		Spec: query.SearchSpec, Summary: "Search events, newest first",
		Description: "List the events that match every filter, newest first.",
	}, query.EventsPath))
	return cmd
}

// helpWidth is as wide as help texts go: they are read in terminals.
const helpWidth = 90

// wrapped breaks a text into lines of at most width bytes, between words.
func wrapped(text string, width int) string {
	var b strings.Builder
	line := 0
	for _, word := range strings.Fields(text) {
		switch {
		case line == 0:
		case line+1+len(word) > width:
			b.WriteByte('\n')
			line = 0
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}

// newOneReportCommand makes the command of one report. Its flags are the
// report's parameters, so that neither can do what the other cannot.
func newOneReportCommand(open openReports, info query.ReportInfo, path string) *cobra.Command {
	var asJSON, asCSV bool
	cmd := &cobra.Command{
		Use:   info.Spec.Name + " --company NAME",
		Short: info.Summary,
		Long:  wrapped(info.Description, helpWidth),
		Args:  exactArgs(0),
	}
	values := map[string]*string{}
	for _, name := range info.Spec.Params {
		if name == "format" {
			continue
		}
		usage := flagHelp(name)
		switch name {
		case "company":
			usage = "the company, by name or number"
		case "group_by":
			usage += ": one of " + strings.Join(info.Spec.GroupBy, ", ")
			if info.Spec.GroupMany {
				usage += ", or several with commas between"
			}
			usage += " (default " + strings.Join(info.Spec.GroupDefault, ",") + ")"
		}
		values[name] = cmd.Flags().String(strings.ReplaceAll(name, "_", "-"), "", usage)
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print the rows as CSV")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	if err := cmd.MarkFlagRequired("company"); err != nil {
		panic("BUG: " + err.Error()) // every report takes it
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		q := url.Values{}
		for name, value := range values {
			if *value != "" {
				q.Set(name, *value)
			}
		}
		if asCSV {
			q.Set("format", string(query.FormatCSV))
		}
		from, err := open(cmd.Context(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, from.Close()) }()
		body, err := from.Get(cmd.Context(), path, q)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, body.Close()) }()
		if asJSON || asCSV {
			_, err = io.Copy(cmd.OutOrStdout(), body)
			return err
		}
		report, err := readReport(body)
		if err != nil {
			return fmt.Errorf("the answer cannot be read: %w", err)
		}
		next, err := report.print(cmd.OutOrStdout(), info.Spec.Name)
		if err != nil {
			return err
		}
		if rows, ok := report.get("rows").([]any); ok && len(rows) == 0 && info.Spec != query.CoverageSpec {
			_, err = fmt.Fprintln(cmd.ErrOrStderr(), "Nothing was found in that time. What was imported may be older; whether the computers were heard at all, \"gatehouse report coverage\" tells.")
		}
		if next != "" {
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "There are more rows: ask with a greater --limit, or go on with --cursor %s\n", next)
		}
		return err
	}
	return cmd
}

// reportColumns are the columns of the tables that have more than a screen is wide,
// in their order. Tables that are not here show all their columns; --json and --csv
// show everything.
var reportColumns = map[string][]string{
	"time-spent": {"day", "user", "computer", "site", "users", "sessions", "inferred_sessions", "total_seconds", "active_seconds", "paused_seconds", "first", "last"},
	"sessions":   {"user", "computer", "start", "end", "active_seconds", "paused_seconds", "end_reason", "end_confidence"},
	"signed-in":  {"user", "computer", "start", "state", "active_seconds", "paused_seconds", "logon_type", "end", "end_reason"},
	"frequency":  {"day", "weekday_name", "hour", "start", "user", "computer", "site_id", "site", "events", "users", "computers", "first", "last"},
	"failures":   {"user", "computer", "address", "reason_text", "site_id", "site", "failures", "users", "computers", "addresses", "first", "last", "reasons"},
	"first-last": {"day", "user", "first_logon", "last_logon", "last_logoff", "first_seen", "last_seen", "first_computer", "computers", "events"},
	"coverage":   {"computer", "last_seen", "silent_seconds", "events", "missing_records", "future_events", "lag_median_seconds", "lag_p95_seconds", "flags"},
	"events":     {"time", "type", "user", "computer", "logon_type", "source_ip", "reason", "event_id", "site", "id"},
}

// hasColumn tells whether a table shows a column.
func hasColumn(table, column string) bool {
	columns := reportColumns[table]
	return columns == nil || slices.Contains(columns, column)
}
