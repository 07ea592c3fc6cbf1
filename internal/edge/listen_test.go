package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// startServer serves h as cmd does, with short patience.
func startServer(t *testing.T, limits Limits, h http.Handler) string {
	t.Helper()
	raw, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler: New(Options{}).Handler(h), ReadHeaderTimeout: 500 * time.Millisecond, ReadTimeout: time.Second, IdleTimeout: time.Second,
		MaxHeaderBytes: 4 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(Listen(raw, limits)) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return raw.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ask(t *testing.T, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", http.NoBody)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%d, %w", resp.StatusCode, err)
	}
	return nil
}

var readAll = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		Fail(w, r, http.StatusRequestTimeout, "timeout", "the body came too slowly")
	}
})

// TestSlowClients: many who dribble their heads or bodies neither stop others nor stay.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	address := startServer(t, Limits{Total: 1000}, readAll)
	const each = 100
	var slow sync.WaitGroup
	stop := make(chan struct{})
	cutOff := make(chan struct{}, 3*each)
	dribble := func(begin, more string) {
		c := dial(t, address)
		slow.Go(func() {
			_, err := io.WriteString(c, begin)
			for err == nil && more != "" {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					_, err = io.WriteString(c, more)
				}
			}
			// Whether it wrote on or kept silent: the server ends it.
			if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Error(err)
			}
			if _, err := io.Copy(io.Discard, c); !errors.Is(err, os.ErrDeadlineExceeded) {
				cutOff <- struct{}{}
			}
		})
	}
	for range each {
		dribble("GET / HTTP/1.1\r\nHost: a\r\nX-A: ", "a")
		dribble("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", "a")
		dribble("", "") // says nothing at all
	}
	for range 10 {
		if err := ask(t, address); err != nil {
			t.Errorf("beside slow clients: %v", err)
		}
	}
	for i := range 3 * each {
		select {
		case <-cutOff:
		case <-time.After(30 * time.Second):
			close(stop)
			t.Fatalf("%d of %d slow clients were cut off", i, 3*each)
		}
	}
	close(stop)
	slow.Wait()
}

// TestOneAddressCannotTakeAll: connections beyond an address's share are closed, and come back when others end.
func TestOneAddressCannotTakeAll(t *testing.T) {
	t.Parallel()
	address := startServer(t, Limits{Total: 100, PerAddress: 3}, readAll)
	var kept []net.Conn
	for range 3 {
		c := dial(t, address)
		// An answer shows that it was accepted.
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		} else if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, c)
	}
	if err := ask(t, address); err == nil {
		t.Error("a fourth connection was answered")
	}
	if err := kept[0].Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for ask(t, address) != nil {
		if time.Now().After(deadline) {
			t.Fatal("a place that became free was not given again")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestExemptAddress(t *testing.T) {
	t.Parallel()
	address := startServer(t, Limits{Total: 100, PerAddress: 1, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, readAll)
	dial(t, address)
	dial(t, address)
	if err := ask(t, address); err != nil {
		t.Error(err)
	}
}

func TestAddressOf(t *testing.T) {
	t.Parallel()
	l := &listener{limits: Limits{PerAddress: 1, Exempt: nets("10.0.0.0/8")}}
	for in, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "10.1.1.1:5": "invalid IP", "[2001:db8:1:2:3:4:5:6]:5": "2001:db8:1:2::", "[fe80::1%eth0]:5": "fe80::", "@": "invalid IP",
	} {
		if got := l.addressOf(fakeConn{addr: in}).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

type fakeConn struct {
	net.Conn
	addr string
}

func (c fakeConn) RemoteAddr() net.Addr { return fakeAddr(c.addr) }

type fakeAddr string

func (fakeAddr) Network() string  { return "tcp" }
func (a fakeAddr) String() string { return string(a) }

// TestCloseWhileFull: a listener without free places can be closed.
func TestCloseWhileFull(t *testing.T) {
	t.Parallel()
	raw, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(raw, Limits{Total: 1})
	dial(t, raw.Addr().String())
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	// Closing twice gives one place back, not two.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	if n := len(l.(*listener).places); n != 0 {
		t.Errorf("%d places taken", n)
	}
}
