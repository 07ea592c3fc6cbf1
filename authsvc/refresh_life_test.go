package authsvc_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse/authsvc"
)

// TestFamiliesEnd exchanges a token again and again, with the daily cleaning between, until the sign-in is over by its age.
func TestFamiliesEnd(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		clk := newClock()
		s := open(authsvc.WithClock(clk.now))
		if _, err := s.Bootstrap(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		c, err := s.CredentialOf(t.Context(), authsvc.LoginKey("superadmin"))
		if err != nil {
			t.Fatal(err)
		}
		person := &authsvc.Actor{Kind: authsvc.ActorPerson, ID: c.UserID, Name: c.Username, Stage: authsvc.StageDone, Scopes: authsvc.AllScopes}
		f, secret, err := s.StartFamily(t.Context(), person, authsvc.Family{UserID: c.UserID, Epoch: c.Epoch, Scopes: authsvc.AllScopes})
		if err != nil {
			t.Fatal(err)
		}
		begin := clk.now()
		const step = 29 * 24 * time.Hour
		for clk.now().Add(step).Before(begin.Add(authsvc.FamilyLifetime)) {
			clk.add(step)
			if _, _, err := s.RunMaintenance(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, secret, err = s.UseRefresh(t.Context(), person, secret); err != nil {
				t.Fatalf("after %v: %v", clk.now().Sub(begin), err)
			}
		}
		clk.add(begin.Add(authsvc.FamilyLifetime).Sub(clk.now()) - time.Second)
		if alive, err := s.FamilyLives(t.Context(), c.UserID, f.ID); !alive || err != nil {
			t.Errorf("a second before the end: %v, %v", alive, err)
		}
		clk.add(time.Second)
		if alive, err := s.FamilyLives(t.Context(), c.UserID, f.ID); alive || err != nil {
			t.Errorf("at the end it lives: %v, %v", alive, err)
		}
		if _, _, err := s.UseRefresh(t.Context(), person, secret); !errors.Is(err, authsvc.ErrToken) {
			t.Errorf("at the end a refresh gives %v", err)
		}
	})
}
