package authsvc_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/event"
)

func TestIdentityRulesAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule    authsvc.IdentityRule
		claim   bool
		problem string
	}{
		{authsvc.IdentityRule{Value: "a", Role: "globaladmin"}, false, ""},
		{authsvc.IdentityRule{Value: "a", Role: "User"}, false, ""},
		{authsvc.IdentityRule{Value: "a", Role: "Admin", Company: "Acme"}, false, ""},
		{authsvc.IdentityRule{Value: "a", Role: "CompanyAdmin"}, true, ""},
		{authsvc.IdentityRule{Value: "a", Role: "CompanyAdmin"}, false, "company_claim"},
		{authsvc.IdentityRule{Value: "a", Role: "GlobalAdmin", Company: "Acme"}, true, "without @Acme"},
		{authsvc.IdentityRule{Value: "a", Role: "Boss"}, true, "must be one of"},
		{authsvc.IdentityRule{Role: "User"}, true, "no value"},
	} {
		err := (&authsvc.IdentityRules{List: []authsvc.IdentityRule{c.rule}, CompanyClaim: c.claim}).Check()
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%+v: %v, want %q", c.rule, err, c.problem)
		}
	}
}

const testIssuer = "https://id.example.org"

func identity(subject string, values ...string) authsvc.Identity {
	return authsvc.Identity{Issuer: testIssuer, Subject: subject, Username: subject, Email: subject + "@example.com", EmailVerified: true, Values: values}
}

// mustLink links an identity with a person's account, as they do themselves.
func mustLink(t tester, s *authsvc.Store, u authsvc.User, id authsvc.Identity) {
	t.Helper()
	if err := s.LinkIdentity(t.Context(), as(t, s, u), id); err != nil {
		t.Fatalf("link %s: %v", id.Subject, err)
	}
}

