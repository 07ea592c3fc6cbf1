package event

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Where the counters of other systems begin, in their own 100 ns steps before 1970.
const (
	filetimeUnixEpoch = 116444736000000000 // FILETIME counts from 1601
	ticksUnixEpoch    = 621355968000000000 // .NET ticks count from the year 1
	stepsPerMilli     = 10_000
)

// Numbers are told apart by size: each unit's span from 1970 to 2100 (2286 for
// seconds) overlaps none of the others.
const (
	maxUnixSeconds = 9_999_999_999
	minUnixMillis  = 100_000_000_000
	maxUnixMillis  = 9_999_999_999_999
	maxSteps       = 130 * 366 * 24 * 3600 * 10_000_000 // 130 years in 100 ns steps
)

// ParseTime reads a time as agents send it, to Unix milliseconds: RFC 3339
// with or without fraction, "2025-05-25 14:30:00 BST", "2025-05-25 14:30:00+0100",
// "2025-05-25 14:30:00" (in loc), Unix seconds and milliseconds, .NET ticks and
// FILETIME. The error says which forms are taken.
func ParseTime(s string, loc *time.Location) (int64, error) {
	return parseTime(s, loc)
}

func parseTime[T string | []byte](text T, loc *time.Location) (int64, error) {
	if ms, ok := parseRFC3339(text); ok {
		return ms, nil
	}
	if ms, ok := parseClock(text, loc); ok {
		return ms, nil
	}
	s := strings.TrimSpace(string(text))
	if s == "" {
		return 0, FieldError("Timestamp", "is missing; send RFC 3339, for example 2025-05-25T14:30:00Z")
	}
	if ms, ok := parseRFC3339(s); ok {
		return ms, nil
	}
	if ms, ok := parseNumber(s); ok {
		return ms, nil
	}
	if ms, ok := parseLoose(s, loc); ok {
		return ms, nil
	}
	return 0, FieldError("Timestamp", "%q is not a time; send RFC 3339 (2025-05-25T14:30:00Z), \"2025-05-25 14:30:00\" with or without +01:00 or a zone such as BST, Unix seconds or milliseconds, .NET ticks or FILETIME", clip(s, 64))
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// parseRFC3339 is the fast road for what nearly every agent sends:
// 2006-01-02T15:04:05[.fraction](Z|±hh:mm).
func parseRFC3339[T string | []byte](s T) (int64, bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || (s[10] != 'T' && s[10] != 't') {
		return 0, false
	}
	clock, ok := civilSeconds(s)
	if !ok {
		return 0, false
	}
	rest := s[19:]
	millis := 0
	if rest[0] == '.' || rest[0] == ',' {
		n := 1
		for scale := 100; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			millis += int(rest[n]-'0') * scale
			scale /= 10
		}
		if n == 1 || n == len(rest) {
			return 0, false
		}
		rest = rest[n:]
	}
	offset := 0
	switch {
	case len(rest) == 1 && (rest[0] == 'Z' || rest[0] == 'z'):
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		oh, ok1 := digits(rest[1:3])
		om, ok2 := digits(rest[4:6])
		if !ok1 || !ok2 || oh > 23 || om > 59 {
			return 0, false
		}
		offset = oh*3600 + om*60
		if rest[0] == '-' {
			offset = -offset
		}
	default:
		return 0, false
	}
	return (clock-int64(offset))*1000 + int64(millis), true
}

// parseClock is the fast road for what old agents send, "2006-01-02 15:04:05" alone or
// with a zone's short name behind it. parseLoose reads the same to the same time.
func parseClock[T string | []byte](s T, loc *time.Location) (int64, bool) {
	if len(s) < 19 || (s[10] != ' ' && s[10] != 'T') || len(s) > 19+1+5 {
		return 0, false
	}
	clock, ok := civilSeconds(s)
	if !ok {
		return 0, false
	}
	var buf [5]byte
	zone := buf[:0]
	if len(s) > 19 {
		if s[19] != ' ' || len(s) < 19+1+2 {
			return 0, false
		}
		for i := 20; i < len(s); i++ {
			c := s[i] &^ 0x20
			if c-'A' >= 26 {
				return 0, false
			}
			zone = append(zone, c)
		}
	}
	if loc == nil {
		loc = time.UTC
	}
	if len(zone) > 0 && loc == time.UTC && string(zone) != "UTC" {
		minutes, ok := zoneMinutes[string(zone)]
		return (clock - int64(minutes)*60) * 1000, ok
	}
	u := time.Unix(clock, 0).UTC()
	local := time.Date(u.Year(), u.Month(), u.Day(), u.Hour(), u.Minute(), u.Second(), 0, loc)
	if len(zone) == 0 {
		return local.UnixMilli(), true
	}
	if name, _ := local.Zone(); len(name) == len(zone) && strings.EqualFold(name, string(zone)) {
		return local.UnixMilli(), true
	}
	minutes, ok := zoneMinutes[string(zone)]
	return (clock - int64(minutes)*60) * 1000, ok
}

