package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
	"gatehouse/event"
)

const keyHelp = `An API key stands for one site of a company: events that come by it belong to that site.

What a key may do is its scopes:
  ingest   send events
  read     read reports and events
  sql      ask in SQL

A key is shown once, when it is made; only a hash of it is kept. In lists it is known by its
first characters. These commands work whether the server runs or not; on every running
server a key that is disabled or revoked stops within two seconds.`

func newKeyCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Create, list and stop API keys",
		Long:  keyHelp,
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newKeyCreateCommand(c), newKeyListCommand(c), newKeyUpdateCommand(c), newKeyRotateCommand(c), newKeyDaysCommand(c),
		newKeyDisableCommand(c, true), newKeyDisableCommand(c, false), newKeyRevokeCommand(c),
	)
	return cmd
}

func newKeyCreateCommand(c *cli) *cobra.Command {
	var company, scopes, site, note, networks, expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create --company COMPANY --scopes ingest,read",
		Short: "Create an API key and show it, once",
		Example: `  gatehouse key create --company Acme --scopes ingest --site "Head office"
  gatehouse key create --company Acme --scopes ingest --networks 192.0.2.0/24,2001:db8::/32
  gatehouse key create --company Acme --scopes read --expires 90d --json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec := authsvc.NewKey{Site: site, Note: note}
			var err error
			if spec.Scopes, err = authsvc.ParseKeyScopes(scopes); err != nil {
				return usageError{err}
			}
			if spec.Networks, err = authsvc.ParseNetworks(networks); err != nil {
				return usageError{err}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				owner, err := store.FindCompany(cmd.Context(), company)
				if err != nil {
					return err
				}
				if spec.Expires, err = parseExpiry(expires, time.Now(), owner.Location); err != nil {
					return usageError{err}
				}
				key, secret, err := store.CreateKey(cmd.Context(), localActor(), owner.ID, spec)
				if err != nil {
					return err
				}
				if asJSON {
					view := keyJSON(&key)
					view.Key = secret
					return printJSON(cmd.OutOrStdout(), view)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n\nThis key of %q (site %q, scopes %s) is shown now and never again.\nSend it in the header X-API-Key.\n", secret, owner.Name, key.Site, key.Scopes)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&company, "company", "", "name or id of the company (required)")
	f.StringVar(&scopes, "scopes", "", "what the key may do: ingest, read, sql, separated by commas (required)")
	f.StringVar(&site, "site", "", "name of the site (default \"Site\" and the first characters of the key)")
	f.StringVar(&note, "note", "", "a note for whoever looks at the key later")
	f.StringVar(&networks, "networks", "", "where the key may be used from: networks and addresses, separated by commas (default anywhere)")
	f.StringVar(&expires, "expires", "", "when the key ends: 2027-01-31, an RFC 3339 time, or 90d or 12h from now (default never)")
	f.BoolVar(&asJSON, "json", false, "print the key as JSON")
	requireFlags(cmd, "company", "scopes")
	return cmd
}

func newKeyListCommand(c *cli) *cobra.Command {
	var want authsvc.KeyFilter
	var company, state, scope, idle string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List API keys, of one company or of all",
		Long: `List API keys with their state and use. The time of the last use and the counts of events
and refused records follow the server by a few seconds.`,
		Example: `  gatehouse key list --company Acme
  gatehouse key list --state active --idle 90d    # keys that nobody uses any more`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			want.State = authsvc.KeyState(state)
			var err error
			if scope != "" {
				if want.Scope, err = authsvc.ParseKeyScopes(scope); err != nil {
					return usageError{err}
				}
			}
			if want.Idle, err = parseSince("idle", idle, time.Now()); err != nil {
				return usageError{err}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				if company != "" {
					owner, err := store.FindCompany(cmd.Context(), company)
					if err != nil {
						return err
					}
					want.Company = owner.ID
				}
				views := []keyView{}
				for page := (authsvc.Page{Limit: authsvc.MaxPage}); ; {
					keys, next, err := store.ListKeys(cmd.Context(), localActor(), want, page)
					if err != nil {
						return err
					}
					for i := range keys {
						views = append(views, keyJSON(&keys[i]))
					}
					if page.Cursor = next; next == "" {
						break
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), views)
				}
				return printKeys(cmd.OutOrStdout(), views)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&company, "company", "", "name or id of one company")
	f.BoolVar(&want.Revoked, "all", false, "revoked keys too")
	f.StringVar(&state, "state", "", "only keys in this state: active, disabled, expired, revoked")
	f.StringVar(&scope, "scope", "", "only keys with these scopes")
	f.StringVar(&want.Text, "text", "", "only keys with this in the site's name or the note, or that begin with it")
	f.StringVar(&idle, "idle", "", "only keys not used for this long (90d, 12h) or since this day or time")
	f.BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newKeyUpdateCommand(c *cli) *cobra.Command {
	var site, note, scopes, networks, expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "update KEY",
		Short: "Change a key's site name, note, scopes, networks or end",
		Long:  "Change what is named; the rest stays. The key itself stays the same.\n\n" + keyRefHelp,
		Example: `  gatehouse key update gh_abcd1234 --site "Head office" --networks 192.0.2.0/24
  gatehouse key update 7 --networks "" --expires never`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var change authsvc.KeyChange
			given := func(name string) bool { return cmd.Flags().Changed(name) }
			if given("site") {
				change.Site = &site
			}
			if given("note") {
				change.Note = &note
			}
			if given("scopes") {
				set, err := authsvc.ParseKeyScopes(scopes)
				if err != nil {
					return usageError{err}
				}
				change.Scopes = &set
			}
			if given("networks") {
				list, err := authsvc.ParseNetworks(networks)
				if err != nil {
					return usageError{err}
				}
				change.Networks = &list
			}
			if !given("expires") && change == (authsvc.KeyChange{}) {
				return usageError{errors.New("name what to change: --site, --note, --scopes, --networks or --expires")}
			}
			return c.withKey(cmd, args[0], func(store *authsvc.Store, k authsvc.Key) error {
				if given("expires") {
					var at time.Time
					if expires != "never" {
						owner, err := store.Company(cmd.Context(), k.CompanyID)
						if err != nil {
							return err
						}
						if at, err = parseExpiry(expires, time.Now(), owner.Location); err != nil {
							return usageError{err}
						}
					}
					change.Expires = &at
				}
				k, err := store.UpdateKey(cmd.Context(), localActor(), k.CompanyID, k.ID, change)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), keyJSON(&k))
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Key %d (%s, site %q) is changed.\n", k.ID, k.Prefix, k.Site)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&site, "site", "", "new name of the site")
	f.StringVar(&note, "note", "", "new note, empty for none")
	f.StringVar(&scopes, "scopes", "", "what the key may do: ingest, read, sql, separated by commas")
	f.StringVar(&networks, "networks", "", "where the key may be used from, empty for anywhere")
	f.StringVar(&expires, "expires", "", "when the key ends: 2027-01-31, an RFC 3339 time, 90d or 12h from now, or never")
	f.BoolVar(&asJSON, "json", false, "print the key as JSON")
	return cmd
}

