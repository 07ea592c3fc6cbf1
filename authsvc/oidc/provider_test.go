package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/authsvc/oidc"
)

const (
	clientID = "gatehouse"
	redirect = "https://gatehouse.example/back"
)

// liar is a provider that says what a test has it say. Each code is good once, for whoever has the verifier that belongs to it.
type liar struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu       sync.Mutex
	away     bool
	asked    int // requests for the discovery document
	more     map[string]any
	codes    map[string]url.Values // what the authorization was asked for
	sign     func(l *liar, c jwt.MapClaims) string
	lie      func(jwt.MapClaims)
	userinfo map[string]any
}

// liarKey is one for all, since making one takes long.
var liarKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newLiar(t *testing.T) *liar {
	t.Helper()
	l := &liar{key: liarKey(), codes: map[string]url.Values{}, more: map[string]any{}, lie: func(jwt.MapClaims) {}}
	l.sign = func(l *liar, c jwt.MapClaims) string { return signed(t, jwt.SigningMethodRS256, c, l.key) }
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", l.discovery)
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"keys": []any{jwk(&l.key.PublicKey)}})
	})
	mux.HandleFunc("POST /token", l.token)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(w, l.userinfo)
	})
	l.Server = httptest.NewServer(mux)
	t.Cleanup(l.Close)
	return l
}

func jwk(k *rsa.PublicKey) map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1",
		"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
	}
}

func signed(t *testing.T, m jwt.SigningMethod, c jwt.Claims, key any) string {
	token := jwt.NewWithClaims(m, c)
	token.Header["kid"] = "1"
	text, err := token.SignedString(key)
	if err != nil {
		t.Error(err)
	}
	return text
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // else the client is gone
}

func (l *liar) discovery(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked++; l.away {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	doc := map[string]any{
		"issuer": l.URL, "authorization_endpoint": l.URL + "/authorize", "token_endpoint": l.URL + "/token", "jwks_uri": l.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
	}
	maps.Copy(doc, l.more)
	answer(w, doc)
}

// authorize is what the browser is asked for at the provider: it gives the query of the address that sends it back.
func (l *liar) authorize(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("client_id") != clientID || q.Get("redirect_uri") != redirect || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		len(q.Get("state")) < 40 || len(q.Get("nonce")) < 40 || q.Get("state") == q.Get("nonce") {
		t.Errorf("asked for %v", q)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	code := rand.Text()
	l.codes[code] = q
	return url.Values{"state": {q.Get("state")}, "code": {code}}
}

func (l *liar) token(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	asked, ok := l.codes[r.PostFormValue("code")]
	delete(l.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	id, secret, _ := r.BasicAuth()
	if !ok || id != clientID || secret != "secret" || r.PostFormValue("redirect_uri") != redirect || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	now := time.Now()
	c := jwt.MapClaims{
		"iss": l.URL, "sub": "ada", "aud": clientID, "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nonce": asked.Get("nonce"),
		"email": "ada@example.com", "email_verified": true, "preferred_username": "ada", "name": "Ada L.", "groups": []string{"staff", "boss"},
	}
	l.lie(c)
	answer(w, map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 60, "id_token": l.sign(l, c)})
}

func (l *liar) client() *oidc.Client {
	return oidc.New(oidc.Config{Issuer: l.URL, ClientID: clientID, ClientSecret: "secret", Scopes: []string{"openid", "email"}, RoleClaim: "groups"})
}
