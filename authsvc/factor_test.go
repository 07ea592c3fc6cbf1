package authsvc_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/mfa"
	"gatehouse/event"
)

func testSealer(t *testing.T) *authsvc.Sealer {
	t.Helper()
	sealer, err := authsvc.NewSealer(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// signedInAs is as with the epoch of now, as a session has it.
func signedInAs(t tester, s *authsvc.Store, u authsvc.User, second bool) *authsvc.Actor {
	t.Helper()
	c, err := s.CredentialOfID(t.Context(), u.ID)
	if err != nil {
		t.Fatalf("%v", err)
	}
	a, err := s.ActorFor(t.Context(), u.ID, authsvc.Claim{Epoch: c.Epoch, SecondFactor: second, Scopes: authsvc.AllScopes, Via: "session 1"})
	if err != nil {
		t.Fatalf("actor for %s: %v", u.Username, err)
	}
	return a
}

// mustTOTP sets an app up, and gives it with the recovery codes that came with it.
func mustTOTP(t *testing.T, s *authsvc.Store, clk *clock, a *authsvc.Actor) (mfa.TOTP, []string) {
	t.Helper()
	app, err := s.BeginTOTP(t.Context(), a, testSealer(t))
	if err != nil {
		t.Fatal(err)
	}
	codes, err := s.ConfirmTOTP(t.Context(), a, testSealer(t), code(t, app, clk.now()))
	if err != nil {
		t.Fatal(err)
	}
	return app, codes
}

func code(t *testing.T, app mfa.TOTP, at time.Time) string {
	t.Helper()
	c, err := app.Code(at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// together runs fn n times at one moment and tells how often it said yes.
func together(t *testing.T, n int, fn func() (bool, error)) (yes int) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	start := make(chan struct{})
	for range n {
		wg.Go(func() {
			<-start
			ok, err := fn()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if ok {
				yes++
			}
		})
	}
	close(start)
	wg.Wait()
	return yes
}

func TestTOTP(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		sealer := testSealer(t)
		ada := mustPerson(t, s, "ada", authsvc.RoleUser)
		a := signedInAs(t, s, ada, false)
		use := func(c string) bool {
			t.Helper()
			ok, err := s.UseTOTP(ctx, a, sealer, ada.ID, c)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}

		_, err := s.ConfirmTOTP(ctx, a, sealer, "123456")
		wantCode(t, "confirm before begin", err, event.CodeConflict)
		app, err := s.BeginTOTP(ctx, a, sealer)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.PendingTOTP(ctx, a, sealer)
		if err != nil || again.Secret() != app.Secret() {
			t.Errorf("shown again: %v", err)
		}
		if use(code(t, app, clk.now())) {
			t.Error("an app that was not confirmed is asked")
		}
		_, err = s.ConfirmTOTP(ctx, a, sealer, code(t, app, clk.now().Add(time.Hour)))
		wantCode(t, "confirm with a wrong code", err, event.CodeInvalid)
		if a := signedInAs(t, s, ada, false); a.Stage != authsvc.StageDone {
			t.Errorf("the factor counts before it is confirmed: stage %d", a.Stage)
		}
		first := code(t, app, clk.now())
		codes, err := s.ConfirmTOTP(ctx, a, sealer, first)
		if err != nil || len(codes) != 10 {
			t.Fatalf("%d recovery codes, %v", len(codes), err)
		}
		if a := signedInAs(t, s, ada, false); a.Stage != authsvc.StageSecondFactor {
			t.Errorf("after the set-up the factor is not asked for: stage %d", a.Stage)
		}
		_, err = s.PendingTOTP(ctx, a, sealer)
		wantCode(t, "show the secret again after it was confirmed", err, event.CodeConflict)

		if use(first) {
			t.Error("the code of the set-up is taken a second time")
		}
		clk.add(30 * time.Second)
		c := code(t, app, clk.now())
		if n := together(t, 4, func() (bool, error) { return s.UseTOTP(ctx, a, sealer, ada.ID, c) }); n != 1 {
			t.Errorf("one code at one moment was taken %d times", n)
		}
		if use(c) || use(first) {
			t.Error("an old code is taken again")
		}
		next := code(t, app, clk.now().Add(30*time.Second))
		if !use(next) {
			t.Error("the code of the next step is refused")
		}
		clk.add(30 * time.Second)
		if use(next) {
			t.Error("a code that was used early is taken again in its time")
		}
		clk.add(2 * time.Minute)
		if use(code(t, app, clk.now().Add(-90*time.Second))) {
			t.Error("a code of three steps ago is taken")
		}

		// The sealed secret is of no use in another's row.
		eve := mustPerson(t, s, "eve", authsvc.RoleUser)
		exec(t, s, `UPDATE users SET totp_secret = (SELECT x.totp_secret FROM (SELECT totp_secret FROM users WHERE id = ?) x) WHERE id = ?`, ada.ID, eve.ID)
		if ok, err := s.UseTOTP(ctx, a, sealer, eve.ID, code(t, app, clk.now())); ok || err == nil {
			t.Error("a secret was moved to another account")
		}

		done := signedInAs(t, s, ada, true)
		if err := s.RemoveTOTP(ctx, done); err != nil {
			t.Fatal(err)
		}
		if n, err := s.RecoveryCodesLeft(ctx, done); n != 0 || err != nil {
			t.Errorf("%d recovery codes are left without a factor, %v", n, err)
		}
		wantCode(t, "remove twice", s.RemoveTOTP(ctx, done), event.CodeConflict)
		if trail := trailText(t, s); strings.Contains(trail, app.Secret()) || !strings.Contains(trail, "mfa.totp_enable") || !strings.Contains(trail, "mfa.totp_disable") {
			t.Errorf("the trail:\n%s", trail)
		}
	})
}

// TestRequiredFactorStays: who must have a second factor cannot take the last one away, and who took it away before it was required sets one up.
func TestRequiredFactorStays(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		ada := mustPerson(t, s, "ada", authsvc.RoleUser)
		require := func(p authsvc.MFAPolicy) {
			t.Helper()
			if _, err := s.UpdateUser(ctx, operator, ada.ID, authsvc.UserChange{MFAPolicy: &p}); err != nil {
				t.Fatal(err)
			}
		}
		addPasskey := func() {
			t.Helper()
			if _, err := s.AddPasskey(ctx, signedInAs(t, s, ada, true), "stick", []byte("its id"), "{}"); err != nil {
				t.Fatal(err)
			}
		}
		removePasskey := func() error {
			keys, err := s.Passkeys(ctx, ada.ID)
			if err != nil || len(keys) != 1 {
				t.Fatalf("%d passkeys, %v", len(keys), err)
			}
			return s.RemovePasskey(ctx, signedInAs(t, s, ada, true), keys[0].ID)
		}

		require(authsvc.MFARequired)
		mustTOTP(t, s, clk, signedInAs(t, s, ada, false))
		done := signedInAs(t, s, ada, true)
		err := s.RemoveTOTP(ctx, done)
		wantCode(t, "the last factor, an app", err, event.CodeConflict)
		if err == nil || !strings.Contains(err.Error(), "set up another one first") {
			t.Errorf("told: %v", err)
		}
		if n, err := s.RecoveryCodesLeft(ctx, done); n != 10 || err != nil {
			t.Errorf("%d recovery codes are left after the refusal, %v", n, err)
		}
		addPasskey()
		if err := s.RemoveTOTP(ctx, done); err != nil {
			t.Errorf("an app beside a passkey: %v", err)
		}
		if n, err := s.RecoveryCodesLeft(ctx, done); n != 10 || err != nil {
			t.Errorf("%d recovery codes are left with a passkey, %v", n, err)
		}
		wantCode(t, "the last factor, a passkey", removePasskey(), event.CodeConflict)
		require(authsvc.MFANotRequired)
		if err := removePasskey(); err != nil {
			t.Errorf("the last factor, where none is required: %v", err)
		}
		if n, err := s.RecoveryCodesLeft(ctx, done); n != 0 || err != nil {
			t.Errorf("%d recovery codes are left without a factor, %v", n, err)
		}
		if a := signedInAs(t, s, ada, true); a.Stage != authsvc.StageDone {
			t.Errorf("none is required: stage %d", a.Stage)
		}
		require(authsvc.MFARequired)
		if a := signedInAs(t, s, ada, true); a.Stage != authsvc.StageSetUpFactor {
			t.Errorf("a session that gave a factor which is gone: stage %d", a.Stage)
		}
	})
}

