package query

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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

// By these security ids Winlogon's own records name ann: an account of a domain's, and
// one of Entra's.
const (
	testSID      = "S-1-5-21-10-20-1001"
	testEntraSID = "S-1-12-1-1234567890-987654321-12"
)

var (
	testUsers     = []string{"ann", "Ann", "ANN", "bob", "Bob", "carol", "dave", "Zoë", "ZOË", "o'brien", `back\slash`, "tab le", "=cmd|1", "svc$", testSID, testEntraSID}
	testComputers = []string{"PC-1", "pc-1", "PC-2", "Laptop", "SRV", "büro-7"}
	testAddresses = []string{"", "", "::1", "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.7", "10.0.0.8", "203.0.113.9", "2001:db8::1"}
	testStatuses  = []uint32{0, 0xC000006D, 0xC0000234, 0xC000006A, 0x6, 0x18, 0x12, 0xC00000FF, 0x3F}
)

// around draws times near some of the days, so that they meet.
func around(t *draw, days []time.Time) int64 {
	day := days[t.between(0, len(days)-1)]
	switch t.between(0, 3) {
	case 0: // on the minute, near a change of clocks or a midnight
		return day.Add(time.Duration(t.between(-16*60, 16*60)) * time.Minute).UnixMilli()
	case 1: // within minutes of each other
		return day.Add(9*time.Hour + time.Duration(t.between(0, 40*60))*time.Second).UnixMilli()
	default:
		return day.UnixMilli() + int64(t.between(-40*3600_000, 40*3600_000))
	}
}

// draw is one case: a company, its stored events, and a source of chance that
// its number alone determines.
type draw struct {
	*testing.T
	number  int
	rnd     *rand.Rand
	company Company
	events  []event.Event
}

// oracleCases is how many companies a property is tried on by default;
// GATEHOUSE_ORACLE_CASES=N asks for more, and -short for few.
const oracleCases = 60