// civilSeconds reads the first 19 characters as a date and a time of day, whatever
// stands between them, to seconds since 1970 as if they were UTC.
func civilSeconds[T string | []byte](s T) (int64, bool) {
	if s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	year, ok1 := digits(s[0:4])
	month, ok2 := digits(s[5:7])
	day, ok3 := digits(s[8:10])
	hour, ok4 := digits(s[11:13])
	minute, ok5 := digits(s[14:16])
	second, ok6 := digits(s[17:19])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	if day > daysIn(year, month) {
		return 0, false
	}
	return daysFromCivil(year, month, day)*86400 + int64(hour*3600+minute*60+second), true
}

func digits[T string | []byte](s T) (int, bool) {
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, true
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	default:
		return 31
	}
}

// daysFromCivil counts the days from 1970-01-01 to a date of the Gregorian calendar. The
// year begins in March here, so that the leap day is its last.
func daysFromCivil(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := floorDiv(year, 400)
	yearOfEra := year - era*400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return int64(era)*146097 + int64(dayOfEra) - 719468
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// parseNumber reads Unix seconds (with or without fraction), Unix
// milliseconds, .NET ticks and FILETIME.
func parseNumber(s string) (int64, bool) {
	if whole, fraction, ok := strings.Cut(s, "."); ok {
		sec, err := strconv.ParseInt(whole, 10, 64)
		if err != nil || sec <= 0 || sec > maxUnixSeconds {
			return 0, false
		}
		f, err := strconv.ParseFloat("0."+fraction, 64)
		if err != nil || strings.TrimLeft(fraction, "0123456789") != "" {
			return 0, false
		}
		return sec*1000 + int64(math.Floor(f*1000+1e-6)), true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, false
	}
	switch {
	case n > 0 && n <= maxUnixSeconds:
		return n * 1000, true
	case n >= minUnixMillis && n <= maxUnixMillis:
		return n, true
	case n >= filetimeUnixEpoch && n <= filetimeUnixEpoch+maxSteps:
		return (n - filetimeUnixEpoch) / stepsPerMilli, true
	case n >= ticksUnixEpoch && n <= ticksUnixEpoch+maxSteps:
		return (n - ticksUnixEpoch) / stepsPerMilli, true
	default:
		return 0, false
	}
}

// looseLayouts are forms with an offset; zoneless ones follow in looseLocal.
var looseLayouts = []string{
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02 15:04:05 Z07:00",
	"2006-01-02 15:04:05 Z0700",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02 15:04:05Z07",
}

const (
	layoutLocalSpace = "2006-01-02 15:04:05"
	layoutLocalT     = "2006-01-02T15:04:05"
)

func parseLoose(s string, loc *time.Location) (int64, bool) {
	for _, layout := range looseLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UnixMilli(), true
		}
	}
	if loc == nil {
		loc = time.UTC
	}
	for _, layout := range []string{layoutLocalSpace, layoutLocalT} {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil {
			return t.UnixMilli(), true
		}
	}
	// A zone's short name at the end. They are ambiguous (IST is three zones):
	// the company's own zone is asked first, then the table.
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return 0, false
	}
	clock, zone := s[:i], strings.ToUpper(s[i+1:])
	for _, layout := range []string{layoutLocalSpace, layoutLocalT} {
		local, err := time.ParseInLocation(layout, clock, loc)
		if err != nil {
			continue
		}
		if name, _ := local.Zone(); strings.EqualFold(name, zone) {
			return local.UnixMilli(), true
		}
		utc, err := time.Parse(layout, clock)
		if err != nil {
			continue
		}
		if minutes, ok := zoneMinutes[zone]; ok {
			return utc.UnixMilli() - int64(minutes)*60_000, true
		}
	}
	return 0, false
}

// zoneMinutes are the short zone names that people use, in minutes east of UTC.
var zoneMinutes = map[string]int{
	"UTC": 0, "GMT": 0, "Z": 0, "WET": 0,
	"BST": 60, "WEST": 60, "CET": 60, "WAT": 60,
	"CEST": 120, "EET": 120, "CAT": 120, "SAST": 120,
	"EEST": 180, "MSK": 180, "EAT": 180, "TRT": 180,
	"GST": 240, "PKT": 300, "IST": 330, "NPT": 345, "BDT": 360,
	"ICT": 420, "WIB": 420, "SGT": 480, "HKT": 480, "PHT": 480, "AWST": 480,
	"JST": 540, "KST": 540, "ACST": 570, "AEST": 600, "ACDT": 630, "AEDT": 660,
	"NZST": 720, "NZDT": 780,
	"NST": -210, "NDT": -150, "AST": -240, "ADT": -180, "BRT": -180, "ART": -180,
	"EST": -300, "EDT": -240, "CST": -360, "CDT": -300, "MST": -420, "MDT": -360,
	"PST": -480, "PDT": -420, "AKST": -540, "AKDT": -480, "HST": -600,
}
