package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/pace"
	"gatehouse/spool"
)

// Queue is where the writer takes records from; *spool.Spool is one. What is read
// stays until Trim, and comes again after a restart.
type Queue interface {
	First() spool.Position
	Last() spool.Position
	NewReader(from spool.Position) *spool.Reader
	Trim(upTo spool.Position) error
}

// Results of an event in the writer, for [WriterOptions].OnResult.
const (
	WriterInserted  = "inserted"  // it is in ClickHouse now
	WriterDuplicate = "duplicate" // it was there already, or stood twice in the queue
	WriterExpired   = "expired"   // older than the retention: ClickHouse would delete it at once
	WriterSetAside  = "set_aside" // refused by ClickHouse, or no event: kept in a file
)

// Defaults and limits of the writer. Each says what happens beyond it.
const (
	// DefaultBlockRows is the largest insert. More rows wait for the next one. A block takes some 15 MB
	// and three are in memory under load; larger ones bring ClickHouse little.
	DefaultBlockRows = 1 << 16
	// maxBlockBytes bounds a block of unusually long records, by their size in the spool.
	maxBlockBytes = 48 << 20
	// DefaultBlockDelay is the time from one insert to the next while little comes in:
	// each insert makes a part that ClickHouse has to merge.
	DefaultBlockDelay = time.Second
	// idleDelay is how long the first event after a pause waits for company.
	idleDelay = 200 * time.Millisecond
	// busyDelay is how long a block that is due goes on filling when no insert can start.
	busyDelay = 20 * time.Millisecond
	// readRecords bounds one read from the spool.
	readRecords = 8192
	// DefaultParallel inserts run at once: while ClickHouse writes one block to disk it parses the next.
	DefaultParallel = 2
	// DefaultSeenBudget bounds the memory of the seen index, about 30 million events. Days
	// beyond it are dropped and read again when an event for them comes.
	DefaultSeenBudget = 64 << 20
	// backoffMin and backoffMax bound the pause after a failure; it doubles, and varies by half.
	backoffMin = 100 * time.Millisecond
	backoffMax = 10 * time.Second
	// stopGrace is how long inserts that run may take to end when the writer is stopped. What
	// has not ended then is looked up at the next start.
	stopGrace = 10 * time.Second
)

// WriterOptions of NewWriter. Only Dir is required.
type WriterOptions struct {
	// Dir is the writer's own directory: the name it is known by to ClickHouse, and what was set aside.
	Dir string
	// BlockRows and BlockDelay bound a block: one insert. 0 means the defaults.
	BlockRows  int
	BlockDelay time.Duration
	// Parallel is how many inserts run at once, 0 means DefaultParallel.
	Parallel int
	// SeenBudget bounds the seen index in bytes, 0 means DefaultSeenBudget.
	SeenBudget int
	// Shared says that other processes write to the same tables. Then nothing is taken from the
	// seen index: every block is looked up and inserted under Lock, which is required.
	Shared bool
	// Lock runs fn while it excludes the other writers. fn's context ends when it no longer does, so that
	// another may begin: what fn has under way then is not certain. The error is fn's, or its own.
	Lock func(ctx context.Context, fn func(ctx context.Context, held Held) error) error
	// AbandonDelay is after how long nothing of a writer that lost the lock can begin any more: it has
	// noticed by then, and what it had sent has arrived. It is waited when the lock was abandoned.
	AbandonDelay time.Duration
	// Cluster names the ClickHouse cluster behind the tables, "" for one server.
	Cluster string
	// RetentionMonths is after how many months ClickHouse deletes events, 0 never. Older ones are
	// answered with WriterExpired: once deleted they could not be told from new ones.
	RetentionMonths int
	// SettleDelay is waited before a server over the network is asked whether an
	// insert whose connection broke still runs: it may not have begun. 0 for the embedded engine.
	SettleDelay time.Duration
	// OnResult is called after a block, once per company and result; company 0 stands for records that
	// are no events. It is called by several goroutines and must not block.
	OnResult func(company uint32, result string, n int)
	// OnInsert is called after each insert, with the error of one that ClickHouse did not confirm.
	OnInsert func(rows int, took time.Duration, err error)

	Logger *slog.Logger
	Clock  func() time.Time
	// Rand gives numbers in [0, 1) to spread retries.
	Rand func() float64
}

