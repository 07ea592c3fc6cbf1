package simulate

import (
	"cmp"
	"container/heap"
	"iter"
	"math"
	"slices"
	"time"

	"gatehouse/event"
)

// dayStream holds the records of a company that are made but not yet handed out.
type dayStream struct {
	day     int
	planned []record // by what happened; those of night shifts reach into tomorrow
	floor   int64    // nothing happens before it any more
	seq     uint32
	out     []record // by delivery
	ready   int      // how many of out can go: nothing earlier can still come
	next    int      // the first of them that has not gone
	ended   bool
}

// Stats counts what a simulation gave so far.
type Stats struct {
	Events   int64 // all, repeated ones included
	Repeated int64
	Late     int64 // delivered more than a minute after they happened
	ByType   [32]int64
	First    int64 // the first and last time of an event, Unix milliseconds
	Last     int64
}

// Distinct is how many different events there were.
func (s *Stats) Distinct() int64 { return s.Events - s.Repeated }

func (s *Stats) add(e *event.Event, repeated bool) {
	s.Events++
	if repeated {
		s.Repeated++
	}
	if e.Received-e.Time > minute {
		s.Late++
	}
	s.ByType[e.Type]++
	if s.First == 0 || e.Time < s.First {
		s.First = e.Time
	}
	s.Last = max(s.Last, e.Time)
}

// head is the next record, nil at the end.
func (c *company) head() *record {
	s := &c.at
	for s.next >= s.ready {
		if s.ended {
			return nil
		}
		c.advance()
	}
	return &s.out[s.next]
}

// advance makes one more day ready.
func (c *company) advance() {
	s := &c.at
	s.out = slices.Delete(s.out, 0, s.ready)
	s.next, s.ready = 0, 0
	y, m, day := c.cfg.From.Date()
	midnight := time.Date(y, m, day+s.day, 0, 0, 0, 0, c.loc)
	until := int64(math.MaxInt64)
	if !c.cfg.Until.IsZero() {
		until = c.cfg.Until.UnixMilli()
	}
	if (c.cfg.Days > 0 && s.day >= c.cfg.Days) || midnight.UnixMilli() > until {
		// The last night shift, and what is still on its way: late events are
		// handed out then, whatever the end.
		c.deliver(math.MaxInt64, until)
		s.ready, s.ended = len(s.out), true
		return
	}
	d := today{number: s.day, start: midnight.UnixMilli(), midnight: midnight, weekday: midnight.Weekday()}
	d.free = c.place.free(midnight)
	s.floor = d.start
	c.servers(&d)
	c.incidents(&d)
	for i := range c.people {
		c.day(i, &d)
	}
	cut := time.Date(y, m, day+s.day+1, 0, 0, 0, 0, c.loc).UnixMilli()
	c.deliver(cut, until)
	s.ready, _ = slices.BinarySearchFunc(s.out, cut, func(r record, t int64) int { return cmp.Compare(r.deliver, t) })
	s.day++
}

// deliver turns the plans before cut into what agents send: numbered in the
// order of their machine's log, some of them late, some of them twice. What would
// happen after until does not.
func (c *company) deliver(cut, until int64) {
	s := &c.at
	slices.SortFunc(s.planned, func(a, b record) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq)) })
	n, _ := slices.BinarySearchFunc(s.planned, cut, func(r record, t int64) int { return cmp.Compare(r.at, t) })
	c.reseed(forDelivery, uint64(s.day)) //nolint:gosec // not negative
	for i := range s.planned[:n] {
		r := &s.planned[i]
		if r.at > until || !c.number(r) {
			continue
		}
		c.delay(r)
		s.out = append(s.out, *r)
		if c.chance(c.cfg.Repeat) {
			again := *r
			again.flags |= flagRepeat
			again.deliver += c.span(30*second, 36*hour)
			s.out = append(s.out, again)
		}
	}
	s.planned = slices.Delete(s.planned, 0, n)
	slices.SortFunc(s.out, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.deliver, b.deliver), cmp.Compare(a.seq, b.seq), cmp.Compare(a.flags, b.flags))
	})
}

