package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestNoSpaceOnDisk runs into the end of a real, small file system, whose space something else takes and gives
// back: refused with ErrFull, nothing damaged, and working again by itself.
func TestNoSpaceOnDisk(t *testing.T) {
	mnt := t.TempDir()
	if err := syscall.Mount("tmpfs", mnt, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a file system of its own can be mounted by root only: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mnt, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	opts := Options{MaxBytes: 100 << 20, SegmentSize: 64 << 10}
	s := mustOpen(t, filepath.Join(mnt, "spool"), opts)
	acked := map[Position][]byte{}
	n := uint64(0)
	fill := func() {
		t.Helper()
		for {
			n++
			rec := testRecord(n, 3000)
			pos, err := s.Append(t.Context(), rec)
			if errors.Is(err, ErrFull) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			acked[pos] = rec
		}
	}
	other := filepath.Join(mnt, "other")
	if err := os.WriteFile(other, make([]byte, 400<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	fill()
	before := len(acked)
	if before < 100 {
		t.Fatalf("full after %d records", before)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	time.Sleep(retryAfterNoSpace)
	fill()
	if len(acked) < before+50 {
		t.Fatalf("%d records, %d when the disk was full", len(acked), before)
	}
	for range 2 {
		got := readAll(t, s)
		for pos, rec := range acked {
			if !bytes.Equal(got[pos], rec) {
				t.Fatalf("record %d: %d bytes", pos, len(got[pos]))
			}
		}
		if st := s.Stats(); len(got) != len(acked) || st.DamagedParts != 0 {
			t.Fatalf("%d records read, %d acknowledged: %+v", len(got), len(acked), st)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, filepath.Join(mnt, "spool"), opts)
	}
	if err := s.Trim(s.Last() + 1); err != nil { // consuming makes room
		t.Fatal(err)
	}
	before = len(acked)
	fill()
	if len(acked) == before {
		t.Fatal("no room after everything was consumed")
	}
}