// Held is the lock of [WriterOptions] while it is held. Its methods are not called concurrently.
type Held interface {
	// Abandoned tells that the holder before did not say that all of its own is settled.
	Abandoned() bool
	// Check returns nil when the lock was held still after the call began.
	Check(ctx context.Context) error
	// Settled says that nothing that this holder or one before has begun can still arrive.
	// It takes effect when the lock is let go in order.
	Settled()
}

func (o WriterOptions) withDefaults() (WriterOptions, error) {
	if o.Dir == "" {
		return o, errors.New("writer: no directory")
	}
	if o.Shared && o.Lock == nil {
		return o, errors.New("writer: a shared store needs a lock")
	}
	if o.BlockRows <= 0 {
		o.BlockRows = DefaultBlockRows
	}
	if o.BlockDelay <= 0 {
		o.BlockDelay = DefaultBlockDelay
	}
	if o.Parallel <= 0 {
		o.Parallel = DefaultParallel
	}
	if o.SeenBudget <= 0 {
		o.SeenBudget = DefaultSeenBudget
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o, nil
}

// Writer brings the events of a queue to ClickHouse, each distinct one exactly once.
//
// How it does that is told in docs/adr/0003-exactly-once.md. In short: ClickHouse is the only
// record of what is there. A block is inserted after its duplicates are out; the queue forgets it
// only when the insert is confirmed; and after anything but a confirmation, the writer
// looks up which of the block's events are there before it inserts the others.
type Writer struct {
	opts  WriterOptions
	log   *slog.Logger
	queue Queue
	store *eventStore
	seen  *seenIndex // used by form alone, as days is
	days  dayNumbers
	aside *asideFile
	name  string // begins the tokens of this writer's inserts, through all its lives
	epoch string // of this life

	tokens   atomic.Uint64
	inserts  chan struct{} // a place for each insert that may run
	pending  chan struct{} // a place for each block that may wait for its insert
	encoders sync.Pool

	mu      sync.Mutex // guards what follows
	flight  []*stretch // in the order of the queue
	free    []*writeBlock
	done    spool.Position // everything before is in ClickHouse, or was answered otherwise
	doneCh  chan struct{}  // closed when done moves
	flushTo spool.Position // blocks that begin before it do not wait
	cut     func()         // ends the filling of the block that is being filled
	started bool
	state   writerState

	stats writerCounters
}

// stretch is a block's place in the queue from when its duplicates are out until all before it is done as well.
type stretch struct {
	block  *writeBlock // nil when it is done: it is of use elsewhere
	next   spool.Position
	oldest time.Time
}

// writerState is what an operator wants to know when events do not arrive.
type writerState struct {
	failing   int // steps whose last attempt failed
	pace      pace.Pace
	lastError string
	lastAt    time.Time
}

type writerCounters struct {
	inserted, duplicates, expired                        atomic.Int64
	blocks, retries, verified, repaired, lookups, maybes atomic.Int64
	seenBytes, seenDays, seenLoaded, seenEvictions       atomic.Int64
}

// NewWriter makes a writer; Run starts it. There must be only one at a time for a queue, and for
// a set of tables unless opts.Shared.
func NewWriter(conn Conn, queue Queue, opts WriterOptions) (*Writer, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Writer{
		opts: opts, log: opts.Logger, queue: queue,
		store:   &eventStore{conn: conn, cluster: opts.Cluster},
		inserts: make(chan struct{}, opts.Parallel),
		// At least two: a block that ClickHouse refuses must not keep out
		// the others, whose success shows that it is the block's fault.
		pending:  make(chan struct{}, max(2, opts.Parallel)),
		encoders: sync.Pool{New: func() any { return new(blockEncoder) }},
		doneCh:   make(chan struct{}),
		done:     queue.First(),
		state:    writerState{pace: pace.Default()},
	}
	w.seen = newSeenIndex(w.store, opts.SeenBudget)
	if w.name, err = writerName(opts.Dir); err != nil {
		return nil, fmt.Errorf("writer: %w", err)
	}
	if w.epoch, err = randomName(); err != nil {
		return nil, fmt.Errorf("writer: %w", err)
	}
	if w.aside, err = openAside(opts.Dir); err != nil {
		return nil, fmt.Errorf("writer: %w", err)
	}
	return w, nil
}

// Run writes until ctx ends, then lets running inserts end. Its error is of the queue;
// failures of ClickHouse are retried for as long as they last. It can be called once.
func (w *Writer) Run(ctx context.Context) error {
	w.mu.Lock()
	if w.started {
		w.mu.Unlock()
		return errors.New("writer: runs already")
	}
	w.started = true
	w.mu.Unlock()

	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var blocks sync.WaitGroup
	err := w.form(ctx, func(b *writeBlock) {
		blocks.Go(func() { w.bring(ctx, work, b) })
	})
	ended := make(chan struct{})
	go func() { blocks.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(stopGrace):
		w.log.Warn("an insert did not end in time; it will be looked up at the next start")
		stop()
		<-ended
	}
	if cerr := w.aside.close(); err == nil {
		err = cerr
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// Flush waits until every record that was durable in the queue when it was called is
// answered: countable in ClickHouse, or known not to be. It does not wait for a block to fill.
func (w *Writer) Flush(ctx context.Context) error {
	target := w.queue.Last() + 1
	for {
		w.mu.Lock()
		if w.done >= target {
			w.mu.Unlock()
			return nil
		}
		moved := w.doneCh
		w.flushTo = max(w.flushTo, target)
		if w.cut != nil {
			w.cut()
		}
		w.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// finish takes a block out of flight and trims the queue as far as all before is done.
func (w *Writer) finish(b *writeBlock) error {
	w.mu.Lock()
	b.place.block = nil
	if len(w.free) <= w.opts.Parallel {
		w.free = append(w.free, b)
	}
	n := 0
	for n < len(w.flight) && w.flight[n].block == nil {
		w.done = w.flight[n].next
		n++
	}
	w.flight = slices.Delete(w.flight, 0, n)
	done := w.done
	if n > 0 {
		close(w.doneCh)
		w.doneCh = make(chan struct{})
	}
	w.mu.Unlock()
	if n == 0 {
		return nil
	}
	if err := w.queue.Trim(done); err != nil && !errors.Is(err, spool.ErrClosed) {
		return fmt.Errorf("trim the queue: %w", err)
	}
	return nil
}

// WriterStats is the state at one moment; counters are since the start, except SetAside.
type WriterStats struct {
	Inserted, Duplicates, Expired int64
	SetAside                      int64 // records in the file, of earlier lives too
	Blocks                        int64 // inserted
	Retries                       int64 // attempts that failed
	Verified                      int64 // events looked up after an attempt of unknown outcome
	Repaired                      int64 // events whose presence rows were restored
	Lookups                       int64 // events looked up because the seen index said maybe
	FalseMaybes                   int64 // of those, not there

	Depth    uint64        // records in the queue that are not done
	Age      time.Duration // of the oldest block in flight
	Failing  int           // steps whose last attempt failed: above 0, events do not arrive
	InFlight int

	LastError   string // of the last failed attempt, with LastErrorAt
	LastErrorAt time.Time

	SeenBytes, SeenDays, SeenLoaded, SeenEvictions int64
}

// Stats tells how the writer is doing.
func (w *Writer) Stats() WriterStats {
	c := &w.stats
	last := w.queue.Last()
	w.mu.Lock()
	defer w.mu.Unlock()
	st := WriterStats{
		Inserted: c.inserted.Load(), Duplicates: c.duplicates.Load(), Expired: c.expired.Load(), SetAside: int64(w.aside.count()),
		Blocks: c.blocks.Load(), Retries: c.retries.Load(), Verified: c.verified.Load(), Repaired: c.repaired.Load(),
		Lookups: c.lookups.Load(), FalseMaybes: c.maybes.Load(),
		SeenBytes: c.seenBytes.Load(), SeenDays: c.seenDays.Load(), SeenLoaded: c.seenLoaded.Load(), SeenEvictions: c.seenEvictions.Load(),
		Failing: w.state.failing, LastError: w.state.lastError, LastErrorAt: w.state.lastAt, InFlight: len(w.flight),
	}
	if last+1 > w.done {
		st.Depth = uint64(last + 1 - w.done)
	}
	if len(w.flight) > 0 && !w.flight[0].oldest.IsZero() {
		st.Age = max(w.opts.Clock().Sub(w.flight[0].oldest), 0)
	}
	return st
}
