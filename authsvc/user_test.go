package authsvc_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

func TestUsers(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		acme := mustCompany(t, s, "Acme")
		boss := mustPerson(t, s, "boss", authsvc.RoleGlobalAdmin)

		u, temporary, err := s.CreateUser(ctx, operator, authsvc.NewUser{
			Username: " Ada  Lovelace ", Email: "Ada@Example.COM", DisplayName: "Ada, Countess", Memberships: []authsvc.Grant{grant(acme, authsvc.RoleCompanyAdmin)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if u.Username != "Ada Lovelace" || u.Email != "Ada@Example.COM" || u.Role != authsvc.RoleUser || u.MFAPolicy != authsvc.MFAInherit ||
			!u.MustChangePassword || u.State() != authsvc.UserActive || !u.Created.Equal(clk.now()) || u.Epoch != 1 ||
			len(u.Memberships) != 1 || u.Memberships[0].CompanyName != "Acme" || u.Memberships[0].Role != authsvc.RoleCompanyAdmin {
			t.Errorf("created: %+v", u)
		}
		if len(temporary) != 29 || strings.Contains(trailText(t, s), temporary) {
			t.Errorf("temporary password %q, or it is in the audit trail", temporary)
		}
		hash := hashOf(t, s, u.ID)
		if ok, err := s.Passwords().Verify(ctx, hash, temporary); err != nil || !ok {
			t.Errorf("the temporary password does not fit: %v %v", ok, err)
		}

		// What an administrator chose must be changed, whoever they are; only the command line says otherwise.
		keep := authsvc.NewUser{Username: "kept", Email: "kept@example.com", Password: goodPassword, KeepPassword: true}
		_, _, err = s.CreateUser(ctx, as(t, s, boss), keep)
		wantCode(t, "a password that need not be changed, by a GlobalAdmin", err, event.CodeForbidden)
		keep.KeepPassword = false
		if kept, _, err := s.CreateUser(ctx, as(t, s, boss), keep); err != nil || !kept.MustChangePassword {
			t.Errorf("a given password: %+v, %v", kept, err)
		}

		// The name of their company is nobody's password, be it given with the account or in a reset.
		hundred := mustCompany(t, s, "Zweihundertwasser")
		of := authsvc.NewUser{Username: "of", Email: "of@example.com", Password: "zweihundertwasser1", Memberships: []authsvc.Grant{grant(hundred, authsvc.RoleUser)}}
		_, _, err = s.CreateUser(ctx, operator, of)
		wantCode(t, "the company as the password", err, event.CodeInvalid)
		of.Password = goodPassword
		member, _, err := s.CreateUser(ctx, operator, of)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = s.ResetPassword(ctx, operator, member.ID, "zweihundertwasser1")
		wantCode(t, "the company as the password in a reset", err, event.CodeInvalid)

		// Whatever looks the same to a person is the same name.
		for _, n := range []authsvc.NewUser{
			{Username: "ADA LOVELACE", Email: "x@example.com"},
			{Username: "ada\u00a0lovelace", Email: "x@example.com"},
			{Username: "ａda lovelace", Email: "x@example.com"},
			{Username: "other", Email: "ada@example.com"},
			{Username: "other", Email: "ADA@EXAMPLE.com"},
		} {
			_, _, err := s.CreateUser(ctx, operator, n)
			wantCode(t, fmt.Sprintf("%q %q a second time", n.Username, n.Email), err, event.CodeConflict)
		}
		for field, n := range map[string]authsvc.NewUser{
			"username":           {Username: "a@b", Email: "x@example.com"},
			"username ":          {Username: "a＠b", Email: "x@example.com"},
			"username  ":         {Username: "", Email: "x@example.com"},
			"username   ":        {Username: "a\x00b", Email: "x@example.com"},
			"username    ":       {Username: strings.Repeat("x", 201), Email: "x@example.com"},
			"email":              {Username: "x", Email: ""},
			"email ":             {Username: "x", Email: "x"},
			"email  ":            {Username: "x", Email: `"a b"@example.com`},
			"email   ":           {Username: "x", Email: "X <x@example.com>"},
			"email    ":          {Username: "x", Email: "x@exa mple.com"},
			"email     ":         {Username: "x", Email: "x@-example.com"},
			"email      ":        {Username: "x", Email: strings.Repeat("x", 250) + "@example.com"},
			"email       ":       {Username: "x", Email: "x@[127.0.0.1]"},
			"email        ":      {Username: "x", Email: "x@y＠example.com"},
			"email         ":     {Username: "x", Email: "x\u202e@example.com"},
			"email          ":    {Username: "x", Email: "\xff@example.com"},
			"display_name":       {Username: "x", Email: "x@example.com", DisplayName: "a\u202eb"},
			"role":               {Username: "x", Email: "x@example.com", Role: "CompanyAdmin"},
			"role ":              {Username: "x", Email: "x@example.com", Memberships: []authsvc.Grant{grant(acme, authsvc.RoleGlobalAdmin)}},
			"role  ":             {Username: "x", Email: "x@example.com", Memberships: []authsvc.Grant{grant(acme, authsvc.RoleAdmin)}},
			"mfa_policy":         {Username: "x", Email: "x@example.com", MFAPolicy: "sometimes"},
			"password":           {Username: "x", Email: "x@example.com", Password: "short"},
			"password ":          {Username: "x", Email: "x@example.com", Password: "password12345"},
			"password  ":         {Username: "hildegard", Email: "x@example.com", Password: "hildegard2026"},
			"memberships":        {Username: "x", Email: "x@example.com", Memberships: []authsvc.Grant{grant(acme, authsvc.RoleUser), grant(acme, authsvc.RoleUser)}},
			"username       ":    {Username: "\xff", Email: "x@example.com"},
			"username        ":   {Username: strings.Repeat("\uFDFA", 30), Email: "x@example.com"},
			"username         ":  {Username: " 4 ", Email: "x@example.com"},
			"username          ": {Username: "\uff14\uff12", Email: "x@example.com"}, // as digits: 42
		} {
			_, _, err := s.CreateUser(ctx, operator, n)
			e, ok := errors.AsType[*event.Error](err)
			if !ok || e.Code != event.CodeInvalid || e.Field != strings.TrimSpace(field) {
				t.Errorf("%q, %q: %v, want a field error of %s", n.Username, n.Email, err, field)
			}
		}
		_, _, err = s.CreateUser(ctx, operator, authsvc.NewUser{Username: "x", Email: "x@example.com", Memberships: []authsvc.Grant{{CompanyID: 999, Role: authsvc.RoleUser}}})
		wantCode(t, "a company that is not there", err, event.CodeNotFound)
		if _, err := s.FindUser(ctx, operator, "x"); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("half of a refused person was made: %v", err)
		}

		for _, ref := range []string{"ada lovelace", "ADA@example.com", fmt.Sprint(u.ID), " Ada Lovelace "} {
			if got, err := s.FindUser(ctx, operator, ref); err != nil || got.ID != u.ID || len(got.Memberships) != 1 {
				t.Errorf("find %q: %+v, %v", ref, got, err)
			}
		}
		// Digits are an id, also where somebody got a username of digits before such were refused.
		old := mustPerson(t, s, "old", authsvc.RoleUser)
		digits := fmt.Sprint(u.ID)
		exec(t, s, `UPDATE users SET username = ?, username_key = ? WHERE id = ?`, digits, digits, old.ID)
		for ref, id := range map[string]uint32{digits: u.ID, fmt.Sprint(old.ID): old.ID, "old@example.com": old.ID} {
			if got, err := s.FindUser(ctx, operator, ref); err != nil || got.ID != id {
				t.Errorf("find %s: %+v, %v", ref, got, err)
			}
		}
		oldName := "Old"
		if got, err := s.UpdateUser(ctx, operator, old.ID, authsvc.UserChange{DisplayName: &oldName}); err != nil || got.DisplayName != oldName || got.Username != digits {
			t.Errorf("change beside a username of digits: %+v, %v", got, err)
		}
		_, err = s.UpdateUser(ctx, operator, u.ID, authsvc.UserChange{Username: new("7")})
		wantCode(t, "digits alone as another username", err, event.CodeInvalid)
		if _, err := s.FindUser(ctx, operator, "ada lovelance"); err == nil || !strings.Contains(err.Error(), `did you mean "Ada Lovelace"?`) {
			t.Errorf("a mistyped name: %v", err)
		}
		for _, ref := range []string{"", "nobody", "4000000000", "x'; DROP TABLE users; --", "\x00", "\xff", strings.Repeat("é", 3000), "%"} {
			_, err := s.FindUser(ctx, operator, ref)
			wantCode(t, fmt.Sprintf("find %.30q", ref), err, event.CodeNotFound)
		}

		// Changes, one field at a time; the others stay.
		text := func(s string) *string { return &s }
		admin, policy := authsvc.RoleAdmin, authsvc.MFARequired
		for _, c := range []struct {
			change authsvc.UserChange
			holds  func(authsvc.User) bool
			epoch  int64
		}{
			{authsvc.UserChange{Username: text("ada")}, func(u authsvc.User) bool { return u.Username == "ada" && u.Email == "Ada@Example.COM" }, 1},
			{authsvc.UserChange{Username: text("ADA")}, func(u authsvc.User) bool { return u.Username == "ADA" }, 1},
			{authsvc.UserChange{Email: text("ada@acme.example")}, func(u authsvc.User) bool { return u.Email == "ada@acme.example" }, 1},
			{authsvc.UserChange{DisplayName: text("")}, func(u authsvc.User) bool { return u.DisplayName == "" }, 1},
			{authsvc.UserChange{MFAPolicy: &policy}, func(u authsvc.User) bool { return u.MFAPolicy == policy }, 1},
			{authsvc.UserChange{Role: &admin}, func(u authsvc.User) bool { return u.Role == admin && u.MFAPolicy == policy && u.Username == "ADA" }, 2},
		} {
			got, err := s.UpdateUser(ctx, operator, u.ID, c.change)
			if err != nil || !c.holds(got) || got.Epoch != c.epoch {
				t.Errorf("change %+v: %+v, %v", c.change, got, err)
			}
		}
		_, err = s.UpdateUser(ctx, operator, u.ID, authsvc.UserChange{Username: text("BOSS")})
		wantCode(t, "another's name", err, event.CodeConflict)
		_, err = s.UpdateUser(ctx, operator, 999, authsvc.UserChange{Username: text("z")})
		wantCode(t, "nobody", err, event.CodeNotFound)

		// Personal tokens gain nothing by a higher role, and lose by a lower one what it takes.
		exec(t, s, `UPDATE users SET mfa_policy = 'inherit', must_change_password = 0`)
		for _, c := range []struct {
			role authsvc.Role
			code event.Code
		}{{authsvc.RoleUser, ""}, {authsvc.RoleAdmin, event.CodeUnauthorized}, {authsvc.RoleGlobalAdmin, event.CodeUnauthorized}, {authsvc.RoleAdmin, ""}} {
			_, secret, err := s.CreatePersonalToken(ctx, as(t, s, u), authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.ScopeRead, Expires: clk.now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.UpdateUser(ctx, operator, u.ID, authsvc.UserChange{Role: &c.role}); err != nil {
				t.Fatal(err)
			}
			_, err = s.PersonalActor(ctx, secret, authsvc.Claim{})
			wantCode(t, "a personal token from before the role "+string(c.role), err, c.code)
		}

		// An operator who is none any more keeps no assignments that a later promotion would bring back.
		if _, err := s.SetMembership(ctx, operator, u.ID, grant(acme, authsvc.RoleAdmin)); err != nil {
			t.Fatal(err)
		}
		user := authsvc.RoleUser
		if got, err := s.UpdateUser(ctx, operator, u.ID, authsvc.UserChange{Role: &user}); err != nil || got.Memberships[0].Role != authsvc.RoleUser {
			t.Errorf("an operator made a User: %+v, %v", got, err)
		}

		// Disabling ends all at once, and says when it was first.
		actor := as(t, s, u)
		first := clk.now()
		for range 2 {
			if _, err := s.DisableUser(ctx, operator, u.ID); err != nil {
				t.Fatal(err)
			}
			clk.add(time.Hour)
		}
		if got, err := s.GetUser(ctx, operator, u.ID); err != nil || !got.Disabled.Equal(first) || got.State() != authsvc.UserDisabled {
			t.Errorf("disabled: %+v, %v", got, err)
		}
		_, err = s.ActorFor(ctx, u.ID, authsvc.Claim{Epoch: actor.Epoch, SecondFactor: true, Scopes: authsvc.AllScopes})
		wantCode(t, "a disabled person's request", err, event.CodeUnauthorized)
		if _, err := s.EnableUser(ctx, operator, u.ID); err != nil {
			t.Fatal(err)
		}
		_, err = s.ActorFor(ctx, u.ID, authsvc.Claim{Epoch: actor.Epoch, SecondFactor: true, Scopes: authsvc.AllScopes})
		wantCode(t, "a session from before", err, event.CodeUnauthorized)
		as(t, s, u)

		// A password of an administrator's must be changed, and the old one is gone.
		reset, temporary, err := s.ResetPassword(ctx, as(t, s, boss), u.ID, "")
		if err != nil || temporary == "" || !reset.MustChangePassword || !reset.PasswordChanged.Equal(clk.now()) {
			t.Errorf("reset: %+v %q %v", reset, temporary, err)
		}
		if ok, _ := s.Passwords().Verify(ctx, hashOf(t, s, u.ID), temporary); !ok || hashOf(t, s, u.ID) == hash {
			t.Error("the reset password does not fit")
		}
		if a := as(t, s, u); a.Stage != authsvc.StageChangePassword {
			t.Errorf("after a reset: stage %d", a.Stage)
		}
		_, _, err = s.ResetPassword(ctx, as(t, s, boss), boss.ID, "")
		wantCode(t, "reset of one's own password", err, event.CodeForbidden)
		_, err = s.ResetMFA(ctx, as(t, s, boss), boss.ID)
		wantCode(t, "reset of one's own second factor", err, event.CodeForbidden)
		if log := trailText(t, s); strings.Contains(log, temporary) || strings.Contains(log, "$2a$") || strings.Contains(log, goodPassword) {
			t.Errorf("a secret is in the audit trail:\n%s", log)
		}
		if log := trailText(t, s); !strings.Contains(log, "user.create | success | test | "+fmt.Sprint(acme.ID)+" | Ada Lovelace") ||
			!strings.Contains(log, `password.reset | success | boss`) || !strings.Contains(log, "membership.set | success | test | "+fmt.Sprint(acme.ID)) {
			t.Errorf("the audit trail lacks what was done:\n%s", log)
		}
	})
}

func hashOf(t testing.TB, s *authsvc.Store, userID uint32) (hash string) {
	t.Helper()
	if err := s.DB().QueryRow(t.Context(), `SELECT password_hash FROM users WHERE id = ?`, userID).Scan(&hash); err != nil {
		t.Fatal(err)
	}
	return hash
}

// TestDeleteUser: nothing of a person stays but their name in the audit trail, and a reset second factor leaves none of it either.
func TestDeleteUser(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme := mustCompany(t, s, "Acme")
		u := mustPerson(t, s, "ada", authsvc.RoleUser, grant(acme, authsvc.RoleUser))
		other := mustPerson(t, s, "bob", authsvc.RoleUser, grant(acme, authsvc.RoleUser))
		for i, id := range []uint32{u.ID, other.ID} {
			fillPerson(t, s, id, fmt.Sprint(i))
		}
		got, err := s.GetUser(ctx, operator, u.ID)
		if err != nil || !got.TOTP || got.Passkeys != 1 || !got.SecondFactor() {
			t.Errorf("with all: %+v, %v", got, err)
		}
		if got, err = s.ResetMFA(ctx, operator, u.ID); err != nil || got.SecondFactor() || got.Epoch != u.Epoch+1 {
			t.Errorf("after the reset: %+v, %v", got, err)
		}
		count := func(table, column string, id uint32) (n int) {
			if err := s.DB().QueryRow(ctx, `SELECT COUNT(*) FROM `+table+` WHERE `+column+` = ?`, id).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if count("recovery_codes", "user_id", u.ID) != 0 || count("webauthn_credentials", "user_id", u.ID) != 0 || count("user_identities", "user_id", u.ID) != 1 {
			t.Error("the reset took too little or too much")
		}
		var live int
		if err := s.DB().QueryRow(ctx, `SELECT COUNT(*) FROM personal_tokens WHERE user_id = ? AND revoked_at IS NULL`, u.ID).Scan(&live); err != nil || live != 0 {
			t.Errorf("%d personal tokens outlived the reset, %v", live, err)
		}
		fillPerson(t, s, u.ID, "again")
		if err := s.DeleteUser(ctx, operator, u.ID); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"memberships", "recovery_codes", "webauthn_credentials", "user_identities", "web_sessions", "refresh_tokens", "personal_tokens"} {
			if n := count(table, "user_id", u.ID); n != 0 {
				t.Errorf("%s: %d rows of a deleted person", table, n)
			}
			if n := count(table, "user_id", other.ID); n != 1 {
				t.Errorf("%s: %d rows of another person, want 1", table, n)
			}
		}
		wantCode(t, "delete again", s.DeleteUser(ctx, operator, u.ID), event.CodeNotFound)
		_, err = s.ActorFor(ctx, u.ID, authsvc.Claim{Scopes: authsvc.AllScopes})
		wantCode(t, "a deleted person's request", err, event.CodeUnauthorized)
		if log := trailText(t, s); !strings.Contains(log, "user.delete | success | test | "+fmt.Sprint(acme.ID)+` | ada | {"username":"ada"`) {
			t.Errorf("the trail does not say who was deleted:\n%s", log)
		}
		if again := mustPerson(t, s, "ada", authsvc.RoleUser); again.ID == u.ID {
			t.Error("a new person has a deleted one's id")
		}
	})
}

