package query

import "time"

// Day is one local day, cut to a report's range: [Start, End) in Unix
// milliseconds.
type Day struct {
	Start, End int64
	Date       string // 2006-01-02
}

// Days cuts [from, to) at the local midnights of loc. A day on which the clocks
// change is as long as it was (23 or 25 hours, usually), and a date that a zone
// skipped altogether has no Day.
func Days(from, to time.Time, loc *time.Location) []Day {
	if !from.Before(to) {
		return nil
	}
	y, m, d := from.In(loc).Date()
	// One day back: in the rare hour that a zone lives twice around midnight,
	// the instant may still belong to the date before the one its clock shows.
	day := time.Date(y, m, d-1, 0, 0, 0, 0, time.UTC)
	end := to.UnixMilli()
	var out []Day
	for start := from.UnixMilli(); start < end; {
		next := midnight(day.AddDate(0, 0, 1), loc)
		if next > start {
			stop := min(next, end)
			out = append(out, Day{Start: start, End: stop, Date: day.Format(time.DateOnly)})
			start = stop
		}
		day = day.AddDate(0, 0, 1)
	}
	return out
}

// DayBounds is the same as Days in one list of Unix milliseconds: first is
// from, last is to, and between them stand the local midnights. It is bound to
// SQL as one array, so that the database needs to know nothing of zones.
func DayBounds(from, to time.Time, loc *time.Location) []int64 {
	days := Days(from, to, loc)
	out := make([]int64, 0, len(days)+1)
	for _, d := range days {
		out = append(out, d.Start)
	}
	return append(out, to.UnixMilli())
}

// StartOfDay is the instant at which the local day of t begins.
func StartOfDay(t time.Time, loc *time.Location) time.Time {
	y, m, d := t.In(loc).Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	start := midnight(day, loc)
	if start > t.UnixMilli() { // the clock shows this date for a first, short time
		start = midnight(day.AddDate(0, 0, -1), loc)
	}
	return time.UnixMilli(start).In(loc)
}

// maxOffset is further than any zone lies, or lay, from UTC.
const maxOffset = 26 * time.Hour

// midnight is when the local date "date" (given as midnight UTC) begins, in
// Unix milliseconds: the instant from which on the zone's clock never again
// shows an earlier date. time.Date will not do: it may answer 23:00 of the day
// before where midnight was skipped, and the first or the second of two midnights.
func midnight(date time.Time, loc *time.Location) int64 {
	wall := date.Unix()
	last := date.Add(maxOffset)
	t := date.Add(-maxOffset).In(loc)
	var begin int64
	for {
		_, offset := t.Zone()
		_, periodEnd := t.ZoneBounds()
		// Within this period of constant offset, earlier dates end here:
		before := wall - int64(offset)
		if t.Unix() < before {
			begin = before
			if !periodEnd.IsZero() && periodEnd.Unix() < before {
				begin = periodEnd.Unix()
			}
		}
		if periodEnd.IsZero() || !periodEnd.Before(last) {
			return begin * 1000
		}
		t = periodEnd.In(loc)
	}
}
