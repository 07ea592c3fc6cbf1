package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// withFactors is start with second factors that are real, and tokens.
func withFactors(t testing.TB, databaseURL string, clk *clock) (*server, *signin.Factors, *signin.Tokens) {
	t.Helper()
	s := start(t, databaseURL, clk, options{})
	sealer, err := authsvc.NewSealer(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	factors := signin.NewFactors(s.store, sealer, func(context.Context) string { return origin })
	s.Service = signin.New(signin.Config{
		Store: s.store, Factor: factors, Sealer: sealer, Settings: s.store.GetSettings, Log: log, Now: clk.now, Sessions: s.Sessions(),
		Guard: limit.NewGuard(limit.NewMemory(clk.now), sealer.Key(authsvc.PurposeLimit), log),
	})
	tokens, err := signin.NewTokens(s.Service)
	if err != nil {
		t.Fatal(err)
	}
	return s, factors, tokens
}

// addPasskey sets a passkey up for who is signed in.
func addPasskey(t testing.TB, f *signin.Factors, by *authsvc.Actor, key *authenticator) ([]string, error) {
	t.Helper()
	ask, state, err := f.BeginPasskey(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	return f.FinishPasskey(t.Context(), by, "key", state, key.register(ask))
}

func TestPasskeys(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s, f, _ := withFactors(t, databaseURL, clk)
		s.user(t, "ada")
		s.user(t, "eve")
		signedIn := func(name string) *authsvc.Actor {
			session := s.session(t)
			if _, err := s.SignIn(ctx, session, try(name, good)); err != nil {
				t.Fatal(err)
			}
			return s.actor(t, session)
		}
		ada, eve := signedIn("ada"), signedIn("eve")

		// Registration.
		for what, change := range map[string]func(*authenticator){
			"on another site": func(a *authenticator) { a.origin = "https://gate.example.org.evil.example" },
			"without HTTPS":   func(a *authenticator) { a.origin = "http://gate.example.org" },
			"for another host": func(a *authenticator) {
				a.rp = "evil.example"
			},
			"with nobody there": func(a *authenticator) { a.flags = 0 },
		} {
			key := newAuthenticator(t)
			change(key)
			if _, err := addPasskey(t, f, ada, key); event.ErrorCode(err) != event.CodeInvalid {
				t.Errorf("a passkey made %s: %v", what, err)
			}
		}
		key := newAuthenticator(t)
		ask, state, err := f.BeginPasskey(ctx, ada)
		if err != nil {
			t.Fatal(err)
		}
		made := key.register(ask)
		_, otherState, err := f.BeginPasskey(ctx, ada)
		if err != nil {
			t.Fatal(err)
		}
		for what, state := range map[string][]byte{"another challenge": otherState, "no challenge": nil, "nonsense": []byte("{")} {
			if _, err := f.FinishPasskey(ctx, ada, "key", state, made); event.ErrorCode(err) != event.CodeInvalid {
				t.Errorf("a passkey made for %s: %v", what, err)
			}
		}
		if _, err := f.FinishPasskey(ctx, eve, "key", state, made); event.ErrorCode(err) != event.CodeInvalid {
			t.Errorf("a passkey made for another person: %v", err)
		}
		codes, err := f.FinishPasskey(ctx, ada, "key", state, made)
		if err != nil || len(codes) != 10 {
			t.Fatalf("%d recovery codes, %v", len(codes), err)
		}
		// The same credential belongs to one account alone, and to that once.
		for name, by := range map[string]*authsvc.Actor{"ada": ada, "eve": eve} {
			if _, err := addPasskey(t, f, by, key); event.ErrorCode(err) != event.CodeConflict {
				t.Errorf("registered again for %s: %v", name, err)
			}
		}
		key.handle = "" // as that of its first registration; authenticators may leave it out
		second := newAuthenticator(t)
		if more, err := addPasskey(t, f, signedInWith(t, s, "ada", key), second); err != nil || more != nil {
			t.Fatalf("a second passkey: %d codes, %v", len(more), err)
		}
		hers := newAuthenticator(t)
		if _, err := addPasskey(t, f, eve, hers); err != nil {
			t.Fatal(err)
		}

		// What was asked to make a passkey is no question that signs in, and the other way round.
		mine := signedInWith(t, s, "ada", second)
		ask, state, err = f.BeginPasskey(ctx, mine)
		if err != nil {
			t.Fatal(err)
		}
		crossed := *second
		crossed.counter += 10
		if _, err := f.Verify(ctx, mine, mine.ID, signin.Proof{Assertion: crossed.sign(ask), Challenge: state}); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("a signature under what was asked to make a passkey: %v", err)
		}
		ask, state, err = f.Challenge(ctx, mine.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.FinishPasskey(ctx, mine, "crossed", state, newAuthenticator(t).register(ask)); event.ErrorCode(err) != event.CodeInvalid {
			t.Errorf("a passkey made under what was asked to sign in: %v", err)
		}

		// Signing in.
		if who := signedInWith(t, s, "ada", second); who.Stage != authsvc.StageDone {
			t.Errorf("signed in with a passkey: stage %d", who.Stage)
		}
		var seen uint32 // the counter of the last use that counted
		use := func(change func(*authenticator), key *authenticator) error {
			t.Helper()
			clk.add(time.Hour) // so that no pause after failures is what refuses
			session := s.session(t)
			if _, err := s.SignIn(ctx, session, try("ada", good)); err != nil {
				t.Fatal(err)
			}
			ask, err := s.Challenge(ctx, session)
			if err != nil {
				t.Fatal(err)
			}
			changed := *key
			change(&changed)
			_, err = s.SecondFactor(ctx, session, signin.Proof{Assertion: changed.sign(ask)}, client)
			if key.counter = max(key.counter, changed.counter); err == nil {
				seen = changed.counter
			}
			return err
		}
		if err := use(func(*authenticator) {}, key); err != nil {
			t.Errorf("a right one: %v", err)
		}
		for what, change := range map[string]func(*authenticator){
			"on another site":          func(a *authenticator) { a.origin = "https://evil.example" },
			"for another host":         func(a *authenticator) { a.rp = "evil.example" },
			"with nobody there":        func(a *authenticator) { a.flags = 0 },
			"by another key":           func(a *authenticator) { a.key = newAuthenticator(t).key },
			"with a counter of before": func(a *authenticator) { a.counter = 0 },
			"with the same counter":    func(a *authenticator) { a.counter = seen - 1 },
			"with another's handle":    func(a *authenticator) { a.handle = hers.handle },
			"by somebody else":         func(a *authenticator) { *a = *hers },
			"by one that is not known": func(a *authenticator) { *a = *newAuthenticator(t) },
		} {
			if err := use(change, key); !errors.Is(err, signin.ErrWrongFactor) {
				t.Errorf("signed %s: %v", what, err)
			}
		}
		if err := use(func(*authenticator) {}, key); err != nil {
			t.Errorf("a right one after the wrong ones: %v", err)
		}
		clk.add(time.Hour)

		// A challenge is answered once, in the session that asked, in time.
		session, other := s.session(t), s.session(t)
		for _, one := range []*websession.Session{session, other} {
			if _, err := s.SignIn(ctx, one, try("ada", good)); err != nil {
				t.Fatal(err)
			}
		}
		wrong := func(what string, session *websession.Session, proof signin.Proof) {
			t.Helper()
			if _, err := s.SecondFactor(ctx, session, proof, client); !errors.Is(err, signin.ErrWrongFactor) {
				t.Errorf("%s: %v", what, err)
			}
		}
		ask, err = s.Challenge(ctx, session)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Challenge(ctx, other); err != nil {
			t.Fatal(err)
		}
		assertion := key.sign(ask)
		wrong("in another session", other, signin.Proof{Assertion: assertion})
		wrong("nonsense", session, signin.Proof{Assertion: json.RawMessage(`{"id":"x"}`)})
		wrong("after nonsense", session, signin.Proof{Assertion: assertion})
		wrong("with a challenge of one's own", session, signin.Proof{Assertion: assertion, Challenge: state})
		clk.add(9 * time.Minute)
		if ask, err = s.Challenge(ctx, session); err != nil {
			t.Fatal(err)
		}
		clk.add(5 * time.Minute)
		wrong("too late", session, signin.Proof{Assertion: key.sign(ask)})

		// Taken away.
		now := signedInWith(t, s, "ada", key)
		rows, err := s.store.Passkeys(ctx, now.ID)
		if err != nil || len(rows) != 2 || rows[0].LastUsed.IsZero() {
			t.Fatalf("%+v, %v", rows, err)
		}
		if err := s.store.RemovePasskey(ctx, eve, rows[0].ID); event.ErrorCode(err) == "" {
			t.Error("somebody took another's passkey away")
		}
		if err := s.store.RemovePasskey(ctx, now, rows[0].ID); err != nil {
			t.Fatal(err)
		}
		if err := use(func(*authenticator) {}, key); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("one that was taken away: %v", err)
		}
		trail := s.trail(t)
		for _, want := range []string{"passkey.add success person ada: key (", "passkey.remove success person ada: key (", "session.sign_in success person ada: second factor: passkey", "session.sign_in failure person ada: wrong second factor"} {
			if !slices.ContainsFunc(trail, func(line string) bool { return strings.HasPrefix(line, want) }) {
				t.Errorf("the trail lacks %q:\n%s", want, strings.Join(trail, "\n"))
			}
		}
	})
}

// signedInWith is the actor of somebody who has signed in with password and passkey.
func signedInWith(t testing.TB, s *server, name string, key *authenticator) *authsvc.Actor {
	t.Helper()
	s.clk.add(time.Hour)
	session := s.session(t)
	if _, err := s.SignIn(t.Context(), session, try(name, good)); err != nil {
		t.Fatal(err)
	}
	ask, err := s.Challenge(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SecondFactor(t.Context(), session, signin.Proof{Assertion: key.sign(ask)}, client); err != nil {
		t.Fatal(err)
	}
	return s.actor(t, session)
}
