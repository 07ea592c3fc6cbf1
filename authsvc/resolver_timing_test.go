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
				if _, err := tx.Insert(ctx, insertKey, id, "site", "gh_00000000", hex.EncodeToString(hash[:]), "ingest,read", 0, nil, tx.revision); err != nil {
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

// BenchmarkResolve is what each request costs: the key's look-up and the note of its use.
func BenchmarkResolve(b *testing.B) {
	s := benchStore(b, 200, 100)
	r, err := s.NewResolver(b.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			b.Error(err)
		}
	}()
	from := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		key := benchKey(4711)
		for pb.Next() {
			p, err := r.Resolve(b.Context(), key)
			if err != nil {
				b.Error(err)
				return
			}
			r.Record(p.SiteID, from, 1, 0)
		}
	})
}
