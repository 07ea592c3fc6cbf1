package limit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/authsvc/limit"
	"gatehouse/event"
	"gatehouse/internal/redistest"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// bucket is the plain reference: tokens that come back one by one at whole multiples of the interval since the bucket was last full, kept as the
// list of the moments at which each taken token is back.
type bucket struct {
	back []time.Time
}

func (b *bucket) take(now time.Time, r limit.Rate) limit.Result {
	micros := r.Per.Microseconds() / int64(r.Count)
	if r.Per.Microseconds()%int64(r.Count) != 0 {
		micros++
	}
	interval := time.Duration(max(1, micros)) * time.Microsecond
	for len(b.back) > 0 && !b.back[0].After(now) {
		b.back = b.back[1:]
	}
	if len(b.back) >= r.Count {
		return limit.Result{Limit: r.Count, Reset: b.back[len(b.back)-1].Sub(now), Retry: b.back[0].Sub(now)}
	}
	next := now.Add(interval)
	if len(b.back) > 0 {
		next = b.back[len(b.back)-1].Add(interval)
	}
	b.back = append(b.back, next)
	return limit.Result{Allowed: true, Limit: r.Count, Remaining: r.Count - len(b.back), Reset: next.Sub(now)}
}

// TestAgainstReference holds memory and Redis against the plain reference, over random rates, pauses and keys.
func TestAgainstReference(t *testing.T) {
	t.Parallel()
	client, prefix := redistest.Open(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		clk := &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		memory := limit.NewMemory(clk.now)
		// Redis forgets by its own clock what would be full by then: nothing may be shorter than the test lasts.
		shared := limit.NewRedis(client, fmt.Sprintf("%s%d:", prefix, run)).WithClock(clk.now)
		rate := limit.Rate{
			Count: rapid.IntRange(1, 20).Draw(rt, "count"),
			Per:   time.Duration(rapid.Int64Range(int64(2*time.Minute), int64(time.Hour)).Draw(rt, "per")),
		}
		reference := map[string]*bucket{"a": {}, "b": {}}
		for i := range rapid.IntRange(1, 40).Draw(rt, "tries") {
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key")
			clk.t = clk.t.Add(time.Duration(rapid.Int64Range(0, rate.Per.Microseconds()/int64(rate.Count)*2).Draw(rt, "pause")) * time.Microsecond)
			want := reference[key].take(clk.t, rate)
			for name, l := range map[string]limit.Limiter{"memory": memory, "redis": shared} {
				got, err := l.Take(t.Context(), key, rate)
				if err != nil || got != want {
					rt.Fatalf("try %d, %s: %+v, %v; want %+v", i, name, got, err, want)
				}
			}
		}
	})
}

func TestNoLimit(t *testing.T) {
	t.Parallel()
	client, prefix := redistest.Open(t)
	for _, l := range []limit.Limiter{limit.NewMemory(time.Now), limit.NewRedis(client, prefix)} {
		for _, rate := range []limit.Rate{{}, {Count: 5}, {Per: time.Second}, {Count: -1, Per: time.Second}} {
			for range 20 {
				if r, err := l.Take(t.Context(), "k", rate); err != nil || !r.Allowed || r.Limit != 0 {
					t.Fatalf("%T with %+v: %+v, %v", l, rate, r, err)
				}
			}
		}
	}
}

// TestTogether: many at one moment, by several servers on one Redis, get no more than there is.
func TestTogether(t *testing.T) {
	t.Parallel()
	client, prefix := redistest.Open(t)
	memory := limit.NewMemory(time.Now)
	for name, servers := range map[string][]limit.Limiter{
		"memory": {memory, memory},
		"redis":  {limit.NewRedis(client, prefix), limit.NewRedis(client, prefix)},
	} {
		var mu sync.Mutex
		allowed := 0
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				r, err := servers[i%2].Take(t.Context(), "k", limit.Rate{Count: 7, Per: time.Hour})
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if r.Allowed {
					mu.Lock()
					allowed++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if allowed != 7 {
			t.Errorf("%s: %d of 60 allowed, want 7", name, allowed)
		}
	}
}

// TestMemoryIsBounded: a flood of new keys neither grows the table nor frees the one who is at their limit.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	clk := &clock{time.Unix(1e9, 0)}
	m := limit.NewMemory(clk.now).WithMax(500)
	rate := limit.Rate{Count: 10, Per: time.Hour}
	for range 10 {
		if r, _ := m.Take(t.Context(), "attacker", rate); !r.Allowed {
			t.Fatal("refused too early")
		}
	}
	for i := range 20_000 {
		if _, err := m.Take(t.Context(), fmt.Sprint("new", i), rate); err != nil {
			t.Fatal(err)
		}
		if m.Buckets() > 500 {
			t.Fatalf("%d buckets", m.Buckets())
		}
	}
	if r, _ := m.Take(t.Context(), "attacker", rate); r.Allowed {
		t.Error("a flood of other keys emptied the attacker's bucket")
	}
	clk.t = clk.t.Add(2 * time.Hour)
	for i := range 1000 {
		_, _ = m.Take(t.Context(), fmt.Sprint("later", i), rate)
	}
	if r, _ := m.Take(t.Context(), "attacker", rate); !r.Allowed || r.Remaining != 9 {
		t.Errorf("after two hours: %+v", r)
	}
}

type broken struct {
	err   error
	calls int
}

