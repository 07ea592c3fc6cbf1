package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
)

const companyHelp = `A company is a tenant: its events, keys and reports are kept apart from every other's.

Its time zone decides where a day begins in its reports and how times without a zone
are read. A session without an end counts as ended after --max-session.

These commands work whether the server runs or not; a running server sees the change
within a second. COMPANY is a name, without regard to case, or an id; digits alone
are always an id.`

func newCompanyCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "company",
		Short: "Create and change companies (the tenants)",
		Long:  companyHelp,
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newCompanyCreateCommand(c), newCompanyListCommand(c), newCompanyUpdateCommand(c),
		newCompanyDisableCommand(c, true), newCompanyDisableCommand(c, false),
	)
	return cmd
}

// companySettingsFlags adds the flags that creating and changing have in common.
func companySettingsFlags(cmd *cobra.Command, settings *authsvc.CompanySettings) {
	cmd.Flags().StringVar(&settings.Timezone, "timezone", "", "IANA time zone, for instance Europe/London (default [app] timezone, UTC)")
	cmd.Flags().DurationVar(&settings.MaxSession, "max-session", 0, "longest session without an end, for instance 12h (default [app] max_session, 24h)")
}

// checkCompanySettings refuses flags that were given without a value: the settings would take them for not given.
func checkCompanySettings(cmd *cobra.Command, settings *authsvc.CompanySettings) error {
	given := cmd.Flags().Changed
	switch {
	case given("name") && settings.Name == "":
		return usageError{errors.New("--name must not be empty")}
	case given("timezone") && settings.Timezone == "":
		return usageError{errors.New("--timezone must not be empty: give an IANA time zone, for instance Europe/London")}
	case given("max-session") && settings.MaxSession == 0:
		return usageError{fmt.Errorf("--max-session must be between %s and %s", authsvc.MinMaxSession, authsvc.MaxMaxSession)}
	}
	return nil
}

func newCompanyCreateCommand(c *cli) *cobra.Command {
	var settings authsvc.CompanySettings
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a company",
		Long:  "Create a company. It needs an API key before events can come in: see \"gatehouse key create\".",
		Example: `  gatehouse company create "Acme Ltd" --timezone Europe/London
  gatehouse company create Acme --json`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkCompanySettings(cmd, &settings); err != nil {
				return err
			}
			cfg, err := c.config()
			if err != nil {
				return err
			}
			settings.Name = args[0]
			if settings.Timezone == "" {
				settings.Timezone = cfg.App.Timezone
			}
			if settings.MaxSession == 0 {
				settings.MaxSession = cfg.App.MaxSession
			}
			return c.withNewStore(cmd.Context(), func(store *authsvc.Store) error {
				company, err := store.CreateCompany(cmd.Context(), localActor(), settings)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), companyJSON(company))
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Company %q created with id %d.\nNext, an API key for it:\n  gatehouse key create --company %q --scopes ingest,read\n", company.Name, company.ID, company.Name)
				return err
			})
		},
	}
	companySettingsFlags(cmd, &settings)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the company as JSON")
	return cmd
}

func newCompanyUpdateCommand(c *cli) *cobra.Command {
	var settings authsvc.CompanySettings
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "update COMPANY",
		Short: "Change a company's name, time zone or session limit",
		Long: `Change what is named by a flag; everything else stays as it is. Reports use the new time
zone and session limit at once, also for events that came before.`,
		Example: `  gatehouse company update Acme --timezone America/New_York
  gatehouse company update 3 --name "Acme Holding"`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkCompanySettings(cmd, &settings); err != nil {
				return err
			}
			if settings == (authsvc.CompanySettings{}) {
				return usageError{fmt.Errorf("nothing to change: give --name, --timezone or --max-session")}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				company, err := store.FindCompany(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				company, err = store.UpdateCompany(cmd.Context(), localActor(), company.ID, settings)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), companyJSON(company))
				}
				return printCompanies(cmd.OutOrStdout(), []authsvc.Company{company})
			})
		},
	}
	companySettingsFlags(cmd, &settings)
	cmd.Flags().Lookup("timezone").Usage = "new IANA time zone"
	cmd.Flags().Lookup("max-session").Usage = "new longest session without an end"
	cmd.Flags().StringVar(&settings.Name, "name", "", "new name")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the company as JSON")
	return cmd
}

