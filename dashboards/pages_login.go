package dashboards

import (
	"net/url"

	"gatehouse/authsvc"
	"gatehouse/authsvc/rest"
	"gatehouse/authsvc/websession"
)

// loginPage is where people say who they are.
type loginPage struct {
	Form     form
	Provider string // what the button of the identity provider says; empty: there is none
	At       string // its address
	Register bool   // people may ask for an account
}

func (v *visit) loginForm() form {
	next := rest.LocalPath(v.r.Form.Get("next"))
	return form{
		Name: "login", Action: "/login", Button: "Sign in", Hidden: []hidden{{"next", next}},
		Fields: []field{
			{Name: "login", Label: "Username or e-mail", Complete: "username", Focus: true, Long: 320},
			{Name: "password", Label: "Password", Type: "password", Complete: "current-password"},
		},
	}
}

func showLogin(v *visit) error {
	set, err := v.pages.settings(v.ctx)
	if err != nil {
		return err
	}
	f := v.loginForm()
	return v.show("login", "Sign in", func() any {
		return loginPage{
			Form: v.filled(f), Register: set.RegistrationEnabled, Provider: v.pages.provider,
			At: v.base() + "/api/v1/auth/oidc?next=" + url.QueryEscape(f.Hidden[0].Value),
		}
	})
}

func doLogin(v *visit) error {
	f := v.loginForm()
	own := v.Session()
	if own.Values == nil {
		own.Values = map[string]string{}
	}
	own.Values[websession.NextPage] = f.Hidden[0].Value // kept as the sign-in is
	stage, err := v.SignIn(v.given("login"), v.form.Get("password"))
	if err != nil {
		return v.again(f, err, showLogin)
	}
	return v.goOn(stage)
}

func doLogout(v *visit) error {
	if v.Actor().Stage == authsvc.StageNobody {
		return v.to("/login")
	}
	if err := v.SignOut(); err != nil {
		return err
	}
	return v.to("/login?done=signedout")
}

// secondPage is where people give their second factor.
type secondPage struct {
	Form    form
	Passkey bool   // the person has one that works here
	Not     string // why theirs do not; empty: they do, or there are none
}

func secondForm() form {
	return form{
		Name: "second", Action: "/login/second-factor", Button: "Go on",
		Fields: []field{{
			Name: "code", Label: "Code", Complete: oneTimeCode, Focus: true, Long: 40,
			Hint: "The six digits that your authenticator app shows now, or one of your recovery codes.",
		}},
	}
}

func showSecond(v *visit) error {
	passkeys, err := v.pages.store.Passkeys(v.ctx, v.Actor().ID)
	if err != nil {
		return err
	}
	return v.show("second", "Second factor", func() any {
		page := secondPage{Form: v.filled(secondForm())}
		if len(passkeys) > 0 {
			page.Not = v.noPasskeys()
			page.Passkey = page.Not == ""
		}
		return page
	})
}

func doSecond(v *visit) error {
	stage, err := v.SecondFactor(v.given("code"))
	if err != nil {
		return v.again(secondForm(), err, showSecond)
	}
	return v.goOn(stage)
}
