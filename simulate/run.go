package simulate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/event"
)

// Sink takes events of one company. Send returns when they are safe there; it
// must not keep the slice. It is called from several goroutines at a time.
type Sink interface {
	Send(ctx context.Context, c Company, events []event.Event) (Result, error)
}

// Options say how [Simulation.Run] sends.
type Options struct {
	Batch       int     // events a request; 0: 1,000
	Connections int     // requests at a time; 0: 4
	Rate        float64 // events a second at most; 0: as fast as they are taken
	Progress    func(sent int64)
}

// Outcome tells what a run did.
type Outcome struct {
	Stats
	Result
	Elapsed time.Duration
}

// Write hands every event to w in the order of delivery.
func (s *Simulation) Write(ctx context.Context, w *Writer, o Options) (Outcome, error) {
	var out Outcome
	begin := time.Now()
	var failed error
	pace := newPacer(o.Rate)
	s.Walk(&out.Stats, func(e *event.Event) bool {
		if out.Events&0xff == 1 {
			if failed = ctx.Err(); failed != nil {
				return false
			}
		}
		if failed = pace.wait(ctx, 1); failed != nil {
			return false
		}
		if failed = w.Write(e); failed != nil {
			return false
		}
		if o.Progress != nil {
			o.Progress(1)
		}
		return true
	})
	out.Elapsed = time.Since(begin)
	return out, failed
}

// parcel is a batch of one company's events on its way.
type parcel struct {
	company Company
	events  []event.Event
}

// Run sends every event to the sink, each company's in batches of its own. It
// stops at the first error.
func (s *Simulation) Run(ctx context.Context, sink Sink, o Options) (Outcome, error) {
	if o.Batch <= 0 {
		o.Batch = 1000
	}
	if o.Connections <= 0 {
		o.Connections = 4
	}
	begin := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan parcel)
	// Batches are reused: of each there is one being filled by company, one for
	// each connection, and one waiting.
	free := sync.Pool{New: func() any { return make([]event.Event, 0, o.Batch) }}
	var out Outcome
	var mu sync.Mutex
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range o.Connections {
		wg.Go(func() {
			for p := range work {
				r, err := sink.Send(ctx, p.company, p.events)
				mu.Lock()
				out.Result.add(r)
				mu.Unlock()
				if err != nil {
					cancel(err)
					return
				}
				if o.Progress != nil {
					o.Progress(int64(len(p.events)))
				}
				sent.Add(int64(len(p.events)))
				free.Put(p.events[:0]) //nolint:staticcheck // a slice header a batch is nothing beside the batch
			}
		})
	}
	stats, err := s.feed(ctx, work, o, func() []event.Event { return free.Get().([]event.Event) }) //nolint:forcetypeassert // ours alone
	close(work)
	wg.Wait()
	out.Stats = stats
	out.Elapsed = time.Since(begin)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return out, err
}

// feed cuts the events into parcels. Waiting batches are bounded in number and
// therefore in memory: beyond it the oldest goes out before it is full.
func (s *Simulation) feed(ctx context.Context, work chan<- parcel, o Options, fresh func() []event.Event) (Stats, error) {
	companies := s.Companies()
	open := make([][]event.Event, len(companies))
	var stats Stats
	pace := newPacer(o.Rate)
	post := func(i int) bool {
		if len(open[i]) == 0 {
			return true
		}
		if pace.wait(ctx, len(open[i])) != nil {
			return false
		}
		select {
		case work <- parcel{companies[i], open[i]}:
			open[i] = nil
			return true
		case <-ctx.Done():
			return false
		}
	}
	held, oldest := 0, 0
	ok := true
	s.Walk(&stats, func(e *event.Event) bool {
		i := int(e.CompanyID - 1)
		if open[i] == nil {
			open[i] = fresh()
		}
		open[i] = append(open[i], *e)
		held++
		if len(open[i]) == o.Batch {
			held -= len(open[i])
			ok = post(i)
		}
		for ok && held > maxHeld {
			held -= len(open[oldest])
			ok = post(oldest)
			oldest = (oldest + 1) % len(open)
		}
		return ok
	})
	for i := range open {
		ok = ok && post(i)
	}
	if !ok {
		return stats, fmt.Errorf("simulate: stopped: %w", errors.Join(ctx.Err()))
	}
	return stats, nil
}

// maxHeld bounds the events that wait for their batch to fill, over all companies.
const maxHeld = 200_000

// pacer keeps to a rate of events a second.
type pacer struct {
	rate  float64
	begin time.Time
	n     int64
}

func newPacer(rate float64) *pacer { return &pacer{rate: rate, begin: time.Now()} }

// wait returns when n more events may go.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return nil
	}
	p.n += int64(n)
	due := p.begin.Add(time.Duration(float64(p.n) / p.rate * float64(time.Second)))
	d := time.Until(due)
	if d < time.Millisecond {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
