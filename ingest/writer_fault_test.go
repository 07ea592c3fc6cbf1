package ingest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"pgregory.net/rapid"

	"gatehouse/event"
	"gatehouse/spool"
)

// faultyConn fails as networks and servers do: before a request had its effect, in the middle,
// and after. It draws what happens from its source until it is told to be well.
type faultyConn struct {
	driver.Conn
	mu   sync.Mutex
	r    *rand.Rand
	rate float64 // of calls that fail
	hits map[string]int
	late atomic.Int64 // inserts that the client has given up and that have not arrived yet
}

// lateOnes waits until everything has arrived.
func (c *faultyConn) lateOnes() {
	for c.late.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

var errInjected = errors.New("injected failure")

func newFaultyConn(conn driver.Conn, seed uint64, rate float64) *faultyConn {
	return &faultyConn{Conn: conn, r: rand.New(rand.NewPCG(seed, 3)), rate: rate, hits: map[string]int{}}
}

func (c *faultyConn) number(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.r.IntN(n)
}

func (c *faultyConn) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rate = 0
}

// draw chooses one of the ways to fail, or "".
func (c *faultyConn) draw(ways ...string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.r.Float64() >= c.rate {
		return ""
	}
	way := ways[c.r.IntN(len(ways))]
	c.hits[way]++
	return way
}

func (c *faultyConn) InsertFormat(ctx context.Context, format, query string, data io.Reader) error {
	switch c.draw("insert: before", "insert: torn", "insert: after", "insert: cancelled", "insert: late") {
	case "insert: before":
		return errInjected
	case "insert: torn":
		err := c.Conn.InsertFormat(ctx, format, query, io.MultiReader(io.LimitReader(data, 20_000), tornReader{}))
		return errors.Join(errInjected, err)
	case "insert: after":
		return errors.Join(errInjected, c.Conn.InsertFormat(ctx, format, query, data))
	case "insert: late": // it hangs somewhere between client and server, and arrives after all
		held, err := io.ReadAll(data)
		if err != nil {
			return err
		}
		pause := time.Duration(c.number(int(50 * time.Millisecond)))
		c.late.Add(1)
		go func() {
			defer c.late.Add(-1)
			time.Sleep(pause)
			_ = c.Conn.InsertFormat(context.WithoutCancel(ctx), format, query, bytes.NewReader(held))
		}()
		return errInjected
	case "insert: cancelled": // the client gives up while the server works
		ctx, cancel := context.WithTimeout(ctx, time.Duration(c.number(int(20*time.Millisecond))))
		defer cancel()
		err := c.Conn.InsertFormat(ctx, format, query, data)
		c.late.Add(1)
		go c.untilOver()
		return errors.Join(errInjected, err)
	}
	return c.Conn.InsertFormat(ctx, format, query, data)
}

// untilOver ends one of late when the server has no insert under way: on a loaded machine one that was given up may not have
// begun, so it has to say so several times.
func (c *faultyConn) untilOver() {
	defer c.late.Add(-1)
	for quiet := 0; quiet < 5; quiet++ {
		var n uint64
		err := c.Conn.QueryRow(context.Background(), "SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'").Scan(&n)
		if err == nil && n > 0 {
			quiet = 0
		}
		time.Sleep(2 * time.Millisecond)
	}
}

type tornReader struct{}

func (tornReader) Read([]byte) (int, error) { return 0, errInjected }

func (c *faultyConn) QueryFormat(ctx context.Context, format, query string, args ...any) (io.ReadCloser, error) {
	switch c.draw("query: before", "query: torn") {
	case "query: before":
		return nil, errInjected
	case "query: torn":
		rows, err := c.Conn.QueryFormat(ctx, format, query, args...)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(rows, 33), tornReader{}), rows}, nil
	}
	return c.Conn.QueryFormat(ctx, format, query, args...)
}

func (c *faultyConn) Exec(ctx context.Context, query string, args ...any) error {
	switch c.draw("exec: before", "exec: after") {
	case "exec: before":
		return errInjected
	case "exec: after":
		return errors.Join(errInjected, c.Conn.Exec(ctx, query, args...))
	}
	return c.Conn.Exec(ctx, query, args...)
}

// forgetful is a queue whose trims a crash forgets: a restart reads all of it again.
type forgetful struct{ *spool.Spool }

func (forgetful) Trim(spool.Position) error { return nil }

