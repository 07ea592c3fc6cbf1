package signin_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// withFactor makes an account that has a second factor.
func (s *server) withFactor(t testing.TB, name string) authsvc.User {
	t.Helper()
	u := s.user(t, name)
	s.exec(t, `UPDATE users SET totp_secret = 'sealed' WHERE id = ?`, u.ID)
	return u
}

func TestSecondFactor(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s := start(t, databaseURL, clk, options{})
		u := s.withFactor(t, "alice")
		session, r := s.mustSignIn(t, "alice", good)
		if r.Stage != authsvc.StageSecondFactor || r.Device != "" || !session.Pending || s.actor(t, session).Stage != authsvc.StageSecondFactor {
			t.Fatalf("after the password: %+v", r)
		}
		if got := s.lastEntry(t); !strings.HasPrefix(got, "session.password success person alice") {
			t.Errorf("the trail says %q", got)
		}
		if got, err := s.store.GetUser(ctx, operator, u.ID); err != nil || !got.LastLogin.IsZero() {
			t.Errorf("half a sign-in counts as one: %s, %v", got.LastLogin, err)
		}
		// Nothing else is allowed meanwhile.
		if err := s.ChangePassword(ctx, s.actor(t, session), session, good, better); event.ErrorCode(err) != event.CodeUnauthorized {
			t.Errorf("password change without the second factor: %v", err)
		}
		if err := s.FactorSetUp(ctx, session, websession.MethodTOTP); err == nil {
			t.Error("another factor set up without the first")
		}

		s.factor.code = "123456"
		if _, err := s.SecondFactor(ctx, session, signin.Proof{Code: "654321"}, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("a wrong code: %v", err)
		}
		if got := s.lastEntry(t); got != "session.sign_in failure person alice: wrong second factor" {
			t.Errorf("the trail says %q", got)
		}
		before := session.ID()
		r, err := s.SecondFactor(ctx, session, signin.Proof{Code: "123456"}, client)
		if err != nil || r.Stage != authsvc.StageDone || r.Device == "" || session.Pending || session.ID() == before {
			t.Fatalf("the right code: %+v, %v", r, err)
		}
		if _, err := s.Sessions().Get(ctx, before, client.Address); !errors.Is(err, authsvc.ErrNoSession) {
			t.Errorf("the id from before: %v", err)
		}
		if a := s.actor(t, session); a.Stage != authsvc.StageDone {
			t.Errorf("after both: %+v", a)
		}
		if got := s.lastEntry(t); got != "session.sign_in success person alice: second factor: totp" {
			t.Errorf("the trail says %q", got)
		}
		if _, err := s.SecondFactor(ctx, session, signin.Proof{Code: "123456"}, client); event.ErrorCode(err) != event.CodeConflict {
			t.Errorf("once more: %v", err)
		}

		// A passkey signs what it was asked to, once, and in time.
		session, _ = s.mustSignIn(t, "alice", good)
		proof := signin.Proof{Assertion: json.RawMessage(`"signed state"`), Challenge: []byte("state")}
		if _, err := s.SecondFactor(ctx, session, proof, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("a challenge of the client's own making: %v", err)
		}
		if _, err := s.Challenge(ctx, session); err != nil {
			t.Fatal(err)
		}
		clk.add(5 * time.Minute)
		if _, err := s.SecondFactor(ctx, session, proof, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("too late: %v", err)
		}
		if _, err := s.Challenge(ctx, session); err != nil {
			t.Fatal(err)
		}
		stored, err := s.Sessions().Get(ctx, session.ID(), client.Address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SecondFactor(ctx, stored, signin.Proof{Assertion: json.RawMessage(`"wrong"`)}, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("a wrong signature: %v", err)
		}
		stored, err = s.Sessions().Get(ctx, session.ID(), client.Address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SecondFactor(ctx, stored, proof, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("a challenge that was answered before: %v", err)
		}
		if _, err := s.Challenge(ctx, stored); err != nil {
			t.Fatal(err)
		}
		if r, err := s.SecondFactor(ctx, stored, proof, client); err != nil || r.Stage != authsvc.StageDone || !stored.SecondFactor() {
			t.Errorf("the right signature: %+v, %v", r, err)
		}
	})
}

