package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
	"gatehouse/spool"
)

// leakyLock is a lock that is lost at times while somebody holds it, as a database's is that belongs to a connection.
type leakyLock struct {
	one       chan struct{}
	mu        sync.Mutex
	r         *rand.Rand
	rate      float64 // of holds that are lost
	lost      atomic.Int64
	holder    *leakyHeld // the latest
	abandoned bool       // guarded by one
	arrived   func()     // waits until what a former holder had sent has arrived
}

var errLockLost = errors.New("the lock is lost")

func newLeakyLock(seed uint64, rate float64) *leakyLock {
	return &leakyLock{one: make(chan struct{}, 1), r: rand.New(rand.NewPCG(seed, 4)), rate: rate, arrived: func() {}}
}

type leakyHeld struct {
	lock               *leakyLock
	end                context.CancelCauseFunc
	over               atomic.Bool // lost, or let go
	abandoned, settled bool
}

func (h *leakyHeld) Abandoned() bool {
	if h.abandoned {
		h.lock.arrived() // that AbandonDelay is long enough
	}
	return h.abandoned
}

func (h *leakyHeld) Settled() { h.settled = true }

func (h *leakyHeld) Check(context.Context) error {
	if h.over.Load() {
		return errLockLost
	}
	return nil
}

// lose takes the lock from h: another may begin, and h hears of it only when it asks.
func (l *leakyLock) lose(h *leakyHeld) {
	if h.over.CompareAndSwap(false, true) {
		l.lost.Add(1)
		<-l.one
	}
}