// Whatever is sent in whatever batches, however often, through whatever failures and
// restarts: the store ends with the set of distinct events.
func TestWriterThroughFailures(t *testing.T) {
	fewerChecks(t, 15)
	store := testStore(t, testEngine(t))
	rapid.Check(t, func(rt *rapid.T) {
		for _, table := range []string{"events", "presence"} {
			if err := store.Exec(t.Context(), "TRUNCATE TABLE "+table); err != nil {
				t.Fatal(err)
			}
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		r := rand.New(rand.NewPCG(seed, 11))
		conn := newFaultyConn(store, seed, rapid.SampledFrom([]float64{0, 0.1, 0.4}).Draw(rt, "failure rate"))
		s := testSpool(t, t.TempDir())
		var q Queue = s
		if rapid.Bool().Draw(rt, "trims are forgotten") {
			q = forgetful{s}
		}
		opts := WriterOptions{
			Dir:        t.TempDir(),
			BlockRows:  rapid.SampledFrom([]int{1, 7, 100, 1000}).Draw(rt, "block rows"),
			BlockDelay: time.Millisecond,
			Parallel:   rapid.IntRange(1, 3).Draw(rt, "parallel"),
			SeenBudget: rapid.SampledFrom([]int{1, 3000, 1 << 20}).Draw(rt, "seen budget"),
		}
		space := rapid.SampledFrom([]int{10, 300, 100_000}).Draw(rt, "space")
		most := min(300, 20*opts.BlockRows)
		want := map[event.ID]event.Event{}
		w, stop := quickWriter(t, conn, q, opts)
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			events := drawEvents(r, rapid.IntRange(0, most).Draw(rt, "events"), space)
			remember(want, events)
			appendEvents(t, s, events)
			switch rapid.SampledFrom([]string{"go on", "flush", "restart"}).Draw(rt, "then") {
			case "flush":
				flush(t, w)
			case "restart":
				stop()
				conn.lateOnes() // the embedded engine ends with its writer, and nothing of it arrives later
				w, stop = quickWriter(t, conn, q, opts)
			}
		}
		conn.heal()
		flush(t, w)
		conn.lateOnes()
		checkStore(t, conn.Conn, want)
		stop()
		if t.Failed() {
			rt.Fatalf("failures that were injected: %v; %+v", conn.hits, w.Stats())
		}
	})
}

