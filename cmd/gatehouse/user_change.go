package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
)

func newUserUpdateCommand(c *cli) *cobra.Command {
	var username, email, display, policy string
	cmd := c.userCommand("update USER", "Change a person's names, e-mail or second-factor policy", 1,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, _ []string) (authsvc.User, string, error) {
			var change authsvc.UserChange
			for name, set := range map[string]func(){
				"username":     func() { change.Username = &username },
				"email":        func() { change.Email = &email },
				"display-name": func() { change.DisplayName = &display },
				"mfa-policy":   func() { p := authsvc.MFAPolicy(policy); change.MFAPolicy = &p },
			} {
				if cmd.Flags().Changed(name) {
					set()
				}
			}
			if change == (authsvc.UserChange{}) {
				return u, "", usageError{errors.New("nothing to change: give --username, --email, --display-name or --mfa-policy")}
			}
			u, err := store.UpdateUser(cmd.Context(), localActor(), u.ID, change)
			return u, "", err
		})
	f := cmd.Flags()
	f.StringVar(&username, "username", "", "new username")
	f.StringVar(&email, "email", "", "new e-mail")
	f.StringVar(&display, "display-name", "", "new name to show")
	f.StringVar(&policy, "mfa-policy", "", "second factor: inherit (as the settings say), required or not_required")
	return cmd
}

func newUserRoleCommand(c *cli) *cobra.Command {
	cmd := c.userCommand("role USER ROLE", "Give a person another role over all companies", 2,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, args []string) (authsvc.User, string, error) {
			role, err := authsvc.ParseGlobalRole(args[0])
			if err != nil {
				return u, "", usageError{err}
			}
			u, err = store.UpdateUser(cmd.Context(), localActor(), u.ID, authsvc.UserChange{Role: &role})
			return u, u.Username + " is " + string(u.Role) + " from now on, and has to sign in again.", err
		})
	cmd.Long = `Give a person the role GlobalAdmin, Admin or User over all companies. Their sessions and programs end,
and with a higher role their personal access tokens too. The last GlobalAdmin who can sign in keeps the role.`
	return cmd
}

func newUserApproveCommand(c *cli) *cobra.Command {
	var members []string
	cmd := c.userCommand("approve USER", "Let a person sign in who registered by themselves", 1,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, _ []string) (authsvc.User, string, error) {
			grants, err := parseMembers(cmd, store, members)
			if err != nil {
				return u, "", err
			}
			u, err = store.ApproveUser(cmd.Context(), localActor(), u.ID, grants)
			return u, u.Username + " can sign in.", err
		})
	cmd.Flags().StringArrayVar(&members, "member", nil, "a company and the role in it, such as Acme=User; may be given several times")
	return cmd
}

func newUserDisableCommand(c *cli) *cobra.Command {
	return c.userCommand("disable USER", "Keep a person from signing in, end their sessions and programs, and stop their personal tokens", 1,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, _ []string) (authsvc.User, string, error) {
			u, err := store.DisableUser(cmd.Context(), localActor(), u.ID)
			return u, u.Username + " is disabled.", err
		})
}

func newUserEnableCommand(c *cli) *cobra.Command {
	return c.userCommand("enable USER", "Let a disabled person sign in again", 1,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, _ []string) (authsvc.User, string, error) {
			u, err := store.EnableUser(cmd.Context(), localActor(), u.ID)
			return u, u.Username + " is enabled.", err
		})
}

func newUserSignOutCommand(c *cli) *cobra.Command {
	var everybody, tokens bool
	one := c.userCommand("sign-out USER|--all", "End a person's sessions, or everybody's", 1,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, _ []string) (authsvc.User, string, error) {
			u, err := store.SignOutUser(cmd.Context(), localActor(), u.ID, tokens)
			return u, u.Username + " is signed out everywhere.", err
		})
	signOut := one.RunE
	one.Args = func(cmd *cobra.Command, args []string) error {
		if everybody && len(args) > 0 {
			return usageError{errors.New("give a person or --all, not both")}
		}
		if everybody {
			return nil
		}
		return exactArgs(1)(cmd, args)
	}
	one.RunE = func(cmd *cobra.Command, args []string) error {
		if !everybody {
			return signOut(cmd, args)
		}
		return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
			if err := store.SignOutEverybody(cmd.Context(), localActor(), tokens); err != nil {
				return err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]bool{"signed_out": true})
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "Everybody is signed out.")
			return err
		})
	}
	one.Long = `End a person's sessions at once, wherever they are signed in, and sign out their programs; with
--tokens revoke their personal access tokens too. They can sign in again. With --all, do it for all
people. API keys go on.`
	one.Example = `  gatehouse user sign-out ada --tokens
  gatehouse user sign-out --all`
	one.Flags().BoolVar(&everybody, "all", false, "sign out all people")
	one.Flags().BoolVar(&tokens, "tokens", false, "revoke personal access tokens too")
	return one
}

