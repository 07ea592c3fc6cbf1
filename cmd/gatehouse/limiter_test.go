package main

import "testing"

func TestEventLimiter(t *testing.T) {
	if newEventLimiter(0) != nil {
		t.Error("a rate of 0 limits")
	}
	l := newEventLimiter(10)
	if ok, _ := l.Allow(1, 1, 100); !ok {
		t.Error("a full allowance refuses what it can hold")
	}
	ok, wait := l.Allow(1, 1, 50)
	if ok || wait <= 0 {
		t.Errorf("an empty allowance gives %t, come again in %s", ok, wait)
	}
	if ok, _ := l.Allow(1, 2, 50); !ok {
		t.Error("one site uses up another's allowance")
	}
	if ok, _ := l.Allow(1, 3, 100_000); !ok {
		t.Error("a batch larger than any allowance never passes")
	}
}
