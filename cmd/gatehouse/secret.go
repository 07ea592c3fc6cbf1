package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
)

func newSecretCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Exchange the secret key",
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSecretResealCommand(c))
	return cmd
}

func newSecretResealCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reseal",
		Short: "Seal every secret in the database with the newest secret key",
		Long: `Seal every secret in the database (of authenticator apps, and the data of sessions) with the newest
secret key, and tell what is left under older ones.

To exchange the secret key: write the new one before the old one, with a comma between, on every
server ([security] secret_key, or secret.key in the data directory), start them anew, run this, and
take the old one away when nothing is left under it. Then everything else that the old key protects
is over too: access tokens after ten minutes, and cookies by which browsers are known again. Sessions
in Redis are sealed anew when they are used.

The exit status is 1 when something is left. It may run while the server does.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sealer, err := c.sealer()
			if err != nil {
				return err
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				if err := store.CheckSecretKey(cmd.Context(), sealer); err != nil {
					return err
				}
				list, err := store.Reseal(cmd.Context(), localActor(), sealer)
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(cmd.OutOrStdout(), list)
				} else {
					t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
					fmt.Fprintln(t, "WHAT\tSEALED ANEW\tUNDER THE NEWEST KEY\tUNDER OLDER ONES\tUNREADABLE")
					for _, r := range list {
						fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\n", r.What, r.Renewed, r.Current, r.Older, r.Unreadable)
					}
					err = t.Flush()
				}
				for _, r := range list {
					if err == nil && r.Older+r.Unreadable > 0 {
						err = errors.New("not everything is under the newest key: see to it that every server has it, and run this again; what is unreadable was sealed with a key that is not given, or damaged")
					}
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// sealer has the secret keys that the server has. It makes none: what is sealed with a new one nobody else could open.
func (c *cli) sealer() (*authsvc.Sealer, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	configured := cfg.Security.SecretKey.Reveal()
	if path := filepath.Join(c.dataDir, authsvc.SecretKeyFile); strings.TrimSpace(configured) == "" {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no secret key: neither [security] secret_key nor %s", path)
		}
	}
	keys, err := authsvc.LoadSecretKey(configured, c.dataDir)
	if err != nil {
		return nil, err
	}
	return authsvc.NewSealer(keys...)
}
