package authsvc_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/internal/reldb"
)

func TestResolve(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		c, err := s.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: "One", Timezone: "Asia/Tokyo", MaxSession: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		r := newResolver(t, s)
		expires := clk.now().Add(time.Minute)
		k, secret, err := s.CreateKey(ctx, operator, c.ID, authsvc.NewKey{Site: "Office", Scopes: authsvc.ScopeIngest, Expires: expires})
		if err != nil {
			t.Fatal(err)
		}
		resolve := func(key string) error { _, err := r.Resolve(ctx, key, netip.Addr{}); return err }

		p, err := r.Resolve(ctx, secret, netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		want := authsvc.Principal{CompanyID: c.ID, CompanyName: "One", SiteID: k.ID, SiteName: "Office", Scopes: authsvc.ScopeIngest, Timezone: "Asia/Tokyo", Location: p.Location, MaxSession: time.Hour}
		if p != want || p.Location.String() != "Asia/Tokyo" {
			t.Errorf("%+v, want %+v", p, want)
		}

		for key, want := range map[string]error{
			"":                              authsvc.ErrNoKey,
			"x":                             authsvc.ErrInvalidKey,
			secret + "x":                    authsvc.ErrInvalidKey,
			secret[:len(secret)-1]:          authsvc.ErrInvalidKey,
			strings.ToUpper(secret):         authsvc.ErrInvalidKey,
			" " + secret:                    authsvc.ErrInvalidKey,
			"gh_" + strings.Repeat("A", 43): authsvc.ErrInvalidKey,
			strings.Repeat("A", 1<<20):      authsvc.ErrInvalidKey,
			k.Prefix:                        authsvc.ErrInvalidKey,
		} {
			if err := resolve(key); !errors.Is(err, want) || event.ErrorCode(err) != event.CodeUnauthorized {
				t.Errorf("%.60q: %v, want %v", key, err, want)
			}
		}
		if authsvc.ErrNoKey.Message != "No API key provided" || authsvc.ErrInvalidKey.Message != "Invalid API key" || authsvc.ErrKeyDisabled.Message != "API key has been disabled" {
			t.Error("the texts are the API's contract")
		}

		// A change by this process counts at its return.
		step := func(name string, err, want error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := resolve(secret); !errors.Is(err, want) {
				t.Errorf("after %s: %v, want %v", name, err, want)
			}
		}
		step("disable", s.SetKeyDisabled(ctx, operator, c.ID, k.ID, true), authsvc.ErrKeyDisabled)
		step("enable", s.SetKeyDisabled(ctx, operator, c.ID, k.ID, false), nil)
		step("disabling the company", s.SetCompanyDisabled(ctx, operator, c.ID, true), authsvc.ErrKeyDisabled)
		step("enabling the company", s.SetCompanyDisabled(ctx, operator, c.ID, false), nil)
		clk.add(time.Minute - time.Millisecond)
		step("almost the expiry", nil, nil)
		clk.add(time.Millisecond)
		step("expiry", nil, authsvc.ErrKeyDisabled)
		step("revoke", s.RevokeKey(ctx, operator, c.ID, k.ID), authsvc.ErrInvalidKey)

		if name, err := r.Site(c.ID, k.ID); err != nil || name != "Office" {
			t.Errorf("name of a revoked site: %q, %v", name, err)
		}
		if _, err := r.Site(c.ID+1, k.ID); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("site of another company: %v", err)
		}
		if got, err := r.Company(c.ID); err != nil || got.Name != "One" || got.Location.String() != "Asia/Tokyo" {
			t.Errorf("company from memory: %+v, %v", got, err)
		}
		if _, err := r.Company(c.ID + 1); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("no company: %v", err)
		}
		mustCompany(t, s, "Two")
		if list := r.Companies(); len(list) != 2 || list[0].Name != "One" || list[1].Name != "Two" {
			t.Errorf("companies from memory: %+v", list)
		}
	})
}

