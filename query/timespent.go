package query

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"gatehouse/event"
)

// TimeSpentSpec says what the time-spent report takes.
var TimeSpentSpec = &Spec{
	Name: "time-spent", Params: takes(common, []string{"group_by"}),
	GroupBy: []string{"user", "computer", "site", "company", "day"}, GroupDefault: []string{"user"}, GroupMany: true,
	DefaultLimit: DefaultLimit, MaxLimit: MaxLimit,
}

// MaxTimeGroups is how many rows time-spent may have in all, about 300 bytes each. Beyond it
// the request is refused, with what to do.
const MaxTimeGroups = 500_000

// TimeSpentRow is the time of one group. Fields that the grouping leaves out are absent.
type TimeSpentRow struct {
	Day              string    `json:"day,omitempty"` // local date
	User             *string   `json:"user,omitempty"`
	Computer         *string   `json:"computer,omitempty"`
	SiteID           *uint32   `json:"site_id,omitempty"`
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
	t := &timeSpent{p: p, days: []Day{{Start: p.From.UnixMilli(), End: p.To.UnixMilli()}}, groups: map[timeGroup]*timeSum{}}
	if p.Grouped("day") {
		t.days = Days(p.From, p.To, p.Zone())
	}
	now := r.sessionNow(p)
	if err := r.eachSession(ctx, c, p, now, t.take); err != nil {
		return nil, err
	}
	t.endPerson()

	groups := slices.SortedFunc(maps.Keys(t.groups), compareTimeGroups)
	limit := p.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	groups = groups[min(p.page.Offset, len(groups)):]
	out := &TimeSpentReport{Header: r.header("time-spent", c, p), GroupBy: p.GroupBy}
	if len(groups) > limit {
		groups = groups[:limit]
		out.NextCursor = p.cursor(page{Offset: p.page.Offset + limit, Now: now})
	}
	var sites map[uint32]string
	if p.Grouped("site") {
		sites = r.siteLabels(ctx, c)
	}
	out.Rows = make([]TimeSpentRow, len(groups))
	for i, g := range groups {
		sum := t.groups[g]
		row := TimeSpentRow{
			Users: sum.users, Sessions: sum.sessions, InferredSessions: sum.inferred,
			TotalSeconds: seconds(sum.total), ActiveSeconds: seconds(sum.active), PausedSeconds: seconds(sum.total - sum.active),
			SumSeconds: seconds(sum.plain), SumActiveSeconds: seconds(sum.plainActive),
			First: time.UnixMilli(sum.first).In(p.Zone()), Last: time.UnixMilli(sum.last).In(p.Zone()),
		}
		if p.Grouped("day") {
			row.Day = t.days[g.day].Date
		}
		if p.Grouped(ByUser) {
			row.User = &sum.userName
		}
		if p.Grouped(ByComputer) {
			row.Computer = &sum.computerName
		}
		if p.Grouped(BySite) {
			row.SiteID, row.Site = &g.site, sites[g.site]
		}
		out.Rows[i] = row
	}
	return out, nil
}

// timeGroup names a row; what the grouping leaves out is zero.
type timeGroup struct {
	day            int // in the report's days
	user, computer string
	site           uint32
}

func compareTimeGroups(a, b timeGroup) int {
	return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.user, b.user), cmp.Compare(a.computer, b.computer), cmp.Compare(a.site, b.site))
}

// timeSum is a row as it is added up, in milliseconds.
type timeSum struct {
	userName, computerName    string
	users, sessions, inferred uint64
	total, active             int64 // a unit's overlaps once
	plain, plainActive        int64
	first, last               int64
	lastUser                  string // the person that users counts last: they come one after the other
}

// timeUnit is what overlaps are counted once in: a person, or a person at one
// computer or site.
type timeUnit struct {
	computer string
	site     uint32
}

type timeStay struct {
	computerName  string
	whole, active []interval
}

// timeSpent adds up sessions that come person by person.
type timeSpent struct {
	p      Params
	days   []Day
	groups map[timeGroup]*timeSum

	user, userName string
	stays          map[timeUnit]*timeStay // of the person at hand
}

