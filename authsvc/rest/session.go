package rest

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/gorilla/sessions"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
)

// Cookies says how session cookies are made.
type Cookies struct {
	Name     string        // of the cookie; over HTTPS it gets the prefix __Host-, by which browsers hold it to this host
	SameSite http.SameSite // Lax lets links from mails and Grafana arrive signed in
	// Secure tells whether the request came by HTTPS, as the edge sees it: only then is the cookie marked so that it never goes without.
	Secure func(*http.Request) bool
}

// Sessions is a [sessions.Store] whose cookies hold a random id and nothing else; what it stands for is kept by
// websession.Manager on the server. A session that was not saved sets no cookie.
type Sessions struct {
	manager *websession.Manager
	cookies Cookies
}

var _ sessions.Store = (*Sessions)(nil)

// NewSessions makes the store.
func NewSessions(manager *websession.Manager, cookies Cookies) *Sessions {
	return &Sessions{manager, cookies}
}

// current is the key in a gorilla session's Values under which the session of package websession stands.
type current struct{}

// Get gives the request's session, a new one where it has none, and the same for every call within a request.
func (s *Sessions) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the session of the request's cookie. Where the cookie stands for nothing (any more), a new session with a new id is
// given: an id that a client chose is never taken, so that nobody can plant one. An error means that sessions cannot be read at the moment.
func (s *Sessions) New(r *http.Request, name string) (*sessions.Session, error) {
	g := sessions.NewSession(s, name)
	g.Options = &sessions.Options{Path: "/", HttpOnly: true, SameSite: s.cookies.SameSite, Secure: s.cookies.Secure(r)}
	if id := s.idOf(r); id != "" {
		found, err := s.manager.Get(r.Context(), id, addressOf(r))
		if err == nil {
			g.ID, g.Values[current{}] = found.ID(), found
			return g, nil
		}
		if !errors.Is(err, authsvc.ErrNoSession) {
			return g, err
		}
	}
	return g, s.renew(r, g)
}

// renew makes g a new session that nobody has signed in to. It is stored, and its cookie set, by Save.
func (s *Sessions) renew(r *http.Request, g *sessions.Session) error {
	fresh, err := s.manager.New(addressOf(r), agentOf(r))
	if err != nil {
		return err
	}
	g.IsNew = true
	g.ID, g.Values[current{}] = fresh.ID(), fresh
	return nil
}

// idOf is what the request's session cookie holds, empty without one.
func (s *Sessions) idOf(r *http.Request) string {
	c, err := r.Cookie(hostOnly(s.cookies.Name, s.cookies.Secure(r)))
	if err != nil {
		return ""
	}
	return c.Value
}

// Save stores the session and sets its cookie; with a negative MaxAge in its options it ends both.
func (s *Sessions) Save(r *http.Request, w http.ResponseWriter, g *sessions.Session) error {
	own := of(g)
	if g.Options.MaxAge < 0 {
		http.SetCookie(w, sessions.NewCookie(hostOnly(s.cookies.Name, g.Options.Secure), "", g.Options))
		return s.manager.End(r.Context(), own)
	}
	if err := s.manager.Save(r.Context(), own); err != nil {
		return err
	}
	s.SetCookie(w, g)
	return nil
}

// SetCookie gives the browser the id that the session has now, as must be done after the session was given a new one.
func (s *Sessions) SetCookie(w http.ResponseWriter, g *sessions.Session) {
	own := of(g)
	g.ID = own.ID()
	// Without Max-Age the browser drops it when it ends; when it is over by time is the server's to say.
	http.SetCookie(w, sessions.NewCookie(hostOnly(s.cookies.Name, g.Options.Secure), own.ID(), g.Options))
}

// hostOnly gives a cookie's name the prefix by which browsers refuse the cookie from another host or without HTTPS (RFC 6265bis, 4.1.3.2).
func hostOnly(name string, secure bool) string {
	if secure {
		return "__Host-" + name
	}
	return name
}

// of is the session of package websession behind a gorilla session of ours.
func of(g *sessions.Session) *websession.Session {
	own, ok := g.Values[current{}].(*websession.Session)
	if !ok {
		panic("BUG: a session without its content")
	}
	return own
}

// addressOf is where a request comes from. The edge has put the client's own address there when a trusted proxy passed it on.
func addressOf(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap()
}