// TestResolveAcrossProcesses: what another process does to the same database counts here, by itself.
func TestResolveAcrossProcesses(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx := t.Context()
		server, cli := open(), open()
		r := newResolver(t, server)
		c := mustCompany(t, cli, "One")
		for range 5 {
			// Made elsewhere, used here the very next moment, as a script does.
			k, secret := mustKey(t, cli, c.ID, authsvc.ScopeRead)
			if p, err := r.Resolve(ctx, secret, netip.Addr{}); err != nil || p.SiteID != k.ID {
				t.Fatalf("first use of a new key: %+v, %v", p, err)
			}
			if err := cli.SetKeyDisabled(ctx, operator, c.ID, k.ID, true); err != nil {
				t.Fatal(err)
			}
			within(t, revoked, "the disabled key stops", func() bool {
				_, err := r.Resolve(ctx, secret, netip.Addr{})
				return errors.Is(err, authsvc.ErrKeyDisabled)
			})
			if err := cli.SetKeyDisabled(ctx, operator, c.ID, k.ID, false); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Resolve(ctx, secret, netip.Addr{}); err != nil {
				t.Errorf("first use after enabling: %v", err)
			}
			if err := cli.RevokeKey(ctx, operator, c.ID, k.ID); err != nil {
				t.Fatal(err)
			}
			within(t, revoked, "the revoked key stops", func() bool {
				_, err := r.Resolve(ctx, secret, netip.Addr{})
				return errors.Is(err, authsvc.ErrInvalidKey)
			})
		}
		if _, err := cli.UpdateCompany(ctx, operator, c.ID, authsvc.CompanySettings{Timezone: "Europe/Paris"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new zone is seen", func() bool {
			got, err := r.Company(c.ID)
			return err == nil && got.Timezone == "Europe/Paris"
		})
	})
}

// TestResolveAfterRestore: a backup put back under a running server takes everything back to its state.
func TestResolveAfterRestore(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx := t.Context()
		s, control := open(), open()
		c := mustCompany(t, s, "One")
		before, oldSecret := mustKey(t, s, c.ID, authsvc.ScopeRead)
		var revision int64
		if err := s.DB().QueryRow(ctx, `SELECT revision FROM revisions`).Scan(&revision); err != nil {
			t.Fatal(err)
		}
		after, newSecret := mustKey(t, s, c.ID, authsvc.ScopeRead)
		if err := s.SetKeyDisabled(ctx, operator, c.ID, before.ID, true); err != nil {
			t.Fatal(err)
		}
		r := newResolver(t, s)
		if err := control.DB().Update(ctx, func(tx *reldb.Tx) error {
			for _, q := range []string{`DELETE FROM api_keys WHERE id = ?`, `UPDATE revisions SET revision = ?`, `UPDATE api_keys SET disabled_at = NULL, revision = ?`} {
				arg := revision
				if strings.HasPrefix(q, "DELETE") {
					arg = int64(after.ID)
				}
				if _, err := tx.Exec(ctx, q, arg); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a key made after the backup is gone", func() bool {
			_, err := r.Resolve(ctx, newSecret, netip.Addr{})
			return errors.Is(err, authsvc.ErrInvalidKey)
		})
		if _, err := r.Resolve(ctx, oldSecret, netip.Addr{}); err != nil {
			t.Errorf("a key that the backup has: %v", err)
		}
	})
}

// TestResolveWithoutDatabase: known keys go on for a while when the database is away, refusals do not hang, and after the
// while nobody is let in or turned away for good.
func TestResolveWithoutDatabase(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s, control := open(authsvc.WithClock(clk.now)), open()
		c := mustCompany(t, s, "One")
		_, secret := mustKey(t, s, c.ID, authsvc.ScopeRead)
		r := newResolver(t, s)

		rename := func(from, to string) {
			t.Helper()
			if err := control.DB().Update(ctx, func(tx *reldb.Tx) error {
				_, err := tx.Exec(ctx, `ALTER TABLE `+from+` RENAME TO `+to)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		rename("revisions", "gone")
		clk.add(time.Minute)
		for range 50 {
			if _, err := r.Resolve(ctx, secret, netip.Addr{}); err != nil {
				t.Fatalf("known key: %v", err)
			}
			if _, err := r.Resolve(ctx, "gh_"+strings.Repeat("A", 43), netip.Addr{}); !errors.Is(err, authsvc.ErrInvalidKey) {
				t.Fatalf("unknown key: %v", err)
			}
		}
		if r.Age() != time.Minute {
			t.Errorf("age %v", r.Age())
		}
		clk.add(2 * time.Minute)
		for _, key := range []string{secret, "gh_" + strings.Repeat("A", 43)} {
			if _, err := r.Resolve(ctx, key, netip.Addr{}); !errors.Is(err, authsvc.ErrStale) || event.ErrorCode(err) != event.CodeUnavailable {
				t.Errorf("after too long: %v", err)
			}
		}
		rename("gone", "revisions")
		eventually(t, "recovery", func() bool { _, err := r.Resolve(ctx, secret, netip.Addr{}); return err == nil })
	})
}

// TestRefusalsShareLooks: a flood of wrong keys costs the database a few looks a second, not one each.
func TestRefusalsShareLooks(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, r := t.Context(), newResolver(t, open())
		began, before := time.Now(), r.Looks()
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				for range 3 {
					if _, err := r.Resolve(ctx, fmt.Sprintf("gh_%043d", i), netip.Addr{}); !errors.Is(err, authsvc.ErrInvalidKey) {
						t.Errorf("%v", err)
					}
				}
			})
		}
		wg.Wait()
		looks := r.Looks() - before
		if limit := authsvc.LooksWithin(time.Since(began)); looks > limit {
			t.Errorf("1500 refusals asked the database %d times, want at most %d", looks, limit)
		}
		canceled, stop := context.WithCancel(ctx)
		stop()
		// A caller who has gone is not let in and does not wait.
		if _, err := r.Resolve(canceled, "gh_"+strings.Repeat("A", 43), netip.Addr{}); err == nil {
			t.Error("accepted")
		}
	})
}

