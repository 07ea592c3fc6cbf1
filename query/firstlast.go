package query

import (
	"context"
	_ "embed" // the statement
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed firstlast.sql
var firstLastSQL string

// FirstLastSpec is the first-last report's parameters.
var FirstLastSpec = &Spec{Name: "first-last", Params: common}

// FirstLastReport says when people's days began and ended, by their events.
type FirstLastReport struct {
	Header
	Rows       []FirstLastRow `json:"rows"`
	NextCursor string         `json:"next_cursor,omitempty"`
}

// FirstLastRow is one person's local day. FirstLogon, LastLogon and LastLogoff are
// null on a day without one; FirstSeen and LastSeen take unlocking, locking,
// connecting and disconnecting into account too.
type FirstLastRow struct {
	Day           string     `json:"day"`
	User          string     `json:"user"`
	FirstLogon    *time.Time `json:"first_logon"`
	LastLogon     *time.Time `json:"last_logon"`
	LastLogoff    *time.Time `json:"last_logoff"`
	FirstSeen     time.Time  `json:"first_seen"`
	LastSeen      time.Time  `json:"last_seen"`
	FirstComputer string     `json:"first_computer"`
	LastComputer  string     `json:"last_computer"`
	Computers     uint64     `json:"computers"`
	Events        uint64     `json:"events"`
}

// FirstLast reports the first and last logon and presence of each person on each local day.
func (r *Reports) FirstLast(ctx context.Context, c Company, p Params) (*FirstLastReport, error) {
	report := &FirstLastReport{Header: r.header("first-last", c, p)}
	days := Days(p.From, p.To, p.Zone())
	dates := make(map[int64]string, len(days))
	bounds := make([]int64, len(days))
	for i, d := range days {
		bounds[i], dates[d.Start] = d.Start, d.Date
	}
	w := where(c).during(p).matching(p).pageArgs(p).tellingOnce(p)
	w.args["bounds"] = bounds
	var rows []FirstLastRow
	err := r.query(ctx, tellingOnce(w.in(firstLastSQL)), w.args, func(q driver.Rows) error {
		var (
			row                                                         FirstLastRow
			name                                                        string
			day, firstLogon, lastLogon, lastLogoff, firstSeen, lastSeen int64
		)
		err := q.Scan(&day, &name, &row.User, &row.Events, &row.Computers, &firstLogon, &lastLogon, &lastLogoff,
			&firstSeen, &lastSeen, &row.FirstComputer, &row.LastComputer)
		if err != nil {
			return err
		}
		row.Day = dates[day]
		row.FirstLogon, row.LastLogon, row.LastLogoff = p.localOrNil(firstLogon), p.localOrNil(lastLogon), p.localOrNil(lastLogoff)
		row.FirstSeen, row.LastSeen = *p.local(firstSeen), *p.local(lastSeen)
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	report.Rows, report.NextCursor = nextPage(p, rows)
	return report, nil
}

// localOrNil is local for a time that may be missing: the store gives 0 then,
// which no event has.
func (p Params) localOrNil(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	return p.local(ms)
}
