package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatehouse/ingest"
	"gatehouse/internal/edge"
	"gatehouse/internal/tlscert"
)

// bindPublic takes the addresses and reads the certificate before anything slow is started: what cannot be had
// is told at once. Who connects meanwhile waits until servePublic.
func (s *server) bindPublic(ctx context.Context) (err error) {
	if s.listen == "" {
		return nil
	}
	for _, notice := range s.cfg.Notices() {
		s.log.Warn("settings", slog.String("notice", notice))
	}
	if s.bound, err = listenAt(ctx, s.listen); err != nil {
		return err
	}
	if !s.cfg.Server.TLS || s.plainHTTP {
		return nil
	}
	if s.cfg.Server.CertFile != "" {
		s.cert, err = tlscert.Files(s.cfg.Server.CertFile, s.cfg.Server.KeyFile, s.log)
	} else {
		s.cert, err = tlscert.SelfSigned(s.dataDir, s.log)
	}
	if port := s.cfg.Server.HTTPRedirectPort; err == nil && port != 0 {
		host, _, _ := net.SplitHostPort(s.listen) // it was listened on
		s.boundRedirect, err = listenAt(ctx, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	return err
}

func listenAt(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("FATAL: %s is in use by another program: stop that one, or name another port with --listen (port 0 takes a free one): %w", address, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("FATAL: the port of %s needs more rights than this user has: take one above 1023, or give the program the capability to bind it: %w", address, err)
	case err != nil:
		return nil, fmt.Errorf("FATAL: cannot listen on %s: %w", address, err)
	}
	return l, nil
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
	address := s.bound.Addr()
	l := s.limited(s.bound)
	scheme := "http"
	if s.cert != nil {
		scheme = "https"
		l = tls.NewListener(l, s.cert.TLSConfig())
	}
	s.url = scheme + "://" + address.String()
	s.public = s.httpServer(handler)
	s.public.WriteTimeout = answerTimeout
	s.bound = nil // the HTTP server closes it
	go s.serveOn(s.public, l, s.listen)
	if s.boundRedirect != nil {
		_, port, _ := net.SplitHostPort(address.String()) // it is ours
		redirect := s.httpServer(edge.New(edge.Options{Proxies: s.proxies(), Log: s.logger("http")}).Handler(edge.Redirect(port, s.isOurName, s.ourName())))
		redirect.WriteTimeout = answerTimeout
		s.public.RegisterOnShutdown(func() {
			if err := redirect.Close(); err != nil {
				s.log.Warn("closing the listener for plain HTTP", slog.Any("error", err))
			}
		})
		go s.serveOn(redirect, s.limited(s.boundRedirect), s.boundRedirect.Addr().String())
		s.boundRedirect = nil
	}
	return nil
}

func (s *server) serveOn(srv *http.Server, l net.Listener, address string) {
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.fatal <- fmt.Errorf("FATAL: the listener on %s ended: %w", address, err)
	}
}

// limited bounds the connections of a listener.
func (s *server) limited(l net.Listener) net.Listener {
	return edge.Listen(l, edge.Limits{Total: s.cfg.Server.MaxConnections, PerAddress: s.cfg.Server.MaxPerAddress, Exempt: s.cfg.Proxy.Trusted, Log: s.log})
}

func (s *server) proxies() edge.Proxies {
	p := s.cfg.Proxy
	return edge.Proxies{Trusted: p.Trusted, Hops: p.Hops, For: p.For, Proto: p.Proto, Host: p.Host, Port: p.Port, Prefix: p.Prefix}
}

// newEdge is what every public request passes first.
func (s *server) newEdge() *edge.Edge {
	sec := s.cfg.Security
	var hsts []string
	if sec.HSTS {
		hsts = edge.HSTSHeader(sec.HSTSMaxAge, sec.HSTSSubdomains)
	}
	return edge.New(edge.Options{
		Proxies: s.proxies(), Hosts: sec.AllowedHosts, Log: s.logger("http"),
		// With a certificate that browsers warn of, it would take away the way past the warning.
		HSTS: func() []string {
			if s.cert != nil && s.cert.IsSelfSigned() {
				return nil
			}
			return hsts
		},
		Lean: func(r *http.Request) bool { return r.URL.Path == ingest.PathLogEvent && r.Method == http.MethodPost },
	})
}

// isOurName tells names that plain HTTP may be redirected to: those allowed, else those that the certificate is for, as HTTPS would
// fail for others.
func (s *server) isOurName(host string) bool {
	if allowed := s.cfg.Security.AllowedHosts; len(allowed) > 0 {
		return edge.Hosts(allowed).Allow(host)
	}
	return s.cert.Covers(host)
}

// ourName is where requests for other names are sent, "" if the settings name nothing.
func (s *server) ourName() string {
	for _, name := range s.cfg.Security.AllowedHosts {
		if !strings.HasPrefix(name, "*") {
			return strings.Trim(name, "[]")
		}
	}
	host, _, _ := net.SplitHostPort(s.listen) // it was listened on
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		return ""
	}
	return host
}

// answerTimeout bounds a request from its head to the last byte of its answer: a client
// that does not read holds no memory for longer. The slowest report takes a third of it.
const answerTimeout = 3 * time.Minute

func (s *server) httpServer(h http.Handler) *http.Server {
	c := s.cfg.Server
	return &http.Server{
		Handler: h, ReadHeaderTimeout: c.HeaderTimeout, ReadTimeout: c.ReadTimeout, IdleTimeout: c.IdleTimeout,
		MaxHeaderBytes: int(c.MaxHeaderBytes), ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}
