package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
	"gatehouse/event"
)

const errorsHelp = `The error log keeps what the server warned of or failed at, with the request, person and address where there
was one. Equal records within a minute are one with a count. What is kept is decided by the settings
error_log_level, error_log_filters and error_log_retention_days ("gatehouse settings").`

func newErrorsCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "errors",
		Short: "Read and clear the error log",
		Long:  errorsHelp,
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newErrorsListCommand(c), newErrorsShowCommand(c), newErrorsClearCommand(c))
	return cmd
}

func newErrorsListCommand(c *cli) *cobra.Command {
	var want authsvc.ErrorFilter
	var level, since, until string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List records of the error log, newest first",
		Example: `  gatehouse errors list --level error --since 24h
  gatehouse errors list --request 3f9a0c --json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{event.FieldError("limit", "must be at least 1")}
			}
			if level != "" {
				var l slog.Level
				if err := l.UnmarshalText([]byte(level)); err != nil {
					return usageError{event.FieldError("level", "must be DEBUG, INFO, WARN or ERROR")}
				}
				want.Level = &l
			}
			for _, t := range []struct {
				name, text string
				to         *time.Time
			}{{"since", since, &want.From}, {"until", until, &want.To}} {
				at, err := parseSince(t.name, t.text, time.Now())
				if err != nil {
					return usageError{err}
				}
				if at != nil {
					*t.to = *at
				}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				all := []authsvc.ErrorRecord{}
				for cursor := ""; len(all) < limit; {
					list, next, err := store.ListErrors(cmd.Context(), localActor(), want, authsvc.Page{Limit: min(limit-len(all), authsvc.MaxPage), Cursor: cursor})
					if err != nil {
						return err
					}
					all = append(all, list...)
					if cursor = next; next == "" {
						break
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), all)
				}
				return printErrors(cmd.OutOrStdout(), all)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&level, "level", "", "only this level and above: DEBUG, INFO, WARN, ERROR")
	f.StringVar(&want.Logger, "logger", "", "only of this part of the program")
	f.StringVar(&want.Text, "text", "", "only with this in the message")
	f.StringVar(&want.RequestID, "request", "", "only of this request")
	f.Uint32Var(&want.UserID, "user-id", 0, "only of requests by the person with this id")
	f.StringVar(&since, "since", "", "only since a day or time in UTC, or 90d or 12h before now")
	f.StringVar(&until, "until", "", "only before a day or time in UTC, or 90d or 12h before now")
	f.IntVar(&limit, "limit", 50, "how many records")
	f.BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func printErrors(w io.Writer, list []authsvc.ErrorRecord) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tLAST\tTIMES\tLEVEL\tLOGGER\tREQUEST\tMESSAGE")
	for i := range list {
		r := &list[i]
		fmt.Fprintf(t, "%d\t%s\t%d\t%s\t%s\t%s\t%s\n", r.ID, r.Last.Format("2006-01-02 15:04:05Z"), r.Occurrences, r.Level, printable(r.Logger), printable(r.RequestID), short(errorLine(r), 120))
	}
	return t.Flush()
}

// errorLine is a record's message with the path and the reason, where it is about a request: of refusals the message alone is always the same.
func errorLine(r *authsvc.ErrorRecord) string {
	var about struct{ Path, Reason string }
	_ = json.Unmarshal(r.Attributes, &about) // none, or others, leave it empty
	line := r.Message
	if about.Path != "" {
		line += " " + about.Path
	}
	if about.Reason != "" {
		line += ": " + about.Reason
	}
	return line
}

func newErrorsShowCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one record with its attributes and stack",
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usageError{event.FieldError("id", "%q is not an id as \"gatehouse errors list\" shows it", args[0])}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				r, err := store.GetError(cmd.Context(), localActor(), id)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), r)
				}
				t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				for _, line := range [][2]string{
					{"Message", r.Message},
					{"Level", r.Level.String()},
					{"Logger", r.Logger},
					{"First", r.First.Format("2006-01-02 15:04:05.000Z")},
					{"Last", r.Last.Format("2006-01-02 15:04:05.000Z")},
					{"Times", strconv.FormatInt(r.Occurrences, 10)},
					{"Request", r.RequestID},
					{"Address", r.Address},
					{"Attributes", string(r.Attributes)},
				} {
					if line[1] != "" {
						fmt.Fprintf(t, "%s\t%s\n", line[0], printable(line[1]))
					}
				}
				if err := t.Flush(); err != nil {
					return err
				}
				for line := range strings.SplitSeq(strings.TrimSpace(r.Stack), "\n") {
					fmt.Fprintln(cmd.OutOrStdout(), "  "+printable(strings.ReplaceAll(line, "\t", "    ")))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the record as JSON")
	return cmd
}

func newErrorsClearCommand(c *cli) *cobra.Command {
	var before string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "clear --before TIME",
		Short:   "Remove old records; the audit trail tells of it",
		Example: `  gatehouse errors clear --before 30d`,
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := parseSince("before", before, time.Now())
			if err != nil {
				return usageError{err}
			}
			if at == nil {
				return usageError{event.FieldError("before", "must name a day, a time, or a length of time before now; 0 removes all")}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				n, err := store.ClearErrors(cmd.Context(), localActor(), *at)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), map[string]int64{"removed": n})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d records removed.\n", n)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&before, "before", "", "remove what was last seen before this: a day, a time, or 30d; 0 for all (required)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the count as JSON")
	requireFlags(cmd, "before")
	return cmd
}
