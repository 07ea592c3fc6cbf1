package authsvc_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema"
)

// operator may do everything.
var operator = authsvc.Local("test")

// clock is a time that tests move by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// eachStore runs the contract over every kind of database, with open making one more store ("process") on the same one.
func eachStore(t *testing.T, fn func(t *testing.T, open func(...authsvc.Option) *authsvc.Store)) {
	t.Helper()
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		if _, _, err := schema.NewRelational(reldbtest.Open(t, databaseURL)).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		fn(t, func(options ...authsvc.Option) *authsvc.Store {
			options = append([]authsvc.Option{authsvc.WithPasswordCost(bcrypt.MinCost)}, options...)
			return authsvc.New(reldbtest.Open(t, databaseURL), options...)
		})
	})
}

func newResolver(t *testing.T, s *authsvc.Store) *authsvc.Resolver {
	t.Helper()
	r, err := s.NewResolver(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			if err := r.Close(); err != nil {
				t.Errorf("close the resolver: %v", err)
			}
		})
	})
	return r
}

// eventually waits for a state that another goroutine or process brings about; the limit is only for a test that fails.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, 20*time.Second, what, ok)
}

// revoked is how soon a key that was revoked or disabled must stop in every process.
const revoked = 2 * time.Second

// within waits for a state that must come so soon.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen within %v: %s", limit, what)
		}
	}
}

func mustCompany(t *testing.T, s *authsvc.Store, name string) authsvc.Company {
	t.Helper()
	c, err := s.CreateCompany(t.Context(), operator, authsvc.CompanySettings{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustKey(t *testing.T, s *authsvc.Store, companyID uint32, scopes authsvc.Scopes) (authsvc.Key, string) {
	t.Helper()
	k, secret, err := s.CreateKey(t.Context(), operator, companyID, authsvc.NewKey{Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return k, secret
}
