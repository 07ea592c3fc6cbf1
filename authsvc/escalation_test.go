package authsvc_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

// realm is a small world in which somebody tries to get more than they have.
type realm struct {
	t         *rapid.T
	s         *authsvc.Store
	companies []authsvc.Company
	people    []uint32
	// held are the accounts whose password the attacker knows: their own, those whose password they have set, those they have
	// made; with the hash that it has, as long as it is that one. It is taken that they have every second factor too.
	held map[uint32]string
	// tokens are what they have made with these accounts, to outlast them.
	tokens []string
	next   int
}

// vera is somebody at the identity provider to whom the claims give much. mallory is the attacker there, to whom they give nothing.
func vera(values ...string) authsvc.Identity { return identity("vera", values...) }

func mallory() authsvc.Identity { return identity("mallory") }

// everyPermission is what can be had in a company or, with company 0, over all.
var everyPermission = []authsvc.Permission{
	authsvc.PermReadReports, authsvc.PermExport, authsvc.PermSQL, authsvc.PermDownloadAgent, authsvc.PermListCompanies, authsvc.PermCreateCompany,
	authsvc.PermChangeCompany, authsvc.PermListPeople, authsvc.PermCreatePerson, authsvc.PermChangePerson, authsvc.PermDeletePerson, authsvc.PermGrantGlobal,
	authsvc.PermSetMembership, authsvc.PermEndSessions, authsvc.PermListKeys, authsvc.PermManageKeys, authsvc.PermReadSettings, authsvc.PermChangeSettings, authsvc.PermReadAudit,
	authsvc.PermVerifyAudit, authsvc.PermReadErrors, authsvc.PermClearErrors,
}

type right struct {
	permission authsvc.Permission
	company    uint32
}

// hold notes that the attacker knows the password of an account, and has them make a token with it.
func (r *realm) hold(id uint32) {
	c, err := r.s.CredentialOfID(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	r.held[id] = c.PasswordHash
	a, err := r.s.ActorFor(r.t.Context(), id, authsvc.Claim{SecondFactor: true, Scopes: authsvc.AllScopes})
	if err != nil {
		return // waits for approval
	}
	_, secret, err := r.s.CreatePersonalToken(r.t.Context(), a, authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.AllScopes, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.tokens = append(r.tokens, secret)
}

// actors are all as whom the attacker can ask for something now: by password, by token and by their identity.
func (r *realm) actors() (list []*authsvc.Actor) {
	ctx := r.t.Context()
	add := func(a *authsvc.Actor, err error) {
		switch event.ErrorCode(err) {
		case "":
			list = append(list, a)
		case event.CodeUnauthorized, event.CodeNotFound: // disabled, waiting, deleted, taken away
		default:
			r.t.Fatal(err)
		}
	}
	full := authsvc.Claim{SecondFactor: true, Scopes: authsvc.AllScopes}
	for _, id := range slices.Sorted(maps.Keys(r.held)) {
		c, err := r.s.CredentialOfID(ctx, id)
		if err == nil && c.PasswordHash == r.held[id] {
			add(r.s.ActorFor(ctx, id, full))
		}
	}
	for _, secret := range r.tokens {
		add(r.s.PersonalActor(ctx, secret, authsvc.Claim{}))
	}
	if id, err := r.s.SignInIdentity(ctx, authsvc.System(), mallory(), r.claims()); err == nil {
		add(r.s.ActorFor(ctx, id, full))
	}
	return list
}

func (r *realm) claims() authsvc.IdentityRules {
	return authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{
		{Value: "root", Role: authsvc.RoleGlobalAdmin},
		{Value: "ops", Role: authsvc.RoleAdmin, Company: "C"},
		{Value: "boss", Role: authsvc.RoleCompanyAdmin, Company: "B"},
		{Value: "staff", Role: authsvc.RoleUser, Company: "A"},
	}}
}

// rights is all that the attacker may do.
func (r *realm) rights() map[right]bool {
	all := map[right]bool{}
	for _, a := range r.actors() {
		for _, p := range everyPermission {
			if a.Can(p, 0) {
				all[right{p, 0}] = true
			}
			for _, c := range r.companies {
				if a.Can(p, c.ID) {
					all[right{p, c.ID}] = true
				}
			}
		}
	}
	return all
}

// TestNoEscalation searches for a way up: whatever a CompanyAdmin, an Admin or a User does, with their own account and every one that they can
// take over on the way, in any order, they never have a right that they did not have at the start.
func TestNoEscalation(t *testing.T) {
	t.Parallel()
	db, err := reldb.Open(t.Context(), reldb.SQLiteURL(filepath.Join(t.TempDir(), "g.db")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, _, err := schema.NewRelational(db).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := authsvc.New(db, authsvc.WithPasswordCost(bcrypt.MinCost))
	if _, err := s.SetSetting(t.Context(), operator, "registration_enabled", "true"); err != nil {
		t.Fatal(err)
	}
	companies := []authsvc.Company{mustCompany(t, s, "A"), mustCompany(t, s, "B"), mustCompany(t, s, "C")}
	succeeded := map[string]int{}
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		r := &realm{t: t, s: s, companies: companies, held: map[uint32]string{}}
		for _, table := range []string{"user_identities", "personal_tokens", "memberships", "users"} {
			exec(t, s, `DELETE FROM `+table)
		}
		r.populate(run)
		before := r.rights()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			name, err := r.step()
			if err == nil {
				succeeded[name]++
			} else if event.ErrorCode(err) == event.CodeInternal {
				t.Fatalf("%s: %v", name, err)
			}
			for got := range r.rights() {
				if !before[got] {
					t.Fatalf("after %s: the attacker has %s in company %d, which they had not", name, got.permission, got.company)
				}
			}
		}
	})
	t.Logf("acts that succeeded: %v", succeeded)
	if testing.Short() {
		return // too few runs for each act to be allowed at least once
	}
	// A search in which nothing is ever allowed finds nothing.
	for _, name := range []string{"create", "reset", "set", "victim"} {
		if succeeded[name] == 0 {
			t.Errorf("%s never succeeded in the whole search", name)
		}
	}
}

