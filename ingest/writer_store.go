package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"gatehouse/event"
)

// bring inserts a block and answers for it. It gives up only when work ends, or ctx
// between two attempts; the block then comes again at the next start.
func (w *Writer) bring(ctx, work context.Context, b *writeBlock) {
	defer func() { <-w.pending }()
	if len(b.rows) > 0 {
		if err := w.insertRows(ctx, work, b); err != nil {
			return
		}
	}
	if w.opts.OnResult != nil {
		b.results.each(w.opts.OnResult)
	}
	w.count(b.results)
	if err := w.finish(b); err != nil {
		w.log.Error("the queue could not be trimmed; its records will be looked up again after a restart", slog.Any("error", err))
	}
}

func (w *Writer) count(t *tally) {
	sum := t.sums()
	w.stats.inserted.Add(int64(sum[WriterInserted]))
	w.stats.duplicates.Add(int64(sum[WriterDuplicate]))
	w.stats.expired.Add(int64(sum[WriterExpired]))
}

// portion is rows of a block on their way, and what became of the attempts so far.
type portion struct {
	b    *writeBlock
	rows []uint32

	token string
	sent  int // how many rows went under token
	// doubt says that an attempt ended otherwise than in a confirmation: some of the rows may be in
	// events, some of those without their presence rows, and the attempt may even run still.
	doubt bool
	// lost says that the connection broke: whether the attempt still runs, or will yet, is not known.
	lost bool
	// spent says that ClickHouse has confirmed token. Should rows be missing yet, it
	// remembers the token of an insert that it never completed, and a new one is due.
	spent   bool
	trouble trouble
}

// insertRows brings all of b.rows in, or sets aside those that ClickHouse refuses.
func (w *Writer) insertRows(ctx, work context.Context, b *writeBlock) error {
	p := &portion{b: b, rows: b.rows}
	err := w.insertPortion(ctx, work, p)
	if isRefusal(err) {
		err = w.separate(ctx, work, p, err)
	}
	return err
}

// insertPortion tries until the rows are in. Its errors are the context's, and refusals: ClickHouse
// will not take these rows, however often it is asked.
func (w *Writer) insertPortion(ctx, work context.Context, p *portion) error {
	for try := 0; ; try++ {
		err := w.attempt(work, p)
		if errors.Is(err, errLookAgain) {
			continue
		}
		if err == nil || isRefusal(err) {
			w.trouble(&p.trouble, false)
			return err
		}
		if work.Err() != nil {
			return work.Err()
		}
		w.failed("insert a block", err, try)
		w.trouble(&p.trouble, true)
		if err := sleep(ctx, w.backoff(try)); err != nil {
			return err
		}
	}
}

// errLookAgain: the insert was confirmed, but under a token that may have been used before.
var errLookAgain = errors.New("look again")

