package query

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

// DefaultTimeout bounds one statement of a report. Beyond it the statement is
// cancelled in the database and the caller is told to narrow the range.
const DefaultTimeout = 60 * time.Second

// Company is the tenant that a report is about, with what its reports need to
// know of it.
type Company struct {
	ID         uint32
	Name       string
	Location   *time.Location // whose days and hours are meant; nil means UTC
	MaxSession time.Duration  // a session that nothing ends is over this long after its last event; 0 means 24 h
}

// Zone is the company's time zone, never nil.
func (c Company) Zone() *time.Location {
	if c.Location == nil {
		return time.UTC
	}
	return c.Location
}

// Options are what Reports may be told. The zero value is usable.
type Options struct {
	Now     func() time.Time // nil: the system's clock
	Timeout time.Duration    // of one statement; 0: DefaultTimeout
	// SiteNames gives the names of a company's sites by id, for display. It
	// may be nil, and a site that it does not name is shown by its number.
	SiteNames func(ctx context.Context, company uint32) (map[uint32]string, error)
}

// Reports runs reports on a ClickHouse connection whose default database is
// Gatehouse's. It is safe for concurrent use.
type Reports struct {
	conn      driver.Conn
	conns     slots
	now       func() time.Time
	timeout   time.Duration
	siteNames func(ctx context.Context, company uint32) (map[uint32]string, error)
}

// New makes Reports. It does not close conn.
func New(conn driver.Conn, o Options) *Reports {
	connections := 1
	if conn != nil { // it may be nil where no report is run
		connections = conn.Stats().MaxOpenConns
	}
	r := &Reports{conn: conn, conns: newSlots(connections), now: o.Now, timeout: o.Timeout, siteNames: o.SiteNames}
	if r.now == nil {
		r.now = time.Now
	}
	if r.timeout <= 0 {
		r.timeout = DefaultTimeout
	}
	return r
}

// Header is the part that every report begins with.
type Header struct {
	Report      string    `json:"report"`
	Company     string    `json:"company"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	TZ          string    `json:"tz"`
	GeneratedAt time.Time `json:"generated_at"`
}

// header fills a Header for a report over p's range.
func (r *Reports) header(report string, c Company, p Params) Header {
	return Header{
		Report: report, Company: c.Name, From: p.From.In(p.Zone()), To: p.To.In(p.Zone()),
		TZ: p.Zone().String(), GeneratedAt: r.now().In(p.Zone()).Truncate(time.Millisecond),
	}
}

// args are the values bound to the {name:Type} places of a statement. Times
// are bound as Unix milliseconds (declare them Int64).
type args map[string]any

// begin gives the context under which a statement runs with bound values, on a connection and within its time, until done is called.
func (r *Reports) begin(ctx context.Context, a args) (_ context.Context, done func(), err error) {
	bound, err := a.bind()
	if err != nil {
		return nil, nil, event.Wrap(event.CodeInternal, err, "internal error")
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	ctx, release, err := r.conns.take(ctx, 1)
	if err != nil {
		defer cancel()
		return nil, nil, queryError(ctx, err)
	}
	return clickhouse.Context(ctx, clickhouse.WithParameters(bound)), func() {
		release()
		cancel()
	}, nil
}

// query runs a statement with bound values and calls scan for each row.
func (r *Reports) query(ctx context.Context, sql string, a args, scan func(rows driver.Rows) error) (err error) {
	ctx, done, err := r.begin(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	rows, err := r.conn.Query(ctx, sql)
	if err != nil {
		return queryError(ctx, err)
	}
	defer func() {
		if cerr := rows.Close(); cerr != nil && err == nil {
			err = queryError(ctx, cerr)
		}
	}()
	for rows.Next() {
		if err := scan(rows); err != nil {
			if known := (*event.Error)(nil); errors.As(err, &known) {
				return err // it refuses what the row holds
			}
			// A column of another type than we believe: our fault.
			return event.Wrap(event.CodeInternal, fmt.Errorf("read row: %w", err), "internal error")
		}
	}
	if err := rows.Err(); err != nil {
		return queryError(ctx, err)
	}
	return nil
}

// ClickHouse error codes that mean "too much was asked", not "it is broken".
const (
	codeTimeoutExceeded    = 159
	codeTooSlow            = 160
	codeMemoryLimit        = 241
	codeTooManySimultan    = 202
	codeQueryWasCancelled  = 394
	codeCannotScheduleTask = 439
)

// queryError makes an error of the database one that a caller may see.
func queryError(ctx context.Context, err error) error {
	var known *event.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return err
	}
	const narrow = "the report took too long; ask for a shorter range or fewer rows"
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return event.Wrap(event.CodeUnavailable, err, narrow)
	}
	var ex *clickhouse.Exception
	if errors.As(err, &ex) {
		switch ex.Code {
		case codeTimeoutExceeded, codeTooSlow, codeQueryWasCancelled:
			return event.Wrap(event.CodeUnavailable, err, narrow)
		case codeMemoryLimit:
			return event.Wrap(event.CodeUnavailable, err, "the report needs more memory than is free now; ask for a shorter range, or try again later")
		case codeTooManySimultan, codeCannotScheduleTask:
			return event.Wrap(event.CodeUnavailable, err, "too many reports run at the moment, try again later")
		}
		return event.Wrap(event.CodeInternal, fmt.Errorf("report statement: %w", err), "internal error")
	}
	return event.Wrap(event.CodeUnavailable, err, "the event store does not answer at the moment, try again later")
}

// siteLabels gives the names of the company's sites; a failure to find them
// costs the names, not the report.
func (r *Reports) siteLabels(ctx context.Context, c Company) map[uint32]string {
	var names map[uint32]string
	if r.siteNames != nil {
		names, _ = r.siteNames(ctx, c.ID) // a report without them is better than none
	}
	out := maps.Clone(names)
	if out == nil {
		out = map[uint32]string{}
	}
	out[0] = importSite
	return out
}

// importSite is the name of the site of events that came by no key: those of "gatehouse import".
const importSite = "Import"
