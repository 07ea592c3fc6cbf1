package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/pflag"

	"gatehouse/engine"
	"gatehouse/event"
	"gatehouse/schema"
	"gatehouse/spool"
)

// TestMain lets the test binary be the engine: engine.Start runs it with `engine …`.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		var o engine.ServeOptions
		fs := pflag.NewFlagSet("engine", pflag.ExitOnError)
		o.AddFlags(fs)
		if err := fs.Parse(os.Args[2:]); err != nil {
			os.Exit(2)
		}
		err := engine.Main(context.Background(), o)
		if err != nil {
			fmt.Fprintln(os.Stderr, "engine:", err)
		}
		os.Exit(engine.ExitCode(err))
	}
	code := m.Run()
	if sharedEngine != nil {
		if err := sharedEngine.Close(); err != nil && code == 0 {
			code = 1
		}
		_ = os.RemoveAll(sharedEngineDir)
	}
	os.Exit(code)
}

var (
	sharedEngine    *engine.Engine
	sharedEngineDir string
	databases       atomic.Int64
)

// testEngine is one engine for all tests that only need one to talk to.
func testEngine(t testing.TB) *engine.Engine {
	t.Helper()
	if sharedEngine == nil {
		dir, err := os.MkdirTemp("", "gh-ingest-*")
		if err != nil {
			t.Fatal(err)
		}
		sharedEngineDir = dir
		sharedEngine = startTestEngine(t, dir)
	}
	return sharedEngine
}

func startTestEngine(t testing.TB, dir string) *engine.Engine {
	t.Helper()
	var e *engine.Engine
	var err error
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		e, err = engine.Start(t.Context(), engine.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, engine.ErrDirInUse) || time.Now().After(end) {
			break // else the engine of a process just killed is about to notice
		}
	}
	if errors.Is(err, engine.ErrLibraryMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// testStore makes a database with the real schema in the engine, and a connection to it.
func testStore(t testing.TB, e *engine.Engine) driver.Conn {
	t.Helper()
	name := fmt.Sprintf("t%d_%d", os.Getpid(), databases.Add(1))
	conn := storeNamed(t, e, name)
	t.Cleanup(func() {
		_ = conn.Exec(context.WithoutCancel(t.Context()), "DROP DATABASE IF EXISTS "+name)
		_ = conn.Close()
	})
	return conn
}

func storeNamed(t testing.TB, e *engine.Engine, name string) driver.Conn {
	t.Helper()
	ch, err := schema.NewClickHouse(e.Options(), schema.Layout{Database: name})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ch.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := e.Options()
	o.Auth.Database = name
	conn, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func testSpool(t testing.TB, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // after the writer, which is begun later
	return s
}

// appendEvents puts events into the queue as the intake does.
func appendEvents(t testing.TB, s *spool.Spool, events []event.Event) {
	t.Helper()
	records := make([][]byte, len(events))
	for i := range events {
		records[i] = events[i].AppendBinary(nil)
	}
	for len(records) > 0 {
		n := min(len(records), 5000)
		if _, err := s.Append(t.Context(), records[:n]...); err != nil {
			t.Fatal(err)
		}
		records = records[n:]
	}
}

// runWriter starts a writer and returns it and what ends it.
func runWriter(t testing.TB, conn Conn, q Queue, opts WriterOptions) (*Writer, func()) {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	w, err := NewWriter(conn, q, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return w, stop
}

func flush(t testing.TB, w *Writer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.Flush(ctx); err != nil {
		t.Fatalf("flush: %v; %+v", err, w.Stats())
	}
}

func queryInt(t testing.TB, conn driver.Conn, query string) int {
	t.Helper()
	var n uint64
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return int(n)
}

// checkStore compares the tables with the set of distinct events: each once in events, in every part's projection, and in
// presence those that belong there.
func checkStore(t testing.TB, conn driver.Conn, want map[event.ID]event.Event) {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT id FROM events")
	if err != nil {
		t.Fatal(err)
	}
	got := map[event.ID]int{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		got[event.ID([]byte(id))]++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	lost, twice, foreign := 0, 0, 0
	for id := range want {
		if got[id] == 0 {
			lost++
		}
	}
	for id, n := range got {
		if _, ok := want[id]; !ok {
			foreign++
		} else if n > 1 {
			twice++
		}
	}
	if lost+twice+foreign > 0 {
		t.Errorf("of %d events %d are missing, %d are there more than once, and %d are unknown", len(want), lost, twice, foreign)
	}
	if n := queryInt(t, conn, "SELECT sum(n) FROM (SELECT company_id, toStartOfFifteenMinutes(time) AS slot, count() AS n FROM events GROUP BY company_id, slot)"); n != len(want) {
		t.Errorf("the projection counts %d events, want %d", n, len(want))
	}
	// What presence has beyond or short of the rows that events calls for. Twice is as good as once there.
	derived := "SELECT DISTINCT " + presenceColumns + " FROM events WHERE " + presenceRows
	stored := "SELECT DISTINCT " + presenceColumns + " FROM presence"
	if n := queryInt(t, conn, "SELECT count() FROM ("+derived+" EXCEPT "+stored+")"); n != 0 {
		t.Errorf("presence lacks %d rows", n)
	}
	if n := queryInt(t, conn, "SELECT count() FROM ("+stored+" EXCEPT "+derived+")"); n != 0 {
		t.Errorf("presence has %d rows that no event calls for", n)
	}
}
