package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
)

// identityView is an identity of a provider in JSON.
type identityView struct {
	ID      uint32    `json:"id"`
	Issuer  string    `json:"issuer"`
	Subject string    `json:"subject"`
	Linked  time.Time `json:"linked_at"`
}

func newUserIdentitiesCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "identities USER",
		Short: "List the identities of the provider by which a person signs in",
		Long: `List the identities of the provider ([oidc] in config.ini) by which a person signs in.
"user unlink" takes one away by its id.`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				u, err := store.FindUser(cmd.Context(), localActor(), args[0])
				if err != nil {
					return err
				}
				list, err := store.Identities(cmd.Context(), localActor(), u.ID)
				if err != nil {
					return err
				}
				return printIdentities(cmd.OutOrStdout(), list, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func printIdentities(w io.Writer, list []authsvc.LinkedIdentity, asJSON bool) error {
	if asJSON {
		views := []identityView{}
		for _, l := range list {
			views = append(views, identityView(l))
		}
		return printJSON(w, views)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tPROVIDER\tKNOWS THEM AS\tLINKED")
	for _, l := range list {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", l.ID, l.Issuer, l.Subject, l.Linked.Format(time.DateOnly))
	}
	return t.Flush()
}

func newUserUnlinkCommand(c *cli) *cobra.Command {
	cmd := c.userCommand("unlink USER IDENTITY", "Take away an identity by which a person signs in", 2,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, args []string) (authsvc.User, string, error) {
			id, err := strconv.ParseUint(args[0], 10, 31)
			if err != nil {
				return u, "", usageError{fmt.Errorf("%q is not the id of an identity: see gatehouse user identities %s", args[0], u.Username)}
			}
			if _, err := store.UnlinkIdentity(cmd.Context(), localActor(), u.ID, uint32(id)); err != nil {
				return u, "", err
			}
			done := u.Username + " cannot sign in with this identity any more, and has to sign in again."
			if !u.Password {
				done += "\nThey have no password: give them one with gatehouse user reset-password, unless another identity is left."
			}
			u, err = store.GetUser(cmd.Context(), localActor(), u.ID)
			return u, done, err
		})
	cmd.Long = `Take away an identity of the provider by which a person signs in: its id is in "user identities".
Their sessions and tokens end. The account stays, and so does its password.`
	return cmd
}