func newKeyRotateCommand(c *cli) *cobra.Command {
	var overlap string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rotate KEY",
		Short: "Exchange a key for a new one and show that, once",
		Long: `Exchange a key for a new one of the same site: scopes, networks and history stay. The old one works
until the overlap is over, so that agents can be changed one after the other. When the key is
exchanged again in that time, the oldest ends at once.

` + keyRefHelp,
		Example: `  gatehouse key rotate gh_abcd1234 --overlap 7d
  gatehouse key rotate 7 --overlap 0    # the old one leaked: it ends now`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			span, err := parseSpan("overlap", overlap)
			if err != nil {
				return usageError{err}
			}
			return c.withKey(cmd, args[0], func(store *authsvc.Store, k authsvc.Key) error {
				earlier := ""
				if k.OldUntil.After(time.Now()) {
					earlier = k.OldPrefix
				}
				k, secret, err := store.RotateKey(cmd.Context(), localActor(), k.CompanyID, k.ID, span)
				if err != nil {
					return err
				}
				if asJSON {
					view := keyJSON(&k)
					view.Key = secret
					return printJSON(cmd.OutOrStdout(), view)
				}
				old := "The old key has ended."
				if !k.OldUntil.IsZero() {
					old = "The old key " + k.OldPrefix + "… works until " + k.OldUntil.Format("2006-01-02 15:04Z") + "."
				}
				if earlier != "" {
					old += " The one before it, " + earlier + "…, which had not ended yet, works no more."
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n\nThis new key of site %q is shown now and never again.\n%s\n", secret, k.Site, old)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&overlap, "overlap", "24h", "how long the old key still works: 7d, 12h, or 0 for not at all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the key as JSON")
	return cmd
}

func newKeyDaysCommand(c *cli) *cobra.Command {
	var days int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "days KEY",
		Short: "Show what a key brought, day by day",
		Long:  "Show how many events came by a key, and how many records were refused, for each of the last days in UTC.\n\n" + keyRefHelp,
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				k, err := store.FindKey(cmd.Context(), localActor(), args[0])
				if err != nil {
					return err
				}
				to := time.Now()
				list, err := store.KeyDays(cmd.Context(), localActor(), k.CompanyID, k.ID, to.AddDate(0, 0, 1-days), to)
				if err != nil {
					return err
				}
				if asJSON {
					type dayView struct {
						Day    string `json:"day"`
						Events int64  `json:"event_count"`
						Errors int64  `json:"error_count"`
					}
					views := []dayView{}
					for _, d := range list {
						views = append(views, dayView{d.Day.Format(time.DateOnly), d.Events, d.Errors})
					}
					return printJSON(cmd.OutOrStdout(), views)
				}
				t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
				fmt.Fprintln(t, "DAY\tEVENTS\tREFUSED\t")
				for _, d := range list {
					fmt.Fprintf(t, "%s\t%d\t%d\t\n", d.Day.Format(time.DateOnly), d.Events, d.Errors)
				}
				return t.Flush()
			})
		},
	}
	cmd.Flags().IntVar(&days, "days", 14, "how many days, today included; up to 400 are kept")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newKeyDisableCommand(c *cli, disable bool) *cobra.Command {
	use, short, done := "enable KEY", "Let a disabled key work again", "enabled"
	if disable {
		use, short, done = "disable KEY", "Stop a key; \"enable\" lets it work again", "disabled"
	}
	return keyChangeCommand(c, use, short, "", done, func(cmd *cobra.Command, store *authsvc.Store, k authsvc.Key) error {
		return store.SetKeyDisabled(cmd.Context(), localActor(), k.CompanyID, k.ID, disable)
	})
}

