package authsvc_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// TestLinkTakesAway links an account of which somebody else knows the password and holds a token: neither is worth anything afterwards.
func TestLinkTakesAway(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		acme := mustCompany(t, s, "Acme")
		u := mustPerson(t, s, "jroe", authsvc.RoleUser, grant(acme, authsvc.RoleUser))
		mustTOTP(t, s, clk, signedInAs(t, s, u, false))
		before := signedInAs(t, s, u, true)
		if _, err := s.AddPasskey(ctx, before, "stick", []byte("stick"), "{}"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.BeginTOTP(ctx, before, testSealer(t)); err != nil {
			t.Fatal(err)
		}
		_, secret, err := s.CreatePersonalToken(ctx, before, authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.AllScopes, Expires: clk.now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		jroe := identity("jroe", "root")
		if err := s.LinkIdentity(ctx, before, jroe); err != nil {
			t.Fatal(err)
		}
		rules := authsvc.IdentityRules{List: []authsvc.IdentityRule{{Value: "root", Role: authsvc.RoleGlobalAdmin}}}
		if got, err := s.SignInIdentity(ctx, authsvc.System(), jroe, rules); err != nil || got != u.ID {
			t.Fatalf("person %d, %v", got, err)
		}
		now, err := s.GetUser(ctx, operator, u.ID)
		if err != nil || now.Role != authsvc.RoleGlobalAdmin || now.Password || now.SecondFactor() || now.MustChangePassword {
			t.Errorf("after linking: %+v, %v", now, err)
		}
		c, err := s.CredentialOfID(ctx, u.ID)
		if err != nil || c.HasPassword() {
			t.Errorf("a password is left, %v", err)
		}
		if ok, err := s.Passwords().Verify(ctx, c.PasswordHash, goodPassword); ok || err != nil {
			t.Errorf("the password of before is right: %v, %v", ok, err)
		}
		_, err = s.PersonalActor(ctx, secret, authsvc.Claim{})
		wantCode(t, "a token of before", err, event.CodeUnauthorized)
		_, err = s.ActorFor(ctx, u.ID, authsvc.Claim{Epoch: before.Epoch, SecondFactor: true, Scopes: authsvc.AllScopes})
		wantCode(t, "a session of before", err, event.CodeUnauthorized)
		_, err = s.PendingTOTP(ctx, signedInAs(t, s, u, true), testSealer(t))
		wantCode(t, "an app that was being set up before", err, event.CodeConflict)
		wantCode(t, "linking by a session of before", s.LinkIdentity(ctx, before, identity("mallory")), event.CodeConflict)

		// One identity is one account's, and the other way round.
		other := mustPerson(t, s, "other", authsvc.RoleUser)
		wantCode(t, "an identity that is somebody's", s.LinkIdentity(ctx, as(t, s, other), jroe), event.CodeConflict)
		wantCode(t, "a second identity", s.LinkIdentity(ctx, as(t, s, u), identity("jroe2")), event.CodeConflict)
		wantCode(t, "an identity that cannot be kept", s.LinkIdentity(ctx, as(t, s, other), authsvc.Identity{Issuer: testIssuer}), event.CodeUnauthorized)
		for what, actor := range map[string]*authsvc.Actor{
			"nobody": {Kind: authsvc.ActorNobody}, "without a second factor": signedInAs(t, s, mustPerson(t, s, "half", authsvc.RoleUser), false), "an operator": operator,
		} {
			if what == "without a second factor" {
				actor.Stage = authsvc.StageSecondFactor
			}
			if err := s.LinkIdentity(ctx, actor, identity("x")); err == nil {
				t.Errorf("linked by %s", what)
			}
		}
	})
}