// fillPerson gives a person one row in every table that has rows of people, except for memberships.
func fillPerson(t testing.TB, s *authsvc.Store, id uint32, unique string) {
	t.Helper()
	for _, statement := range []string{
		`INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)`,
		`INSERT INTO webauthn_credentials (user_id, credential_hash, name, credential, created_at) VALUES (?, ?, 'key', '{}', 1)`,
		`INSERT INTO user_identities (user_id, identity_hash, issuer, subject, created_at) VALUES (?, ?, 'https://idp', 'x', 1)`,
		`INSERT INTO web_sessions (user_id, id_hash, data, created_at, last_seen_at, expires_at) VALUES (?, ?, '', 1, 1, 1)`,
		`INSERT INTO refresh_tokens (user_id, token_hash, epoch, family, created_at, expires_at) VALUES (?, ?, 1, 'f', 1, 1)`,
		`INSERT INTO personal_tokens (user_id, token_hash, name, token_prefix, scopes, created_at, expires_at) VALUES (?, ?, 'n', 'gp_', 'read', 1, 1)`,
	} {
		// Some are there already when a person is filled again.
		exec(t, s, `DELETE FROM `+strings.Fields(statement)[2]+` WHERE user_id = ?`, id)
		exec(t, s, statement, id, unique)
	}
	exec(t, s, `UPDATE users SET totp_secret = 'sealed' WHERE id = ?`, id)
}