// TestFactorSetUpElsewhere: a session from before its person had a second factor goes on once that is given, for as long as it had.
func TestFactorSetUpElsewhere(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s, f, _ := withFactors(t, databaseURL, clk)
		s.user(t, "alice")
		here, _ := s.mustSignIn(t, "alice", good)
		there, _ := s.mustSignIn(t, "alice", good)
		if _, err := s.SecondFactor(ctx, there, signin.Proof{Code: "000000"}, client); event.ErrorCode(err) != event.CodeConflict {
			t.Errorf("a code of somebody who has no app: %v", err)
		}
		clk.add(11 * time.Minute)
		app, _ := addApp(t, s, f, s.actor(t, here))
		if a := s.actor(t, there); a.Stage != authsvc.StageSecondFactor {
			t.Fatalf("the other session is at %v", a.Stage)
		}
		code := now(t, s, app)
		before, created, expires := there.ID(), there.Created, there.Created.Add(12*time.Hour)
		if _, err := s.SecondFactor(ctx, there, signin.Proof{Code: "000000"}, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("a wrong code: %v", err)
		}
		if r, err := s.SecondFactor(ctx, there, signin.Proof{Code: code}, client); err != nil || r.Stage != authsvc.StageDone || r.Device == "" {
			t.Fatalf("the code: %+v, %v", r, err)
		}
		if a := s.actor(t, there); a.Stage != authsvc.StageDone || there.ID() == before {
			t.Errorf("after it at %v, a new id: %v", a.Stage, there.ID() != before)
		}
		// The password was given long ago: a code alone is no proof of a moment ago, nor a longer life.
		if !there.Created.Equal(created) || there.Expires.After(expires) || there.Recent(clk.now()) {
			t.Errorf("begun %v, over %v", there.Created, there.Expires)
		}
		if _, err := s.SecondFactor(ctx, there, signin.Proof{Code: code}, client); event.ErrorCode(err) != event.CodeConflict {
			t.Errorf("once more: %v", err)
		}
	})
}

// TestFactorGuesses: wrong codes pause the second factor, and a right code given during the pause is not used up.
func TestFactorGuesses(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s := start(t, databaseURL, clk, options{})
		u := s.withFactor(t, "alice")
		session, _ := s.mustSignIn(t, "alice", good)
		s.factor.code = "123456"
		for range 5 {
			if _, err := s.SecondFactor(ctx, session, signin.Proof{Code: "000000"}, client); !errors.Is(err, signin.ErrWrongFactor) {
				t.Fatal(err)
			}
		}
		if _, err := s.SecondFactor(ctx, session, signin.Proof{Code: "123456"}, client); !errors.Is(err, signin.ErrWrongFactor) || s.factor.code == "" {
			t.Errorf("during the pause: %v, used up: %v", err, s.factor.code == "")
		}
		// Whoever knows the password and starts over gains nothing.
		again, _ := s.mustSignIn(t, "alice", good)
		if _, err := s.SecondFactor(ctx, again, signin.Proof{Code: "123456"}, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("with a new session during the pause: %v", err)
		}
		clk.add(30 * time.Second)
		if _, err := s.SecondFactor(ctx, again, signin.Proof{Code: "123456"}, client); err != nil {
			t.Errorf("after the pause: %v", err)
		}
		// What ends sessions ends a sign-in that is half done.
		half, _ := s.mustSignIn(t, "alice", good)
		if _, _, err := s.store.ResetPassword(ctx, operator, u.ID, ""); err != nil {
			t.Fatal(err)
		}
		s.factor.code = "222222"
		if _, err := s.SecondFactor(ctx, half, signin.Proof{Code: "222222"}, client); !errors.Is(err, authsvc.ErrNoSession) {
			t.Errorf("after the password was reset: %v", err)
		}
		limited := start(t, databaseURL, clk, options{rate: limit.Rate{Count: 2, Per: time.Minute}})
		limited.withFactor(t, "bob")
		session, _ = limited.mustSignIn(t, "bob", good)
		for range 2 {
			_, _ = limited.SecondFactor(ctx, session, signin.Proof{Code: "0"}, client)
		}
		if _, err := limited.SecondFactor(ctx, session, signin.Proof{Code: "0"}, client); event.ErrorCode(err) != event.CodeRateLimited {
			t.Errorf("the third within a minute: %v", err)
		}
	})
}

