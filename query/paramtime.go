package query

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/event"
)

const timeForms = "send RFC 3339 (2025-05-01T08:00:00Z), a date (2025-05-01: its local midnight), now, today, yesterday, tomorrow, or a distance such as -30d, -12h, -2w"

// finishPage goes on where a cursor says. It changes nothing for the first page.
func (in *input) finishPage(values url.Values) error {
	if in.p.Cursor != "" {
		pg, err := decodeCursor(in.p.Cursor, in.spec, in.company, in.now, values)
		if err != nil {
			return err
		}
		in.p.page = pg
		if slices.Contains(in.spec.Params, "from") {
			// A cursor goes on with the range of its first page: "now" has moved since.
			in.p.From, in.p.To = time.UnixMilli(pg.From), time.UnixMilli(pg.To)
		} else if slices.Contains(in.spec.Params, "at") {
			in.p.At = time.UnixMilli(pg.From)
		}
	}
	in.p.page.params = paramsHash(in.spec, in.company, values)
	return nil
}

// finishRange makes a range of what was sent of it.
func (in *input) finishRange() error {
	loc := in.p.Zone()
	from, to := in.from, in.to
	hasFrom, hasTo := !from.IsZero(), !to.IsZero()
	if !hasTo {
		to = in.now
	}
	if !hasFrom {
		// The last whole days: to belongs to the last of them.
		y, m, d := to.Add(-time.Millisecond).In(loc).Date()
		from = time.UnixMilli(midnight(time.Date(y, m, d-DefaultDays+1, 0, 0, 0, 0, time.UTC), loc))
	}
	switch {
	case !from.Before(to) && hasTo:
		return event.FieldError("to", "must be after from (from is %s, to is %s; to itself is not part of the range)", from.In(loc).Format(time.RFC3339), to.In(loc).Format(time.RFC3339))
	case !from.Before(to):
		return event.FieldError("from", "lies in the future (%s) and there is no to", from.In(loc).Format(time.RFC3339))
	case to.Sub(from) > MaxRange:
		return event.FieldError("from", "lies more than %d days before to; ask for parts of that range", int(MaxRange.Hours()/24))
	}
	in.p.From, in.p.To = from, to
	return nil
}

// Times that a range may have: those that DateTime64 holds and an event can have.
var (
	minTime = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// parseTime reads a time of a request.
func parseTime(field, text string, now time.Time, loc *time.Location) (time.Time, *event.Error) {
	t, ok := parseRelative(strings.ToLower(text), now, loc)
	if !ok {
		t, ok = parseAbsolute(text, loc)
	}
	if !ok {
		return t, event.FieldError(field, "%q is not a time; %s", clip(text), timeForms)
	}
	t = t.Truncate(time.Millisecond)
	if t.Before(minTime) || t.After(maxTime) {
		return t, event.FieldError(field, "%q lies before %d or after %d", clip(text), minTime.Year(), maxTime.Year())
	}
	return t, nil
}

func parseAbsolute(text string, loc *time.Location) (time.Time, bool) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return time.UnixMilli(midnight(day, loc)), true
	}
	// In a query string a "+" not written as %2B arrives as a space.
	if i := strings.LastIndexByte(text, ' '); i > len(time.DateOnly) && strings.IndexByte(text, 'T') == len(time.DateOnly) {
		text = text[:i] + "+" + text[i+1:]
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, text, loc); err == nil {
			return t, true
		}
	}
	ms, err := event.ParseTime(text, loc)
	if err != nil {
		return time.Time{}, false
	}
	return time.UnixMilli(ms), true
}

// maxDistance bounds relative times, in their unit, so that no sum overflows.
const maxDistance = 100_000

// parseRelative reads now, today, yesterday, tomorrow, -30d, +12h.
func parseRelative(text string, now time.Time, loc *time.Location) (time.Time, bool) {
	y, m, d := now.In(loc).Date()
	day := func(offset int) (time.Time, bool) {
		return time.UnixMilli(midnight(time.Date(y, m, d+offset, 0, 0, 0, 0, time.UTC), loc)), true
	}
	switch text {
	case "now":
		return now, true
	case "today":
		return day(0)
	case "yesterday":
		return day(-1)
	case "tomorrow":
		return day(1)
	}
	text = strings.TrimPrefix(text, "now")
	if len(text) < 3 || (text[0] != '-' && text[0] != '+' && text[0] != ' ') {
		return time.Time{}, false
	}
	digits := text[1 : len(text)-1]
	n, err := strconv.Atoi(digits)
	if err != nil || strings.Trim(digits, "0123456789") != "" || n > maxDistance {
		return time.Time{}, false
	}
	if text[0] == '-' {
		n = -n
	}
	switch text[len(text)-1] {
	case 'm':
		return now.Add(time.Duration(n) * time.Minute), true
	case 'h':
		return now.Add(time.Duration(n) * time.Hour), true
	case 'd':
		return now.In(loc).AddDate(0, 0, n), true
	case 'w':
		return now.In(loc).AddDate(0, 0, 7*n), true
	}
	return time.Time{}, false
}

// clip shortens a value for an error message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return strings.ToValidUTF8(s, "�")
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
