package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"gatehouse/engine"
	"gatehouse/ingest"
	"gatehouse/internal/pace"
	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

// outsideSettle is how long an insert whose connection to an outside server broke
// may take to show up among that server's running statements.
const outsideSettle = 2 * time.Second

// abandonDelay is after how long nothing of a server that lost the writers' lock can begin at an outside store any more: that server has
// noticed by then and dropped its connections, and what they had sent has arrived. The last second is for clocks and schedulers.
func abandonDelay() time.Duration { return reldb.LockNotice() + outsideSettle + time.Second }

// storeRetry is the pause between tries to prepare an outside store that is away.
const storeRetry = 5 * time.Second

// seenShare is the part of the machine's memory that the writer may take to tell new events from known ones.
const seenShare = 64

// seenBudget is that memory in bytes: what is set, else the machine's share.
func seenBudget(set int64) int {
	if set == 0 {
		set = max(ingest.DefaultSeenBudget, engine.MachineMemory()/seenShare)
	}
	return int(set)
}

func (s *server) startWriter(ctx context.Context) error {
	o := ingest.WriterOptions{
		Dir:       filepath.Join(s.dataDir, dirWriter),
		BlockRows: s.cfg.Ingest.BlockRows, BlockDelay: s.cfg.Ingest.BlockDelay, Parallel: s.cfg.Ingest.Writers,
		SeenBudget: seenBudget(int64(s.cfg.Ingest.DedupeMemory)), Cluster: s.cfg.ClickHouse.Cluster, RetentionMonths: s.cfg.Ingest.RetentionMonths, Logger: s.logger("writer"),
		OnInsert: func(rows int, took time.Duration, err error) { s.metrics.ObserveInsert(took, rows, err) },
		OnResult: s.written,
	}
	if s.engine == nil {
		o.SettleDelay = outsideSettle
		// A server database means that other Gatehouse servers may share the event store.
		if db := s.store.DB(); db.Dialect() != reldb.SQLite {
			o.Shared, o.Lock, o.AbandonDelay = true, writersLock(db, s.cfg.ClickHouse.Name), abandonDelay()
		}
	}
	var err error
	if s.writer, err = ingest.NewWriter(s.writeConn, s.spool, o); err != nil {
		return err
	}
	ctx, s.stopWriter = context.WithCancel(context.WithoutCancel(ctx))
	s.writerDone = make(chan error, 1)
	go func() {
		err := s.runWriter(ctx)
		if err != nil {
			s.fatal <- fmt.Errorf("FATAL: the writer ended: %w", err)
		}
		s.writerDone <- err
	}()
	return nil
}

// runWriter waits for the event store's tables, then writes until ctx ends.
func (s *server) runWriter(ctx context.Context) error {
	away := pace.Default()
	for !s.storeReady.Load() {
		err := s.migrate(ctx)
		switch {
		case err == nil:
			s.storeReady.Store(true)
			_, since := away.Over(time.Now())
			s.log.Info("the event store answers", slog.Duration("after", since.Round(time.Second)))
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, schema.ErrNewer):
			return err
		default:
			if mention, since := away.Due(time.Now()); mention {
				s.log.Warn("the event store does not answer; events wait in the spool", slog.Duration("since", since.Round(time.Second)), slog.Any("error", err))
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(storeRetry):
			}
		}
	}
	err := s.writer.Run(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// writerFailing is how many of the writer's steps failed at their last attempt. Waiting for the event store's tables is one.
func (s *server) writerFailing() int {
	if !s.storeReady.Load() {
		return 1
	}
	return s.writer.Stats().Failing
}

func (s *server) writerGetsOn(context.Context) error {
	if s.writerFailing() == 0 {
		return nil
	}
	st := s.writer.Stats()
	return fmt.Errorf("%d events wait: %s", st.Depth, cmp.Or(st.LastError, "the event store does not answer"))
}

// writersLock excludes the other servers that write to the same database of an event store.
func writersLock(db *reldb.DB, store string) func(context.Context, func(context.Context, ingest.Held) error) error {
	return func(ctx context.Context, fn func(context.Context, ingest.Held) error) error {
		return db.WithHandover(ctx, "gatehouse-writer-"+store, func(ctx context.Context, h *reldb.Handover) error { return fn(ctx, h) })
	}
}

// dialOutside connects to an outside event store. Closing such a connection drops what of a request is still on this machine. Without
// that, the kernel would go on sending an insert that was given up, for a quarter of an hour where the network is away.
func dialOutside(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: outsideDial}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// outsideDial bounds one try to connect.
const outsideDial = 10 * time.Second

// written counts what became of events behind the acknowledgement.
func (s *server) written(company uint32, result string, n int) {
	s.writtenEvents.WithLabelValues(s.companyName(company), result).Add(float64(n))
}

// companyName is a company's name for metrics, its number when it is gone.
func (s *server) companyName(id uint32) string {
	c, err := s.keys.Company(id)
	if err != nil {
		return fmt.Sprint(id)
	}
	return c.Name
}
