package authsvc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema"
)

// gate passes connections on to a server until it is shut; then it keeps them open and passes nothing, as a machine does that has
// lost its network.
type gate struct {
	address string
	mu      sync.Mutex
	open    *sync.Cond
	shut    bool
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{address: l.Addr().String()}
	g.open = sync.NewCond(&g.mu)
	t.Cleanup(func() {
		g.set(false)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			go g.pass(in, out)
			go g.pass(out, in)
		}
	}()
	return g
}

func (g *gate) pass(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		g.mu.Lock()
		for g.shut {
			g.open.Wait()
		}
		g.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	g.shut = shut
	g.mu.Unlock()
	g.open.Broadcast()
}

// eachServer runs fn over the databases that are servers, with a store that reaches it through a gate and one that goes past it. A SQLite
// file is not here: nothing stands between it and the program that could hang without an end, and its readers wait for nobody.
func eachServer(t *testing.T, fn func(t *testing.T, g *gate, through, past *authsvc.Store)) {
	t.Helper()
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		if strings.HasPrefix(databaseURL, "sqlite:") {
			return
		}
		u, err := url.Parse(databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		past := authsvc.New(reldbtest.Open(t, databaseURL))
		if _, _, err := schema.NewRelational(past.DB()).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		g := newGate(t, u.Host)
		u.Host = g.address
		through := authsvc.New(reldbtest.Open(t, u.String()))
		t.Cleanup(func() { g.set(false) }) // before the stores close
		fn(t, g, through, past)
	})
}

// TestResolveWhileDatabaseHangs: requests with wrong keys wait for one look together, not one after the other; known keys do not wait; and
// after the network is back all goes on.
func TestResolveWhileDatabaseHangs(t *testing.T) {
	eachServer(t, func(t *testing.T, g *gate, through, past *authsvc.Store) {
		ctx := t.Context()
		c := mustCompany(t, past, "One")
		_, secret := mustKey(t, past, c.ID, authsvc.ScopeRead)
		r := newResolver(t, through)
		g.set(true)
		const callers = 200
		before := r.Looks()
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				if _, err := r.Resolve(ctx, secret, netip.Addr{}); err != nil {
					t.Errorf("a known key: %v", err)
				}
				if _, err := r.Resolve(ctx, fmt.Sprintf("gh_%043d", i), netip.Addr{}); !errors.Is(err, authsvc.ErrInvalidKey) {
					t.Errorf("a wrong key: %v", err)
				}
			})
		}
		wg.Wait()
		// Each look takes two seconds to fail: were there one for each caller, this would be hundreds.
		if looks := r.Looks() - before; looks > 3 {
			t.Errorf("%d callers made %d looks at a database that hangs", callers, looks)
		}
		given, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := r.Resolve(given, "gh_"+strings.Repeat("A", 43), netip.Addr{}); err == nil {
			t.Error("accepted")
		}
		g.set(false)
		_, later := mustKey(t, past, c.ID, authsvc.ScopeRead)
		eventually(t, "recovery", func() bool { _, err := r.Resolve(ctx, later, netip.Addr{}); return err == nil })
	})
}

// TestRevocationWhileFlushHangs: counts that cannot be written do not keep a revoked key working.
func TestRevocationWhileFlushHangs(t *testing.T) {
	eachServer(t, func(t *testing.T, _ *gate, through, past *authsvc.Store) {
		ctx := t.Context()
		c := mustCompany(t, past, "One")
		busy, _ := mustKey(t, past, c.ID, authsvc.ScopeRead)
		k, secret := mustKey(t, past, c.ID, authsvc.ScopeRead)
		r := newResolver(t, through)
		// Somebody has the row that the counts go to.
		locked, release := make(chan struct{}), make(chan struct{})
		var holder sync.WaitGroup
		holder.Go(func() {
			if err := past.DB().Update(ctx, func(tx *reldb.Tx) error {
				if _, err := tx.Exec(ctx, `UPDATE api_keys SET note = 'held' WHERE id = ?`, busy.ID); err != nil {
					return err
				}
				close(locked)
				<-release
				return nil
			}); err != nil {
				t.Errorf("hold the row: %v", err)
			}
		})
		<-locked
		r.Record(busy.ID, netip.Addr{}, "", "", 1, 0)
		flushed := make(chan error, 1)
		go func() { flushed <- r.Flush(ctx) }()
		// The regular writing hangs too, with what is counted now.
		r.Record(busy.ID, netip.Addr{}, "", "", 1, 0)
		time.Sleep(authsvc.FlushEvery + 200*time.Millisecond)
		if err := past.RevokeKey(ctx, operator, c.ID, k.ID); err != nil {
			t.Fatal(err)
		}
		within(t, revoked, "the revoked key stops, and does not wait for the writing", func() bool {
			_, err := r.Resolve(ctx, secret, netip.Addr{})
			return errors.Is(err, authsvc.ErrInvalidKey)
		})
		select {
		case err := <-flushed:
			t.Errorf("the writing did not hang (%v): the test shows nothing", err)
		default:
		}
		close(release)
		holder.Wait()
		if err := <-flushed; err != nil {
			t.Errorf("the writing, once the row was free: %v", err)
		}
	})
}
