package ingest

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
)

// TestLookup asks the store for events of days of which it has none, few and all.
func TestLookup(t *testing.T) {
	conn := testStore(t, testEngine(t))
	s := testSpool(t, t.TempDir())
	events := drawEvents(rand.New(rand.NewPCG(3, 1)), 3000, 1<<30)
	have := map[event.ID]event.Event{}
	remember(have, events[:2000])
	appendEvents(t, s, events[:2000])
	w, _ := quickWriter(t, conn, s, WriterOptions{})
	flush(t, w)
	look := NewLookup(conn, "")
	for _, part := range [][]event.Event{events, events[1990:2010], events[2000:], nil} {
		var records [][]byte
		want := map[event.ID]bool{}
		for i := range part {
			id := part[i].ID()
			records = append(records, part[i].AppendStored(nil, id))
			if _, ok := have[id]; ok {
				want[id] = true
			}
		}
		records = append(records, []byte("no event"))
		got := map[event.ID]bool{}
		if err := look.Find(t.Context(), records, func(id event.ID) { got[id] = true }); err != nil {
			t.Fatal(err)
		}
		for i := range part {
			if id := part[i].ID(); got[id] != want[id] {
				t.Fatalf("of %d events, one is found: %v, want %v", len(part), got[id], want[id])
			}
		}
	}
	first, err := look.Table(t.Context())
	if err != nil || first == "" || first == "00000000-0000-0000-0000-000000000000" {
		t.Fatalf("the table is called %q: %v", first, err)
	}
	if other, err := NewLookup(testStore(t, testEngine(t)), "").Table(t.Context()); err != nil || other == first {
		t.Errorf("another store's table is called the same: %q, %v", other, err)
	}
}

// fakeStored has some events, or does not answer.
type fakeStored struct {
	ids map[event.ID]bool
	err error
}

func (f *fakeStored) Find(_ context.Context, records [][]byte, found func(event.ID)) error {
	for _, r := range records {
		var s event.Stored
		if err := s.Decode(r); err != nil {
			return err
		}
		if f.ids[s.ID] {
			found(s.ID)
		}
	}
	return f.err
}

func (f *fakeStored) Table(context.Context) (string, error) { return "u-u-i-d", f.err }

// A local caller that asks for it is told what is new to ClickHouse, and is told when that cannot be known.
func TestClientExact(t *testing.T) {
	stored := &fakeStored{ids: map[event.ID]bool{}}
	s := newServer(t, func(o *Options) { o.Stored, o.RetentionMonths = stored, 12 })
	c := overSocket(t, s.http)
	events := someEvents(30)
	for i := range events[:10] {
		stored.ids[events[i].ID()] = true
	}
	send := func(list []event.Event, wantNew, wantKnown int, exact bool) {
		t.Helper()
		duplicates, rejected, err := c.Send(t.Context(), list)
		if isNew := len(list) - len(duplicates); err != nil || isNew != wantNew || len(duplicates) != wantKnown || len(rejected) != 0 || c.IsExact() != exact {
			t.Errorf("%d new, duplicates %v, %v, exact: %v, %v; want %d, %d, exact: %v", isNew, duplicates, rejected, c.IsExact(), err, wantNew, wantKnown, exact)
		}
	}
	c.Exact()
	send(events[:15], 5, 10, true)
	send(events[:15], 0, 15, true) // five of them are under way
	if n := len(s.spool.events(t)); n != 5 {
		t.Errorf("%d events are in the spool, 5 are new", n)
	}
	if n, err := c.Stored(t.Context(), events); err != nil || n != 10 {
		t.Errorf("%d of the events are in the store: %v", n, err)
	}
	if name, err := c.Store(t.Context()); err != nil || name != "u-u-i-d, 12 months" {
		t.Errorf("the store is called %q: %v", name, err)
	}
	stored.err = errors.New("away")
	send(events[:20], 15, 5, false) // taken; the writer will find what is there
	if _, err := c.Stored(t.Context(), events); event.ErrorCode(err) != event.CodeUnavailable {
		t.Errorf("a store that is away: %v", err)
	}
	if _, err := c.Store(t.Context()); event.ErrorCode(err) != event.CodeUnavailable {
		t.Errorf("a store that is away: %v", err)
	}
	stored.err = nil
	send(events[20:], 10, 0, false) // not asked for any more
}

// Events that take several chunks of memory, of which only the last are known: the others go to the spool as they are.
func TestClientExactOverChunks(t *testing.T) {
	stored := &fakeStored{ids: map[event.ID]bool{}}
	s := newServer(t, func(o *Options) { o.Stored = stored })
	c := overSocket(t, s.http)
	c.Exact()
	events := someEvents(6000)
	for i := range events {
		events[i].Provider = strings.Repeat("p", 500)
	}
	known := len(events) - 100
	want := map[event.ID]bool{}
	for i := range events {
		if i >= known {
			stored.ids[events[i].ID()] = true
		} else {
			want[events[i].ID()] = true
		}
	}
	duplicates, rejected, err := c.Send(t.Context(), events)
	if err != nil || len(duplicates) != 100 || duplicates[0] != known || len(rejected) != 0 {
		t.Fatalf("duplicates %v, rejected %v, %v", duplicates, rejected, err)
	}
	for _, e := range s.spool.events(t) {
		if id := e.ID(); !want[id] {
			t.Fatalf("%+v is in the spool", e)
		} else {
			delete(want, id)
		}
	}
	if len(want) != 0 {
		t.Errorf("%d events are not in the spool", len(want))
	}
}

// The rate of agents' keys does not bound imports.
func TestImportsHaveNoRate(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Limiter = limit{time.Minute} })
	if duplicates, rejected, err := overSocket(t, s.http).Send(t.Context(), someEvents(9)); err != nil || len(duplicates)+len(rejected) != 0 {
		t.Errorf("duplicates %v, rejected %v, %v", duplicates, rejected, err)
	}
	if a := s.post(t, PathEvents, lines(0, 9), "Content-Type", "application/x-ndjson"); a.status != 429 {
		t.Errorf("the public route: %d %s", a.status, a.text)
	}
}
