package query

import (
	"sort"
	"time"
)

// buckets are the rows of a frequency over time, empty ones included.
type buckets struct {
	rows []FrequencyRow
	find func(ms int64) int // the row that an instant belongs to
}

func (b *buckets) add(ms int64, events uint64) {
	b.rows[b.find(ms)].Events += events
}

// timeBuckets makes the rows for a range: each hour, each day, the 24 hours of
// the day, or the 168 of the week.
func timeBuckets(by string, p Params, hours []int64, days []Day) *buckets {
	loc := p.Zone()
	switch by {
	case ByDay:
		b := &buckets{rows: make([]FrequencyRow, len(days))}
		for i, d := range days {
			b.rows[i] = FrequencyRow{Start: p.local(d.Start), Day: d.Date, Seconds: wholeSeconds(d.End - d.Start)}
			b.rows[i].setWeekday(weekdayOf(d.Date))
		}
		b.find = func(ms int64) int { return sort.Search(len(days), func(i int) bool { return days[i].End > ms }) }
		return b
	case ByHour:
		b := &buckets{rows: make([]FrequencyRow, len(hours)-1)}
		for i := range b.rows {
			t := p.local(hours[i])
			hour := t.Hour()
			b.rows[i] = FrequencyRow{Start: t, Day: t.Format(time.DateOnly), Hour: &hour, Seconds: wholeSeconds(hours[i+1] - hours[i])}
		}
		b.find = func(ms int64) int { return sort.Search(len(b.rows), func(i int) bool { return hours[i+1] > ms }) }
		return b
	}
	index := func(t time.Time) int { return t.Hour() }
	b := &buckets{rows: make([]FrequencyRow, 24)}
	if by == ByWeekdayHour {
		index = func(t time.Time) int { return (isoWeekday(t)-1)*24 + t.Hour() }
		b.rows = make([]FrequencyRow, 7*24)
	}
	for i := range b.rows {
		hour := i % 24
		b.rows[i] = FrequencyRow{Hour: &hour, Seconds: new(int64)}
		if by == ByWeekdayHour {
			b.rows[i].setWeekday(i/24 + 1)
		}
	}
	for i := range len(hours) - 1 {
		*b.rows[index(time.UnixMilli(hours[i]).In(loc))].Seconds += (hours[i+1] - hours[i]) / 1000
	}
	b.find = func(ms int64) int { return index(time.UnixMilli(ms).In(loc)) }
	return b
}

func wholeSeconds(ms int64) *int64 {
	s := ms / 1000
	return &s
}

// isoWeekday counts from Monday, 1, to Sunday, 7.
func isoWeekday(t time.Time) int { return (int(t.Weekday())+6)%7 + 1 }

func weekdayOf(date string) int {
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return 1 // dates come from Days alone
	}
	return isoWeekday(t)
}

func (row *FrequencyRow) setWeekday(iso int) {
	row.Weekday, row.WeekdayName = iso, time.Weekday(iso%7).String()
}
