package ingest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// appendPatience is how long the disk may take, at least. Then requests are answered with 503, so that they do
	// not pile up in memory behind a disk that hangs.
	appendPatience = 30 * time.Second
	// patienceTurn is how long requests that come one after the other share a context, and so by how much longer some
	// of them wait. A context with a timer for each costs as much as a fiftieth of a request.
	patienceTurn = 5 * time.Second
)

// patience gives the contexts under which the spool is waited for. They are not the requests' own: a client that goes away
// must not leave it open whether its events were taken. The zero value is ready.
type patience struct {
	mu  sync.Mutex
	now atomic.Pointer[context.Context]
}

// context ends between appendPatience and patienceTurn more from now.
func (p *patience) context() context.Context {
	if ctx := p.now.Load(); ctx != nil {
		return *ctx
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx := p.now.Load(); ctx != nil {
		return *ctx
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(patienceTurn, func() { p.now.Store(nil) })
	time.AfterFunc(patienceTurn+appendPatience, cancel)
	p.now.Store(&ctx)
	return ctx
}