// TestSignInIdentity goes through who gets which account.
func TestSignInIdentity(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme := mustCompany(t, s, "Acme")
		rules := authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{{Value: "staff", Role: authsvc.RoleUser, Company: "ACME"}}}
		closed := rules
		closed.SignUp = false
		by := &authsvc.Actor{Kind: authsvc.ActorNobody, Address: testAddress}
		refused := func(what string, id authsvc.Identity, rules authsvc.IdentityRules) {
			t.Helper()
			if u, err := s.SignInIdentity(ctx, by, id, rules); !errors.Is(err, authsvc.ErrNoAccount) || u != 0 {
				t.Errorf("%s: person %d, %v", what, u, err)
			}
		}
		must := func(what string, id authsvc.Identity, rules authsvc.IdentityRules) uint32 {
			t.Helper()
			u, err := s.SignInIdentity(ctx, by, id, rules)
			if err != nil || u == 0 {
				t.Errorf("%s: %v", what, err)
			}
			return u
		}

		refused("unknown, sign-up closed", identity("new", "staff"), closed)
		refused("unknown, no rule fits", identity("new", "guests"), rules)
		refused("unknown, no rules", identity("new", "staff"), authsvc.IdentityRules{SignUp: true})
		unverified := identity("new", "staff")
		unverified.EmailVerified = false
		refused("unknown, e-mail not verified", unverified, rules)
		nameless := identity("new", "staff")
		nameless.Email = ""
		refused("unknown, no e-mail", nameless, rules)

		made := must("sign-up", identity("new", "staff"), rules)
		u, err := s.GetUser(ctx, operator, made)
		if err != nil || u.Username != "new" || u.Role != authsvc.RoleUser || u.MustChangePassword || len(u.Memberships) != 1 || u.Memberships[0].CompanyID != acme.ID {
			t.Errorf("made %+v, %v", u, err)
		}
		c, err := s.CredentialOfID(ctx, made)
		if err != nil {
			t.Fatal(err)
		}
		for _, guess := range []string{"", "!", c.PasswordHash} {
			if ok, err := s.Passwords().Verify(ctx, c.PasswordHash, guess); ok || err != nil {
				t.Errorf("the account has the password %q (%v)", guess, err)
			}
		}
		for _, c := range []struct{ username, email, want string }{
			{"10234", "n@example.com", "n"},
			{"10235", "10235@example.com", "user"},
		} {
			id := identity(c.username, "staff")
			id.Email = c.email
			if u, err := s.GetUser(ctx, operator, must("a username of digits", id, rules)); err != nil || u.Username != c.want {
				t.Errorf("%s, %s: %+v, %v, want %s", c.username, c.email, u, err, c.want)
			}
		}
		later := identity("new", "staff")
		later.Email, later.EmailVerified, later.Username = "moved@example.com", false, "renamed"
		if again := must("a second time, with another e-mail", later, closed); again != made {
			t.Errorf("the same identity is person %d, then %d", made, again)
		}
		elsewhere := identity("new", "staff")
		elsewhere.Issuer = testIssuer + "/other"
		refused("the same subject and e-mail of another issuer", elsewhere, rules)
		// Whatever the parts are, only the pair is the person.
		split := identity("new", "staff")
		split.Issuer, split.Subject, split.Email = testIssuer+"n", "ew", "x@example.com"
		if other := must("another pair with the same text", split, rules); other == made {
			t.Error("two pairs are one person")
		}

		// An account with the same e-mail is nobody's before its owner links it: who made it may have written any.
		ada := mustPerson(t, s, "ada", authsvc.RoleUser)
		refused("an e-mail that is not verified", authsvc.Identity{Issuer: testIssuer, Subject: "1", Email: ada.Email, Values: []string{"staff"}}, rules)
		mine := identity("1", "staff")
		mine.Email = "ADA@example.com"
		if u, err := s.SignInIdentity(ctx, by, mine, rules); !errors.Is(err, authsvc.ErrLinkFirst) || u != 0 {
			t.Errorf("a verified e-mail: person %d, %v", u, err)
		}
		mustLink(t, s, ada, mine)
		if got := must("linked", mine, closed); got != ada.ID {
			t.Errorf("linked to %d, want %d", got, ada.ID)
		}
		thief := identity("2", "staff")
		thief.Email = ada.Email
		refused("an account that is another identity's", thief, rules)
		gone := mustPerson(t, s, "gone", authsvc.RoleUser)
		if _, err := s.DisableUser(ctx, operator, gone.ID); err != nil {
			t.Fatal(err)
		}
		refused("an account that is disabled", identity("gone", "staff"), rules)

		// Names that are taken, or are none.
		taken := identity("taken", "staff")
		taken.Username = "Ada"
		if u, err := s.GetUser(ctx, operator, must("a name that is taken", taken, rules)); err != nil || !strings.HasPrefix(u.Username, "Ada-") {
			t.Errorf("named %q, %v", u.Username, err)
		}
		odd := identity("odd", "staff")
		odd.Username, odd.DisplayName = "\x00\u202e\t@example.com", "\u202eeslaf"
		if u, err := s.GetUser(ctx, operator, must("a name that cannot be shown", odd, rules)); err != nil || u.Username != "odd" || u.DisplayName != "" {
			t.Errorf("named %q %q, %v", u.Username, u.DisplayName, err)
		}
		for _, bad := range []authsvc.Identity{{Issuer: testIssuer}, {Subject: "x"}, {Issuer: testIssuer, Subject: strings.Repeat("x", 256)}, {Issuer: testIssuer, Subject: "a\x00b"}} {
			_, err := s.SignInIdentity(ctx, by, bad, rules)
			wantCode(t, fmt.Sprintf("%.20q", bad.Subject), err, event.CodeUnauthorized)
		}
		trail := trailText(t, s)
		for _, want := range []string{"identity.link | success | gatehouse", "identity.link | success | ada", "session.sign_in | denied", "allow_sign_up", "no verified e-mail", "another identity's", "is disabled", "is not linked"} {
			if !strings.Contains(trail, want) {
				t.Errorf("the trail lacks %q", want)
			}
		}
		if v, err := s.VerifyAudit(ctx, operator); err != nil {
			t.Errorf("the trail: %+v, %v", v, err)
		}
	})
}

