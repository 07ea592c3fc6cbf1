package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
	"gatehouse/authsvc/password"
)

const userHelp = `People sign in with a username or e-mail. What they may do is their role: GlobalAdmin (everything),
Admin (an operator of the companies assigned to them) or User; and in each company that they belong to
CompanyAdmin or User (Admin for an operator). docs/roles.md has the whole table.

USER is a username, an e-mail or an id; COMPANY a name or an id; digits alone are always an id. These
commands work whether the server runs or not, and take effect at once. They never ask questions: a
password is read from standard input with --password-stdin, or a temporary one is made and printed
once.`

func newUserCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Create people, list them, and say what they may do",
		Long:  userHelp,
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	member := &cobra.Command{
		Use:   "member",
		Short: "Give people a role in a company, and take it away",
		Args:  groupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	member.AddCommand(newMemberSetCommand(c), newMemberRemoveCommand(c))
	cmd.AddCommand(
		newUserCreateCommand(c), newUserListCommand(c), newUserShowCommand(c), newUserUpdateCommand(c), newUserRoleCommand(c), member,
		newUserApproveCommand(c), newUserDisableCommand(c), newUserEnableCommand(c), newUserDeleteCommand(c),
		newUserSignOutCommand(c),
		newUserResetPasswordCommand(c), newUserResetMFACommand(c), newUserIdentitiesCommand(c), newUserUnlinkCommand(c),
	)
	return cmd
}

func newUserCreateCommand(c *cli) *cobra.Command {
	var n authsvc.NewUser
	var role, policy string
	var members []string
	var fromStdin, asJSON bool
	cmd := &cobra.Command{
		Use:   "create NAME --email EMAIL",
		Short: "Create a person",
		Long: `Create a person. Without --password-stdin a temporary password is made and shown, once; it must be
changed at the first sign-in, and so must one from standard input unless --keep-password is given.`,
		Example: `  gatehouse user create ada --email ada@example.com --member Acme=CompanyAdmin
  gatehouse user create root2 --email root2@example.com --role GlobalAdmin --json
  pass show gatehouse/ada | gatehouse user create ada --email ada@example.com --password-stdin --keep-password`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if n.KeepPassword && !fromStdin {
				return usageError{errors.New("--keep-password is for a password of your own: give it with --password-stdin")}
			}
			if fromStdin {
				if n.Password, err = readPassword(cmd.InOrStdin()); err != nil {
					return usageError{err}
				}
			}
			n.Username, n.Role, n.MFAPolicy = args[0], authsvc.Role(role), authsvc.MFAPolicy(policy)
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				if n.Memberships, err = parseMembers(cmd, store, members); err != nil {
					return err
				}
				u, temporary, err := store.CreateUser(cmd.Context(), localActor(), n)
				if err != nil {
					return err
				}
				return printPassword(cmd, &u, temporary, asJSON, "Created "+u.Username)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.Email, "email", "", "e-mail (required)")
	f.StringVar(&n.DisplayName, "display-name", "", "name to show")
	f.StringVar(&role, "role", string(authsvc.RoleUser), "role over all companies: GlobalAdmin, Admin or User")
	f.StringVar(&policy, "mfa-policy", string(authsvc.MFAInherit), "second factor: inherit (as the settings say), required or not_required")
	f.StringArrayVar(&members, "member", nil, "a company and the role in it, such as Acme=CompanyAdmin; may be given several times")
	f.BoolVar(&fromStdin, "password-stdin", false, "read the password from the first line of standard input")
	f.BoolVar(&n.KeepPassword, "keep-password", false, "the password need not be changed at the first sign-in")
	f.BoolVar(&asJSON, "json", false, "print the person as JSON")
	requireFlags(cmd, "email")
	return cmd
}

