package main

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/ingest"
)

// eventLimiter bounds the events a second of each site. A site may save up for ten
// seconds, so that a batch is not refused for being one.
type eventLimiter struct {
	perSecond int
	sites     sync.Map // uint32 → *rate.Limiter
}

const limiterBurst = 10

// newEventLimiter makes the intake's limiter, none for a rate of 0.
func newEventLimiter(perSecond int) ingest.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return &eventLimiter{perSecond: perSecond}
}

// Allow takes n events from the site's allowance, all or none. What is larger than a
// site can ever save up passes when the allowance is full, and uses all of it.
func (l *eventLimiter) Allow(_, site uint32, n int) (ok bool, retryAfter time.Duration) {
	v, found := l.sites.Load(site)
	if !found {
		v, _ = l.sites.LoadOrStore(site, rate.NewLimiter(rate.Limit(l.perSecond), l.perSecond*limiterBurst))
	}
	bucket, isBucket := v.(*rate.Limiter)
	if !isBucket {
		return true, 0 // the map holds nothing else
	}
	now := time.Now()
	r := bucket.ReserveN(now, min(n, bucket.Burst()))
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return false, wait
	}
	return true, 0
}
