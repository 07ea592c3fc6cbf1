package ingest

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"

	"gatehouse/event"
)

// DefaultRecent is how many event identities are remembered. A repetition of an older
// event is answered as new, and is found by the writer.
const DefaultRecent = 1_000_000

// recentShards spreads the lock; a batch takes each lock many times, but shortly.
const recentShards = 16

// Recent remembers the identities of the last events that are durable, so that a
// repetition can be told at once. It holds at least the last half of its bound and
// at most the bound, in a fixed 22 bytes for each: two tables a shard, of which the
// older is emptied when the newer is full.
type Recent struct {
	seed   uint64
	shards [recentShards]recentShard
	slots  int // of one table
	fill   int // identities that one table takes
}

type recentShard struct {
	mu       sync.Mutex
	now, old []event.ID // open addressing, the zero ID is a free slot; nil until used
	count    int        // in now
	_        [64]byte   // keeps the locks on cache lines of their own
}

// NewRecent makes a memory of at most limit identities; 0 is [DefaultRecent], less than 0 remembers nothing.
func NewRecent(limit int) *Recent {
	if limit == 0 {
		limit = DefaultRecent
	}
	r := &Recent{seed: rand.Uint64() | 1} //nolint:gosec // seeded by the system; it only keeps slots from being foreseen
	if limit > 0 {
		r.fill = max(1, limit/(2*recentShards))
		r.slots = r.fill + r.fill/3 + 1 // three quarters full at most: short probes
	}
	return r
}

// MaxBytes is the memory that the tables take once they are all in use.
func (r *Recent) MaxBytes() int { return 2 * recentShards * r.slots * len(event.ID{}) }

// locate gives the shard and the first slot of id. The seed keeps a client that can
// choose identities from choosing them to land in one place.
func (r *Recent) locate(id event.ID) (*recentShard, int) {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^r.seed, r.seed*0x9e3779b97f4a7c15|1)
	h := hi ^ lo
	slot, _ := bits.Mul64(h<<4, uint64(r.slots)) //nolint:gosec // never negative
	return &r.shards[h>>60], int(slot)           //nolint:gosec // below slots
}

// Has tells whether id is remembered.
func (r *Recent) Has(id event.ID) bool {
	if r.slots == 0 {
		return false
	}
	s, slot := r.locate(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return find(s.now, slot, id) || find(s.old, slot, id)
}

// Add remembers id and tells whether it was not remembered before. Of callers that
// add the same id at the same time one hears true.
func (r *Recent) Add(id event.ID) bool {
	if r.slots == 0 || id == (event.ID{}) {
		return true
	}
	s, slot := r.locate(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if find(s.now, slot, id) {
		return false
	}
	known := find(s.old, slot, id)
	if s.now == nil {
		s.now = make([]event.ID, r.slots)
	}
	if s.count == r.fill {
		s.now, s.old = s.old, s.now
		if s.now == nil {
			s.now = make([]event.ID, r.slots)
		}
		clear(s.now)
		s.count = 0
	}
	for s.now[slot] != (event.ID{}) {
		if slot++; slot == len(s.now) {
			slot = 0
		}
	}
	s.now[slot] = id
	s.count++
	return !known
}

// find looks for id from a slot on; the table is never full.
func find(table []event.ID, slot int, id event.ID) bool {
	if table == nil {
		return false
	}
	for {
		switch table[slot] {
		case event.ID{}:
			return false
		case id:
			return true
		}
		if slot++; slot == len(table) {
			slot = 0
		}
	}
}

// Len is how many identities the tables hold.
func (r *Recent) Len() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		n += s.count
		if s.old != nil {
			n += r.fill
		}
		s.mu.Unlock()
	}
	return n
}
