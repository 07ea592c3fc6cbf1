package websession_test

import (
	"testing"
	"time"

	"gatehouse/authsvc/websession"
)

// TestRecent asks whether somebody has to prove again who they are.
func TestRecent(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixMilli() }
	for what, c := range map[string]struct {
		created time.Duration // ago
		methods []string
		proved  int64
		want    bool
	}{
		"a password":                              {9 * time.Minute, []string{websession.MethodPassword}, 0, true},
		"a password, long ago":                    {10 * time.Minute, []string{websession.MethodPassword}, 0, false},
		"a provider that asked":                   {time.Minute, []string{websession.MethodOIDC}, ago(9 * time.Minute), true},
		"a provider that asked long ago":          {time.Minute, []string{websession.MethodOIDC}, ago(11 * time.Minute), false},
		"and a second factor here":                {time.Minute, []string{websession.MethodOIDC, websession.MethodTOTP}, ago(11 * time.Minute), false},
		"a provider that does not say":            {time.Minute, []string{websession.MethodOIDC, websession.MethodOIDCMFA}, 0, false},
		"a password, in a session from before it": {time.Minute, []string{websession.MethodPassword}, ago(time.Hour), true},
	} {
		s := &websession.Session{Created: now.Add(-c.created), Data: websession.Data{Methods: c.methods, Proved: c.proved}}
		if got := s.Recent(now); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
