package limit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/authsvc/limit"
	"gatehouse/internal/redistest"
)

// asked counts how often a limiter is asked, and what it gives.
type asked struct {
	limit.Limiter
	times, taken int
	last         int // what was taken last
}

func (a *asked) TakeLot(ctx context.Context, key string, rate limit.Rate, least, most int) (int, limit.Result, error) {
	a.times++
	n, r, err := a.Limiter.TakeLot(ctx, key, rate, least, most)
	a.taken, a.last = a.taken+n, n
	return n, r, err
}

// TestLeases: servers that take lots from one limiter never take more together than one bucket has, but for what is larger than the bucket, which is
// paid off before anything else is taken. They give out no more than they took, keep no more than one lot each, and a refusal's Retry is true.
func TestLeases(t *testing.T) {
	t.Parallel()
	client, prefix := redistest.Open(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		clk := &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		rate := limit.Rate{Count: rapid.SampledFrom([]int{1, 7, 100, 1000, 30_000}).Draw(rt, "count"), Per: time.Hour}
		shared := &asked{Limiter: limit.NewMemory(clk.now)}
		if rapid.Bool().Draw(rt, "redis") {
			shared.Limiter = limit.NewRedis(client, fmt.Sprintf("%slease%d:", prefix, run)).WithClock(clk.now)
		}
		servers := []*limit.Leases{
			limit.NewLeases(shared, []byte("s"), "events", rate, clk.now), limit.NewLeases(shared, []byte("s"), "events", rate, clk.now),
		}
		given, begin := 0, clk.t
		for range rapid.IntRange(1, 40).Draw(rt, "tries") {
			clk.t = clk.t.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(rt, "pause")))
			l := servers[rapid.IntRange(0, 1).Draw(rt, "server")]
			n := rapid.IntRange(1, rate.Count*5/2).Draw(rt, "n")
			r := l.Take(t.Context(), 1, n)
			check := func() {
				given += n
				if kept := shared.taken - given; kept < 0 || kept > len(servers)*max(1, rate.Count/100) {
					rt.Fatalf("%d were given and %d taken", given, shared.taken)
				}
				back := int(clk.t.Sub(begin).Seconds() * float64(rate.Count) / rate.Per.Seconds())
				// A bucket is up to a token larger, as microseconds are rounded up.
				if due := shared.taken - max(0, shared.last-rate.Count); shared.last > 0 && due > rate.Count+back+1 {
					rt.Fatalf("%d were taken where %d are allowed", due, rate.Count+back)
				}
				shared.last = 0
			}
			if r.Allowed {
				check()
			}
			if r.Limit != rate.Count || r.Remaining < 0 || r.Remaining > rate.Count || r.Reset < 0 {
				rt.Fatalf("%+v", r)
			}
			if !r.Allowed {
				if r.Retry <= 0 {
					rt.Fatalf("refused, come at once: %+v", r)
				}
				clk.t = clk.t.Add(r.Retry)
				if again := l.Take(t.Context(), 1, n); !again.Allowed {
					rt.Fatalf("%d refused until %v, and then again: %+v", n, r.Retry, again)
				}
				check()
			}
		}
	})
}

// TestLeasesAskSeldom: what is asked a thousand times a second costs the shared limiter a few calls, whether it is granted or refused.
func TestLeasesAskSeldom(t *testing.T) {
	t.Parallel()
	clk := &clock{time.Unix(1e9, 0)}
	shared := &asked{Limiter: limit.NewMemory(clk.now)}
	l := limit.NewLeases(shared, nil, "events", limit.Rate{Count: 10_000, Per: 10 * time.Second}, clk.now)
	allowed := 0
	for range 20_000 {
		if l.Take(t.Context(), 1, 1).Allowed {
			allowed++
		}
	}
	if allowed != 10_000 || shared.times > 102 {
		t.Errorf("%d allowed, the limiter was asked %d times", allowed, shared.times)
	}
	for id := range uint32(3) {
		if !l.Take(t.Context(), 2+id, 1).Allowed {
			t.Error("one bucket empties another")
		}
	}
	unlimited := limit.NewLeases(shared, nil, "events", limit.Rate{}, clk.now)
	if r := unlimited.Take(t.Context(), 1, 1<<30); !r.Allowed || r.Limit != 0 {
		t.Errorf("no limit: %+v", r)
	}
}

func BenchmarkLeases(b *testing.B) {
	l := limit.NewLeases(limit.NewMemory(time.Now), []byte("s"), "events", limit.Rate{Count: 100_000_000, Per: 10 * time.Second}, time.Now)
	b.ReportAllocs()
	for b.Loop() {
		l.Take(b.Context(), 1, 1)
	}
}
