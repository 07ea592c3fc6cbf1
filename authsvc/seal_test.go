package authsvc_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatehouse/authsvc"
	"gatehouse/event"
)

const (
	keyA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	keyB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func newSealer(t testing.TB, keys ...string) *authsvc.Sealer {
	t.Helper()
	s, err := authsvc.NewSealer(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSeal: what was sealed opens for the same purpose and row, with the same key or one that still counts, and in no other case.
func TestSeal(t *testing.T) {
	t.Parallel()
	onlyA, onlyB, both := newSealer(t, keyA), newSealer(t, keyB), newSealer(t, keyB, keyA)
	rapid.Check(t, func(rt *rapid.T) {
		purposes := []authsvc.Purpose{authsvc.PurposeTOTP, authsvc.PurposeSession, authsvc.PurposeDeviceCookie}
		purpose := rapid.SampledFrom(purposes).Draw(rt, "purpose")
		row, plain := rapid.String().Draw(rt, "row"), rapid.SliceOf(rapid.Byte()).Draw(rt, "plain")
		sealed, err := onlyA.Seal(purpose, row, plain)
		if err != nil {
			rt.Fatal(err)
		}
		for name, s := range map[string]*authsvc.Sealer{"same key": onlyA, "an earlier key": both} {
			if got, err := s.Open(purpose, row, sealed); err != nil || !bytes.Equal(got, plain) {
				rt.Fatalf("%s: %q, %v", name, got, err)
			}
		}
		if onlyA.Stale(sealed) || !both.Stale(sealed) {
			rt.Fatal("stale where it is not, or the reverse")
		}
		again, err := onlyA.Seal(purpose, row, plain)
		if err != nil || again == sealed {
			rt.Fatal("sealed twice, it looks the same")
		}
		otherPurpose := rapid.SampledFrom(purposes).Draw(rt, "other purpose")
		otherRow := rapid.OneOf(rapid.String(), rapid.Just(row)).Draw(rt, "other row")
		got, err := onlyA.Open(otherPurpose, otherRow, sealed)
		if same := otherPurpose == purpose && otherRow == row; same != (err == nil) || !same && !errors.Is(err, authsvc.ErrSealed) {
			rt.Fatalf("for %q and %q: %q, %v", otherPurpose, otherRow, got, err)
		}
		if _, err := onlyB.Open(purpose, row, sealed); !errors.Is(err, authsvc.ErrSealed) {
			rt.Fatalf("another key: %v", err)
		}
		// Any other text is not ours.
		i := rapid.IntRange(0, len(sealed)-1).Draw(rt, "place")
		changed := []byte(sealed)
		changed[i] = rapid.SampledFrom([]byte("ABCxyz019-_=.\n")).Draw(rt, "letter")
		if string(changed) != sealed {
			if _, err := onlyA.Open(purpose, row, string(changed)); !errors.Is(err, authsvc.ErrSealed) {
				rt.Fatalf("changed at %d: %v", i, err)
			}
		}
		if cut := sealed[:i]; cut != sealed {
			if _, err := onlyA.Open(purpose, row, cut); !errors.Is(err, authsvc.ErrSealed) {
				rt.Fatalf("cut off at %d: %v", i, err)
			}
		}
	})
}

func TestDerivedKeys(t *testing.T) {
	t.Parallel()
	a, both := newSealer(t, keyA), newSealer(t, keyB, keyA)
	seen := map[string]bool{}
	for _, p := range []authsvc.Purpose{
		authsvc.PurposeTOTP, authsvc.PurposeSession, authsvc.PurposeDeviceCookie, authsvc.PurposeCookieHash, authsvc.PurposeCookieBlock, authsvc.PurposeCSRF,
		authsvc.PurposeAccessToken, authsvc.PurposeLimit,
	} {
		key := a.Key(p)
		if len(key) != 32 || seen[string(key)] || bytes.Contains(key, []byte(keyA[:8])) {
			t.Errorf("%s: %x", p, key)
		}
		seen[string(key)] = true
		if keys := both.Keys(p); len(keys) != 2 || !bytes.Equal(keys[1], key) || !bytes.Equal(keys[0], both.Key(p)) {
			t.Errorf("%s: the keys of two secrets are %x", p, keys)
		}
		if macs := both.MACs(p, "x"); len(macs) != 2 || macs[1] != a.MAC(p, "x") || macs[0] == macs[1] || len(macs[0]) != 64 {
			t.Errorf("%s: %q", p, macs)
		}
	}
	// The derivation is part of what is stored: a change of it would make every sealed value unreadable.
	const known = "s1."
	sealed, err := a.Seal(authsvc.PurposeTOTP, "1", nil)
	if err != nil || !strings.HasPrefix(sealed, known) {
		t.Errorf("%q, %v", sealed, err)
	}
	if got := a.MAC(authsvc.PurposeTOTP, "pinned"); got != pinnedMAC {
		t.Errorf("keys are derived otherwise than before: %s", got)
	}
	if got, err := a.Open(authsvc.PurposeTOTP, "1", pinnedSealed); err != nil || string(got) != "pinned" {
		t.Errorf("a value from before: %q, %v", got, err)
	}
}

const (
	pinnedMAC    = "639cc257509f945aefa6618308b9b381aefd7997d0382e186f64cc7cf41a4608"
	pinnedSealed = "s1.77i-u9KV7_b6btfQBV3wrDlnBPbpzrUYbvuJcHQ1ITMtk6Eaw1b_hzvd5iILGPoQHB4"
)

func TestShortKeys(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{{}, {""}, {keyA, "short"}, {strings.Repeat("x", 31)}} {
		if _, err := authsvc.NewSealer(keys...); err == nil {
			t.Errorf("%q is accepted", keys)
		}
	}
	for configured, want := range map[string]int{keyA: 1, keyB + "," + keyA: 2, " " + keyB + " , " + keyA + " ": 2, keyA + "," + keyA: 1} {
		if keys, err := authsvc.ParseSecretKey(configured); err != nil || len(keys) != want || len(keys) == 2 && keys[0] != keyB {
			t.Errorf("%q: %q, %v", configured, keys, err)
		}
	}
	for _, configured := range []string{"", "short", keyA + ",", keyA + ",short"} {
		_, err := authsvc.ParseSecretKey(configured)
		if event.ErrorCode(err) != event.CodeInvalid || !strings.Contains(err.Error(), "openssl rand") || strings.Contains(err.Error(), keyA) {
			t.Errorf("%q: %v", configured, err)
		}
	}
}

// FuzzOpen: no text opens that was not sealed, and none makes it panic.
func FuzzOpen(f *testing.F) {
	s := newSealer(f, keyA, keyB)
	// A value that was sealed once and for all: each process that fuzzes has the same.
	const sealed = pinnedSealed
	for _, text := range []string{"", "s1.", sealed, sealed[:20], sealed + "A", "s1.\n" + sealed[3:], "s2." + sealed[3:], "s1.AAAA", "s1." + strings.Repeat("A", 100)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := s.Open(authsvc.PurposeTOTP, "1", text)
		if err == nil && text != sealed || err != nil && !errors.Is(err, authsvc.ErrSealed) {
			t.Fatalf("%q: %q, %v", text, got, err)
		}
		_ = s.Stale(text)
	})
}
