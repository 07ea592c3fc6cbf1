package authsvc_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// TestListUsers holds the list against a plain reference over random people, filters, pages and actors.
func TestListUsers(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s := open()
		rnd := rand.New(rand.NewPCG(1, 2)) // the same people in every run
		companies := []authsvc.Company{mustCompany(t, s, "Acme"), mustCompany(t, s, "Zenith"), mustCompany(t, s, "Orbit")}
		all := randomPeople(t, s, rnd, companies)
		actors := []*authsvc.Actor{operator}
		for _, u := range all {
			if u.State() == authsvc.UserActive {
				actors = append(actors, as(t, s, u))
			}
		}
		yes, no := true, false
		pick := func(n int) int { return rnd.IntN(n) }
		for range 150 {
			actor := actors[pick(len(actors))]
			want := authsvc.UserFilter{
				Text:    []string{"", "", "", "p1", "P2", "@example", "%", "_", "[", "!", "\x00", "nobody"}[pick(12)],
				Role:    []authsvc.Role{"", "", "", authsvc.RoleUser, authsvc.RoleAdmin, authsvc.RoleGlobalAdmin}[pick(6)],
				State:   []authsvc.UserState{"", "", "", authsvc.UserActive, authsvc.UserDisabled, authsvc.UserWaiting}[pick(6)],
				MFA:     []*bool{nil, nil, nil, &yes, &no}[pick(5)],
				Company: []uint32{0, 0, companies[0].ID, companies[1].ID, companies[2].ID, 999}[pick(6)],
			}
			if want.Company != 0 {
				want.CompanyRole = []authsvc.Role{"", "", authsvc.RoleUser, authsvc.RoleCompanyAdmin}[pick(4)]
			}
			got, total, err := everyPage(t, s, actor, want, 1+pick(9))
			seen := func(u authsvc.User) bool {
				for _, m := range u.Memberships {
					if actor.Can(authsvc.PermListPeople, m.CompanyID) && (want.Company == 0 || want.Company == m.CompanyID && (want.CompanyRole == "" || want.CompanyRole == m.Role)) {
						return true
					}
				}
				return want.Company == 0 && actor.Can(authsvc.PermListPeople, 0)
			}
			everywhere, reach := actor.ReachOf(authsvc.PermListPeople)
			if !everywhere && len(reach) == 0 || want.Company != 0 && !actor.Can(authsvc.PermListPeople, want.Company) {
				code := event.CodeForbidden
				if (everywhere || len(reach) > 0) && want.Company != 0 && !actor.Knows(want.Company) {
					code = event.CodeNotFound
				}
				wantCode(t, fmt.Sprintf("%+v by %s", want, actor.Name), err, code)
				continue
			}
			if err != nil {
				t.Fatalf("%+v by %s: %v", want, actor.Name, err)
			}
			var expect []uint32
			for _, u := range all {
				text := strings.ToLower(want.Text)
				if seen(u) && (want.Role == "" || u.Role == want.Role) && (want.State == "" || u.State() == want.State) && (want.MFA == nil || *want.MFA == u.SecondFactor()) &&
					(strings.Contains(u.Username, text) || strings.Contains(u.Email, text)) {
					expect = append(expect, u.ID)
				}
			}
			var ids []uint32
			for _, u := range got {
				ids = append(ids, u.ID)
				for _, m := range u.Memberships {
					if !actor.Can(authsvc.PermListPeople, m.CompanyID) && u.ID != actor.ID {
						t.Errorf("%s learns that %s belongs to %s", actor.Name, u.Username, m.CompanyName)
					}
				}
			}
			if !slices.IsSortedFunc(got, func(a, b authsvc.User) int { return cmp.Compare(a.Username, b.Username) }) {
				t.Errorf("%+v: not by name", want)
			}
			slices.Sort(ids)
			slices.Sort(expect)
			if !slices.Equal(ids, expect) || total != int64(len(expect)) {
				t.Errorf("%+v by %s: %v (total %d), want %v", want, actor.Name, ids, total, expect)
			}
		}
	})
}

