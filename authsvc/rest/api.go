package rest

import (
	"context"
	"log/slog"
	"net/http"

	"gatehouse/authsvc"
	"gatehouse/authsvc/signin"
)

// Tokens tells whom a bearer token stands for that is no API key: an access token or a personal one.
type Tokens interface {
	// Actor gives the person of a token, as the database says at this moment, limited to the token's scopes. claim brings what is
	// known of the request. Every token that does not count (any more) is CodeUnauthorized, with one text.
	Actor(ctx context.Context, token string, claim authsvc.Claim) (*authsvc.Actor, error)
}

// Config is what an API is made of.
type Config struct {
	Store    *authsvc.Store
	Keys     *authsvc.Resolver
	SignIn   *signin.Service
	Sessions *Sessions
	Tokens   Tokens
	Log      *slog.Logger
}

// API serves the routes of accounts, and tells for other packages' routes who is asking. It is safe for concurrent use.
type API struct {
	store    *authsvc.Store
	keys     *authsvc.Resolver
	signin   *signin.Service
	sessions *Sessions
	tokens   Tokens
	log      *slog.Logger
}

// New makes an API.
func New(c Config) *API {
	return &API{store: c.Store, keys: c.Keys, signin: c.SignIn, sessions: c.Sessions, tokens: c.Tokens, log: c.Log}
}

// Route is one route as a router takes it. {name} in Path stands for one segment.
type Route struct {
	Method, Path string
	Handler      http.Handler
}

// Routes lists what the API serves. GET stands for HEAD too.
func (a *API) Routes() []Route {
	table := routes()
	list := make([]Route, len(table))
	for i := range table {
		rt := &table[i]
		list[i] = Route{rt.method, rt.path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serve(rt, w, r) })}
	}
	return list
}
