package soak

import (
	"context"
	"io"
	"net"
	"sync"
)

// proxy stands between the server and its ClickHouse, and can be cut.
type proxy struct {
	listener net.Listener
	dial     func(ctx context.Context) (net.Conn, error)

	mu    sync.Mutex
	mode  mode
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

type mode int

const (
	pass   mode = iota
	refuse      // connections are closed at once
	hang        // connections are taken and never answered
)

func newProxy(ctx context.Context, dial func(ctx context.Context) (net.Conn, error)) (*proxy, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, dial: dial, conns: map[net.Conn]bool{}}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(ctx, c) })
		}
	})
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// set changes the mode. Leaving pass breaks every connection in the middle of what it does.
func (p *proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	for c := range p.conns {
		_ = c.Close() // both ends learn of it by their next read
	}
}

func (p *proxy) close() error {
	err := p.listener.Close()
	p.set(refuse)
	p.wg.Wait()
	return err
}

// hold keeps a connection for set to break; false when the mode has no use for it.
func (p *proxy) hold(c net.Conn) (mode, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == refuse {
		return refuse, false
	}
	p.conns[c] = true
	return p.mode, true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	_ = c.Close() // it may be closed already
}

func (p *proxy) serve(ctx context.Context, c net.Conn) {
	m, ok := p.hold(c)
	defer p.drop(c)
	switch {
	case !ok:
		return
	case m == hang:
		_, _ = io.Copy(io.Discard, c) // until it is broken
		return
	}
	up, err := p.dial(ctx)
	if err != nil {
		return
	}
	if _, ok := p.hold(up); !ok {
		_ = up.Close() // cut in between
		return
	}
	defer p.drop(up)
	done := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(up, c) // ends when either side does; both learn of it
		_ = up.Close()
		done <- struct{}{}
	}()
	go func() {
		_, _ = io.Copy(c, up)
		_ = c.Close()
		done <- struct{}{}
	}()
	<-done
	<-done
}
