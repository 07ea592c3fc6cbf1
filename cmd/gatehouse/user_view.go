package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authsvc"
)

// userView is a person in JSON.
type userView struct {
	ID                 uint32            `json:"id"`
	Username           string            `json:"username"`
	Email              string            `json:"email"`
	DisplayName        string            `json:"display_name"`
	Role               authsvc.Role      `json:"role"`
	State              authsvc.UserState `json:"state"`
	MFAPolicy          authsvc.MFAPolicy `json:"mfa_policy"`
	SecondFactor       bool              `json:"second_factor"`
	MustChangePassword bool              `json:"must_change_password"`
	Created            time.Time         `json:"created_at"`
	Approved           time.Time         `json:"approved_at,omitzero"`
	Disabled           time.Time         `json:"disabled_at,omitzero"`
	LastLogin          time.Time         `json:"last_login_at,omitzero"`
	LastLoginIP        string            `json:"last_login_ip,omitempty"`
	Memberships        []memberView      `json:"memberships"`
	TemporaryPassword  string            `json:"temporary_password,omitempty"` // only when it was made
}

type memberView struct {
	CompanyID uint32       `json:"company_id"`
	Company   string       `json:"company"`
	Role      authsvc.Role `json:"role"`
	Since     time.Time    `json:"since"`
}

func userJSON(u *authsvc.User) userView {
	v := userView{
		ID: u.ID, Username: u.Username, Email: u.Email, DisplayName: u.DisplayName, Role: u.Role, State: u.State(), MFAPolicy: u.MFAPolicy,
		SecondFactor: u.SecondFactor(), MustChangePassword: u.MustChangePassword, Created: u.Created, Approved: u.Approved, Disabled: u.Disabled,
		LastLogin: u.LastLogin, LastLoginIP: u.LastLoginIP, Memberships: []memberView{},
	}
	for _, m := range u.Memberships {
		v.Memberships = append(v.Memberships, memberView{m.CompanyID, m.CompanyName, m.Role, m.Since})
	}
	return v
}

// printPassword tells of a person who has a new password: the only time that a temporary one is shown.
func printPassword(cmd *cobra.Command, u *authsvc.User, temporary string, asJSON bool, done string) error {
	w := cmd.OutOrStdout()
	if asJSON {
		view := userJSON(u)
		view.TemporaryPassword = temporary
		return printJSON(w, view)
	}
	if temporary == "" {
		_, err := fmt.Fprintln(w, done+".")
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n\n%s. This temporary password is shown now and never again;\nit must be changed at the first sign-in.\n", temporary, done)
	return err
}

func printUsers(w io.Writer, list []authsvc.User, asJSON bool) error {
	if asJSON {
		views := []userView{}
		for i := range list {
			views = append(views, userJSON(&list[i]))
		}
		return printJSON(w, views)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tUSERNAME\tE-MAIL\tROLE\tCOMPANIES\tSTATE\tSECOND FACTOR\tLAST SIGN-IN")
	for i := range list {
		u := &list[i]
		factor := "no"
		if u.SecondFactor() {
			factor = "yes"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", u.ID, u.Username, u.Email, u.Role, len(u.Memberships), u.State(), factor, dayOrNever(u.LastLogin))
	}
	return t.Flush()
}

func dayOrNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.DateOnly)
}

func showUser(w io.Writer, u *authsvc.User) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"id", fmt.Sprint(u.ID)},
		{"username", u.Username},
		{"e-mail", u.Email},
		{"name", u.DisplayName},
		{"role", string(u.Role)},
		{"state", string(u.State())},
		{"second factor", factors(u)},
		{"second-factor policy", string(u.MFAPolicy)},
		{"created", dayOrNever(u.Created)},
		{"last sign-in", dayOrNever(u.LastLogin)},
	} {
		if line[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", line[0], line[1])
		}
	}
	if u.MustChangePassword {
		fmt.Fprintln(t, "password\tmust be changed at the next sign-in")
	}
	for _, m := range u.Memberships {
		fmt.Fprintf(t, "in %s\t%s since %s\n", m.CompanyName, m.Role, m.Since.Format(time.DateOnly))
	}
	return t.Flush()
}

func factors(u *authsvc.User) string {
	switch {
	case u.TOTP && u.Passkeys > 0:
		return fmt.Sprintf("authenticator app, %d passkeys", u.Passkeys)
	case u.TOTP:
		return "authenticator app"
	case u.Passkeys > 0:
		return fmt.Sprintf("%d passkeys", u.Passkeys)
	}
	return "none"
}