// TestHalfDoneTOTP: an app that is being set up belongs to the session that began it, for ten minutes, and to nobody who comes after a new password.
func TestHalfDoneTOTP(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s, sealer := open(authsvc.WithClock(clk.now)), testSealer(t)
		ada := mustPerson(t, s, "ada", authsvc.RoleUser)
		begin := func() (*authsvc.Actor, mfa.TOTP) {
			t.Helper()
			a := signedInAs(t, s, ada, false)
			app, err := s.BeginTOTP(ctx, a, sealer)
			if err != nil {
				t.Fatal(err)
			}
			return a, app
		}
		gone := func(what string, a *authsvc.Actor, app mfa.TOTP) {
			t.Helper()
			_, err := s.PendingTOTP(ctx, a, sealer)
			wantCode(t, what+": shown", err, event.CodeConflict)
			_, err = s.ConfirmTOTP(ctx, a, sealer, code(t, app, clk.now()))
			wantCode(t, what+": confirmed", err, event.CodeConflict)
			if left := signedInAs(t, s, ada, false); left.Stage != authsvc.StageDone {
				t.Errorf("%s: the app counts", what)
			}
		}
		a, app := begin()
		other := *a
		other.Via = "session 2"
		gone("in another session", &other, app)
		clk.add(10 * time.Minute)
		gone("ten minutes later", a, app)

		a, app = begin()
		c, err := s.CredentialOfID(ctx, ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.ChangeOwnPassword(ctx, a, &c, "$2a$04$another"); err != nil {
			t.Fatal(err)
		}
		gone("after a new password", signedInAs(t, s, ada, false), app)
		_, app = begin()
		if _, _, err := s.ResetPassword(ctx, operator, ada.ID, goodPassword); err != nil {
			t.Fatal(err)
		}
		exec(t, s, `UPDATE users SET must_change_password = 0`)
		gone("after a reset", signedInAs(t, s, ada, false), app)

		a, app = begin()
		clk.add(10*time.Minute - time.Millisecond)
		if _, err := s.ConfirmTOTP(ctx, a, sealer, code(t, app, clk.now())); err != nil {
			t.Fatal(err)
		}
		clk.add(time.Minute)
		if ok, err := s.UseTOTP(ctx, a, sealer, ada.ID, code(t, app, clk.now())); !ok || err != nil {
			t.Errorf("the app that was set up: %v, %v", ok, err)
		}
	})
}

