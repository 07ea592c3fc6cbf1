package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/authsvc"
	"gatehouse/authsvc/oidc"
	"gatehouse/event"
)

// signIn is the whole flow, with what comes back at the mercy of change.
func signIn(t *testing.T, l *liar, c *oidc.Client, change func(url.Values)) (authsvc.Identity, error) {
	t.Helper()
	address, kept, err := c.Begin(t.Context(), redirect, false)
	if err != nil {
		t.Fatal(err)
	}
	back := l.authorize(t, address)
	change(back)
	return c.Finish(t.Context(), kept, back)
}

func asIs(url.Values) {}

func TestIdentity(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	id, err := signIn(t, l, l.client(), asIs)
	want := authsvc.Identity{
		Issuer: l.URL, Subject: "ada", Username: "ada", DisplayName: "Ada L.", Email: "ada@example.com", EmailVerified: true, Values: []string{"staff", "boss"},
	}
	if err != nil || !reflect.DeepEqual(id, want) {
		t.Errorf("%+v, %v\nwant %+v", id, err, want)
	}
	l.more = map[string]any{"authorization_response_iss_parameter_supported": true}
	if id, err = signIn(t, l, l.client(), func(v url.Values) { v.Set("iss", l.URL) }); err != nil || id.Subject != "ada" {
		t.Errorf("a provider that names itself: %+v, %v", id, err)
	}
}

// TestSecondFactorTold reads whether the provider asked for more than a password.
func TestSecondFactorTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amr, acr any
		values   []string
		trust    bool
		want     bool
	}{
		{[]string{"pwd", "mfa"}, "1", nil, false, false},
		{[]string{"pwd", "mfa"}, "1", []string{"mfa"}, false, true},
		{"mfa", nil, []string{"mfa"}, false, true},
		{[]string{"pwd"}, "2", []string{"mfa", "2"}, false, true},
		{[]string{"pwd"}, "1", []string{"mfa", "2"}, false, false},
		{nil, nil, []string{"mfa", ""}, false, false},
		{[]any{1, true, nil}, 2, []string{"2", "true", ""}, false, false},
		{nil, nil, nil, true, true},
	} {
		l := newLiar(t)
		l.lie = func(m jwt.MapClaims) {
			for name, v := range map[string]any{"amr": c.amr, "acr": c.acr} {
				if v != nil {
					m[name] = v
				}
			}
			delete(m, "email_verified") // so that userinfo is asked too, which must not be listened to in this
		}
		l.more = map[string]any{"userinfo_endpoint": l.URL + "/userinfo"}
		l.userinfo = map[string]any{"sub": "ada", "amr": []string{"mfa"}, "acr": "2", "auth_time": time.Now().Unix()}
		client := oidc.New(oidc.Config{
			Issuer: l.URL, ClientID: clientID, ClientSecret: "secret", Scopes: []string{"openid"}, FactorValues: c.values, TrustFactors: c.trust,
		})
		if id, err := signIn(t, l, client, asIs); err != nil || id.SecondFactor != c.want || !id.SignedIn.IsZero() {
			t.Errorf("%+v: %v at %v, %v", c, id.SecondFactor, id.SignedIn, err)
		}
	}
}

