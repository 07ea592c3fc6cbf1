package authsvc

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"gatehouse/authsvc/token"
	"gatehouse/event"
)

// How fresh the answers are. A change made by this process counts at once. One made elsewhere (the command line, another
// server on the same database) is seen within pollEvery plus the time of one read, well inside the two seconds in which a
// revoked key must stop.
const (
	pollEvery = 250 * time.Millisecond
	// recheckEvery bounds how often refusals make the database be asked again, see Resolve.
	recheckEvery = 100 * time.Millisecond
	// pollTimeout bounds one look at the change stamp, so that a stuck database is noticed; loadTimeout the reading of what
	// has changed, which at a start is everything.
	pollTimeout = 2 * time.Second
	loadTimeout = time.Minute
	// maxStale is how long answers from memory are given while the database does not answer: long enough for a restart
	// or a failover. After it keys are neither accepted nor refused (CodeUnavailable, and clients come again),
	// because a key may have been revoked through a database that only this process cannot reach.
	maxStale = 2 * time.Minute
	// flushEvery is how long counts of use stay in memory; a crash loses no more than these.
	flushEvery = 3 * time.Second
	// flushTimeout bounds the writing of the counts.
	flushTimeout = 10 * time.Second
)

// What a key can be answered with instead of a Principal. The texts are those of the API's contract.
var (
	ErrNoKey       = event.Errorf(event.CodeUnauthorized, "No API key provided")
	ErrInvalidKey  = event.Errorf(event.CodeUnauthorized, "Invalid API key")
	ErrKeyDisabled = event.Errorf(event.CodeUnauthorized, "API key has been disabled")
	ErrStale       = event.Errorf(event.CodeUnavailable, "API keys cannot be checked at the moment, try again later")
)

// Principal is whom a key speaks for.
type Principal struct {
	CompanyID   uint32
	CompanyName string
	SiteID      uint32
	SiteName    string
	Scopes      Scopes
	Timezone    string
	Location    *time.Location
	MaxSession  time.Duration
}

// Resolver answers from a copy of all companies and keys in memory, and keeps counts of their use. The copy is replaced as a
// whole when the database's change stamp has moved, so readers take no lock. Make one per process and Close it.
type Resolver struct {
	store *Store
	log   *slog.Logger
	snap  atomic.Pointer[snapshot]

	looking  chan struct{}             // a lock that can be waited for under a context: one look at the database at a time
	began    atomic.Pointer[time.Time] // when the last look began
	verified atomic.Pointer[time.Time] // when the last look that succeeded began
	failing  atomic.Bool               // the last look failed
	looks    atomic.Int64              // how often the database was asked

	stop context.CancelFunc
	done chan struct{}
}

// NewResolver reads all companies and keys, and keeps them fresh until Close.
func (s *Store) NewResolver(ctx context.Context, log *slog.Logger) (*Resolver, error) {
	r := &Resolver{store: s, log: log, looking: make(chan struct{}, 1), done: make(chan struct{})}
	if err := r.look(ctx, s.now()); err != nil {
		return nil, fail(err, "read API keys")
	}
	s.watch(r)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	go r.run(background)
	return r, nil
}

// Close stops the refreshing and writes the counts that are still in memory.
func (r *Resolver) Close() error {
	r.store.unwatch(r)
	r.stop()
	<-r.done
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	return fail(r.Flush(ctx), "write the use of API keys")
}

func (r *Resolver) run(ctx context.Context) {
	defer close(r.done)
	poll, flush := time.NewTicker(pollEvery), time.NewTicker(flushEvery)
	defer poll.Stop()
	defer flush.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			_ = r.look(ctx, r.store.now()) // it logs by itself, and there is nobody else to tell
		case <-flush.C:
			flushCtx, cancel := context.WithTimeout(ctx, flushTimeout)
			if err := r.Flush(flushCtx); err != nil && ctx.Err() == nil {
				r.log.Warn("the use of API keys could not be written and stays in memory", slog.Any("error", err))
			}
			cancel()
		}
	}
}

