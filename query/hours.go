package query

import "time"

// hourMillis is a whole hour.
const hourMillis = int64(time.Hour / time.Millisecond)

// Hours cuts [from, to) at the whole hours of the local clock, in Unix
// milliseconds: first is from, last is to. Where the clocks change an hour
// ends, so an hour that a day has twice is two, and half an hour that was lived
// twice is never counted into its neighbour.
func Hours(from, to time.Time, loc *time.Location) []int64 {
	if !from.Before(to) {
		return nil
	}
	start, end := from.UnixMilli(), to.UnixMilli()
	out := []int64{start}
	for start < end {
		t := time.UnixMilli(start).In(loc)
		_, offset := t.Zone()
		local := start + int64(offset)*1000
		next := start + hourMillis - floorMod(local, hourMillis)
		if _, change := t.ZoneBounds(); !change.IsZero() {
			next = min(next, change.UnixMilli())
		}
		start = min(next, end)
		out = append(out, start)
	}
	return out
}

func floorMod(a, b int64) int64 { return ((a % b) + b) % b }

// slotMillis is the width in which the store counts: every zone in use lies a
// multiple of a quarter of an hour from UTC.
const slotMillis = 15 * 60 * 1000

// onSlots tells whether all times are the beginnings of slots.
func onSlots(times []int64) bool {
	for _, t := range times {
		if t%slotMillis != 0 {
			return false
		}
	}
	return true
}
