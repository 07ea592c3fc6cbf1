package signin_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/authsvc/signin"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
)

// counter is the plain reference of one lockout: failures in a row, the last one's time, and the end of the pause.
type counter struct {
	failures    int
	last, until time.Time
}

// try is what a try must come to.
func (c *counter) try(now time.Time, right bool) bool {
	if now.Before(c.until) {
		return false
	}
	if right {
		*c = counter{}
		return true
	}
	if now.Sub(c.last) >= 24*time.Hour {
		c.failures = 0
	}
	c.failures++
	c.last = now
	pauses := []time.Duration{30, 60, 120, 240, 480, 900} // seconds
	if c.failures >= 5 {
		c.until = now.Add(pauses[min(c.failures-5, len(pauses)-1)] * time.Second)
	}
	return false
}

// TestLockoutReference: over random tries from the owner's browser, from the network of their last sign-in and from elsewhere, at random times, by two
// servers in turn, every answer is that of the plain reference, with a counter for each side.
func TestLockoutReference(t *testing.T) {
	t.Parallel()
	clk := newClock()
	databaseURL := reldbtest.New(t, reldb.SQLite)
	servers := []*server{start(t, databaseURL, clk, options{}), start(t, databaseURL, clk, options{})}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		name := fmt.Sprint("user", run)
		servers[0].user(t, name)
		first, err := servers[0].Authenticate(t.Context(), try(name, good))
		if err != nil {
			rt.Fatal(err)
		}
		var owner counter
		networks, last := map[string]*counter{}, "192.0.2.1"
		others := &counter{}
		for i := range rapid.IntRange(1, 25).Draw(rt, "tries") {
			clk.add(time.Duration(rapid.SampledFrom([]int{0, 1, 29, 30, 61, 500, 901, 86_399, 86_401}).Draw(rt, "seconds")) * time.Second)
			right, known := rapid.IntRange(0, 4).Draw(rt, "right") == 0, rapid.Bool().Draw(rt, "known")
			request, c := try(name, "wrong"), others
			place := rapid.SampledFrom([]string{"192.0.2.1", "198.51.100.7", "203.0.113.9"}).Draw(rt, "place")
			request.Address = netip.MustParseAddr(place)
			if place == last {
				if networks[place] == nil {
					networks[place] = &counter{}
				}
				c = networks[place]
			}
			if right {
				request.Password = good
			}
			if known {
				request.Device, c = first.Device, &owner
			}
			_, err := servers[i%2].Authenticate(t.Context(), request)
			if want := c.try(clk.now(), right); want != (err == nil) || err != nil && !errors.Is(err, signin.ErrWrong) {
				rt.Fatalf("try %d (right %v, known %v, from %s, last from %s): %v, want in: %v", i, right, known, place, last, err, want)
			}
			if err == nil {
				last = place
			}
		}
	})
}