// TestUnlink lists and takes away identities, by who may and who may not.
func TestUnlink(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme, beta := mustCompany(t, s, "Acme"), mustCompany(t, s, "Beta")
		boss := as(t, s, mustPerson(t, s, "boss", authsvc.RoleUser, grant(acme, authsvc.RoleCompanyAdmin)))
		colleague := as(t, s, mustPerson(t, s, "colleague", authsvc.RoleUser, grant(acme, authsvc.RoleUser)))
		stranger := as(t, s, mustPerson(t, s, "stranger", authsvc.RoleUser, grant(beta, authsvc.RoleCompanyAdmin)))
		ada := mustPerson(t, s, "ada", authsvc.RoleUser, grant(acme, authsvc.RoleUser))
		only := func(u authsvc.User) authsvc.LinkedIdentity {
			t.Helper()
			list, err := s.Identities(ctx, operator, u.ID)
			if err != nil || len(list) != 1 {
				t.Fatalf("%+v, %v", list, err)
			}
			return list[0]
		}
		mustLink(t, s, ada, identity("ada"))
		linked := only(ada)
		reader := *boss
		reader.Scopes = authsvc.ScopeRead
		if linked.Issuer != testIssuer || linked.Subject != "ada" || linked.Linked.IsZero() {
			t.Errorf("linked %+v", linked)
		}
		for what, c := range map[string]struct {
			actor *authsvc.Actor
			code  event.Code
		}{
			"a colleague":                 {colleague, event.CodeNotFound},
			"another company's":           {stranger, event.CodeNotFound},
			"nobody":                      {&authsvc.Actor{Kind: authsvc.ActorNobody}, event.CodeUnauthorized},
			"an administrator":            {boss, ""},
			"themselves":                  {as(t, s, ada), ""},
			"somebody who is not done":    {&authsvc.Actor{Kind: authsvc.ActorPerson, ID: ada.ID, Stage: authsvc.StageSecondFactor}, event.CodeUnauthorized},
			"an administrator, read only": {&reader, event.CodeNotFound},
		} {
			_, err := s.Identities(ctx, c.actor, ada.ID)
			wantCode(t, "listed by "+what, err, c.code)
			if c.code != "" {
				_, err = s.UnlinkIdentity(ctx, c.actor, ada.ID, linked.ID)
				wantCode(t, "unlinked by "+what, err, c.code)
			}
		}
		// Nobody takes away an identity by the number of somebody who is below them.
		root := mustPerson(t, s, "root", authsvc.RoleGlobalAdmin)
		mustLink(t, s, root, identity("root"))
		_, err := s.UnlinkIdentity(ctx, boss, ada.ID, only(root).ID)
		wantCode(t, "another's identity", err, event.CodeNotFound)
		_, err = s.UnlinkIdentity(ctx, boss, root.ID, only(root).ID)
		wantCode(t, "of somebody above", err, event.CodeNotFound)

		// The last way in is not for oneself to take away.
		_, err = s.UnlinkIdentity(ctx, as(t, s, ada), ada.ID, linked.ID)
		wantCode(t, "the last way in", err, event.CodeConflict)
		c, err := s.CredentialOfID(ctx, ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		hash, err := s.Passwords().Hash(ctx, goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.ChangeOwnPassword(ctx, as(t, s, ada), &c, hash); err != nil {
			t.Fatal(err)
		}
		mine := as(t, s, ada)
		token := func() string {
			t.Helper()
			_, secret, err := s.CreatePersonalToken(ctx, as(t, s, ada), authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.ScopeRead, Expires: time.Now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
		kept := token()
		if epoch, err := s.UnlinkIdentity(ctx, mine, ada.ID, linked.ID); err != nil || epoch != mine.Epoch+1 {
			t.Errorf("epoch %d → %d, %v", mine.Epoch, epoch, err)
		}
		_, err = s.PersonalActor(ctx, kept, authsvc.Claim{})
		wantCode(t, "one's own token after unlinking", err, "")

		// An administrator takes it away whatever is left, and what may have been made by it.
		mustLink(t, s, ada, identity("ada"))
		made := token()
		if _, err := s.UnlinkIdentity(ctx, boss, ada.ID, only(ada).ID); err != nil {
			t.Error(err)
		}
		_, err = s.PersonalActor(ctx, made, authsvc.Claim{})
		wantCode(t, "a token after an administrator unlinked", err, event.CodeUnauthorized)
		if _, err := s.SignInIdentity(ctx, authsvc.System(), identity("ada"), authsvc.IdentityRules{SignUp: true}); err == nil {
			t.Error("an identity signs in that was unlinked")
		}

		// Another password unlinks: who set it must not rise with the claims.
		mustLink(t, s, ada, identity("ada"))
		if _, _, err := s.ResetPassword(ctx, boss, ada.ID, ""); err != nil {
			t.Fatal(err)
		}
		if list, err := s.Identities(ctx, operator, ada.ID); err != nil || len(list) != 0 {
			t.Errorf("after a reset of the password: %+v, %v", list, err)
		}
		if trail := trailText(t, s); strings.Count(trail, "identity.unlink | success") != 3 || !strings.Contains(trail, testIssuer+" as ada") {
			t.Errorf("the trail:\n%s", trail)
		}
		_, err = s.Identities(ctx, operator, 987654)
		wantCode(t, "of nobody", err, event.CodeNotFound)
	})
}
