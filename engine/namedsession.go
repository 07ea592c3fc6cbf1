//go:build linux || darwin

package engine

import (
	"strconv"
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
	c     *connection
	busy  bool
	timer *time.Timer
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
		s.c = c
	default:
		s.busy = true
		s.timer.Stop()
		d.mu.Unlock()
		tag := param{tagSetting, req.queryID}
		if req.company == "" {
			r := *req
			r.settings = append([]param{tag}, req.settings...)
			if err := prepare(s.c, &r); err != nil {
				d.park(key, s, req.sessionTimeout)
				return nil, nil, err
			}
		}
	}
	return s.c, func() { d.park(key, s, req.sessionTimeout) }, nil
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
