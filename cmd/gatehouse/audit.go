package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
	"gatehouse/event"
)

const auditHelp = `The audit trail tells who did what, when and from where: sign-ins, changes to people, companies, keys and
settings, exports, SQL. Nothing in it can be changed; each entry carries a hash over itself and all before it,
so that "audit verify" finds what was changed in the database behind Gatehouse's back.

Whoever can write to the database can also calculate all hashes anew. Against that, keep what "audit head"
prints somewhere else from time to time, and give it to "audit verify --anchor" later.`

func newAuditCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read, check and export the audit trail",
		Long:  auditHelp,
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditListCommand(c), newAuditVerifyCommand(c), newAuditHeadCommand(c), newAuditExportCommand(c))
	return cmd
}

// auditFlags are the filters that listing and exporting have in common.
type auditFlags struct {
	want                    authsvc.AuditFilter
	company, since, until   string
	outcome, kind, fromAddr string
}

func (a *auditFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.want.Action, "action", "", "only this action, such as key.create, or with \"key\" all on keys")
	f.StringVar(&a.outcome, "outcome", "", "only success, failure or denied")
	f.StringVar(&a.want.Actor, "actor", "", "only by whoever has this in the name")
	f.Uint32Var(&a.want.ActorID, "actor-id", 0, "only by the person with this id, or with --actor-kind key by the key")
	f.StringVar(&a.kind, "actor-kind", "", "only by a person, key, local (command line), system or nobody (not signed in)")
	f.StringVar(&a.company, "company", "", "only what concerns this company: a name or an id")
	f.StringVar(&a.want.TargetKind, "target-kind", "", "only what was done to a user, company, key, setting, …")
	f.StringVar(&a.want.TargetID, "target-id", "", "only what was done to the one with this id")
	f.StringVar(&a.fromAddr, "address", "", "only from this address")
	f.StringVar(&a.want.RequestID, "request", "", "only what this request did")
	f.StringVar(&a.want.Text, "text", "", "only with this in a name, address or detail")
	f.StringVar(&a.since, "since", "", "only since a day or time in UTC, or 90d or 12h before now")
	f.StringVar(&a.until, "until", "", "only before a day or time in UTC, or 90d or 12h before now")
}

// filter reads the flags.
func (a *auditFlags) filter(cmd *cobra.Command, store *authsvc.Store) (authsvc.AuditFilter, error) {
	want := a.want
	want.Outcome, want.ActorKind = authsvc.Outcome(a.outcome), authsvc.ActorKind(a.kind)
	if a.fromAddr != "" {
		address, err := netip.ParseAddr(a.fromAddr)
		if err != nil {
			return want, usageError{event.FieldError("address", "%q is not an IP address", a.fromAddr)}
		}
		want.Address = address
	}
	for _, t := range []struct {
		name, text string
		to         *time.Time
	}{{"since", a.since, &want.From}, {"until", a.until, &want.To}} {
		at, err := parseSince(t.name, t.text, time.Now())
		if err != nil {
			return want, usageError{err}
		}
		if at != nil {
			*t.to = *at
		}
	}
	if a.company != "" {
		owner, err := store.FindCompany(cmd.Context(), a.company)
		if err != nil {
			return want, err
		}
		want.Company = owner.ID
	}
	return want, nil
}

// auditFilterRecord is which entries were taken out, as the trail shows it.
type auditFilterRecord struct {
	Action     string    `json:"action,omitempty"`
	Outcome    string    `json:"outcome,omitempty"`
	ActorKind  string    `json:"actor_kind,omitempty"`
	ActorID    uint32    `json:"actor_id,omitempty"`
	Actor      string    `json:"actor,omitempty"`
	Company    uint32    `json:"company_id,omitempty"`
	TargetKind string    `json:"target_kind,omitempty"`
	TargetID   string    `json:"target_id,omitempty"`
	Address    string    `json:"address,omitempty"`
	RequestID  string    `json:"request_id,omitempty"`
	Text       string    `json:"text,omitempty"`
	From       time.Time `json:"from,omitzero"`
	To         time.Time `json:"to,omitzero"`
}

func recordOf(w *authsvc.AuditFilter) auditFilterRecord {
	r := auditFilterRecord{
		w.Action, string(w.Outcome), string(w.ActorKind), w.ActorID, w.Actor, w.Company, w.TargetKind, w.TargetID, "", w.RequestID, w.Text, w.From, w.To,
	}
	if w.Address.IsValid() {
		r.Address = w.Address.String()
	}
	return r
}

