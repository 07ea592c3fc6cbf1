package spool_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/spool"
)

// Last names a record that a reader gets to: behind a torn tail numbering goes on further
// up, and a consumer that waits to have read Last must not wait for ever.
func TestLastBehindATornTail(t *testing.T) {
	dir := t.TempDir()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), []byte("a"), []byte("b")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	// The beginning of a block whose end was never written.
	if err := os.WriteFile(names[0], append(raw, raw[32:52]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = spool.Open(dir, spool.Options{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	read := func() spool.Position {
		r := s.NewReader(0)
		defer func() { _ = r.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		for {
			if _, err := r.Read(ctx, spool.Limit{}); err != nil {
				return r.Pos()
			}
		}
	}
	if last := s.Last(); read() < last+1 {
		t.Fatalf("Last is %d, and reading ends before %d", last, read())
	}
	if _, err := s.Append(t.Context(), []byte("c")); err != nil {
		t.Fatal(err)
	}
	if last := s.Last(); read() != last+1 {
		t.Fatalf("after an append Last is %d, and reading ends before %d", last, read())
	}
}