// TestClaimsGiveAndTake signs one person in with changing claims.
func TestClaimsGiveAndTake(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme, beta, gamma := mustCompany(t, s, "Acme"), mustCompany(t, s, "Beta"), mustCompany(t, s, "Gamma")
		rules := authsvc.IdentityRules{List: []authsvc.IdentityRule{
			{Value: "acme", Role: authsvc.RoleUser, Company: "Acme"},
			{Value: "acme-boss", Role: authsvc.RoleCompanyAdmin, Company: "acme"},
			{Value: "ops", Role: authsvc.RoleAdmin, Company: "Beta"},
			{Value: "lost", Role: authsvc.RoleUser, Company: "No such company"},
		}}
		root := authsvc.IdentityRules{List: append([]authsvc.IdentityRule{{Value: "root", Role: authsvc.RoleGlobalAdmin}}, rules.List...)}
		claimed := authsvc.IdentityRules{CompanyClaim: true, List: []authsvc.IdentityRule{{Value: "boss", Role: authsvc.RoleCompanyAdmin}, {Value: "staff", Role: authsvc.RoleUser}}}
		ada := mustPerson(t, s, "ada", authsvc.RoleUser, grant(gamma, authsvc.RoleCompanyAdmin))
		mustLink(t, s, ada, identity("ada"))
		epoch := ada.Epoch + 1
		type in = map[uint32]authsvc.Role
		for i, c := range []struct {
			rules  authsvc.IdentityRules
			values []string
			orgs   []string
			role   authsvc.Role
			in     in
			ended  bool // sessions and tokens end
		}{
			{rules, []string{"acme"}, nil, authsvc.RoleUser, in{gamma.ID: authsvc.RoleCompanyAdmin, acme.ID: authsvc.RoleUser}, true},
			{rules, []string{"acme", "acme-boss", "lost", "x"}, nil, authsvc.RoleUser, in{gamma.ID: authsvc.RoleCompanyAdmin, acme.ID: authsvc.RoleCompanyAdmin}, true},
			{rules, []string{"ops"}, nil, authsvc.RoleAdmin, in{gamma.ID: authsvc.RoleCompanyAdmin, beta.ID: authsvc.RoleAdmin}, true},
			{rules, []string{"ops"}, nil, authsvc.RoleAdmin, in{gamma.ID: authsvc.RoleCompanyAdmin, beta.ID: authsvc.RoleAdmin}, false},
			{rules, []string{"root", "ops"}, nil, authsvc.RoleAdmin, in{gamma.ID: authsvc.RoleCompanyAdmin, beta.ID: authsvc.RoleAdmin}, false}, // no rule says root
			{root, []string{"root", "ops"}, nil, authsvc.RoleGlobalAdmin, in{gamma.ID: authsvc.RoleCompanyAdmin, beta.ID: authsvc.RoleAdmin}, true},
			{rules, []string{"acme"}, nil, authsvc.RoleGlobalAdmin, in{gamma.ID: authsvc.RoleCompanyAdmin, acme.ID: authsvc.RoleUser}, false}, // what they cannot give they do not take
			{root, nil, nil, authsvc.RoleGlobalAdmin, in{gamma.ID: authsvc.RoleCompanyAdmin}, false},                                          // the last one stays
			{authsvc.IdentityRules{}, nil, nil, authsvc.RoleGlobalAdmin, in{gamma.ID: authsvc.RoleCompanyAdmin}, false},
			{claimed, []string{"boss", "staff"}, []string{"beta", "Nowhere", "ACME"}, authsvc.RoleGlobalAdmin, in{beta.ID: authsvc.RoleCompanyAdmin, acme.ID: authsvc.RoleCompanyAdmin}, false},
			{claimed, []string{"staff"}, []string{"beta"}, authsvc.RoleGlobalAdmin, in{beta.ID: authsvc.RoleUser}, false},
			{claimed, nil, []string{"beta"}, authsvc.RoleGlobalAdmin, in{}, false},
		} {
			id := identity("ada", c.values...)
			id.Companies = c.orgs
			if got, err := s.SignInIdentity(ctx, authsvc.System(), id, c.rules); err != nil || got != ada.ID {
				t.Fatalf("step %d: %d, %v", i, got, err)
			}
			u, err := s.GetUser(ctx, operator, ada.ID)
			if err != nil {
				t.Fatal(err)
			}
			have := in{}
			for _, m := range u.Memberships {
				have[m.CompanyID] = m.Role
			}
			if u.Role != c.role || !maps.Equal(have, c.in) || (u.Epoch != epoch) != c.ended {
				t.Errorf("step %d: %s %v, epoch %d → %d; want %s %v, ended %v", i, u.Role, have, epoch, u.Epoch, c.role, c.in, c.ended)
			}
			epoch = u.Epoch
		}
		// With another GlobalAdmin there, the claims do take it.
		mustPerson(t, s, "second", authsvc.RoleGlobalAdmin)
		if _, err := s.SignInIdentity(ctx, authsvc.System(), identity("ada"), root); err != nil {
			t.Fatal(err)
		}
		if u, err := s.GetUser(ctx, operator, ada.ID); err != nil || u.Role != authsvc.RoleUser || u.Epoch == epoch {
			t.Errorf("%s, %v", u.Role, err)
		}
	})
}
