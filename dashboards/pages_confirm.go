package dashboards

import (
	"errors"
	"maps"
	"net/url"
	"slices"

	"gatehouse/authsvc/signin"
)

// confirmField is the password by which people confirm that it is them.
const confirmField = "confirm_password"

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
// password and sends the same form again: then it is false, and the error is the answer's.
func (v *visit) confirmed(what string) (bool, error) {
	given := v.form.Get(confirmField)
	err := v.Confirm(given)
	if err == nil {
		return true, nil
	}
	if errors.Is(err, signin.ErrProveAnew) {
		return false, v.proveAnew()
	}
	f := form{
		Name: "confirm", Action: v.r.URL.Path, Button: what,
		Fields: []field{{Name: confirmField, Label: "Your password", Type: "password", Complete: "current-password", Focus: true}},
	}
	for _, name := range slices.Sorted(maps.Keys(v.form)) {
		for _, value := range v.form[name] {
			if name != confirmField && name != "csrf_token" {
				f.Hidden = append(f.Hidden, hidden{name, value})
			}
		}
	}
	show := func(v *visit) error {
		return v.show("confirm", "Is it you?", func() any { return confirmPage{v.filled(f)} })
	}
	if given == "" && errors.Is(err, signin.ErrConfirm) {
		return false, show(v)
	}
	if errors.Is(err, signin.ErrConfirm) {
		v.status = signin.ErrConfirm.Code.Status()
		v.wrong = problem{f.Name, confirmField, "is not your password; after several wrong tries further ones are refused for a while"}
		return false, show(v)
	}
	return false, v.again(f, err, show)
}
