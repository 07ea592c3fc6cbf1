package authsvc

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
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
	// ErrNetwork is the kind of error for a key that is right but comes from a network where it may not be used. The one that Resolve
	// returns names the address too: whoever has the key is its owner, who must learn why, or its thief, whom it tells nothing else.
	ErrNetwork = event.Errorf(event.CodeForbidden, "this API key may not be used from here")
	ErrStale   = event.Errorf(event.CodeUnavailable, "API keys cannot be checked at the moment, try again later")
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

	verified atomic.Pointer[time.Time] // when the last look that succeeded began
	failing  atomic.Bool               // the last look failed
	looks    atomic.Int64              // how often the database was asked

	mu   sync.Mutex
	next *look         // the look that those wait for who have come since the last one began; nil: nobody waits
	ask  chan struct{} // a look is wanted
	now  chan struct{} // and it is urgent

	warned atomic.Int64 // when a refusal by network was logged last, Unix milliseconds

	stop context.CancelFunc
	done sync.WaitGroup
}

// look is one look at the database, shared by all who wait for it.
type look struct{ ended chan struct{} }

// NewResolver reads all companies and keys, and keeps them fresh until Close.
func (s *Store) NewResolver(ctx context.Context, log *slog.Logger) (*Resolver, error) {
	r := &Resolver{store: s, log: log, ask: make(chan struct{}, 1), now: make(chan struct{}, 1)}
	if err := r.look(ctx); err != nil {
		return nil, fail(err, "read API keys")
	}
	s.watch(r)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	// Two loops: writing the counts may hang on a row that somebody has locked, and must not keep a revoked key working.
	r.done.Go(func() { r.keepFresh(background) })
	r.done.Go(func() { r.keepWriting(background) })
	return r, nil
}

// Close stops the refreshing and writes the counts that are still in memory.
func (r *Resolver) Close() error {
	r.store.unwatch(r)
	r.stop()
	r.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	return fail(r.Flush(ctx), "write the use of API keys")
}

func (r *Resolver) keepWriting(ctx context.Context) {
	every := time.NewTicker(flushEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			flushCtx, cancel := context.WithTimeout(ctx, flushTimeout)
			if err := r.Flush(flushCtx); err != nil && ctx.Err() == nil {
				r.log.Warn("the use of API keys could not be written and stays in memory", slog.Any("error", err))
			}
			cancel()
		}
	}
}

// keepFresh looks at the database every pollEvery, and in between when asked to: at once after a change by this process, else
// recheckEvery after the look before at the earliest.
func (r *Resolver) keepFresh(ctx context.Context) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		case <-r.now:
		case <-r.ask:
			select {
			case <-ctx.Done():
				return
			case <-pause.C:
			case <-r.now:
			}
		}
		pause.Reset(recheckEvery)
		_ = r.look(ctx) // it logs by itself, and there is nobody else to tell
	}
}

// await waits until a look has ended that begins after this call. It waits no longer than such a look may take, and not for
// a second one: a database that hangs holds up no caller for longer than that.
func (r *Resolver) await(ctx context.Context, wanted chan struct{}) error {
	r.mu.Lock()
	if r.next == nil {
		r.next = &look{make(chan struct{})}
	}
	l := r.next
	r.mu.Unlock()
	select {
	case wanted <- struct{}{}:
	default: // it has been asked for already
	}
	limit := time.NewTimer(pollTimeout)
	defer limit.Stop()
	select {
	case <-l.ended:
	case <-limit.C:
	case <-ctx.Done():
		return event.Wrap(event.CodeUnavailable, ctx.Err(), "the request was given up")
	}
	return nil
}

// begin takes the look that others wait for; end lets them go on.
func (r *Resolver) begin() *look {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.next
	r.next = nil
	return l
}

func (l *look) end() {
	if l != nil {
		close(l.ended)
	}
}

