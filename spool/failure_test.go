package spool

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	errTestNoSpace = &fs.PathError{Op: "write", Path: "segment", Err: noSpaceErrno}
	errTestIO      = &fs.PathError{Op: "fsync", Path: "segment", Err: syscall.EIO}
)

// TestFailingDisk lets writes (also half ones), fsyncs and allocations fail at random. Every append that was
// acknowledged is there, at its position, at once and after a restart; nothing comes out that was not put in; and
// the spool works again when the disk does.
func TestFailingDisk(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var failing atomic.Bool
	fail := func(p float64, err error) error {
		if failing.Load() && rand.Float64() < p {
			return err
		}
		return nil
	}
	files := unsynced
	files.write = func(f *os.File, b []byte, off int64) error {
		if err := fail(0.1, errTestNoSpace); err != nil {
			return errors.Join(writeAll(f, b[:rand.IntN(len(b)+1)], off), err)
		}
		return writeAll(f, b, off)
	}
	files.datasync = func(*os.File) error { return fail(0.1, errTestIO) }
	files.reserve = func(f *os.File, n int64) error {
		if err := fail(0.3, errTestNoSpace); err != nil {
			return errors.Join(f.Truncate(n/2), err)
		}
		return reserve(f, n)
	}
	dir := t.TempDir()
	opts := Options{MaxBytes: 4 << 20, SegmentSize: 16 << 10, Clock: stepClock(time.Second)}
	tried, acked := map[string]bool{}, map[Position][]byte{}
	n, last := uint64(0), Position(0)
	full, broken := 0, 0
	for range 20 {
		s, err := open(dir, opts, files)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			failing.Store(i < 40)
			n++
			rec := testRecord(n, 8+rnd.IntN(2000))
			tried[string(rec)] = true
			pos, err := s.Append(context.Background(), rec)
			switch {
			case err == nil:
				if pos <= last {
					t.Fatalf("position %d after %d", pos, last)
				}
				last, acked[pos] = pos, rec
			case i >= 40:
				t.Fatalf("the disk works again, the spool does not: %v", err)
			case errors.Is(err, ErrFull):
				full++
			case errors.Is(err, syscall.EIO):
				broken++
			default:
				t.Fatal(err)
			}
		}
		check := func() {
			t.Helper()
			got := readAll(t, s)
			for pos, rec := range acked {
				if !bytes.Equal(got[pos], rec) {
					t.Fatalf("acknowledged record %d: read %d bytes, want %d", pos, len(got[pos]), len(rec))
				}
			}
			for pos, rec := range got {
				if !tried[string(rec)] {
					t.Fatalf("record %d was never appended", pos)
				}
			}
			if st := s.Stats(); st.DamagedParts != 0 || st.DiskBytes != diskUse(t, dir)-overhead(t, dir) {
				t.Fatalf("%+v, on disk %d", st, diskUse(t, dir))
			}
		}
		failing.Store(false)
		s.prep.Wait()
		check()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = open(dir, opts, files); err != nil {
			t.Fatal(err)
		}
		check()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if full == 0 || broken == 0 {
		t.Fatalf("nothing failed: %d, %d", full, broken)
	}
}

// overhead is what is not counted against the bound: the lock file and the trim mark.
func overhead(t *testing.T, dir string) (n int64) {
	for _, name := range []string{lockName, trimName} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// TestFull fills the spool to its bound: refused appends leave no trace, and trimming makes room.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	opts := Options{MaxBytes: 64 << 10}
	s := mustOpen(t, dir, opts)
	r := s.NewReader(0)
	rec := bytes.Repeat([]byte("x"), 500)
	for round := range 5 {
		n := 0
		for {
			_, err := s.Append(t.Context(), rec)
			if errors.Is(err, ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n < 64<<10/2/len(rec) {
			t.Fatalf("round %d: full after %d records", round, n)
		}
		if use := diskUse(t, dir); use > opts.MaxBytes+1<<10 {
			t.Fatalf("round %d: %d bytes on disk", round, use)
		}
		if st := s.Stats(); st.Records != int64(n) || st.First != r.Pos() {
			t.Fatalf("round %d: %+v after %d records from %d", round, st, n, r.Pos())
		}
		for n > 0 {
			recs, err := r.Read(t.Context(), Limit{})
			if err != nil {
				t.Fatal(err)
			}
			n -= len(recs)
		}
		if err := s.Trim(r.Pos()); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.Records != 0 || st.Bytes != 0 || !st.Oldest.IsZero() {
			t.Fatalf("round %d: %+v after reading all", round, st)
		}
	}
}

func TestLimitsAndClose(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{MaxBytes: 256 << 10})
	if _, err := s.Append(t.Context(), make([]byte, 65<<10)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a record beyond a quarter of the bound: %v", err)
	}
	// Larger than a segment, but within a call's limit.
	big := testRecord(1, 60<<10)
	pos, err := s.Append(t.Context(), big, nil)
	if err != nil || pos != 2 {
		t.Fatalf("%d, %v", pos, err)
	}
	if got := readAll(t, s); !bytes.Equal(got[1], big) || len(got[2]) != 0 || len(got) != 2 {
		t.Fatalf("read %d records", len(got))
	}
	_, err = Open(dir, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), filepath.Join(dir, lockName)) {
		t.Fatalf("second open: %v", err)
	}
	if _, err := Open(t.TempDir(), Options{MaxBytes: 100}); err == nil {
		t.Fatal("a bound of 100 bytes was accepted")
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(done, big); !errors.Is(err, context.Canceled) {
		t.Fatalf("append with a cancelled context: %v", err)
	}
	r := s.NewReader(3)
	waiting := make(chan error, 1)
	go func() {
		_, err := r.Read(context.Background(), Limit{})
		waiting <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Fatalf("waiting reader: %v", err)
	}
	if _, err := s.Append(t.Context(), big); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	if err := errors.Join(s.Trim(9), s.Close()); !errors.Is(err, ErrClosed) {
		t.Fatalf("trim and close after close: %v", err)
	}
}

// TestConsumerAhead: a consumer whose own mark is beyond a spool that was lost must see what comes now.
func TestConsumerAhead(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	r := s.NewReader(1000)
	pos, err := s.Append(t.Context(), []byte("new"))
	if err != nil || pos < 1000 {
		t.Fatalf("%d, %v", pos, err)
	}
	recs, err := r.Read(t.Context(), Limit{})
	if err != nil || recs[0].Pos != pos || string(recs[0].Data) != "new" {
		t.Fatalf("%v, %v", recs, err)
	}
}

// TestTrimMarkTorn damages either slot of the trim mark: reading begins at or before the true place.
func TestTrimMarkTorn(t *testing.T) {
	for slot := range int64(2) {
		dir := t.TempDir()
		want := fillSpool(t, dir, Options{}, 20, 40)
		s := mustOpen(t, dir, Options{})
		for _, p := range []Position{5, 9, 20} {
			if err := s.Trim(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, trimName), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writeAll(f, []byte{0xff}, slot*trimSlot+18), f.Close()); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, Options{})
		if first := s.First(); first != 20 && first != 9 {
			t.Fatalf("slot %d: begins at %d", slot, first)
		}
		if got := readAll(t, s); len(got) != len(want)-int(s.First())+1 {
			t.Fatalf("slot %d: %d records from %d", slot, len(got), s.First())
		}
	}
}
