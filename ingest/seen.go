package ingest

import (
	"container/list"
	"context"
	"fmt"

	"gatehouse/event"
)

// companyDay is one company's UTC day, the unit in which the store sorts and the
// seen index remembers. A company's filter thus answers for nobody else's events.
type companyDay struct {
	company uint32
	day     uint16 // since 1970
}

// seenSource reads from the store what a filter is made of.
type seenSource interface {
	// countDays tells how many events each of days has. Days without are left out.
	countDays(ctx context.Context, days []companyDay) (map[companyDay]int, error)
	// eachID calls fn for the id of every event of days.
	eachID(ctx context.Context, days []companyDay, fn func(companyDay, event.ID)) error
}

const (
	// seenDirect is up to how many events a day's filter is made at the first
	// touch: reading them costs less than asking the store about a block's few.
	seenDirect = 1 << 16
	// seenWorth makes the filter of a larger day once one in so many of its events was asked
	// for: a late straggler does not read a million ids, an import soon does.
	seenWorth = 16
	// seenOverhead is what an entry takes beside its filter, about.
	seenOverhead = 256
	// maxColdDays bounds the memory of days that are known to be large and
	// have no filter. Beyond, they are forgotten and counted again.
	maxColdDays = 1 << 16
)

// seenIndex holds the filters of the days lately written to, within a budget. It is a
// cache of what the store holds: losing any of it costs reading it again, and
// nothing of it is kept on disk. Not safe for concurrent use.
type seenIndex struct {
	source  seenSource
	budget  int
	bytes   int
	entries map[companyDay]*list.Element
	lru     list.List // of *seenEntry, front is the latest used
	cold    map[companyDay]coldDay

	loads, loaded, evictions int64
}

type seenEntry struct {
	key    companyDay
	filter *idFilter
	bytes  int // as accounted for in seenIndex.bytes
}

// coldDay is a day too large to be read for the few ids asked for so far.
type coldDay struct{ count, asked int }

func newSeenIndex(source seenSource, budget int) *seenIndex {
	return &seenIndex{source: source, budget: budget, entries: map[companyDay]*list.Element{}, cold: map[companyDay]coldDay{}}
}

// prepare makes the filters of the days in want, whose values say how many ids will be asked for.
// Filters that are made now get the ids of inFlight too: the store may not show them yet. The result lacks
// the days that are not worth one: their events must be looked up.
func (s *seenIndex) prepare(ctx context.Context, want map[companyDay]int, inFlight func(func(companyDay, event.ID))) (map[companyDay]*idFilter, error) {
	got := make(map[companyDay]*idFilter, len(want))
	var unknown, load []companyDay
	for k, n := range want {
		if e, ok := s.entries[k]; ok {
			s.lru.MoveToFront(e)
			got[k] = e.Value.(*seenEntry).filter //nolint:forcetypeassert // the list holds nothing else
			continue
		}
		c, ok := s.cold[k]
		if !ok {
			unknown = append(unknown, k)
			continue
		}
		c.asked += n
		s.cold[k] = c
		if c.asked*seenWorth >= c.count {
			load = append(load, k)
		}
	}
	counts := map[companyDay]int{}
	if len(unknown) > 0 {
		var err error
		if counts, err = s.source.countDays(ctx, unknown); err != nil {
			return nil, fmt.Errorf("count events by day: %w", err)
		}
	}
	made := map[companyDay]*idFilter{}
	for _, k := range unknown {
		n := counts[k]
		switch {
		case n == 0:
			made[k] = newIDFilter(want[k])
		case n <= seenDirect || want[k]*seenWorth >= n:
			load = append(load, k)
		default:
			if len(s.cold) >= maxColdDays {
				clear(s.cold)
			}
			s.cold[k] = coldDay{count: n, asked: want[k]}
		}
	}
	for _, k := range load {
		made[k] = newIDFilter(max(counts[k], s.cold[k].count) + want[k])
	}
	if len(made) == 0 {
		return got, nil
	}
	inFlight(func(k companyDay, id event.ID) {
		if f := made[k]; f != nil {
			f.add(id)
		}
	})
	if len(load) > 0 {
		err := s.source.eachID(ctx, load, func(k companyDay, id event.ID) {
			if f := made[k]; f != nil {
				f.add(id)
				s.loaded++
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read ids by day: %w", err)
		}
		s.loads++
	}
	for k, f := range made {
		delete(s.cold, k)
		s.entries[k] = s.lru.PushFront(&seenEntry{key: k, filter: f})
		got[k] = f
	}
	return got, nil
}

// settle accounts for what the filters have grown to and drops the longest unused beyond the
// budget. The latest stays, however large: without it nothing could be written.
func (s *seenIndex) settle(touched map[companyDay]*idFilter) {
	for k := range touched {
		if e, ok := s.entries[k]; ok {
			en := e.Value.(*seenEntry) //nolint:forcetypeassert // the list holds nothing else
			s.bytes -= en.bytes
			en.bytes = en.filter.bytes() + seenOverhead
			s.bytes += en.bytes
		}
	}
	for s.bytes > s.budget && s.lru.Len() > 1 {
		e := s.lru.Back()
		en := s.lru.Remove(e).(*seenEntry) //nolint:forcetypeassert // the list holds nothing else
		s.bytes -= en.bytes
		delete(s.entries, en.key)
		s.evictions++
	}
}