// TestActorFor: what a request may do follows from the database alone, and from what its session says of the second factor.
func TestActorFor(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme, zenith := mustCompany(t, s, "Acme"), mustCompany(t, s, "Zenith")
		u := mustPerson(t, s, "ada", authsvc.RoleAdmin, grant(acme, authsvc.RoleAdmin), grant(zenith, authsvc.RoleUser))
		claim := authsvc.Claim{Epoch: u.Epoch, Scopes: authsvc.ScopeRead, Address: netip.MustParseAddr("192.0.2.7"), Agent: "x", RequestID: "r", Via: "token gp_1"}
		a, err := s.ActorFor(ctx, u.ID, claim)
		if err != nil {
			t.Fatal(err)
		}
		if a.Kind != authsvc.ActorPerson || a.ID != u.ID || a.Name != "ada" || a.Stage != authsvc.StageDone || a.Epoch != u.Epoch || a.Role != authsvc.RoleAdmin ||
			len(a.Members) != 2 || a.RoleIn(acme.ID) != authsvc.RoleAdmin || a.RoleIn(zenith.ID) != authsvc.RoleUser || a.Scopes != authsvc.ScopeRead ||
			a.Address != claim.Address || a.Agent != "x" || a.RequestID != "r" || a.Via != "token gp_1" {
			t.Errorf("%+v", a)
		}
		for _, c := range []struct {
			mustChange, factor, given, vouched bool
			policy                             authsvc.MFAPolicy
			required                           string
			want                               authsvc.Stage
		}{
			{policy: authsvc.MFAInherit, want: authsvc.StageDone},
			{policy: authsvc.MFAInherit, required: "false", want: authsvc.StageDone},
			{policy: authsvc.MFAInherit, required: "true", want: authsvc.StageSetUpFactor},
			{policy: authsvc.MFANotRequired, required: "true", want: authsvc.StageDone},
			{policy: authsvc.MFARequired, want: authsvc.StageSetUpFactor},
			{policy: authsvc.MFARequired, given: true, vouched: true, want: authsvc.StageDone}, // an identity provider has asked for one
			{policy: authsvc.MFARequired, given: true, want: authsvc.StageSetUpFactor},         // the one that was given here is gone
			{policy: authsvc.MFAInherit, required: "true", given: true, want: authsvc.StageSetUpFactor},
			{policy: authsvc.MFAInherit, given: true, want: authsvc.StageDone},
			{policy: authsvc.MFANotRequired, factor: true, want: authsvc.StageSecondFactor},
			{policy: authsvc.MFARequired, factor: true, mustChange: true, want: authsvc.StageSecondFactor},
			{policy: authsvc.MFARequired, factor: true, given: true, mustChange: true, want: authsvc.StageChangePassword},
			{policy: authsvc.MFARequired, mustChange: true, want: authsvc.StageChangePassword},
			{policy: authsvc.MFARequired, factor: true, given: true, want: authsvc.StageDone},
		} {
			for _, passkey := range []bool{false, true} {
				exec(t, s, `DELETE FROM webauthn_credentials`)
				exec(t, s, `DELETE FROM settings`)
				exec(t, s, `UPDATE users SET mfa_policy = ?, must_change_password = ?, totp_secret = NULL`, string(c.policy), bit(c.mustChange))
				if c.factor && passkey {
					exec(t, s, `INSERT INTO webauthn_credentials (user_id, credential_hash, name, credential, created_at) VALUES (?, 'h', 'key', '{}', 1)`, u.ID)
				} else if c.factor {
					exec(t, s, `UPDATE users SET totp_secret = 'sealed'`)
				}
				if c.required != "" {
					exec(t, s, `INSERT INTO settings (name, value, updated_at) VALUES ('mfa_required', ?, 1)`, c.required)
				}
				a, err := s.ActorFor(ctx, u.ID, authsvc.Claim{SecondFactor: c.given, VouchedFactor: c.vouched, Scopes: authsvc.AllScopes})
				if err != nil || a.Stage != c.want {
					t.Errorf("%+v: %+v, %v", c, a, err)
				}
				if c.want != authsvc.StageDone && (a.Can(authsvc.PermOwnAccount, 0) || a.Can(authsvc.PermReadReports, acme.ID)) {
					t.Errorf("%+v: may do something before the sign-in is done", c)
				}
			}
		}
		_, err = s.ActorFor(ctx, 999, authsvc.Claim{Scopes: authsvc.AllScopes})
		wantCode(t, "nobody", err, event.CodeUnauthorized)
	})
}

