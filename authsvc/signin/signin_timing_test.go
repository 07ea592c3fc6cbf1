package signin_test

import (
	"errors"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/authsvc/password"
	"gatehouse/authsvc/signin"
	"gatehouse/internal/reldb"
)

// BenchmarkSignIn is one sign-in from the password to the session at the cost that is the default, with SQLite: nearly all of it is bcrypt.
func BenchmarkSignIn(b *testing.B) {
	for _, c := range []struct {
		name, login, password string
		cost                  int
	}{
		{"default cost", "alice", good, password.DefaultCost},
		{"default cost, nobody", "nobody", good, password.DefaultCost},
		{"least cost", "alice", good, password.MinCost},
	} {
		b.Run(c.name, func(b *testing.B) {
			hasher, err := password.New(c.cost)
			if err != nil {
				b.Fatal(err)
			}
			s := start(b, reldb.SQLiteURL(b.TempDir()+"/bench.db"), newClock(), options{}, authsvc.WithPasswords(hasher))
			s.user(b, "alice")
			for b.Loop() {
				if _, err := s.SignIn(b.Context(), s.session(b), try(c.login, c.password)); err != nil && !errors.Is(err, signin.ErrWrong) {
					b.Fatal(err)
				}
			}
		})
	}
}
