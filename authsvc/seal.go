package authsvc

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// Purpose is what a derived key is for. Each has a key of its own, so that what was made for one is worth nothing to another.
type Purpose string

// The purposes. Their texts are part of what is stored: a changed one makes old values unreadable.
const (
	PurposeTOTP         Purpose = "totp"          // secrets of authenticator apps; row: the user's id
	PurposeSession      Purpose = "session"       // data of web sessions; row: see websession
	PurposeDeviceCookie Purpose = "device cookie" // the cookie by which a browser is known again
	PurposeCookieHash   Purpose = "cookie hash"   // gorilla/securecookie: authentication
	PurposeCookieBlock  Purpose = "cookie block"  // gorilla/securecookie: encryption
	PurposeCSRF         Purpose = "csrf"          // tokens in forms
	PurposeAccessToken  Purpose = "access token"  // seeds of the Ed25519 keys that sign access tokens
	PurposeLimit        Purpose = "limit"         // names of counters, which must not show whom they count
	PurposeTried        Purpose = "tried name"    // names that nobody has, as the audit trail shows them
	purposeCheck        Purpose = "key check"     // see Store.CheckSecretKey
	purposeKeyID        Purpose = "key id"        // which key sealed a value
)

// Sealer keeps secrets at rest: it encrypts what must be read again, and derives the keys that others sign and hash with. All of it comes
// from the configured secret key, or from several while one is being exchanged for another: the first makes everything new, and all of them
// read what is there. It is safe for concurrent use.
type Sealer struct {
	keys []string // secrets, the current one first
	ids  [][]byte // of the keys, sealedKeyID bytes each
	rand io.Reader
}

// derivedKey is the size of keys in bytes: of XChaCha20-Poly1305, of HMAC-SHA-256 and of an Ed25519 seed.
const derivedKey = 32

// The form of a sealed value: sealedMark, then in base64 the id of the key, the nonce, and the encrypted text with its tag.
const (
	sealedMark  = "s1."
	sealedKeyID = 4
)

// hkdfSalt sets these keys apart from those that other programs may derive from the same secret.
const hkdfSalt = "gatehouse v1"

// ErrSealed is the answer to every sealed value that cannot be opened: changed, moved from another row or purpose, or sealed with a key that
// this server does not have.
var ErrSealed = errors.New("a sealed value cannot be opened: it was changed, or sealed with another secret key")

// NewSealer makes a Sealer of secret keys as ParseSecretKey or LoadSecretKey give them, the current one first.
func NewSealer(secretKeys ...string) (*Sealer, error) {
	if len(secretKeys) == 0 {
		return nil, errors.New("BUG: a sealer without a key")
	}
	s := &Sealer{rand: rand.Reader}
	for _, key := range secretKeys {
		if err := checkSecretKey(key); err != nil {
			return nil, err
		}
		s.keys = append(s.keys, key)
		s.ids = append(s.ids, derive(key, purposeKeyID)[:sealedKeyID])
	}
	return s, nil
}

// derive gives the key of a purpose.
func derive(secret string, purpose Purpose) []byte {
	key, err := hkdf.Key(sha256.New, []byte(secret), []byte(hkdfSalt), string(purpose), derivedKey)
	if err != nil {
		panic("BUG: derive a key: " + err.Error()) // only for lengths that HKDF cannot give
	}
	return key
}

// Key is the current key of a purpose, 32 bytes.
func (s *Sealer) Key(purpose Purpose) []byte { return derive(s.keys[0], purpose) }

// Keys are the keys of a purpose, 32 bytes each: the current one, then those before it, which only verify.
func (s *Sealer) Keys(purpose Purpose) [][]byte {
	keys := make([][]byte, len(s.keys))
	for i, secret := range s.keys {
		keys[i] = derive(secret, purpose)
	}
	return keys
}

// MAC is a keyed hash of text in hex, 64 characters, with the current key of purpose: for what must be found again by its value but is too
// easily guessed for a plain hash.
func (s *Sealer) MAC(purpose Purpose, text string) string { return macHex(s.keys[0], purpose, text) }

// MACs are the hashes of text with the current key and all before it: what is stored may be any of them.
func (s *Sealer) MACs(purpose Purpose, text string) []string {
	list := make([]string, len(s.keys))
	for i, secret := range s.keys {
		list[i] = macHex(secret, purpose, text)
	}
	return list
}

func macHex(secret string, purpose Purpose, text string) string {
	h := hmac.New(sha256.New, derive(secret, purpose))
	_, _ = h.Write([]byte(text)) // never fails
	return hex.EncodeToString(h.Sum(nil))
}

// Seal encrypts plain for a purpose and the row that holds it. The text is fit for cookies and columns; it is 47 bytes and a third longer than
// plain, about. Opened for another row or purpose it fails, so a sealed value that is copied to another person's row is worth nothing.
func (s *Sealer) Seal(purpose Purpose, row string, plain []byte) (string, error) {
	aead, err := chacha20poly1305.NewX(s.Key(purpose))
	if err != nil {
		return "", fmt.Errorf("BUG: seal: %w", err)
	}
	// 192 random bits do not meet again, whoever seals how much.
	head := make([]byte, sealedKeyID+aead.NonceSize(), sealedKeyID+aead.NonceSize()+len(plain)+aead.Overhead())
	copy(head, s.ids[0])
	if _, err := io.ReadFull(s.rand, head[sealedKeyID:]); err != nil {
		return "", fmt.Errorf("no randomness to seal with: %w", err)
	}
	return sealedMark + base64.RawURLEncoding.EncodeToString(aead.Seal(head, head[sealedKeyID:], plain, sealedFor(purpose, row))), nil
}

// Open decrypts what Seal made for the same purpose and row. Every failure is ErrSealed.
func (s *Sealer) Open(purpose Purpose, row, sealed string) ([]byte, error) {
	key, raw, ok := s.split(sealed)
	if !ok {
		return nil, ErrSealed
	}
	aead, err := chacha20poly1305.NewX(derive(s.keys[key], purpose))
	if err != nil {
		return nil, fmt.Errorf("BUG: open: %w", err)
	}
	if len(raw) < aead.NonceSize() {
		return nil, ErrSealed
	}
	plain, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], sealedFor(purpose, row))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// Stale tells whether a value was sealed with a key other than the current one. Whoever opens it should then seal it anew, so that the old key can
// be taken away one day.
func (s *Sealer) Stale(sealed string) bool {
	key, _, ok := s.split(sealed)
	return ok && key != 0
}

// split takes a sealed value apart: which key it names, and what follows.
func (s *Sealer) split(sealed string) (key int, rest []byte, ok bool) {
	text, ok := strings.CutPrefix(sealed, sealedMark)
	if !ok {
		return 0, nil, false
	}
	// Strict, so that one value has one text: without it, the last character could be changed unseen.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < sealedKeyID || strings.ContainsAny(text, "\r\n") {
		return 0, nil, false
	}
	for i, id := range s.ids {
		if subtle.ConstantTimeCompare(id, raw[:sealedKeyID]) == 1 {
			return i, raw[sealedKeyID:], true
		}
	}
	return 0, nil, false
}

// sealedFor binds a sealed value to its place. The length keeps ("a", "bc") and ("ab", "c") apart.
func sealedFor(purpose Purpose, row string) []byte {
	ad := binary.BigEndian.AppendUint16(nil, uint16(len(purpose))) //nolint:gosec // our constants are short
	return append(append(ad, purpose...), row...)
}
