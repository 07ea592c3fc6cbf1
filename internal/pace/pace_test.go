package pace

import (
	"slices"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	p := Pace{First: time.Minute, Most: 10 * time.Minute}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range 2 { // it begins anew after its end
		var said []time.Duration
		for at := time.Duration(0); at <= 50*time.Minute; at += 5 * time.Second {
			mention, since := p.Due(start.Add(at))
			if since != at {
				t.Fatalf("after %v it says %v", at, since)
			}
			if mention {
				said = append(said, at/time.Minute)
			}
		}
		if want := []time.Duration{0, 1, 3, 7, 15, 25, 35, 45}; !slices.Equal(said, want) {
			t.Errorf("said after %d minutes, want %d", said, want)
		}
		if went, since := p.Over(start.Add(time.Hour)); !went || since != time.Hour {
			t.Errorf("over: %v %v", went, since)
		}
		if went, since := p.Over(start.Add(2 * time.Hour)); went || since != 0 {
			t.Errorf("over again: %v %v", went, since)
		}
	}
}
