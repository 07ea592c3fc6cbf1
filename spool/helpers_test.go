package spool

import (
	"errors"
	"hash/crc32"
	"os"
	"sync"
	"testing"
	"time"
)

// unsynced leaves the disk out of tests whose processes do not die.
var unsynced = fileIO{
	write:    writeAll,
	datasync: func(*os.File) error { return nil },
	sync:     func(*os.File) error { return nil },
	syncDir:  func(string) error { return nil },
	reserve:  reserve,
}

func mustOpen(tb testing.TB, dir string, opts Options) *Spool {
	tb.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			tb.Error(err)
		}
	})
	return s
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// stepClock goes on by step at each look.
func stepClock(step time.Duration) func() time.Time {
	var mu sync.Mutex
	now := time.Unix(1_700_000_000, 0)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(step)
		return now
	}
}
