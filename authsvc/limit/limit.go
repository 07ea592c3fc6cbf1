package limit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"time"

	"gatehouse/event"
)

// Rate is so many tokens per time. That many can be taken at once; then they come back one by one. Count 0: no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// None tells whether the rate limits nothing.
func (r Rate) None() bool { return r.Count <= 0 || r.Per <= 0 }

// interval is the time in which one token comes back, in microseconds: what Redis' numbers hold exactly. It is rounded up, so that no more come than
// was allowed.
func (r Rate) interval() int64 {
	count := int64(r.Count)
	return max(1, (r.Per.Microseconds()+count-1)/count)
}

// Result is how a bucket stands after a try.
type Result struct {
	Allowed   bool
	Limit     int           // tokens of a full bucket; 0: there is no limit
	Remaining int           // tokens left; 0 also where the bucket owes some
	Reset     time.Duration // until the bucket is full again
	Retry     time.Duration // until a refused try would be allowed; 0 when it was allowed
}

// Limiter keeps buckets. It is safe for concurrent use.
type Limiter interface {
	// Take takes one token of the bucket named key, which is full when it is new. An error says that it could not be counted, not that there
	// was none: the caller decides whether to go on. The same key must always come with the same rate.
	Take(ctx context.Context, key string, rate Rate) (Result, error)
	// TakeLot takes at least so many tokens or none, and more, up to most, where the bucket has them; taken says how many. At least more than a
	// bucket holds are given by a full one, which owes the rest then: nothing is taken from it before they have come back.
	TakeLot(ctx context.Context, key string, rate Rate, least, most int) (taken int, r Result, err error)
}

// Exceeded is the error for a try that a limit refused. It is an event.Error (CodeRateLimited) that carries the figures for the headers.
type Exceeded struct {
	Result Result
	cause  *event.Error
}

// Refuse makes the error of a refused try.
func Refuse(r Result) error {
	seconds := int64((r.Retry + time.Second - 1) / time.Second)
	return &Exceeded{Result: r, cause: event.Errorf(event.CodeRateLimited, "too many tries: wait %s and try again", time.Duration(seconds)*time.Second)}
}

// Error says it in words.
func (e *Exceeded) Error() string { return e.cause.Error() }

// Unwrap gives the event.Error.
func (e *Exceeded) Unwrap() error { return e.cause }

// counted is an error of a try that a limit let through, with the figures for the headers.
type counted struct {
	error
	result Result
}

func (c *counted) Unwrap() error { return c.error }

// Counted gives err the figures of the limit that the try was counted by, for the headers of its answer. Exceeded brings its own.
func Counted(err error, r Result) error {
	if _, known := ResultOf(err); err == nil || known {
		return err
	}
	return &counted{err, r}
}

// ResultOf is how the limit stood that refused a try, or that let it through before it failed otherwise.
func ResultOf(err error) (r Result, known bool) {
	if exceeded, ok := errors.AsType[*Exceeded](err); ok {
		return exceeded.Result, true
	}
	if c, ok := errors.AsType[*counted](err); ok {
		return c.result, true
	}
	return Result{}, false
}

// Key names a bucket by a keyed hash of what it counts, so that who has the buckets does not learn whose they are. kind keeps the buckets of
// different limits apart.
func Key(secret []byte, kind, value string) string {
	h := hmac.New(sha256.New, secret)
	_, _ = h.Write([]byte(kind + "\x00" + value)) // never fails
	return kind + ":" + hex.EncodeToString(h.Sum(nil)[:16])
}

// Network is what counts as one address: an IPv4 address, or a network of IPv6 with 64 bits, which one customer has to themselves and can use
// up 2^64 addresses of.
func Network(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a.String()
	}
	return p.String()
}

// cost is the time in which n tokens come back, in microseconds, rounded up.
func (r Rate) cost(n int) int64 {
	count := int64(r.Count)
	return (int64(n)*r.Per.Microseconds() + count - 1) / count
}

// gcra is the whole rule, in integers so that Go and Redis count alike: full is the moment (µs) at which the bucket would be full again, as stored, or
// anything before now. A bucket that owes tokens is full later than an empty one would be. It gives the new moment, how many tokens were taken, and the
// result.
func gcra(now, full int64, rate Rate, least, most int) (int64, int, Result) {
	interval := rate.interval()
	size := interval * int64(rate.Count)
	full = max(full, now)
	room := size - (full - now)
	if wait := rate.cost(min(least, rate.Count)) - room; wait > 0 {
		return full, 0, Result{
			Limit: rate.Count, Remaining: int(max(0, room) / interval), Reset: time.Duration(full-now) * time.Microsecond, Retry: time.Duration(wait) * time.Microsecond,
		}
	}
	taken := least
	if most > least {
		taken = min(most, max(least, int(room/interval)))
	}
	next := full + max(1, rate.cost(taken))
	return next, taken, Result{
		Allowed: true, Limit: rate.Count, Remaining: int(max(0, size-(next-now)) / interval), Reset: time.Duration(next-now) * time.Microsecond,
	}
}
