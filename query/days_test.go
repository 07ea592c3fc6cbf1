package query

import (
	"math/rand/v2"
	"testing"
	"time"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestDaysOfChangedClocks(t *testing.T) {
	for _, c := range []struct {
		zone, date string
		hours      float64
	}{
		{"Europe/London", "2025-03-30", 23},
		{"Europe/London", "2025-10-26", 25},
		{"Europe/London", "2025-05-01", 24},
		{"Australia/Lord_Howe", "2025-04-06", 24.5},
		{"Australia/Lord_Howe", "2025-10-05", 23.5},
		{"America/Santiago", "2025-09-07", 23}, // midnight was skipped
		{"Asia/Beirut", "2025-03-30", 23},      // midnight was skipped
		{"America/Havana", "2025-11-02", 25},   // midnight came twice
		{"Africa/Cairo", "2025-04-25", 23},     // midnight was skipped
		{"Africa/Cairo", "2025-10-30", 25},     // 23:00 came twice
	} {
		loc := zone(t, c.zone)
		day, _ := time.Parse(time.DateOnly, c.date)
		found := false
		for _, d := range Days(day.AddDate(0, 0, -3), day.AddDate(0, 0, 3), loc) {
			if d.Date == c.date {
				found = true
				if hours := float64(d.End-d.Start) / 3600_000; hours != c.hours {
					t.Errorf("%s %s has %v hours, want %v", c.zone, c.date, hours, c.hours)
				}
			}
		}
		if !found {
			t.Errorf("%s has no %s", c.zone, c.date)
		}
	}
	// Samoa went from the 29th to the 31st.
	loc := zone(t, "Pacific/Apia")
	var dates []string
	for _, d := range Days(time.Date(2011, 12, 28, 12, 0, 0, 0, loc), time.Date(2012, 1, 1, 12, 0, 0, 0, loc), loc) {
		dates = append(dates, d.Date)
	}
	if got := len(dates); got != 4 || dates[1] != "2011-12-29" || dates[2] != "2011-12-31" {
		t.Errorf("Samoa's days were %v", dates)
	}
}

// Days fill the range, in order, and show the right date at every instant.
func TestDaysFillTheRange(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, name := range append(testZones, "Africa/Monrovia", "Asia/Manila", "America/Sao_Paulo", "Antarctica/Troll") {
		loc := zone(t, name)
		for range 60 {
			from := time.UnixMilli(rnd.Int64N(60 * 365 * 86400_000)).In(loc)
			to := from.Add(time.Duration(1+rnd.Int64N(40*86400_000)) * time.Millisecond)
			days := Days(from, to, loc)
			at := from.UnixMilli()
			for i, d := range days {
				if d.Start != at || d.End <= d.Start || (i > 0 && d.Date <= days[i-1].Date) {
					t.Fatalf("%s %v to %v: %+v", name, from, to, days)
				}
				at = d.End
				for _, ms := range []int64{d.Start, d.Start + (d.End-d.Start)/2, d.End - 1} {
					if want := wantDay(Params{Location: loc}, ms); d.Date != want {
						t.Fatalf("%s %v is on %s, want %s", name, time.UnixMilli(ms).In(loc), d.Date, want)
					}
				}
			}
			if at != to.UnixMilli() {
				t.Fatalf("%s %v to %v ends at %d", name, from, to, at)
			}
			bounds := DayBounds(from, to, loc)
			if len(bounds) != len(days)+1 || bounds[0] != from.UnixMilli() || bounds[len(bounds)-1] != to.UnixMilli() {
				t.Fatalf("bounds %v of %v", bounds, days)
			}
			start := StartOfDay(to.Add(-time.Millisecond), loc)
			if last := days[len(days)-1]; start.UnixMilli() > last.Start || (len(days) > 1 && start.UnixMilli() != last.Start) {
				t.Fatalf("%s: the day of %v begins at %v, want %v", name, to, start, time.UnixMilli(last.Start).In(loc))
			}
		}
	}
	if Days(testNow, testNow, time.UTC) != nil || Hours(testNow, testNow, time.UTC) != nil {
		t.Error("an empty range has days")
	}
}

// Within an hour of Hours the local date and hour never change, and an hour ends
// only where they do, or the clocks.
func TestHoursAreLocalHours(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, name := range testZones {
		loc := zone(t, name)
		for range 40 {
			from := time.UnixMilli(rnd.Int64N(60 * 365 * 86400_000))
			to := from.Add(time.Duration(1+rnd.Int64N(20*86400_000)) * time.Millisecond)
			hours := Hours(from, to, loc)
			if hours[0] != from.UnixMilli() || hours[len(hours)-1] != to.UnixMilli() {
				t.Fatalf("%s: hours from %d to %d", name, hours[0], hours[len(hours)-1])
			}
			show := func(ms int64) string { return time.UnixMilli(ms).In(loc).Format("2006-01-02T15 -0700") }
			for i := range len(hours) - 1 {
				if hours[i+1] <= hours[i] || show(hours[i]) != show(hours[i+1]-1) {
					t.Fatalf("%s: %s to %s is one hour", name, show(hours[i]), show(hours[i+1]-1))
				}
				if i+2 < len(hours) && show(hours[i+1]-1) == show(hours[i+1]) {
					t.Fatalf("%s: the hour %s is cut", name, show(hours[i+1]))
				}
			}
		}
	}
}
