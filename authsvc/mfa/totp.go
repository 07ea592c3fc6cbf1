package mfa

import (
	"bytes"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"image/png"
	"io"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
)

// What every authenticator app understands: SHA-1, 6 digits, steps of 30 seconds. Others ignore larger values in the
// QR code without a word and then show wrong codes.
const (
	totpPeriod = 30
	totpDigits = otp.DigitsSix
	totpAlgo   = otp.AlgorithmSHA1
	// totpSecret is in bytes: 160 bits, as RFC 4226 recommends.
	totpSecret = 20
	// totpSkew is how many steps a clock may be off to either side.
	totpSkew = 1
)

// qrSize is the side of the QR code in pixels, large enough to be scanned from a laptop's screen.
const qrSize = 256

// TOTP is a secret that an authenticator app and Gatehouse share.
type TOTP struct {
	secret string // base32 without padding, as apps show it
}

// NewTOTP makes a secret from random, which outside tests must be crypto/rand's reader.
func NewTOTP(random io.Reader) (TOTP, error) {
	raw := make([]byte, totpSecret)
	if _, err := io.ReadFull(random, raw); err != nil {
		return TOTP{}, fmt.Errorf("no randomness for a second factor: %w", err)
	}
	return TOTP{base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)}, nil
}

// ReadTOTP reads what Secret gave.
func ReadTOTP(secret string) (TOTP, error) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil || len(raw) != totpSecret || base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw) != secret {
		return TOTP{}, fmt.Errorf("BUG: a stored second factor is not %d bytes in base32", totpSecret)
	}
	return TOTP{secret}, nil
}

// Secret is the shared secret, for typing into an app that cannot scan, and for keeping under seal.
func (t TOTP) Secret() string { return t.secret }

// URL is what the QR code says: otpauth://totp/…, with the names that the app lists the account by.
func (t TOTP) URL(issuer, account string) (string, error) {
	key, err := t.key(issuer, account)
	if err != nil {
		return "", err
	}
	return key.URL(), nil
}

// QR is the URL as a PNG picture.
func (t TOTP) QR(issuer, account string) ([]byte, error) {
	key, err := t.key(issuer, account)
	if err != nil {
		return nil, err
	}
	picture, err := key.Image(qrSize, qrSize)
	if err != nil {
		return nil, fmt.Errorf("draw the QR code: %w", err)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		return nil, fmt.Errorf("draw the QR code: %w", err)
	}
	return out.Bytes(), nil
}

// Verify tells whether code is right at the time now, one step to either side, and for which step. A step up to last, that of the last
// code that was accepted, is refused: whoever saw a code being typed cannot use it again (RFC 6238, 5.2). The caller keeps
// the step, under a lock that lets one of two equal requests through.
func (t TOTP) Verify(code string, now time.Time, last int64) (step int64, ok bool) {
	code = strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1 // apps show codes in two groups
		}
		return r
	}, code)
	if len(code) != int(totpDigits) {
		return 0, false
	}
	middle := now.Unix() / totpPeriod
	for s := middle - totpSkew; s <= middle+totpSkew; s++ {
		if s <= last || s < 0 {
			continue
		}
		want, err := t.at(s)
		// All steps are compared, however early one fits: the time tells nothing.
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && !ok {
			step, ok = s, true
		}
	}
	return step, ok
}

func (t TOTP) at(step int64) (string, error) {
	return hotp.GenerateCodeCustom(t.secret, uint64(step), hotp.ValidateOpts{Digits: totpDigits, Algorithm: totpAlgo}) //nolint:gosec // not negative
}

// Code is the code at a time, as an app would show it: for tests and for command lines.
func (t TOTP) Code(now time.Time) (string, error) { return t.at(now.Unix() / totpPeriod) }

func (t TOTP) key(issuer, account string) (*otp.Key, error) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(t.secret)
	if err != nil {
		return nil, fmt.Errorf("BUG: secret of a second factor: %w", err)
	}
	key, err := totp.Generate(totp.GenerateOpts{
		Issuer: issuer, AccountName: account, Period: totpPeriod, Secret: raw, Digits: totpDigits, Algorithm: totpAlgo,
	})
	if err != nil {
		return nil, fmt.Errorf("describe a second factor: %w", err)
	}
	return key, nil
}