func newKeyRevokeCommand(c *cli) *cobra.Command {
	return keyChangeCommand(c, "revoke KEY", "End a key for good", "End a key for good: it cannot be enabled again. The events that came by it stay, under its site's name.", "revoked",
		func(cmd *cobra.Command, store *authsvc.Store, k authsvc.Key) error {
			return store.RevokeKey(cmd.Context(), localActor(), k.CompanyID, k.ID)
		})
}

const keyRefHelp = `KEY is the id or the first characters, as "gatehouse key list" shows them, or the whole key.`

// keyChangeCommand is a command that finds one key and changes it.
func keyChangeCommand(c *cli, use, short, long, done string, change func(*cobra.Command, *authsvc.Store, authsvc.Key) error) *cobra.Command {
	if long == "" {
		long = short + "."
	}
	return &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long + "\n\n" + keyRefHelp,
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withKey(cmd, args[0], func(store *authsvc.Store, k authsvc.Key) error {
				if err := change(cmd, store, k); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "Key %d (%s, site %q) is %s.\n", k.ID, k.Prefix, k.Site, done)
				return err
			})
		},
	}
}

// withKey finds the key that ref names and has fn change it.
func (c *cli) withKey(cmd *cobra.Command, ref string, fn func(*authsvc.Store, authsvc.Key) error) error {
	return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
		k, err := store.FindKey(cmd.Context(), localActor(), ref)
		if err != nil {
			return err
		}
		if !k.Revoked.IsZero() {
			return event.Errorf(event.CodeConflict, "key %d (%s) is revoked, which cannot be changed any more", k.ID, k.Prefix)
		}
		return fn(store, k)
	})
}

