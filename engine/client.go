//go:build linux || darwin

package engine

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Limits of the connections that Options asks for.
const (
	maxClientConns = 24
	clientTimeout  = 5 * time.Minute
)

// DialContext connects to the engine whatever network and address say. While
// the engine is being restarted it waits, up to 15 s or ctx.
func (e *Engine) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	for {
		e.mu.Lock()
		ready := e.ready
		e.mu.Unlock()
		select {
		case <-ready:
		case <-e.done:
			return nil, ErrClosed
		case <-wait.Done():
			return nil, fmt.Errorf("%w: %w", ErrNotReady, wait.Err())
		}
		c, err := e.dialSocket(wait)
		if err == nil {
			return c, nil
		}
		// It died this moment; its end will be noticed and ready replaced.
		select {
		case <-wait.Done():
			return nil, err
		case <-time.After(probeInterval):
		}
	}
}

func (e *Engine) dialSocket(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", e.socket)
}

// Options are ready for clickhouse.Open: HTTP through the engine's socket.
// Set Auth.Database to work in another database than default.
func (e *Engine) Options() *clickhouse.Options {
	return &clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{"engine:80"},
		DialContext: func(ctx context.Context, addr string) (net.Conn, error) {
			return e.DialContext(ctx, "unix", addr)
		},
		DialTimeout:     dialWait,
		ReadTimeout:     clientTimeout,
		MaxOpenConns:    maxClientConns,
		MaxIdleConns:    maxClientConns,
		ConnMaxLifetime: time.Hour,
		TransportFunc: func(t *http.Transport) (http.RoundTripper, error) {
			t.Proxy = nil // an HTTP_PROXY of the environment is not for a local socket
			return t, nil
		},
		// The socket is memory: compression would only cost time.
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionNone},
	}
}
