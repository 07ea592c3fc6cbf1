package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
)

const settingsHelp = `Settings that GlobalAdmins change while the server runs: what passwords must be, whether a second factor is
required, registration, sessions, lockout, how long trails are kept. They are in the database and hold for all
servers that share it. What a server needs to start stands in config.ini: see "gatehouse config".`

func newSettingsCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "Read and change the settings kept in the database",
		Long:  settingsHelp,
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	domain := &cobra.Command{
		Use:   "domain",
		Short: "Say of which e-mail domains people may register",
		Long: `Say of which e-mail domains people may register by themselves, where the setting
registration_enabled is true. Without any domain here, people of all domains may.`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	domain.AddCommand(newDomainListCommand(c), newDomainAddCommand(c), newDomainRemoveCommand(c))
	cmd.AddCommand(newSettingsListCommand(c), newSettingsGetCommand(c), newSettingsSetCommand(c), newSettingsResetCommand(c), domain)
	return cmd
}

// settingView is a setting in JSON. The value is text, as "settings set" takes it.
type settingView struct {
	Name    string              `json:"name"`
	Value   string              `json:"value"`
	Default string              `json:"default"`
	Kind    authsvc.SettingKind `json:"kind"`
	Min     string              `json:"min,omitempty"`
	Max     string              `json:"max,omitempty"`
	Doc     string              `json:"doc"`
	Changed time.Time           `json:"changed_at,omitzero"`
	By      string              `json:"changed_by,omitempty"`
}

func settingJSON(s authsvc.Setting) settingView {
	return settingView{s.Name, s.Value, s.Default, s.Kind, s.Min, s.Max, s.Doc, s.Changed, s.By}
}

func newSettingsListCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all settings with their values",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				list, err := store.ListSettings(cmd.Context(), localActor())
				if err != nil {
					return err
				}
				if asJSON {
					views := []settingView{}
					for _, s := range list {
						views = append(views, settingJSON(s))
					}
					return printJSON(cmd.OutOrStdout(), views)
				}
				t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "NAME\tVALUE\tDEFAULT\tWHAT IT DOES")
				for _, s := range list {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Name, s.Value, s.Default, s.Doc)
				}
				return t.Flush()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// settingCommand is a command on one setting, of which it prints the value.
func (c *cli) settingCommand(use, short string, arguments int, act func(*cobra.Command, *authsvc.Store, []string) (authsvc.Setting, error)) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  exactArgs(arguments),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				s, err := act(cmd, store, args)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), settingJSON(s))
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), s.Value)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the setting as JSON")
	return cmd
}

func newSettingsGetCommand(c *cli) *cobra.Command {
	return c.settingCommand("get NAME", "Print the value of a setting", 1, func(cmd *cobra.Command, store *authsvc.Store, args []string) (authsvc.Setting, error) {
		return store.GetSetting(cmd.Context(), localActor(), args[0])
	})
}

func newSettingsSetCommand(c *cli) *cobra.Command {
	cmd := c.settingCommand("set NAME VALUE", "Change a setting", 2, func(cmd *cobra.Command, store *authsvc.Store, args []string) (authsvc.Setting, error) {
		return store.SetSetting(cmd.Context(), localActor(), args[0], args[1])
	})
	cmd.Example = `  gatehouse settings set mfa_required true
  gatehouse settings set error_log_filters "ingest=ERROR, engine=INFO"`
	return cmd
}

func newSettingsResetCommand(c *cli) *cobra.Command {
	return c.settingCommand("reset NAME", "Give a setting its default again", 1, func(cmd *cobra.Command, store *authsvc.Store, args []string) (authsvc.Setting, error) {
		return store.ResetSetting(cmd.Context(), localActor(), args[0])
	})
}

// domainView is an e-mail domain in JSON.
type domainView struct {
	Domain  string    `json:"domain"`
	Created time.Time `json:"created_at"`
}

func newDomainListCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the domains",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				list, err := store.ListDomains(cmd.Context(), localActor())
				if err != nil {
					return err
				}
				views := []domainView{}
				for _, d := range list {
					views = append(views, domainView{d.Name, d.Created})
					if !asJSON {
						if _, err := fmt.Fprintln(cmd.OutOrStdout(), d.Name); err != nil {
							return err
						}
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), views)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newDomainAddCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add DOMAIN",
		Short: "Let people of a domain register",
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				d, err := store.AddDomain(cmd.Context(), localActor(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), domainView{d.Name, d.Created})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "People of %s may register.\n", d.Name)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the domain as JSON")
	return cmd
}

func newDomainRemoveCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "remove DOMAIN",
		Short: "Take a domain out of the list",
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				if err := store.RemoveDomain(cmd.Context(), localActor(), args[0]); err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), map[string]string{"removed": args[0]})
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "Removed. With no domain left, people of all domains may register.")
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was removed as JSON")
	return cmd
}
