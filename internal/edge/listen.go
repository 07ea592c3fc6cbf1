package edge

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits bound the connections of a listener.
type Limits struct {
	Total      int // further ones wait to be accepted
	PerAddress int // further ones are closed; 0: no bound
	// Exempt may have any number of the Total: proxies bring everybody's.
	Exempt []netip.Prefix
	Log    *slog.Logger
}

// Listen bounds the connections that l accepts. Without a bound per address, one client that opens connections and says
// nothing could keep everybody else waiting.
func Listen(l net.Listener, limits Limits) net.Listener {
	return &listener{Listener: l, limits: limits, places: make(chan struct{}, limits.Total), closed: make(chan struct{}), open: map[netip.Addr]int{}}
}

type listener struct {
	net.Listener
	limits Limits
	places chan struct{}

	closeOnce sync.Once
	closed    chan struct{}

	mu       sync.Mutex
	open     map[netip.Addr]int
	lastWarn time.Time
}

// Accept gives the next connection of an address that may have one more.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.places
			return nil, err
		}
		from := l.addressOf(c)
		if !l.take(from) {
			_ = c.Close() // it is told by that
			continue
		}
		return &conn{Conn: c, done: func() {
			l.give(from)
			<-l.places
		}}, nil
	}
}

// Close ends the listener; open connections stay.
func (l *listener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// addressOf is what a connection counts for; the zero Addr for none. Of an IPv6 network whoever has one address has all.
func (l *listener) addressOf(c net.Conn) netip.Addr {
	addr := parsePeer(c.RemoteAddr().String())
	if l.limits.PerAddress <= 0 || !addr.IsValid() {
		return netip.Addr{}
	}
	for _, p := range l.limits.Exempt {
		if p.Contains(addr) {
			return netip.Addr{}
		}
	}
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}

const warnEvery = 10 * time.Second

func (l *listener) take(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[a] < l.limits.PerAddress {
		l.open[a]++
		return true
	}
	if now := time.Now(); l.limits.Log != nil && now.Sub(l.lastWarn) > warnEvery {
		l.lastWarn = now
		l.limits.Log.Warn("connections are closed: their address has too many open ([server] max_connections_per_address)", slog.String("address", a.String()), slog.Int("open", l.open[a]))
	}
	return false
}

func (l *listener) give(a netip.Addr) {
	if !a.IsValid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[a]--; l.open[a] == 0 {
		delete(l.open, a)
	}
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	once sync.Once
	done func()
}

// Close closes the connection.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}
