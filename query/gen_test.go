package query

import (
	"net/netip"
	"net/url"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/event"
)

// Zones of every kind: whole, half and quarter hours, both hemispheres, half an
// hour of summer time, midnights that do not exist or come twice, none at all.
var testZones = []string{
	"UTC", "Europe/London", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kolkata", "Asia/Kathmandu",
	"Australia/Lord_Howe", "Pacific/Chatham", "America/Santiago", "America/Havana", "Africa/Cairo", "Asia/Beirut", "Pacific/Apia", "America/Asuncion",
}

// Days on which clocks change somewhere, and plain ones.
var testDays = []string{
	"2025-03-08", "2025-03-09", "2025-03-29", "2025-03-30", "2025-04-05", "2025-04-06", "2025-04-24", "2025-04-25", "2025-09-06", "2025-09-07",
	"2025-10-04", "2025-10-05", "2025-10-25", "2025-10-26", "2025-10-30", "2025-10-31", "2025-11-01", "2025-11-02", "2025-06-15", "2025-01-01",
}

var (
	testUsers     = []string{"ann", "Ann", "ANN", "bob", "Bob", "carol", "dave", "Zoë", "ZOË", "o'brien", `back\slash`, "tab le", "=cmd|1", "svc$"}
	testComputers = []string{"PC-1", "pc-1", "PC-2", "Laptop", "SRV", "büro-7"}
	testAddresses = []string{"", "", "::1", "127.0.0.1", "10.0.0.7", "10.0.0.8", "203.0.113.9", "2001:db8::1"}
	testStatuses  = []uint32{0, 0xC000006D, 0xC0000234, 0xC000006A, 0x6, 0x18, 0x12, 0xC00000FF, 0x3F}
)

// around draws times near some of the days, so that they meet.
func around(t *rapid.T, days []time.Time) int64 {
	day := days[rapid.IntRange(0, len(days)-1).Draw(t, "day")]
	switch rapid.IntRange(0, 3).Draw(t, "spread") {
	case 0: // on the minute, near a change of clocks or a midnight
		return day.Add(time.Duration(rapid.IntRange(-16*60, 16*60).Draw(t, "minute")) * time.Minute).UnixMilli()
	case 1: // within minutes of each other
		return day.Add(9*time.Hour + time.Duration(rapid.IntRange(0, 40*60).Draw(t, "second"))*time.Second).UnixMilli()
	default:
		return day.UnixMilli() + int64(rapid.IntRange(-40*3600_000, 40*3600_000).Draw(t, "ms"))
	}
}

func oneOf[T any](t *rapid.T, name string, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, name)]
}