func newCompanyListCommand(c *cli) *cobra.Command {
	var want authsvc.CompanyFilter
	var state string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List companies by name",
		Example: `  gatehouse company list --text acme
  gatehouse company list --state disabled --json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch state {
			case "":
			case "active", "disabled":
				disabled := state == "disabled"
				want.Disabled = &disabled
			default:
				return usageError{errors.New("--state must be active or disabled")}
			}
			if limit < 0 {
				return usageError{errors.New("--limit must not be negative")}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				list, err := listCompanies(cmd, store, want, limit)
				if err != nil {
					return err
				}
				if !asJSON {
					return printCompanies(cmd.OutOrStdout(), list)
				}
				out := []companyView{}
				for _, company := range list {
					out = append(out, companyJSON(company))
				}
				return printJSON(cmd.OutOrStdout(), out)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&want.Text, "text", "", "only with this in the name")
	f.StringVar(&state, "state", "", "only those that are active or disabled")
	f.IntVar(&limit, "limit", 0, "at most so many (0: all)")
	f.BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// listCompanies reads page after page.
func listCompanies(cmd *cobra.Command, store *authsvc.Store, want authsvc.CompanyFilter, limit int) (all []authsvc.Company, err error) {
	for page := (authsvc.Page{Limit: authsvc.MaxPage}); ; {
		if limit > 0 {
			page.Limit = min(limit-len(all), authsvc.MaxPage)
		}
		list, err := store.ListCompanies(cmd.Context(), localActor(), want, page)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Companies...)
		if page.Cursor = list.Next; list.Next == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
	}
}

func newCompanyDisableCommand(c *cli, disable bool) *cobra.Command {
	use, short, done := "enable COMPANY", "Let the keys of a disabled company work again", "enabled"
	if disable {
		use, short, done = "disable COMPANY", "Stop all API keys of a company; its events stay", "disabled"
	}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				company, err := store.FindCompany(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if err := store.SetCompanyDisabled(cmd.Context(), localActor(), company.ID, disable); err != nil {
					return err
				}
				if asJSON {
					if company, err = store.Company(cmd.Context(), company.ID); err != nil {
						return err
					}
					return printJSON(cmd.OutOrStdout(), companyJSON(company))
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Company %q is %s.\n", company.Name, done)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the company as JSON")
	return cmd
}

// companyView is a company in JSON.
type companyView struct {
	ID         uint32    `json:"id"`
	Name       string    `json:"name"`
	Timezone   string    `json:"timezone"`
	MaxSession int64     `json:"max_session"` // seconds
	Created    time.Time `json:"created_at"`
	Disabled   time.Time `json:"disabled_at,omitzero"`
}

func companyJSON(c authsvc.Company) companyView {
	return companyView{c.ID, c.Name, c.Timezone, int64(c.MaxSession / time.Second), c.Created, c.Disabled}
}

func printCompanies(w io.Writer, list []authsvc.Company) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tTIMEZONE\tMAX SESSION\tCREATED\tSTATE")
	for _, c := range list {
		state := "active"
		if !c.Disabled.IsZero() {
			state = "disabled " + c.Disabled.Format(time.DateOnly)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", c.ID, c.Name, c.Timezone, c.MaxSession, c.Created.Format(time.DateOnly), state)
	}
	return t.Flush()
}

// exactArgs is cobra.ExactArgs with the usage in its error.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usageError{fmt.Errorf("want %d arguments, got %d: %s", n, len(args), cmd.UseLine())}
	}
}
