package main

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authsvc"
)

// TestRefreshReuse steals a refresh token.
func TestRefreshReuse(t *testing.T) {
	p := startPeople(t, nil)
	u := p.person(authsvc.RoleGlobalAdmin, "")
	owner, thief := p.browser(), p.browser()
	pair := owner.want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword}))
	exchange := func(b *browser, from reply, status int) reply {
		t.Helper()
		// An access token that has ended must not be in the way.
		return b.want(status, http.MethodPost, "/api/v1/auth/refresh", jsonOf(map[string]any{"refresh_token": from.text("refresh_token")}), "Authorization", "Bearer "+from.text("access_token")+"x")
	}
	stolen := pair
	next := exchange(owner, pair, 200)
	p.program("Authorization", "Bearer "+next.text("access_token")).want(200, http.MethodGet, "/api/v1/me/programs", "")
	exchange(thief, stolen, 401)
	exchange(owner, next, 401) // it was in two hands: nobody has it any more
	p.program("Authorization", "Bearer "+next.text("access_token")).want(401, http.MethodGet, "/api/v1/me", "")
	rows, _, err := p.store.ListAudit(t.Context(), localActor(), authsvc.AuditFilter{Action: "token.reuse"}, authsvc.Page{})
	if err != nil || len(rows) != 1 || rows[0].TargetName != u.Username {
		t.Errorf("the audit trail: %+v, %v", rows, err)
	}
	// A program can sign itself out, also one that may only read.
	reader := p.browser().want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword, "scopes": []string{"read"}}))
	program := p.program("Authorization", "Bearer "+reader.text("access_token"))
	program.want(200, http.MethodGet, "/api/v1/reports?company=Default", "")
	program.want(403, http.MethodGet, "/api/v1/users", "")
	program.want(204, http.MethodPost, "/api/v1/auth/sign-out", "")
	program.want(401, http.MethodGet, "/api/v1/me", "")
	exchange(program, reader, 401)
}

// TestForgedTokens changes access tokens, and makes some.
func TestForgedTokens(t *testing.T) {
	p := startPeople(t, nil)
	alpha := p.company("Alpha")
	u := p.person("", authsvc.RoleUser, alpha.ID)
	access := p.browser().want(200, http.MethodPost, "/api/v1/auth/token", jsonOf(map[string]any{"login": u.Username, "password": goodPassword})).text("access_token")
	p.program("Authorization", "Bearer "+access).want(200, http.MethodGet, "/api/v1/me", "")
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	plain := must(base64.RawURLEncoding.DecodeString(parts[1]))
	seg := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	asAdmin := seg(strings.NewReplacer(fmt.Sprintf(`"sub":"%d"`, u.ID), `"sub":"1"`, fmt.Sprintf(`"sub":%d`, u.ID), `"sub":1`).Replace(string(plain)))
	// A key of the forger's own, in the header, with which the token is really signed: under the name that it has there, and under that of ours.
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var head struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[0])), &head); err != nil || head.KeyID == "" {
		t.Fatal(head, err)
	}
	own := func(kid, payload string) string {
		head := seg(jsonOf(map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": kid, "jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64.RawURLEncoding.EncodeToString(public)}}))
		return head + "." + payload + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(head+"."+payload)))
	}
	symmetric := func(secret []byte, jwk string) string {
		head := seg(`{"alg":"HS256","typ":"JWT","kid":"` + head.KeyID + `"` + jwk + `}`)
		mac := hmac.New(sha256.New, secret)
		_, _ = mac.Write([]byte(head + "." + asAdmin))
		return head + "." + asAdmin + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	sealer := must(authsvc.NewSealer(must(authsvc.LoadSecretKey("", p.dataDir))...))
	ours, ok := ed25519.NewKeyFromSeed(sealer.Keys(authsvc.PurposeAccessToken)[0]).Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("no public key")
	}
	for name, forged := range map[string]string{
		"its own key":               own("mine", asAdmin),
		"its own key as ours":       own(head.KeyID, asAdmin),
		"its own key, same content": own(head.KeyID, parts[1]),
		"a secret of its own":       symmetric([]byte{0, 0, 0}, `,"jwk":{"kty":"oct","k":"AAAA"}`),
		"our public key as secret":  symmetric(ours, ""),
		"another person":            parts[0] + "." + asAdmin + "." + parts[2],
		"alg none":                  seg(`{"alg":"none","typ":"JWT"}`) + "." + asAdmin + ".",
		"alg None, signed":          seg(`{"alg":"None","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"no signature":              parts[0] + "." + parts[1] + ".",
		"another alg":               seg(`{"alg":"RS256","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"two parts":                 parts[0] + "." + parts[1],
		"cut":                       access[:len(access)-2],
	} {
		if r := p.program("Authorization", "Bearer "+forged).ask(http.MethodGet, "/api/v1/me", ""); r.status != 401 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	// One in the place of a cookie, of a key, in the query.
	p.program("Cookie", sessionCookie+"="+access).want(401, http.MethodGet, "/api/v1/me", "")
	p.browser().want(401, http.MethodGet, "/api/v1/reports?access_token="+access, "")
}