// look asks the database for news. It reports failure and recovery once each. One at a time: only keepFresh calls it, and NewResolver
// before that.
func (r *Resolver) look(ctx context.Context) error {
	shared := r.begin()
	defer shared.end()
	began := r.store.now()
	r.looks.Add(1)
	if err := r.refresh(ctx); err != nil {
		if !errors.Is(err, context.Canceled) && !r.failing.Swap(true) {
			r.log.Warn("API keys cannot be refreshed from the database; answering from memory", slog.Any("error", err), slog.Duration("for_at_most", maxStale))
		}
		// Whoever came while this one hung gets what it found, instead of a wait for the next.
		r.begin().end()
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
	_ = r.await(context.WithoutCancel(ctx), r.now)
}

// Age is how long ago the database confirmed what is in memory. Readiness checks show it.
func (r *Resolver) Age() time.Duration {
	return max(0, r.store.now().Sub(*r.verified.Load()))
}

// Resolve tells whom the key speaks for when it comes from an address: ErrNoKey, ErrInvalidKey, ErrKeyDisabled (disabled, expired, or
// its company is), an error of the kind ErrNetwork, or ErrStale when it cannot. It costs one hash and one look into a map. Before a
// refusal the database is looked at, so that a key made a moment ago by another process works at its first use. Waiting requests
// share one look, and there is one per recheckEvery at most: a flood of wrong keys costs the database no more than ten small reads a
// second.
func (r *Resolver) Resolve(ctx context.Context, key string, from netip.Addr) (Principal, error) {
	if key == "" {
		return Principal{}, ErrNoKey
	}
	if !token.APIKey.WellFormed(key) {
		return Principal{}, ErrInvalidKey
	}
	hash := token.Hash(key)
	p, _, err := r.lookup(hash, from)
	if err == nil || errors.Is(err, ErrStale) {
		return p, err
	}
	// While the database does not answer, the answer from memory is the best there is.
	if !r.failing.Load() {
		if err := r.await(ctx, r.ask); err != nil {
			return Principal{}, err
		}
	}
	p, site, err := r.lookup(hash, from)
	if errors.Is(err, ErrNetwork) {
		r.foreign(ctx, site, from)
	}
	return p, err
}

// foreignEvery spaces the log lines about keys from wrong networks.
const foreignEvery = 10 * time.Second

// foreign notes a key that came from a network where it may not be used: it may be stolen.
func (r *Resolver) foreign(ctx context.Context, s *site, from netip.Addr) {
	r.recordRefused(s.usage)
	now, last := millis(r.store.now()), r.warned.Load()
	if now-last < foreignEvery.Milliseconds() && now >= last || !r.warned.CompareAndSwap(last, now) {
		return
	}
	r.log.WarnContext(ctx, "an API key was used from a network that is not allowed; is it stolen?",
		slog.Uint64("key_id", uint64(s.id)), slog.Uint64("company_id", uint64(s.companyID)), slog.String("from", from.String()))
}

func (r *Resolver) lookup(hash [32]byte, from netip.Addr) (Principal, *site, error) {
	if r.Age() > maxStale {
		return Principal{}, nil, ErrStale
	}
	snap := r.snap.Load()
	found := snap.keys[hash]
	if found.site == nil {
		return Principal{}, nil, ErrInvalidKey
	}
	site, now := found.site, r.store.now().UnixMilli()
	if found.until != 0 && found.until <= now {
		return Principal{}, nil, ErrInvalidKey // it has been exchanged for another
	}
	p, active := snap.principal(site)
	if !active || site.disabled || site.expires != 0 && site.expires <= now {
		return Principal{}, nil, ErrKeyDisabled
	}
	if !inNetworks(site.networks, from) {
		return Principal{}, site, networkError(from)
	}
	return p, nil, nil
}

// networkError is ErrNetwork with the address.
func networkError(from netip.Addr) error {
	if !from.IsValid() {
		return ErrNetwork
	}
	return event.Wrap(event.CodeForbidden, ErrNetwork, "this API key may not be used from "+from.Unmap().WithZone("").String())
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
