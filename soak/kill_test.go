package soak

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Every acknowledged event is there once, whatever is killed and whenever.
func TestSoakKill(t *testing.T) {
	servers, engines := 2, 2
	if long() {
		servers, engines = 25, 25
	}
	s, tenant := newServer(t, nil)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	sim, from, to := newSim(t, seed, 4000)
	crowd := &sender{server: s, tenant: tenant, ledger: newLedger(), seed: seed, rate: 3000}
	crowd.start(t.Context(), sim)
	k := &killer{server: s, r: rand.New(rand.NewPCG(seed, 99)), logf: t.Logf}
	for servers+engines > 0 {
		before := crowd.sent.Load()
		var err error
		if k.r.IntN(servers+engines) < servers {
			servers--
			err = k.killServer(t.Context())
		} else {
			engines--
			err = k.killEngine(t.Context())
		}
		if err != nil {
			t.Error(err)
			break
		}
		if k.r.IntN(3) == 0 { // else the next kill may come before anything got through
			waitFor(t, "events to get through again", func() bool { return crowd.sent.Load() > before+100 })
		}
	}
	if err := crowd.end(); err != nil {
		t.Error(err)
	}
	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	judge(t, s, tenant, crowd.ledger, from, to)
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Errorf("waited a minute for %s", what)
			return
		}
	}
}
