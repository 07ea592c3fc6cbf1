package ingest

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"gatehouse/event"
	"gatehouse/internal/refusal"
	"gatehouse/spool"
)

// Limits bounds what one request may bring. What lies beyond is answered with 413 and the limit.
type Limits struct {
	SingleBytes int   // body of /api/log_event
	BatchBytes  int   // body of /api/v1/events, packed and unpacked
	BatchEvents int   // records of /api/v1/events
	StoredBytes int   // what the events of one request take, as the spool gets them: no more than it takes at once
	OpenBytes   int64 // large bodies of all requests together, and what is decoded of them; beyond: 503, come again
}

// DefaultLimits are the limits without configuration.
var DefaultLimits = Limits{
	SingleBytes: 64 << 10,
	BatchBytes:  32 << 20,
	BatchEvents: 50_000,
	StoredBytes: 64 << 20,
	OpenBytes:   256 << 20,
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits
	if l.SingleBytes > 0 {
		d.SingleBytes = l.SingleBytes
	}
	if l.BatchBytes > 0 {
		d.BatchBytes = l.BatchBytes
	}
	if l.BatchEvents > 0 {
		d.BatchEvents = l.BatchEvents
	}
	if l.StoredBytes > 0 {
		d.StoredBytes = l.StoredBytes
	}
	if l.OpenBytes > 0 {
		d.OpenBytes = l.OpenBytes
	}
	return d
}

// Options of [NewIntake]. Spool and Keys are needed.
type Options struct {
	Spool    Appender
	Keys     Resolver
	Limiter  Limiter          // nil: no limits
	Internal InternalResolver // nil: the internal route takes ids alone
	Stored   Stored           // nil: local callers are not told what ClickHouse has
	Recent   *Recent          // nil: one of the default size
	Metrics  *Metrics         // nil: none
	Limits   Limits           // zero fields: the defaults
	// RetentionMonths is after how many months ClickHouse deletes events, 0 never. Older ones are refused: they
	// would be acknowledged and never be seen.
	RetentionMonths int

	// Store tells whether ClickHouse answers, for the agents' health check; nil: always.
	Store func(ctx context.Context) error
	// Ready is what /readyz asks: without it no events can be taken.
	Ready []Probe
	// Behind is what works behind the acknowledgement. /readyz tells of it, and is ready all the same.
	Behind []Probe
	// Detail is what /readyz says besides; nil: nothing.
	Detail func() map[string]string
	// ClientIP tells where a request comes from; nil is its connection's address.
	ClientIP func(r *http.Request) netip.Addr

	Clock func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: silent
}

// Intake serves the routes by which events come in. Make it with [NewIntake]; its
// methods may be called concurrently.
type Intake struct {
	spool    Appender
	keys     Resolver
	limiter  Limiter
	internal InternalResolver
	stored   Stored
	recent   *Recent
	metrics  *Metrics
	limits   Limits
	// events older than so many months are refused with expired; 0: none are
	retention int
	expired   *event.Error
	store     cachedProbe
	ready     []Probe
	behind    []Probe
	detail    func() map[string]string
	clientIP  func(r *http.Request) netip.Addr
	clock     func() time.Time
	log       *slog.Logger
	patience  patience
	open      budget
	refused   *refusal.Log
}

// NewIntake makes an Intake.
func NewIntake(o Options) (*Intake, error) {
	if o.Spool == nil || o.Keys == nil {
		return nil, errors.New("ingest: an intake needs a spool and a resolver of keys")
	}
	in := &Intake{
		spool: o.Spool, keys: o.Keys, limiter: o.Limiter, internal: o.Internal, stored: o.Stored, recent: o.Recent,
		metrics: o.Metrics, limits: o.Limits.orDefault(), ready: o.Ready, behind: o.Behind, detail: o.Detail, clientIP: o.ClientIP, clock: o.Clock, log: o.Log,
	}
	in.retention, in.expired = o.RetentionMonths, errExpired(o.RetentionMonths)
	in.store.check = o.Store
	in.open.limit = in.limits.OpenBytes
	if in.internal == nil {
		in.internal = principalByID
	}
	if in.recent == nil {
		in.recent = NewRecent(DefaultRecent)
	}
	if in.metrics == nil {
		in.metrics = NewMetrics(nil, Gauges{})
	}
	if in.clientIP == nil {
		in.clientIP = remoteIP
	}
	if in.clock == nil {
		in.clock = time.Now
	}
	if in.log == nil {
		in.log = slog.New(slog.DiscardHandler)
	}
	in.refused = refusal.New(in.log, in.clock)
	return in, nil
}

