package signin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

const origin = "https://gate.example.org"

// authenticator is a security key made of software: one ES256 credential, and a browser that shows it a page.
type authenticator struct {
	t       testing.TB
	key     *ecdsa.PrivateKey
	id      []byte
	handle  string // of the person for whom it was made
	counter uint32

	// What the page and the key say; tests change them.
	origin string
	rp     string
	flags  byte
}

// The flags of authenticator data (WebAuthn, 6.1).
const (
	userPresent  = 0x01
	userVerified = 0x04
	newKeyInside = 0x40
)

func newAuthenticator(t testing.TB) *authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 32)
	_, _ = rand.Read(id)
	return &authenticator{t: t, key: key, id: id, origin: origin, rp: "gate.example.org", flags: userPresent}
}

// asked is what of the server's options an authenticator looks at.
type asked struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RPID      string `json:"rpId"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		Allow   []struct{ ID string } `json:"allowCredentials"`
		Exclude []struct{ ID string } `json:"excludeCredentials"`
	} `json:"publicKey"`
}

func (a *authenticator) read(options json.RawMessage) (q asked) {
	a.t.Helper()
	if err := json.Unmarshal(options, &q); err != nil || q.PublicKey.Challenge == "" {
		a.t.Fatalf("%v: %s", err, options)
	}
	return q
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (a *authenticator) json(v any) json.RawMessage {
	a.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}

// page is what the browser says of the page that asks.
func (a *authenticator) page(kind, challenge string) []byte {
	return a.json(map[string]any{"type": kind, "challenge": challenge, "origin": a.origin, "crossOrigin": false})
}

func (a *authenticator) data(flags byte) []byte {
	a.counter++
	sum := sha256.Sum256([]byte(a.rp))
	return binary.BigEndian.AppendUint32(append(sum[:], flags), a.counter)
}

// register answers options for a new credential.
func (a *authenticator) register(options json.RawMessage) json.RawMessage {
	a.t.Helper()
	q := a.read(options)
	a.handle = q.PublicKey.User.ID
	point, err := a.key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		a.t.Fatal(err)
	}
	public, err := cbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
	if err != nil {
		a.t.Fatal(err)
	}
	data := append(a.data(a.flags|newKeyInside), make([]byte, 16)...) // no model
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.id)))
	data = append(append(data, a.id...), public...)
	object, err := cbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.json(map[string]any{"id": b64(a.id), "rawId": b64(a.id), "type": "public-key", "response": map[string]any{
		"clientDataJSON": b64(a.page("webauthn.create", q.PublicKey.Challenge)), "attestationObject": b64(object),
	}})
}

// sign answers a challenge.
func (a *authenticator) sign(options json.RawMessage) json.RawMessage {
	a.t.Helper()
	page, data := a.page("webauthn.get", a.read(options).PublicKey.Challenge), a.data(a.flags)
	pageSum := sha256.Sum256(page)
	sum := sha256.Sum256(append(append([]byte(nil), data...), pageSum[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.json(map[string]any{"id": b64(a.id), "rawId": b64(a.id), "type": "public-key", "response": map[string]any{
		"clientDataJSON": b64(page), "authenticatorData": b64(data), "signature": b64(signature), "userHandle": a.handle,
	}})
}