// TestAnew has the provider ask again, and it must say that it did.
func TestAnew(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	for what, c := range map[string]struct {
		said any // auth_time
		anew bool
		want time.Time
		bad  bool
	}{
		"an old sign-in":                    {now.Add(-time.Hour).Unix(), false, now.Add(-time.Hour), false},
		"nothing":                           {nil, false, time.Time{}, false},
		"no number":                         {"yesterday", false, time.Time{}, false},
		"a time to come":                    {now.Add(time.Hour).Unix(), false, now, false},
		"anew, and it did":                  {now.Unix(), true, now, false},
		"anew, a clock that is behind":      {now.Add(-30 * time.Second).Unix(), true, now.Add(-30 * time.Second), false},
		"anew, and it did not":              {now.Add(-5 * time.Minute).Unix(), true, time.Time{}, true},
		"anew, and it does not say whether": {nil, true, time.Time{}, true},
	} {
		l := newLiar(t)
		l.lie = func(m jwt.MapClaims) {
			if c.said != nil {
				m["auth_time"] = c.said
			}
		}
		client := oidc.New(oidc.Config{Issuer: l.URL, ClientID: clientID, ClientSecret: "secret", Scopes: []string{"openid"}, Now: func() time.Time { return now }})
		address, kept, err := client.Begin(t.Context(), redirect, c.anew)
		if err != nil {
			t.Fatal(err)
		}
		if q := mustQuery(t, address); (q.Get("prompt") == "login" && q.Get("max_age") == "0") != c.anew {
			t.Errorf("%s: asked for %v", what, q)
		}
		id, err := client.Finish(t.Context(), kept, l.authorize(t, address))
		if (event.ErrorCode(err) == event.CodeUnauthorized) != c.bad || !id.SignedIn.Equal(c.want) {
			t.Errorf("%s: %v, %v; want %v", what, id.SignedIn, err, c.want)
		}
	}
}

