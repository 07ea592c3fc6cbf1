package soak

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/engine"
)

// While the engine does not answer, events are taken all the same.
func TestSoakEngineStopped(t *testing.T) {
	rounds, pause := 1, 5*time.Second
	if long() {
		rounds, pause = 8, 40*time.Second
	}
	s, tenant := newServer(t, nil)
	sim, from, to := newSim(t, 31, 4000)
	crowd := &sender{server: s, tenant: tenant, ledger: newLedger(), seed: 31, rate: 3000}
	crowd.start(t.Context(), sim)
	for range rounds {
		waitFor(t, "events to get through", func() bool { return crowd.sent.Load() > 500 })
		pid := s.EnginePID()
		if pid == 0 {
			t.Fatal("the server has no engine")
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		before := crowd.ledger.acknowledged()
		time.Sleep(pause)
		after := crowd.ledger.acknowledged()
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Logf("the engine was ended meanwhile: %v", err)
		}
		if after <= before {
			t.Error("no event was acknowledged while the engine stood still")
		}
		t.Logf("%d events acknowledged while the engine stood still for %s", after-before, pause)
	}
	if err := crowd.end(); err != nil {
		t.Error(err)
	}
	judge(t, s, tenant, crowd.ledger, from, to)
}

// ClickHouse goes away under load, in several ways and for longer than the
// spool has room. Acknowledgements go on until it is full, then the answer is 503; and
// afterwards everything acknowledged is there once.
func TestSoakStoreAway(t *testing.T) {
	exe := gatehouse(t)
	e, err := engine.Start(t.Context(), engine.Config{Dir: filepath.Join(t.TempDir(), "engine"), Executable: exe, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := newProxy(context.Background(), func(ctx context.Context) (net.Conn, error) { return e.DialContext(ctx, "tcp", "") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	s, tenant := newServer(t, map[string]string{
		"CLICKHOUSE_URL": "http://default@" + p.address(), "GATEHOUSE_SPOOL_MAX_BYTES": "64MiB", "GATEHOUSE_SPOOL_SEGMENT_SIZE": "4MiB",
		"GATEHOUSE_INGEST_MAX_BYTES": "8MiB",
	})
	sim, from, to := newSim(t, 32, 30_000)
	crowd := &sender{server: s, tenant: tenant, ledger: newLedger(), seed: 32, batch: 1000, padded: true}
	crowd.start(t.Context(), sim)
	waitFor(t, "events to get through", func() bool { return crowd.sent.Load() > 2000 })

	before := crowd.ledger.acknowledged()
	p.set(refuse)
	full := func() bool {
		crowd.ledger.mu.Lock()
		defer crowd.ledger.mu.Unlock()
		return crowd.ledger.full > 0
	}
	for limit := time.Now().Add(3 * time.Minute); !full() && time.Now().Before(limit); {
		time.Sleep(100 * time.Millisecond)
	}
	if !full() {
		t.Error("the spool's bound was not reached, or not told")
	}
	if code, text, err := s.Ready(t.Context()); err != nil || code != http.StatusServiceUnavailable || !strings.Contains(text, `"spool":"failing"`) {
		t.Errorf("no event is taken, and /readyz answers %d %s %v", code, text, err)
	}
	held := crowd.ledger.acknowledged() - before
	t.Logf("%d events acknowledged while the store was away, until the spool was full", held)
	if held < 10_000 { // of at least 1.2 kB
		t.Error("acknowledgements ended long before the spool was full")
	}
	p.set(pass)
	seen := crowd.sent.Load()
	waitFor(t, "events to be taken again", func() bool { return crowd.sent.Load() > seen+5000 })
	waitFor(t, "the server to be ready again", func() bool {
		code, _, err := s.Ready(t.Context())
		return err == nil && code == http.StatusOK
	})

	// Short breaks of every kind, also in the middle of an insert.
	breaks := 4
	if long() {
		breaks = 100
	}
	crowd.stop()
	crowd.wg.Wait()
	again := &sender{server: s, tenant: tenant, ledger: crowd.ledger, seed: 33, rate: 3000}
	sim2, _, _ := newSim(t, 33, 4000)
	again.start(t.Context(), sim2)
	r := rand.New(rand.NewPCG(32, 1))
	for range breaks {
		time.Sleep(time.Duration(200+r.IntN(1500)) * time.Millisecond)
		p.set([]mode{refuse, hang}[r.IntN(2)])
		time.Sleep(time.Duration(100+r.IntN(1500)) * time.Millisecond)
		p.set(pass)
	}
	if err := again.end(); err != nil {
		t.Error(err)
	}
	if err := crowd.end(); err != nil {
		t.Error(err)
	}
	judge(t, s, tenant, crowd.ledger, from, to)
}
