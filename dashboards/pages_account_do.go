package dashboards

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/signin"
	"gatehouse/event"
)

// done ends an act from one of the tables: with what was done, or what was wrong, on the account page.
func (v *visit) done(err error, notice, part string) error {
	if err != nil {
		return v.again(form{Name: rows}, err, showAccount)
	}
	return v.to("/account?done=" + notice + "#" + part)
}

// id is the number of what a row's button is for; 0, which nothing has, where it is none.
func (v *visit) id() uint32 {
	n, err := strconv.ParseUint(v.given("id"), 10, 32)
	if err != nil || n > math.MaxInt32 {
		return 0
	}
	return uint32(n)
}

func changeName(v *visit) error {
	name := v.given("display_name")
	if _, err := v.pages.store.UpdateUser(v.ctx, v.Actor(), v.Actor().ID, authsvc.UserChange{DisplayName: &name}); err != nil {
		return v.again(nameForm(name), err, showAccount)
	}
	return v.to("/account?done=name#profile")
}

func changePassword(v *visit) error {
	err := v.takePassword()
	if errors.Is(err, signin.ErrProveAnew) {
		return v.proveAnew()
	}
	if err != nil {
		return v.again(passwordForm(v.Actor().Name, v.form.Has("old_password"), nil), err, showAccount)
	}
	return v.to("/account?done=password#password")
}

// linkPage says what linking does, and leads to the provider. A form could not: the pages' policy lets forms go to this server alone.
type linkPage struct{ At string }

func linkIdentity(v *visit) error {
	if ok, err := v.confirmed("Go on"); !ok {
		return err
	}
	at, err := v.BeginLink()
	if err != nil {
		return v.again(form{Name: rows}, err, showAccount)
	}
	return v.show("link", "Link your account", func() any { return linkPage{at} })
}

func unlinkIdentity(v *visit) error {
	if ok, err := v.confirmed("Unlink the identity"); !ok {
		return err
	}
	return v.done(v.UnlinkIdentity(v.id()), "unlinked", "identities")
}

func removeApp(v *visit) error {
	if ok, err := v.confirmed("Remove the authenticator app"); !ok {
		return err
	}
	return v.done(v.pages.store.RemoveTOTP(v.ctx, v.Actor()), "no-app", "factors")
}

func removePasskey(v *visit) error {
	if ok, err := v.confirmed("Remove the passkey"); !ok {
		return err
	}
	return v.done(v.pages.store.RemovePasskey(v.ctx, v.Actor(), v.id()), "no-key", "factors")
}

func renewCodes(v *visit) error {
	if ok, err := v.confirmed("Make new recovery codes"); !ok {
		return err
	}
	codes, err := v.pages.store.NewRecoveryCodes(v.ctx, v.Actor())
	if err != nil {
		return v.again(form{Name: rows}, err, showAccount)
	}
	return v.showCodes(codes, "/account#factors")
}

func endSession(v *visit) error {
	if v.given("id") == v.Session().Ref() {
		return doLogout(v)
	}
	if ok, err := v.confirmed("End the session"); !ok {
		return err
	}
	return v.done(v.pages.signin.EndSession(v.ctx, v.Actor(), v.given("id")), "session", "sessions")
}

func endSessions(v *visit) error {
	if ok, err := v.confirmed("Sign out everywhere else"); !ok {
		return err
	}
	return v.done(v.SignOutEverywhere(slices.Contains(v.form["with"], withTokens)), "sessions", "sessions")
}

func endProgram(v *visit) error {
	return v.done(v.pages.store.EndFamily(v.ctx, v.Actor(), v.given("id")), "program", "programs")
}

func revokeToken(v *visit) error {
	return v.done(v.pages.store.RevokePersonalToken(v.ctx, v.Actor(), v.id()), "no-token", "tokens")
}

// scopeWords is what a token may do, for people. Nothing asks in SQL yet: its scope is not offered.
var scopeWords = []struct {
	scope authsvc.Scopes
	words string
}{
	{authsvc.ScopeRead, "read reports and events"},
	{authsvc.ScopeManage, "change what your role lets you change"},
}

func (v *visit) tokenForm(set authsvc.Settings) form {
	scopes := field{Name: "scopes", Label: "It may", Type: "checks"}
	for _, s := range scopeWords {
		if v.Actor().Scopes.Has(s.scope) {
			scopes.Options = append(scopes.Options, option{s.scope.String(), s.words, s.scope == authsvc.ScopeRead})
		}
	}
	days := field{Name: "days", Label: "For", Type: "select"}
	longest := false
	for _, n := range []int{7, 30, 90, 180, 365} {
		if n <= set.TokenMaxDays {
			days.Options = append(days.Options, option{strconv.Itoa(n), strconv.Itoa(n) + " days", n == 30})
			longest = longest || n == set.TokenMaxDays
		}
	}
	if !longest {
		days.Options = append(days.Options, option{Value: strconv.Itoa(set.TokenMaxDays), Label: strconv.Itoa(set.TokenMaxDays) + " days"})
	}
	return form{Name: "token", Action: "/account/tokens", Button: "Make a token", Quiet: true, Fields: []field{
		{Name: "name", Label: "What it is for", Long: 100, Hint: "Such as: nightly export"}, scopes, days,
	}}
}

// tokenPage shows a new token, this once.
type tokenPage struct {
	Name, Token, Next string
	Expires           time.Time
}

func makeToken(v *visit) error {
	set, err := v.pages.settings(v.ctx)
	if err != nil {
		return err
	}
	t, secret, err := v.newToken()
	switch {
	case err != nil:
		return v.again(v.tokenForm(set), err, showAccount)
	case secret == "":
		return nil // their password is asked for
	}
	return v.show("token", "Your new token", func() any {
		return tokenPage{t.Name, secret, v.base() + "/account#tokens", t.Expires}
	})
}

// newToken makes the token that a form asks for. Without an error and without a token, the visitor has been asked for their password.
func (v *visit) newToken() (authsvc.PersonalToken, string, error) {
	want := authsvc.NewPersonalToken{Name: v.given("name")}
	if want.Name == "" {
		return authsvc.PersonalToken{}, "", event.FieldError("name", "must not be empty: say what the token is for")
	}
	var err error
	if want.Scopes, err = authsvc.ParseScopes(strings.Join(v.form["scopes"], ",")); err != nil {
		return authsvc.PersonalToken{}, "", err
	}
	days, err := strconv.Atoi(v.given("days"))
	if err != nil || days < 1 {
		return authsvc.PersonalToken{}, "", event.FieldError("days", "must be a number of days")
	}
	// A minute less, as the bound is counted from a moment later.
	want.Expires = v.pages.now().AddDate(0, 0, days).Add(-time.Minute)
	if ok, err := v.confirmed("Make the token"); !ok {
		return authsvc.PersonalToken{}, "", err
	}
	return v.pages.store.CreatePersonalToken(v.ctx, v.Actor(), want)
}