// number gives r its place in its machine's log; false when the machine's
// agent has no word for it.
func (c *company) number(r *record) bool {
	m, k := &c.machines[r.machine], &kinds[r.kind]
	switch {
	case m.old && !k.old:
		return false
	case m.old:
		// Whole seconds, and no two events in one: without record ids the
		// second is all that tells them apart.
		r.at = max(r.at-r.at%second, m.last+second)
		m.last = r.at
	case k.system:
		m.system += uint64(1 + c.r.IntN(6)) //nolint:gosec // not negative
		r.number = m.system
	default:
		if r.kind == kCleared {
			m.security = 0
		}
		m.security += uint64(1 + c.r.IntN(9)) //nolint:gosec // not negative
		r.number = m.security
	}
	return true
}

// delay decides when r arrives.
func (c *company) delay(r *record) {
	m, late := &c.machines[r.machine], c.cfg.Late
	if day := int32(c.at.day); m.seen != day { //nolint:gosec // MaxDays
		m.seen = day
		if m.offline < r.at && c.chance(late/3) {
			m.offline = r.at + c.span(hour, 90*hour)
		}
	}
	switch {
	case r.at < m.offline:
		r.deliver = m.offline + c.r.Int64N(5*second)
	case c.chance(late / 3):
		r.deliver = r.at + int64(c.r.ExpFloat64()*40*float64(minute)) + 2*minute
	default:
		r.deliver = r.at + 100 + c.r.Int64N(3*second)
	}
}

// Simulation is a workforce ready to work. It is safe for concurrent use:
// each walk over its events starts from the beginning.
type Simulation struct{ cfg Config }

// New checks a configuration. The error tells all that is wrong with it.
func New(cfg Config) (*Simulation, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Simulation{cfg: cfg}, nil
}

// Config is the configuration with its defaults filled in.
func (s *Simulation) Config() Config { return s.cfg }

// Company describes one simulated tenant. Its events carry Index+1 as company
// and as site until somebody gives them the ids of real ones.
type Company struct {
	Index     int
	Name      string
	Zone      string
	Users     int
	Computers int
}

// Companies describes all of them, in order.
func (s *Simulation) Companies() []Company {
	out := make([]Company, s.cfg.Companies)
	for i := range out {
		c := newCompany(&s.cfg, i)
		out[i] = Company{Index: i, Name: c.name, Zone: c.place.zone, Users: len(c.people), Computers: len(c.machines)}
	}
	return out
}

// Events hands over every event of every company in the order of delivery,
// until yield says false. The event is valid during the call only.
func (s *Simulation) Events(yield func(*event.Event) bool) { s.Walk(nil, yield) }

// Walk is [Simulation.Events] that counts into stats as it goes; nil: it does not.
func (s *Simulation) Walk(stats *Stats, yield func(*event.Event) bool) {
	if stats == nil {
		stats = &Stats{}
	}
	q := make(companyHeap, 0, s.cfg.Companies)
	for i := range s.cfg.Companies {
		c := newCompany(&s.cfg, i)
		if c.head() != nil {
			q = append(q, c)
		}
	}
	heap.Init(&q)
	var e event.Event
	for len(q) > 0 {
		if s.cfg.Events > 0 && stats.Events >= s.cfg.Events {
			return
		}
		c := q[0]
		r := c.head()
		c.fill(r, &e)
		stats.add(&e, r.flags&flagRepeat != 0)
		c.at.next++
		if c.head() == nil {
			heap.Pop(&q)
		} else {
			heap.Fix(&q, 0)
		}
		if !yield(&e) {
			return
		}
	}
}

// Company walks one company's events in the order of delivery, whatever
// [Config.Events] says. They are the same as in [Simulation.Events]; several
// companies can be walked at the same time.
func (s *Simulation) Company(index int) iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		c := newCompany(&s.cfg, index)
		var e event.Event
		for r := c.head(); r != nil; r = c.head() {
			c.fill(r, &e)
			c.at.next++
			if !yield(&e) {
				return
			}
		}
	}
}

// companyHeap orders companies by what each delivers next.
type companyHeap []*company

func (h companyHeap) Len() int { return len(h) }

func (h companyHeap) Less(i, j int) bool {
	a, b := h[i].at.out[h[i].at.next].deliver, h[j].at.out[h[j].at.next].deliver
	if a != b {
		return a < b
	}
	return h[i].index < h[j].index
}

func (h companyHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *companyHeap) Push(x any) { *h = append(*h, x.(*company)) } //nolint:forcetypeassert // ours alone

// Pop is for container/heap.
func (h *companyHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}
