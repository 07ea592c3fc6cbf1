package websession

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// Rows keeps sessions. authsvc.Store does so in the relational database, Redis in Redis; what each method promises stands there.
type Rows interface {
	Session(ctx context.Context, idHash string) (authsvc.SessionRow, error)
	PutSession(ctx context.Context, replaces string, r authsvc.SessionRow) error
	TouchSession(ctx context.Context, idHash string, seen, expires time.Time, address string) error
	DeleteSession(ctx context.Context, idHash string) error
	DeleteSessionsOf(ctx context.Context, userID uint32, except string) error
	SessionsOf(ctx context.Context, userID uint32, now time.Time) ([]authsvc.SessionRow, error)
	PurgeSessions(ctx context.Context, now time.Time) (int64, error)
}

const (
	// pendingTime is how long somebody may take to find their second factor.
	pendingTime = 10 * time.Minute
	// guestTime is how long a session lives in which nobody signed in.
	guestTime = time.Hour
	// touchEvery is how often the use of a session is written: once a request would be a write per page.
	touchEvery = time.Minute
)

// Manager makes, finds and ends sessions. It is safe for concurrent use.
type Manager struct {
	rows     Rows
	sealer   *authsvc.Sealer
	timeouts func() (idle, absolute time.Duration)
	now      func() time.Time
	rand     io.Reader
}

// Option changes what a Manager takes from its surroundings.
type Option func(*Manager)

// WithClock sets the clock.
func WithClock(now func() time.Time) Option { return func(m *Manager) { m.now = now } }

// WithRandom sets where ids come from. Anything but crypto/rand makes ids that can be guessed.
func WithRandom(r io.Reader) Option { return func(m *Manager) { m.rand = r } }

// NewManager makes a Manager whose sessions are over after idle without a request, and after absolute whatever happens. timeouts is asked with
// each request, so it must be quick; shorter ones end older sessions too.
func NewManager(rows Rows, sealer *authsvc.Sealer, timeouts func() (idle, absolute time.Duration), options ...Option) *Manager {
	m := &Manager{rows: rows, sealer: sealer, timeouts: timeouts, now: time.Now, rand: rand.Reader}
	for _, o := range options {
		o(m)
	}
	return m
}

// New makes a session for somebody who has not signed in. Nothing is stored before Save.
func (m *Manager) New(address netip.Addr, agent string) (*Session, error) {
	now := m.now()
	s := &Session{Created: now, LastSeen: now, Address: address, Agent: agent}
	if err := m.renew(s); err != nil {
		return nil, err
	}
	s.Expires = m.expiry(s)
	return s, nil
}

// Announce gives the ref that a session is going to have after the next Rotate or SignIn, so that the audit trail can name it before it is there.
func (m *Manager) Announce(s *Session) (ref string, err error) {
	if s.next == nil {
		var random [idSize + 32]byte
		if _, err := io.ReadFull(m.rand, random[:]); err != nil {
			return "", event.Wrap(event.CodeInternal, err, "make a session")
		}
		s.next = &next{base64.RawURLEncoding.EncodeToString(random[:idSize]), append([]byte(nil), random[idSize:]...)}
	}
	return refOf(hashOf(s.next.id)), nil
}

// renew gives a session a new id and a new secret for its forms.
func (m *Manager) renew(s *Session) error {
	if _, err := m.Announce(s); err != nil {
		return err
	}
	s.id, s.CSRF, s.next = s.next.id, s.next.csrf, nil
	return nil
}

// expiry is when a session is over if it is not used again.
func (m *Manager) expiry(s *Session) time.Time {
	idle, limit := m.timeouts()
	switch {
	case s.UserID == 0:
		limit = min(limit, guestTime)
	case s.Pending:
		limit = min(limit, pendingTime)
	}
	end, unused := s.Created.Add(limit), s.LastSeen.Add(idle)
	if unused.Before(end) {
		return unused
	}
	return end
}

