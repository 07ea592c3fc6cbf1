package limit

import (
	"time"

	"gatehouse/internal/refusal"
)

// WithClock has Redis count by the test's clock instead of its own.
func (r *Redis) WithClock(now func() time.Time) *Redis {
	r.now = now
	return r
}

// WithMax makes a smaller table.
func (m *Memory) WithMax(n int) *Memory {
	m.max, m.sweep = n, min(m.sweep, n)
	return m
}

// Buckets is how many are kept.
func (m *Memory) Buckets() int { return len(m.full) }

// WithClock sets by what time refusals are logged.
func (g *Guard) WithClock(now func() time.Time) *Guard {
	g.refused = refusal.New(g.log, now)
	return g
}
