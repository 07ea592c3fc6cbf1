package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gatehouse/authsvc"
	"gatehouse/internal/logctx"
)

// trails are what runs beside the requests on the relational database: the error log's writing, and the daily cleaning.
type trails struct {
	errors *authsvc.ErrorLog
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// keepErrors puts the error log behind the server's logger. What is logged before the database is open waits.
func (s *server) keepErrors() {
	own := logctx.Handler(s.log.Handler()) // which reads each record's request, also where the database is away
	s.trails.errors = authsvc.NewErrorLog(own, time.Now)
	s.log = slog.New(s.trails.errors.Handler(own))
}

// startTrails begins to write what has waited. A server that a command starts for itself ends too soon to clean.
func (s *server) startTrails(ctx context.Context) {
	ctx, s.trails.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.trails.done.Go(func() { s.trails.errors.Run(ctx, s.store) })
	if s.listen != "" {
		s.trails.done.Go(func() { s.store.KeepMaintained(ctx, s.logger("maintenance")) })
	}
}

// stopTrails writes what waits and ends both.
func (s *server) stopTrails() error {
	s.trails.stop()
	s.trails.done.Wait()
	return nil
}

// logger is the log of one part of the server, by whose name the error log can be filtered.
func (s *server) logger(part string) *slog.Logger { return s.log.With(slog.String("logger", part)) }
