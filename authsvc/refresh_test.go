package authsvc_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/token"
	"gatehouse/event"
)

func TestRefreshTokens(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		acme := mustCompany(t, s, "Acme")
		ada, eve := mustPerson(t, s, "ada", authsvc.RoleUser, grant(acme, authsvc.RoleUser)), mustPerson(t, s, "eve", authsvc.RoleUser)
		a, e := signedInAs(t, s, ada, true), signedInAs(t, s, eve, true)
		start := func(who *authsvc.Actor) (authsvc.Family, string) {
			t.Helper()
			f, secret, err := s.StartFamily(ctx, who, authsvc.Family{UserID: who.ID, Epoch: who.Epoch, Scopes: authsvc.ScopeRead, SecondFactor: true})
			if err != nil || !token.Refresh.WellFormed(secret) {
				t.Fatalf("%q, %v", secret, err)
			}
			return f, secret
		}
		use := func(secret string) (authsvc.Family, string, error) {
			return s.UseRefresh(ctx, &authsvc.Actor{Kind: authsvc.ActorNobody}, secret)
		}
		refused := func(what, secret string) {
			t.Helper()
			if f, next, err := use(secret); !errors.Is(err, authsvc.ErrToken) || next != "" || f.UserID != 0 {
				t.Errorf("%s: %+v, %v", what, f, err)
			}
		}
		lives := func(f authsvc.Family, want bool) {
			t.Helper()
			if alive, err := s.FamilyLives(ctx, f.UserID, f.ID); alive != want || err != nil {
				t.Errorf("the family lives: %v, %v, want %v", alive, err, want)
			}
		}

		// One after the other, each with what the sign-in was limited to.
		f, secret := start(a)
		secrets := []string{secret}
		for range 3 {
			clk.add(time.Hour)
			got, next, err := use(secrets[len(secrets)-1])
			if err != nil || got != f {
				t.Fatalf("%+v, %v, want %+v", got, err, f)
			}
			secrets = append(secrets, next)
		}
		lives(f, true)
		other, otherSecret := start(a)
		// The first one again: somebody has a copy. Both lose what they have; the other sign-in does not.
		refused("a used token", secrets[0])
		refused("the newest of a family in two hands", secrets[3])
		lives(f, false)
		lives(other, true)
		if n := strings.Count(trailText(t, s), fmt.Sprintf("token.reuse | denied |  | %d | ada", acme.ID)); n != 1 {
			t.Errorf("%d reuses in the trail of the company, want 1", n)
		}
		// Two at one moment are the same.
		if n := together(t, 3, func() (bool, error) {
			_, _, err := use(otherSecret)
			if errors.Is(err, authsvc.ErrToken) {
				err = nil
				return false, err
			}
			return err == nil, err
		}); n > 1 {
			t.Errorf("one token was exchanged %d times at one moment", n)
		}
		lives(other, false)

		// What is there is listed, and ended by its owner alone.
		f, secret = start(a)
		list, err := s.Families(ctx, a)
		if err != nil || len(list) != 1 || list[0].ID != f.ID || list[0].Scopes != authsvc.ScopeRead {
			t.Errorf("the list: %+v, %v", list, err)
		}
		wantCode(t, "end another's", s.EndFamily(ctx, e, f.ID), event.CodeNotFound)
		lives(f, true)
		if err := s.EndFamily(ctx, a, f.ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "end it twice", s.EndFamily(ctx, a, f.ID), event.CodeNotFound)
		lives(f, false)
		refused("a token of a sign-in that was ended", secret)

		f, secret = start(a)
		clk.add(authsvc.RefreshLifetime + time.Second)
		refused("a token that is too old", secret)
		lives(f, false)
		_, secret = start(e)
		if _, err := s.UpdateUser(ctx, operator, eve.ID, authsvc.UserChange{Role: new(authsvc.RoleAdmin)}); err != nil {
			t.Fatal(err)
		}
		refused("a token from before a change of role", secret)
		if list, err := s.Families(ctx, signedInAs(t, s, eve, true)); len(list) != 0 || err != nil {
			t.Errorf("listed after a change of role: %+v, %v", list, err)
		}
		_, secret = start(signedInAs(t, s, eve, true))
		if _, err := s.DisableUser(ctx, operator, eve.ID); err != nil {
			t.Fatal(err)
		}
		refused("a token of somebody disabled", secret)
		if _, err := s.EnableUser(ctx, operator, eve.ID); err != nil {
			t.Fatal(err)
		}
		refused("a token from before its person was disabled", secret)
		for _, nonsense := range []string{"", "x", "ghr_", strings.Repeat("0", 47), "ghr_" + strings.Repeat("0", 43), "ghr_" + strings.Repeat("é", 43)} {
			refused(nonsense, nonsense)
		}
		if trail := trailText(t, s); strings.Contains(trail, "ghr_") {
			t.Errorf("a token stands in the trail:\n%s", trail)
		}
	})
}

