package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// AccessLifetime is how long an access token is good. It is short because it cannot be called back where the database does not
// answer; everywhere else its person's epoch is compared at each use.
const AccessLifetime = 10 * time.Minute

// leeway is how far the clocks of two servers may lie apart.
const leeway = 30 * time.Second

const (
	issuer   = "gatehouse"
	audience = "gatehouse-api"
)

// ErrAccess is the answer to every access token that does not hold. The reason is wrapped for the log; it is not for the caller.
var ErrAccess = errors.New("the access token is not valid")

// Access is what an access token says.
type Access struct {
	UserID uint32
	Epoch  int64  // of the person when it was made: raised since, the token counts no longer
	Family string // the sign-in that it came from, as the refresh tokens of it have
	Scopes string // as authsvc.Scopes writes them
	// SecondFactor says that more than a password was given at the sign-in.
	SecondFactor bool
	ID           string // its own, for the audit trail
	Expires      time.Time
}

// Signer makes and checks access tokens: JWTs signed with Ed25519 (RFC 7519, RFC 8037).
type Signer struct {
	now     func() time.Time
	random  io.Reader
	current signingKey
	known   map[string]ed25519.PublicKey // by key id
}

type signingKey struct {
	id      string
	private ed25519.PrivateKey
}

// NewSigner makes a Signer of seeds of 32 bytes: the first signs, the others still verify, so that a secret can be exchanged without ending
// what was signed with the one before.
func NewSigner(now func() time.Time, seeds ...[]byte) (*Signer, error) {
	s := &Signer{now: now, random: rand.Reader, known: map[string]ed25519.PublicKey{}}
	for i, seed := range seeds {
		if len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("BUG: a signing seed has %d bytes", len(seed))
		}
		private := ed25519.NewKeyFromSeed(seed)
		public, ok := private.Public().(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("BUG: an Ed25519 key without its public half")
		}
		sum := sha256.Sum256(public)
		id := hex.EncodeToString(sum[:8])
		s.known[id] = public
		if i == 0 {
			s.current = signingKey{id, private}
		}
	}
	if s.current.private == nil {
		return nil, errors.New("BUG: no signing seed")
	}
	return s, nil
}

// claims are the token's content. Unknown ones of a token are ignored; missing ones fail.
type claims struct {
	jwt.RegisteredClaims
	Epoch  int64  `json:"epoch"`
	Family string `json:"fam"`
	Scopes string `json:"scope"`
	Second bool   `json:"mfa,omitempty"`
}

// Sign makes an access token for AccessLifetime, and tells when it ends. ID and Expires of a are set here.
func (s *Signer) Sign(a Access) (signed string, expires time.Time, err error) {
	var id [12]byte
	if _, err := io.ReadFull(s.random, id[:]); err != nil {
		return "", time.Time{}, fmt.Errorf("no randomness for an access token: %w", err)
	}
	now := s.now()
	expires = now.Add(AccessLifetime).Truncate(time.Second)
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: strconv.FormatUint(uint64(a.UserID), 10),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires), ID: base64.RawURLEncoding.EncodeToString(id[:]),
		},
		Epoch: a.Epoch, Family: a.Family, Scopes: a.Scopes, Second: a.SecondFactor,
	})
	t.Header["kid"] = s.current.id
	signed, err = t.SignedString(s.current.private)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign an access token: %w", err)
	}
	return signed, expires, nil
}

// maxAccess is longer than any token that we make.
const maxAccess = 2048

// Verify reads a token and checks its signature, by the one algorithm that we sign with, its issuer, audience and times. Every error
// is ErrAccess.
func (s *Signer) Verify(signed string) (Access, error) {
	if len(signed) > maxAccess {
		return Access{}, fmt.Errorf("%w: %d bytes long", ErrAccess, len(signed))
	}
	var c claims
	_, err := jwt.ParseWithClaims(signed, &c, s.keyOf,
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(s.now), jwt.WithStrictDecoding())
	if err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrAccess, err)
	}
	id, err := strconv.ParseUint(c.Subject, 10, 32)
	if err != nil || id == 0 || c.Family == "" || c.ID == "" {
		return Access{}, fmt.Errorf("%w: a claim is missing", ErrAccess)
	}
	return Access{UserID: uint32(id), Epoch: c.Epoch, Family: c.Family, Scopes: c.Scopes, SecondFactor: c.Second, ID: c.ID, Expires: c.ExpiresAt.Time}, nil
}

// keyOf finds the public key that a token names. It is never taken from the token itself.
func (s *Signer) keyOf(t *jwt.Token) (any, error) {
	id, _ := t.Header["kid"].(string)
	if key, ok := s.known[id]; ok {
		return key, nil
	}
	return nil, fmt.Errorf("signed with an unknown key %.20q", id)
}

// LooksLikeAccess tells whether a bearer token has the form of an access token, so that it is not looked up as a key.
func LooksLikeAccess(s string) bool { return len(s) > 2 && s[:2] == "ey" }
