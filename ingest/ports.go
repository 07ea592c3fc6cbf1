package ingest

import (
	"context"
	"net/netip"
	"time"

	"gatehouse/event"
	"gatehouse/spool"
)

// Appender makes records durable. When Append returns nil all of them are on disk
// and will come out of the spool; spool.ErrFull and spool.ErrTooLarge mean that none
// is; after another error it is not known. It copies what it keeps: the records are
// reused after a nil error. Implemented by *spool.Spool.
type Appender interface {
	Append(ctx context.Context, records ...[]byte) (spool.Position, error)
}

// Principal is whom an API key speaks for.
type Principal struct {
	CompanyID uint32
	SiteID    uint32
	Company   string         // its name, the label of its metrics
	Location  *time.Location // of times without a zone; nil is UTC
	MayIngest bool           // the key has the scope to send events
}

// Resolver tells whom a key speaks for, from memory: it is asked for every request.
type Resolver interface {
	// Resolve gives the principal of key, which is "" when the request has none, for a
	// request that comes from an address. Its errors are *event.Error with the code
	// unauthorized and the contract's words (No API key provided, Invalid API key, API
	// key has been disabled), forbidden when the key may not be used from there, or
	// unavailable when keys cannot be checked at present.
	Resolve(ctx context.Context, key string, from netip.Addr) (Principal, error)
	// Used notes that a key was used: from where, by which client, by which version of
	// an agent as its events say (empty: they do not), for how many accepted events and
	// how many refused ones. It does no I/O, and keeps no text that it was given.
	Used(p Principal, from netip.Addr, agent, version string, accepted, refused int)
}

// Limiter bounds what a tenant sends: it says whether n records more may be taken now. It is asked once a request, after the
// records were counted and before any is stored.
type Limiter interface {
	Allow(ctx context.Context, company, site uint32, n int) Allowance
}

// Allowance is how a site stands with its limit. Limit 0: there is none.
type Allowance struct {
	OK        bool
	Limit     int           // records that a site can have saved up
	Remaining int           // of which so many are left
	Reset     time.Duration // until all of them are there again
	Retry     time.Duration // when not OK: until as many as were asked for
}

// Stored tells what ClickHouse has. Implemented by *Lookup.
type Stored interface {
	// Find calls found with the identities of those records that are in ClickHouse, and
	// perhaps with others. The records are as [Appender] takes them.
	Find(ctx context.Context, records [][]byte, found func(event.ID)) error
	// Table names the table of events: another name means that what was sent
	// before is not in it.
	Table(ctx context.Context) (string, error)
}

// InternalResolver finds the principal for whom a trusted local caller sends, by the
// company and site it names. Its errors are *event.Error.
type InternalResolver func(ctx context.Context, company, site string) (Principal, error)

// Probe is one thing that must work for the server to be ready. The error of Check
// is logged and never shown.
type Probe struct {
	Name  string
	Check func(ctx context.Context) error
}