func (b *broken) Take(ctx context.Context, key string, rate limit.Rate) (limit.Result, error) {
	_, r, err := b.TakeLot(ctx, key, rate, 1, 1)
	return r, err
}

func (b *broken) TakeLot(_ context.Context, _ string, _ limit.Rate, _, most int) (int, limit.Result, error) {
	b.calls++
	if b.err != nil {
		return 0, limit.Result{}, b.err
	}
	return most, limit.Result{Allowed: true, Limit: 1000}, nil
}

func TestFallback(t *testing.T) {
	t.Parallel()
	clk := &clock{time.Unix(1e9, 0)}
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	shared := &broken{}
	f := limit.NewFallback(shared, limit.NewMemory(clk.now), log, clk.now)
	rate := limit.Rate{Count: 3, Per: time.Minute}
	if r, err := f.Take(t.Context(), "k", rate); err != nil || r.Limit != 1000 {
		t.Errorf("while Redis answers: %+v, %v", r, err)
	}
	shared.err = errors.New("connection refused")
	allowed := 0
	for range 10 {
		r, err := f.Take(t.Context(), "k", rate)
		if err != nil {
			t.Fatal(err)
		}
		if r.Allowed {
			allowed++
		}
	}
	if allowed != 3 {
		t.Errorf("without Redis %d were allowed, want 3: neither none nor all", allowed)
	}
	if shared.calls != 2 {
		t.Errorf("Redis was asked %d times, want 2: it is left alone for a while", shared.calls)
	}
	clk.t = clk.t.Add(time.Minute)
	_, _ = f.Take(t.Context(), "k", rate)
	shared.err = nil
	clk.t = clk.t.Add(time.Minute)
	if r, err := f.Take(t.Context(), "k", rate); err != nil || r.Limit != 1000 {
		t.Errorf("after Redis came back: %+v, %v", r, err)
	}
	if n := strings.Count(text.String(), "\n"); n != 2 {
		t.Errorf("logged %d lines, want 2:\n%s", n, text.String())
	}
	// A caller who gave up says nothing of Redis.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	shared.err = context.Canceled
	_, _ = f.Take(gone, "k", rate)
	if strings.Count(text.String(), "\n") != 2 {
		t.Errorf("a cancelled request was taken for an outage:\n%s", text.String())
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	g := limit.NewGuard(limit.NewMemory(time.Now), []byte("secret"), slog.New(slog.DiscardHandler))
	rate := limit.Rate{Count: 1, Per: time.Hour}
	if _, err := g.Check(t.Context(), "a", "x", rate); err != nil {
		t.Fatal(err)
	}
	_, err := g.Check(t.Context(), "a", "x", rate)
	exceeded, ok := errors.AsType[*limit.Exceeded](err)
	if !ok || event.ErrorCode(err) != event.CodeRateLimited || exceeded.Result.Retry <= 59*time.Minute || !strings.Contains(event.ErrorMessage(err), "1h0m0s") {
		t.Errorf("%v, %+v", err, exceeded)
	}
	for _, other := range [][2]string{{"a", "y"}, {"b", "x"}} {
		if _, err := g.Check(t.Context(), other[0], other[1], rate); err != nil {
			t.Errorf("%v shares a bucket with another: %v", other, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	key := limit.Key([]byte("s"), "sign_in", "alice@example.com")
	if strings.Contains(key, "alice") || key == limit.Key([]byte("t"), "sign_in", "alice@example.com") {
		t.Errorf("the key %q shows whose it is", key)
	}
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64",
		"2001:db8:1:3::9": "2001:db8:1:3::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := limit.Network(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// TestDebt: what is larger than a bucket is taken from a full one and owed, alike in memory and in Redis, so that over any time no more than the rate and
// one bucket are given beside the last lot.
func TestDebt(t *testing.T) {
	t.Parallel()
	client, prefix := redistest.Open(t)
	clk := &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	rate := limit.Rate{Count: 50, Per: 10 * time.Second}
	limiters := map[string]limit.Limiter{"memory": limit.NewMemory(clk.now), "redis": limit.NewRedis(client, prefix).WithClock(clk.now)}
	for _, c := range []struct {
		after time.Duration
		n     int
		want  limit.Result
	}{
		{0, 20_000, limit.Result{Allowed: true, Limit: 50, Reset: 4000 * time.Second}},
		{0, 1, limit.Result{Limit: 50, Reset: 4000 * time.Second, Retry: 3990*time.Second + 200*time.Millisecond}},
		{10200 * time.Millisecond, 20_000, limit.Result{Limit: 50, Reset: 3989800 * time.Millisecond, Retry: 3989800 * time.Millisecond}},
		{3980 * time.Second, 1, limit.Result{Allowed: true, Limit: 50, Reset: 10 * time.Second}},
		{9 * time.Second, 51, limit.Result{Limit: 50, Remaining: 45, Reset: time.Second, Retry: time.Second}},
		{time.Second, 51, limit.Result{Allowed: true, Limit: 50, Reset: 10200 * time.Millisecond}},
	} {
		clk.t = clk.t.Add(c.after)
		for name, l := range limiters {
			if _, got, err := l.TakeLot(t.Context(), "k", rate, c.n, c.n); err != nil || got != c.want {
				t.Errorf("%s, %d: %+v, %v; want %+v", name, c.n, got, err, c.want)
			}
		}
	}
}
