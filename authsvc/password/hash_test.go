package password_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"gatehouse/authsvc/password"
	"gatehouse/event"
)

func newHasher(t testing.TB, cost int, options ...password.Option) *password.Hasher {
	t.Helper()
	h, err := password.New(cost, options...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHash: over any texts, a hash is the password's own and no other's, however long they are and wherever they differ.
func TestHash(t *testing.T) {
	t.Parallel()
	h := newHasher(t, password.MinCost)
	rapid.Check(t, func(rt *rapid.T) {
		one := rapid.String().Draw(rt, "password")
		if rapid.Bool().Draw(rt, "long") {
			one = strings.Repeat("x", 100) + one
		}
		other := rapid.OneOf(rapid.String(), rapid.Just(one+"x"), rapid.Just(one+"\x00"), rapid.Just("\x00"+one), rapid.Just(strings.TrimSuffix(one, "x"))).Draw(rt, "other")
		stored, err := h.Hash(t.Context(), one)
		if err != nil {
			rt.Fatal(err)
		}
		if len(stored) > 100 || h.Stale(stored) || strings.Contains(stored, one) && one != "" && len(one) > 8 {
			rt.Fatalf("stored: %q", stored)
		}
		if ok, err := h.Verify(t.Context(), stored, one); err != nil || !ok {
			rt.Fatalf("the password itself: %v, %v", ok, err)
		}
		same := bytes.Equal(password.Prepare(one), password.Prepare(other))
		if ok, err := h.Verify(t.Context(), stored, other); err != nil || ok != same {
			rt.Fatalf("%q for %q: %v, %v", other, one, ok, err)
		}
		if n := len(password.Prepare(one)); n != 64 || bytes.IndexByte(password.Prepare(one), 0) >= 0 {
			rt.Fatalf("bcrypt is given %d bytes", n)
		}
	})
}

func TestForms(t *testing.T) {
	t.Parallel()
	h := newHasher(t, password.MinCost)
	stored, err := h.Hash(t.Context(), "Stra\u00dfe kaf\u00e9 12")
	if err != nil {
		t.Fatal(err)
	}
	// Another keyboard, or another system's way to write é.
	if ok, _ := h.Verify(t.Context(), stored, "Stra\u00dfe kafe\u0301 12"); !ok {
		t.Error("a decomposed letter is another password")
	}
	if ok, _ := h.Verify(t.Context(), stored, "stra\u00dfe kaf\u00e9 12"); ok {
		t.Error("case does not count")
	}
	// Hashes from before, made by any bcrypt.
	plain, err := bcrypt.GenerateFromPassword([]byte("from before"), password.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{string(plain), "$2b$" + string(plain[4:]), "$2y$" + string(plain[4:])} {
		if ok, err := h.Verify(t.Context(), old, "from before"); err != nil || !ok || !h.Stale(old) {
			t.Errorf("%s: %v, %v, stale %v", old, ok, err, h.Stale(old))
		}
		if ok, _ := h.Verify(t.Context(), old, "From before"); ok {
			t.Errorf("%s: a wrong password is right", old)
		}
	}
	if !newHasher(t, password.MinCost+1).Stale(stored) {
		t.Error("a hash of another cost is not stale")
	}
	if _, err := h.Hash(t.Context(), strings.Repeat("x", password.MaxBytes+1)); event.ErrorCode(err) != event.CodeInvalid {
		t.Errorf("a password of endless length: %v", err)
	}
	for _, cost := range []int{3, 32} {
		if _, err := password.New(cost); err == nil {
			t.Errorf("cost %d is accepted", cost)
		}
	}
}

// TestSameWork: whatever is stored and given, an answer takes the same runs of bcrypt, counted in units of 2^cost.
func TestSameWork(t *testing.T) {
	t.Parallel()
	var work atomic.Int64
	const cost = password.MinCost + 3
	h := newHasher(t, cost, password.WithWork(func(c int) { work.Add(1 << c) }))
	current, err := h.Hash(t.Context(), "right")
	if err != nil {
		t.Fatal(err)
	}
	old, err := newHasher(t, password.MinCost).Hash(t.Context(), "right")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := bcrypt.GenerateFromPassword([]byte("right"), password.MinCost+1)
	if err != nil {
		t.Fatal(err)
	}
	for name, stored := range map[string]string{
		"nobody": "", "current": current, "older cost": old, "plain of older cost": string(plain), "unreadable": "x", "nobody's": h.Dummy(),
		"cut off": current[:40], "of another kind": "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b7DSw",
	} {
		for _, given := range []string{"right", "wrong", "", strings.Repeat("long", 1000)} {
			work.Store(0)
			ok, err := h.Verify(t.Context(), stored, given)
			want := given == "right" && (name == "current" || name == "older cost" || name == "plain of older cost")
			if err != nil || ok != want || work.Load() != 1<<cost {
				t.Errorf("%s, %.10q: %v, %v with %d units of work, want %v with %d", name, given, ok, err, work.Load(), want, 1<<cost)
			}
		}
	}
}

// TestTurns: no more run at a time than there are turns, and who waits too long is told so.
func TestTurns(t *testing.T) {
	t.Parallel()
	var running, most atomic.Int64
	hold := make(chan struct{})
	h := newHasher(t, password.MinCost, password.WithTurns(2, time.Hour), password.WithWork(func(int) {
		n := running.Add(1)
		for {
			old := most.Load()
			if n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		<-hold
		running.Add(-1)
	}))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if ok, err := h.Verify(t.Context(), "", "x"); ok || err != nil {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
	for running.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	// Somebody who gives up while waiting.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Verify(gone, "", "x"); !errors.Is(err, context.Canceled) || event.ErrorCode(err) != event.CodeUnavailable {
		t.Errorf("given up: %v", err)
	}
	close(hold)
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("%d ran at a time, want 2", most.Load())
	}

	stuck := make(chan struct{})
	started := make(chan struct{}, 1)
	impatient := newHasher(t, password.MinCost, password.WithTurns(1, time.Millisecond), password.WithWork(func(int) { started <- struct{}{}; <-stuck }))
	wg.Go(func() { _, _ = impatient.Verify(t.Context(), "", "x") })
	<-started
	if _, err := impatient.Hash(t.Context(), "x"); !errors.Is(err, password.ErrBusy) {
		t.Errorf("with everybody busy: %v", err)
	}
	close(stuck)
	wg.Wait()
}

// FuzzVerify: no stored text, however damaged, is an error, a panic or a way in.
func FuzzVerify(f *testing.F) {
	h := newHasher(f, password.MinCost)
	stored, err := h.Hash(context.Background(), "right")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", stored, stored[5:], "$2a$04$", "$gh1$", "$gh1$$2a$04$" + strings.Repeat(".", 53), "$2a$31$" + strings.Repeat("!", 53)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// A higher cost in a damaged hash would be worked for, for hours.
		if i := strings.LastIndex(s, "$"); i >= 2 && s[i-2:i] > "06" {
			t.Skip()
		}
		ok, err := h.Verify(t.Context(), s, "right")
		if ok && s != stored && bcrypt.CompareHashAndPassword([]byte(strings.TrimPrefix(s, "$gh1$")), password.Prepare("right")) != nil {
			t.Fatalf("%q lets in", s)
		}
		if err != nil && len(s) != 60 && len(s) != 65 {
			t.Fatalf("%q: %v", s, err)
		}
	})
}
