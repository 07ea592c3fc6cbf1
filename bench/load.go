package bench

import (
	"fmt"
	"slices"
	"time"

	"gatehouse/event"
	"gatehouse/simulate"
)

// load is one company's events made ready beforehand, so that making them
// costs nothing while the clock runs.
type load struct {
	events []event.Event
	from   time.Time
	to     time.Time // after the last event
}

const (
	// loadDays is the time over which a load's events spread at most.
	loadDays = 30
	// loadPerDay is fewer events than any simulated workforce gives for a person and day, so
	// that there are always enough.
	loadPerDay = 18
)

// makeLoad makes n different events of one company, in the order in which
// agents would deliver them.
func makeLoad(seed uint64, n int) (*load, error) {
	from := time.Now().UTC().AddDate(0, 0, -loadDays-1).Truncate(24 * time.Hour)
	sim, err := simulate.New(simulate.Config{
		Seed: seed, Companies: 1, Zones: []string{"UTC"}, From: from, Days: loadDays, Users: n/(loadDays*loadPerDay) + 2, Repeat: -1,
	})
	if err != nil {
		return nil, err
	}
	l := &load{events: make([]event.Event, 0, n), from: from}
	for e := range sim.Company(0) {
		if e.Time >= time.Now().UnixMilli() {
			continue
		}
		l.events = append(l.events, *e)
		if len(l.events) == n {
			break
		}
	}
	if len(l.events) < n {
		return nil, fmt.Errorf("BUG: bench: the simulation gave %d of %d events", len(l.events), n)
	}
	last := slices.MaxFunc(l.events, func(a, b event.Event) int { return int(a.Time - b.Time) })
	l.to = time.UnixMilli(last.Time).Add(time.Hour).UTC().Truncate(time.Hour)
	return l, nil
}

// bodies are the load's events as request bodies of so many each.
func (l *load) ndjson(each int) [][]byte {
	var out [][]byte
	for part := range slices.Chunk(l.events, each) {
		b := make([]byte, 0, 560*len(part))
		for i := range part {
			b = append(simulate.AppendJSON(b, &part[i]), '\n')
		}
		out = append(out, slices.Clip(b))
	}
	return out
}

func (l *load) arrow(each int) ([][]byte, error) {
	var out [][]byte
	a := simulate.NewArrow()
	for part := range slices.Chunk(l.events, each) {
		b, err := a.Encode(part)
		if err != nil {
			return nil, err
		}
		out = append(out, slices.Clone(b))
	}
	return out, nil
}

// singles are whole requests of one event each.
func (l *load) singles(host, key string) [][]byte {
	out := make([][]byte, len(l.events))
	var body []byte
	for i := range l.events {
		body = simulate.AppendJSON(body[:0], &l.events[i])
		out[i] = slices.Clip(appendRequest(make([]byte, 0, len(body)+260), "/api/log_event", host, key, "application/json", body))
	}
	return out
}