// look asks the database for news, unless a look that began after notBefore has done so. It reports failure and
// recovery once each.
func (r *Resolver) look(ctx context.Context, notBefore time.Time) error {
	select {
	case r.looking <- struct{}{}:
		defer func() { <-r.looking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if last := r.verified.Load(); last != nil && last.After(notBefore) {
		return nil
	}
	began := r.store.now()
	r.began.Store(&began)
	r.looks.Add(1)
	if err := r.refresh(ctx); err != nil {
		if !errors.Is(err, context.Canceled) && !r.failing.Swap(true) {
			r.log.Warn("API keys cannot be refreshed from the database; answering from memory", slog.Any("error", err), slog.Duration("for_at_most", maxStale))
		}
		return err
	}
	r.verified.Store(&began)
	if r.failing.Swap(false) {
		r.log.Info("API keys are refreshed from the database again")
	}
	return nil
}

// refresh replaces the copy when the change stamp has moved. Only look calls it.
func (r *Resolver) refresh(ctx context.Context) error {
	old := r.snap.Load()
	var revision int64
	stamp, cancel := context.WithTimeout(ctx, pollTimeout)
	err := r.store.db.QueryRow(stamp, readDirectory).Scan(&revision)
	cancel()
	if err != nil {
		return err
	}
	if old != nil && revision == old.revision {
		return nil
	}
	ctx, cancel = context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	next, err := r.store.load(ctx, revision, old)
	if err != nil {
		return err
	}
	r.snap.Store(next)
	return nil
}

// changed is called after a change by this process.
func (r *Resolver) changed(ctx context.Context) {
	// The change is in the database whatever becomes of the caller, so its cancellation must not hide it here. A failure
	// is logged by look, and the next poll tries again.
	_ = r.look(context.WithoutCancel(ctx), r.store.now())
}

// Age is how long ago the database confirmed what is in memory. Readiness checks show it.
func (r *Resolver) Age() time.Duration {
	return max(0, r.store.now().Sub(*r.verified.Load()))
}

// Resolve tells whom the key speaks for: ErrNoKey, ErrInvalidKey, ErrKeyDisabled (disabled, expired, or its company is) or
// ErrStale when it cannot. It costs one hash and one look into a map. Before a refusal the database is looked at, so that a
// key made a moment ago by another process works at its first use. Waiting requests share one look, and there is one per
// recheckEvery at most: a flood of wrong keys costs the database no more than ten small reads a second.
func (r *Resolver) Resolve(ctx context.Context, key string) (Principal, error) {
	if key == "" {
		return Principal{}, ErrNoKey
	}
	if !token.APIKey.WellFormed(key) {
		return Principal{}, ErrInvalidKey
	}
	hash := token.Hash(key)
	p, err := r.lookup(hash)
	if err == nil || errors.Is(err, ErrStale) {
		return p, err
	}
	if err := r.waitForLook(ctx); err != nil {
		return Principal{}, err
	}
	return r.lookup(hash)
}

// waitForLook returns when a look at the database that began after this call has ended. While the database does not answer it
// returns at once: the answer from memory is the best there is.
func (r *Resolver) waitForLook(ctx context.Context) error {
	if r.failing.Load() {
		return nil
	}
	called := r.store.now()
	if wait := recheckEvery - called.Sub(*r.began.Load()); wait > 0 {
		timer := time.NewTimer(min(wait, recheckEvery))
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return event.Wrap(event.CodeUnavailable, ctx.Err(), "the request was given up")
		case <-timer.C:
		}
	}
	// Others wait for the same look, so it does not end with this caller's request; a failure is logged and shows in failing.
	_ = r.look(context.WithoutCancel(ctx), called)
	return nil
}

func (r *Resolver) lookup(hash [32]byte) (Principal, error) {
	if r.Age() > maxStale {
		return Principal{}, ErrStale
	}
	snap := r.snap.Load()
	site := snap.keys[hash]
	if site == nil {
		return Principal{}, ErrInvalidKey
	}
	p, active := snap.principal(site)
	if !active || site.disabled || site.expires != 0 && site.expires <= r.store.now().UnixMilli() {
		return Principal{}, ErrKeyDisabled
	}
	return p, nil
}

// Company finds an active or disabled company by id, in memory.
func (r *Resolver) Company(companyID uint32) (Company, error) {
	if c := r.snap.Load().companies[companyID]; c != nil {
		return *c, nil
	}
	return Company{}, noCompany(companyID)
}

// Companies lists all companies by id, in memory. For operators: it is the list of all tenants.
func (r *Resolver) Companies() []Company { return r.snap.Load().list() }

// Site is the name of one site of a company, also of a revoked one, in memory.
func (r *Resolver) Site(companyID, siteID uint32) (string, error) {
	if s := r.snap.Load().sites[siteID]; s != nil && s.companyID == companyID {
		return s.name, nil
	}
	return "", event.Errorf(event.CodeNotFound, "there is no site with id %d", siteID)
}
