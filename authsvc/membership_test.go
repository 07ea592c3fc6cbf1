package authsvc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// TestRank walks through who may change whom.
func TestRank(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme, zenith := mustCompany(t, s, "Acme"), mustCompany(t, s, "Zenith")
		global := mustPerson(t, s, "global", authsvc.RoleGlobalAdmin)
		op := mustPerson(t, s, "op", authsvc.RoleAdmin, grant(acme, authsvc.RoleAdmin))
		op2 := mustPerson(t, s, "op2", authsvc.RoleAdmin, grant(acme, authsvc.RoleAdmin))
		chief := mustPerson(t, s, "chief", authsvc.RoleUser, grant(acme, authsvc.RoleCompanyAdmin))
		chief2 := mustPerson(t, s, "chief2", authsvc.RoleUser, grant(acme, authsvc.RoleCompanyAdmin))
		user := mustPerson(t, s, "user", authsvc.RoleUser, grant(acme, authsvc.RoleUser))
		both := mustPerson(t, s, "both", authsvc.RoleUser, grant(acme, authsvc.RoleUser), grant(zenith, authsvc.RoleUser))
		stranger := mustPerson(t, s, "stranger", authsvc.RoleUser, grant(zenith, authsvc.RoleUser))
		loner := mustPerson(t, s, "loner", authsvc.RoleUser)
		boss := mustPerson(t, s, "boss", authsvc.RoleGlobalAdmin, grant(acme, authsvc.RoleUser))

		const above = "this account can be changed only by an administrator above it"
		for _, c := range []struct {
			by, of authsvc.User
			code   event.Code
		}{
			{global, op, ""},
			{global, boss, ""},
			{global, loner, ""},
			{op, chief, ""},
			{op, user, ""},
			{op, op2, event.CodeForbidden},
			{op, boss, event.CodeForbidden},
			{op, both, event.CodeForbidden},
			{op, global, event.CodeNotFound},
			{op, stranger, event.CodeNotFound},
			{op, loner, event.CodeNotFound},
			{chief, chief2, ""},
			{chief, user, ""},
			{chief, both, event.CodeForbidden},
			{chief, op, event.CodeForbidden},
			{chief, boss, event.CodeForbidden},
			{chief, stranger, event.CodeNotFound},
			{user, chief, event.CodeNotFound},
			{user, both, event.CodeNotFound},
			{both, stranger, event.CodeNotFound},
		} {
			email := c.of.Email
			acts := map[string]func(*authsvc.Actor) error{
				"update": func(a *authsvc.Actor) error {
					_, err := s.UpdateUser(ctx, a, c.of.ID, authsvc.UserChange{Email: &email})
					return err
				},
				"enable":  func(a *authsvc.Actor) error { _, err := s.EnableUser(ctx, a, c.of.ID); return err },
				"mfa":     func(a *authsvc.Actor) error { _, err := s.ResetMFA(ctx, a, c.of.ID); return err },
				"disable": func(a *authsvc.Actor) error { _, err := s.DisableUser(ctx, a, c.of.ID); return err },
				"reset":   func(a *authsvc.Actor) error { _, _, err := s.ResetPassword(ctx, a, c.of.ID, ""); return err },
			}
			for name, act := range acts {
				what := fmt.Sprintf("%s of %s by %s", name, c.of.Username, c.by.Username)
				err := act(as(t, s, c.by))
				wantCode(t, what, err, c.code)
				if c.code == event.CodeForbidden && !strings.Contains(err.Error(), above) {
					t.Errorf("%s: %v tells why", what, err)
				}
				exec(t, s, `UPDATE users SET disabled_at = NULL, must_change_password = 0`)
			}
		}

		// A second factor may be asked for by whoever is above; not to ask for it any more is for who may change the settings.
		for _, c := range []struct {
			by       authsvc.User
			from, to authsvc.MFAPolicy
			code     event.Code
		}{
			{chief, authsvc.MFAInherit, authsvc.MFARequired, ""},
			{chief, authsvc.MFARequired, authsvc.MFARequired, ""},
			{chief, authsvc.MFARequired, authsvc.MFAInherit, event.CodeForbidden},
			{op, authsvc.MFARequired, authsvc.MFAInherit, event.CodeForbidden},
			{op, authsvc.MFARequired, authsvc.MFANotRequired, event.CodeForbidden},
			{op, authsvc.MFAInherit, authsvc.MFANotRequired, event.CodeForbidden},
			{op, authsvc.MFANotRequired, authsvc.MFAInherit, ""},
			{global, authsvc.MFARequired, authsvc.MFAInherit, ""},
		} {
			exec(t, s, `UPDATE users SET mfa_policy = ? WHERE id = ?`, string(c.from), user.ID)
			_, err := s.UpdateUser(ctx, as(t, s, c.by), user.ID, authsvc.UserChange{MFAPolicy: &c.to})
			wantCode(t, fmt.Sprintf("%s to %s by %s", c.from, c.to, c.by.Username), err, c.code)
		}
		exec(t, s, `UPDATE users SET mfa_policy = 'inherit'`)

		// Memberships: in one's own company always within rank, and nothing above oneself.
		for _, c := range []struct {
			what string
			by   authsvc.User
			of   authsvc.User
			g    authsvc.Grant
			code event.Code
		}{
			{"a member of two companies in one's own", chief, both, grant(acme, authsvc.RoleCompanyAdmin), ""},
			{"back", chief, both, grant(acme, authsvc.RoleUser), ""},
			{"in another company", chief, both, grant(zenith, authsvc.RoleUser), event.CodeNotFound},
			{"somebody unknown into one's own", chief, stranger, grant(acme, authsvc.RoleUser), event.CodeNotFound},
			{"an operator by a CompanyAdmin", chief, op, grant(acme, authsvc.RoleUser), event.CodeForbidden},
			{"a user made operator by a CompanyAdmin", chief, user, grant(acme, authsvc.RoleAdmin), event.CodeForbidden},
			{"a user made operator by an operator", op, user, grant(acme, authsvc.RoleAdmin), event.CodeForbidden},
			{"oneself as operator elsewhere", op, op, grant(zenith, authsvc.RoleAdmin), event.CodeNotFound},
			{"an operator by an operator", op, op2, grant(acme, authsvc.RoleUser), event.CodeForbidden},
			{"an operator by a GlobalAdmin", global, op, grant(zenith, authsvc.RoleAdmin), ""},
			{"a user made operator of a company", global, user, grant(acme, authsvc.RoleAdmin), event.CodeInvalid},
			{"a role that no company has", global, user, grant(acme, authsvc.RoleGlobalAdmin), event.CodeInvalid},
			{"a company that is not there", global, user, authsvc.Grant{CompanyID: 999, Role: authsvc.RoleUser}, event.CodeNotFound},
			{"a person who is not there", global, authsvc.User{ID: 999}, grant(acme, authsvc.RoleUser), event.CodeNotFound},
			{"a user by a user", user, both, grant(acme, authsvc.RoleUser), event.CodeForbidden},
			{"oneself upward", user, user, grant(acme, authsvc.RoleCompanyAdmin), event.CodeForbidden},
		} {
			_, err := s.SetMembership(ctx, as(t, s, c.by), c.of.ID, c.g)
			wantCode(t, c.what, err, c.code)
		}
		wantCode(t, "take an operator out", s.RemoveMembership(ctx, as(t, s, chief), op.ID, acme.ID), event.CodeForbidden)
		wantCode(t, "take a GlobalAdmin out", s.RemoveMembership(ctx, as(t, s, chief), boss.ID, acme.ID), event.CodeForbidden)
		wantCode(t, "take out", s.RemoveMembership(ctx, as(t, s, chief), both.ID, acme.ID), "")
		wantCode(t, "take out again", s.RemoveMembership(ctx, as(t, s, chief), both.ID, acme.ID), event.CodeNotFound)
		wantCode(t, "take oneself out", s.RemoveMembership(ctx, as(t, s, chief2), chief2.ID, acme.ID), "")

		// Nobody is created with more than whoever creates them has.
		for _, c := range []struct {
			what string
			by   authsvc.User
			n    authsvc.NewUser
			code event.Code
		}{
			{"in one's own company", chief, authsvc.NewUser{Memberships: []authsvc.Grant{grant(acme, authsvc.RoleCompanyAdmin)}}, ""},
			{"in no company", chief, authsvc.NewUser{}, event.CodeInvalid},
			{"in another company", chief, authsvc.NewUser{Memberships: []authsvc.Grant{grant(acme, authsvc.RoleUser), grant(zenith, authsvc.RoleUser)}}, event.CodeNotFound},
			{"as Admin", chief, authsvc.NewUser{Role: authsvc.RoleAdmin, Memberships: []authsvc.Grant{grant(acme, authsvc.RoleUser)}}, event.CodeForbidden},
			{"as GlobalAdmin", op, authsvc.NewUser{Role: authsvc.RoleGlobalAdmin, Memberships: []authsvc.Grant{grant(acme, authsvc.RoleUser)}}, event.CodeForbidden},
			{"as operator", op, authsvc.NewUser{Memberships: []authsvc.Grant{grant(acme, authsvc.RoleAdmin)}}, event.CodeForbidden},
			{"without a second factor for ever", op, authsvc.NewUser{MFAPolicy: authsvc.MFANotRequired, Memberships: []authsvc.Grant{grant(acme, authsvc.RoleUser)}}, event.CodeForbidden},
			{"by a user", user, authsvc.NewUser{Memberships: []authsvc.Grant{grant(acme, authsvc.RoleUser)}}, event.CodeForbidden},
			{"as operator by a GlobalAdmin", global, authsvc.NewUser{Role: authsvc.RoleAdmin, Memberships: []authsvc.Grant{grant(acme, authsvc.RoleAdmin)}}, ""},
		} {
			c.n.Username = strings.ReplaceAll(c.what, " ", "-")
			c.n.Email = c.n.Username + "@example.com"
			_, _, err := s.CreateUser(ctx, as(t, s, c.by), c.n)
			wantCode(t, "create "+c.what, err, c.code)
		}

		// The right of somebody who has lost it since their request came in is gone.
		before := as(t, s, chief)
		if _, err := s.SetMembership(ctx, operator, chief.ID, grant(acme, authsvc.RoleUser)); err != nil {
			t.Fatal(err)
		}
		_, err := s.DisableUser(ctx, before, user.ID)
		wantCode(t, "an act by rights of a moment ago", err, event.CodeConflict)
	})
}

