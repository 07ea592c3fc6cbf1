package query

import (
	"context"
	_ "embed" // the statement
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"gatehouse/event"
)

//go:embed totals.sql
var totalsSQL string

// TotalsSpec is the totals report's parameters.
var TotalsSpec = &Spec{Name: "totals", Params: []string{"company", "tz", "format", "from", "to", "site", "user", "computer"}}

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
	Rows []TypeCount `json:"rows"`
}

// TypeCount is how many events there were of a type.
type TypeCount struct {
	Type   string `json:"type"`
	Events uint64 `json:"events"`
}

// Totals reports a company's figures for a range.
func (r *Reports) Totals(ctx context.Context, c Company, p Params) (*TotalsReport, error) {
	report := &TotalsReport{Header: r.header("totals", c, p), Rows: []TypeCount{}}
	// Counts come from events and peaks from sessions, which read another table: two
	// questions, asked at once, since neither keeps both cores busy.
	var peak Peak
	parts, both := errgroup.WithContext(ctx)
	parts.Go(func() error { return r.totalsOfEvents(both, c, p, report) })
	parts.Go(func() (err error) {
		peak, err = r.peakConcurrency(both, c, p)
		return err
	})
	if err := parts.Wait(); err != nil {
		return nil, err
	}
	if peak.People > 0 {
		report.PeakUsers, report.PeakUsersAt = uint64(peak.People), &peak.PeopleAt
	}
	if peak.Sessions > 0 {
		report.PeakSessions, report.PeakSessionsAt = uint64(peak.Sessions), &peak.SessionsAt
	}
	return report, nil
}

// totalsOfEvents fills the figures that are counts of events.
func (r *Reports) totalsOfEvents(ctx context.Context, c Company, p Params, report *TotalsReport) error {
	w := where(c).during(p).matching(p).tellingOnce(p)
	return r.query(ctx, tellingOnce(w.in(totalsSQL)), w.args, func(q driver.Rows) error {
		var (
			first, last int64
			byType      map[uint8]uint64
		)
		err := q.Scan(&report.Events, &report.ActiveUsers, &report.ActiveComputers, &report.Computers, &report.SignIns, &report.SignOffs,
			&report.Failures, &first, &last, &byType)
		if err != nil || report.Events == 0 {
			return err
		}
		report.FirstEvent, report.LastEvent = p.local(first), p.local(last)
		for _, t := range event.Types() {
			if n := byType[uint8(t)]; n > 0 {
				report.Rows = append(report.Rows, TypeCount{Type: t.String(), Events: n})
			}
		}
		return nil
	})
}
