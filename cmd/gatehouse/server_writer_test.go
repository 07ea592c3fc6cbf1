package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/authsvc"
	"gatehouse/engine"
	"gatehouse/event"
	"gatehouse/ingest"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema"
	"gatehouse/spool"
)

// heldInsert holds the first insert until its writer gives it up, and lets it arrive at the store a
// moment later, as a request does that was on its way.
type heldInsert struct {
	driver.Conn
	begun  chan struct{}
	landed chan error
	once   atomic.Bool
}

func (c *heldInsert) InsertFormat(ctx context.Context, format, query string, data io.Reader) error {
	if !c.once.CompareAndSwap(false, true) {
		return c.Conn.InsertFormat(ctx, format, query, data)
	}
	text, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	close(c.begun)
	<-ctx.Done()
	go func() {
		time.Sleep(outsideSettle / 4)
		c.landed <- c.Conn.InsertFormat(context.WithoutCancel(ctx), format, query, bytes.NewReader(text))
	}()
	return ctx.Err()
}

// Two servers write the same events to one store. While the first has an insert under way, PostgreSQL ends the
// session that holds its lock: the first gives up, the second waits until nothing of it can arrive, and each event is there once.
func TestWritersLockIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lost lock to be noticed")
	}
	t.Parallel()
	if _, err := engine.FindLibrary("", ""); err != nil {
		t.Skip(err) // the other tests of this package fail under CI=true
	}
	url := reldbtest.Postgres(t)
	dir := t.TempDir()
	e, err := engine.Start(t.Context(), engine.Config{Dir: filepath.Join(dir, "engine"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	tables, err := schema.NewClickHouse(e.Options(), schema.Layout{Database: "shared"})
	if err == nil {
		_, _, err = tables.Up(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	o := e.Options()
	o.Auth.Database = "shared"
	conn, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var events [][]byte
	for i := range 50 {
		ev := event.Event{CompanyID: 1, Type: event.Startup, Account: event.AccountNone, Computer: "pc", Time: 1790000000000 + int64(i)}
		events = append(events, ev.AppendBinary(nil))
	}
	run := func(name string, conn ingest.Conn) *ingest.Writer {
		store, err := authsvc.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		if _, _, err := schema.NewRelational(store.DB()).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := spool.Open(filepath.Join(dir, name, "spool"), spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		if _, err := s.Append(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
		w, err := ingest.NewWriter(conn, s, ingest.WriterOptions{
			Dir: filepath.Join(dir, name, "writer"), Shared: true, Lock: writersLock(store.DB(), "shared"), AbandonDelay: abandonDelay(), SettleDelay: outsideSettle,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return w
	}
	held := &heldInsert{Conn: conn, begun: make(chan struct{}), landed: make(chan error, 1)}
	first := run("first", held)
	<-held.begun
	admin := reldbtest.Open(t, url)
	if _, err := admin.Writer().ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); err != nil {
		t.Fatal(err)
	}
	second := run("second", conn)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := errors.Join(second.Flush(ctx), first.Flush(ctx), <-held.landed); err != nil {
		t.Fatal(err)
	}
	var rows, ids uint64
	if err := conn.QueryRow(t.Context(), "SELECT count(), uniqExact(id) FROM events").Scan(&rows, &ids); err != nil || rows != uint64(len(events)) || ids != rows {
		t.Errorf("%d rows, %d events, %v; want %d", rows, ids, err, len(events))
	}
}

// An insert that is given up takes with it what the kernel has not sent.
func TestDialOutsideDropsWhatIsNotSent(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing is written to it
	c, err := dialOutside(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close() //nolint:errcheck // read only
	if _, err := c.Write(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// An orderly end would give all of it and then io.EOF.
	if n, err := io.Copy(io.Discard, peer); err == nil {
		t.Errorf("the peer read %d bytes to an orderly end", n)
	}
}
