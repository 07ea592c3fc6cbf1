package ingest

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"
	"unsafe"

	"gatehouse/event"
)

// outcome is what became of one record of a request.
type outcome uint8

const (
	accepted outcome = iota
	duplicate
	rejected
)

// batch gathers the records of one request: events encoded into one arena, ready for
// the spool, and what became of each record. It is reused; see release.
type batch struct {
	parse   event.ParseOptions
	limit   int          // records; more fail the request
	oldest  int64        // Unix milliseconds; earlier events are refused as expired
	expired *event.Error // with these words
	arena   []byte
	entries []entry
	records [][]byte // what goes to the spool, slices of arena

	outcomes   []outcome   // of every record read, by its place in the request
	rejections []rejection // in order
	accepted   int
	duplicate  int
	unknown    int  // members that no field goes by
	unreadable int  // records that were not even JSON, or not a frame
	exact      bool // accepted means that ClickHouse does not have it: wished first, then so

	ids  idSet
	scan jsonScanner
	ev   event.Event
}

// entry is one valid event in the arena.
type entry struct {
	id       event.ID
	off, end int
	index    int // in the request
	sent     bool
}

// rejection says why a record was refused.
type rejection struct {
	index int
	err   *event.Error
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// maxPooledArena is how large the memory of a batch may be to be kept for the next;
// larger ones come from rare requests and would stay for good.
const maxPooledArena = 4 << 20

func (in *Intake) newBatch(p *Principal, now time.Time, limit int) *batch {
	b := newBatch(p, now, limit)
	b.oldest, b.expired = expiry(now, in.retention), in.expired
	return b
}

func newBatch(p *Principal, now time.Time, limit int) *batch {
	b := batches.Get().(*batch)
	b.parse = event.ParseOptions{
		Now: now, Location: p.Location, CompanyID: p.CompanyID, SiteID: p.SiteID,
		// The strings of an event live only until it is encoded, a few lines later,
		// while the request's body stands: no copy is needed.
		Intern: borrow,
	}
	b.limit = limit
	return b
}

// borrow makes a string that shares p's memory.
func borrow(p []byte) string {
	return unsafe.String(unsafe.SliceData(p), len(p)) //nolint:gosec // the bytes are not written to while the string is in use, see newBatch
}

// release gives b back. Nothing of it may be in use.
func (b *batch) release() {
	if cap(b.arena)+cap(b.scan.scratch) > maxPooledArena || cap(b.entries) > 1<<16 {
		return
	}
	b.arena, b.entries, b.outcomes = b.arena[:0], b.entries[:0], b.outcomes[:0]
	clear(b.records)
	clear(b.rejections)
	b.records, b.rejections = b.records[:0], b.rejections[:0]
	b.accepted, b.duplicate, b.unknown, b.unreadable = 0, 0, 0, 0
	b.oldest, b.expired, b.exact = 0, nil, false
	b.scan.fields, b.scan.bad, b.ev, b.parse = event.Fields{}, nil, event.Event{}, event.ParseOptions{}
	batches.Put(b)
}

// full tells whether no further record may come.
func (b *batch) full() bool { return len(b.outcomes) >= b.limit }

// reject takes a record that is no valid event.
func (b *batch) reject(err *event.Error) {
	b.rejections = append(b.rejections, rejection{len(b.outcomes), err})
	b.outcomes = append(b.outcomes, rejected)
}

// add takes a valid event, which may be changed afterwards.
func (b *batch) add(e *event.Event) {
	if e.Time < b.oldest {
		b.reject(b.expired)
		return
	}
	off, id := len(b.arena), e.ID()
	b.arena = e.AppendStored(b.arena, id)
	b.entries = append(b.entries, entry{id: id, off: off, end: len(b.arena), index: len(b.outcomes)})
	b.outcomes = append(b.outcomes, accepted)
}

// addFields takes the record that the scanner has read.
func (b *batch) addFields() {
	b.unknown += b.scan.unknown
	if b.scan.bad != nil {
		b.reject(b.scan.bad)
		return
	}
	if err := b.scan.fields.ParseInto(&b.ev, &b.parse); err != nil {
		b.reject(asError(err))
		return
	}
	b.add(&b.ev)
}

// choose picks what must go to the spool: neither remembered nor twice in the request.
func (b *batch) choose(recent *Recent) {
	b.ids.reset(len(b.entries))
	b.records = b.records[:0]
	for i := range b.entries {
		e := &b.entries[i]
		if !b.ids.add(e.id) || recent.Has(e.id) {
			b.outcomes[e.index] = duplicate
			continue
		}
		e.sent = true
		b.records = append(b.records, b.arena[e.off:e.end:e.end])
	}
}

// drop takes out of the chosen those that ClickHouse has.
func (b *batch) drop(stored map[event.ID]struct{}) {
	b.records = b.records[:0]
	for i := range b.entries {
		e := &b.entries[i]
		if _, known := stored[e.id]; known && e.sent {
			e.sent, b.outcomes[e.index] = false, duplicate
		}
		if e.sent {
			b.records = append(b.records, b.arena[e.off:e.end:e.end])
		}
	}
}

// settle counts, after the chosen records are durable, and has them remembered. Of
// requests that bring the same event at the same time, one hears accepted; the
// others' copies are in the spool too, and the writer drops them.
func (b *batch) settle(recent *Recent) {
	for i := range b.entries {
		e := &b.entries[i]
		if e.sent && recent.Add(e.id) {
			b.accepted++
			continue
		}
		b.outcomes[e.index] = duplicate
		b.duplicate++
	}
}

// idSet tells repetitions inside one request: open addressing, emptied by a new
// generation instead of by writing.
type idSet struct {
	slots []idSlot
	seed  uint64
	gen   uint32
}

type idSlot struct {
	id  event.ID
	gen uint32
}

// reset empties the set and makes room for n.
func (s *idSet) reset(n int) {
	size := 64
	for size < 2*n {
		size *= 2
	}
	if s.gen++; len(s.slots) < size || s.gen == 0 {
		s.slots, s.gen, s.seed = make([]idSlot, max(size, len(s.slots))), 1, rand.Uint64()|1 //nolint:gosec // seeded by the system; it only keeps slots from being foreseen
	}
}

// add tells whether id was not there.
func (s *idSet) add(id event.ID) bool {
	mask := uint64(len(s.slots) - 1) //nolint:gosec // never empty
	h := (binary.LittleEndian.Uint64(id[:8]) ^ s.seed) * s.seed
	for i := (h >> 32) & mask; ; i = (i + 1) & mask {
		slot := &s.slots[i]
		if slot.gen != s.gen {
			*slot = idSlot{id, s.gen}
			return true
		}
		if slot.id == id {
			return false
		}
	}
}
