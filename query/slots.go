package query

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"gatehouse/event"
)

// slotWait is how long a question waits for a connection. Then whoever asked is told to come again.
const slotWait = 15 * time.Second

// slots are the connections to the event store. A report that asks two questions side by side, and needs the answer of one to
// read the other's, takes both connections at once: whoever held one and waited for a second would stop everybody, once
// there are as many of them as connections.
type slots struct {
	free *semaphore.Weighted
	most int64
}

func newSlots(connections int) slots {
	most := int64(max(1, connections))
	return slots{semaphore.NewWeighted(most), most}
}

// slotsTaken marks a context whose holder has the slots for what is asked under it.
type slotsTaken struct{}

// take waits for n connections, and gives the context under which they are used.
func (s slots) take(ctx context.Context, n int64) (_ context.Context, release func(), err error) {
	if ctx.Value(slotsTaken{}) != nil {
		return ctx, func() {}, nil
	}
	patience, cancel := context.WithTimeout(ctx, slotWait)
	defer cancel()
	if err := s.free.Acquire(patience, n); err != nil {
		if ctx.Err() != nil {
			return ctx, nil, ctx.Err()
		}
		return ctx, nil, event.Wrap(event.CodeUnavailable, err, "too many reports run at the moment, try again later")
	}
	return context.WithValue(ctx, slotsTaken{}, true), func() { s.free.Release(n) }, nil
}