func TestPersonalTokens(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		company := mustCompany(t, s, "Acme")
		ada := mustPerson(t, s, "ada", authsvc.RoleUser, grant(company, authsvc.RoleCompanyAdmin))
		a, e := signedInAs(t, s, ada, true), signedInAs(t, s, mustPerson(t, s, "eve", authsvc.RoleUser), true)
		hour := clk.now().Add(time.Hour)
		make1 := func(who *authsvc.Actor, scopes authsvc.Scopes, until time.Time) (authsvc.PersonalToken, string, error) {
			return s.CreatePersonalToken(ctx, who, authsvc.NewPersonalToken{Name: "script", Scopes: scopes, Expires: until})
		}
		must := func(who *authsvc.Actor, scopes authsvc.Scopes) (authsvc.PersonalToken, string, *authsvc.Actor) {
			t.Helper()
			made, secret, err := make1(who, scopes, hour)
			if err != nil {
				t.Fatal(err)
			}
			actor, err := s.PersonalActor(ctx, secret, authsvc.Claim{Address: testAddress})
			if err != nil {
				t.Fatal(err)
			}
			return made, secret, actor
		}
		refused := func(what, secret string) {
			t.Helper()
			if actor, err := s.PersonalActor(ctx, secret, authsvc.Claim{}); !errors.Is(err, authsvc.ErrToken) || actor != nil {
				t.Errorf("%s: %v, %v", what, actor, err)
			}
		}

		made, secret, by := must(a, authsvc.ScopeRead)
		if by.ID != ada.ID || by.Scopes != authsvc.ScopeRead || !by.Can(authsvc.PermReadReports, company.ID) || by.Can(authsvc.PermManageKeys, company.ID) || by.Can(authsvc.PermSQL, company.ID) {
			t.Errorf("a token to read gives %+v", by)
		}
		_, _, all := must(a, authsvc.AllScopes)
		if !all.Can(authsvc.PermManageKeys, company.ID) || all.Can(authsvc.PermChangeSettings, 0) {
			t.Errorf("a token for everything gives %+v", all)
		}
		// A token cannot make or end tokens, whatever its scopes, and one person's scopes are no other's.
		_, _, err := make1(all, authsvc.ScopeRead, hour)
		wantCode(t, "a token makes a token", err, event.CodeForbidden)
		wantCode(t, "a token ends a token", s.RevokePersonalToken(ctx, all, made.ID), event.CodeForbidden)
		limited := *a
		limited.Scopes = authsvc.ScopeManage | authsvc.ScopeRead
		_, _, err = make1(&limited, authsvc.ScopeSQL, hour)
		wantCode(t, "a token with more scopes than its maker", err, event.CodeInvalid)
		_, _, err = make1(operator, authsvc.ScopeRead, hour)
		wantCode(t, "a token of a command", err, event.CodeForbidden)
		_, _, err = make1(&authsvc.Actor{Kind: authsvc.ActorKey, ID: 1, Stage: authsvc.StageDone, Company: company.ID, Scopes: authsvc.KeyScopes}, authsvc.ScopeRead, hour)
		wantCode(t, "a token of a key", err, event.CodeForbidden)

		settings, err := s.GetSettings(ctx)
		if err != nil {
			t.Fatal(err)
		}
		longest := clk.now().AddDate(0, 0, settings.TokenMaxDays)
		for what, until := range map[string]time.Time{"now": clk.now(), "before": clk.now().Add(-time.Second), "too long": longest.Add(time.Second), "never": {}} {
			_, _, err := make1(a, authsvc.ScopeRead, until)
			wantCode(t, "a token that ends "+what, err, event.CodeInvalid)
		}
		if _, _, err := make1(a, authsvc.ScopeRead, longest); err != nil {
			t.Errorf("a token for as long as is allowed: %v", err)
		}
		_, _, err = make1(a, 0, hour)
		wantCode(t, "a token without scopes", err, event.CodeInvalid)

		list, err := s.PersonalTokens(ctx, a)
		if err != nil || len(list) != 3 || list[0].ID != made.ID || list[0].Address != testAddress.String() || list[0].LastUsed.IsZero() || !list[2].LastUsed.IsZero() {
			t.Errorf("the list: %+v, %v", list, err)
		}
		if list, err := s.PersonalTokens(ctx, e); len(list) != 0 || err != nil {
			t.Errorf("another's list: %+v, %v", list, err)
		}
		wantCode(t, "revoke another's", s.RevokePersonalToken(ctx, e, made.ID), event.CodeNotFound)
		if err := s.RevokePersonalToken(ctx, a, made.ID); err != nil {
			t.Fatal(err)
		}
		refused("a revoked token", secret)
		wantCode(t, "revoke twice", s.RevokePersonalToken(ctx, a, made.ID), event.CodeNotFound)

		_, secret, _ = must(a, authsvc.ScopeRead)
		// What the person may do is asked each time.
		if err := s.RemoveMembership(ctx, operator, ada.ID, company.ID); err != nil {
			t.Fatal(err)
		}
		if by, err := s.PersonalActor(ctx, secret, authsvc.Claim{}); err != nil || by.Can(authsvc.PermReadReports, company.ID) || by.Knows(company.ID) {
			t.Errorf("after the membership ended: %+v, %v", by, err)
		}
		if _, err := s.DisableUser(ctx, operator, ada.ID); err != nil {
			t.Fatal(err)
		}
		refused("a token of somebody disabled", secret)
		if _, err := s.EnableUser(ctx, operator, ada.ID); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.ResetPassword(ctx, operator, ada.ID, ""); err != nil {
			t.Fatal(err)
		}
		refused("a token from before a reset", secret)
		_, secret, _ = must(e, authsvc.ScopeRead)
		clk.add(time.Hour)
		refused("a token that is over", secret)
		for _, nonsense := range []string{"", "ghp_", "ghp_" + strings.Repeat("0", 43), secret + "0", strings.Replace(secret, "ghp_", "ghr_", 1)} {
			refused(nonsense, nonsense)
		}
		if trail := trailText(t, s); strings.Contains(trail, secret) || strings.Count(trail, "token.create") != 5 || strings.Count(trail, "token.revoke") != 1 {
			t.Errorf("the trail:\n%s", trail)
		}
	})
}

