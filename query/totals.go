package query

import (
	"cmp"
	"context"
	_ "embed" // the statement
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"gatehouse/event"
)

//go:embed totals.sql
var totalsSQL string

// TotalsSpec is the totals report's parameters.
var TotalsSpec = &Spec{Name: "totals", Params: common}

// MaxPeakSessions is how many sessions totals may find the peaks of: 32 bytes each. Beyond
// it a shorter range must be asked for.
const MaxPeakSessions = 4_000_000

// TotalsReport is a company in a few figures.
type TotalsReport struct {
	Header
	Events          uint64     `json:"events"`
	ActiveUsers     uint64     `json:"active_users"`
	ActiveComputers uint64     `json:"active_computers"`
	Computers       uint64     `json:"computers"`
	SignIns         uint64     `json:"sign_ins"`
	SignOffs        uint64     `json:"sign_offs"`
	Failures        uint64     `json:"failures"`
	PeakUsers       uint64     `json:"peak_users"` // signed in at one instant
	PeakUsersAt     *time.Time `json:"peak_users_at"`
	PeakSessions    uint64     `json:"peak_sessions"`
	PeakSessionsAt  *time.Time `json:"peak_sessions_at"`
	FirstEvent      *time.Time `json:"first_event"`
	LastEvent       *time.Time `json:"last_event"`
	// Rows are the events by type; types without an event are left out.
	Rows       []TypeCount `json:"rows"`
	NextCursor string      `json:"next_cursor,omitempty"`
}

// TypeCount is how many events there were of a type.
type TypeCount struct {
	Type   string `json:"type"`
	Events uint64 `json:"events"`

	order uint8
}

// Totals reports a company's figures for a range.
func (r *Reports) Totals(ctx context.Context, c Company, p Params) (*TotalsReport, error) {
	report := &TotalsReport{Header: r.header("totals", c, p), Rows: []TypeCount{}}
	// Two questions to two tables, each of which fills its own part: all events by type,
	// and the sessions. They are asked at once, since neither keeps both cores busy.
	parts, both := errgroup.WithContext(ctx)
	parts.Go(func() error { return r.totalsOfEvents(both, c, p, report) })
	parts.Go(func() error { return r.totalsOfSessions(both, c, p, report) })
	if err := parts.Wait(); err != nil {
		return nil, err
	}
	report.Rows, report.NextCursor = Page(p, report.Rows)
	return report, nil
}

// totalsOfEvents fills the figures that are counts of events.
func (r *Reports) totalsOfEvents(ctx context.Context, c Company, p Params, report *TotalsReport) error {
	computers := map[string]struct{}{}
	first, last := int64(math.MaxInt64), int64(0)
	lockouts := -1 // the place of their row
	w := where(c).during(p).matching(p)
	err := r.query(ctx, w.in(totalsSQL), w.args, func(q driver.Rows) error {
		var (
			typ              uint8
			events, ofPeople uint64
			names            []string
			from, to         int64
		)
		if err := q.Scan(&typ, &events, &ofPeople, &names, &from, &to); err != nil {
			return err
		}
		for _, name := range names {
			computers[name] = struct{}{}
		}
		first, last = min(first, from), max(last, to)
		report.Events += events
		switch event.Type(typ) {
		case event.LogonFailed:
			report.Failures = ofPeople
		case event.Lockout:
			lockouts = len(report.Rows)
		}
		report.Rows = append(report.Rows, TypeCount{Type: event.Type(typ).String(), Events: events, order: typ})
		return nil
	})
	if err != nil || report.Events == 0 {
		return err
	}
	if lockouts >= 0 {
		again, err := r.lockoutsToldAgain(ctx, c, p)
		if err != nil {
			return err
		}
		again = min(again, report.Rows[lockouts].Events) // more may have come meanwhile
		report.Events -= again
		report.Rows[lockouts].Events -= again
		report.Rows = slices.DeleteFunc(report.Rows, func(t TypeCount) bool { return t.Events == 0 })
	}
	report.Computers = uint64(len(computers))
	report.FirstEvent, report.LastEvent = p.local(first), p.local(last)
	slices.SortFunc(report.Rows, func(a, b TypeCount) int { return cmp.Compare(a.order, b.order) })
	return nil
}

// totalsOfSessions fills the figures that follow from what people did. Sessions are
// [start, end): one that ends where another begins does not overlap it.
func (r *Reports) totalsOfSessions(ctx context.Context, c Company, p Params, report *TotalsReport) error {
	from, to := p.From.UnixMilli(), p.To.UnixMilli()
	var sessions, people overlaps
	var person []interval
	user, active := "", ""
	computers := map[string]struct{}{}
	endPerson := func() {
		for _, i := range union(person) {
			people.add(i)
		}
		person = person[:0]
	}
	err := r.walkSessions(ctx, c, p, r.now().UnixMilli(), sessionVisitor{
		session: func(s *span) error {
			if s.user != user {
				endPerson()
				user = s.user
			}
			if s.signedIn && s.start >= from && s.start < to {
				report.SignIns++
			}
			if s.reason == "logoff" && s.until >= from && s.until < to {
				report.SignOffs++
			}
			if i := (interval{max(s.start, from), min(s.until, to)}); i.end > i.start {
				sessions.add(i)
				person = append(person, i)
			}
			if len(sessions.starts) > MaxPeakSessions {
				return event.FieldError("from", "the range holds more than %d sessions; ask for a shorter one, or for one site, user or computer", MaxPeakSessions)
			}
			return nil
		},
		track: func(user, computer string, marks []mark) { // person by person, too
			inside := func(m mark) bool { return m.time() >= from && m.time() < to && p.ofSite(m.site()) }
			if !slices.ContainsFunc(marks, inside) {
				return
			}
			computers[computer] = struct{}{}
			if user != active {
				active = user
				report.ActiveUsers++
			}
		},
	})
	if err != nil {
		return err
	}
	endPerson()
	report.ActiveComputers = uint64(len(computers))
	report.PeakUsers, report.PeakUsersAt = p.peak(&people)
	report.PeakSessions, report.PeakSessionsAt = p.peak(&sessions)
	return nil
}

// peak is the greatest number of intervals that hold one instant, and the first such;
// nil without intervals.
func (p Params) peak(list *overlaps) (uint64, *time.Time) {
	depth, at := list.deepest()
	if depth == 0 {
		return 0, nil
	}
	return uint64(depth), p.local(at) //nolint:gosec // above 0
}
