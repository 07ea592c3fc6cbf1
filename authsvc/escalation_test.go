package authsvc_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

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
	// held are the accounts that the attacker can sign in with: their own, those whose password they have set, those they have
	// made. It is taken that they have every second factor too.
	held []uint32
	next int
}

// everyPermission is what can be had in a company or, with company 0, over all.
var everyPermission = []authsvc.Permission{
	authsvc.PermReadReports, authsvc.PermExport, authsvc.PermSQL, authsvc.PermDownloadAgent, authsvc.PermListCompanies, authsvc.PermCreateCompany,
	authsvc.PermChangeCompany, authsvc.PermListPeople, authsvc.PermCreatePerson, authsvc.PermChangePerson, authsvc.PermDeletePerson, authsvc.PermGrantGlobal,
	authsvc.PermSetMembership, authsvc.PermListKeys, authsvc.PermManageKeys, authsvc.PermReadSettings, authsvc.PermChangeSettings, authsvc.PermReadAudit,
	authsvc.PermVerifyAudit, authsvc.PermReadErrors, authsvc.PermClearErrors,
}

type right struct {
	permission authsvc.Permission
	company    uint32
}

// rights is all that the accounts held may do together.
func (r *realm) rights() map[right]bool {
	all := map[right]bool{}
	for _, id := range r.held {
		a, err := r.s.ActorFor(r.t.Context(), id, authsvc.Claim{SecondFactor: true, Scopes: authsvc.AllScopes})
		if event.ErrorCode(err) == event.CodeUnauthorized {
			continue // disabled, waiting, deleted
		}
		if err != nil {
			r.t.Fatal(err)
		}
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
		r := &realm{t: t, s: s, companies: companies}
		for _, table := range []string{"memberships", "users"} {
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
	for _, name := range []string{"create", "reset", "set"} {
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
	r.held = []uint32{r.people[0]}
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
	by, err := r.s.ActorFor(ctx, rapid.SampledFrom(r.held).Draw(t, "by"), authsvc.Claim{SecondFactor: true, Scopes: authsvc.AllScopes})
	if err != nil {
		return "sign in", err
	}
	target := rapid.SampledFrom(r.people).Draw(t, "target")
	company := rapid.SampledFrom(r.companies).Draw(t, "company")
	role := rapid.SampledFrom([]authsvc.Role{authsvc.RoleGlobalAdmin, authsvc.RoleAdmin, authsvc.RoleCompanyAdmin, authsvc.RoleUser, authsvc.RoleUser}).Draw(t, "as")
	r.next++
	name := fmt.Sprintf("n%d-%d", by.ID, r.next)
	act := rapid.SampledFrom([]string{"create", "reset", "set", "set", "remove", "update", "disable", "enable", "mfa", "approve", "delete", "register", "company", "key", "setting"}).Draw(t, "act")
	switch act {
	case "create":
		global := rapid.SampledFrom([]authsvc.Role{authsvc.RoleUser, authsvc.RoleUser, authsvc.RoleAdmin, authsvc.RoleGlobalAdmin}).Draw(t, "global")
		grants := []authsvc.Grant{grant(company, role)}
		if rapid.Bool().Draw(t, "several") {
			grants = r.grants(global)
		}
		var u authsvc.User
		u, _, err = r.s.CreateUser(ctx, by, authsvc.NewUser{Username: name, Email: name + "@example.com", Role: global, Password: goodPassword, KeepPassword: true, Memberships: grants})
		if err == nil {
			r.people, r.held = append(r.people, u.ID), append(r.held, u.ID)
		}
	case "reset":
		_, _, err = r.s.ResetPassword(ctx, by, target, goodPassword)
		if err == nil {
			if !slices.Contains(r.held, target) {
				r.held = append(r.held, target)
			}
			exec(t, r.s, `UPDATE users SET must_change_password = 0 WHERE id = ?`, target) // as the attacker does next
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
			email := name + "@example.com"
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
		err = r.s.RegisterUser(ctx, &authsvc.Actor{Kind: authsvc.ActorNobody}, authsvc.Registration{Username: name, Email: name + "@example.com", Password: goodPassword})
		if err == nil {
			u, err := r.s.FindUser(ctx, operator, name)
			if err != nil {
				return act, err
			}
			r.people, r.held = append(r.people, u.ID), append(r.held, u.ID)
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
