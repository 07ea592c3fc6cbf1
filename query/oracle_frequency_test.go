package query

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"gatehouse/event"
)

// The frequency report against counting by hand, event by event.
func TestOracleFrequency(t *testing.T) {
	r := testReports(t)
	check(t, func(rt *draw) {
		c, events := rt.company, rt.events
		for range 4 {
			v := url.Values{}
			genRange(rt, v, events)
			genFilters(rt, v)
			v.Set("group_by", oneOf(rt, FrequencySpec.GroupBy))
			if rt.coin() {
				v.Set("type", "all")
				v.Set("account", "all")
			}
			if rt.between(0, 3) == 0 {
				v.Set("logon_type", "2,none")
			}
			v.Set("limit", "100000")
			p := parse(rt, FrequencySpec, c, v)
			report, err := r.Frequency(context.Background(), c, p)
			if err != nil {
				rt.Fatal(err)
			}
			got := map[string]uint64{}
			var sum uint64
			for _, row := range report.Rows {
				sum += row.Events
				if row.Events > 0 {
					got[frequencyKey(report.GroupBy, &row)] += row.Events
				}
			}
			mine := chosen(p, events)
			want := map[string]uint64{}
			for _, e := range mine {
				want[wantFrequencyKey(report.GroupBy, p, &e)]++
			}
			if fmt.Sprint(got) != fmt.Sprint(want) || report.Total != uint64(len(mine)) || sum != report.Total {
				rt.Fatalf("%s %s\n got %v (total %d)\nwant %v (%d)", c.Zone(), v.Encode(), got, report.Total, want, len(mine))
			}
			checkBuckets(rt, p, report)
			checkNames(rt, p, report, mine)
		}
	})
}

// frequencyKey names a row by what a reader sees.
func frequencyKey(by string, row *FrequencyRow) string {
	switch by {
	case ByDay:
		return row.Day
	case ByHour:
		return row.Start.UTC().Truncate(time.Minute).Format("2006-01-02T15") + fmt.Sprintf(" %s %02d", row.Day, *row.Hour)
	case ByHourOfDay:
		return fmt.Sprintf("%02d", *row.Hour)
	case ByWeekdayHour:
		return fmt.Sprintf("%s %02d", row.WeekdayName, *row.Hour)
	case ByUser:
		return event.Fold(*row.User)
	case ByComputer:
		return event.Fold(*row.Computer)
	}
	return fmt.Sprint(*row.SiteID)
}

func wantFrequencyKey(by string, p Params, e *event.Event) string {
	local := time.UnixMilli(e.Time).In(p.Zone())
	switch by {
	case ByDay:
		return wantDay(p, e.Time)
	case ByHour:
		// The hour begins with its last whole local hour, the last change of the
		// clocks, or the range: whichever came last.
		start := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), 0, 0, 0, time.FixedZone("", offsetOf(local)))
		if change, _ := local.ZoneBounds(); !change.IsZero() && change.After(start) {
			start = change
		}
		if p.From.After(start) {
			start = p.From
		}
		return start.UTC().Truncate(time.Minute).Format("2006-01-02T15") + fmt.Sprintf(" %s %02d", local.Format(time.DateOnly), local.Hour())
	case ByHourOfDay:
		return fmt.Sprintf("%02d", local.Hour())
	case ByWeekdayHour:
		return fmt.Sprintf("%s %02d", local.Weekday(), local.Hour())
	case ByUser:
		return event.Fold(e.User)
	case ByComputer:
		return event.Fold(e.Computer)
	}
	return fmt.Sprint(e.SiteID)
}

func offsetOf(t time.Time) int {
	_, offset := t.Zone()
	return offset
}

// wantDay is the local date of an instant, found the slow way: the latest date
// whose every later instant (looked at minute by minute over a day) shows it or a later one.
func wantDay(p Params, ms int64) string {
	date := time.UnixMilli(ms).In(p.Zone()).Format(time.DateOnly)
	for minute := int64(1); minute <= 3*60; minute++ {
		later := time.UnixMilli(ms - ms%60_000 + minute*60_000).In(p.Zone()).Format(time.DateOnly)
		date = min(date, later)
	}
	return date
}

// checkNames holds the figures beside the counts of rows by name to the events.
func checkNames(t *draw, p Params, report *FrequencyReport, mine []event.Event) {
	for i, row := range report.Rows {
		if row.First == nil { // a row of time
			return
		}
		users, computers := map[string]bool{}, map[string]bool{}
		var first, last int64
		for _, e := range mine {
			if wantFrequencyKey(report.GroupBy, p, &e) != frequencyKey(report.GroupBy, &row) {
				continue
			}
			if first == 0 {
				first = e.Time
			}
			first, last = min(first, e.Time), max(last, e.Time)
			computers[event.Fold(e.Computer)] = true
			if e.User != "" {
				users[event.Fold(e.User)] = true
			}
		}
		if row.First.UnixMilli() != first || row.Last.UnixMilli() != last || (row.Users != nil && *row.Users != uint64(len(users))) ||
			(row.Computers != nil && *row.Computers != uint64(len(computers))) {
			t.Fatalf("row %d is %+v, want %d users, %d computers, %d to %d", i, row, len(users), len(computers), first, last)
		}
		if i > 0 && row.Events > report.Rows[i-1].Events {
			t.Fatalf("row %d comes after one with fewer events", i)
		}
	}
}

// checkBuckets holds rows over time to the range: they fill it without a gap,
// and zeros are there.
func checkBuckets(t *draw, p Params, report *FrequencyReport) {
	if report.GroupBy == ByUser || report.GroupBy == ByComputer || report.GroupBy == BySite {
		return
	}
	var sum int64
	for _, row := range report.Rows {
		sum += *row.Seconds
	}
	whole := p.To.Sub(p.From).Milliseconds()
	if diff := whole - sum*1000; diff < -int64(len(report.Rows))*1000 || diff > int64(len(report.Rows)+200)*1000 {
		t.Fatalf("buckets hold %d s of %d ms", sum, whole)
	}
	switch report.GroupBy {
	case ByHourOfDay:
		if len(report.Rows) != 24 {
			t.Fatalf("%d hours of the day", len(report.Rows))
		}
	case ByWeekdayHour:
		if len(report.Rows) != 7*24 {
			t.Fatalf("%d hours of the week", len(report.Rows))
		}
	}
}