func mustQuery(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// TestForgedTokens sends ID tokens that are wrong in one thing each, and answers that somebody has meddled with.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string, value any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = value } }
	half := sha256.Sum256([]byte("another access token"))
	for name, c := range map[string]struct {
		lie    func(jwt.MapClaims)
		sign   func(*liar, jwt.MapClaims) string
		change func(url.Values)
		more   map[string]any
		good   bool
	}{
		"nothing":                 {good: true},
		"another state":           {change: func(v url.Values) { v.Set("state", strings.Repeat("A", 43)) }},
		"no state":                {change: func(v url.Values) { v.Del("state") }},
		"two states":              {change: func(v url.Values) { v["state"] = append(v["state"], v.Get("state")) }},
		"two codes":               {change: func(v url.Values) { v["code"] = append(v["code"], v.Get("code")) }},
		"no code":                 {change: func(v url.Values) { v.Del("code") }},
		"another code":            {change: func(v url.Values) { v.Set("code", "guessed") }},
		"refused there":           {change: func(v url.Values) { v.Set("error", "access_denied") }},
		"another issuer's code":   {change: func(v url.Values) { v.Set("iss", "https://evil.example") }},
		"iss left out":            {more: map[string]any{"authorization_response_iss_parameter_supported": true}},
		"another nonce":           {lie: set("nonce", strings.Repeat("A", 43))},
		"no nonce":                {lie: func(c jwt.MapClaims) { delete(c, "nonce") }},
		"for another client":      {lie: set("aud", "another")},
		"for two, azp another":    {lie: func(c jwt.MapClaims) { c["aud"], c["azp"] = []string{clientID, "another"}, "another" }},
		"for two, no azp":         {lie: set("aud", []string{clientID, "another"})},
		"for two, azp ours":       {lie: func(c jwt.MapClaims) { c["aud"], c["azp"] = []string{clientID, "another"}, clientID }, good: true},
		"of another issuer":       {lie: set("iss", "https://evil.example")},
		"expired":                 {lie: set("exp", time.Now().Add(-time.Minute).Unix())},
		"never expires":           {lie: func(c jwt.MapClaims) { delete(c, "exp") }},
		"not yet":                 {lie: set("nbf", time.Now().Add(time.Hour).Unix())},
		"nobody":                  {lie: set("sub", "")},
		"of another access token": {lie: set("at_hash", base64.RawURLEncoding.EncodeToString(half[:16]))},
		"alg none": {sign: func(_ *liar, c jwt.MapClaims) string {
			return signed(t, jwt.SigningMethodNone, c, jwt.UnsafeAllowNoneSignatureType)
		}},
		"HMAC with the public key": {sign: func(l *liar, c jwt.MapClaims) string {
			der, err := x509.MarshalPKIXPublicKey(&l.key.PublicKey)
			if err != nil {
				t.Error(err)
			}
			return signed(t, jwt.SigningMethodHS256, c, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		}},
		"HMAC with the secret": {sign: func(_ *liar, c jwt.MapClaims) string { return signed(t, jwt.SigningMethodHS256, c, []byte("secret")) }},
		"another key":          {sign: func(_ *liar, c jwt.MapClaims) string { return signed(t, jwt.SigningMethodRS256, c, other) }},
		"no ID token":          {sign: func(*liar, jwt.MapClaims) string { return "" }},
		"changed after signing": {sign: func(l *liar, c jwt.MapClaims) string {
			good := strings.Split(signed(t, jwt.SigningMethodRS256, c, l.key), ".")
			c["sub"] = "root"
			evil := strings.Split(signed(t, jwt.SigningMethodRS256, c, other), ".")
			return good[0] + "." + evil[1] + "." + good[2]
		}},
		"groups by reference": {lie: func(c jwt.MapClaims) {
			delete(c, "groups")
			c["_claim_names"] = map[string]string{"groups": "src"}
			c["_claim_sources"] = map[string]any{"src": map[string]string{"endpoint": "http://127.0.0.1:1/"}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			if c.lie != nil {
				l.lie = c.lie
			}
			if c.sign != nil {
				l.sign = c.sign
			}
			if c.change == nil {
				c.change = asIs
			}
			if c.more != nil {
				l.more = c.more
			}
			id, err := signIn(t, l, l.client(), c.change)
			if c.good {
				if err != nil || id.Subject != "ada" {
					t.Errorf("%+v, %v", id, err)
				}
				return
			}
			// Whoever finishes a sign-in is told nothing of what was wrong, and is nobody.
			if event.ErrorCode(err) != event.CodeUnauthorized || id.Subject != "" {
				t.Errorf("%+v, %v", id, err)
			}
			if strings.Contains(event.ErrorMessage(err), "nonce") {
				t.Errorf("told: %s", event.ErrorMessage(err))
			}
		})
	}
}

func TestCodeIsGoodOnce(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	c := l.client()
	address, kept, err := c.Begin(t.Context(), redirect, false)
	if err != nil {
		t.Fatal(err)
	}
	back := l.authorize(t, address)
	if _, err := c.Finish(t.Context(), kept, back); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Finish(t.Context(), kept, back); event.ErrorCode(err) != event.CodeUnauthorized {
		t.Errorf("the code a second time: %v", err)
	}
	// Somebody else's code in one's own browser: PKCE binds it to the browser that asked.
	address, _, err = c.Begin(t.Context(), redirect, false)
	if err != nil {
		t.Fatal(err)
	}
	stolen := l.authorize(t, address)
	address, kept, err = c.Begin(t.Context(), redirect, false)
	if err != nil {
		t.Fatal(err)
	}
	own := l.authorize(t, address)
	own.Set("code", stolen.Get("code"))
	if _, err := c.Finish(t.Context(), kept, own); event.ErrorCode(err) != event.CodeUnauthorized {
		t.Errorf("another browser's code: %v", err)
	}
	for _, nothing := range []string{"", "{}", "null", `{"state":""}`} {
		if _, err := c.Finish(t.Context(), []byte(nothing), url.Values{"state": {""}, "code": {"x"}}); event.ErrorCode(err) != event.CodeUnauthorized {
			t.Errorf("%q kept: %v", nothing, err)
		}
	}
}

func TestUserInfo(t *testing.T) {
	t.Parallel()
	without := func(c jwt.MapClaims) {
		for _, name := range []string{"groups", "email", "email_verified"} {
			delete(c, name)
		}
	}
	for name, c := range map[string]struct {
		userinfo map[string]any
		lie      func(jwt.MapClaims)
		want     func(authsvc.Identity, error) bool
	}{
		"fills in": {map[string]any{"sub": "ada", "groups": "one", "email": "a@example.com", "email_verified": "true"}, without, func(id authsvc.Identity, err error) bool {
			return err == nil && reflect.DeepEqual(id.Values, []string{"one"}) && id.Email == "a@example.com" && id.EmailVerified && id.DisplayName == "Ada L."
		}},
		"of somebody else": {map[string]any{"sub": "eve", "groups": "boss"}, without, func(_ authsvc.Identity, err error) bool {
			return event.ErrorCode(err) == event.CodeUnauthorized
		}},
		"verifies another address": {map[string]any{"sub": "ada", "email": "own@evil.example", "email_verified": true}, func(c jwt.MapClaims) {
			delete(c, "email_verified")
		}, func(id authsvc.Identity, err error) bool {
			return err == nil && id.Email == "ada@example.com" && !id.EmailVerified
		}},
		"fails": {nil, without, func(_ authsvc.Identity, err error) bool {
			return event.ErrorCode(err) != "" // else everybody would lose their roles
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.more = map[string]any{"userinfo_endpoint": l.URL + "/userinfo"}
			l.lie, l.userinfo = c.lie, c.userinfo
			if id, err := signIn(t, l, l.client(), asIs); !c.want(id, err) {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
}

func TestNestedClaim(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	l.lie = func(c jwt.MapClaims) {
		c["realm_access"] = map[string]any{"roles": []any{"boss", 7, "", nil, strings.Repeat("x", 500)}}
		c["org"] = "Acme"
	}
	c := oidc.New(oidc.Config{
		Issuer: l.URL, ClientID: clientID, ClientSecret: "secret", Scopes: []string{"openid"}, RoleClaim: "realm_access.roles", CompanyClaim: "org",
	})
	id, err := signIn(t, l, c, asIs)
	if err != nil || !reflect.DeepEqual(id.Values, []string{"boss"}) || !reflect.DeepEqual(id.Companies, []string{"Acme"}) {
		t.Errorf("%+v, %v", id, err)
	}
}

// TestProviderAway takes the provider away: nobody waits for it each time, it is found again, and what it told before serves while it is away.
func TestProviderAway(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	now := time.Now()
	c := oidc.New(oidc.Config{Issuer: l.URL, ClientID: clientID, Scopes: []string{"openid"}, Now: func() time.Time { return now }})
	begin := func(want event.Code, asked int) {
		t.Helper()
		if _, _, err := c.Begin(t.Context(), redirect, false); event.ErrorCode(err) != want {
			t.Errorf("%v, want code %q", err, want)
		}
		if l.asked != asked {
			t.Errorf("asked %d times, want %d", l.asked, asked)
		}
	}
	l.away = true
	begin(event.CodeUnavailable, 1)
	begin(event.CodeUnavailable, 1) // not again at once
	now = now.Add(6 * time.Second)
	begin(event.CodeUnavailable, 2)
	l.away = false
	now = now.Add(6 * time.Second)
	begin("", 3)
	begin("", 3)
	l.away = true
	now = now.Add(2 * time.Hour)
	begin("", 4)
	begin("", 4)
}

// TestWrongDiscovery gives a description of another issuer, of an endless length and of no use.
func TestWrongDiscovery(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]map[string]any{
		"another issuer":    {"issuer": "https://evil.example"},
		"no token endpoint": {"token_endpoint": ""},
		"two megabytes":     {"x": strings.Repeat("x", 2<<20)},
	} {
		l := newLiar(t)
		l.more = more
		if _, _, err := l.client().Begin(t.Context(), redirect, false); event.ErrorCode(err) != event.CodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSecretsAreNotSentOn makes the token endpoint send the client elsewhere: neither code nor secret go there.
func TestSecretsAreNotSentOn(t *testing.T) {
	t.Parallel()
	l, thief := newLiar(t), newLiar(t)
	stolen := false
	thief.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { stolen = true })
	mux := http.NewServeMux()
	mux.Handle("/", l.Config.Handler)
	mux.Handle("POST /token", http.RedirectHandler(thief.URL+"/token", http.StatusTemporaryRedirect))
	l.Config.Handler = mux
	if id, err := signIn(t, l, l.client(), asIs); err == nil || stolen {
		t.Errorf("%+v, %v; the secret went elsewhere: %v", id, err, stolen)
	}
}