func addrOf(t *rapid.T, name string) netip.Addr {
	s := oneOf(t, name, testAddresses)
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// genEvents draws a set of distinct events of a company.
func genEvents(t *rapid.T, c Company, most int) []event.Event {
	days := make([]time.Time, rapid.IntRange(1, 3).Draw(t, "days"))
	for i := range days {
		days[i], _ = time.Parse(time.DateOnly, oneOf(t, "date", testDays))
	}
	n := rapid.IntRange(0, most).Draw(t, "events")
	seen := make(map[event.ID]bool, n)
	out := make([]event.Event, 0, n)
	for range n {
		e := event.Event{
			CompanyID: c.ID, SiteID: uint32(rapid.IntRange(1, 3).Draw(t, "site")), Time: around(t, days),
			Type: oneOf(t, "type", event.Types()), User: oneOf(t, "user", testUsers), Computer: oneOf(t, "computer", testComputers),
			LogonType: oneOf(t, "logon type", []uint8{2, 3, 5, 10, 11, 255}), LogonID: uint64(rapid.IntRange(0, 2).Draw(t, "logon id")),
			LocalIP: addrOf(t, "local"), SourceIP: addrOf(t, "source"),
			Channel: oneOf(t, "channel", []string{"", "Security", "System"}), Domain: oneOf(t, "domain", []string{"", "CORP", "Élan"}),
		}
		if rapid.Bool().Draw(t, "plain") { // many of those that reports are about
			e.Type = oneOf(t, "usual", []event.Type{event.Logon, event.Logoff, event.LogonFailed, event.LogonFailed, event.CredentialFailed})
		}
		if e.Type == event.LogonFailed || e.Type == event.CredentialFailed {
			e.Status, e.SubStatus = oneOf(t, "status", testStatuses), oneOf(t, "sub", testStatuses)
		}
		if e.Type == event.Logon && rapid.Bool().Draw(t, "twin") {
			e.LinkedLogonID, e.Elevated = uint64(rapid.IntRange(0, 2).Draw(t, "linked")), rapid.Bool().Draw(t, "elevated")
		}
		if rapid.Bool().Draw(t, "recorded") {
			e.RecordID, e.EventID = uint64(rapid.IntRange(1, 4000).Draw(t, "record")), 4624
		}
		e.Received = e.Time + int64(oneOf(t, "lag", []int{0, 150, 2000, 90_000, -3000, -5000, -5001, -60_000}))
		if err := e.Normalize(testNow.Add(400 * 24 * time.Hour)); err != nil {
			continue
		}
		if id := e.ID(); !seen[id] {
			seen[id] = true
			out = append(out, e)
		}
	}
	return out
}

// genRange draws a range around the events, on and off the hour.
func genRange(t *rapid.T, v url.Values, events []event.Event) {
	base := testNow.Add(-30 * 24 * time.Hour)
	if len(events) > 0 {
		base = time.UnixMilli(events[rapid.IntRange(0, len(events)-1).Draw(t, "base")].Time)
	}
	step := oneOf(t, "step", []time.Duration{time.Hour, 15 * time.Minute, time.Second, time.Millisecond})
	from := base.Add(-time.Duration(rapid.IntRange(0, 60*3600_000).Draw(t, "before")) * time.Millisecond).Truncate(step)
	to := base.Add(time.Duration(rapid.IntRange(1, 60*3600_000).Draw(t, "after")) * time.Millisecond).Truncate(step)
	if !from.Before(to) {
		to = from.Add(step)
	}
	v.Set("from", from.UTC().Format(time.RFC3339Nano))
	v.Set("to", to.UTC().Format(time.RFC3339Nano))
}

// genFilters draws some of the common filters.
func genFilters(t *rapid.T, v url.Values) {
	if rapid.IntRange(0, 3).Draw(t, "by site") == 0 {
		v.Set("site", oneOf(t, "site", []string{"1", "2"}))
	}
	if rapid.IntRange(0, 3).Draw(t, "by user") == 0 {
		v.Set("user", oneOf(t, "user", testUsers))
	}
	if rapid.IntRange(0, 3).Draw(t, "by computer") == 0 {
		v.Set("computer", oneOf(t, "computer", testComputers))
	}
}

// parse parses parameters that must be right.
func parse(t interface{ Fatal(...any) }, spec *Spec, c Company, v url.Values) Params {
	p, err := ParseParams(spec, c, testNow, v)
	if err != nil {
		t.Fatal(spec.Name, v.Encode(), err)
	}
	return p
}

// chosen are the events that p's filters let through: the filters once more, in
// plain Go.
func chosen(p Params, events []event.Event) []event.Event {
	var out []event.Event
	for _, e := range events {
		if e.Time < p.From.UnixMilli() || e.Time >= p.To.UnixMilli() || !passes(p, &e) {
			continue
		}
		out = append(out, e)
	}
	return out
}

func passes(p Params, e *event.Event) bool {
	ok := func(set, match bool) bool { return !set || match }
	has := func(n int, match func(i int) bool) bool {
		for i := range n {
			if match(i) {
				return true
			}
		}
		return n == 0
	}
	return ok(p.Site != 0, e.SiteID == p.Site) && ok(p.User != "", event.Fold(e.User) == p.User) &&
		ok(p.Computer != "", event.Fold(e.Computer) == p.Computer) && ok(p.Domain != "", event.Fold(e.Domain) == p.Domain) &&
		ok(p.LogonID != 0, e.LogonID == p.LogonID) && ok(p.EventID != 0, e.EventID == p.EventID) &&
		ok(p.Address.IsValid(), e.SourceIP == p.Address || e.LocalIP == p.Address || e.PublicIP == p.Address) &&
		ok(p.Search != "", hasPrefix(event.Fold(e.User), p.Search) || hasPrefix(event.Fold(e.Computer), p.Search)) &&
		has(len(p.Types), func(i int) bool { return p.Types[i] == e.Type }) &&
		has(len(p.Accounts), func(i int) bool { return p.Accounts[i] == e.Account }) &&
		has(len(p.LogonTypes), func(i int) bool { return p.LogonTypes[i] == e.LogonType })
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

// drawHistory is one drawn company with its stored events.
func drawHistory(t *rapid.T, tt *testing.T, most int) (Company, []event.Event) {
	conn := testConn(tt)
	c := newCompany(oneOf(t, "zone", testZones))
	events := genEvents(t, c, most)
	insertEvents(t, conn, events)
	return c, events
}
