package authsvc_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// TestSignOutByAdministrators: who is above a person ends their sessions, a GlobalAdmin everybody's, and personal tokens where that is said.
func TestSignOutByAdministrators(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		acme, zenith := mustCompany(t, s, "Acme"), mustCompany(t, s, "Zenith")
		boss := mustPerson(t, s, "boss", authsvc.RoleUser, grant(acme, authsvc.RoleCompanyAdmin))
		ada := mustPerson(t, s, "ada", authsvc.RoleUser, grant(acme, authsvc.RoleUser))
		both := mustPerson(t, s, "both", authsvc.RoleUser, grant(acme, authsvc.RoleUser), grant(zenith, authsvc.RoleUser))
		far := mustPerson(t, s, "far", authsvc.RoleUser, grant(zenith, authsvc.RoleUser))
		root := mustPerson(t, s, "root", authsvc.RoleGlobalAdmin)

		token := func(u authsvc.User) string {
			t.Helper()
			_, secret, err := s.CreatePersonalToken(ctx, signedInAs(t, s, u, true), authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.ScopeRead, Expires: clk.now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
		lives := func(secret string) bool { _, err := s.PersonalActor(ctx, secret, authsvc.Claim{}); return err == nil }
		epoch := func(u authsvc.User) int64 {
			t.Helper()
			n, err := s.UserEpoch(ctx, u.ID)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}

		by := signedInAs(t, s, boss, true)
		for what, c := range map[string]struct {
			who  authsvc.User
			code event.Code
		}{
			"of several companies": {both, event.CodeForbidden}, "of another company": {far, event.CodeNotFound}, "a GlobalAdmin": {root, event.CodeNotFound},
		} {
			wantCode(t, what+": look", s.MaySignOut(ctx, by, c.who.ID), c.code)
			_, err := s.SignOutUser(ctx, by, c.who.ID, true)
			wantCode(t, what+": end", err, c.code)
			if epoch(c.who) != c.who.Epoch {
				t.Errorf("%s: was signed out", what)
			}
		}
		wantCode(t, "everybody, by a CompanyAdmin", s.SignOutEverybody(ctx, by, false), event.CodeForbidden)
		_, err := s.SignOutUser(ctx, signedInAs(t, s, ada, true), far.ID, false)
		wantCode(t, "by a User", err, event.CodeNotFound)

		wantCode(t, "below: look", s.MaySignOut(ctx, by, ada.ID), "")
		first := token(ada)
		if _, err := s.SignOutUser(ctx, by, ada.ID, false); err != nil || epoch(ada) == ada.Epoch || !lives(first) {
			t.Errorf("signed out: %v, epoch %d, token %v", err, epoch(ada), lives(first))
		}
		if u, err := s.SignOutUser(ctx, by, ada.ID, true); err != nil || u.ID != ada.ID || lives(first) {
			t.Errorf("with tokens: %+v, %v, token %v", u, err, lives(first))
		}

		// The one who does it is signed out with all others, so they cannot do it twice.
		second, third := token(ada), token(root)
		global := signedInAs(t, s, root, true)
		before := []int64{epoch(ada), epoch(root), epoch(far)}
		if err := s.SignOutEverybody(ctx, global, false); err != nil || !lives(second) || !lives(third) {
			t.Errorf("everybody: %v", err)
		}
		for i, u := range []authsvc.User{ada, root, far} {
			if epoch(u) <= before[i] {
				t.Errorf("%s is still signed in", u.Username)
			}
		}
		wantCode(t, "once more with the old session", s.SignOutEverybody(ctx, global, true), event.CodeConflict)
		if err := s.SignOutEverybody(ctx, operator, true); err != nil || lives(second) || lives(third) {
			t.Errorf("with tokens: %v", err)
		}
		trail := trailText(t, s)
		for _, want := range []string{
			"session.end | success | boss | 1 | ada |  |  | signed out everywhere by an administrator\n",
			"session.end | success | boss | 1 | ada |  |  | signed out everywhere by an administrator, personal tokens too\n",
			"session.end_all | success | test |", "everybody is signed out, personal tokens too\n",
		} {
			if !strings.Contains(trail, want) {
				t.Errorf("the trail lacks %q:\n%s", want, trail)
			}
		}
	})
}