// Get finds the session of a cookie's value. Whatever is wrong with it is authsvc.ErrNoSession: not one of ours, unknown, over, or
// ended by what happened to its user since. Its use is noted, once a minute.
func (m *Manager) Get(ctx context.Context, id string, address netip.Addr) (*Session, error) {
	if !wellFormed(id) {
		return nil, authsvc.ErrNoSession
	}
	row, err := m.rows.Session(ctx, hashOf(id))
	if err != nil {
		return nil, err
	}
	s, err := open(m.sealer, id, row)
	if err != nil {
		// Made with a secret key that is gone, or changed by somebody: either way it is nobody's session.
		return nil, authsvc.ErrNoSession
	}
	now := m.now()
	// Both are asked: what was stored, and what the timeouts say now, which may have been made shorter since.
	if !now.Before(s.Expires) || !now.Before(m.expiry(s)) {
		return nil, authsvc.ErrNoSession
	}
	if now.Sub(s.LastSeen) >= touchEvery || address.IsValid() && address.Unmap() != s.Address.Unmap() {
		s.LastSeen, s.Address = now, address
		s.Expires = m.expiry(s)
		at := ""
		if address.IsValid() {
			at = address.Unmap().WithZone("").String()
		}
		if err := m.rows.TouchSession(ctx, s.stored, s.LastSeen, s.Expires, at); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Save stores a new session, or what was changed in one. A session that was ended meanwhile is authsvc.ErrNoSession.
func (m *Manager) Save(ctx context.Context, s *Session) error {
	row, err := s.seal(m.sealer)
	if err != nil {
		return event.Wrap(event.CodeInternal, err, "save the session")
	}
	if err := m.rows.PutSession(ctx, s.stored, row); err != nil {
		return err
	}
	s.stored = row.IDHash
	return nil
}

// Rotate saves a session under a new id and ends the old one, as everything must that raises what the session may do: an id that
// somebody else planted or saw before is then worth nothing. The cookie has to be set again.
func (m *Manager) Rotate(ctx context.Context, s *Session) error {
	old := *s
	if err := m.renew(s); err != nil {
		return err
	}
	s.Challenge, s.ChallengeUntil = nil, 0
	s.LastSeen = m.now()
	s.Expires = m.expiry(s)
	if err := m.Save(ctx, s); err != nil {
		*s = old
		return err
	}
	return nil
}

// SignIn turns a session into one of a person, under a new id and with a new lifetime. pending: their second factor is still missing.
func (m *Manager) SignIn(ctx context.Context, s *Session, userID uint32, epoch int64, pending bool, methods ...string) error {
	if userID == 0 {
		return fmt.Errorf("BUG: sign in nobody")
	}
	old := *s
	// Nothing of the person before goes over to the one who signs in, but for where they wanted to go.
	if s.UserID != userID {
		s.Values = keep(s.Values, NextPage)
	}
	s.UserID, s.Epoch, s.Pending, s.Methods = userID, epoch, pending, methods
	s.Created = m.now()
	if err := m.Rotate(ctx, s); err != nil {
		*s = old
		return err
	}
	return nil
}

// NextPage is the value that says where to go after the sign-in. Whoever sets it checks that it is a path of ours.
const NextPage = "next"

func keep(values map[string]string, name string) map[string]string {
	if v, ok := values[name]; ok {
		return map[string]string{name: v}
	}
	return nil
}

// End ends a session; one that is not stored is no error.
func (m *Manager) End(ctx context.Context, s *Session) error {
	if s.stored == "" {
		return nil
	}
	return m.rows.DeleteSession(ctx, s.stored)
}

// EndAll ends all sessions of a user but except, which may be nil.
func (m *Manager) EndAll(ctx context.Context, userID uint32, except *Session) error {
	hash := ""
	if except != nil {
		hash = except.stored
	}
	return m.rows.DeleteSessionsOf(ctx, userID, hash)
}

// Info is what a person may see of one of their sessions.
type Info struct {
	Ref      string    `json:"id"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen"`
	Expires  time.Time `json:"expires"`
	Address  string    `json:"address"`
	Agent    string    `json:"agent"`
}

// List gives a page of a user's sessions, the last used first, and the cursor of the next. All that a person has are read: how many that can be,
// the limits of signing in and the time that sessions live without use see to.
func (m *Manager) List(ctx context.Context, userID uint32, page authsvc.Page) ([]Info, string, error) {
	rows, err := m.rows.SessionsOf(ctx, userID, m.now())
	if err != nil {
		return nil, "", err
	}
	first, last, next, err := page.Part("sessions", len(rows))
	if err != nil {
		return nil, "", err
	}
	rows = rows[first:last]
	list := make([]Info, len(rows))
	for i, r := range rows {
		list[i] = Info{Ref: refOf(r.IDHash), Created: r.Created, LastSeen: r.LastSeen, Expires: r.Expires, Address: r.Address, Agent: r.Agent}
	}
	return list, next, nil
}

// EndByRef ends the session of a user that has the ref, after before, which is not called when there is none: one of another user, or of nobody, is
// CodeNotFound.
func (m *Manager) EndByRef(ctx context.Context, userID uint32, ref string, before func() error) error {
	rows, err := m.rows.SessionsOf(ctx, userID, m.now())
	if err != nil {
		return err
	}
	for _, r := range rows {
		if len(ref) != refSize || refOf(r.IDHash) != ref {
			continue
		}
		if err := before(); err != nil {
			return err
		}
		return m.rows.DeleteSession(ctx, r.IDHash)
	}
	return event.Errorf(event.CodeNotFound, "there is no such session; it may have ended already")
}

// Purge removes what is over, and tells how many sessions that were. Once an hour is enough: nobody can use them anyway.
func (m *Manager) Purge(ctx context.Context) (int64, error) {
	return m.rows.PurgeSessions(ctx, m.now())
}