// attempt makes one. After nil all rows of p are in events, and in presence what belongs there.
func (w *Writer) attempt(ctx context.Context, p *portion) error {
	select {
	case w.inserts <- struct{}{}:
		defer func() { <-w.inserts }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !w.opts.Shared {
		return w.attemptAlone(ctx, p, nil)
	}
	done := false
	err := w.opts.Lock(ctx, func(ctx context.Context, held Held) error {
		if held.Abandoned() {
			w.log.Info("another writer of this store ended without a word; waiting until nothing of it can arrive any more", slog.Duration("wait", w.opts.AbandonDelay))
			if err := sleep(ctx, w.opts.AbandonDelay); err != nil {
				return err
			}
		}
		err := w.attemptAlone(ctx, p, held)
		done = err == nil
		if !p.lost {
			held.Settled()
		}
		return err
	})
	switch {
	case done: // the rows are in, whatever became of the lock afterwards
		return nil
	case err == nil:
		return errors.New("the writers' lock did not run what it was given")
	}
	return fmt.Errorf("under the writers' lock: %w", err)
}

// attemptAlone is attempt while no other writer is at work; held is nil where there is none.
func (w *Writer) attemptAlone(ctx context.Context, p *portion, held Held) error {
	rows := p.rows
	if p.doubt || w.opts.Shared {
		var err error
		if rows, err = w.missing(ctx, p); err != nil {
			return err
		}
		if len(rows) == 0 {
			w.inserted(p)
			return nil
		}
	}
	if p.token == "" || p.spent || len(rows) != p.sent {
		// The same rows go under the same token, so that an attempt which arrives late after all is
		// recognised; fewer rows must not, for they would be taken for the earlier ones.
		p.token, p.sent, p.spent = w.nextToken(), len(rows), false
	}
	if held != nil {
		// The look-up may have taken long. If the lock went to another meanwhile, what was not there then may be there now.
		if err := held.Check(ctx); err != nil {
			return fmt.Errorf("hold the writers' lock: %w", err)
		}
	}
	enc := w.encoders.Get().(*blockEncoder) //nolint:forcetypeassert // the pool holds nothing else
	began := time.Now()
	err := w.store.insert(ctx, enc, p.b, rows, p.token)
	if w.opts.OnInsert != nil {
		w.opts.OnInsert(len(rows), time.Since(began), err)
	}
	if err != nil {
		// The transport may still hold the encoder for a moment: it is not used again.
		if !isUnsent(err) {
			p.lost, p.doubt = !isAnswer(err), true
		}
		if p.lost && w.opts.Shared {
			// It must not arrive when another writer has looked already: the lock is kept until it has had the time to. Where
			// that fails, above all because the lock is lost, p.lost stays, and the next holder is told.
			_ = w.settle(ctx, p)
		}
		return fmt.Errorf("insert: %w", err)
	}
	w.encoders.Put(enc)
	w.stats.blocks.Add(1)
	if p.doubt {
		p.spent = true
		return errLookAgain
	}
	w.inserted(p)
	return nil
}

func (w *Writer) inserted(p *portion) {
	for _, r := range p.rows {
		p.b.results.add(p.b.company[r], WriterInserted)
	}
}

// missing tells which rows of p are not in events, once no earlier attempt runs any more. For those that
// are there in doubt it completes presence.
func (w *Writer) missing(ctx context.Context, p *portion) ([]uint32, error) {
	if err := w.settle(ctx, p); err != nil {
		return nil, err
	}
	present := make([]bool, p.b.len())
	err := w.store.present(ctx, p.b, p.rows, func(id event.ID) {
		if r, ok := p.b.index.find(p.b.ids, id); ok {
			present[r] = true
		}
	})
	if err != nil {
		return nil, err
	}
	w.stats.verified.Add(int64(len(p.rows)))
	var there, missing []uint32
	for _, r := range p.rows {
		if present[r] {
			there = append(there, r)
		} else {
			missing = append(missing, r)
		}
	}
	// Rows that are there may lack what the view derives of them: the insert that brought
	// them, ours or that of a writer which died, may have been cut off between the two.
	if p.doubt || w.opts.Shared {
		if err := w.store.repair(ctx, p.b, there); err != nil {
			return nil, err
		}
		w.stats.repaired.Add(int64(len(there)))
	}
	if !p.doubt { // somebody else's
		for _, r := range there {
			p.b.results.add(p.b.company[r], WriterDuplicate)
		}
		p.rows = missing
	}
	return missing, nil
}

// settle returns when no earlier attempt of p runs, or will.
func (w *Writer) settle(ctx context.Context, p *portion) error {
	if p.lost && w.opts.SettleDelay > 0 {
		if err := sleep(ctx, w.opts.SettleDelay); err != nil {
			return err
		}
	}
	running := p.token
	if w.opts.Shared {
		running = writerPrefix // under the lock no other writer's insert has a right to run
	}
	if running != "" {
		if err := w.store.quiesce(ctx, running); err != nil {
			return err
		}
	}
	p.lost = false
	return nil
}

// maxSuspects is after how many refused single rows, with none taken, the others are left for later: it
// looks like the table's fault.
const maxSuspects = 32

// separate finds the rows that ClickHouse refuses, brings the others in and sets those aside. It condemns a row only when
// ClickHouse refuses it after having taken others: else the table is at fault, and nothing is set aside for that.
func (w *Writer) separate(ctx, work context.Context, p *portion, cause error) error {
	taken := w.stats.blocks.Load()
	var t trouble
	defer w.trouble(&t, false)
	for try := 0; ; try++ {
		well := w.stats.blocks.Load() > taken
		var suspects []uint32
		err := w.halve(ctx, work, p, taken, &suspects, &cause)
		if err != nil || len(suspects) == 0 {
			return err
		}
		if well {
			if err = w.condemn(p.b, suspects, cause); err == nil {
				return nil
			}
			cause = err
		}
		w.failed("insert rows that are refused", cause, try)
		w.trouble(&t, true)
		if err := sleep(ctx, w.backoff(try)); err != nil {
			return err
		}
		p = &portion{b: p.b, rows: suspects, doubt: true}
		err = w.insertPortion(ctx, work, p)
		if !isRefusal(err) {
			return err
		}
		cause = err
	}
}

// halve tries the halves of a refused portion, and theirs, down to single rows, which are suspects. Once many are suspect and nothing
// was taken it leaves the rest untried, at the front: the next round begins with those.
func (w *Writer) halve(ctx, work context.Context, p *portion, taken int64, suspects *[]uint32, cause *error) error {
	if len(*suspects) >= maxSuspects && w.stats.blocks.Load() == taken {
		*suspects = append(slices.Clone(p.rows), *suspects...)
		return nil
	}
	if len(p.rows) == 1 {
		*suspects = append(*suspects, p.rows...)
		return nil
	}
	half := len(p.rows) / 2
	for _, rows := range [][]uint32{p.rows[:half], p.rows[half:]} {
		part := &portion{b: p.b, rows: rows, doubt: true}
		err := w.insertPortion(ctx, work, part)
		if isRefusal(err) {
			*cause = err
			err = w.halve(ctx, work, part, taken, suspects, cause)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// condemn sets rows aside for good.
func (w *Writer) condemn(b *writeBlock, rows []uint32, cause error) error {
	stray := make([]strayRecord, 0, len(rows))
	for _, r := range rows {
		e := b.eventAt(r)
		stray = append(stray, strayRecord{key: asideKey(b.ids[r]), data: e.AppendBinary(nil), reason: cause.Error()})
	}
	if err := w.aside.put(stray, w.opts.Clock()); err != nil {
		return fmt.Errorf("set a record aside: %w", err)
	}
	for _, r := range rows {
		b.results.add(b.company[r], WriterSetAside)
	}
	w.log.Error("ClickHouse refuses events; they are set aside", slog.Int("events", len(rows)), slog.Any("error", cause))
	return nil
}

// nextToken names an insert for good: no other of this or an earlier life has the name.
func (w *Writer) nextToken() string {
	return w.name + w.epoch + "-" + strconv.FormatUint(w.tokens.Add(1), 10) + "."
}

// isAnswer tells that ClickHouse itself reported the failure: the insert has ended.
func isAnswer(err error) bool {
	var ex *clickhouse.Exception
	return errors.As(err, &ex)
}

// isUnsent tells that ClickHouse cannot have got the request.
func isUnsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// refusals are ClickHouse's errors about the data itself. Whatever is not here is taken to
// pass: full disks, too many parts, memory limits, a schema not yet migrated.
var refusals = map[int32]bool{
	6:   true, // CANNOT_PARSE_TEXT
	27:  true, // CANNOT_PARSE_INPUT_ASSERTION_FAILED
	53:  true, // TYPE_MISMATCH
	69:  true, // ARGUMENT_OUT_OF_BOUND
	70:  true, // CANNOT_CONVERT_TYPE
	117: true, // INCORRECT_DATA
	131: true, // TOO_LARGE_STRING_SIZE
	190: true, // SIZES_OF_ARRAYS_DONT_MATCH
	321: true, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
	349: true, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
	407: true, // DECIMAL_OVERFLOW
	441: true, // INVALID_PARTITION_VALUE, with 248
	248: true, // INVALID_PARTITION_VALUE
	469: true, // VIOLATED_CONSTRAINT
	691: true, // UNKNOWN_ELEMENT_OF_ENUM
}

// isRefusal tells that ClickHouse will not take this data.
func isRefusal(err error) bool {
	var ex *clickhouse.Exception
	return errors.As(err, &ex) && refusals[ex.Code]
}
