package simulate

import (
	"time"
	_ "time/tzdata" // the zones of the world, also where the system has none
)

// place is a country as far as working days go.
type place struct {
	zone     string
	weekend  [2]time.Weekday
	easter   bool     // Good Friday and Easter Monday are free
	holidays []string // other free days, MM-DD
}

var satSun = [2]time.Weekday{time.Saturday, time.Sunday}

// places are given to companies in turn. Zones that differ from UTC by half
// hours, that change their clocks by half an hour, and that change them in the
// other half of the year are among the first, so that small runs have them too.
var places = []place{
	{"Europe/London", satSun, true, []string{"01-01", "05-04", "08-31", "12-25", "12-26"}},
	{"Asia/Kolkata", satSun, false, []string{"01-26", "08-15", "10-02", "11-08", "12-25"}},
	{"America/New_York", satSun, false, []string{"01-01", "07-04", "11-11", "11-26", "12-25"}},
	{"Australia/Adelaide", satSun, true, []string{"01-01", "01-26", "04-25", "12-25", "12-26"}},
	{"Europe/Berlin", satSun, true, []string{"01-01", "05-01", "10-03", "12-25", "12-26"}},
	{"Asia/Riyadh", [2]time.Weekday{time.Friday, time.Saturday}, false, []string{"02-22", "09-23"}},
	{"America/St_Johns", satSun, true, []string{"01-01", "07-01", "09-07", "12-25", "12-26"}},
	{"Asia/Kathmandu", [2]time.Weekday{time.Saturday, time.Saturday}, false, []string{"04-14", "05-29", "10-20"}},
	{"America/Los_Angeles", satSun, false, []string{"01-01", "07-04", "11-26", "12-25"}},
	{"Asia/Tokyo", satSun, false, []string{"01-01", "01-02", "01-03", "05-03", "05-04", "05-05", "11-03", "11-23"}},
	{"Pacific/Auckland", satSun, true, []string{"01-01", "01-02", "02-06", "04-25", "12-25", "12-26"}},
	{"America/Sao_Paulo", satSun, false, []string{"01-01", "04-21", "09-07", "11-15", "11-20", "12-25"}},
	{"Africa/Johannesburg", satSun, true, []string{"01-01", "04-27", "06-16", "09-24", "12-16", "12-25"}},
	{"Australia/Lord_Howe", satSun, true, []string{"01-01", "01-26", "12-25", "12-26"}},
	{"Europe/Paris", satSun, true, []string{"01-01", "05-01", "05-08", "07-14", "11-11", "12-25"}},
	{"Asia/Dubai", satSun, false, []string{"01-01", "12-02", "12-03"}},
}

func placeOf(zone string) place {
	for _, p := range places {
		if p.zone == zone {
			return p
		}
	}
	return place{zone: zone, weekend: satSun, holidays: []string{"01-01", "12-25"}}
}

// free tells whether nobody but the shifts works on a day.
func (p *place) free(day time.Time) bool {
	if w := day.Weekday(); w == p.weekend[0] || w == p.weekend[1] {
		return true
	}
	mmdd := day.Format("01-02")
	for _, h := range p.holidays {
		if h == mmdd {
			return true
		}
	}
	if p.easter {
		switch d := day.YearDay() - easter(day.Year()).YearDay(); d {
		case -2, 1:
			return true
		}
	}
	return false
}

// easter is Easter Sunday of the Gregorian calendar (Anonymous computus).
func easter(year int) time.Time {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 19*l) / 433
	month := (h + l - 7*m + 90) / 25
	day := (h + l - 7*m + 33*month + 19) % 32
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
}