// randomPeople are 40 with names of letters and digits, which all databases sort alike.
func randomPeople(t *testing.T, s *authsvc.Store, rnd *rand.Rand, companies []authsvc.Company) []authsvc.User {
	t.Helper()
	var all []authsvc.User
	for i := range 40 {
		role := []authsvc.Role{authsvc.RoleUser, authsvc.RoleUser, authsvc.RoleUser, authsvc.RoleUser, authsvc.RoleAdmin, authsvc.RoleGlobalAdmin}[rnd.IntN(6)]
		var grants []authsvc.Grant
		for _, c := range companies {
			choices := []authsvc.Role{"", "", authsvc.RoleUser, authsvc.RoleUser, authsvc.RoleCompanyAdmin}
			if role == authsvc.RoleAdmin {
				choices = append(choices, authsvc.RoleAdmin, authsvc.RoleAdmin)
			}
			if r := choices[rnd.IntN(len(choices))]; r != "" {
				grants = append(grants, grant(c, r))
			}
		}
		u := mustPerson(t, s, fmt.Sprintf("p%02d", i), role, grants...)
		switch rnd.IntN(6) {
		case 0:
			exec(t, s, `UPDATE users SET disabled_at = 5 WHERE id = ?`, u.ID)
		case 1:
			exec(t, s, `UPDATE users SET approved_at = NULL WHERE id = ?`, u.ID)
		case 2:
			exec(t, s, `UPDATE users SET totp_secret = 'sealed' WHERE id = ?`, u.ID)
		case 3:
			exec(t, s, `INSERT INTO webauthn_credentials (user_id, credential_hash, name, credential, created_at) VALUES (?, ?, 'key', '{}', 1)`, u.ID, u.Username)
		}
		u, err := s.GetUser(t.Context(), operator, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// everyPage reads a list to its end.
func everyPage(t *testing.T, s *authsvc.Store, actor *authsvc.Actor, want authsvc.UserFilter, limit int) (all []authsvc.User, total int64, err error) {
	t.Helper()
	page := authsvc.Page{Limit: limit, Total: true}
	for {
		list, err := s.ListUsers(t.Context(), actor, want, page)
		if err != nil {
			return nil, 0, err
		}
		all, total = append(all, list.Users...), list.Total
		if len(list.Users) > limit || list.Next != "" && len(list.Users) != limit {
			t.Fatalf("a page of %d people for a limit of %d, next %q", len(list.Users), limit, list.Next)
		}
		if list.Next == "" {
			return all, total, nil
		}
		page.Cursor = list.Next
	}
}

func TestListCompanies(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		var all []authsvc.Company
		for i := range 12 {
			all = append(all, mustCompany(t, s, fmt.Sprintf("C%02d", 11-i)))
		}
		if err := s.SetCompanyDisabled(ctx, operator, all[3].ID, true); err != nil {
			t.Fatal(err)
		}
		member := as(t, s, mustPerson(t, s, "ada", authsvc.RoleUser, grant(all[3], authsvc.RoleUser), grant(all[7], authsvc.RoleCompanyAdmin)))
		stranger := as(t, s, mustPerson(t, s, "eve", authsvc.RoleUser))
		_, secret := mustKey(t, s, all[5].ID, authsvc.ScopeRead)
		if secret == "" {
			t.Fatal("no key")
		}
		key := &authsvc.Actor{Kind: authsvc.ActorKey, Company: all[5].ID, Scopes: authsvc.ScopeRead, Stage: authsvc.StageDone}
		yes, no := true, false
		for _, c := range []struct {
			actor *authsvc.Actor
			want  authsvc.CompanyFilter
			names string
		}{
			{operator, authsvc.CompanyFilter{}, "C00 C01 C02 C03 C04 C05 C06 C07 C08 C09 C10 C11"},
			{operator, authsvc.CompanyFilter{Text: "c0"}, "C00 C01 C02 C03 C04 C05 C06 C07 C08 C09"},
			{operator, authsvc.CompanyFilter{Text: "%"}, ""},
			{operator, authsvc.CompanyFilter{Disabled: &yes}, "C08"},
			{member, authsvc.CompanyFilter{}, "C04 C08"},
			{member, authsvc.CompanyFilter{Disabled: &no}, "C04"},
			{stranger, authsvc.CompanyFilter{}, ""},
			{key, authsvc.CompanyFilter{}, "C06"},
		} {
			for _, limit := range []int{1, 4, 5, 12, 50} {
				var names []string
				page := authsvc.Page{Limit: limit, Total: true}
				for {
					list, err := s.ListCompanies(ctx, c.actor, c.want, page)
					if err != nil {
						t.Fatal(err)
					}
					for _, company := range list.Companies {
						names = append(names, company.Name)
					}
					if page.Cursor = list.Next; list.Next == "" {
						if int(list.Total) != len(names) {
							t.Errorf("total %d of %d", list.Total, len(names))
						}
						break
					}
				}
				if got := strings.Join(names, " "); got != c.names {
					t.Errorf("%s %+v in pages of %d: %s, want %s", c.actor.Name, c.want, limit, got, c.names)
				}
			}
		}
		_, err := s.ListCompanies(ctx, operator, authsvc.CompanyFilter{}, authsvc.Page{Cursor: "x"})
		wantCode(t, "a wrong cursor", err, event.CodeInvalid)
		_, err = s.ListCompanies(ctx, &authsvc.Actor{Kind: authsvc.ActorNobody}, authsvc.CompanyFilter{}, authsvc.Page{})
		wantCode(t, "a guest", err, event.CodeUnauthorized)
	})
}
