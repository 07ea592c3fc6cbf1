package authsvc

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"gatehouse/authsvc/token"
	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

// benchStore is a store with companies and keys in plenty; their secrets are key numbers in the form of keys.
func benchStore(b *testing.B, companies, keysEach int, networks string) *Store {
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
				if _, err := tx.Insert(ctx, insertKey, id, "site", "", "gh_00000000", hex.EncodeToString(hash[:]), "ingest,read", networks, 0, nil, tx.revision); err != nil {
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
	s := benchStore(b, 200, 100, "")
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
	s := benchStore(b, 200, 100, "")
	b.ReportAllocs()
	for b.Loop() {
		snap, err := s.load(b.Context(), 1, nil)
		if err != nil || len(snap.keys) != 20_000 {
			b.Fatal(len(snap.keys), err)
		}
	}
}

// BenchmarkResolve is what each request costs: the key's look-up and the note of its use, with 100,000 keys of which 4,000 are in use.
func BenchmarkResolve(b *testing.B) {
	for name, networks := range map[string]string{"anywhere": "", "networks": "10.0.0.0/8,198.51.100.0/24,2001:db8::/32,192.0.2.0/24"} {
		s := benchStore(b, 1000, 100, networks)
		r, err := s.NewResolver(b.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		from := netip.MustParseAddr("192.0.2.1")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for n := 4711; pb.Next(); n++ {
					p, err := r.Resolve(b.Context(), benchKeys[n%len(benchKeys)], from)
					if err != nil {
						b.Error(err)
						return
					}
					r.Record(p.SiteID, from, "agent/1.0", 1, 0)
				}
			})
		})
		if err := r.Close(); err != nil { // it writes what was counted: not within the measurement
			b.Error(err)
		}
	}
}

// benchKeys are keys all over the table, so that the processor's caches do not hold what is looked up.
var benchKeys = func() []string {
	keys := make([]string, 4000)
	for i := range keys {
		keys[i] = benchKey(i * 7919 % 100_000)
	}
	return keys
}()
