package main

import (
	"context"
	"fmt"
	"time"

	"gatehouse/authsvc/limit"
	"gatehouse/ingest"
)

// eventLimiter bounds the events a second of each site, over all servers that share a Redis. A site may save up for ten
// seconds, so that a batch is not refused for being one.
type eventLimiter struct{ sites *limit.Leases }

const limiterBurst = 10

// newEventLimiter makes the intake's limiter, none for a rate of 0. secret names the counters where they are shared.
func newEventLimiter(perSecond int, shared limit.Limiter, secret []byte) ingest.Limiter {
	if perSecond <= 0 {
		return nil
	}
	rate := limit.Rate{Count: perSecond * limiterBurst, Per: limiterBurst * time.Second}
	// Under another rate a site begins anew: raising it must free who is kept waiting by the former.
	return eventLimiter{limit.NewLeases(shared, secret, fmt.Sprint("events/", perSecond), rate, time.Now)}
}

// Allow takes n events from the site's allowance, all or none. What is larger than a
// site can ever save up passes when the allowance is full, and the next has to wait until all of it is paid off.
func (l eventLimiter) Allow(ctx context.Context, _, site uint32, n int) ingest.Allowance {
	r := l.sites.Take(ctx, site, n)
	return ingest.Allowance{OK: r.Allowed, Limit: r.Limit, Remaining: r.Remaining, Reset: r.Reset, Retry: r.Retry}
}
