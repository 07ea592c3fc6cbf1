package query

import (
	"context"
	_ "embed" // the statements
	"maps"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed firstlast.sql
var firstLastSQL string

//go:embed firstlast_events.sql
var firstLastEventsSQL string

//go:embed firstlast_events_sids.sql
var firstLastEventsOfSIDsSQL string

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
	people, err := r.namesOfSIDs(ctx, sessionArgs(c, p))
	if err != nil {
		return nil, err
	}
	w, events := where(c).during(p).matching(p), firstLastEventsSQL
	if len(people) > 0 { // then who asks for one person asks for that person's SIDs as well
		w, events = firstLastOfSIDs(c, p), strings.ReplaceAll(firstLastEventsOfSIDsSQL, "/*sid names*/", sidNamesSQL)
	}
	w.pageArgs(p).args["bounds"] = bounds
	var rows []FirstLastRow
	err = r.query(ctx, strings.ReplaceAll(firstLastSQL, "/*events*/", w.in(events)), w.args, func(q driver.Rows) error {
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

// firstLastOfSIDs are the conditions and values of firstlast_events_sids.sql. The events
// at the edges are read with those around them that they may tell again.
func firstLastOfSIDs(c Company, p Params) *conditions {
	sites := []uint32{} // of all
	if p.Site != nil {
		sites = append(sites, *p.Site)
	}
	wide := p
	wide.User, wide.Site = "", nil
	w := where(c).matching(wide).add("time >= fromUnixTimestamp64Milli({from:Int64} - {again:Int64}, 'UTC') AND time < fromUnixTimestamp64Milli({to:Int64} + {again:Int64}, 'UTC')",
		"from", p.From, "to", p.To, "again", toldAgainWithin.Milliseconds(), "user", p.User, "sites", sites)
	maps.Copy(w.args, sessionArgs(c, p).only("company", "computer", "lo", "hi"))
	return w
}

// localOrNil is local for a time that may be missing: the store gives 0 then,
// which no event has.
func (p Params) localOrNil(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	return p.local(ms)
}
