package mfa_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"image/png"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pquerna/otp/totp"
	"pgregory.net/rapid"

	"gatehouse/authsvc/mfa"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTOTP(t *testing.T) mfa.TOTP {
	t.Helper()
	f, err := mfa.NewTOTP(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestTOTP holds codes against the library's own view of them, at every second around a step.
func TestTOTP(t *testing.T) {
	t.Parallel()
	f := newTOTP(t)
	code, err := totp.GenerateCode(f.Secret(), noon)
	if err != nil {
		t.Fatal(err)
	}
	if mine, err := f.Code(noon); err != nil || mine != code {
		t.Errorf("code %s, %v; the library says %s", mine, err, code)
	}
	step := noon.Unix() / 30
	for shift := -100; shift <= 100; shift++ {
		at := noon.Add(time.Duration(shift) * time.Second)
		got, ok := f.Verify(code, at, 0)
		if want := at.Unix()/30 >= step-1 && at.Unix()/30 <= step+1; ok != want || ok && got != step {
			t.Errorf("%d s off: step %d, %v; want %v", shift, got, ok, want)
		}
	}
	if _, ok := f.Verify(code[:3]+" "+code[3:], noon, 0); !ok {
		t.Error("a code in two groups is refused")
	}
	for _, bad := range []string{"", "0", code + "0", "0" + code, code[:5], strings.Repeat(code, 2), "１２３４５６", "abcdef"} {
		if _, ok := f.Verify(bad, noon, 0); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestTOTPOnce: over any sequence of tries, no step is accepted twice, nor one before an accepted one.
func TestTOTPOnce(t *testing.T) {
	t.Parallel()
	f := newTOTP(t)
	rapid.Check(t, func(t *rapid.T) {
		var last int64
		used := map[int64]bool{}
		at := noon
		for range 20 {
			at = at.Add(time.Duration(rapid.IntRange(-20, 45).Draw(t, "pass")) * time.Second)
			shown := at.Add(time.Duration(rapid.IntRange(-60, 60).Draw(t, "clock off")) * time.Second)
			code, err := f.Code(shown)
			if err != nil {
				t.Fatal(err)
			}
			step, ok := f.Verify(code, at, last)
			if !ok {
				continue
			}
			if used[step] || step <= last {
				t.Fatalf("step %d was accepted again", step)
			}
			used[step], last = true, step
		}
	})
}

func TestTOTPSetUp(t *testing.T) {
	t.Parallel()
	f := newTOTP(t)
	again, err := mfa.ReadTOTP(f.Secret())
	if err != nil || again != f {
		t.Errorf("%v, %v", again, err)
	}
	if f == newTOTP(t) {
		t.Error("two secrets are equal")
	}
	text, err := f.URL("Gatehouse", "anna @ Größe & Co")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Query().Get("secret") != f.Secret() || u.Query().Get("issuer") != "Gatehouse" || !strings.HasSuffix(u.Path, "anna @ Größe & Co") {
		t.Errorf("%s: %v", text, err)
	}
	picture, err := f.QR("Gatehouse", "anna")
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(bytes.NewReader(picture)); err != nil || img.Bounds().Dx() != 256 {
		t.Errorf("QR code: %v", err)
	}
	for _, bad := range []string{"", "A", f.Secret()[1:], f.Secret() + "A", strings.ToLower(f.Secret())} {
		if _, err := mfa.ReadTOTP(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	boom := errors.New("boom")
	if _, err := mfa.NewTOTP(iotest.ErrReader(boom)); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}

func TestRecoveryCodes(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for range 50 {
		codes, err := mfa.NewRecoveryCodes(rand.Reader)
		if err != nil || len(codes) != 10 {
			t.Fatalf("%v, %v", codes, err)
		}
		for _, c := range codes {
			hash, ok := mfa.HashRecoveryCode(c)
			if !ok || seen[hash] != "" {
				t.Fatalf("%q: %v", c, ok)
			}
			seen[hash] = c
			typed := strings.ToLower(strings.ReplaceAll(c, "-", " "))
			if again, ok := mfa.HashRecoveryCode(" " + typed + " "); !ok || again != hash {
				t.Errorf("%q is not the same as %q", typed, c)
			}
			for _, bad := range []string{c[1:], c + "2", strings.Replace(c, c[:1], "0", 1), strings.Replace(c, c[:1], "É", 1), ""} {
				if _, ok := mfa.HashRecoveryCode(bad); ok {
					t.Errorf("%q counts as a code", bad)
				}
			}
		}
	}
	boom := errors.New("boom")
	if _, err := mfa.NewRecoveryCodes(iotest.ErrReader(boom)); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}