// fewerChecks makes rapid check n cases instead of its hundred, for those that take seconds each. A number
// given on the command line stays.
func fewerChecks(t *testing.T, n int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f == nil || f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

// quickWriter is runWriter with pauses too short to wait for.
func quickWriter(t testing.TB, conn Conn, q Queue, opts WriterOptions) (*Writer, func()) {
	t.Helper()
	opts.Rand = func() float64 { return -0.499 }
	return runWriter(t, conn, q, opts)
}

// The view's rows may be missing after a crash between the two tables. The next start notices.
func TestWriterRestoresPresence(t *testing.T) {
	conn := testStore(t, testEngine(t))
	s := testSpool(t, t.TempDir())
	q := forgetful{s}
	events := drawEvents(rand.New(rand.NewPCG(5, 5)), 2000, 1500)
	want := map[event.ID]event.Event{}
	remember(want, events)
	appendEvents(t, s, events)
	opts := WriterOptions{Dir: t.TempDir()}
	w, stop := runWriter(t, conn, q, opts)
	flush(t, w)
	stop()
	for _, lose := range []string{"TRUNCATE TABLE presence", "ALTER TABLE presence DELETE WHERE company_id = 2 SETTINGS mutations_sync = 1"} {
		if err := conn.Exec(t.Context(), lose); err != nil {
			t.Fatal(err)
		}
		w, stop = runWriter(t, conn, q, opts)
		flush(t, w)
		stop()
		checkStore(t, conn, want)
	}
}

// A row that ClickHouse refuses for good keeps out nobody else, and is kept.
func TestWriterSetsRefusedRowsAside(t *testing.T) {
	for _, parallel := range []int{1, 2} {
		t.Run(fmt.Sprintf("parallel=%d", parallel), func(t *testing.T) {
			conn := testStore(t, testEngine(t))
			if err := conn.Exec(t.Context(), "ALTER TABLE events ADD CONSTRAINT good CHECK computer != 'pc-3'"); err != nil {
				t.Fatal(err)
			}
			s := testSpool(t, t.TempDir())
			events := drawEvents(rand.New(rand.NewPCG(6, 5)), 100, 1<<30)
			bad := map[event.ID]bool{}
			want := map[event.ID]event.Event{}
			for _, e := range events {
				if event.Fold(e.Computer) == "pc-3" {
					bad[e.ID()] = true
				} else {
					want[e.ID()] = e
				}
			}
			// The first block is one bad event alone: it must wait until others have shown that the table is well.
			var first event.Event
			for _, e := range events {
				if bad[e.ID()] {
					first = e
					break
				}
			}
			appendEvents(t, s, []event.Event{first})
			if _, err := s.Append(t.Context(), []byte("no event at all")); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			w, stop := quickWriter(t, conn, forgetful{s}, WriterOptions{Dir: dir, Parallel: parallel, BlockDelay: time.Millisecond})
			for w.Stats().Retries < 3 {
				time.Sleep(time.Millisecond)
			}
			if n := w.Stats().SetAside; n != 1 {
				t.Fatalf("%d records are set aside before anything showed that it is their fault, want the one that is no event", n)
			}
			appendEvents(t, s, events)
			flush(t, w)
			checkStore(t, conn, want)
			if n := w.Stats().SetAside; n != int64(len(bad))+1 {
				t.Errorf("%d records set aside, want %d", n, len(bad)+1)
			}
			stop()
			// Once more from the beginning, as after a crash: nothing changes.
			w, stop = quickWriter(t, conn, forgetful{s}, WriterOptions{Dir: dir, Parallel: parallel, BlockDelay: time.Millisecond})
			appendEvents(t, s, []event.Event{{CompanyID: 9, Time: testEpoch.UnixMilli(), Type: event.Startup, Account: event.AccountNone, Computer: "another"}})
			flush(t, w)
			if n := w.Stats().SetAside; n != int64(len(bad))+1 {
				t.Errorf("%d records set aside after a restart, want %d", n, len(bad)+1)
			}
			stop()
		})
	}
}

// While the table itself is at fault, nothing is set aside, and when it is well again all goes on.
func TestWriterWaitsForABrokenTable(t *testing.T) {
	conn := testStore(t, testEngine(t))
	if err := conn.Exec(t.Context(), "ALTER TABLE events ADD CONSTRAINT never CHECK company_id = 0"); err != nil {
		t.Fatal(err)
	}
	s := testSpool(t, t.TempDir())
	events := drawEvents(rand.New(rand.NewPCG(7, 5)), 40, 1<<30)
	want := map[event.ID]event.Event{}
	remember(want, events)
	appendEvents(t, s, events)
	var failed, confirmed atomic.Int64
	w, _ := quickWriter(t, conn, s, WriterOptions{BlockRows: 20, BlockDelay: time.Millisecond, OnInsert: func(rows int, _ time.Duration, err error) {
		if err != nil {
			failed.Add(1)
		} else {
			confirmed.Add(int64(rows))
		}
	}})
	for w.Stats().Retries < 4 {
		time.Sleep(time.Millisecond)
	}
	if st := w.Stats(); st.SetAside != 0 || st.Inserted != 0 || st.Failing == 0 || st.LastError == "" || st.Depth != 40 {
		t.Fatalf("%+v", st)
	}
	if failed.Load() < 4 || confirmed.Load() != 0 {
		t.Errorf("told of %d failed inserts and %d confirmed rows", failed.Load(), confirmed.Load())
	}
	if err := conn.Exec(t.Context(), "ALTER TABLE events DROP CONSTRAINT never"); err != nil {
		t.Fatal(err)
	}
	flush(t, w)
	checkStore(t, conn, want)
	if st := w.Stats(); st.SetAside != 0 || st.Failing != 0 {
		t.Fatalf("%+v", st)
	}
	if confirmed.Load() != 40 {
		t.Errorf("told of %d confirmed rows", confirmed.Load())
	}
}

// An insert that runs on the server is ended before anybody asks what became of it.
func TestQuiesceEndsRunningInserts(t *testing.T) {
	conn := testStore(t, testEngine(t))
	for _, q := range []string{
		"CREATE TABLE slow (x UInt8) ENGINE = Null",
		"CREATE MATERIALIZED VIEW slow_mv TO slow AS SELECT sleepEachRow(0.2) AS x FROM events",
	} {
		if err := conn.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	store := &eventStore{conn: conn}
	blk := newWriteBlock()
	blk.reset(1)
	for i, e := range drawEvents(rand.New(rand.NewPCG(1, 1)), 12, 1<<30) {
		blk.add(spool.Record{Pos: spool.Position(i + 1), Data: e.AppendBinary(nil)})
		blk.rows = append(blk.rows, uint32(i))
	}
	ended := make(chan error, 1)
	go func() { ended <- store.insert(t.Context(), new(blockEncoder), blk, blk.rows, "gatehouse-test-1.") }()
	count := func(token string) int {
		n, err := store.running(clickhouse.Context(t.Context(), clickhouse.WithParameters(clickhouse.Parameters{"token": token})))
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	for count("gatehouse-test-1.") == 0 {
		select {
		case err := <-ended:
			t.Fatalf("the insert ended by itself: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := store.quiesce(t.Context(), "gatehouse-test-2."); err != nil || count("gatehouse-test-1.") == 0 {
		t.Fatalf("another's insert was ended, or %v", err)
	}
	if err := store.quiesce(t.Context(), "gatehouse-test-"); err != nil {
		t.Fatal(err)
	}
	if n := count("gatehouse-test-1."); n != 0 {
		t.Fatalf("%d still run", n)
	}
	if err := <-ended; err == nil {
		t.Fatal("the insert was confirmed")
	}
}