func newUserListCommand(c *cli) *cobra.Command {
	var want authsvc.UserFilter
	var role, company, companyRole, state, mfa string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List people by username",
		Example: `  gatehouse user list --company Acme --company-role CompanyAdmin
  gatehouse user list --state waiting --json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			want.Role, want.CompanyRole, want.State = authsvc.Role(role), authsvc.Role(companyRole), authsvc.UserState(state)
			if mfa != "" {
				with := mfa == "yes"
				if !with && mfa != "no" {
					return usageError{errors.New("--mfa must be yes or no")}
				}
				want.MFA = &with
			}
			if limit < 0 {
				return usageError{errors.New("--limit must not be negative")}
			}
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				if company != "" {
					of, err := store.FindCompany(cmd.Context(), company)
					if err != nil {
						return err
					}
					want.Company = of.ID
				}
				list, err := listUsers(cmd, store, want, limit)
				if err != nil {
					return err
				}
				return printUsers(cmd.OutOrStdout(), list, asJSON)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&want.Text, "text", "", "only with this in the username or e-mail")
	f.StringVar(&role, "role", "", "only with this role over all companies")
	f.StringVar(&company, "company", "", "only members of this company")
	f.StringVar(&companyRole, "company-role", "", "only with this role in the company")
	f.StringVar(&state, "state", "", "only those who are active, disabled or waiting for approval")
	f.StringVar(&mfa, "mfa", "", "only with (yes) or without (no) a second factor")
	f.IntVar(&limit, "limit", 0, "at most so many (0: all)")
	f.BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// listUsers reads page after page.
func listUsers(cmd *cobra.Command, store *authsvc.Store, want authsvc.UserFilter, limit int) (all []authsvc.User, err error) {
	for page := (authsvc.Page{Limit: authsvc.MaxPage}); ; {
		if limit > 0 {
			page.Limit = min(limit-len(all), authsvc.MaxPage)
		}
		list, err := store.ListUsers(cmd.Context(), localActor(), want, page)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Users...)
		if page.Cursor = list.Next; list.Next == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
	}
}

func newUserShowCommand(c *cli) *cobra.Command {
	return c.userCommand("show USER", "Show a person with their companies", 1, func(_ *cobra.Command, _ *authsvc.Store, u authsvc.User, _ []string) (authsvc.User, string, error) {
		return u, "", nil
	})
}

// userCommand is a command on one person, who is its first argument. act gives the person as they are then, and a line that says what was
// done; without one the person is shown.
func (c *cli) userCommand(use, short string, arguments int, act func(*cobra.Command, *authsvc.Store, authsvc.User, []string) (authsvc.User, string, error)) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  exactArgs(arguments),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStore(cmd.Context(), func(store *authsvc.Store) error {
				u, err := store.FindUser(cmd.Context(), localActor(), args[0])
				if err != nil {
					return err
				}
				u, done, err := act(cmd, store, u, args[1:])
				if err != nil {
					return err
				}
				switch {
				case asJSON:
					return printJSON(cmd.OutOrStdout(), userJSON(&u))
				case done != "":
					_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
					return err
				}
				return showUser(cmd.OutOrStdout(), &u)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the person as JSON")
	return cmd
}

// readPassword takes the first line of standard input, without its end.
func readPassword(r io.Reader) (string, error) {
	// One byte more than is allowed: what is longer is refused rather than cut.
	line, err := bufio.NewReader(io.LimitReader(r, password.MaxBytes+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password from standard input: %w", err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return "", errors.New("the password on standard input is empty")
	}
	if len(line) > password.MaxBytes {
		return "", fmt.Errorf("the password on standard input is longer than %d bytes", password.MaxBytes)
	}
	return line, nil
}

// parseMembers reads COMPANY=ROLE.
func parseMembers(cmd *cobra.Command, store *authsvc.Store, members []string) (grants []authsvc.Grant, err error) {
	for _, m := range members {
		i := strings.LastIndexByte(m, '=')
		if i <= 0 {
			return nil, usageError{fmt.Errorf("--member %q must be a company and a role, such as Acme=CompanyAdmin", m)}
		}
		company, err := store.FindCompany(cmd.Context(), m[:i])
		if err != nil {
			return nil, err
		}
		role, err := authsvc.ParseCompanyRole(strings.TrimSpace(m[i+1:]))
		if err != nil {
			return nil, usageError{err}
		}
		grants = append(grants, authsvc.Grant{CompanyID: company.ID, Role: role})
	}
	return grants, nil
}
