package dashboards

import (
	"errors"
	"maps"
	"net/url"
	"slices"

	"gatehouse/authsvc/signin"
)

// The fields by which people confirm that it is them.
const (
	confirmField = "confirm_password"
	confirmCode  = "confirm_code"
)

// confirmPage asks for the password, and has what was asked for go along.
type confirmPage struct{ Form form }

// anewPage leads to the identity provider.
type anewPage struct{ At string }

// anewAt is where somebody without a password confirms who they are, to come back to their account. What they wanted to do does not go along: it may hold a
// password.
func (v *visit) anewAt() string {
	return v.base() + "/api/v1/auth/oidc?anew=true&next=" + url.QueryEscape("/account")
}

func (v *visit) proveAnew() error {
	return v.show("anew", "Is it you?", func() any { return anewPage{v.anewAt()} })
}

// confirmed asks whether the visitor may do what a session left open is not enough for. Where it must, it shows a page that asks for their
// password, and a code where they have a second factor, and sends the same form again: then it is false, and the error is the answer's.
func (v *visit) confirmed(what string) (bool, error) {
	given := v.form.Get(confirmField)
	err := v.Confirm(given, v.given(confirmCode))
	if err == nil {
		return true, nil
	}
	if errors.Is(err, signin.ErrProveAnew) {
		return false, v.proveAnew()
	}
	f, formErr := v.confirmForm(what)
	if formErr != nil {
		return false, formErr
	}
	show := func(v *visit) error {
		return v.show("confirm", "Is it you?", func() any { return confirmPage{v.filled(f)} })
	}
	switch {
	case given == "" && errors.Is(err, signin.ErrConfirm):
		return false, show(v)
	case errors.Is(err, signin.ErrConfirm):
		v.status = signin.ErrConfirm.Code.Status()
		v.wrong = problem{f.Name, confirmField, "is not your password; after several wrong tries further ones are refused for a while"}
		return false, show(v)
	case errors.Is(err, signin.ErrConfirmCode):
		v.status = signin.ErrConfirmCode.Code.Status()
		v.wrong = problem{f.Name, confirmCode, "is wrong, too old or was used before; after several wrong ones further tries are refused for a while"}
		return false, show(v)
	}
	return false, v.again(f, err, show)
}

func (v *visit) confirmForm(what string) (form, error) {
	f := form{
		Name: "confirm", Action: v.r.URL.Path, Button: what,
		Fields: []field{{Name: confirmField, Label: "Your password", Type: "password", Complete: "current-password", Focus: true}},
	}
	u, err := v.pages.store.GetUser(v.ctx, v.Actor(), v.Actor().ID)
	if err != nil {
		return f, err
	}
	if u.SecondFactor() {
		f.Fields = append(f.Fields, field{Name: confirmCode, Label: "Code of your authenticator app, or a recovery code", Complete: oneTimeCode, Long: 40})
	}
	for _, name := range slices.Sorted(maps.Keys(v.form)) {
		for _, value := range v.form[name] {
			if name != confirmField && name != confirmCode && name != "csrf_token" {
				f.Hidden = append(f.Hidden, hidden{name, value})
			}
		}
	}
	return f, nil
}
