package ingest

import (
	"math/rand/v2"
	"sync"
	"testing"

	"gatehouse/event"
)

func idOf(n int) event.ID {
	e := event.Event{CompanyID: 1, Time: int64(n)}
	return e.ID()
}

// The reference is a list: what was added within half of the bound is remembered, what
// was never added is not, and no more than the bound is kept.
func TestRecentRemembers(t *testing.T) {
	const limit = 4000
	r := NewRecent(limit)
	rng := rand.New(rand.NewPCG(1, 2))
	next := 0
	for range 20_000 {
		if next == 0 || rng.IntN(3) > 0 {
			if !r.Add(idOf(next)) {
				t.Fatalf("%d is new", next)
			}
			next++
			continue
		}
		// The shards fill unevenly; a quarter of the bound leaves room for that.
		old := next - 1 - rng.IntN(min(next, limit/4))
		if !r.Has(idOf(old)) || r.Add(idOf(old)) {
			t.Fatalf("%d of %d is forgotten", old, next)
		}
		if r.Has(idOf(-next)) {
			t.Fatalf("%d was never added", -next)
		}
		if n := r.Len(); n > limit {
			t.Fatalf("%d are kept", n)
		}
	}
	if r.Has(idOf(0)) {
		t.Error("the first is remembered, after five times the bound")
	}
	if r.MaxBytes() > 24*limit {
		t.Errorf("%d bytes for %d", r.MaxBytes(), limit)
	}
}

func TestRecentOddSizes(t *testing.T) {
	for _, limit := range []int{1, 2, 31, 33} {
		r := NewRecent(limit)
		for n := range 500 {
			if !r.Add(idOf(n)) || r.Add(idOf(n)) || !r.Has(idOf(n)) {
				t.Fatalf("limit %d: %d is not remembered right away", limit, n)
			}
		}
	}
	none := NewRecent(-1)
	if !none.Add(idOf(1)) || none.Has(idOf(1)) || !none.Add(idOf(1)) || none.MaxBytes() != 0 {
		t.Error("a memory of nothing remembers")
	}
	if zero := (event.ID{}); NewRecent(10).Has(zero) || !NewRecent(10).Add(zero) {
		t.Error("the zero id is remembered")
	}
}

func TestRecentAtTheSameTime(t *testing.T) {
	r := NewRecent(100_000)
	var wg sync.WaitGroup
	var mu sync.Mutex
	first := 0
	for range 8 {
		wg.Go(func() {
			won := 0
			for n := range 5000 {
				if r.Add(idOf(n)) {
					won++
				}
			}
			mu.Lock()
			first += won
			mu.Unlock()
		})
	}
	wg.Wait()
	if first != 5000 {
		t.Errorf("%d were new, of 5000", first)
	}
}
