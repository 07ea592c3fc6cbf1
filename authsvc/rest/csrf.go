package rest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"

	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// Requests that change something and are signed in by a cookie could be sent by another site, with the cookie added by the browser. Two
// things keep such requests out, each by itself enough in a current browser: the browser's own word on where a request comes from
// (Sec-Fetch-Site and Origin, see [http.CrossOriginProtection]), and a token that only pages of ours know, bound to the session.
// Tokens and keys in headers need neither: no browser adds them.

// csrfHeader and csrfField carry the token, in requests by scripts and in forms.
const (
	csrfHeader = "X-CSRF-Token"
	csrfField  = "csrf_token"
)

const csrfNonce = 16

// csrfToken makes a token of the session's secret. Each is different, so that a page can be compressed without the token being found out bit by bit
// from its length (BREACH); all of one session's are good until it gets a new id.
func csrfToken(s *websession.Session) string {
	nonce := make([]byte, csrfNonce, csrfNonce+sha256.Size)
	_, _ = rand.Read(nonce) // it cannot fail
	return base64.RawURLEncoding.EncodeToString(csrfSum(s.CSRF, nonce))
}

// csrfSum appends to nonce what only the session's secret makes of it.
func csrfSum(secret, nonce []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write(nonce) // never fails
	return mac.Sum(nonce)
}

func csrfValid(s *websession.Session, token string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != csrfNonce+sha256.Size || len(s.CSRF) == 0 {
		return false
	}
	return hmac.Equal(raw, csrfSum(s.CSRF, raw[:csrfNonce:csrfNonce]))
}

var crossOrigin = http.NewCrossOriginProtection()

var errCSRF = event.Errorf(event.CodeForbidden, "this request did not come from a page of this server, or the page is too old: load it again and repeat what you did")

// checkCSRF refuses a request by cookie that changes something unless it comes from a page of ours.
func checkCSRF(r *http.Request, s *websession.Session) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil // they change nothing here, which the route table's test holds
	}
	if err := crossOrigin.Check(r); err != nil {
		return errCSRF
	}
	token := r.Header.Get(csrfHeader)
	if token == "" && isForm(r) {
		token = r.PostFormValue(csrfField)
	}
	if !csrfValid(s, token) {
		return errCSRF
	}
	return nil
}

func isForm(r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	const form = "application/x-www-form-urlencoded"
	return len(kind) >= len(form) && kind[:len(form)] == form
}
