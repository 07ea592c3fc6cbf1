package dashboards

import (
	"strconv"
	"strings"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
)

// accountPage is somebody's own account.
type accountPage struct {
	Problem string // with what was done in one of the tables

	Username, Email, DisplayName, Role string
	Memberships                        []membershipRow
	Name                               form
	Password                           form
	HasPassword                        bool

	Provider   bool // people can sign in with an identity provider
	Identities []identityRow
	Link       form

	App       bool // an authenticator app is set up
	SetUpApp  form
	RemoveApp form
	Passkeys  []passkeyRow
	Passkey   passkeyPart
	Factor    bool // there is a second factor
	CodesLeft int
	Codes     form

	Sessions []sessionRow
	EndAll   form
	Tokens   []tokenRow
	Make     form
	Programs []programRow
}

type membershipRow struct{ Company, Role string }

type identityRow struct {
	Issuer, Subject string
	Linked          time.Time
	Unlink          form
}

type passkeyRow struct {
	Name          string
	Created, Used time.Time
	Remove        form
}

type sessionRow struct {
	Browser, Agent, Address string
	Created, Seen           time.Time
	This                    bool // the one that asks
	End                     form
}

type tokenRow struct {
	Name, Prefix, Scopes, Address string
	Expires, Used                 time.Time
	Over                          bool
	Revoke                        form
}

type programRow struct {
	Agent, Address, Scopes string
	Created, Used          time.Time
	End                    form
}

// rows is the name of all forms in tables.
const rows = "rows"

// rowForm is a button in a table, for the thing with that id.
func (v *visit) rowForm(action, button, about, id string) form {
	return v.filled(form{Name: rows, Action: action, Button: button, About: about, Quiet: true, Hidden: []hidden{{"id", id}}})
}

func nameForm(name string) form {
	return form{Name: "name", Action: "/account/name", Button: "Save", Quiet: true, Fields: []field{
		{Name: "display_name", Label: "Name that others see", Value: name, Complete: "name", Optional: true, Long: 100},
	}}
}

// passwordForm asks for the present password where the person has one.
func passwordForm(username string, present bool, policy []string) form {
	f := form{
		Name: "password", Action: "/account/password", Button: "Change the password", Quiet: true, Username: username,
		Fields: newPasswordFields("Present password", policy),
	}
	if !present {
		f.Button, f.Fields = "Set a password", f.Fields[1:]
	}
	return f
}

// withTokens is chosen by who wants their personal tokens to end too.
const withTokens = "tokens"

func endAllForm() form {
	return form{Name: "end-all", Action: "/account/sessions/end-all", Button: "Sign out everywhere else", Quiet: true, Fields: []field{
		{Name: "with", Label: "Besides other browsers and programs", Type: "checks", Options: []option{{withTokens, "revoke my personal access tokens too", false}}},
	}}
}

// account is what an account page shows, before its forms are made.
type account struct {
	user       authsvc.User
	set        authsvc.Settings
	identities []authsvc.LinkedIdentity
	passkeys   []authsvc.PasskeyRow
	codes      int
	sessions   []websession.Info
	tokens     []authsvc.PersonalToken
	programs   []authsvc.FamilyInfo
}

func (v *visit) readAccount() (a account, err error) {
	actor, p := v.Actor(), v.pages
	if a.user, err = p.store.GetUser(v.ctx, actor, actor.ID); err != nil {
		return a, err
	}
	if a.set, err = p.settings(v.ctx); err != nil {
		return a, err
	}
	if a.identities, err = p.store.Identities(v.ctx, actor, actor.ID); err != nil {
		return a, err
	}
	if a.passkeys, err = p.store.Passkeys(v.ctx, actor.ID); err != nil {
		return a, err
	}
	if a.codes, err = p.store.RecoveryCodesLeft(v.ctx, actor); err != nil {
		return a, err
	}
	if a.sessions, _, err = p.sessions.List(v.ctx, actor.ID, authsvc.Page{Limit: authsvc.MaxPage}); err != nil {
		return a, err
	}
	if a.tokens, err = p.store.PersonalTokens(v.ctx, actor); err != nil {
		return a, err
	}
	a.programs, err = p.store.Families(v.ctx, actor)
	return a, err
}

func showAccount(v *visit) error {
	a, err := v.readAccount()
	if err != nil {
		return err
	}
	return v.show("account", "Your account", func() any { return v.accountPage(&a) })
}