func TestRequiredFactor(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		s.user(t, "alice", func(n *authsvc.NewUser) { n.KeepPassword = false })
		s.user(t, "exempt", func(n *authsvc.NewUser) { n.MFAPolicy = authsvc.MFANotRequired })
		if _, err := s.store.SetSetting(ctx, operator, "mfa_required", "true"); err != nil {
			t.Fatal(err)
		}
		if _, r := s.mustSignIn(t, "exempt", good); r.Stage != authsvc.StageDone {
			t.Errorf("exempt: %+v", r)
		}
		session, r := s.mustSignIn(t, "alice", good)
		if r.Stage != authsvc.StageChangePassword {
			t.Fatalf("%+v", r)
		}
		if err := s.ChangePassword(ctx, s.actor(t, session), session, good, better); err != nil {
			t.Fatal(err)
		}
		if got := s.actor(t, session).Stage; got != authsvc.StageSetUpFactor {
			t.Errorf("after the password: stage %d", got)
		}
		s.exec(t, `UPDATE users SET totp_secret = 'sealed' WHERE username = 'alice'`)
		before := session.ID()
		if err := s.FactorSetUp(ctx, session, websession.MethodTOTP); err != nil || session.ID() == before {
			t.Fatalf("%v", err)
		}
		if got := s.actor(t, session).Stage; got != authsvc.StageDone {
			t.Errorf("after the factor: stage %d", got)
		}
	})
}