// populate makes one GlobalAdmin and some others, one of whom is the attacker.
func (r *realm) populate(run int) {
	mustPersonIn(r, fmt.Sprintf("root%d", run), authsvc.RoleGlobalAdmin, nil)
	for i := range rapid.IntRange(2, 6).Draw(r.t, "people") {
		role := rapid.SampledFrom([]authsvc.Role{authsvc.RoleUser, authsvc.RoleUser, authsvc.RoleAdmin}).Draw(r.t, "role")
		r.people = append(r.people, mustPersonIn(r, fmt.Sprintf("p%d-%d", run, i), role, r.grants(role)))
	}
	r.hold(r.people[0])
	if rapid.Bool().Draw(r.t, "vera has been here") {
		id, err := r.s.SignInIdentity(r.t.Context(), authsvc.System(), vera("staff"), r.claims())
		if err != nil {
			r.t.Fatal(err)
		}
		r.people = append(r.people, id)
	}
	// Mostly somebody who has something to work with.
	if rapid.IntRange(0, 3).Draw(r.t, "rise") > 0 {
		c := rapid.SampledFrom(r.companies).Draw(r.t, "of")
		if _, err := r.s.SetMembership(r.t.Context(), operator, r.people[0], grant(c, authsvc.RoleCompanyAdmin)); err != nil {
			r.t.Fatal(err)
		}
	}
}

func mustPersonIn(r *realm, name string, role authsvc.Role, grants []authsvc.Grant) uint32 {
	return mustPerson(r.t, r.s, name, role, grants...).ID
}

func (r *realm) grants(role authsvc.Role) (list []authsvc.Grant) {
	choices := []authsvc.Role{"", authsvc.RoleUser, authsvc.RoleCompanyAdmin, authsvc.RoleCompanyAdmin}
	if role == authsvc.RoleAdmin {
		choices = append(choices, authsvc.RoleAdmin, authsvc.RoleAdmin)
	}
	for _, c := range r.companies {
		if g := rapid.SampledFrom(choices).Draw(r.t, "membership"); g != "" {
			list = append(list, grant(c, g))
		}
	}
	return list
}