// with is WriterOptions.Lock.
func (l *leakyLock) with(ctx context.Context, fn func(context.Context, Held) error) error {
	select {
	case l.one <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	h := &leakyHeld{lock: l, abandoned: l.abandoned}
	l.abandoned = true
	ctx, h.end = context.WithCancelCause(ctx)
	defer h.end(nil)
	l.mu.Lock()
	l.holder = h
	if l.r.Float64() < l.rate {
		time.AfterFunc(time.Duration(l.r.IntN(int(30*time.Millisecond))), func() {
			l.lose(h)
			h.end(errLockLost)
		})
	}
	l.mu.Unlock()
	err := fn(ctx, h)
	if !h.over.CompareAndSwap(false, true) {
		return errors.Join(err, errLockLost)
	}
	l.abandoned = !h.settled
	<-l.one
	return err
}

// Several servers on one ClickHouse, each with its queue, get the same events; requests fail in every way, and the lock
// that keeps the servers apart is lost under them.
func TestWritersShareAStore(t *testing.T) {
	conn := testStore(t, testEngine(t))
	lock := newLeakyLock(8, 0.3)
	want := map[event.ID]event.Event{}
	var writers []*Writer
	var conns []*faultyConn
	for i := range uint64(3) {
		conns = append(conns, newFaultyConn(conn, i, 0.1))
	}
	lock.arrived = func() {
		for _, c := range conns {
			c.lateOnes()
		}
	}
	for i, c := range conns {
		s := testSpool(t, t.TempDir())
		events := drawEvents(rand.New(rand.NewPCG(uint64(i), 8)), 2000, 3000)
		remember(want, events)
		appendEvents(t, s, events)
		w, _ := quickWriter(t, c, s, WriterOptions{
			Shared: true, Lock: lock.with, AbandonDelay: 100 * time.Millisecond, SettleDelay: 80 * time.Millisecond, BlockRows: 300, BlockDelay: time.Millisecond,
		})
		writers = append(writers, w)
	}
	for i, w := range writers {
		flush(t, w)
		conns[i].lateOnes()
	}
	checkStore(t, conn, want)
	if lock.lost.Load() == 0 {
		t.Error("the lock was never lost: the test shows nothing")
	}
}

// sharedPair is two writers of one store that have the same events. The first speaks through conn.
type sharedPair struct {
	store  driver.Conn
	lock   *leakyLock
	events map[event.ID]event.Event
	spools [2]*spool.Spool
}

func newSharedPair(t *testing.T) *sharedPair {
	t.Helper()
	p := &sharedPair{store: testStore(t, testEngine(t)), lock: newLeakyLock(1, 0), events: map[event.ID]event.Event{}}
	events := drawEvents(rand.New(rand.NewPCG(12, 8)), 100, 1<<30)
	remember(p.events, events)
	for i := range p.spools {
		p.spools[i] = testSpool(t, t.TempDir())
		appendEvents(t, p.spools[i], events)
	}
	return p
}

func (p *sharedPair) run(t *testing.T, i int, conn Conn) *Writer {
	t.Helper()
	w, _ := quickWriter(t, conn, p.spools[i], WriterOptions{Shared: true, Lock: p.lock.with, BlockDelay: time.Millisecond})
	return w
}

// stuckConn holds its first insert until the writer gives it up, and lets it arrive when it is told to.
type stuckConn struct {
	driver.Conn
	begun chan struct{} // closed when the insert has begun
	fail  atomic.Bool   // gives it up at once, and is away from then on
	late  func() error
	once  atomic.Bool
}

func (c *stuckConn) InsertFormat(ctx context.Context, format, query string, data io.Reader) error {
	if !c.once.CompareAndSwap(false, true) {
		return c.Conn.InsertFormat(ctx, format, query, data)
	}
	held, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	c.late = func() error {
		return c.Conn.InsertFormat(context.WithoutCancel(ctx), format, query, bytes.NewReader(held))
	}
	close(c.begun)
	if !c.fail.Load() {
		<-ctx.Done()
	}
	return errInjected
}

func (c *stuckConn) QueryRow(ctx context.Context, query string, args ...any) driver.Row {
	if c.once.Load() && c.fail.Load() {
		return awayRow{}
	}
	return c.Conn.QueryRow(ctx, query, args...)
}

// A writer that cannot know what became of its insert leaves the lock so that the next one begins only when the insert can
// no longer arrive: when it lost the lock, which makes it give the insert up, and when it could not ask.
func TestWriterLeavesNothingUnderWay(t *testing.T) {
	for _, why := range []string{"the lock is lost", "the store is away"} {
		t.Run(why, func(t *testing.T) {
			p := newSharedPair(t)
			conn := &stuckConn{Conn: p.store, begun: make(chan struct{})}
			conn.fail.Store(why == "the store is away")
			p.lock.arrived = sync.OnceFunc(func() {
				if err := conn.late(); err != nil {
					t.Errorf("the late insert: %v", err)
				}
			})
			first := p.run(t, 0, conn)
			<-conn.begun
			if conn.fail.Load() {
				for first.Stats().Retries == 0 {
					time.Sleep(time.Millisecond)
				}
			} else {
				h := p.lock.holder
				p.lock.lose(h)
				h.end(errLockLost)
			}
			second := p.run(t, 1, p.store)
			flush(t, second)
			p.lock.arrived() // at the latest
			conn.fail.Store(false)
			flush(t, first)
			checkStore(t, p.store, p.events)
		})
	}
}

// slowLookup lets something happen while its first look-up is under way.
type slowLookup struct {
	driver.Conn
	during func()
}

func (c *slowLookup) QueryFormat(ctx context.Context, format, query string, args ...any) (io.ReadCloser, error) {
	rows, err := c.Conn.QueryFormat(ctx, format, query, args...)
	if err == nil && c.during != nil {
		c.during()
		c.during = nil
	}
	return rows, err
}

// A lock that went to another during the look-up, unnoticed, is noticed before the insert.
func TestWriterChecksItsLockBeforeTheInsert(t *testing.T) {
	p := newSharedPair(t)
	conn := &slowLookup{Conn: p.store}
	done := make(chan struct{})
	conn.during = func() {
		p.lock.lose(p.lock.holder)
		flush(t, p.run(t, 1, p.store))
		close(done)
	}
	first := p.run(t, 0, conn)
	<-done
	flush(t, first)
	checkStore(t, p.store, p.events)
	if st := first.Stats(); st.Blocks != 0 {
		t.Errorf("%d blocks were inserted without the lock", st.Blocks)
	}
}
