package limit

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Guard takes tokens by what is counted instead of by key, and turns a refusal into an error.
type Guard struct {
	limiter Limiter
	secret  []byte
	log     *slog.Logger
	now     func() time.Time

	mu      sync.Mutex
	refused map[string]*refusals // by kind, of which there are a few
}

// refusals are those of a kind of limit since they were last logged.
type refusals struct {
	logged  time.Time
	between int
}

// logEvery is how often refusals of a kind are logged: whoever is refused can come as often as they like.
const logEvery = time.Second

// NewGuard makes a Guard. secret keys the names of buckets: servers that count together need the same.
func NewGuard(limiter Limiter, secret []byte, log *slog.Logger) *Guard {
	return &Guard{limiter: limiter, secret: secret, log: log, now: time.Now, refused: map[string]*refusals{}}
}

// Check takes one token for value, of the limit kind. Too many are an *Exceeded. A limiter that cannot count lets the try through and tells the
// log: nobody could sign in otherwise. (Fallback never fails.)
func (g *Guard) Check(ctx context.Context, kind, value string, rate Rate) (Result, error) {
	r, err := g.limiter.Take(ctx, Key(g.secret, kind, value), rate)
	if err != nil {
		g.log.LogAttrs(ctx, slog.LevelError, "a rate limit was not counted", slog.String("limit", kind), slog.Any("error", err))
		return Result{Allowed: true}, nil
	}
	if !r.Allowed {
		g.logRefusal(ctx, kind)
		return r, Refuse(r)
	}
	return r, nil
}

// logRefusal tells the log of a limit that was exceeded, by whom says the request's context; the value that was counted is not logged, as it may be
// a name or a credential.
func (g *Guard) logRefusal(ctx context.Context, kind string) {
	g.mu.Lock()
	r := g.refused[kind]
	if r == nil {
		r = &refusals{}
		g.refused[kind] = r
	}
	now := g.now()
	if since := now.Sub(r.logged); since >= 0 && since < logEvery {
		r.between++
		g.mu.Unlock()
		return
	}
	between := r.between
	r.logged, r.between = now, 0
	g.mu.Unlock()
	g.log.LogAttrs(ctx, slog.LevelWarn, "a rate limit was exceeded", slog.String("limit", kind), slog.Int("others_since_the_last", between))
}