// keyView is a key in JSON.
type keyView struct {
	Key           string           `json:"key,omitempty"` // only when it is made
	ID            uint32           `json:"id"`
	Prefix        string           `json:"prefix"`
	Company       string           `json:"company"`
	CompanyID     uint32           `json:"company_id"`
	Site          string           `json:"site"`
	Note          string           `json:"note,omitempty"`
	Scopes        authsvc.Scopes   `json:"scopes"`
	Networks      []netip.Prefix   `json:"networks,omitempty"`
	State         authsvc.KeyState `json:"state"`
	Created       time.Time        `json:"created_at"`
	Expires       time.Time        `json:"expires_at,omitzero"`
	Rotated       time.Time        `json:"rotated_at,omitzero"`
	OldPrefix     string           `json:"old_prefix,omitempty"` // of the key before, while it still works
	OldUntil      time.Time        `json:"old_until,omitzero"`
	LastUsed      time.Time        `json:"last_used_at,omitzero"`
	LastUsedIP    string           `json:"last_used_ip,omitempty"`
	LastUsedAgent string           `json:"last_used_agent,omitempty"`
	AgentVersion  string           `json:"agent_version,omitempty"`
	Events        int64            `json:"event_count"`
	Errors        int64            `json:"error_count"`
}

func keyJSON(k *authsvc.Key) keyView {
	return keyView{
		ID: k.ID, Prefix: k.Prefix, Company: k.Company, CompanyID: k.CompanyID, Site: k.Site, Note: k.Note, Scopes: k.Scopes, Networks: k.Networks,
		State: k.State(time.Now()), Created: k.Created, Expires: k.Expires, Rotated: k.Rotated, OldPrefix: k.OldPrefix, OldUntil: k.OldUntil,
		LastUsed: k.LastUsed, LastUsedIP: k.LastUsedIP, LastUsedAgent: k.LastUsedAgent, AgentVersion: k.AgentVersion, Events: k.Events, Errors: k.Errors,
	}
}

func printKeys(w io.Writer, views []keyView) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tPREFIX\tCOMPANY\tSITE\tSCOPES\tNETWORKS\tSTATE\tEXPIRES\tLAST USED\tFROM\tBY\tAGENT\tEVENTS\tREFUSED")
	day := func(at time.Time, layout, none string) string {
		if at.IsZero() {
			return none
		}
		return at.Format(layout)
	}
	for i := range views {
		k := &views[i]
		networks := "any"
		if n := len(k.Networks); n == 1 {
			networks = k.Networks[0].String()
		} else if n > 1 {
			networks = fmt.Sprintf("%s +%d", k.Networks[0], n-1)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", k.ID, k.Prefix, k.Company, k.Site, k.Scopes, networks, k.State,
			day(k.Expires, time.DateOnly, "never"), day(k.LastUsed, "2006-01-02 15:04Z", "never"), k.LastUsedIP, short(k.LastUsedAgent, 24), short(k.AgentVersion, 16), k.Events, k.Errors)
	}
	return t.Flush()
}

// short is a text from outside as a column of a terminal may show it.
func short(text string, limit int) string {
	runes := []rune(printable(text))
	if len(runes) > limit {
		runes = append(runes[:limit-1], '…')
	}
	return string(runes)
}

// parseExpiry reads an end of validity: a day (its beginning in the company's zone), a time, or a span from now.
func parseExpiry(text string, now time.Time, zone *time.Location) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if span, err := parseSpan("expires", text); err == nil && span > 0 {
		return now.Add(span), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if at, err := time.ParseInLocation(time.DateOnly, text, zone); err == nil {
		return at, nil
	}
	return time.Time{}, event.FieldError("expires", "%q is neither a day (2027-01-31), a time (2027-01-31T18:00:00Z) nor a span (90d, 12h)", text)
}

// parseSpan reads a length of time: 90d, 12h, 30m or 0.
func parseSpan(field, text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	return 0, event.FieldError(field, "%q is not a length of time such as 90d or 12h", text)
}

// parseSince reads a moment in the past: a length of time before now, a day in UTC, or a time; nil for "".
func parseSince(field, text string, now time.Time) (*time.Time, error) {
	if text = strings.TrimSpace(text); text == "" {
		return nil, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return &at, nil
		}
	}
	span, err := parseSpan(field, text)
	if err != nil {
		return nil, event.FieldError(field, "%q is neither a day (2027-01-31), a time (2027-01-31T18:00:00Z) nor a length of time before now (90d, 12h)", text)
	}
	at := now.Add(-span)
	return &at, nil
}

// requireFlags marks flags as required; the names are those defined a few lines above the call.
func requireFlags(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic("BUG: " + err.Error())
		}
	}
}
