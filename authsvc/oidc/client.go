package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/event"
)

// Config is what a Client is made of.
type Config struct {
	Issuer       string // as the provider's discovery document names it
	ClientID     string
	ClientSecret string   // empty for a public client, which PKCE protects
	Scopes       []string // openid must be among them
	RoleClaim    string   // whose values become Identity.Values
	CompanyClaim string   // whose values become Identity.Companies; empty: none
	FactorValues []string // of amr or acr, by which the provider tells that it asked for more than one factor
	TrustFactors bool     // it is believed to have done so, whatever it tells

	HTTP http.RoundTripper // nil: http.DefaultTransport
	Now  func() time.Time  // nil: the clock
}

const (
	// httpTime bounds one request to the provider, which a person waits for.
	httpTime = 10 * time.Second
	// maxAnswer bounds what is read of one answer. Longer ones fail.
	maxAnswer = 1 << 20
	// keepDiscovery is how old the provider's description may be before it is asked again.
	keepDiscovery = time.Hour
	// retryDiscovery is how long a failure counts: until then nobody waits for a provider that is away.
	retryDiscovery = 5 * time.Second
)

// Client signs people in with one provider. Nothing is asked of the provider before somebody comes, so that one that is away keeps no server from
// starting. It is safe for concurrent use.
type Client struct {
	Config
	http *http.Client

	mu      sync.Mutex
	found   *provider
	at      time.Time // of found
	failure error
	failed  time.Time
}

// provider is what discovery told.
type provider struct {
	*oidc.Provider
	oauth    oauth2.Config
	namesIss bool // it names itself in its answers (RFC 9207)
}

// New makes a Client.
func New(c Config) *Client {
	if c.Now == nil {
		c.Now = time.Now
	}
	transport := c.HTTP
	if transport == nil {
		transport = http.DefaultTransport
	}
	return &Client{Config: c, http: &http.Client{Transport: bounded{transport}, Timeout: httpTime, CheckRedirect: redirected}}
}

// bounded reads no more than maxAnswer of an answer.
type bounded struct{ http.RoundTripper }

// RoundTrip sends a request.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	}
	return resp, err
}

// redirected follows where nothing secret goes: a code and a client's secret go to the address that discovery named, and no other.
func redirected(next *http.Request, before []*http.Request) error {
	if before[0].Method != http.MethodGet || before[0].Header.Get("Authorization") != "" || len(before) > 3 || before[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
		return http.ErrUseLastResponse
	}
	return nil
}

// unavailable is the answer while the provider cannot be asked.
func unavailable(cause error) error {
	return event.Wrap(event.CodeUnavailable, cause, "the identity provider does not answer as it should: try again in a moment, or sign in with a password")
}

// provider gives what discovery told. While the provider is away, what it told before goes on.
func (c *Client) provider(ctx context.Context) (*provider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	fresh := c.found != nil && now.Sub(c.at) < keepDiscovery
	if !fresh && (c.failure == nil || now.Sub(c.failed) >= retryDiscovery) {
		found, err := c.discover(ctx)
		if err != nil {
			c.failure, c.failed = err, now
		} else {
			c.found, c.at, c.failure = found, now, nil
		}
	}
	if c.found == nil {
		return nil, unavailable(c.failure)
	}
	return c.found, nil
}

func (c *Client) discover(ctx context.Context) (*provider, error) {
	// A browser that goes away must not make it fail for those who wait for it too; the client has a limit of its own.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), c.http), c.Issuer)
	if err != nil {
		return nil, err
	}
	var told struct {
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		NamesIss    bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&told); err != nil {
		return nil, fmt.Errorf("the discovery document: %w", err)
	}
	p := &provider{Provider: found, namesIss: told.NamesIss}
	p.oauth = oauth2.Config{ClientID: c.ClientID, ClientSecret: c.ClientSecret, Endpoint: found.Endpoint(), Scopes: c.Scopes}
	if p.oauth.Endpoint.AuthURL == "" || p.oauth.Endpoint.TokenURL == "" {
		return nil, errors.New("the discovery document names no authorization_endpoint or no token_endpoint")
	}
	// Said here rather than tried out: a try with the wrong way uses up the code.
	p.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if c.ClientSecret == "" || len(told.AuthMethods) > 0 && !slices.Contains(told.AuthMethods, "client_secret_basic") {
		p.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return p, nil
}
