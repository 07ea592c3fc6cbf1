package authsvc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
)

// TestMembershipsThatGoWithMore: what a person loses in companies with their role or with their account is told in each of them.
func TestMembershipsThatGoWithMore(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		one, two, three := mustCompany(t, s, "One"), mustCompany(t, s, "Two"), mustCompany(t, s, "Three")
		p := mustPerson(t, s, "ada", authsvc.RoleAdmin, authsvc.Grant{CompanyID: one.ID, Role: authsvc.RoleAdmin}, authsvc.Grant{CompanyID: two.ID, Role: authsvc.RoleAdmin},
			authsvc.Grant{CompanyID: three.ID, Role: authsvc.RoleCompanyAdmin})
		told := func(action string) (list []string) {
			t.Helper()
			rows, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{Action: action}, authsvc.Page{})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if r.Detail == "" {
					continue // when the account was made
				}
				list = append(list, fmt.Sprintf("%d %s %s > %s", r.Company, r.TargetName, r.Before, r.After))
			}
			slices.Sort(list)
			return list
		}
		role := authsvc.RoleUser
		if _, err := s.UpdateUser(ctx, operator, p.ID, authsvc.UserChange{Role: &role}); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, c := range []authsvc.Company{one, two} {
			want = append(want, fmt.Sprintf(`%d %s {"company":%q,"role":"Admin"} > {"company":%q,"role":"User"}`, c.ID, p.Username, c.Name, c.Name))
		}
		if got := told("membership.set"); !slices.Equal(got, want) {
			t.Errorf("the role: %q, want %q", got, want)
		}
		if err := s.DeleteUser(ctx, operator, p.ID); err != nil {
			t.Fatal(err)
		}
		want = nil
		for i, c := range []authsvc.Company{one, two, three} {
			want = append(want, fmt.Sprintf(`%d %s {"company":%q,"role":%q} > `, c.ID, p.Username, c.Name, []string{"User", "User", "CompanyAdmin"}[i]))
		}
		if got := told("membership.remove"); !slices.Equal(got, want) {
			t.Errorf("the account: %q, want %q", got, want)
		}
		if check, err := s.VerifyAudit(ctx, operator); err != nil || check.Broken != nil {
			t.Errorf("%+v, %v", check.Broken, err)
		}
	})
}

// TestTokenEntries: entries about tokens and passkeys say which one it was.
func TestTokenEntries(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		p := as(t, s, mustPerson(t, s, "ada", authsvc.RoleUser))
		token, _, err := s.CreatePersonalToken(ctx, p, authsvc.NewPersonalToken{Name: "backup", Scopes: authsvc.ScopeRead, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddPasskey(ctx, p, "blue key", []byte("id"), "{}"); err != nil {
			t.Fatal(err)
		}
		keys, err := s.Passkeys(ctx, p.ID)
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		if err := s.RemovePasskey(ctx, p, keys[0].ID); err != nil {
			t.Fatal(err)
		}
		if err := s.RevokePersonalToken(ctx, p, token.ID); err != nil {
			t.Fatal(err)
		}
		for action, want := range map[string]string{
			"token.create": fmt.Sprintf("backup (%d)", token.ID), "token.revoke": fmt.Sprintf("backup (%d)", token.ID),
			"passkey.add": fmt.Sprintf("blue key (%d)", keys[0].ID), "passkey.remove": fmt.Sprintf("blue key (%d)", keys[0].ID),
		} {
			list, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{Action: action}, authsvc.Page{})
			if err != nil || len(list) != 1 || list[0].Detail != want {
				t.Fatalf("%s: %+v, %v, want %q", action, list, err, want)
			}
			if both := string(list[0].Before) + string(list[0].After); strings.HasPrefix(action, "token") && !strings.Contains(both, `"prefix":"`+token.Prefix+`","scopes":["read"]`) {
				t.Errorf("%s: %s", action, both)
			}
		}
	})
}
