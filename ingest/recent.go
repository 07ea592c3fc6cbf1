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
// at most the bound, in a fixed 23 bytes for each: two tables a shard, of which the
// older is emptied when the newer is full.
type Recent struct {
	seed   uint64
	shards [recentShards]recentShard
	slots  int // of one table
	fill   int // identities that one table takes
}

type recentShard struct {
	mu       sync.Mutex
	now, old recentTable // without slots until used
	count    int         // in now
	_        [64]byte    // keeps the locks on cache lines of their own
}

// recentTable is open addressing. The tags tell apart nearly all that is not there, and
// are small enough to stay in the processor's cache: that is the question of each new event, and going to
// memory for it would be a tenth of what an event costs in all.
type recentTable struct {
	tags []uint8 // of the ids in their slots, 0 is a free slot
	ids  []event.ID
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
func (r *Recent) MaxBytes() int { return 2 * recentShards * r.slots * (1 + len(event.ID{})) }

// place is where an id belongs.
type place struct {
	shard *recentShard
	slot  int
	tag   uint8
}

// locate gives id's place. The seed keeps a client that can
// choose identities from choosing them to land in one place.
func (r *Recent) locate(id event.ID) place {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^r.seed, r.seed*0x9e3779b97f4a7c15|1)
	h := hi ^ lo
	slot, rest := bits.Mul64(h<<4, uint64(r.slots))                   //nolint:gosec // never negative
	return place{&r.shards[h>>60], int(slot), uint8(rest>>56) | 1<<7} //nolint:gosec // slot is below slots, the tag what it leaves over
}

// Has tells whether id is remembered.
func (r *Recent) Has(id event.ID) bool {
	if r.slots == 0 {
		return false
	}
	p := r.locate(id)
	p.shard.mu.Lock()
	defer p.shard.mu.Unlock()
	_, now := p.shard.now.find(p, id)
	if now {
		return true
	}
	_, old := p.shard.old.find(p, id)
	return old
}

// Add remembers id and tells whether it was not remembered before. Of callers that
// add the same id at the same time one hears true.
func (r *Recent) Add(id event.ID) bool {
	if r.slots == 0 || id == (event.ID{}) {
		return true
	}
	p := r.locate(id)
	s := p.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	free, now := s.now.find(p, id)
	if now {
		return false
	}
	_, known := s.old.find(p, id)
	if s.count == r.fill || s.now.tags == nil {
		if s.now, s.old = s.old, s.now; s.now.tags == nil {
			s.now = recentTable{make([]uint8, r.slots), make([]event.ID, r.slots)}
		}
		clear(s.now.tags)
		s.count, free = 0, p.slot
	}
	s.now.tags[free], s.now.ids[free] = p.tag, id
	s.count++
	return !known
}

// find looks for id from its slot on, and gives the free slot where it would be; the table is never full.
func (t *recentTable) find(p place, id event.ID) (slot int, found bool) {
	if t.tags == nil {
		return 0, false
	}
	for slot = p.slot; ; {
		switch t.tags[slot] {
		case 0:
			return slot, false
		case p.tag:
			if t.ids[slot] == id {
				return slot, true
			}
		}
		if slot++; slot == len(t.tags) {
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
		if s.old.tags != nil {
			n += r.fill
		}
		s.mu.Unlock()
	}
	return n
}
