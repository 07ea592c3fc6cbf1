package spool

import (
	"errors"
	"testing"
)

// Free is above 0 while a record is taken, and 0 once one is refused, wherever the segments happen to end.
func TestFree(t *testing.T) {
	for _, size := range []int{1, 100, 1000, 1500, 4000, 5000, 12_000} {
		s := mustOpen(t, t.TempDir(), Options{MaxBytes: 256 << 10, SegmentSize: 16 << 10})
		if free := s.Stats().Free; free < 200<<10 {
			t.Errorf("an empty spool takes %d bytes", free)
		}
		for round := range 3 {
			taken := 0
			for {
				free := s.Stats().Free
				_, err := s.Append(t.Context(), testRecord(1, size))
				s.prep.Wait() // what is being allocated counts as taken
				if errors.Is(err, ErrFull) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if taken++; free <= 0 {
					t.Fatalf("records of %d bytes: %d free, and the record is taken", size, free)
				}
				if size == 1 && taken == 100 { // small ones would take long
					size = 700
				}
			}
			st := s.Stats()
			if st.Free != 0 {
				t.Errorf("records of %d bytes, round %d: refused after %d, and %d free of %d, %d taken", size, round, taken, st.Free, st.MaxBytes, st.DiskBytes)
			}
			if err := s.Trim(s.Last() + 1); err != nil {
				t.Fatal(err)
			}
			if free := s.Stats().Free; free <= 0 {
				t.Errorf("records of %d bytes, round %d: all is consumed, and %d free", size, round, free)
			}
		}
	}
}