func newUserDeleteCommand(c *cli) *cobra.Command {
	cmd := c.userCommand("delete USER", "Remove a person for good", 1,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, _ []string) (authsvc.User, string, error) {
			return u, u.Username + " is deleted.", store.DeleteUser(cmd.Context(), localActor(), u.ID)
		})
	cmd.Long = `Remove a person with their memberships, second factors, sessions and
tokens. What they did stays in the audit trail,
with their name. To keep somebody out for a while, use "user disable".`
	return cmd
}

func newUserResetMFACommand(c *cli) *cobra.Command {
	cmd := c.userCommand("reset-mfa USER", "Take a person's second factors away", 1,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, _ []string) (authsvc.User, string, error) {
			u, err := store.ResetMFA(cmd.Context(), localActor(), u.ID)
			return u, u.Username + " has no second factor any more.", err
		})
	cmd.Long = `Take a person's authenticator app, recovery codes and passkeys away, for when they are lost or stolen.
Their sessions and
tokens end. Where a second factor is required, they set one up at the next sign-in.`
	return cmd
}

func newUserResetPasswordCommand(c *cli) *cobra.Command {
	var fromStdin, asJSON bool
	cmd := &cobra.Command{
		Use:   "reset-password USER",
		Short: "Give a person another password, which they must change",
		Long: `Give a person another password: a temporary one that is made and shown, once, or with
--password-stdin one of yours. Either way it
must be changed at the next sign-in. Their sessions and tokens end, and identities of
a provider are unlinked: the new password is the one way in.`,
		Example: `  gatehouse user reset-password ada
  gatehouse user reset-password ada --json | jq -r .temporary_password`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			given := ""
			if fromStdin {
				if given, err = readPassword(cmd.InOrStdin()); err != nil {
					return usageError{err}
				}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				u, err := store.FindUser(cmd.Context(), localActor(), args[0])
				if err != nil {
					return err
				}
				u, temporary, err := store.ResetPassword(cmd.Context(), localActor(), u.ID, given)
				if err != nil {
					return err
				}
				return printPassword(cmd, &u, temporary, asJSON, u.Username+" has another password")
			})
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from the first line of standard input")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the person as JSON")
	return cmd
}

func newMemberSetCommand(c *cli) *cobra.Command {
	cmd := c.userCommand("set USER COMPANY ROLE", "Give a person a role in a company, or another one", 3,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, args []string) (authsvc.User, string, error) {
			role, err := authsvc.ParseCompanyRole(args[1])
			if err != nil {
				return u, "", usageError{err}
			}
			company, err := store.FindCompany(cmd.Context(), args[0])
			if err != nil {
				return u, "", err
			}
			u, err = store.SetMembership(cmd.Context(), localActor(), u.ID, authsvc.Grant{CompanyID: company.ID, Role: role})
			return u, u.Username + " is " + string(role) + " in " + company.Name + ".", err
		})
	cmd.Example = `  gatehouse user member set ada Acme CompanyAdmin`
	return cmd
}

func newMemberRemoveCommand(c *cli) *cobra.Command {
	return c.userCommand("remove USER COMPANY", "Take a person out of a company", 2,
		func(cmd *cobra.Command, store *authsvc.Store, u authsvc.User, args []string) (authsvc.User, string, error) {
			company, err := store.FindCompany(cmd.Context(), args[0])
			if err != nil {
				return u, "", err
			}
			if err := store.RemoveMembership(cmd.Context(), localActor(), u.ID, company.ID); err != nil {
				return u, "", err
			}
			u, err = store.GetUser(cmd.Context(), localActor(), u.ID)
			return u, u.Username + " is out of " + company.Name + ".", err
		})
}
