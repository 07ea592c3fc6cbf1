package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/redis/go-redis/v9"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/rest"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/config"
	"gatehouse/dashboards"
	"gatehouse/event"
	"gatehouse/internal/edge"
	"gatehouse/query"
)

// redisPrefix begins the names of all our keys in Redis. The braces keep them on one node of a Redis cluster, as sessions need.
const redisPrefix = "{gatehouse}:"

// accounts are what people sign in with.
type accounts struct {
	redis       *redis.Client // nil: counts and sessions are kept without
	limiter     limit.Limiter // of all limits; limitSecret names what it counts
	limitSecret []byte
	settings    settings
	api         *rest.API
	pages       *dashboards.Pages
}

// settings are those of the database as they were a short while ago, for what is asked with every request.
type settings struct {
	store *authsvc.Store
	last  atomic.Pointer[keptSettings]
}

type keptSettings struct {
	at time.Time
	authsvc.Settings
}

// keepSettings is how old they may be: a change by another server counts that much later here.
const keepSettings = 5 * time.Second

// get gives the settings, at most keepSettings old. While the database does not answer, those from before go on.
func (s *settings) get(ctx context.Context) (authsvc.Settings, error) {
	last := s.last.Load()
	if last != nil && time.Since(last.at) < keepSettings {
		return last.Settings, nil
	}
	now, err := s.store.GetSettings(ctx)
	if err != nil {
		if last != nil {
			return last.Settings, nil
		}
		return authsvc.Settings{}, err
	}
	s.last.Store(&keptSettings{time.Now(), now})
	return now, nil
}

// timeouts are those of sessions: what administrators have set, else what config.ini says.
func (s *settings) timeouts(cfg config.Session) func() (idle, absolute time.Duration) {
	return func() (idle, absolute time.Duration) {
		idle, absolute = cfg.IdleTimeout, cfg.AbsoluteTimeout
		set, err := s.get(context.Background())
		if err != nil {
			return idle, absolute
		}
		if set.SessionIdle > 0 {
			idle = set.SessionIdle
		}
		if set.SessionAbsolute > 0 {
			absolute = set.SessionAbsolute
		}
		return idle, absolute
	}
}

// openAccounts makes what people sign in with. A server that a command starts for itself needs none of it.
func (s *server) openAccounts(ctx context.Context) error {
	if s.listen == "" {
		s.accounts.limiter = limit.NewMemory(time.Now) // of what one command imports
		return nil
	}
	keys, err := authsvc.LoadSecretKey(s.cfg.Security.SecretKey.Reveal(), s.dataDir)
	if err != nil {
		return err
	}
	sealer, err := authsvc.NewSealer(keys...)
	if err != nil {
		return err
	}
	if err := s.store.CheckSecretKey(ctx, sealer); err != nil {
		return err
	}
	log := s.logger("accounts")
	if err := s.openRedis(ctx); err != nil {
		return err
	}
	a := &s.accounts
	a.settings.store = s.store
	var rows websession.Rows = s.store
	if s.cfg.Session.Store == "redis" {
		rows = websession.NewRedis(a.redis, redisPrefix, s.store, time.Now)
	}
	sessions := websession.NewManager(rows, sealer, a.settings.timeouts(s.cfg.Session))
	factors := signin.NewFactors(s.store, sealer, func(ctx context.Context) string { return edge.FromContext(ctx).BaseURL() })
	a.limiter, a.limitSecret = s.limiter(log), sealer.Key(authsvc.PurposeLimit)
	guard := limit.NewGuard(a.limiter, a.limitSecret, log)
	provider, rules, err := s.identityProvider()
	if err != nil {
		return err
	}
	service := signin.New(signin.Config{
		Store: s.store, Sessions: sessions, Guard: guard, Limit: s.rate(s.cfg.RateLimiting.LoginLimit), Tokens: s.rate(s.cfg.RateLimiting.TokenLimit),
		Factor: factors, Sealer: sealer, Settings: a.settings.get, Log: log, Provider: provider, Rules: rules,
	})
	tokens, err := signin.NewTokens(service)
	if err != nil {
		return err
	}
	a.api = rest.New(rest.Config{
		Store: s.store, Keys: s.keys, SignIn: service, Tokens: tokens, Factors: factors, Log: log, Guard: guard, Callback: s.cfg.OIDC.RedirectURL,
		Register: s.rate(s.cfg.RateLimiting.RegisterLimit), Guests: s.rate(guestLimit), Reads: s.rate(s.cfg.RateLimiting.APILimit),
		Sessions: rest.NewSessions(sessions, rest.Cookies{Name: s.cfg.Session.CookieName, SameSite: sameSite(s.cfg.Session.CookieSameSite), Secure: func(r *http.Request) bool {
			return s.cfg.Session.Secure(edge.FromContext(r.Context()).Scheme == "https")
		}}),
	})
	button := ""
	if provider != nil {
		button = "Sign in with your organisation's account"
	}
	a.pages = dashboards.NewPages(dashboards.PagesConfig{
		API: a.api, Store: s.store, Sessions: sessions, Service: service, Factors: factors, Settings: a.settings.get, Provider: button, Log: log,
	})
	return nil
}