// TestLastGlobalAdmin: however many try to take each other away at once, in two processes, one stays who can sign in.
func TestLastGlobalAdmin(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx := t.Context()
		stores := []*authsvc.Store{open(), open()}
		s := stores[0]
		user := authsvc.RoleUser
		acts := []func(s *authsvc.Store, by *authsvc.Actor, id uint32) error{
			func(s *authsvc.Store, by *authsvc.Actor, id uint32) error {
				_, err := s.DisableUser(ctx, by, id)
				return err
			},
			func(s *authsvc.Store, by *authsvc.Actor, id uint32) error { return s.DeleteUser(ctx, by, id) },
			func(s *authsvc.Store, by *authsvc.Actor, id uint32) error {
				_, err := s.UpdateUser(ctx, by, id, authsvc.UserChange{Role: &user})
				return err
			},
		}
		for i, act := range acts {
			for round := range 3 {
				exec(t, s, `DELETE FROM users`)
				pair := []authsvc.User{mustPerson(t, s, fmt.Sprintf("a%d%d", i, round), authsvc.RoleGlobalAdmin), mustPerson(t, s, fmt.Sprintf("b%d%d", i, round), authsvc.RoleGlobalAdmin)}
				actors := []*authsvc.Actor{as(t, s, pair[0]), as(t, s, pair[1])}
				errs := make([]error, 2)
				var wg sync.WaitGroup
				for n := range 2 {
					wg.Go(func() { errs[n] = act(stores[n], actors[n], pair[1-n].ID) })
				}
				wg.Wait()
				if (errs[0] == nil) == (errs[1] == nil) {
					t.Errorf("act %d: %v and %v, want exactly one to succeed", i, errs[0], errs[1])
				}
				var left int
				if err := s.DB().QueryRow(ctx, `SELECT COUNT(*) FROM users WHERE role = 'GlobalAdmin' AND disabled_at IS NULL`).Scan(&left); err != nil || left != 1 {
					t.Errorf("act %d: %d GlobalAdmins left, %v", i, left, err)
				}
				// Neither by themselves nor by the command line.
				var id uint32
				if err := s.DB().QueryRow(ctx, `SELECT id FROM users WHERE role = 'GlobalAdmin' AND disabled_at IS NULL`).Scan(&id); err != nil {
					t.Fatal(err)
				}
				last, err := s.GetUser(ctx, operator, id)
				if err != nil {
					t.Fatal(err)
				}
				for _, by := range []*authsvc.Actor{as(t, s, last), operator} {
					wantCode(t, fmt.Sprintf("act %d on the last by %s", i, by.Kind), act(s, by, id), event.CodeConflict)
				}
			}
		}
	})
}

