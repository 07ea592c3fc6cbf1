// Package pace spaces what is said about something that goes on: a log that repeats itself every few seconds hides what else
// it says, and one that falls silent lets people forget.
package pace

import "time"

// Pace tells when something that goes on is to be mentioned again: at once, then after First, then each time after twice
// as long, up to Most. The zero value is of no use. Not safe for concurrent use.
type Pace struct {
	First, Most time.Duration

	began time.Time // when it was mentioned first; zero: it does not go on
	next  time.Time
	wait  time.Duration
}

// Default is a pace that suits log lines: after one minute, two, four, up to an hour.
func Default() Pace { return Pace{First: time.Minute, Most: time.Hour} }

// Due says that it goes on now. It reports whether to mention it, and for how long it has gone on.
func (p *Pace) Due(now time.Time) (mention bool, since time.Duration) {
	if p.began.IsZero() {
		p.began, p.wait = now, p.First
		p.next = now.Add(p.wait)
		return true, 0
	}
	if now.Before(p.next) {
		return false, now.Sub(p.began)
	}
	p.wait = min(2*p.wait, p.Most)
	p.next = now.Add(p.wait)
	return true, now.Sub(p.began)
}

// Over says that it has ended. It reports whether it went on, and for how long.
func (p *Pace) Over(now time.Time) (went bool, since time.Duration) {
	went, since = !p.began.IsZero(), now.Sub(p.began)
	p.began = time.Time{}
	if !went {
		since = 0
	}
	return went, since
}
