package spool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const benchRecord = 150

// BenchmarkAppend is the intake's use: many connections, each waiting for its own record or call.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		callers, records int
		delay            time.Duration
	}{{1, 1, 0}, {64, 1, 0}, {64, 1, 2 * time.Millisecond}, {4, 1000, 0}, {1, 10000, 0}} {
		b.Run(fmt.Sprintf("callers=%d/records=%d/delay=%v", c.callers, c.records, c.delay), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), Options{CommitDelay: c.delay})
			ctx := context.Background()
			stop := consume(b, s)
			rec := bytes.Repeat([]byte("x"), benchRecord)
			call := slices.Repeat([][]byte{rec}, c.records)
			var left atomic.Int64
			left.Store(int64(b.N))
			lat := make([][]time.Duration, c.callers)
			b.SetBytes(int64(benchRecord * c.records))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range c.callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						t := time.Now()
						if _, err := s.Append(ctx, call...); err != nil {
							b.Error(err)
							return
						}
						lat[i] = append(lat[i], time.Since(t))
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			stop()
			all := slices.Concat(lat...)
			slices.Sort(all)
			st := s.Stats()
			b.ReportMetric(float64(b.N*c.records)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(b.N*c.records)/float64(st.Commits), "records/commit")
			b.ReportMetric(float64(st.SyncTime.Microseconds())/float64(st.Commits), "µs/commit")
		})
	}
}

// consume reads and trims what is appended, as the writer does, until the returned function is called.
func consume(tb testing.TB, s *Spool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		r := s.NewReader(0)
		defer r.Close() //nolint:errcheck // nothing to lose
		for {
			recs, err := r.Read(ctx, Limit{})
			if err != nil {
				return
			}
			if err := s.Trim(recs[len(recs)-1].Pos + 1); err != nil {
				tb.Error(err)
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// BenchmarkRead reads back what single-record callers and batch callers have left.
func BenchmarkRead(b *testing.B) {
	for _, records := range []int{32, 1000} {
		b.Run(fmt.Sprintf("block=%d", records), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), Options{})
			ctx := context.Background()
			call := slices.Repeat([][]byte{bytes.Repeat([]byte("x"), benchRecord)}, records)
			total := 0
			for total < 200_000 {
				if _, err := s.Append(ctx, call...); err != nil {
					b.Fatal(err)
				}
				total += records
			}
			b.SetBytes(int64(total * benchRecord))
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				r := s.NewReader(0)
				for n := 0; n < total; {
					recs, err := r.Read(ctx, Limit{})
					if err != nil {
						b.Fatal(err)
					}
					n += len(recs)
				}
				_ = r.Close()
			}
			b.ReportMetric(float64(total)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkFsync is the disk alone, for comparison: a write and its fsync, in a file that grows and in
// one already written.
func BenchmarkFsync(b *testing.B) {
	for _, written := range []bool{false, true} {
		b.Run(fmt.Sprintf("written=%v", written), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close() //nolint:errcheck // a scratch file
			const size = 64 << 20
			if written {
				if err := writeAll(f, make([]byte, size), 0); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			buf := bytes.Repeat([]byte("x"), 64*benchRecord)
			lat := make([]time.Duration, 0, b.N)
			b.ResetTimer()
			for i := range b.N {
				t := time.Now()
				if err := writeAll(f, buf, int64(i*len(buf)%(size-len(buf)))); err != nil {
					b.Fatal(err)
				}
				if err := datasync(f); err != nil {
					b.Fatal(err)
				}
				lat = append(lat, time.Since(t))
			}
			slices.Sort(lat)
			b.ReportMetric(float64(lat[len(lat)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(lat[len(lat)*99/100].Microseconds()), "p99-µs")
		})
	}
}
