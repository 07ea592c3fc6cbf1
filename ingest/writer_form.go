package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gatehouse/event"
	"gatehouse/spool"
)

// form reads the queue and makes blocks of it, one after the other: fill, take the
// duplicates out, hand over. That this is one goroutine keeps the question
// "has this event been taken before?" simple.
func (w *Writer) form(ctx context.Context, hand func(*writeBlock)) error {
	reader := w.queue.NewReader(0).Reuse() // a block copies what it takes
	defer reader.Close()                   //nolint:errcheck // read only
	// What was in the queue at the start may have been inserted by an earlier life.
	recoverTo := w.queue.Last()
	if err := w.persist(ctx, "end inserts of an earlier run", func() error {
		if recoverTo > 0 && w.opts.SettleDelay > 0 {
			if err := sleep(ctx, w.opts.SettleDelay); err != nil {
				return err
			}
		}
		return w.store.quiesce(ctx, w.name)
	}); err != nil {
		return err
	}
	var lastCut time.Time
	for {
		b := w.takeBlock(reader.Pos())
		if err := w.fill(ctx, reader, b, lastCut); err != nil {
			return err
		}
		lastCut = time.Now()
		if err := w.persist(ctx, "take duplicates out", func() error { return w.dedupe(ctx, b, recoverTo) }); err != nil {
			return err
		}
		select {
		case w.pending <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		hand(b)
	}
}

func (w *Writer) takeBlock(from spool.Position) *writeBlock {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b *writeBlock
	if n := len(w.free); n > 0 {
		b, w.free = w.free[n-1], w.free[:n-1]
	} else {
		b = newWriteBlock()
		b.most = w.opts.BlockRows
	}
	b.reset(from)
	return b
}

// fill reads records into b until it is full, due, or asked for by Flush.
func (w *Writer) fill(ctx context.Context, reader *spool.Reader, b *writeBlock, lastCut time.Time) error {
	var due time.Time
	for {
		at := reader.Pos()
		b.next = max(b.next, at)
		if b.len() >= w.opts.BlockRows || b.bytes >= maxBlockBytes {
			return nil
		}
		wait := time.Duration(-1) // for as long as it takes
		if b.records > 0 {
			if due.IsZero() {
				due = w.due(time.Now(), lastCut)
			}
			if wait = time.Until(due); wait <= 0 {
				if len(w.inserts) < cap(w.inserts) && len(w.pending) < cap(w.pending) {
					return nil
				}
				wait = busyDelay
			}
		}
		readCtx, cancel := context.WithCancel(ctx)
		w.mu.Lock()
		flushTo := w.flushTo
		w.cut = cancel
		w.mu.Unlock()
		if flushTo > b.from {
			if at >= flushTo {
				cancel()
				return nil
			}
			// What it waits for is there to be read, or damaged and about to be skipped.
			if wait < 0 || wait > busyDelay {
				wait = busyDelay
			}
		}
		var timer *time.Timer
		if wait >= 0 {
			timer = time.AfterFunc(wait, cancel)
		}
		records, err := reader.Read(readCtx, spool.Limit{Records: min(w.opts.BlockRows-b.len(), readRecords), Bytes: maxBlockBytes})
		if timer != nil {
			timer.Stop()
		}
		cancelled := readCtx.Err() != nil
		cancel()
		for i := range records {
			b.add(records[i])
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && (!cancelled || !errors.Is(err, context.Canceled)) {
			return fmt.Errorf("read the queue: %w", err)
		}
	}
}

// due is when a block whose first event was just read is to be cut: soon when there has been
// a pause, else a whole delay after the last one, for each block makes parts to be merged.
func (w *Writer) due(now, lastCut time.Time) time.Time {
	soon, late := now.Add(min(idleDelay, w.opts.BlockDelay)), lastCut.Add(w.opts.BlockDelay)
	if late.After(soon) {
		return late
	}
	return soon
}

// dedupe leaves in b.rows what has to be inserted, and puts the block in flight.
func (w *Writer) dedupe(ctx context.Context, b *writeBlock, recoverTo spool.Position) error {
	if err := w.aside.put(b.stray, w.opts.Clock()); err != nil {
		return fmt.Errorf("set a record aside: %w", err)
	}
	results := newTally()
	results.strays = len(b.stray)
	b.index.reset(b.len())
	b.rows = b.rows[:0]
	flight := w.inFlight()
	expired := expiry(w.opts.Clock(), w.opts.RetentionMonths)
	again := b.from <= recoverTo && w.aside.count() > 0 // a record set aside before a crash comes again
	days := &w.days
	days.reset(b.len())
	for r := range uint32(b.len()) { //nolint:gosec // bounded by BlockRows
		id := b.ids[r]
		switch {
		case b.time[r] < expired:
			results.add(b.company[r], WriterExpired)
		case !b.index.add(b.ids, r), inAny(flight, id):
			// Its twin is in flight: that is tried until it is in, and both stay in the queue until then.
			results.add(b.company[r], WriterDuplicate)
		case again && w.aside.has(asideKey(id)):
			results.add(b.company[r], WriterSetAside)
		default:
			b.rows = append(b.rows, r)
			days.add(r, companyDay{b.company[r], b.day(r)})
		}
	}
	if !w.opts.Shared && len(b.rows) > 0 {
		if err := w.dropKnown(ctx, b, days, flight, b.from <= recoverTo, results); err != nil {
			return err
		}
	}
	b.results = results
	b.place = &stretch{block: b, next: b.next, oldest: b.oldest}
	w.mu.Lock()
	w.flight = append(w.flight, b.place)
	w.mu.Unlock()
	return nil
}

// dayNumbers are the days of a block's rows, numbered: rows are many and days few.
type dayNumbers struct {
	keys    []companyDay
	counts  []int    // of rows, by number
	of      []uint32 // the number by row
	numbers map[companyDay]uint32
	last    companyDay // of the row before, which mostly has the same
	number  uint32
}

func (d *dayNumbers) reset(rows int) {
	d.keys, d.counts = d.keys[:0], d.counts[:0]
	d.of = slices.Grow(d.of[:0], rows)[:rows]
	if d.numbers == nil || len(d.numbers) > maxColdDays {
		d.numbers = map[companyDay]uint32{}
	}
	clear(d.numbers)
}

func (d *dayNumbers) add(row uint32, k companyDay) {
	if k != d.last || len(d.keys) == 0 {
		n, ok := d.numbers[k]
		if !ok {
			n = uint32(len(d.keys)) //nolint:gosec // no more than rows
			d.numbers[k] = n
			d.keys, d.counts = append(d.keys, k), append(d.counts, 0)
		}
		d.last, d.number = k, n
	}
	d.counts[d.number]++
	d.of[row] = d.number
}

// dropKnown takes out of b.rows what the store has. restore says that the block may have been inserted before a crash that
// kept the view from following.
func (w *Writer) dropKnown(ctx context.Context, b *writeBlock, days *dayNumbers, flight []*writeBlock, restore bool, results *tally) error {
	want := make(map[companyDay]int, len(days.keys))
	for n, k := range days.keys {
		want[k] = days.counts[n]
	}
	touched, err := w.seen.prepare(ctx, want, func(fn func(companyDay, event.ID)) {
		for _, f := range flight {
			for _, r := range f.rows {
				fn(companyDay{f.company[r], f.day(r)}, f.ids[r])
			}
		}
	})
	if err != nil {
		return err
	}
	filters := make([]*idFilter, len(days.keys)) // nil where the day has none
	for n, k := range days.keys {
		filters[n] = touched[k]
	}
	maybe := make([][]uint32, len(days.keys))
	for _, r := range b.rows {
		n := days.of[r]
		if f := filters[n]; f == nil || f.has(b.ids[r]) {
			maybe[n] = append(maybe[n], r)
		}
	}
	there, err := w.lookUp(ctx, b, days, maybe, filters)
	if err != nil {
		return err
	}
	var known []uint32
	keep := b.rows[:0]
	for _, r := range b.rows {
		if there[r] {
			known = append(known, r)
			results.add(b.company[r], WriterDuplicate)
		} else {
			keep = append(keep, r)
		}
	}
	b.rows = keep
	asked := 0
	for _, rows := range maybe {
		asked += len(rows)
	}
	w.stats.lookups.Add(int64(asked))
	w.stats.maybes.Add(int64(asked - len(known)))
	if restore && len(known) > 0 {
		if err := w.store.repair(ctx, b, known); err != nil {
			return err
		}
		w.stats.repaired.Add(int64(len(known)))
	}
	for _, r := range b.rows {
		if f := filters[days.of[r]]; f != nil {
			f.add(b.ids[r])
		}
	}
	w.seen.settle(touched)
	w.stats.seenBytes.Store(int64(w.seen.bytes))
	w.stats.seenDays.Store(int64(len(w.seen.entries)))
	w.stats.seenLoaded.Store(w.seen.loaded)
	w.stats.seenEvictions.Store(w.seen.evictions)
	return nil
}

// lookUp tells which of the rows the store has. Where they are a good part of a day's events, as when a file is imported
// again, it goes through the day instead of finding each.
func (w *Writer) lookUp(ctx context.Context, b *writeBlock, days *dayNumbers, maybe [][]uint32, filters []*idFilter) ([]bool, error) {
	var through []companyDay
	var dense, sparse []uint32
	for n, rows := range maybe {
		if f := filters[n]; len(rows) > 0 && f != nil && f.count <= len(rows)*denseDay {
			through = append(through, days.keys[n])
			dense = append(dense, rows...)
		} else {
			sparse = append(sparse, rows...)
		}
	}
	there := make([]bool, b.len())
	mark := func(id event.ID) {
		if r, ok := b.index.find(b.ids, id); ok {
			there[r] = true
		}
	}
	if err := w.store.presentInDays(ctx, b, dense, through, mark); err != nil {
		return nil, err
	}
	if err := w.store.present(ctx, b, sparse, mark); err != nil {
		return nil, err
	}
	return there, nil
}

// denseDay: a day is gone through when at least one in so many of its events is looked up.
const denseDay = 64

// inFlight are the blocks whose events the store may not show yet.
func (w *Writer) inFlight() []*writeBlock {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*writeBlock
	for _, f := range w.flight {
		if f.block != nil {
			out = append(out, f.block)
		}
	}
	return out
}

func inAny(blocks []*writeBlock, id event.ID) bool {
	for _, b := range blocks {
		if b.index.has(b.ids, id) {
			return true
		}
	}
	return false
}

// persist does fn until it succeeds or ctx ends, for fn's failures are ClickHouse's or the disk's and pass.
func (w *Writer) persist(ctx context.Context, what string, fn func() error) error {
	var t trouble
	defer w.trouble(&t, false)
	for try := 0; ; try++ {
		err := fn()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.failed(what, err, try)
		w.trouble(&t, true)
		if err := sleep(ctx, w.backoff(try)); err != nil {
			return err
		}
	}
}

// failed notes a failure for Stats and the log: loudly when failures begin, and then at growing intervals for as long as they go on.
func (w *Writer) failed(what string, err error, try int) {
	w.stats.retries.Add(1)
	now := w.opts.Clock()
	w.mu.Lock()
	w.state.lastError, w.state.lastAt = what+": "+err.Error(), now
	mention, since := w.state.pace.Due(now)
	w.mu.Unlock()
	level := slog.LevelDebug
	if mention {
		level = slog.LevelWarn
	}
	w.log.Log(context.Background(), level, "ClickHouse does not take events; trying again", slog.String("step", what), slog.Int("try", try+1),
		slog.Duration("since", since.Round(time.Second)), slog.Any("error", err))
}

// trouble says whether something is counted in Writer.state.failing.
type trouble bool

func (w *Writer) trouble(t *trouble, now bool) {
	if bool(*t) == now {
		return
	}
	*t = trouble(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	if now {
		w.state.failing++
		return
	}
	if w.state.failing--; w.state.failing > 0 {
		return
	}
	if went, since := w.state.pace.Over(w.opts.Clock()); went {
		w.log.Info("ClickHouse takes events again", slog.Duration("after", since.Round(time.Second)))
	}
}

func (w *Writer) backoff(try int) time.Duration {
	d := backoffMax
	if try < 10 {
		d = min(backoffMax, backoffMin<<try)
	}
	return time.Duration(float64(d) * (0.5 + w.opts.Rand()))
}
