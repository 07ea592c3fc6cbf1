package mfa

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// RecoveryCodes is how many a person gets at a time.
const RecoveryCodes = 10

const (
	// recoveryLetters leaves out what is easily misread on paper (0 O 1 I L U): 30 letters.
	recoveryLetters = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
	// recoveryLength gives 117 bits: nothing to guess, also for who has the hash, so that a plain one is enough to keep (ASVS 6.5.2 asks for 112).
	recoveryLength = 24
	recoveryGroup  = 4
)

// NewRecoveryCodes makes codes such as "4K7M-…-…-…" from random, which outside tests must be crypto/rand's reader. Each is good once,
// in place of the second factor.
func NewRecoveryCodes(random io.Reader) ([]string, error) {
	codes := make([]string, RecoveryCodes)
	for i := range codes {
		var b strings.Builder
		for n := range recoveryLength {
			if n > 0 && n%recoveryGroup == 0 {
				b.WriteByte('-')
			}
			letter, err := randomLetter(random)
			if err != nil {
				return nil, err
			}
			b.WriteByte(letter)
		}
		codes[i] = b.String()
	}
	return codes, nil
}

// randomLetter throws away the bytes beyond the last multiple of the letters' number: the rest are equally likely.
func randomLetter(random io.Reader) (byte, error) {
	const fair = 256 - 256%len(recoveryLetters)
	var b [1]byte
	for {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 0, fmt.Errorf("no randomness for recovery codes: %w", err)
		}
		if int(b[0]) < fair {
			return recoveryLetters[int(b[0])%len(recoveryLetters)], nil
		}
	}
}

// HashRecoveryCode is what is kept of a code, and by which it is found. Case, spaces and dashes do not matter; ok is false for what
// cannot be a code.
func HashRecoveryCode(code string) (hash string, ok bool) {
	plain := strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, strings.ToUpper(code))
	if len(plain) != recoveryLength || strings.Trim(plain, recoveryLetters) != "" {
		return "", false
	}
	sum := sha256.Sum256([]byte("recovery code " + plain))
	return hex.EncodeToString(sum[:]), true
}
