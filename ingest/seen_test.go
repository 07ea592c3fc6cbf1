package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"gatehouse/event"
)

func randomID(r *rand.Rand) event.ID {
	var id event.ID
	binary.LittleEndian.PutUint64(id[:8], r.Uint64())
	binary.LittleEndian.PutUint64(id[8:], r.Uint64())
	return id
}

// The filter never denies an id that it holds, errs rarely, and takes little, at every size on its way.
func TestIDFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, start := range []int{0, 1000, 300_000} {
		f := newIDFilter(start)
		var ids []event.ID
		for _, size := range []int{1, 50, 1000, 20_000, 300_000} {
			for len(ids) < size {
				id := randomID(r)
				ids = append(ids, id)
				f.add(id)
			}
			for i, id := range ids {
				if !f.has(id) {
					t.Fatalf("denies id %d of %d", i, size)
				}
			}
			wrong := 0
			const asked = 200_000
			for range asked {
				if f.has(randomID(r)) {
					wrong++
				}
			}
			if wrong > asked/1000 {
				t.Errorf("from %d, with %d ids: says maybe to %d of %d that it does not hold", start, size, wrong, asked)
			}
			if per := float64(f.bytes()) / float64(size); size >= max(1000, start) && per > 8*filterBits/8 {
				t.Errorf("from %d, with %d ids: takes %.1f bytes for each", start, size, per)
			}
			t.Logf("from %d, with %d ids: %d layers, %.1f bytes for each, %d of %d maybes wrong", start, size, len(f.layers), float64(f.bytes())/float64(size), wrong, asked)
		}
	}
}

// memoryStore is a seenSource in memory.
type memoryStore struct {
	ids  map[companyDay][]event.ID
	fail bool
	read int
}

func (m *memoryStore) countDays(_ context.Context, days []companyDay) (map[companyDay]int, error) {
	if m.fail {
		return nil, errors.New("away")
	}
	out := map[companyDay]int{}
	for _, k := range days {
		if n := len(m.ids[k]); n > 0 {
			out[k] = n
		}
	}
	return out, nil
}

func (m *memoryStore) eachID(_ context.Context, days []companyDay, fn func(companyDay, event.ID)) error {
	for _, k := range days {
		for i, id := range m.ids[k] {
			if m.fail && i > len(m.ids[k])/2 {
				return errors.New("broke off")
			}
			m.read++
			fn(k, id)
		}
	}
	return nil
}

// Whatever comes in whatever order, with whatever budget and failures: an id in the store, or in flight when
// the filter was made, is never denied.
func TestSeenIndexNeverDenies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		m := &memoryStore{ids: map[companyDay][]event.ID{}}
		s := newSeenIndex(m, rapid.SampledFrom([]int{1, 2000, 1 << 20}).Draw(rt, "budget"))
		flying := map[companyDay][]event.ID{}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			m.fail = rapid.IntRange(0, 4).Draw(rt, "fails") == 0
			want := map[companyDay]int{}
			for range rapid.IntRange(1, 6).Draw(rt, "days") {
				want[companyDay{uint32(r.IntN(3)), uint16(r.IntN(4))}] += 1 + r.IntN(50)
			}
			filters, err := s.prepare(t.Context(), want, func(fn func(companyDay, event.ID)) {
				for k, ids := range flying {
					for _, id := range ids {
						fn(k, id)
					}
				}
			})
			if err != nil {
				if !m.fail {
					rt.Fatal(err)
				}
				continue
			}
			for k, f := range filters {
				for _, ids := range [][]event.ID{m.ids[k], flying[k]} {
					for _, id := range ids {
						if !f.has(id) {
							rt.Fatalf("denies an id of %v", k)
						}
					}
				}
			}
			if r.IntN(2) == 0 { // what was in flight has arrived
				for k, ids := range flying {
					m.ids[k] = append(m.ids[k], ids...)
				}
				clear(flying)
			}
			for k, n := range want {
				for range n {
					id := randomID(r)
					flying[k] = append(flying[k], id)
					if f := filters[k]; f != nil {
						f.add(id)
					}
				}
			}
			s.settle(filters)
			if s.bytes > s.budget && s.lru.Len() > 1 {
				rt.Fatalf("%d bytes in %d days, allowed are %d", s.bytes, s.lru.Len(), s.budget)
			}
		}
	})
}

// A straggler for a huge day is looked up; only when many come is the day read.
func TestSeenIndexReadsLargeDaysWhenWorthIt(t *testing.T) {
	k := companyDay{7, 20000}
	m := &memoryStore{ids: map[companyDay][]event.ID{k: make([]event.ID, 2*seenDirect)}}
	s := newSeenIndex(m, DefaultSeenBudget)
	ask := func(n int) *idFilter {
		t.Helper()
		f, err := s.prepare(t.Context(), map[companyDay]int{k: n}, func(func(companyDay, event.ID)) {})
		if err != nil {
			t.Fatal(err)
		}
		return f[k]
	}
	if f := ask(1); f != nil || m.read != 0 {
		t.Fatalf("one event made it read %d", m.read)
	}
	asked := 1
	for ask(1000) == nil {
		asked += 1000
	}
	if asked < seenDirect/seenWorth/2 || asked > 2*2*seenDirect/seenWorth {
		t.Fatalf("read after %d events", asked)
	}
	if m.read != 2*seenDirect {
		t.Fatalf("read %d", m.read)
	}
}

// The names that the store has are folded already, and identity is over those: folding twice must change nothing.
func TestFoldTwice(t *testing.T) {
	for r := rune(0); r < 0x110000; r++ {
		once := event.Fold(string(r))
		if twice := event.Fold(once); twice != once {
			t.Errorf("%U folds to %q, and that to %q", r, once, twice)
		}
	}
}