func (t *timeSpent) take(s *span) error {
	if s.user != t.user {
		t.endPerson()
		t.user, t.userName, t.stays = s.user, s.userName, map[timeUnit]*timeStay{}
	}
	t.userName = max(t.userName, s.userName)
	var u timeUnit
	if t.p.Grouped("computer") {
		u.computer = s.computer
	}
	if t.p.Grouped("site") {
		u.site = s.site
	}
	stay := t.stays[u]
	if stay == nil {
		stay = &timeStay{}
		t.stays[u] = stay
	}
	stay.computerName = max(stay.computerName, s.computerName)
	stay.whole = append(stay.whole, interval{s.start, s.until})
	stay.active = append(stay.active, s.active...)
	eachDay(t.days, interval{s.start, s.until}, func(day int, part interval) {
		sum := t.sum(day, u, stay)
		sum.sessions++
		if s.confidence != "logged" {
			sum.inferred++
		}
		sum.first, sum.last = min(sum.first, part.start), max(sum.last, part.end)
	})
	if len(t.groups) > MaxTimeGroups {
		return event.FieldError("group_by", "gives more than %d rows for this range; ask for a shorter one, or group by less", MaxTimeGroups)
	}
	return nil
}

// sum is the row that a unit's part of a day belongs to.
func (t *timeSpent) sum(day int, u timeUnit, stay *timeStay) *timeSum {
	g := timeGroup{day: day, computer: u.computer, site: u.site}
	if t.p.Grouped("user") {
		g.user = t.user
	}
	sum := t.groups[g]
	if sum == nil {
		sum = &timeSum{first: math.MaxInt64}
		t.groups[g] = sum
	}
	if sum.lastUser != t.user || sum.users == 0 {
		sum.users++
		sum.lastUser = t.user
	}
	if t.p.Grouped("user") {
		sum.userName = max(sum.userName, t.userName)
	}
	if t.p.Grouped("computer") {
		sum.computerName = max(sum.computerName, stay.computerName)
	}
	return sum
}

// endPerson adds the time of the person at hand.
func (t *timeSpent) endPerson() {
	for u, stay := range t.stays {
		add := func(intervals []interval, to func(*timeSum) *int64) {
			for _, i := range intervals {
				eachDay(t.days, i, func(day int, part interval) {
					*to(t.sum(day, u, stay)) += part.end - part.start
				})
			}
		}
		add(stay.whole, func(s *timeSum) *int64 { return &s.plain })
		add(stay.active, func(s *timeSum) *int64 { return &s.plainActive })
		add(union(stay.whole), func(s *timeSum) *int64 { return &s.total })
		add(union(stay.active), func(s *timeSum) *int64 { return &s.active })
	}
	t.stays = nil
}

// eachDay cuts an interval at the days' bounds and leaves out what lies outside all
// of them. An interval of no length is on the day that it is in.
func eachDay(days []Day, i interval, fn func(day int, part interval)) {
	n := sort.Search(len(days), func(n int) bool { return days[n].End > i.start })
	for ; n < len(days) && (days[n].Start < i.end || (i.start == i.end && days[n].Start <= i.start)); n++ {
		fn(n, interval{max(i.start, days[n].Start), min(i.end, days[n].End)})
	}
}

// union sorts intervals and joins those that touch or overlap.
func union(list []interval) []interval {
	slices.SortFunc(list, func(a, b interval) int { return cmp.Compare(a.start, b.start) })
	out := make([]interval, 0, len(list))
	for _, i := range list {
		if n := len(out); n > 0 && i.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, i.end)
		} else {
			out = append(out, i)
		}
	}
	return out
}

// overlaps are intervals whose greatest depth is asked for.
type overlaps struct{ starts, ends []int64 }

func (o *overlaps) add(i interval) {
	o.starts, o.ends = append(o.starts, i.start), append(o.ends, i.end)
}

// deepest is the greatest number of intervals that hold one instant, and the first such.
func (o *overlaps) deepest() (depth, at int64) {
	slices.Sort(o.starts)
	slices.Sort(o.ends)
	over := 0
	for n, start := range o.starts {
		for over < len(o.ends) && o.ends[over] <= start {
			over++
		}
		if open := int64(n + 1 - over); open > depth {
			depth, at = open, start
		}
	}
	return depth, at
}
