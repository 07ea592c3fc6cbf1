package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"gatehouse/internal/tlscert"
)

// bindPublic takes the address before anything slow is started: one that cannot be had
// is told at once. Who connects meanwhile waits until servePublic.
func (s *server) bindPublic(ctx context.Context) (err error) {
	if s.listen == "" {
		return nil
	}
	s.bound, err = (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("FATAL: %s is in use by another program: stop that one, or name another port with --listen (port 0 takes a free one): %w", s.listen, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("FATAL: the port of %s needs more rights than this user has: take one above 1023, or give the program the capability to bind it: %w", s.listen, err)
	case err != nil:
		return fmt.Errorf("FATAL: cannot listen on %s: %w", s.listen, err)
	}
	return nil
}

// servePublic answers where agents, Grafana and people come.
func (s *server) servePublic(context.Context) error {
	if s.listen == "" {
		return nil
	}
	handler, err := s.publicHandler()
	if err != nil {
		return err
	}
	l := netutil.LimitListener(s.bound, s.cfg.Server.MaxConnections)
	scheme := "http"
	if s.cfg.Server.TLS && !s.plainHTTP {
		scheme = "https"
		if s.cfg.Server.CertFile != "" {
			s.cert, err = tlscert.Files(s.cfg.Server.CertFile, s.cfg.Server.KeyFile, s.log)
		} else {
			s.cert, err = tlscert.SelfSigned(s.dataDir, s.log)
		}
		if err != nil {
			return err
		}
		t := s.cert.TLSConfig()
		t.NextProtos = []string{"h2", "http/1.1"}
		l = tls.NewListener(l, t)
	}
	s.url = scheme + "://" + l.Addr().String()
	s.public = s.httpServer(handler)
	s.public.WriteTimeout = answerTimeout
	s.bound = nil // the HTTP server closes it
	go func() {
		if err := s.public.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.fatal <- fmt.Errorf("FATAL: the listener on %s ended: %w", s.listen, err)
		}
	}()
	return nil
}

// answerTimeout bounds a request from its head to the last byte of its answer: a client
// that does not read holds no memory for longer. The slowest report takes a third of it.
const answerTimeout = 3 * time.Minute

// headerTimeout bounds the time a client may take for a request's head: slower
// ones are hanging or up to no good.
const headerTimeout = 10 * time.Second

func (s *server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: s.cfg.Server.ReadTimeout, IdleTimeout: s.cfg.Server.IdleTimeout,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}
