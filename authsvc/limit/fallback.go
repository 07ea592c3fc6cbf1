package limit

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// redisPatience bounds what a request waits for Redis before this server counts by itself.
	redisPatience = 250 * time.Millisecond
	// redisPause is how long Redis is left alone after it failed: not every request should wait for one that is away.
	redisPause = 2 * time.Second
)

// Fallback counts in a shared Limiter, and by itself in memory while that one is away: then each server allows the full rate, which is more than all of
// them together should, but neither none nor all.
type Fallback struct {
	shared Limiter
	own    *Memory
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	away    bool
	askNext time.Time
}

// NewFallback makes a Fallback. The log is told once when the shared one goes away, and once when it is back.
func NewFallback(shared Limiter, own *Memory, log *slog.Logger, now func() time.Time) *Fallback {
	return &Fallback{shared: shared, own: own, log: log, now: now}
}

// Take takes a token. It never fails.
func (f *Fallback) Take(ctx context.Context, key string, rate Rate) (Result, error) {
	_, r, err := f.TakeLot(ctx, key, rate, 1, 1)
	return r, err
}

// TakeLot takes several tokens. It never fails.
func (f *Fallback) TakeLot(ctx context.Context, key string, rate Rate, least, most int) (int, Result, error) {
	if !f.ask() {
		return f.own.TakeLot(ctx, key, rate, least, most)
	}
	limited, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	taken, result, err := f.shared.TakeLot(limited, key, rate, least, most)
	if err != nil && ctx.Err() != nil {
		// It is the caller who went away: that says nothing of the shared limiter.
		return f.own.TakeLot(ctx, key, rate, least, most)
	}
	f.heard(ctx, err)
	if err != nil {
		return f.own.TakeLot(ctx, key, rate, least, most)
	}
	return taken, result, nil
}

// ask tells whether to ask the shared one: always while it answers, else one request at each pause's end.
func (f *Fallback) ask() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.away {
		return true
	}
	if now := f.now(); !now.Before(f.askNext) {
		f.askNext = now.Add(redisPause)
		return true
	}
	return false
}

func (f *Fallback) heard(ctx context.Context, err error) {
	f.mu.Lock()
	was := f.away
	f.away = err != nil
	if f.away && !was {
		f.askNext = f.now().Add(redisPause)
	}
	f.mu.Unlock()
	switch {
	case err != nil && !was:
		f.log.LogAttrs(ctx, slog.LevelWarn, "rate limits are counted by this server alone: Redis does not answer", slog.Any("error", err))
	case err == nil && was:
		f.log.LogAttrs(ctx, slog.LevelInfo, "rate limits are shared again: Redis answers")
	}
}
