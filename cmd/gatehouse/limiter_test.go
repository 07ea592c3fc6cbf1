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
	if !allow(3, 100_000).OK {
		t.Error("a batch larger than any allowance never passes")
	}
}