// TestUnknown: what the actor may not know of is answered as what is not there, in the same words, by every method that takes an id.
func TestUnknown(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme, zenith := mustCompany(t, s, "Acme"), mustCompany(t, s, "Zenith")
		chief := as(t, s, mustPerson(t, s, "chief", authsvc.RoleUser, grant(acme, authsvc.RoleCompanyAdmin)))
		op := as(t, s, mustPerson(t, s, "op", authsvc.RoleAdmin, grant(acme, authsvc.RoleAdmin)))
		plain := as(t, s, mustPerson(t, s, "plain", authsvc.RoleUser, grant(acme, authsvc.RoleUser)))
		foreign := mustPerson(t, s, "foreign", authsvc.RoleUser, grant(zenith, authsvc.RoleCompanyAdmin))
		global := mustPerson(t, s, "global", authsvc.RoleGlobalAdmin)
		const nobody = 999_999
		name := "x"
		people := map[string]func(context.Context, *authsvc.Actor, uint32) error{
			"get": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.GetUser(ctx, a, id)
				return err
			},
			"find": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.FindUser(ctx, a, fmt.Sprint(id))
				return err
			},
			"update": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.UpdateUser(ctx, a, id, authsvc.UserChange{Username: &name})
				return err
			},
			"approve": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.ApproveUser(ctx, a, id, nil)
				return err
			},
			"disable": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.DisableUser(ctx, a, id)
				return err
			},
			"enable": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.EnableUser(ctx, a, id)
				return err
			},
			"delete": func(ctx context.Context, a *authsvc.Actor, id uint32) error { return s.DeleteUser(ctx, a, id) },
			"reset": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, _, err := s.ResetPassword(ctx, a, id, "")
				return err
			},
			"mfa": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.ResetMFA(ctx, a, id)
				return err
			},
			"set": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.SetMembership(ctx, a, id, grant(acme, authsvc.RoleUser))
				return err
			},
			"remove": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				return s.RemoveMembership(ctx, a, id, acme.ID)
			},
		}
		companies := map[string]func(context.Context, *authsvc.Actor, uint32) error{
			"get": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.GetCompany(ctx, a, id)
				return err
			},
			"update": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.UpdateCompany(ctx, a, id, authsvc.CompanySettings{Name: name})
				return err
			},
			"disable": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				return s.SetCompanyDisabled(ctx, a, id, true)
			},
			"people": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.ListUsers(ctx, a, authsvc.UserFilter{Company: id}, authsvc.Page{})
				return err
			},
			"set": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, err := s.SetMembership(ctx, a, chief.ID, authsvc.Grant{CompanyID: id, Role: authsvc.RoleUser})
				return err
			},
			"remove": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				return s.RemoveMembership(ctx, a, chief.ID, id)
			},
			"create": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, _, err := s.CreateUser(ctx, a, authsvc.NewUser{Username: "n", Email: "n@example.com", Memberships: []authsvc.Grant{{CompanyID: id, Role: authsvc.RoleUser}}})
				return err
			},
			"key": func(ctx context.Context, a *authsvc.Actor, id uint32) error {
				_, _, err := s.CreateKey(ctx, a, id, authsvc.NewKey{Scopes: authsvc.ScopeRead})
				return err
			},
		}
		same := func(what string, a *authsvc.Actor, act func(context.Context, *authsvc.Actor, uint32) error, ids ...uint32) {
			want := act(ctx, a, nobody)
			if want == nil {
				t.Errorf("%s by %s: succeeds for what is not there", what, a.Name)
				return
			}
			for _, id := range ids {
				got := act(ctx, a, id)
				if got == nil || event.ErrorCode(got) != event.ErrorCode(want) || strings.ReplaceAll(got.Error(), fmt.Sprint(id), "N") != strings.ReplaceAll(want.Error(), fmt.Sprint(nobody), "N") {
					t.Errorf("%s by %s: %v for one that is there, %v for one that is not", what, a.Name, got, want)
				}
			}
		}
		for _, a := range []*authsvc.Actor{chief, op, plain, {Kind: authsvc.ActorNobody}, {Kind: authsvc.ActorKey, Company: acme.ID, Scopes: authsvc.ScopeRead, Stage: authsvc.StageDone}} {
			for what, act := range people {
				same("person: "+what, a, act, foreign.ID, global.ID)
			}
			for what, act := range companies {
				same("company: "+what, a, act, zenith.ID)
			}
		}
	})
}
