package authsvc

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gatehouse/authsvc/token"
	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

// benchStore is a store with companies and keys in plenty; their secrets are key numbers in the form of keys.
func benchStore(b *testing.B, companies, keysEach int) *Store {
	b.Helper()
	ctx := b.Context()
	s, err := Open(ctx, reldb.SQLiteURL(filepath.Join(b.TempDir(), "g.db")))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	if _, _, err := schema.NewRelational(s.db).Up(ctx); err != nil {
		b.Fatal(err)
	}
	if err := s.change(ctx, System(), func(tx changeTx) error {
		n := 0
		for i := range companies {
			name := fmt.Sprintf("company %d", i)
			id, err := tx.Insert(ctx, insertCompany, name, name, "Europe/London", 86400, 0, tx.revision)
			if err != nil {
				return err
			}
			for range keysEach {
				hash := token.Hash(benchKey(n))
				if _, err := tx.Insert(ctx, insertKey, id, "site", "", "gh_00000000", hex.EncodeToString(hash[:]), "ingest,read", "", 0, nil, tx.revision); err != nil {
					return err
				}
				n++
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return s
}

func benchKey(n int) string { return fmt.Sprintf("gh_%043d", n) }

// BenchmarkChange is what each change costs every process.
func BenchmarkChange(b *testing.B) {
	s := benchStore(b, 200, 100)
	old, err := s.load(b.Context(), 2, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		snap, err := s.load(b.Context(), 3, old)
		if err != nil || len(snap.keys) != 20_000 {
			b.Fatal(len(snap.keys), err)
		}
	}
}

// BenchmarkLoad is what a start costs: reading all companies and keys.
func BenchmarkLoad(b *testing.B) {
	s := benchStore(b, 200, 100)
	b.ReportAllocs()
	for b.Loop() {
		snap, err := s.load(b.Context(), 1, nil)
		if err != nil || len(snap.keys) != 20_000 {
			b.Fatal(len(snap.keys), err)
		}
	}
}

// BenchmarkResolve is what each request costs: the key's look-up among 100,000 and the note of its use. cpu-ns/op is the processor's time, which
// other work on the machine does not change.
func BenchmarkResolve(b *testing.B) {
	from := netip.MustParseAddr("192.0.2.1")
	for name, networks := range map[string]string{"anywhere": "", "networks": "10.0.0.0/8,198.51.100.0/24,2001:db8::/32,192.0.2.0/24"} {
		b.Run(name, func(b *testing.B) {
			r := memoryResolver(100_000, storedNetworks(networks))
			b.ReportAllocs()
			began := processorTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for n := 4711; pb.Next(); n++ {
					p, err := r.Resolve(b.Context(), benchKeys[n%len(benchKeys)], from)
					if err != nil {
						b.Error(err)
						return
					}
					r.Record(p.SiteID, from, "agent/1.0", "", 1, 0)
				}
			})
			b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// memoryResolver is one with that many keys, a hundred to a company, and without a database.
func memoryResolver(keys int, networks []netip.Prefix) *Resolver {
	snap := &snapshot{companies: map[uint32]*Company{}, keys: map[[32]byte]credential{}, sites: map[uint32]*site{}}
	for i := range keys {
		id, company := uint32(i+1), uint32(i/100+1)
		snap.companies[company] = &Company{ID: company, Name: "company", Location: time.UTC}
		entry := &site{id: id, companyID: company, name: "site", scopes: ScopeIngest, networks: networks, usage: &usage{}}
		snap.sites[id] = entry
		snap.accept(entry, token.HashText(benchKey(i)), 0)
	}
	r := &Resolver{store: &Store{now: time.Now}}
	r.snap.Store(snap)
	now := time.Now().Add(time.Hour) // it does not grow old
	r.verified.Store(&now)
	return r
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchKeys are keys all over the table, so that the processor's caches do not hold what is looked up.
var benchKeys = func() []string {
	keys := make([]string, 4000)
	for i := range keys {
		keys[i] = benchKey(i * 7919 % 100_000)
	}
	return keys
}()
