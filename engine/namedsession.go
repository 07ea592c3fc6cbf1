//go:build linux || darwin

package engine

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultSessionTimeout and maxSessionTimeout are ClickHouse's.
const (
	defaultSessionTimeout = time.Minute
	maxSessionTimeout     = time.Hour
	// maxSessions bounds the sessions kept between requests; beyond it a new
	// one is refused with TOO_MANY_SIMULTANEOUS_QUERIES.
	maxSessions = 64
)

// namedSession is a connection that outlives its request (session_id): its
// settings and temporary tables are there for the next request with that id.
type namedSession struct {
	c        *connection
	settings []param // of a company's: those that its requests have named so far
	busy     bool
	timer    *time.Timer
}

func sessionTimeout(v string) time.Duration {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return defaultSessionTimeout
	}
	return min(time.Duration(n)*time.Second, maxSessionTimeout)
}

// session returns the request's connection and what to call when it is done.
func (d *database) session(req *request) (*connection, func(), error) {
	if req.session == "" {
		c, err := d.open(req)
		if err != nil {
			return nil, nil, err
		}
		return c, c.close, nil
	}
	// A company's sessions are its own: the id of another is a different name.
	key := req.company + "/" + req.session
	d.mu.Lock()
	s := d.sessions[key]
	switch {
	case s == nil && req.sessionCheck:
		d.mu.Unlock()
		return nil, nil, raise(codeSessionNotFound, "SESSION_NOT_FOUND", "Session %s not found", req.session)
	case s != nil && s.busy:
		d.mu.Unlock()
		return nil, nil, raise(codeSessionLocked, "SESSION_IS_LOCKED", "Session %s is locked by a concurrent client", req.session)
	case s == nil && len(d.sessions) >= maxSessions:
		d.mu.Unlock()
		return nil, nil, raise(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", "More than %d named sessions", maxSessions)
	case s == nil:
		s = &namedSession{busy: true}
		d.sessions[key] = s
		d.mu.Unlock()
		c, err := d.open(req)
		if err != nil {
			d.mu.Lock()
			delete(d.sessions, key)
			d.mu.Unlock()
			return nil, nil, err
		}
		s.c, s.settings = c, req.settings
	default:
		s.busy = true
		s.timer.Stop()
		d.mu.Unlock()
		again := d.resume
		if req.company != "" {
			again = d.renew
		}
		if err := again(s, req); err != nil {
			d.park(key, s, req.sessionTimeout)
			return nil, nil, err
		}
	}
	return s.c, func() { d.park(key, s, req.sessionTimeout) }, nil
}

// resume gives a session the tag, the database and the settings of its next request.
func (d *database) resume(s *namedSession, req *request) error {
	r := *req
	r.settings = append([]param{{tagSetting, req.queryID}}, req.settings...)
	if req.database == "default" { // which prepare takes for granted
		if err := useDatabase(s.c, req.database); err != nil {
			return err
		}
	}
	return prepare(s.c, &r)
}

// renew does that for a company's session. readonly=1 refuses SET, so without the new connection that takes the old
// one's place the request could neither be cancelled, for want of its tag, nor have its settings. Nothing is lost: such a
// session has its settings and its database, and may make no tables.
func (d *database) renew(s *namedSession, req *request) error {
	r := *req
	if r.database == "" {
		b, _, err := s.c.query("SELECT currentDatabase()", "TabSeparatedRaw", nil)
		if err != nil {
			return err
		}
		r.database = strings.TrimSuffix(string(b), "\n")
	}
	for _, old := range s.settings {
		if !slices.ContainsFunc(req.settings, func(p param) bool { return p.name == old.name }) {
			r.settings = append(slices.Clip(r.settings), old)
		}
	}
	c, err := d.open(&r)
	if err != nil {
		return err
	}
	s.c.close()
	s.c, s.settings = c, r.settings
	return nil
}

// park keeps a named session for its timeout.
func (d *database) park(key string, s *namedSession, timeout time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.busy = false
	s.timer = time.AfterFunc(timeout, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !s.busy && d.sessions[key] == s {
			delete(d.sessions, key)
			s.c.close()
		}
	})
}

func (d *database) closeSessions() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, s := range d.sessions {
		if !s.busy && s.c != nil {
			s.timer.Stop()
			s.c.close()
			delete(d.sessions, key)
		}
	}
}