func newAuditListCommand(c *cli) *cobra.Command {
	var flags auditFlags
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries of the audit trail, newest first",
		Example: `  gatehouse audit list --action session.sign_in --outcome failure --since 24h
  gatehouse audit list --company Acme --action key --json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > authsvc.MaxPage {
				return usageError{fmt.Errorf("--limit must be between 1 and %d; \"audit export\" gives all, and the trail tells of it", authsvc.MaxPage)}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				want, err := flags.filter(cmd, store)
				if err != nil {
					return err
				}
				all := []authsvc.AuditRecord{}
				for cursor := ""; len(all) < limit; { // a search by text looks at a part at a time
					list, next, err := store.ListAudit(cmd.Context(), localActor(), want, authsvc.Page{Limit: limit - len(all), Cursor: cursor})
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
				return printAudit(cmd.OutOrStdout(), all)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many entries")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array, with what was before and after")
	return cmd
}

func printAudit(w io.Writer, list []authsvc.AuditRecord) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEQ\tTIME\tACTION\tOUTCOME\tBY\tTARGET\tFROM\tDETAIL")
	for i := range list {
		r := &list[i]
		target := r.TargetKind
		if r.TargetName != "" {
			target += " " + r.TargetName
		} else if r.TargetID != "" {
			target += " " + r.TargetID
		}
		by := r.ActorName
		if r.ActorKind != authsvc.ActorPerson {
			by += " (" + string(r.ActorKind) + ")"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Seq, r.At.Format("2006-01-02 15:04:05Z"), printable(r.Action), r.Outcome,
			short(by, 40), short(target, 50), r.Address, short(r.Detail, 80))
	}
	return t.Flush()
}

func newAuditHeadCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "head",
		Short: "Print the newest entry's number and hash, to be kept elsewhere",
		Long: `Print the number and hash of the newest entry and the number of the oldest, as SEQ:HASH:FIRST.
Kept where those who can change the database cannot reach, it later shows with
"gatehouse audit verify --anchor" that nothing up to there was changed.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				head, err := store.AuditHead(cmd.Context(), localActor())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), head)
				}
				if head.Last.Seq == 0 {
					return event.Errorf(event.CodeNotFound, "the audit trail has no entries yet")
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), head.Last)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON, with where the trail begins")
	return cmd
}

const verifyHelp = `The exit status is 1 when the trail is broken; the first place is told. It may run while the server does.

Where old entries are removed (audit_retention_days), each removal has to be known: one from
before the oldest --anchor is covered by it, any other is named with --purged as the log of the
server has it. Else somebody could remove entries, and add one that says it was done by the rules.`

func printRemovals(w io.Writer, list []authsvc.AuditRemoval) error {
	for i := range list {
		r, known := &list[i], "NOT KNOWN to be by the rules"
		if r.Known {
			known = "known"
		}
		if _, err := fmt.Fprintf(w, "Entry %d, %s: %d entries from before %s were removed (%s).\n", r.Entry.Seq, r.At.Format(time.RFC3339), r.Removed, r.Before.Format(time.RFC3339), known); err != nil {
			return err
		}
	}
	return nil
}

func newAuditVerifyCommand(c *cli) *cobra.Command {
	var anchors, purged []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that nothing in the audit trail was changed, removed or put in",
		Long:  auditHelp + "\n\n" + verifyHelp,
		Example: `  gatehouse audit verify
  gatehouse audit verify --anchor 1234:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08:1`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			known := make([]authsvc.AuditAnchor, 0, len(anchors)+len(purged))
			for i, text := range append(slices.Clone(anchors), purged...) {
				anchor, err := authsvc.ParseAuditAnchor(text)
				if err != nil {
					return usageError{err}
				}
				anchor.Removal = i >= len(anchors)
				known = append(known, anchor)
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				check, err := store.VerifyAudit(cmd.Context(), localActor(), known...)
				if err != nil {
					return err
				}
				if asJSON {
					if err := printJSON(cmd.OutOrStdout(), check); err != nil {
						return err
					}
				}
				if !asJSON {
					if err := printRemovals(cmd.OutOrStdout(), check.Removals); err != nil {
						return err
					}
				}
				if check.Broken != nil {
					return fmt.Errorf("the audit trail is BROKEN at entry %d: %s", check.Broken.Seq, check.Broken.Problem)
				}
				if asJSON {
					return nil
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "The audit trail is whole: %d entries, from %d to %d.\nKeep this elsewhere, for --anchor:\n%s\n",
					check.Entries, check.Head.First, check.Head.Last.Seq, check.Head.Last)
				return err
			})
		},
	}
	cmd.Flags().StringArrayVar(&anchors, "anchor", nil, "SEQ:HASH:FIRST that \"gatehouse audit head\" printed earlier; may be given several times")
	cmd.Flags().StringArrayVar(&purged, "purged", nil, "SEQ:HASH of an entry by which the server, as its log says, removed old ones; may be given several times")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was found as JSON")
	return cmd
}

func newAuditExportCommand(c *cli) *cobra.Command {
	var flags auditFlags
	var file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write entries as JSON, one a line, newest first",
		Example: `  gatehouse audit export --since 2026-01-01 --until 2026-02-01 --out january.ndjson
  gatehouse audit export | gzip > trail.ndjson.gz`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			out := cmd.OutOrStdout()
			if file != "" {
				f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
				if err != nil {
					return fmt.Errorf("write the export: %w", err)
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				out = f
			}
			w := bufio.NewWriter(out)
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				want, err := flags.filter(cmd, store)
				if err != nil {
					return err
				}
				// Before the first line goes out: whoever reads no further than that has it too.
				if err := store.Record(cmd.Context(), localActor(), authsvc.Entry{Action: "audit.export", TargetKind: "audit", After: recordOf(&want)}); err != nil {
					return err
				}
				for page := (authsvc.Page{Limit: authsvc.MaxPage}); ; {
					list, next, err := store.ListAudit(cmd.Context(), localActor(), want, page)
					if err != nil {
						return err
					}
					for i := range list {
						if err := printJSON(w, &list[i]); err != nil {
							return err
						}
					}
					if page.Cursor = next; next == "" {
						return w.Flush()
					}
				}
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&file, "out", "", "a new file to write to (default standard output)")
	return cmd
}
