package authsvc

import "time"

// Looks is how often the database was asked for news.
func (r *Resolver) Looks() int64 { return r.looks.Load() }

// LooksWithin is how many looks there may be in a time: those of the poll and those for refusals.
func LooksWithin(d time.Duration) int64 { return int64(d/recheckEvery) + int64(d/pollEvery) + 3 }

// How often counts of use are written, and how long that may take.
const (
	FlushEvery   = flushEvery
	FlushTimeout = flushTimeout
)
