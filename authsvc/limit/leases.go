package limit

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// lotsPerBucket is into how many lots a bucket is divided: one is what a server that stops keeps to itself, and what it takes at once, so that Redis is
// asked a hundred times for what fills the bucket, and not for every request.
const lotsPerBucket = 100

// Leases counts what is asked for too often to ask Redis each time. It takes tokens from a Limiter in lots and gives them out from memory, so that
// servers that share the Limiter stay within the rate together. What a server has taken and not used is at most one lot of each bucket.
type Leases struct {
	limiter Limiter
	secret  []byte
	kind    string
	rate    Rate
	lot     int
	now     func() time.Time
	leases  sync.Map // uint32 → *lease
}

// lease is what is here of one bucket. Its own lock: whoever waits for a lot waits for tokens that the others need too.
type lease struct {
	key string

	mu    sync.Mutex
	left  int       // tokens taken from the limiter and not given out
	last  Result    // how the limiter answered
	at    time.Time // when
	short int       // so many, or more, are not there before at + last.Retry; 0: nothing is known
}

// NewLeases makes Leases of buckets with one rate. secret and kind name them, see Key.
func NewLeases(limiter Limiter, secret []byte, kind string, rate Rate, now func() time.Time) *Leases {
	return &Leases{limiter: limiter, secret: secret, kind: kind, rate: rate, lot: max(1, rate.Count/lotsPerBucket), now: now}
}

// Take takes n tokens of the bucket id, all or none. More than a bucket holds are given by a full one, which owes the rest then. What the limiter
// cannot count is let through, see Guard.Check.
func (l *Leases) Take(ctx context.Context, id uint32, n int) Result {
	if l.rate.None() {
		return Result{Allowed: true}
	}
	b := l.of(id)
	now := l.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < n {
		since := now.Sub(b.at)
		if b.short != 0 && n >= b.short && since >= 0 && since < b.last.Retry {
			return b.result(now, false)
		}
		need := n - b.left
		taken, last, err := l.limiter.TakeLot(ctx, b.key, l.rate, need, max(need, l.lot))
		if err != nil {
			return Result{Allowed: true}
		}
		b.left, b.last, b.at, b.short = b.left+taken, last, now, 0
		if !last.Allowed {
			b.short = n
			return b.result(now, false)
		}
	}
	b.left -= n
	return b.result(now, true)
}

func (l *Leases) of(id uint32) *lease {
	v, found := l.leases.Load(id)
	if !found {
		v, _ = l.leases.LoadOrStore(id, &lease{key: Key(l.secret, l.kind, strconv.FormatUint(uint64(id), 10))})
	}
	b, _ := v.(*lease) // the map holds nothing else
	return b
}

// result is how the bucket stands, as far as it is known here.
func (b *lease) result(now time.Time, allowed bool) Result {
	since := now.Sub(b.at)
	r := Result{Allowed: allowed, Limit: b.last.Limit, Remaining: min(b.last.Limit, b.last.Remaining+b.left), Reset: max(0, b.last.Reset-since)}
	if !allowed {
		r.Retry = max(0, b.last.Retry-since)
	}
	return r
}