func TestRecoveryCodes(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		acme := mustCompany(t, s, "Acme")
		ada, eve := mustPerson(t, s, "ada", authsvc.RoleUser, grant(acme, authsvc.RoleUser)), mustPerson(t, s, "eve", authsvc.RoleUser)
		_, err := s.NewRecoveryCodes(ctx, signedInAs(t, s, ada, false))
		wantCode(t, "codes without a factor", err, event.CodeConflict)
		_, codes := mustTOTP(t, s, clk, signedInAs(t, s, ada, false))
		_, hers := mustTOTP(t, s, clk, signedInAs(t, s, eve, false))
		a := signedInAs(t, s, ada, true)
		signing := *a // while they sign in, their companies have not been read
		signing.Members, signing.Stage = nil, authsvc.StageSecondFactor
		use := func(c string) (bool, error) { return s.UseRecoveryCode(ctx, &signing, ada.ID, c) }

		if ok, err := use(hers[0]); ok || err != nil {
			t.Errorf("another's code: %v, %v", ok, err)
		}
		for i, c := range codes {
			if i == 0 {
				c = strings.ToLower(strings.ReplaceAll(c, "-", " ")) // as people type
			}
			if n := together(t, 2, func() (bool, error) { return use(c) }); n != 1 {
				t.Fatalf("code %d was taken %d times", i, n)
			}
			if left, err := s.RecoveryCodesLeft(ctx, a); left != len(codes)-1-i || err != nil {
				t.Fatalf("%d left after %d, %v", left, i+1, err)
			}
		}
		renewed, err := s.NewRecoveryCodes(ctx, a)
		if err != nil || len(renewed) != 10 || slices.Contains(renewed, codes[0]) {
			t.Fatalf("%d new codes, %v", len(renewed), err)
		}
		latest, err := s.NewRecoveryCodes(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := use(renewed[3]); ok || err != nil {
			t.Errorf("a code that was replaced: %v, %v", ok, err)
		}
		if ok, err := use(latest[3]); !ok || err != nil {
			t.Errorf("a new code: %v, %v", ok, err)
		}
		trail := trailText(t, s)
		for _, c := range slices.Concat(codes, renewed, latest) {
			if strings.Contains(trail, c) {
				t.Errorf("a code stands in the trail:\n%s", trail)
			}
		}
		if n := strings.Count(trail, fmt.Sprintf("mfa.recovery_use | success | ada | %d | ada", acme.ID)); n != 11 {
			t.Errorf("%d uses in the trail of the company, want 11", n)
		}
	})
}