// TestPersonalTokensNeedTheFactor: a token that was made without a second factor is no way around one that is required later.
func TestPersonalTokensNeedTheFactor(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		ada := mustPerson(t, s, "ada", authsvc.RoleUser)
		newToken := func(a *authsvc.Actor) (string, error) {
			_, secret, err := s.CreatePersonalToken(ctx, a, authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.AllScopes, Expires: clk.now().Add(time.Hour)})
			return secret, err
		}
		secret, err := newToken(signedInAs(t, s, ada, false))
		if err != nil {
			t.Fatal(err)
		}
		want := func(what string, code event.Code) {
			t.Helper()
			a, err := s.PersonalActor(ctx, secret, authsvc.Claim{})
			if wantCode(t, what, err, code); err == nil && a.Stage != authsvc.StageDone {
				t.Errorf("%s: stage %d", what, a.Stage)
			}
		}
		want("at first", "")
		if _, err := s.SetSetting(ctx, operator, "mfa_required", "true"); err != nil {
			t.Fatal(err)
		}
		want("a factor is required, and there is none", event.CodeForbidden)
		// An identity provider has asked for its own factor; ours is missing all the same.
		vouched, err := s.ActorFor(ctx, ada.ID, authsvc.Claim{SecondFactor: true, Vouched: true, VouchedFactor: true, Scopes: authsvc.AllScopes})
		if err != nil || vouched.Stage != authsvc.StageDone {
			t.Fatal(vouched, err)
		}
		_, err = newToken(vouched)
		wantCode(t, "a token that would be refused", err, event.CodeForbidden)
		mustTOTP(t, s, clk, signedInAs(t, s, ada, false))
		want("with a factor", "")
		exec(t, s, `UPDATE users SET totp_secret = NULL WHERE id = ?`, ada.ID) // as before one was required
		want("the factor is gone", event.CodeForbidden)
		policy := authsvc.MFANotRequired
		if _, err := s.UpdateUser(ctx, operator, ada.ID, authsvc.UserChange{MFAPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		want("they are excepted", "")
		// What was limited to reading does not set up a factor either, when that is all that is left to do.
		policy = authsvc.MFARequired
		if _, err := s.UpdateUser(ctx, operator, ada.ID, authsvc.UserChange{MFAPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		reader, err := s.ActorFor(ctx, ada.ID, authsvc.Claim{Scopes: authsvc.ScopeRead})
		if err != nil || reader.Stage != authsvc.StageSetUpFactor {
			t.Fatal(reader, err)
		}
		_, err = s.BeginTOTP(ctx, reader, testSealer(t))
		wantCode(t, "an app by a token to read", err, event.CodeForbidden)
	})
}

var testAddress = netip.MustParseAddr("192.0.2.7")