func (v *visit) accountPage(a *account) accountPage {
	u := &a.user
	page := accountPage{
		Username: u.Username, Email: u.Email, DisplayName: u.DisplayName, Role: string(u.Role),
		Name:     v.filled(nameForm(u.DisplayName)),
		Password: v.filled(passwordForm(u.Username, u.Password, policyWords(a.set))), HasPassword: u.Password,
		Provider: v.pages.provider != "", Link: v.filled(form{Name: rows, Action: "/account/identities/link", Button: "Link an identity", Quiet: true}),
		App: u.TOTP, Factor: u.SecondFactor(), CodesLeft: a.codes,
		Passkey: passkeyPart{Password: !v.Recent() && u.Password, Code: !v.Recent() && u.Password && u.SecondFactor(), Anew: v.anewPart(u), Next: v.base() + "/account?done=passkey", Not: v.noPasskeys()},
		EndAll:  v.filled(endAllForm()),
		Make:    v.filled(v.tokenForm(a.set)),
	}
	if v.wrong.form == rows {
		page.Problem = v.wrong.message
	}
	begin := beginForm()
	if begin.Quiet = true; u.TOTP {
		begin.Button = "Replace it"
	}
	page.SetUpApp = v.filled(begin)
	page.RemoveApp = v.filled(form{Name: rows, Action: "/account/app/remove", Button: "Remove it", Quiet: true, Danger: true})
	page.Codes = v.filled(form{Name: rows, Action: "/account/recovery-codes", Button: "Make new recovery codes", Quiet: true})
	for _, m := range u.Memberships {
		page.Memberships = append(page.Memberships, membershipRow{m.CompanyName, string(m.Role)})
	}
	v.accountRows(a, &page)
	return page
}

// anewPart is where somebody has to go before they add a passkey; empty: nowhere.
func (v *visit) anewPart(u *authsvc.User) string {
	if v.Recent() || u.Password {
		return ""
	}
	return v.anewAt()
}

// accountRows fills the tables.
func (v *visit) accountRows(a *account, page *accountPage) {
	for i := range a.identities {
		l := &a.identities[i]
		page.Identities = append(page.Identities, identityRow{
			l.Issuer, l.Subject, l.Linked, v.rowForm("/account/identities/unlink", "Unlink", "the identity "+l.Subject, idText(l.ID)),
		})
	}
	for i := range a.passkeys {
		k := &a.passkeys[i]
		page.Passkeys = append(page.Passkeys, passkeyRow{
			k.Name, k.Created, k.LastUsed, v.rowForm("/account/passkeys/remove", "Remove", "the passkey "+k.Name, idText(k.ID)),
		})
	}
	for i := range a.sessions {
		s := &a.sessions[i]
		page.Sessions = append(page.Sessions, sessionRow{
			browserName(s.Agent), s.Agent, s.Address, s.Created, s.LastSeen, s.Ref == v.Session().Ref(),
			v.rowForm("/account/sessions/end", "End", "the session of "+browserName(s.Agent)+", "+s.Address, s.Ref),
		})
	}
	now := v.pages.now()
	for i := range a.tokens {
		t := &a.tokens[i]
		page.Tokens = append(page.Tokens, tokenRow{
			t.Name, t.Prefix + "…", strings.Join(t.Scopes.Names(), ", "), t.Address, t.Expires, t.LastUsed, !t.Expires.After(now),
			v.rowForm("/account/tokens/revoke", "Revoke", "the token "+t.Name, idText(t.ID)),
		})
	}
	for i := range a.programs {
		f := &a.programs[i]
		page.Programs = append(page.Programs, programRow{
			f.Agent, f.Address, strings.Join(f.Scopes.Names(), ", "), f.Created, f.LastUsed,
			v.rowForm("/account/programs/end", "Sign out", "the program "+f.Agent, f.ID),
		})
	}
}

func idText(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// browserName tells a browser and its system from a User-Agent, as far as people want to know; what is not known is given as it is.
func browserName(agent string) string {
	first := func(marks [][2]string) string {
		for _, m := range marks {
			if strings.Contains(agent, m[0]) {
				return m[1]
			}
		}
		return ""
	}
	// The order matters: each claims to be those after it too.
	browser := first([][2]string{{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}})
	system := first([][2]string{{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"}})
	switch {
	case agent == "":
		return "unknown browser"
	case browser == "" || system == "":
		const most = 60
		if runes := []rune(agent); len(runes) > most {
			return string(runes[:most]) + "…"
		}
		return agent
	}
	return browser + " on " + system
}
