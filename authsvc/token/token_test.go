package token_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatehouse/authsvc/token"
)

func TestOpaque(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, kind := range []token.Kind{token.APIKey, token.Personal, token.Refresh} {
		for range 200 {
			s, err := kind.New(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if !kind.WellFormed(s) || seen[s] || kind.Prefix(s) != s[:len(kind)+8] {
				t.Fatalf("%q", s)
			}
			seen[s] = true
			for _, other := range []token.Kind{token.APIKey, token.Personal, token.Refresh} {
				if other != kind && other.WellFormed(s) {
					t.Errorf("%q counts as %s too", s, other)
				}
			}
			if kind.WellFormed(s[1:]) || kind.WellFormed(s+"0") || kind.WellFormed(s[:10]+"-"+s[11:]) {
				t.Errorf("a part of %q counts as a token", s)
			}
		}
	}
	boom := errors.New("boom")
	if _, err := token.APIKey.New(iotest.ErrReader(boom)); !errors.Is(err, boom) {
		t.Errorf("a token without randomness: %v", err)
	}
	// All bits count: the smallest and the largest number have tokens of the same length.
	low, err := token.APIKey.New(bytes.NewReader(make([]byte, 32)))
	if err != nil || !token.APIKey.WellFormed(low) {
		t.Errorf("%q, %v", low, err)
	}
	high, err := token.APIKey.New(bytes.NewReader(bytes.Repeat([]byte{255}, 32)))
	if err != nil || !token.APIKey.WellFormed(high) || high == low {
		t.Errorf("%q, %v", high, err)
	}
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newSigner(t *testing.T, now *time.Time, seeds ...byte) *token.Signer {
	t.Helper()
	var all [][]byte
	for _, b := range seeds {
		all = append(all, bytes.Repeat([]byte{b}, ed25519.SeedSize))
	}
	s, err := token.NewSigner(func() time.Time { return *now }, all...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAccess(t *testing.T) {
	t.Parallel()
	now := epoch
	s := newSigner(t, &now, 1)
	want := token.Access{UserID: 4_000_000_000, Epoch: 7, Family: "f1", Scopes: "read,manage", SecondFactor: true}
	signed, expires, err := s.Sign(want)
	if err != nil || !token.LooksLikeAccess(signed) {
		t.Fatalf("%q, %v", signed, err)
	}
	got, err := s.Verify(signed)
	want.ID, want.Expires = got.ID, got.Expires
	if err != nil || got != want || got.ID == "" || !got.Expires.Equal(expires) || !expires.Equal(now.Add(token.AccessLifetime)) {
		t.Errorf("%+v, %v", got, err)
	}
	now = expires.Add(time.Minute)
	if _, err := s.Verify(signed); !errors.Is(err, token.ErrAccess) {
		t.Errorf("past its end: %v", err)
	}
	now = epoch.Add(-time.Hour)
	if _, err := s.Verify(signed); !errors.Is(err, token.ErrAccess) {
		t.Errorf("before it was made: %v", err)
	}
	now = epoch
	// After an exchange of the secret, the old one still verifies and does not sign.
	next := newSigner(t, &now, 2, 1)
	if _, err := next.Verify(signed); err != nil {
		t.Errorf("the secret before the last: %v", err)
	}
	fresh, _, err := next.Sign(want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(fresh); !errors.Is(err, token.ErrAccess) {
		t.Errorf("signed with a secret that is not known: %v", err)
	}
	// Every bit of it is covered.
	for i := range len(signed) {
		if signed[i] == '.' {
			continue
		}
		bad := []byte(signed)
		bad[i] ^= 1
		if _, err := s.Verify(string(bad)); !errors.Is(err, token.ErrAccess) {
			t.Errorf("changed at %d: %v", i, err)
		}
	}
}

// TestAlgorithms tries what is known against verifiers that believe a token's own word for how it is signed.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	now := epoch
	s := newSigner(t, &now, 1)
	signed, _, err := s.Sign(token.Access{UserID: 1, Epoch: 1, Family: "f", Scopes: "read"})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(signed, ".")
	var head map[string]any
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		t.Fatal(err)
	}
	public, ok := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("no public key")
	}
	mine := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))
	mac := func(key []byte, text string) string {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	forge := func(change map[string]any, sign func(text string) string) string {
		h := map[string]any{}
		for k, v := range head {
			h[k] = v
		}
		for k, v := range change {
			h[k] = v
		}
		raw, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		text := base64.RawURLEncoding.EncodeToString(raw) + "." + parts[1]
		return text + "." + sign(text)
	}
	none := func(string) string { return "" }
	jwk := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(mine[32:])}
	byMe := func(text string) string {
		return base64.RawURLEncoding.EncodeToString(ed25519.Sign(mine, []byte(text)))
	}
	for name, forged := range map[string]string{
		"none":                     forge(map[string]any{"alg": "none"}, none),
		"None":                     forge(map[string]any{"alg": "None"}, none),
		"no signature":             forge(nil, none),
		"HMAC with the public key": forge(map[string]any{"alg": "HS256"}, func(x string) string { return mac(public, x) }),
		"HMAC with the empty key":  forge(map[string]any{"alg": "HS256"}, func(x string) string { return mac(nil, x) }),
		"a key of its own in jwk":  forge(map[string]any{"jwk": jwk}, byMe),
		"a key of its own by jku":  forge(map[string]any{"jku": "https://evil.example/keys", "kid": "evil"}, byMe),
		"kid as a path":            forge(map[string]any{"kid": "../../dev/null"}, byMe),
		"kid as a number":          forge(map[string]any{"kid": 7}, byMe),
		"RS256":                    forge(map[string]any{"alg": "RS256"}, byMe),
		"signature of another key": forge(nil, byMe),
		"signature over nothing":   parts[0] + "." + parts[1] + ".",
		"two parts":                parts[0] + "." + parts[1],
		"four parts":               signed + ".x",
		"padded":                   signed + "=",
		"empty":                    "",
		"very long":                signed + strings.Repeat("A", 4096),
	} {
		if got, err := s.Verify(forged); !errors.Is(err, token.ErrAccess) {
			t.Errorf("%s was accepted: %+v, %v", name, got, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	now := epoch
	s, err := token.NewSigner(func() time.Time { return now }, bytes.Repeat([]byte{1}, ed25519.SeedSize))
	if err != nil {
		f.Fatal(err)
	}
	signed, _, err := s.Sign(token.Access{UserID: 1, Epoch: 1, Family: "f", Scopes: "read"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := s.Verify(text); err == nil && text != signed {
			t.Errorf("accepted %q", text)
		}
	})
}
