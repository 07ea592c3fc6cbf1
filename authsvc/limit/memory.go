package limit

import (
	"context"
	"sync"
	"time"
)

// maxBuckets bounds the memory, about 20 MB. Beyond it, of a few buckets the one that is nearest to full is forgotten: whoever fills the table
// with new addresses makes it forget first those that were hardly used.
const maxBuckets = 100_000

// evictSample is how many buckets are looked at to find one to forget.
const evictSample = 8

// Memory keeps buckets in this process.
type Memory struct {
	now func() time.Time
	max int

	mu    sync.Mutex
	full  map[string]int64 // key → when its bucket is full again, µs; a bucket that is full need not be kept
	sweep int              // size of the table at which full buckets are looked for next
}

// NewMemory makes a Memory that goes by the clock now.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, max: maxBuckets, full: map[string]int64{}, sweep: 1024}
}

// Take takes a token. It never fails.
func (m *Memory) Take(ctx context.Context, key string, rate Rate) (Result, error) {
	_, r, err := m.TakeLot(ctx, key, rate, 1, 1)
	return r, err
}

// TakeLot takes several tokens. It never fails.
func (m *Memory) TakeLot(_ context.Context, key string, rate Rate, least, most int) (int, Result, error) {
	if rate.None() {
		return most, Result{Allowed: true}, nil
	}
	now := m.now().UnixMicro()
	m.mu.Lock()
	defer m.mu.Unlock()
	old, known := m.full[key]
	full, taken, result := gcra(now, old, rate, least, most)
	if !known {
		m.room(now)
	}
	m.full[key] = full
	return taken, result, nil
}

// room makes room for one more bucket. Looking at all of them only when their number has doubled costs little for each.
func (m *Memory) room(now int64) {
	if len(m.full) >= m.sweep {
		for key, full := range m.full {
			if full <= now {
				delete(m.full, key)
			}
		}
		m.sweep = min(m.max, max(1024, 2*len(m.full)))
	}
	if len(m.full) < m.max {
		return
	}
	var victim string
	var least int64
	seen := 0
	for key, full := range m.full { // in no order: a sample
		if seen == 0 || full < least {
			victim, least = key, full
		}
		if seen++; seen == evictSample {
			break
		}
	}
	delete(m.full, victim)
}