// check tries a property on many companies, whose events are stored in one go.
func check(t *testing.T, property func(*draw)) {
	t.Helper()
	conn := testConn(t)
	n := oracleCases
	if testing.Short() {
		n = 20
	}
	if s := os.Getenv("GATEHOUSE_ORACLE_CASES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	cases := make([]*draw, n)
	var all []event.Event
	for i := range cases {
		d := &draw{T: t, number: i, rnd: rand.New(rand.NewPCG(uint64(i), 7))}
		d.company = newCompany(testZones[i%len(testZones)])
		d.events = genEvents(d, d.company, []int{0, 5, 40, 120, 200}[i%5])
		cases[i], all = d, append(all, d.events...)
	}
	insertEvents(t, conn, all)
	for _, d := range cases {
		property(d)
	}
}

// Fatalf names the case.
func (t *draw) Fatalf(format string, values ...any) {
	t.Helper()
	t.T.Fatalf("case %d (%s, %d events): %s", t.number, t.company.Zone(), len(t.events), fmt.Sprintf(format, values...))
}

func (t *draw) between(low, high int) int { return low + t.rnd.IntN(high-low+1) }

func (t *draw) coin() bool { return t.rnd.IntN(2) == 0 }

func oneOf[T any](t *draw, from []T) T { return from[t.rnd.IntN(len(from))] }

func addrOf(t *draw) netip.Addr {
	s := oneOf(t, testAddresses)
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// genEvents draws a set of distinct events of a company.
func genEvents(t *draw, c Company, most int) []event.Event {
	days := make([]time.Time, t.between(1, 3))
	for i := range days {
		days[i], _ = time.Parse(time.DateOnly, oneOf(t, testDays))
	}
	n := t.between(most/2, most)
	seen := make(map[event.ID]bool, n)
	out := make([]event.Event, 0, n)
	for range n {
		e := event.Event{
			CompanyID: c.ID, SiteID: uint32(t.between(0, 2)), Time: around(t, days),
			Type: oneOf(t, event.Types()), User: oneOf(t, testUsers), Computer: oneOf(t, testComputers),
			LogonType: oneOf(t, []uint8{2, 3, 5, 7, 10, 11, 13, 255}), LogonID: uint64(t.between(0, 2)),
			LocalIP: addrOf(t), SourceIP: addrOf(t),
			Channel: oneOf(t, []string{"", "Security", "System"}), Domain: oneOf(t, []string{"", "CORP", "Élan"}),
		}
		if len(out) > 0 && t.between(0, 3) == 0 { // at the moment of another one
			e.Time = out[t.between(0, len(out)-1)].Time
		}
		if event.Fold(e.User) == "ann" && t.coin() {
			e.SID = oneOf(t, []string{testSID, testEntraSID})
		} else if strings.HasPrefix(e.User, "S-1-") {
			e.SID = e.User
		}
		if t.between(0, 40) == 0 { // a cloned computer gives the same id to others
			e.SID = testSID
		}
		if t.coin() { // many of those that reports are about
			e.Type = oneOf(t, []event.Type{event.Logon, event.Logoff, event.LogonFailed, event.LogonFailed, event.CredentialFailed})
		}
		if e.Type == event.LogonFailed || e.Type == event.CredentialFailed {
			e.Status, e.SubStatus = oneOf(t, testStatuses), oneOf(t, testStatuses)
		}
		if e.Type == event.Logon && t.coin() {
			e.LinkedLogonID, e.Elevated = uint64(t.between(0, 2)), t.coin()
		}
		if t.coin() {
			e.RecordID, e.EventID = uint64(t.between(1, 4000)), 4624
		}
		e.Received = e.Time + int64(oneOf(t, []int{0, 150, 2000, 90_000, -3000, -5000, -5001, -60_000}))
		if err := e.Normalize(testNow.Add(400 * 24 * time.Hour)); err != nil {
			continue
		}
		if id := e.ID(); !seen[id] {
			seen[id] = true
			out = append(out, e)
		}
		if e.RecordID == 0 && t.between(0, 3) == 0 { // records without an id, alike in all but their content
			twin := e
			twin.ContentHash = t.rnd.Uint64()
			if id := twin.ID(); !seen[id] {
				seen[id] = true
				out = append(out, twin)
			}
		}
		if e.SID != "" && t.coin() { // as Winlogon tells it
			again := e
			again.User, again.LogonID, again.LogonType, again.LinkedLogonID, again.Elevated = e.SID, 0, event.LogonTypeNone, 0, false
			again.Time += int64(oneOf(t, []int{0, 1, 2000, 29_999, 30_000, 30_001, -30_000, -30_001, 60_000}))
			if id := again.ID(); !seen[id] && again.Account == event.AccountUser {
				seen[id] = true
				out = append(out, again)
			}
		}
	}
	if n == 0 || t.coin() {
		return out
	}
	out = append(out, genGuesses(t, c, around(t, days), seen)...)
	return append(out, genLockouts(t, c, around(t, days), seen)...)
}

// genLockouts draws lockouts that one or several controllers tell of, up to the edge of what is one and beyond.
func genLockouts(t *draw, c Company, start int64, seen map[event.ID]bool) []event.Event {
	var out []event.Event
	for range t.between(0, 6) {
		e := event.Event{
			CompanyID: c.ID, SiteID: uint32(t.between(1, 2)), Type: event.Lockout, User: oneOf(t, testUsers), Computer: oneOf(t, testComputers),
			Domain: oneOf(t, []string{"CORP", "Corp", "Élan"}), SourceHost: oneOf(t, []string{"", "PC-9", "pc-9"}), LogonType: event.LogonTypeNone,
			EventID: 4740, RecordID: uint64(t.between(1, 4000)),
		}
		for range t.between(1, 4) {
			e.Time = start
			e.Received = e.Time
			made := e
			if err := made.Normalize(testNow.Add(400 * 24 * time.Hour)); err == nil && !seen[made.ID()] {
				seen[made.ID()] = true
				out = append(out, made)
			}
			start += int64(oneOf(t, []int{0, 1, 900, 9_999, 10_000, 10_001, 60_000}))
			e.Computer, e.RecordID = oneOf(t, testComputers), uint64(t.between(1, 4000))
		}
	}
	return out
}

// toldOnce leaves out of some events the lockouts that tell of one that another computer has told of in the 10 seconds
// before; at the same millisecond the first computer by name is the one. All are the company's events.
func toldOnce(some, all []event.Event) []event.Event {
	again := func(e *event.Event) bool {
		for i := range all {
			o := &all[i]
			same := o.Type == event.Lockout && event.Fold(o.User) == event.Fold(e.User) && event.Fold(o.Domain) == event.Fold(e.Domain) && event.Fold(o.SourceHost) == event.Fold(e.SourceHost)
			mine, other := event.Fold(e.Computer), event.Fold(o.Computer)
			if same && other != mine && e.Time-o.Time <= 10_000 && (o.Time < e.Time || o.Time == e.Time && other < mine) {
				return true
			}
		}
		return false
	}
	return slices.DeleteFunc(slices.Clone(some), func(e event.Event) bool { return e.Type == event.Lockout && again(&e) })
}

// genGuesses draws somebody who tries passwords from one address: a few users, a few
// seconds apart, so that every case of some size may hold bursts and sprays.
func genGuesses(t *draw, c Company, start int64, seen map[event.ID]bool) []event.Event {
	var out []event.Event
	from, few := addrOf(t), t.between(1, 5)
	step := oneOf(t, []int{0, 500, 1000, 15_000, 20_000, 30_000, 60_000, 150_000, 300_000}) // windows end on them too
	for i := range t.between(2, 12) {
		e := event.Event{
			CompanyID: c.ID, SiteID: 1, Time: start + int64(i*step), Type: event.LogonFailed, User: testUsers[t.between(0, few)*3%len(testUsers)],
			Computer: oneOf(t, testComputers), LogonType: 3, SourceIP: from, LocalIP: addrOf(t), SubStatus: oneOf(t, testStatuses),
		}
		e.Received = e.Time
		if err := e.Normalize(testNow.Add(400 * 24 * time.Hour)); err == nil && !seen[e.ID()] {
			seen[e.ID()] = true
			out = append(out, e)
		}
	}
	return out
}

// genRange draws a range around the events, on and off the hour.
func genRange(t *draw, v url.Values, events []event.Event) {
	base := testNow.Add(-30 * 24 * time.Hour)
	if len(events) > 0 {
		base = time.UnixMilli(events[t.between(0, len(events)-1)].Time)
	}
	step := oneOf(t, []time.Duration{time.Hour, 15 * time.Minute, time.Second, time.Millisecond})
	from := base.Add(-time.Duration(t.between(0, 60*3600_000)) * time.Millisecond).Truncate(step)
	to := base.Add(time.Duration(t.between(1, 60*3600_000)) * time.Millisecond).Truncate(step)
	if t.between(0, 5) == 0 { // a year and more: what is looked for newest first lies far back
		from, to = from.AddDate(0, 0, -t.between(0, 400)), to.AddDate(0, 0, t.between(300, 700))
	}
	if !from.Before(to) {
		to = from.Add(step)
	}
	v.Set("from", from.UTC().Format(time.RFC3339Nano))
	v.Set("to", to.UTC().Format(time.RFC3339Nano))
}

// genFilters draws some of the common filters.
func genFilters(t *draw, v url.Values) {
	if t.between(0, 3) == 0 {
		v.Set("site", oneOf(t, []string{"0", "1", "2"}))
	}
	if t.between(0, 3) == 0 {
		v.Set("user", oneOf(t, testUsers))
	}
	if t.between(0, 3) == 0 {
		v.Set("computer", oneOf(t, testComputers))
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
	return p.ofSite(e.SiteID) && ok(p.User != "", event.Fold(e.User) == p.User) &&
		ok(p.Computer != "", event.Fold(e.Computer) == p.Computer) && ok(p.Domain != "", event.Fold(e.Domain) == p.Domain) &&
		ok(p.LogonID != 0, e.LogonID == p.LogonID) && ok(p.EventID != 0, e.EventID == p.EventID) &&
		ok(p.Address.IsValid(), e.SourceIP == p.Address || e.LocalIP == p.Address || e.PublicIP == p.Address) &&
		ok(p.Search != "", hasPrefix(event.Fold(e.User), p.Search) || hasPrefix(event.Fold(e.Computer), p.Search)) &&
		has(len(p.Types), func(i int) bool { return p.Types[i] == e.Type }) &&
		has(len(p.Accounts), func(i int) bool { return p.Accounts[i] == e.Account }) &&
		has(len(p.LogonTypes), func(i int) bool { return p.LogonTypes[i] == e.LogonType })
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }
