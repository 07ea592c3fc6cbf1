package query

import (
	"context"
	_ "embed" // the statements
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed timespent_units.sql
var timeSpentUnitsSQL string

//go:embed timespent_total.sql
var timeSpentTotalSQL string

//go:embed timespent_daily.sql
var timeSpentDailySQL string

// TimeSpentSpec says what the time-spent report takes.
var TimeSpentSpec = &Spec{
	Name: "time-spent", Params: takes(common, []string{"group_by"}),
	GroupBy: []string{"user", "computer", "site", "company", "day"}, GroupDefault: []string{"user"}, GroupMany: true,
	DefaultLimit: DefaultLimit, MaxLimit: MaxLimit,
}

// TimeSpentRow is the time of one group. Fields that the grouping leaves out are absent.
type TimeSpentRow struct {
	Day              string    `json:"day,omitempty"` // local date
	User             string    `json:"user,omitempty"`
	Computer         string    `json:"computer,omitempty"`
	SiteID           uint32    `json:"site_id,omitempty"`
	Site             string    `json:"site,omitempty"`
	Users            uint64    `json:"users"`              // people in the group
	Sessions         uint64    `json:"sessions"`           // that touch the range, or the day
	InferredSessions uint64    `json:"inferred_sessions"`  // of these, whose end was not logged
	TotalSeconds     float64   `json:"total_seconds"`      // signed in, a person's overlaps counted once
	ActiveSeconds    float64   `json:"active_seconds"`     // of that, in at least one unpaused session
	PausedSeconds    float64   `json:"paused_seconds"`     // the rest of it
	SumSeconds       float64   `json:"sum_total_seconds"`  // plain sum over sessions
	SumActiveSeconds float64   `json:"sum_active_seconds"` //
	First            time.Time `json:"first"`              // begin of the first session, not before the range or day
	Last             time.Time `json:"last"`               // end of the last, not after it
}

// TimeSpentReport is the time spent, by group.
type TimeSpentReport struct {
	Header
	GroupBy    []string       `json:"group_by"`
	Rows       []TimeSpentRow `json:"rows"`
	NextCursor string         `json:"next_cursor,omitempty"`
}

// TimeSpent adds up sessions clipped to the range, per group. Within a group a
// person's overlapping sessions count once; people, and where the group is by
// computer or site a person's computers or sites, add up.
func (r *Reports) TimeSpent(ctx context.Context, c Company, p Params) (*TimeSpentReport, error) {
	limit := p.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	now := r.sessionNow(p)
	daily := p.Grouped("day")
	a := sessionArgs(c, p, now)
	a["by_user"], a["by_computer"], a["by_site"] = p.Grouped("user"), p.Grouped("computer"), p.Grouped("site")
	a["limit"], a["offset"] = limit+1, p.page.Offset
	tail := timeSpentTotalSQL
	var days map[int64]string
	if daily {
		tail = timeSpentDailySQL
		a["bounds"] = DayBounds(p.From, p.To, p.Zone())
		days = make(map[int64]string)
		for _, d := range Days(p.From, p.To, p.Zone()) {
			days[d.Start] = d.Date
		}
	}
	sites := map[uint32]string(nil)
	if p.Grouped("site") {
		sites = r.siteLabels(ctx, c)
	}
	out := &TimeSpentReport{Header: r.header("time-spent", c, p), GroupBy: p.GroupBy, Rows: make([]TimeSpentRow, 0, min(limit, 256))}
	err := r.query(ctx, sessionSQL+timeSpentUnitsSQL+tail+sessionSettings, a, func(row driver.Rows) error {
		var t TimeSpentRow
		var foldedUser, foldedComputer string
		var bucket, total, active, sum, sumActive, first, last int64
		if err := row.Scan(&bucket, &foldedUser, &foldedComputer, &t.SiteID, &t.User, &t.Computer, &t.Users, &t.Sessions, &t.InferredSessions,
			&total, &active, &sum, &sumActive, &first, &last); err != nil {
			return err
		}
		t.Day, t.Site = days[bucket], sites[t.SiteID]
		t.TotalSeconds, t.ActiveSeconds, t.PausedSeconds = seconds(total), seconds(active), seconds(total-active)
		t.SumSeconds, t.SumActiveSeconds = seconds(sum), seconds(sumActive)
		t.First, t.Last = time.UnixMilli(first).In(p.Zone()), time.UnixMilli(last).In(p.Zone())
		out.Rows = append(out.Rows, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(out.Rows) > limit {
		out.Rows = out.Rows[:limit:limit]
		out.NextCursor = p.cursor(page{Offset: p.page.Offset + limit, Now: now})
	}
	return out, nil
}

// peakTail walks the starts and ends of all sessions, clipped to the range.
// peak_people counts a person once however many sessions are open.
const peakTail = `,
edges AS (
    SELECT user, greatest(start, {from:Int64}) AS s, least(until, {to:Int64}) AS e FROM sessions
    WHERE start < {to:Int64} AND until > {from:Int64} AND until > start AND ({site:UInt32} = 0 OR site_id = {site:UInt32})
),
people AS (
    SELECT arrayJoin(arrayFilter((t, d, before) -> (d > 0) != (before > 0),
               arrayZip(marks, depth, arrayPopBack(arrayPushFront(depth, toInt64(0)))), depth, arrayPopBack(arrayPushFront(depth, toInt64(0))))) AS edge,
           arraySort(arrayConcat(groupArray(s * 2 + 1), groupArray(e * 2))) AS marks,
           arrayCumSum(m -> toInt64(2 * bitAnd(m, 1) - 1), marks) AS depth
    FROM edges GROUP BY user
)
SELECT kind, peak, at FROM (
    SELECT 0 AS kind, toInt64(arrayMax(depth)) AS peak, bitShiftRight(marks[indexOf(depth, arrayMax(depth))], 1) AS at,
           arraySort(arrayConcat(groupArray(s * 2 + 1), groupArray(e * 2))) AS marks,
           arrayCumSum(m -> toInt64(2 * bitAnd(m, 1) - 1), marks) AS depth
    FROM edges
    UNION ALL
    SELECT 1 AS kind, toInt64(arrayMax(depth)) AS peak, bitShiftRight(marks[indexOf(depth, arrayMax(depth))], 1) AS at,
           arraySort(groupArray(edge.1)) AS marks,
           arrayCumSum(m -> toInt64(2 * bitAnd(m, 1) - 1), marks) AS depth
    FROM people
)` + sessionSettings

// Peak is the greatest number of sessions open at one instant, and of people.
type Peak struct {
	Sessions   int64
	SessionsAt time.Time // the first instant of that peak, zero without sessions
	People     int64
	PeopleAt   time.Time
}

// peakConcurrency finds the peaks within the range. Sessions are [start, end):
// one that ends where another begins does not overlap it.
func (r *Reports) peakConcurrency(ctx context.Context, c Company, p Params) (Peak, error) {
	var out Peak
	err := r.query(ctx, sessionSQL+peakTail, sessionArgs(c, p, r.now().UnixMilli()), func(row driver.Rows) error {
		var kind uint8
		var peak, at int64
		if err := row.Scan(&kind, &peak, &at); err != nil {
			return err
		}
		if peak <= 0 {
			return nil
		}
		if t := time.UnixMilli(at).In(p.Zone()); kind == 0 {
			out.Sessions, out.SessionsAt = peak, t
		} else {
			out.People, out.PeopleAt = peak, t
		}
		return nil
	})
	return out, err
}
