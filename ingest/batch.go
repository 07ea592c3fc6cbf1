package ingest

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
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

// batch gathers the records of one request: events encoded into an arena, ready for
// the spool, and what became of each record. It is reused; see release.
type batch struct {
	parse   event.ParseOptions
	limit   int          // records; more fail the request
	stored  int          // bytes that the events may take; more fail the request
	share   *body        // whose share of the budget bears what the batch takes beyond its own memory; nil: nobody's
	oldest  int64        // Unix milliseconds; earlier events are refused as expired
	expired *event.Error // with these words
	arena   []byte       // the chunk being filled
	chunks  [][]byte     // those before it
	entries []entry
	records [][]byte // what goes to the spool, slices of the chunks

	outcomes   []outcome   // of every record read, by its place in the request
	rejections []rejection // in order
	accepted   int
	duplicate  int
	unknown    int  // members that no field goes by
	unreadable int  // records that were not even JSON, or not a frame
	all        bool // the answer lists the accepted records too
	exact      bool // accepted means that ClickHouse does not have it: wished first, then so

	version     string // of the agent, as the last event that says one; "" for none
	lastVersion string // that of this memory's last request with one

	ids  idSet
	scan jsonScanner
	ev   event.Event
}

// entry is one valid event in the arena.
type entry struct {
	id       event.ID
	off, end int // as if the chunks stood arenaChunk apart
	index    int // in the request
	sent     bool
}

// rejection says why a record was refused.
type rejection struct {
	index int
	err   *event.Error
}

var batches = sync.Pool{New: func() any { return new(batch) }}

const (
	// arenaChunk is how much of the arena lies in one piece. The first is the batch's own; those
	// beyond count against the memory for large requests: a few bytes of a stream that names a word
	// thousands of times make thousands of copies of it.
	arenaChunk = 1 << 20
	// maxPooledScratch is how large the scanner's memory may be for a batch to be kept for the next;
	// larger ones come from rare requests and would stay for good.
	maxPooledScratch = 4 << 20
	// freeRejections are in a batch's own memory; of those beyond, each counts as rejectionBytes: the
	// error with its words, and those words in the answer.
	freeRejections = 1 << 10
	rejectionBytes = 512
)

// arenaChunks are the chunks beyond the first ones.
var arenaChunks = sync.Pool{New: func() any { return new([arenaChunk]byte) }}

func (in *Intake) newBatch(p *Principal, now time.Time, limit int, share *body) *batch {
	b := newBatch(p, now, limit)
	b.stored, b.share = in.limits.StoredBytes, share
	b.oldest, b.expired = expiry(now, in.retention), in.expired
	return b
}

func newBatch(p *Principal, now time.Time, limit int) *batch {
	b := batches.Get().(*batch)
	b.stored = DefaultLimits.StoredBytes
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
	if len(b.chunks) > 0 {
		for _, chunk := range append(b.chunks[1:], b.arena) {
			arenaChunks.Put((*[arenaChunk]byte)(chunk[:arenaChunk]))
		}
		b.arena = b.chunks[0]
		clear(b.chunks)
		b.chunks = b.chunks[:0]
	}
	if cap(b.scan.scratch) > maxPooledScratch || cap(b.entries) > 1<<16 {
		return
	}
	b.arena, b.entries, b.outcomes = b.arena[:0], b.entries[:0], b.outcomes[:0]
	b.share = nil
	clear(b.records)
	clear(b.rejections)
	b.records, b.rejections = b.records[:0], b.rejections[:0]
	b.accepted, b.duplicate, b.unknown, b.unreadable = 0, 0, 0, 0
	b.oldest, b.expired, b.all, b.exact, b.version = 0, nil, false, false, ""
	b.scan.fields, b.scan.bad, b.ev, b.parse = event.Fields{}, nil, event.Event{}, event.ParseOptions{}
	batches.Put(b)
}

// full tells whether no further record may come.
func (b *batch) full() bool { return len(b.outcomes) >= b.limit }

// reject takes a record that is no valid event. Its error refuses the request whole, as that of add and
// addFields: there is no memory for more.
func (b *batch) reject(err *event.Error) error {
	if n := len(b.rejections); n >= freeRejections && n%freeRejections == 0 && !b.share.hold(freeRejections*rejectionBytes) {
		return errBusy
	}
	b.rejections = append(b.rejections, rejection{len(b.outcomes), err})
	b.outcomes = append(b.outcomes, rejected)
	return nil
}

// take adds e, or rejects it for err.
func (b *batch) take(e *event.Event, err *event.Error) error {
	if err != nil {
		return b.reject(err)
	}
	return b.add(e)
}

// add takes a valid event, which may be changed afterwards.
func (b *batch) add(e *event.Event) error {
	if e.Time < b.oldest {
		return b.reject(b.expired)
	}
	if len(b.arena) > arenaChunk-maxFrame {
		if err := b.nextChunk(); err != nil {
			return err
		}
	}
	if e.Agent != "" {
		if e.Agent != b.lastVersion { // nearly always that of the last request
			b.lastVersion = strings.Clone(e.Agent) // what it points into is used again before the request is done
		}
		b.version = b.lastVersion
	}
	off, id := len(b.arena), e.ID()
	b.arena = e.AppendStored(b.arena, id)
	base := len(b.chunks) * arenaChunk
	b.entries = append(b.entries, entry{id: id, off: base + off, end: base + len(b.arena), index: len(b.outcomes)})
	b.outcomes = append(b.outcomes, accepted)
	return nil
}

// nextChunk makes room in the arena. Copying it into a larger piece instead would take twice the memory
// meanwhile, and leave the smaller pieces to the collector, uncounted.
func (b *batch) nextChunk() error {
	if (len(b.chunks)+1)*arenaChunk >= b.stored {
		return errTooMuchStored(b.stored)
	}
	if !b.share.hold(arenaChunk) {
		return errBusy
	}
	b.chunks = append(b.chunks, b.arena)
	b.arena = arenaChunks.Get().(*[arenaChunk]byte)[:0] //nolint:forcetypeassert // the pool holds nothing else
	return nil
}

// record gives what e's event is in the arena.
func (b *batch) record(e *entry) []byte {
	chunk, off := e.off/arenaChunk, e.off%arenaChunk
	from := b.arena
	if chunk < len(b.chunks) {
		from = b.chunks[chunk]
	}
	end := off + e.end - e.off
	return from[off:end:end]
}

func errTooMuchStored(limit int) *event.Error {
	return event.Errorf(event.CodeTooLarge, "the events of the request take more than %s once unpacked; send them in several", formatBytes(limit))
}

// addFields takes the record that the scanner has read.
func (b *batch) addFields() error {
	b.unknown += b.scan.unknown
	if b.scan.bad != nil {
		return b.reject(b.scan.bad)
	}
	if err := b.scan.fields.ParseInto(&b.ev, &b.parse); err != nil {
		return b.reject(asError(err))
	}
	return b.add(&b.ev)
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
		b.records = append(b.records, b.record(e))
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
			b.records = append(b.records, b.record(e))
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
