package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"testing"
	"time"
)

func leU64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// TestConcurrent runs appenders, readers, a trimmer and somebody who looks at the figures all at once, in a spool
// so small that it is full most of the time. Each reader gets each appender's records in order and exactly once.
func TestConcurrent(t *testing.T) {
	const appenders, each = 16, 300
	s := mustOpen(t, t.TempDir(), Options{MaxBytes: 64 << 10, SegmentSize: 8 << 10})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var producers, others sync.WaitGroup
	for a := range appenders {
		producers.Go(func() {
			for n := 0; n < each; {
				var recs [][]byte
				for i := range min(1+(a+n)%5, each-n) {
					b := binary.LittleEndian.AppendUint64(nil, uint64(a)<<32|uint64(n+i))
					recs = append(recs, append(b, make([]byte, (a*n)%200)...))
				}
				_, err := s.Append(ctx, recs...)
				switch {
				case errors.Is(err, ErrFull):
					time.Sleep(100 * time.Microsecond)
				case err != nil:
					t.Error(err)
					return
				default:
					n += len(recs)
				}
			}
		})
	}
	var mu sync.Mutex
	done := map[int]Position{} // how far each reader is
	for id := range 2 {
		others.Go(func() {
			r := s.NewReader(0)
			defer r.Close() //nolint:errcheck // nothing to lose
			next := make([]uint64, appenders)
			for total := 0; total < appenders*each; {
				recs, err := r.Read(ctx, Limit{Records: 10 + 90*id})
				if err != nil {
					t.Error(err)
					return
				}
				for _, rec := range recs {
					v := leU64(rec.Data)
					a, n := v>>32, v&(1<<32-1)
					if next[a] != n {
						t.Errorf("reader %d: appender %d: record %d, want %d", id, a, n, next[a])
						return
					}
					next[a]++
				}
				total += len(recs)
				mu.Lock()
				done[id] = r.Pos()
				upTo := min(done[0], done[1])
				mu.Unlock()
				if err := s.Trim(upTo); err != nil {
					t.Error(err)
				}
				if st := s.Stats(); st.Records < 0 || st.Bytes < 0 || st.DiskBytes > st.MaxBytes {
					t.Errorf("%+v", st)
				}
			}
		})
	}
	producers.Wait()
	others.Wait()
	if st := s.Stats(); st.Records != 0 && !t.Failed() {
		t.Errorf("%+v after all is read", st)
	}
}

// TestGroupCommit holds the disk back and lets many callers gather: they share one fsync.
func TestGroupCommit(t *testing.T) {
	files := unsynced
	release := make(chan struct{})
	files.datasync = func(*os.File) error { <-release; return nil }
	s, err := open(t.TempDir(), Options{}, files)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // a test of something else
	const callers = 50
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[Position]bool{}
	for range callers {
		wg.Go(func() {
			pos, err := s.Append(t.Context(), []byte("x"))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[pos] = true
		})
	}
	for gathered := 0; gathered < callers-1; { // the first ones may be in the group that the disk holds back
		s.gmu.Lock()
		gathered = s.group.count
		s.gmu.Unlock()
		s.mu.Lock()
		gathered += int(s.next - 1)
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	if last := s.Last(); last != 0 {
		t.Errorf("%d records are readable before they are durable", last)
	}
	mu.Lock()
	if len(seen) > 0 {
		t.Errorf("%d records are acknowledged before they are durable", len(seen))
	}
	mu.Unlock()
	close(release)
	wg.Wait()
	if st := s.Stats(); st.Commits > 3 || len(seen) != callers {
		t.Errorf("%d fsyncs, %d positions", st.Commits, len(seen))
	}
}
