package dashboards

import (
	"fmt"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// policyWords is what a new password must be.
func policyWords(set authsvc.Settings) []string {
	words := []string{fmt.Sprintf("at least %d characters", set.PasswordMinLength)}
	if set.PasswordRequireMixed {
		words = append(words, "small and capital letters")
	}
	if set.PasswordRequireDigit {
		words = append(words, "a digit")
	}
	if set.PasswordRequireSpecial {
		words = append(words, "a special character, such as - or !")
	}
	if set.PasswordCheckCommon {
		words = append(words, "nothing that others would guess early: no name, no common password, no row of keys")
	}
	return words
}

// passwordPage is where people choose a password before anything else.
type passwordPage struct{ Form form }

// newPasswordFields are those of every form for a new password, with what it must be.
func newPasswordFields(old string, policy []string) []field {
	return []field{
		{Name: "old_password", Label: old, Type: "password", Complete: "current-password"},
		{Name: "password", Label: "New password", Type: "password", Complete: "new-password", Rules: policy},
		{Name: "again", Label: "New password once more", Type: "password", Complete: "new-password"},
	}
}

func newPasswordForm(username string, policy []string) form {
	return form{
		Name: "new", Action: "/login/new-password", Button: "Set the password", Username: username,
		Fields: newPasswordFields("Password that you signed in with", policy),
	}
}

// takePassword changes the visitor's password to what a form of newPasswordFields says.
func (v *visit) takePassword() error {
	if v.form.Get("again") != v.form.Get("password") {
		return event.FieldError("again", "is not the same as the new password")
	}
	return v.ChangePassword(v.form.Get("old_password"), v.form.Get("password"))
}

func showNewPassword(v *visit) error {
	set, err := v.pages.settings(v.ctx)
	if err != nil {
		return err
	}
	return v.show("password", "Choose a new password", func() any {
		f := v.filled(newPasswordForm(v.Actor().Name, policyWords(set)))
		if v.wrong.form == "" {
			f.Fields[0].Focus = true
		}
		return passwordPage{f}
	})
}

func doNewPassword(v *visit) error {
	if err := v.takePassword(); err != nil {
		return v.again(newPasswordForm(v.Actor().Name, nil), err, showNewPassword)
	}
	return v.to("/login") // which knows what is next
}
