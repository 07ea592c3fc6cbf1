package soak

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"gatehouse/bench"
	"gatehouse/event"
	"gatehouse/ingest"
	"gatehouse/spool"
)

// spoolBook holds what the answers say against what comes out of the spool.
type spoolBook struct {
	mu     sync.Mutex
	due    map[event.ID]int      // taken as new by the answers, less read from the spool
	known  map[event.ID]struct{} // known already by the answers: it may have come twice in the same moment, and then is in the spool twice
	fresh  int64                 // records that were taken as new
	opened int64                 // taken, as new or as known, and open to reading
	stored int64                 // records read
}

func (b *spoolBook) add(id event.ID, n int) {
	if b.due[id] += n; b.due[id] == 0 {
		delete(b.due, id)
	}
}

func (b *spoolBook) sound(w reading, fresh bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !fresh {
		b.known[w.id] = struct{}{}
		return
	}
	b.fresh++
	b.add(w.id, 1)
}

func (b *spoolBook) open(fresh, known int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fresh += int64(fresh)
	b.opened += int64(fresh + known)
}

// drain reads the spool to its end once stop is closed, and makes room on the way.
func (b *spoolBook) drain(s *spool.Spool, stop <-chan struct{}) (err error) {
	rd := s.NewReader(0)
	defer func() { err = errors.Join(err, rd.Close()) }()
	for stopped := false; ; {
		lim := spool.Limit{Records: 10_000, Bytes: 8 << 20}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		records, err := rd.Read(ctx, lim)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && stopped:
			return nil
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		select {
		case <-stop:
			stopped = true
		default:
		}
		b.mu.Lock()
		for _, r := range records {
			var e event.Event
			if err := e.DecodeBinary(r.Data, nil); err != nil {
				b.mu.Unlock()
				return err
			}
			b.stored++
			b.add(e.ID(), -1)
		}
		b.mu.Unlock()
		if len(records) > 0 {
			if err := s.Trim(rd.Pos()); err != nil {
				return err
			}
		}
	}
}

// oneKey knows the key of one tenant.
type oneKey struct {
	key string
	p   ingest.Principal
}

func (k oneKey) Resolve(_ context.Context, key string, _ netip.Addr) (ingest.Principal, error) {
	if key != k.key {
		return ingest.Principal{}, event.Errorf(event.CodeUnauthorized, "Invalid API key")
	}
	return k.p, nil
}

func (oneKey) Used(ingest.Principal, netip.Addr, string, string, int, int) {}

// memoryDir is a directory whose fsync costs nothing, where there is one: what is tried
// here is what goes into the spool, not whether the disk keeps it.
func memoryDir(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "gatehouse-soak-*"); err == nil {
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	return t.TempDir()
}

// The handlers, from the parsed request to the spool and back out of it, take the sound events of
// millions of damaged requests and nothing else: each record in the spool is one that an
// answer has told of, and a plain reader finds the same event in the request.
func TestSoakFuzzIntake(t *testing.T) {
	most, until := amount(t, 30_000, 10_000_000)
	s, err := spool.Open(memoryDir(t), spool.Options{MaxBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	tenant := bench.Tenant{ID: 7, Name: "Soak", Key: "gh_soak"}
	in, err := ingest.NewIntake(ingest.Options{
		Spool: s, Keys: oneKey{tenant.Key, ingest.Principal{CompanyID: tenant.ID, SiteID: 1, Company: tenant.Name, Location: time.UTC, MayIngest: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	routes := mux.NewRouter()
	in.Mount(routes)
	handler := in.Fast(routes)

	// Making and reading requests plainly leaves much to collect; the memory is there.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	b := &spoolBook{due: map[event.ID]int{}, known: map[event.ID]struct{}{}}
	stop, drained := make(chan struct{}), make(chan error, 1)
	go func() { drained <- b.drain(s, stop) }()
	f := newFuzzer(t, tenant, b, most, until)
	f.run(t, 16, func(ctx context.Context, r *rand.Rand) error { return f.handle(ctx, handler, r) })
	close(stop)
	if err := errors.Join(<-drained, s.Close()); err != nil {
		t.Error(err)
	}
	missing, foreign := 0, int64(0)
	for id, n := range b.due {
		if _, known := b.known[id]; n > 0 {
			missing++
			if missing <= maxWrong {
				t.Errorf("event %s was acknowledged and is not in the spool", id)
			}
		} else if !known {
			foreign -= int64(n)
		}
	}
	t.Logf("%d records in the spool, %d told of by the answers, %d taken that are open to reading", b.stored, b.fresh, b.opened)
	if foreign > b.opened || b.stored < b.fresh {
		t.Errorf("the spool holds %d records, of which no answer accounts for %d", b.stored, foreign-b.opened)
	}
}
