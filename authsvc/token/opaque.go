package token

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
)

// Kind is one kind of opaque token. Its text begins with a mark, by which people and secret scanners tell what they found, and goes on
// with 43 characters of base 62: 256 random bits, without a character that shells, URLs or a double click treat specially.
type Kind string

// The kinds.
const (
	APIKey   Kind = "gh_"  // a site of a company
	Personal Kind = "ghp_" // a person, with scopes
	Refresh  Kind = "ghr_" // exchanges itself for a new access token, once
)

const (
	digits  = 43 // the least with 62^n > 2^256
	letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	visible = 8
)

// New makes a token from random, which outside tests must be crypto/rand's reader.
func (k Kind) New(random io.Reader) (string, error) {
	var bits [32]byte
	if _, err := io.ReadFull(random, bits[:]); err != nil {
		return "", fmt.Errorf("no randomness for a new token: %w", err)
	}
	n := new(big.Int).SetBytes(bits[:])
	base, digit := big.NewInt(int64(len(letters))), new(big.Int)
	var out [digits]byte
	for i := len(out) - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		out[i] = letters[digit.Int64()]
	}
	return string(k) + string(out[:]), nil
}

// WellFormed tells whether s can be a token of this kind at all.
func (k Kind) WellFormed(s string) bool {
	if len(s) != len(k)+digits || s[:len(k)] != string(k) {
		return false
	}
	for i := len(k); i < len(s); i++ {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// Prefix is the part of a well-formed token that may be shown: enough to tell tokens apart, far from enough to find the rest.
func (k Kind) Prefix(s string) string { return s[:len(k)+visible] }

// Hash is what is kept of a token. A plain hash is enough: with 256 random bits there is nothing to guess, and looking it up
// by its hash leaks nothing of the token by timing.
func Hash(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }

// HashText is Hash as the tables hold it.
func HashText(s string) string {
	sum := Hash(s)
	return hex.EncodeToString(sum[:])
}