// guestLimit bounds the sessions that one address may begin without signing in. An office behind one address stays far below it; each is a row of
// the database for an hour.
var guestLimit = config.Rate{Count: 120, Per: time.Minute}

// openRedis connects to Redis where the settings name one. Sessions cannot do without it once they are kept there; limits can.
func (s *server) openRedis(ctx context.Context) error {
	address := s.cfg.Cache.RedisURL.Reveal()
	if address == "" {
		return nil
	}
	o, err := redis.ParseURL(address)
	if err != nil {
		return fmt.Errorf("[cache] redis_url is not an address of Redis: write redis://user:password@host:6379/0") // its error may hold the password
	}
	s.accounts.redis = redis.NewClient(o)
	if err := s.accounts.redis.Ping(ctx).Err(); err != nil {
		if s.cfg.Session.Store == "redis" {
			return fmt.Errorf("FATAL: Redis at %s does not answer, and sessions are kept there ([session] store): %w", o.Addr, err)
		}
		s.log.Warn("Redis does not answer; limits are counted by this server alone until it does", slog.String("address", o.Addr), slog.Any("error", err))
	}
	return nil
}

func (s *server) closeAccounts() error {
	if s.accounts.redis == nil {
		return nil
	}
	return s.accounts.redis.Close()
}

func (s *server) limiter(log *slog.Logger) limit.Limiter {
	own := limit.NewMemory(time.Now)
	if s.accounts.redis == nil {
		return own
	}
	return limit.NewFallback(limit.NewRedis(s.accounts.redis, redisPrefix), own, log, time.Now)
}

// rate is a limit as it is in force.
func (s *server) rate(r config.Rate) limit.Rate {
	if !s.cfg.RateLimiting.Enabled {
		return limit.Rate{}
	}
	return limit.Rate{Count: r.Count, Per: r.Per}
}

func sameSite(setting string) http.SameSite {
	switch setting {
	case "strict":
		return http.SameSiteStrictMode
	case "none":
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}

// mountAccounts puts routes of accounts on r.
func mountAccounts(r *mux.Router, routes []rest.Route) {
	for _, rt := range routes {
		methods := []string{rt.Method}
		if rt.Method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		r.Handle(rt.Path, rt.Handler).Methods(methods...)
	}
}

// reader is who reads, and of which company: that of their key, or the one that a person asks for with company=, which may be left out by who
// belongs to one alone. One of which the person may not know is answered as if it were not there.
func (s *server) reader(ctx context.Context, r *http.Request) (query.Caller, error) {
	actor, err := s.accounts.api.Reader(r)
	if err != nil {
		return query.Caller{}, err
	}
	c, err := s.companyFor(ctx, actor, r.URL.Query().Get("company"))
	if err != nil {
		return query.Caller{}, err
	}
	return s.readerOf(actor, &c), nil
}

func (s *server) companyFor(ctx context.Context, actor *authsvc.Actor, asked string) (authsvc.Company, error) {
	if actor.Kind == authsvc.ActorKey {
		// Which company a report is of is the key's to say; package query tells who asks for another.
		if err := actor.Require(authsvc.PermReadReports, actor.Company); err != nil {
			return authsvc.Company{}, err
		}
		return s.keys.Company(actor.Company)
	}
	if asked != "" {
		return s.store.CompanyNamed(ctx, actor, authsvc.PermReadReports, asked)
	}
	switch everywhere, ids := actor.ReachOf(authsvc.PermReadReports); {
	case everywhere || len(ids) > 1:
		return authsvc.Company{}, event.FieldError("company", "say which one: its id or name")
	case len(ids) == 1:
		return s.keys.Company(ids[0])
	case !actor.Scopes.Has(authsvc.ScopeRead):
		return authsvc.Company{}, event.Errorf(event.CodeForbidden, "this needs a token with the scope read")
	}
	return authsvc.Company{}, event.Errorf(event.CodeForbidden, "you belong to no company yet: ask an administrator")
}