// TestVictimIsNotLockedOut: an attacker who guesses all day, from as many places as they like, gets about a hundred tries, and the owner gets in
// on their own browser at any moment, and with a reset password from anywhere.
func TestVictimIsNotLockedOut(t *testing.T) {
	t.Parallel()
	ctx, clk := t.Context(), newClock()
	s := start(t, reldbtest.New(t, reldb.SQLite), clk, options{})
	u := s.user(t, "victim")
	_, first := s.mustSignIn(t, "victim", good)
	for minute := range 24 * 60 {
		clk.add(time.Minute)
		if minute%5 != 0 && minute > 60 {
			continue // the pauses are long by then
		}
		guess := elsewhere("victim", "guess")
		if _, err := s.Authenticate(ctx, guess); !errors.Is(err, signin.ErrWrong) {
			t.Fatal(err)
		}
		if minute%240 == 0 {
			if _, err := s.Authenticate(ctx, try("victim", good)); err != nil {
				t.Errorf("minute %d: a program of the owner, at the usual place: %v", minute, err)
			}
			if _, err := s.Authenticate(ctx, from(first.Device, try("victim", good))); err != nil {
				t.Errorf("minute %d: the owner on their own browser: %v", minute, err)
			}
		}
	}
	counted := 0
	for _, line := range s.trail(t) {
		if strings.HasSuffix(line, "wrong password") {
			counted++
		}
	}
	if counted < 50 || counted > 110 {
		t.Errorf("%d guesses were looked at in a day, want about a hundred", counted)
	}
	if _, err := s.Authenticate(ctx, elsewhere("victim", good)); !errors.Is(err, signin.ErrWrong) {
		t.Errorf("from an unknown browser at an unknown place during the pause: %v", err)
	}
	for range 7 {
		_, _ = s.Authenticate(ctx, try("victim", "guess by a colleague"))
	}
	if _, err := s.Authenticate(ctx, try("victim", good)); !errors.Is(err, signin.ErrWrong) {
		t.Errorf("at the usual place during its own pause: %v", err)
	}
	if _, err := s.Authenticate(ctx, from(first.Device, try("victim", good))); err != nil {
		t.Errorf("the owner on their own browser, in the network of one who guesses: %v", err)
	}
	_, temporary, err := s.store.ResetPassword(ctx, operator, u.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []signin.Request{try("victim", temporary), elsewhere("victim", temporary)} {
		if _, err := s.Authenticate(ctx, request); err != nil {
			t.Errorf("from %s after an administrator has reset the password: %v", request.Address, err)
		}
	}
}

// elsewhere is a try from a network where nobody has signed in.
func elsewhere(login, pass string) signin.Request {
	r := try(login, pass)
	r.Address = netip.MustParseAddr("198.51.100.7")
	return r
}

// TestUnknownNamesPause too: else a pause would tell which names there are.
func TestUnknownNamesPause(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s := start(t, databaseURL, clk, options{})
		for range 7 {
			_, _ = s.Authenticate(ctx, try("Nobody", "x"))
		}
		if got := s.lastEntry(t); !strings.HasSuffix(got, "failures shortly before") {
			t.Errorf("the trail says %q", got)
		}
		rows := func() (n int) {
			if err := s.store.DB().QueryRow(ctx, `SELECT COUNT(*) FROM lockouts WHERE subject <> 'nobody'`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if rows() != 1 {
			t.Errorf("%d counts are kept", rows())
		}
		if err := s.Purge(ctx); err != nil || rows() != 1 {
			t.Errorf("removed too early: %v", err)
		}
		clk.add(25 * time.Hour)
		if err := s.Purge(ctx); err != nil || rows() != 0 {
			t.Errorf("not removed: %d, %v", rows(), err)
		}
	})
}

func TestDevices(t *testing.T) {
	t.Parallel()
	clk := newClock()
	s := start(t, reldbtest.New(t, reldb.SQLite), clk, options{})
	// Any number of people may share a browser: the last ones are known.
	rapid.Check(t, func(rt *rapid.T) {
		cookie := ""
		var model []uint32
		for _, id := range rapid.SliceOfN(rapid.Uint32Range(1, 30), 1, 60).Draw(rt, "people") {
			next, err := s.Remember(cookie, id)
			if err != nil {
				rt.Fatal(err)
			}
			known := false
			for _, m := range model {
				known = known || m == id
			}
			if known != (next == "") {
				rt.Fatalf("%d is known: %v, new cookie %q", id, known, next)
			}
			if !known {
				model = append([]uint32{id}, model[:min(len(model), signin.MaxDeviceUsers-1)]...)
				cookie = next
			}
			got := s.DeviceUsers(cookie)
			if len(got) != len(model) || len(cookie) > 512 {
				rt.Fatalf("%v, want %v", got, model)
			}
			for i := range got {
				if got[i] != model[i] {
					rt.Fatalf("%v, want %v", got, model)
				}
			}
		}
	})
	cookie, err := s.Remember("", 7)
	if err != nil {
		t.Fatal(err)
	}
	clk.add(signin.DeviceLifetime + time.Second)
	if got := s.DeviceUsers(cookie); len(got) != 0 {
		t.Errorf("after a year it still knows %v", got)
	}
}

// FuzzDevice: no cookie that was not sealed here makes anybody known, and every content that is read is written again as it was.
func FuzzDevice(f *testing.F) {
	clk := newClock()
	s := start(f, reldb.SQLiteURL(f.TempDir()+"/fuzz.db"), clk, options{})
	cookie, err := s.Remember("", 7)
	if err != nil {
		f.Fatal(err)
	}
	// The whole cookie is no seed: each process that fuzzes seals another one, and they all open.
	f.Add(cookie[:len(cookie)-1], []byte{})
	f.Add(cookie[:30], append([]byte{1}, make([]byte, 24)...))
	f.Add("s1.", append([]byte{1}, make([]byte, 28)...))
	f.Fuzz(func(t *testing.T, text string, content []byte) {
		if got := s.DeviceUsers(text); len(got) != 0 {
			t.Fatalf("%q knows %v", text, got)
		}
		if again, _, ok := signin.RecodeDevice(content); ok && string(again) != string(content) {
			t.Fatalf("%x was read as %x", content, again)
		}
	})
}
