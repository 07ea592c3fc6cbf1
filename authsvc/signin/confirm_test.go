package signin_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse/authsvc/signin"
)

// TestConfirm: the password, and a code where there is a second factor, each with its own pause.
func TestConfirm(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s := start(t, databaseURL, clk, options{})
		s.user(t, "bob")
		bob, _ := s.mustSignIn(t, "bob", good)
		want := func(what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		want("nothing", s.Confirm(ctx, s.actor(t, bob), "", ""), signin.ErrConfirm)
		want("a wrong password", s.Confirm(ctx, s.actor(t, bob), better, ""), signin.ErrConfirm)
		if got := s.lastEntry(t); got != "session.confirm failure person bob: wrong password" {
			t.Errorf("the trail says %q", got)
		}
		// A right one begins the count anew.
		for range 2 {
			for range 3 {
				want("a wrong password", s.Confirm(ctx, s.actor(t, bob), better, ""), signin.ErrConfirm)
			}
			want("the password", s.Confirm(ctx, s.actor(t, bob), good, ""), nil)
		}
		if got := s.lastEntry(t); got != "session.confirm success person bob: the password" {
			t.Errorf("the trail says %q", got)
		}
		for range 5 {
			want("guesses of a password", s.Confirm(ctx, s.actor(t, bob), better, ""), signin.ErrConfirm)
		}
		want("during the pause", s.Confirm(ctx, s.actor(t, bob), good, ""), signin.ErrConfirm)
		clk.add(time.Minute)
		want("after it", s.Confirm(ctx, s.actor(t, bob), good, ""), nil)

		s.withFactor(t, "alice")
		session, _ := s.mustSignIn(t, "alice", good)
		s.factor.code = "111111"
		if _, err := s.SecondFactor(ctx, session, signin.Proof{Code: "111111"}, client); err != nil {
			t.Fatal(err)
		}
		a := s.actor(t, session)
		s.factor.code = "222222"
		want("a password without a code", s.Confirm(ctx, a, good, ""), signin.ErrConfirmCode)
		want("a wrong code", s.Confirm(ctx, a, good, "000000"), signin.ErrConfirmCode)
		if got := s.lastEntry(t); got != "session.confirm failure person alice: wrong second factor" {
			t.Errorf("the trail says %q", got)
		}
		want("a code with a wrong password", s.Confirm(ctx, a, better, "222222"), signin.ErrConfirm)
		want("both", s.Confirm(ctx, a, good, "222222"), nil)
		if got := s.lastEntry(t); got != "session.confirm success person alice: second factor: totp" {
			t.Errorf("the trail says %q", got)
		}
		want("a used code", s.Confirm(ctx, a, good, "222222"), signin.ErrConfirmCode)
		for range 4 {
			want("guesses", s.Confirm(ctx, a, good, "000000"), signin.ErrConfirmCode)
		}
		s.factor.code = "333333"
		want("during the pause", s.Confirm(ctx, a, good, "333333"), signin.ErrConfirmCode)
		clk.add(time.Minute)
		want("after it", s.Confirm(ctx, a, good, "333333"), nil)
	})
}
