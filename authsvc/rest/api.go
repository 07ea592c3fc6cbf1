package rest

import (
	"log/slog"
	"net/http"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/signin"
	"gatehouse/internal/refusal"
)

// Config is what an API is made of.
type Config struct {
	Store    *authsvc.Store
	Keys     *authsvc.Resolver
	SignIn   *signin.Service
	Sessions *Sessions
	Guard    *limit.Guard
	Register limit.Rate // registrations of one address
	Guests   limit.Rate // sessions that one address may begin without signing in, each of which is a row
	Reads    limit.Rate // reports and data by one key, token or session
	Tokens   *signin.Tokens
	Factors  *signin.Factors
	// Callback is where an identity provider sends people back to, as it is registered there; empty: made of the address in the request.
	Callback string
	Log      *slog.Logger
}

// API serves the routes of accounts, and tells for other packages' routes who is asking. It is safe for concurrent use.
type API struct {
	store    *authsvc.Store
	keys     *authsvc.Resolver
	signin   *signin.Service
	sessions *Sessions
	guard    *limit.Guard
	register limit.Rate
	guests   limit.Rate
	reads    limit.Rate
	tokens   *signin.Tokens
	factors  *signin.Factors
	callback string
	log      *slog.Logger
	refused  *refusal.Log
}

// New makes an API.
func New(c Config) *API {
	return &API{store: c.Store, keys: c.Keys, signin: c.SignIn, sessions: c.Sessions, guard: c.Guard, register: c.Register, guests: c.Guests, reads: c.Reads, tokens: c.Tokens, factors: c.Factors, callback: c.Callback, log: c.Log, refused: refusal.New(c.Log, time.Now)}
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