// TestFactorsAreGone resets one person's factors and deletes another.
func TestFactorsAreGone(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		tables := []string{"recovery_codes", "webauthn_credentials", "refresh_tokens", "personal_tokens", "user_identities", "memberships"}
		count := func(u authsvc.User, table string) (n int) {
			t.Helper()
			if err := s.DB().QueryRow(ctx, `SELECT COUNT(*) FROM `+table+` WHERE user_id = ?`, u.ID).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		company := mustCompany(t, s, "Acme")
		everything := func(name string) (authsvc.User, *authsvc.Actor, string) {
			u := mustPerson(t, s, name, authsvc.RoleUser, grant(company, authsvc.RoleUser))
			mustLink(t, s, u, authsvc.Identity{Issuer: "https://id.example", Subject: name})
			mustTOTP(t, s, clk, signedInAs(t, s, u, false))
			a := signedInAs(t, s, u, true)
			if _, err := s.AddPasskey(ctx, a, "stick", []byte("id of "+name), "{}"); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.StartFamily(ctx, a, authsvc.Family{UserID: u.ID, Epoch: a.Epoch, Scopes: authsvc.ScopeRead}); err != nil {
				t.Fatal(err)
			}
			_, secret, err := s.CreatePersonalToken(ctx, a, authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.ScopeRead, Expires: clk.now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			for _, table := range tables {
				if count(u, table) == 0 {
					t.Fatalf("%s has nothing in %s", name, table)
				}
			}
			return u, a, secret
		}

		ada, before, secret := everything("ada")
		after, err := s.ResetMFA(ctx, operator, ada.ID)
		if err != nil || after.SecondFactor() {
			t.Errorf("after the reset: %+v, %v", after, err)
		}
		for _, table := range tables[:2] {
			if n := count(ada, table); n != 0 {
				t.Errorf("%d rows of %s after the reset", n, table)
			}
		}
		_, err = s.PersonalActor(ctx, secret, authsvc.Claim{})
		wantCode(t, "a personal token after the reset", err, event.CodeUnauthorized)
		// What the old session had in its hands at that moment comes too late.
		_, err = s.AddPasskey(ctx, before, "mine", []byte("another"), "{}")
		wantCode(t, "a passkey by a session from before the reset", err, event.CodeConflict)
		_, err = s.BeginTOTP(ctx, before, testSealer(t))
		wantCode(t, "an app by a session from before the reset", err, event.CodeConflict)
		_, _, err = s.CreatePersonalToken(ctx, before, authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.ScopeRead, Expires: clk.now().Add(time.Hour)})
		wantCode(t, "a token by a session from before the reset", err, event.CodeConflict)

		eve, _, secret := everything("eve")
		if err := s.DeleteUser(ctx, operator, eve.ID); err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			if n := count(eve, table); n != 0 {
				t.Errorf("%d rows of %s after the person is gone", n, table)
			}
		}
		_, err = s.PersonalActor(ctx, secret, authsvc.Claim{})
		wantCode(t, "a personal token of somebody who is gone", err, event.CodeUnauthorized)
	})
}
