package query

import (
	"context"
	_ "embed" // the statements
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

//go:embed frequency_slots.sql
var frequencySlotsSQL string

//go:embed frequency_raw.sql
var frequencyRawSQL string

//go:embed frequency_names.sql
var frequencyNamesSQL string

// What frequency groups by.
const (
	ByHour        = "hour"
	ByDay         = "day"
	ByHourOfDay   = "hour_of_day"
	ByWeekdayHour = "weekday_hour"
	ByUser        = "user"
	ByComputer    = "computer"
	BySite        = "site"
)

// FrequencySpec is the frequency report's parameters.
var FrequencySpec = &Spec{
	Name:         "frequency",
	Params:       takes(common, []string{"group_by", "type", "account", "logon_type"}),
	GroupBy:      []string{ByHour, ByDay, ByHourOfDay, ByWeekdayHour, ByUser, ByComputer, BySite},
	GroupDefault: []string{ByDay},
	GroupAlias:   map[string]string{"weekday": ByWeekdayHour, "weekday,hour": ByWeekdayHour},
	DefaultTypes: []event.Type{event.Logon}, DefaultAccounts: []event.Account{event.AccountUser},
}

// FrequencyReport says how often events happened.
type FrequencyReport struct {
	Header
	GroupBy    string         `json:"group_by"`
	Total      uint64         `json:"total"` // of the whole range, not of the page
	Rows       []FrequencyRow `json:"rows"`
	NextCursor string         `json:"next_cursor,omitempty"`
}

// FrequencyRow is one bucket. Which of its names are set follows from GroupBy.
type FrequencyRow struct {
	Start       *time.Time `json:"start,omitempty"` // hour, day
	Day         string     `json:"day,omitempty"`   // hour, day
	Weekday     int        `json:"weekday,omitempty"`
	WeekdayName string     `json:"weekday_name,omitempty"`
	Hour        *int       `json:"hour,omitempty"`    // the local clock's, 0 to 23
	Seconds     *int64     `json:"seconds,omitempty"` // how much of the range the bucket holds
	User        *string    `json:"user,omitempty"`    // "" for none, and so below
	Computer    *string    `json:"computer,omitempty"`
	SiteID      *uint32    `json:"site_id,omitempty"`
	Site        string     `json:"site,omitempty"`
	Events      uint64     `json:"events"`
	Users       *uint64    `json:"users,omitempty"`
	Computers   *uint64    `json:"computers,omitempty"`
	First       *time.Time `json:"first,omitempty"`
	Last        *time.Time `json:"last,omitempty"`
}

// Frequency counts events by hour, day, weekday and hour, user, computer or site.
func (r *Reports) Frequency(ctx context.Context, c Company, p Params) (*FrequencyReport, error) {
	report := &FrequencyReport{Header: r.header("frequency", c, p), GroupBy: p.GroupBy[0]}
	var err error
	switch report.GroupBy {
	case ByUser, ByComputer, BySite:
		err = r.frequencyByName(ctx, c, p, report)
	default:
		err = r.frequencyByTime(ctx, c, p, report)
	}
	if err != nil {
		return nil, err
	}
	return report, nil
}

func (r *Reports) frequencyByName(ctx context.Context, c Company, p Params, report *FrequencyReport) error {
	w := where(c).during(p).matching(p).pageArgs(p)
	w.args["by"] = report.GroupBy
	sites := map[uint32]string(nil)
	if report.GroupBy == BySite {
		sites = r.siteLabels(ctx, c)
	}
	var rows []FrequencyRow
	err := r.query(ctx, w.in(frequencyNamesSQL), w.args, func(q driver.Rows) error {
		var (
			row         FrequencyRow
			name, shown string
			site        uint32
			first, last int64
			users, pcs  uint64
		)
		if err := q.Scan(&name, &site, &shown, &row.Events, &users, &pcs, &first, &last); err != nil {
			return err
		}
		row.First, row.Last = p.local(first), p.local(last)
		switch report.GroupBy {
		case ByUser:
			row.User, row.Computers = &shown, &pcs
		case ByComputer:
			row.Computer, row.Users = &shown, &users
		case BySite:
			row.SiteID, row.Site, row.Users, row.Computers = &site, sites[site], &users, &pcs
		}
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return err
	}
	if report.Total, err = r.countEvents(ctx, c, p); err != nil {
		return err
	}
	report.Rows, report.NextCursor = nextPage(p, rows)
	return nil
}

const countSQL = "SELECT count() FROM events WHERE " + whereMark

func (r *Reports) countEvents(ctx context.Context, c Company, p Params) (n uint64, err error) {
	w := where(c).during(p).matching(p)
	err = r.query(ctx, w.in(countSQL), w.args, func(q driver.Rows) error { return q.Scan(&n) })
	return n, err
}

func (r *Reports) frequencyByTime(ctx context.Context, c Company, p Params, report *FrequencyReport) error {
	hours := Hours(p.From, p.To, p.Zone())
	var days []Day
	if report.GroupBy == ByDay {
		days = Days(p.From, p.To, p.Zone())
	}
	slots, err := r.slots(ctx, c, p, hours)
	if err != nil {
		return err
	}
	buckets := timeBuckets(report.GroupBy, p, hours, days)
	for _, s := range slots {
		report.Total += s.events
		buckets.add(max(s.start, p.From.UnixMilli()), s.events)
	}
	report.Rows, report.NextCursor = Page(p, buckets.rows)
	return nil
}

// slot is the events of a short stretch of time. No local hour or day begins
// inside one.
type slot struct {
	start  int64
	events uint64
}

// slots counts events in steps that the range's local hours are made of.
func (r *Reports) slots(ctx context.Context, c Company, p Params, hours []int64) ([]slot, error) {
	from, to := p.From.UnixMilli(), p.To.UnixMilli()
	first, end := (from+slotMillis-1)/slotMillis*slotMillis, to/slotMillis*slotMillis
	regular := onSlots(hours[1 : len(hours)-1])

	var (
		w   *conditions
		sql string
	)
	if regular && p.onlyKinds() && first < end {
		w = where(c).kinds(p)
		w.args["from"], w.args["to"] = from, to
		w.args["first_slot"], w.args["end_slot"] = first/1000, end/1000
		sql = w.in(frequencySlotsSQL)
	} else {
		w = where(c).during(p).matching(p)
		w.args["step"] = int64(slotMillis)
		if !regular { // a zone of the past, minutes and seconds away from UTC
			w.args["step"] = int64(1000)
		}
		sql = w.in(frequencyRawSQL)
	}
	var out []slot
	err := r.query(ctx, sql, w.args, func(q driver.Rows) error {
		var s slot
		if err := q.Scan(&s.start, &s.events); err != nil {
			return err
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// local is a time of the store in the zone of the answer.
func (p Params) local(ms int64) *time.Time {
	t := time.UnixMilli(ms).In(p.Zone())
	return &t
}