// token makes a personal token of the session's person, and tells whether it counts.
func (s *server) token(t testing.TB, session *websession.Session) (lives func() bool) {
	t.Helper()
	_, secret, err := s.store.CreatePersonalToken(t.Context(), s.actor(t, session), authsvc.NewPersonalToken{
		Name: "x", Scopes: authsvc.ScopeRead, Expires: s.clk.now().Add(24 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() bool {
		t.Helper()
		_, err := s.store.PersonalActor(t.Context(), secret, authsvc.Claim{})
		if err != nil && !errors.Is(err, authsvc.ErrToken) {
			t.Fatal(err)
		}
		return err == nil
	}
}

func TestChangePassword(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s := start(t, databaseURL, clk, options{})
		company, err := s.store.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: "Zweihundertwasser"})
		if err != nil {
			t.Fatal(err)
		}
		u := s.user(t, "alice", func(n *authsvc.NewUser) {
			n.Memberships = []authsvc.Grant{{CompanyID: company.ID, Role: authsvc.RoleUser}}
		})
		session, _ := s.mustSignIn(t, "alice", good)
		elsewhere, _ := s.mustSignIn(t, "alice", good)
		a := s.actor(t, session)
		for what, c := range map[string]struct{ old, next, field string }{
			"too short":         {good, "short", "password"},
			"the same":          {good, good, "password"},
			"common":            {good, "Password1234", "password"},
			"the company":       {good, "zweihundertwasser1", "password"},
			"the name":          {good, "alice@example.com", "password"},
			"a wrong old one":   {"wrong", better, "old_password"},
			"an empty old one":  {"", better, "old_password"},
			"too long an old":   {strings.Repeat("x", 5000), better, "old_password"},
			"too long a new":    {good, strings.Repeat("x", 5000), "password"},
			"not even a string": {good, "\xff\xfe\xfd\xfc\xff\xfe\xfd\xfc\xff\xfe\xfd\xfc", "password"},
		} {
			err := s.ChangePassword(ctx, a, session, c.old, c.next)
			if e, ok := errors.AsType[*event.Error](err); !ok || e.Code != event.CodeInvalid || e.Field != c.field {
				t.Errorf("%s: %v", what, err)
			}
		}
		id, lives := session.ID(), s.token(t, session)
		if err := s.ChangePassword(ctx, a, session, good, better); err != nil {
			t.Fatal(err)
		}
		if lives() {
			t.Error("a personal token outlives the password")
		}
		if got := s.lastEntry(t); got != "password.change success person alice: " {
			t.Errorf("the trail says %q", got)
		}
		if session.ID() == id || s.actor(t, session).ID != u.ID {
			t.Error("the own session did not go on under a new id")
		}
		for _, old := range []string{id, elsewhere.ID()} {
			if _, err := s.Sessions().Get(ctx, old, client.Address); !errors.Is(err, authsvc.ErrNoSession) {
				t.Errorf("a session from before: %v", err)
			}
		}
		if _, err := s.Authenticate(ctx, try("alice", good)); !errors.Is(err, signin.ErrWrong) {
			t.Errorf("the old password: %v", err)
		}
		if _, err := s.Authenticate(ctx, try("alice", better)); err != nil {
			t.Errorf("the new one: %v", err)
		}
		// A session that was left open is no way to guess the password, and pauses nobody's sign-in.
		a = s.actor(t, session)
		for range 5 {
			_ = s.ChangePassword(ctx, a, session, "wrong", "something-else-again-9")
		}
		if err := s.ChangePassword(ctx, a, session, better, "something-else-again-9"); event.ErrorCode(err) != event.CodeInvalid {
			t.Errorf("during the pause: %v", err)
		}
		if _, err := s.Authenticate(ctx, try("alice", better)); err != nil {
			t.Errorf("sign-in during it: %v", err)
		}
		clk.add(2 * time.Minute)
		// Two changes at one moment: one of them counts.
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, next := range []string{"something-else-again-9", "an-entirely-other-one-5"} {
			wg.Go(func() { errs[i] = s.ChangePassword(ctx, a, nil, better, next) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("two changes at once: %v; %v", errs[0], errs[1])
		}
		for _, line := range s.trail(t) {
			for _, secret := range []string{good, better, "something-else", "entirely-other"} {
				if strings.Contains(line, secret) {
					t.Errorf("a password in the trail: %s", line)
				}
			}
		}
		for name, other := range map[string]*authsvc.Actor{
			"a key": {Kind: authsvc.ActorKey, ID: u.ID, Stage: authsvc.StageDone, Scopes: authsvc.AllScopes}, "a command": operator,
			"nobody":                      {Kind: authsvc.ActorPerson, ID: u.ID},
			"a token that may only read":  {Kind: authsvc.ActorPerson, ID: u.ID, Stage: authsvc.StageDone, Role: authsvc.RoleUser, Scopes: authsvc.ScopeRead},
			"a person without the factor": {Kind: authsvc.ActorPerson, ID: u.ID, Stage: authsvc.StageSecondFactor, Scopes: authsvc.AllScopes},
		} {
			if err := s.ChangePassword(ctx, other, nil, better, good); err == nil || event.ErrorCode(err) == event.CodeInvalid {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestSignOut(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		s.user(t, "alice")
		s.user(t, "bob")
		ended := func(session *websession.Session, what string) {
			t.Helper()
			if _, err := s.Sessions().Get(ctx, session.ID(), client.Address); !errors.Is(err, authsvc.ErrNoSession) {
				t.Errorf("%s: %v", what, err)
			}
		}
		one, _ := s.mustSignIn(t, "alice", good)
		two, _ := s.mustSignIn(t, "alice", good)
		three, _ := s.mustSignIn(t, "alice", good)
		bob, _ := s.mustSignIn(t, "bob", good)
		if err := s.SignOut(ctx, s.actor(t, one), one); err != nil {
			t.Fatal(err)
		}
		ended(one, "signed out")
		if got := s.lastEntry(t); got != "session.sign_out success person alice: " {
			t.Errorf("the trail says %q", got)
		}
		a := s.actor(t, two)
		if err := s.EndSession(ctx, a, bob.Ref()); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("another's session: %v", err)
		}
		s.actor(t, bob)
		if err := s.EndSession(ctx, a, three.Ref()); err != nil {
			t.Fatal(err)
		}
		ended(three, "ended from the list")
		four, _ := s.mustSignIn(t, "alice", good)
		lives, bobs := s.token(t, four), s.token(t, bob)
		if err := s.SignOutEverywhere(ctx, a, two, false); err != nil {
			t.Fatal(err)
		}
		ended(four, "signed out everywhere")
		if !lives() {
			t.Error("a personal token ended without having been asked for")
		}
		// A session that ended at this moment does not go on because it says so.
		if err := s.SignOutEverywhere(ctx, a, four, false); event.ErrorCode(err) != event.CodeConflict {
			t.Errorf("by a session that has ended: %v", err)
		}
		a = s.actor(t, two) // the own one goes on
		if err := s.SignOutEverywhere(ctx, a, nil, true); err != nil {
			t.Fatal(err)
		}
		ended(two, "here too")
		if lives() || !bobs() {
			t.Errorf("after all: own token %v, another's %v", lives(), bobs())
		}
		if got := s.lastEntry(t); got != "session.end success person alice: signed out everywhere, personal tokens too" {
			t.Errorf("the trail says %q", got)
		}
		s.actor(t, bob)
		if err := s.SignOutEverywhere(ctx, &authsvc.Actor{Kind: authsvc.ActorNobody}, nil, false); err == nil {
			t.Error("nobody signs out everywhere")
		}
	})
}