func TestUsage(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		// Two servers on one database count the same keys.
		a, b := open(authsvc.WithClock(clk.now)), open(authsvc.WithClock(clk.now))
		c := mustCompany(t, a, "One")
		k1, _ := mustKey(t, a, c.ID, authsvc.ScopeIngest)
		k2, _ := mustKey(t, a, c.ID, authsvc.ScopeIngest)
		unused, _ := mustKey(t, a, c.ID, authsvc.ScopeIngest)
		ra, rb := newResolver(t, a), newResolver(t, b)
		const workers, rounds = 8, 200
		var wg sync.WaitGroup
		for i := range workers {
			r := ra
			if i%2 == 1 {
				r = rb
			}
			wg.Go(func() {
				for n := range rounds {
					r.Record(k1.ID, netip.MustParseAddr("10.0.0.1"), "", "", 2, 1)
					r.Record(k2.ID, netip.Addr{}, "", "", 1, 0)
					if n%50 == 0 {
						if err := r.Flush(ctx); err != nil {
							t.Errorf("flush: %v", err)
						}
					}
				}
			})
		}
		wg.Wait()
		ra.Record(999, netip.Addr{}, "", "", 1, 1) // no such site: dropped
		clk.add(time.Minute)
		rb.Record(k1.ID, netip.MustParseAddr("::ffff:10.0.0.2"), "", "", 0, 1)
		// Changes in between replace the copy in memory: counts must survive that.
		if _, err := a.UpdateCompany(ctx, operator, c.ID, authsvc.CompanySettings{Timezone: "Europe/Paris"}); err != nil {
			t.Fatal(err)
		}
		// The later use wins, in whatever order the servers write.
		if err := rb.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := ra.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		list := keysOf(t, a, c.ID, false)
		for _, k := range list {
			switch k.ID {
			case k1.ID:
				if k.Events != workers*rounds*2 || k.Errors != workers*rounds+1 || !k.LastUsed.Equal(clk.now()) || k.LastUsedIP != "10.0.0.2" {
					t.Errorf("first key: %+v", k)
				}
			case k2.ID:
				if k.Events != workers*rounds || k.Errors != 0 || !k.LastUsed.Equal(clk.now().Add(-time.Minute)) || k.LastUsedIP != "" {
					t.Errorf("second key: %+v", k)
				}
			case unused.ID:
				if k.Events != 0 || !k.LastUsed.IsZero() {
					t.Errorf("unused key: %+v", k)
				}
			}
		}
	})
}

func TestUsageSurvivesFailedFlushAndClose(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx := t.Context()
		s := open()
		c := mustCompany(t, s, "One")
		k, _ := mustKey(t, s, c.ID, authsvc.ScopeIngest)
		r := newResolver(t, s)
		r.Record(k.ID, netip.MustParseAddr("fe80::1%eth0"), "", "", 5, 2)
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if err := r.Flush(canceled); err == nil {
			t.Error("flush with a canceled context: no error")
		}
		r.Record(k.ID, netip.Addr{}, "", "", 1, 0)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		list := keysOf(t, s, c.ID, false)
		if list[0].Events != 6 || list[0].Errors != 2 || list[0].LastUsedIP != "fe80::1" {
			t.Errorf("%+v", list)
		}
	})
}