// step does one act by one of the accounts held.
func (r *realm) step() (string, error) {
	ctx, t := r.t.Context(), r.t
	actors := r.actors()
	if len(actors) == 0 {
		return "sign in", authsvc.ErrNoSession
	}
	by := rapid.SampledFrom(actors).Draw(t, "by")
	var err error
	target := rapid.SampledFrom(r.people).Draw(t, "target")
	company := rapid.SampledFrom(r.companies).Draw(t, "company")
	role := rapid.SampledFrom([]authsvc.Role{authsvc.RoleGlobalAdmin, authsvc.RoleAdmin, authsvc.RoleCompanyAdmin, authsvc.RoleUser, authsvc.RoleUser}).Draw(t, "as")
	r.next++
	name := fmt.Sprintf("n%d-%d", by.ID, r.next)
	email := rapid.SampledFrom([]string{name, name, "vera", "mallory"}).Draw(t, "e-mail") + "@example.com"
	act := rapid.SampledFrom([]string{
		"create", "reset", "set", "set", "remove", "update", "disable", "enable", "mfa", "approve", "delete", "register", "company", "key", "setting",
		"victim", "victim", "victim links", "victim links", "links", "unlink",
	}).Draw(t, "act")
	switch act {
	case "create":
		global := rapid.SampledFrom([]authsvc.Role{authsvc.RoleUser, authsvc.RoleUser, authsvc.RoleAdmin, authsvc.RoleGlobalAdmin}).Draw(t, "global")
		grants := []authsvc.Grant{grant(company, role)}
		if rapid.Bool().Draw(t, "several") {
			grants = r.grants(global)
		}
		var u authsvc.User
		u, _, err = r.s.CreateUser(ctx, by, authsvc.NewUser{Username: name, Email: email, Role: global, Password: goodPassword, Memberships: grants})
		if err == nil {
			exec(t, r.s, `UPDATE users SET must_change_password = 0 WHERE id = ?`, u.ID) // as the attacker does next
			r.people = append(r.people, u.ID)
			r.hold(u.ID)
		}
	case "reset":
		_, _, err = r.s.ResetPassword(ctx, by, target, goodPassword)
		if err == nil {
			exec(t, r.s, `UPDATE users SET must_change_password = 0 WHERE id = ?`, target) // as the attacker does next
			r.hold(target)
		}
	case "set":
		_, err = r.s.SetMembership(ctx, by, target, grant(company, role))
	case "remove":
		err = r.s.RemoveMembership(ctx, by, target, company.ID)
	case "update":
		change := authsvc.UserChange{DisplayName: &name}
		if rapid.Bool().Draw(t, "role too") {
			change.Role = &role
		}
		if rapid.Bool().Draw(t, "e-mail too") {
			change.Email = &email
		}
		_, err = r.s.UpdateUser(ctx, by, target, change)
	case "disable":
		_, err = r.s.DisableUser(ctx, by, target)
	case "enable":
		_, err = r.s.EnableUser(ctx, by, target)
	case "mfa":
		_, err = r.s.ResetMFA(ctx, by, target)
	case "approve":
		_, err = r.s.ApproveUser(ctx, by, target, []authsvc.Grant{grant(company, role)})
	case "delete":
		err = r.s.DeleteUser(ctx, by, target)
	case "register":
		err = r.s.RegisterUser(ctx, &authsvc.Actor{Kind: authsvc.ActorNobody}, authsvc.Registration{Username: name, Email: email, Password: goodPassword})
		if err == nil {
			u, err := r.s.FindUser(ctx, operator, name)
			if err != nil {
				return act, err
			}
			r.people = append(r.people, u.ID)
			r.hold(u.ID)
		}
	case "victim": // whom the provider knows with the e-mail that the attacker may have written into an account
		var id uint32
		values := rapid.SampledFrom([][]string{nil, {"staff"}, {"root"}, {"ops"}, {"boss"}}).Draw(t, "groups")
		if id, err = r.s.SignInIdentity(ctx, authsvc.System(), vera(values...), r.claims()); err == nil && !slices.Contains(r.people, id) {
			r.people = append(r.people, id)
		}
	case "victim links": // having been given the password of an account that the attacker holds
		err = r.s.LinkIdentity(ctx, by, vera())
	case "links":
		err = r.s.LinkIdentity(ctx, by, mallory())
	case "unlink":
		var list []authsvc.LinkedIdentity
		if list, err = r.s.Identities(ctx, by, target); err == nil && len(list) > 0 {
			_, err = r.s.UnlinkIdentity(ctx, by, target, list[0].ID)
		}
	case "company":
		_, err = r.s.CreateCompany(ctx, by, authsvc.CompanySettings{Name: name})
	case "key":
		_, _, err = r.s.CreateKey(ctx, by, company.ID, authsvc.NewKey{Scopes: authsvc.AllScopes})
	case "setting":
		_, err = r.s.SetSetting(ctx, by, "registration_enabled", "true")
	}
	return act, err
}