// remoteIP is the address at the other end of the connection.
func remoteIP(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // a unix socket
	}
	return ap.Addr()
}

// principalByID is the InternalResolver that believes numbers.
func principalByID(_ context.Context, company, site string) (Principal, error) {
	c, err := strconv.ParseUint(company, 10, 32)
	if err != nil || c == 0 {
		return Principal{}, event.FieldError("company", "is not the number of a company")
	}
	s, err := strconv.ParseUint(site, 10, 32)
	if err != nil {
		return Principal{}, event.FieldError("site", "is not the number of a site")
	}
	return Principal{CompanyID: uint32(c), SiteID: uint32(s), Company: company, MayIngest: true}, nil
}

// codeTimeout is for a body that does not come; event has no code for it, since no other layer meets it.
const codeTimeout event.Code = "timeout"

func statusOf(code event.Code) int {
	if code == codeTimeout {
		return http.StatusRequestTimeout
	}
	return code.Status()
}

// How long clients are asked to wait before they come again.
const (
	retryBusy  = 1 * time.Second  // memory for large requests is short, keys cannot be checked
	retryFull  = 10 * time.Second // the spool is full: the store must come back first
	retryError = 2 * time.Second
)

// waitError is an error that says when to come again.
type waitError struct {
	err   *event.Error
	after time.Duration
}

func (e *waitError) Error() string { return e.err.Error() }
func (e *waitError) Unwrap() error { return e.err }

// retryAfter is the number for the header Retry-After, 0 for errors without.
func retryAfter(err error) int {
	var w *waitError
	switch {
	case errors.As(err, &w):
		return max(1, int(math.Ceil(w.after.Seconds())))
	case event.ErrorCode(err) == event.CodeUnavailable:
		return int(retryBusy.Seconds())
	}
	return 0
}

// admit asks the limiter. The answer's headers tell how the site stands with it; those of a single event only when it is refused, as such
// requests are too many to format three numbers for each.
func (in *Intake) admit(w http.ResponseWriter, r *http.Request, p *Principal, n int) error {
	if in.limiter == nil || n == 0 {
		return nil
	}
	a := in.limiter.Allow(r.Context(), p.CompanyID, p.SiteID, n)
	if a.Limit > 0 && (!a.OK || n > 1) {
		h := w.Header()
		h.Set("X-RateLimit-Limit", strconv.Itoa(a.Limit))
		h.Set("X-RateLimit-Remaining", strconv.Itoa(a.Remaining))
		h.Set("X-RateLimit-Reset", strconv.Itoa(int(math.Ceil(a.Reset.Seconds()))))
	}
	if a.OK {
		return nil
	}
	return &waitError{event.Errorf(event.CodeRateLimited, "too many events; wait before sending more"), a.Retry}
}

// take brings b's new events to the spool, all or none, and settles what became of each record.
func (in *Intake) take(ctx context.Context, b *batch) error {
	b.choose(in.recent)
	if b.exact {
		b.exact = in.dropStored(ctx, b) == nil
	}
	if len(b.records) > 0 {
		if _, err := in.spool.Append(in.patience.context(), b.records...); err != nil {
			return notTaken(err)
		}
	}
	b.settle(in.recent)
	return nil
}

// notTaken makes the caller's error of the spool's.
func notTaken(err error) error {
	switch {
	case errors.Is(err, spool.ErrFull):
		return &waitError{event.Wrap(event.CodeUnavailable, err, "the spool is full and nothing was taken; send it again later"), retryFull}
	case errors.Is(err, spool.ErrTooLarge):
		return event.Wrap(event.CodeTooLarge, err, "more than the spool takes at once, and nothing was taken; send less in one request")
	case errors.Is(err, spool.ErrClosed):
		return &waitError{event.Wrap(event.CodeUnavailable, err, "the server is shutting down and nothing was taken; send it again"), retryError}
	}
	return &waitError{event.Wrap(event.CodeUnavailable, err, "it is not certain that the events were stored; send them again, none will count twice"), retryError}
}