func exec(t tester, s *authsvc.Store, query string, args ...any) {
	t.Helper()
	if _, err := s.DB().Writer().ExecContext(t.Context(), s.DB().Dialect().Rebind(query), args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestLastGlobalAdminWhoCanSignIn: somebody who may be unable to sign in is nobody to leave a server to.
func TestLastGlobalAdminWhoCanSignIn(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		last := mustPerson(t, s, "last", authsvc.RoleGlobalAdmin)
		other, _, err := s.CreateUser(ctx, operator, authsvc.NewUser{Username: "other", Email: "other@example.com", Role: authsvc.RoleGlobalAdmin})
		if err != nil {
			t.Fatal(err)
		}
		disable := func(what string, code event.Code) {
			t.Helper()
			_, err := s.DisableUser(ctx, operator, last.ID)
			wantCode(t, what, err, code)
			exec(t, s, `UPDATE users SET disabled_at = NULL`)
		}
		disable("the other has never signed in with their temporary password", event.CodeConflict)
		exec(t, s, `UPDATE users SET must_change_password = 0 WHERE id = ?`, other.ID)
		disable("the other has a password of their own", "")
		if _, _, err := s.ResetPassword(ctx, operator, other.ID, ""); err != nil {
			t.Fatal(err)
		}
		disable("the other's password was reset", event.CodeConflict)
		exec(t, s, `UPDATE users SET must_change_password = 0, password_hash = '!' WHERE id = ?`, other.ID)
		disable("the other has no password", event.CodeConflict)
		exec(t, s, `INSERT INTO user_identities (user_id, issuer, subject, identity_hash, created_at) VALUES (?, 'https://id.example', 'other', 'x', 1)`, other.ID)
		disable("the other signs in with a provider", "")
	})
}
