package main

import (
	"testing"
	"time"

	"gatehouse/authsvc/limit"
	"gatehouse/ingest"
)

func TestEventLimiter(t *testing.T) {
	memory := limit.NewMemory(time.Now)
	if newEventLimiter(0, memory, nil) != nil {
		t.Error("a rate of 0 limits")
	}
	l := newEventLimiter(10, memory, nil)
	allow := func(site uint32, n int) ingest.Allowance { return l.Allow(t.Context(), 1, site, n) }
	if a := allow(1, 100); !a.OK || a.Limit != 100 || a.Remaining != 0 {
		t.Errorf("a full allowance gives what it can hold: %+v", a)
	}
	if a := allow(1, 50); a.OK || a.Retry <= 0 || a.Retry > 5*time.Second {
		t.Errorf("an empty allowance: %+v", a)
	}
	if !allow(2, 50).OK {
		t.Error("one site uses up another's allowance")
	}
	if a := allow(3, 100_000); !a.OK || a.Remaining != 0 {
		t.Errorf("a batch larger than any allowance never passes: %+v", a)
	}
	// It is paid off before the next event: 100,000 at 10 a second, of which ten seconds' worth was saved up.
	const debt = 9990 * time.Second
	if a := allow(3, 1); a.OK || a.Remaining != 0 || a.Retry < debt-time.Minute || a.Retry > debt+time.Second {
		t.Errorf("after a batch of 10,000 seconds' worth: %+v", a)
	}
}
