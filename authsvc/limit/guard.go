package limit

import (
	"context"
	"log/slog"
	"time"

	"gatehouse/internal/refusal"
)

// Guard takes tokens by what is counted instead of by key, and turns a refusal into an error.
type Guard struct {
	limiter Limiter
	secret  []byte
	log     *slog.Logger
	refused *refusal.Log
}

// NewGuard makes a Guard. secret keys the names of buckets: servers that count together need the same.
func NewGuard(limiter Limiter, secret []byte, log *slog.Logger) *Guard {
	return &Guard{limiter: limiter, secret: secret, log: log, refused: refusal.New(log, time.Now)}
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
		// By whom, says the request's context; the value that was counted is not logged, as it may be a name or a credential.
		g.refused.Note(ctx, kind, slog.String("limit", kind))
		return r, Refuse(r)
	}
	return r, nil
}

// First tells whether nothing else of this kind came for value within a time, so that what comes often is told of once: over all servers that count
// together. Where that cannot be counted, everything is the first.
func (g *Guard) First(ctx context.Context, kind, value string, per time.Duration) bool {
	r, err := g.limiter.Take(ctx, Key(g.secret, kind, value), Rate{Count: 1, Per: per})
	return err != nil || r.Allowed
}
