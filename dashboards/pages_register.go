package dashboards

import (
	"net/http"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// registerPage is where people ask for an account.
type registerPage struct {
	Form form
	Done bool
}

func registerForm(policy []string) form {
	return form{
		Name: "register", Action: "/register", Button: "Ask for an account",
		Fields: []field{
			{Name: "username", Label: "Username", Complete: "username", Focus: true, Long: 64},
			{Name: "email", Label: "E-mail", Type: "email", Complete: "email", Long: 254},
			{Name: "display_name", Label: "Your name", Complete: "name", Optional: true, Long: 100},
			{Name: "password", Label: "Password", Type: "password", Complete: "new-password", Rules: policy},
		},
	}
}

func showRegister(v *visit) error {
	set, err := v.pages.settings(v.ctx)
	if err != nil {
		return err
	}
	done := v.r.URL.Query().Has("sent")
	if !set.RegistrationEnabled && !done {
		return event.Errorf(event.CodeNotFound, "people do not register here by themselves: ask an administrator for an account")
	}
	return v.show("register", "Ask for an account", func() any {
		return registerPage{v.filled(registerForm(policyWords(set))), done}
	})
}

// doRegister answers in the same way whether the account was made or its name is another's.
func doRegister(v *visit) error {
	err := v.Register(authsvc.Registration{
		Username: v.given("username"), Email: v.given("email"), DisplayName: v.given("display_name"), Password: v.form.Get("password"),
	})
	if err != nil {
		return v.again(registerForm(nil), err, showRegister)
	}
	http.Redirect(v.w, v.r, v.base()+"/register?sent", http.StatusSeeOther)
	return nil
}
