package main

import (
	"fmt"
	"io"
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
	cmd.AddCommand(newKeyCreateCommand(c), newKeyListCommand(c), newKeyDisableCommand(c, true), newKeyDisableCommand(c, false), newKeyRevokeCommand(c))
	return cmd
}

func newKeyCreateCommand(c *cli) *cobra.Command {
	var company, scopes, site, expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create --company COMPANY --scopes ingest,read",
		Short: "Create an API key and show it, once",
		Example: `  gatehouse key create --company Acme --scopes ingest --site "Head office"
  gatehouse key create --company Acme --scopes read --expires 90d --json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec := authsvc.NewKey{Site: site}
			var err error
			if spec.Scopes, err = authsvc.ParseScopes(scopes); err != nil {
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
					view := keyJSON(key, owner.Name)
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
	f.StringVar(&expires, "expires", "", "when the key ends: 2027-01-31, an RFC 3339 time, or 90d or 12h from now (default never)")
	f.BoolVar(&asJSON, "json", false, "print the key as JSON")
	requireFlags(cmd, "company", "scopes")
	return cmd
}

func newKeyListCommand(c *cli) *cobra.Command {
	var company string
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List API keys, of one company or of all",
		Long: `List API keys with their state and use. The time of the last use and the counts of events
and refused records follow the server by a few seconds.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				var companies []authsvc.Company
				var err error
				if company != "" {
					var one authsvc.Company
					one, err = store.FindCompany(cmd.Context(), company)
					companies = []authsvc.Company{one}
				} else {
					companies, err = store.Companies(cmd.Context())
				}
				if err != nil {
					return err
				}
				views := []keyView{}
				for _, owner := range companies {
					keys, err := store.Keys(cmd.Context(), owner.ID, all)
					if err != nil {
						return err
					}
					for _, k := range keys {
						views = append(views, keyJSON(k, owner.Name))
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), views)
				}
				return printKeys(cmd.OutOrStdout(), views)
			})
		},
	}
	cmd.Flags().StringVar(&company, "company", "", "name or id of one company")
	cmd.Flags().BoolVar(&all, "all", false, "revoked keys too")
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

// keyChangeCommand is a command that finds one key and changes it.
func keyChangeCommand(c *cli, use, short, long, done string, change func(*cobra.Command, *authsvc.Store, authsvc.Key) error) *cobra.Command {
	if long == "" {
		long = short + "."
	}
	return &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long + "\n\nKEY is the id or the first characters, as \"gatehouse key list\" shows them, or the whole key.",
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				k, err := store.FindKey(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if !k.Revoked.IsZero() {
					return event.Errorf(event.CodeConflict, "key %d (%s) is revoked, which cannot be changed any more", k.ID, k.Prefix)
				}
				if err := change(cmd, store, k); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Key %d (%s, site %q) is %s.\n", k.ID, k.Prefix, k.Site, done)
				return err
			})
		},
	}
}

// keyView is a key in JSON.
type keyView struct {
	Key        string         `json:"key,omitempty"` // only when it is made
	ID         uint32         `json:"id"`
	Prefix     string         `json:"prefix"`
	Company    string         `json:"company"`
	CompanyID  uint32         `json:"company_id"`
	Site       string         `json:"site"`
	Scopes     authsvc.Scopes `json:"scopes"`
	State      string         `json:"state"`
	Created    time.Time      `json:"created_at"`
	Expires    time.Time      `json:"expires_at,omitzero"`
	LastUsed   time.Time      `json:"last_used_at,omitzero"`
	LastUsedIP string         `json:"last_used_ip,omitempty"`
	Events     int64          `json:"event_count"`
	Errors     int64          `json:"error_count"`
}

func keyJSON(k authsvc.Key, company string) keyView {
	return keyView{
		ID: k.ID, Prefix: k.Prefix, Company: company, CompanyID: k.CompanyID, Site: k.Site, Scopes: k.Scopes, State: k.State(time.Now()),
		Created: k.Created, Expires: k.Expires, LastUsed: k.LastUsed, LastUsedIP: k.LastUsedIP, Events: k.Events, Errors: k.Errors,
	}
}

func printKeys(w io.Writer, views []keyView) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tPREFIX\tCOMPANY\tSITE\tSCOPES\tSTATE\tEXPIRES\tLAST USED\tFROM\tEVENTS\tREFUSED")
	day := func(at time.Time, layout, none string) string {
		if at.IsZero() {
			return none
		}
		return at.Format(layout)
	}
	for _, k := range views {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", k.ID, k.Prefix, k.Company, k.Site, k.Scopes, k.State,
			day(k.Expires, time.DateOnly, "never"), day(k.LastUsed, "2006-01-02 15:04Z", "never"), k.LastUsedIP, k.Events, k.Errors)
	}
	return t.Flush()
}

// parseExpiry reads an end of validity: a day (its beginning in the company's zone), a time, or a span from now.
func parseExpiry(text string, now time.Time, zone *time.Location) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return now.AddDate(0, 0, int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if at, err := time.ParseInLocation(time.DateOnly, text, zone); err == nil {
		return at, nil
	}
	return time.Time{}, event.FieldError("expires", "%q is neither a day (2027-01-31), a time (2027-01-31T18:00:00Z) nor a span (90d, 12h)", text)
}

// requireFlags marks flags as required; the names are those defined a few lines above the call.
func requireFlags(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic("BUG: " + err.Error())
		}
	}
}
