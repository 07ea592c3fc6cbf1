package query

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

// TestPresenceUntilTheNextEnd: a session without a logoff of its own lasts until
// something later ends it, as long as its unlocks and locks prove that somebody was there.
// max_session bounds what nothing ends.
func TestPresenceUntilTheNextEnd(t *testing.T) {
	conn := testConn(t)
	c := newCompany("UTC")
	monday := time.Date(2025, 6, 16, 0, 0, 0, 0, time.UTC)
	var events []event.Event
	add := func(computer string, day int, clock string, typ event.Type) {
		at, err := time.Parse("15:04", clock)
		if err != nil {
			t.Fatal(err)
		}
		e := event.Event{
			CompanyID: c.ID, SiteID: 1, Type: typ, Computer: computer, User: "ann", Account: event.AccountUser, LogonType: event.LogonTypeNone,
			Time: monday.AddDate(0, 0, day).Add(at.Sub(at.Truncate(24 * time.Hour))).UnixMilli(),
		}
		if typ.OfComputer() {
			e.User, e.Account = "", event.AccountNone
		}
		e.Received = e.Time
		events = append(events, e)
	}
	for _, pc := range []string{"ended", "open"} {
		add(pc, 0, "09:00", event.Logon)
		add(pc, 0, "17:00", event.Lock)
		add(pc, 1, "08:55", event.Unlock)
		add(pc, 1, "12:00", event.Lock)
		add(pc, 1, "13:00", event.Unlock)
		add(pc, 1, "17:30", event.Lock)
	}
	add("ended", 2, "02:00", event.Shutdown)
	add("replaced", 0, "09:00", event.Logon)
	add("replaced", 3, "09:00", event.Logon)
	add("replaced", 3, "10:00", event.Logoff)
	add("crashed", 0, "09:00", event.Logon)
	add("crashed", 2, "11:00", event.Lock)
	add("crashed", 4, "08:00", event.Startup)
	insertEvents(t, conn, events)

	r, _, sessions := sessionsOfWeek(t, conn, c, monday)
	var got []string
	for _, s := range sessions {
		checkLinks(t, r, c, &s)
		got = append(got, fmt.Sprintf("%s %s..%s %s %s, active %v h", s.Computer, s.Start.Format("Mon 15:04"), s.End.Format("Mon 15:04"), s.EndReason, s.EndConfidence, s.ActiveSeconds/3600))
	}
	slices.Sort(got)
	want := []string{
		"crashed Mon 09:00..Wed 11:00 startup inferred, active 50 h",
		"ended Mon 09:00..Wed 02:00 shutdown logged, active 15.583333333333334 h",
		"open Mon 09:00..Wed 17:30 max_session inferred, active 15.583333333333334 h",
		"replaced Mon 09:00..Thu 09:00 superseded inferred, active 72 h",
		"replaced Thu 09:00..Thu 10:00 logoff logged, active 1 h",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

// sessionsOfWeek gives the sessions of a week, long after it, and what they were asked with.
func sessionsOfWeek(t *testing.T, conn driver.Conn, c Company, monday time.Time) (*Reports, Params, []Session) {
	t.Helper()
	r := New(conn, Options{Now: func() time.Time { return monday.AddDate(0, 2, 0) }})
	p := Params{From: monday, To: monday.AddDate(0, 0, 7), Location: time.UTC, Limit: MaxLimit}
	sessions, err := r.Sessions(t.Context(), c, p)
	if err != nil {
		t.Fatal(err)
	}
	return r, p, sessions.Rows
}

// checkLinks follows a session's links: to the person's events, and to the one of the
// computer that ended it.
func checkLinks(t *testing.T, r *Reports, c Company, s *Session) {
	t.Helper()
	search := func(link string) (out []string) {
		u, err := url.Parse(link)
		if err != nil || u.Path != "/api/v1/events" || u.Query().Get("company") != fmt.Sprint(c.ID) {
			t.Fatal(link, err)
		}
		found, err := r.Search(context.Background(), c, parse(t, SearchSpec, c, u.Query()))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found.Rows {
			if e.Computer != s.Computer {
				t.Errorf("%s finds events of %s", link, e.Computer)
			}
			out = append(out, e.Type)
		}
		return out
	}
	if behind := search(s.EventsURL); len(behind) == 0 || behind[len(behind)-1] != s.OpenedBy {
		t.Errorf("behind the session of %s: %v", s.Computer, behind)
	}
	byPower := s.EndReason == "shutdown" || s.EndReason == "startup"
	if byPower != (s.EndedByURL != "") {
		t.Errorf("%s ended by %s: %q", s.Computer, s.EndReason, s.EndedByURL)
	} else if byPower {
		if ended := search(s.EndedByURL); !slices.Equal(ended, []string{s.EndReason}) {
			t.Errorf("what ended the session of %s: %v", s.Computer, ended)
		}
	}
}

// TestUnlockingWrittenAsLogon: where unlocking is not audited, Windows writes it as a logon
// of type 7 with an id of its own. It goes on with what is open, and begins nothing.
func TestUnlockingWrittenAsLogon(t *testing.T) {
	conn := testConn(t)
	c := newCompany("UTC")
	monday := time.Date(2025, 6, 16, 0, 0, 0, 0, time.UTC)
	var events []event.Event
	add := func(user string, hour int, typ event.Type, logonType uint8, id uint64) {
		at := monday.Add(time.Duration(hour) * time.Hour).UnixMilli()
		events = append(events, event.Event{
			CompanyID: c.ID, SiteID: 1, Type: typ, Computer: "pc", User: user, Account: event.AccountUser,
			LogonType: logonType, LogonID: id, Elevated: logonType == 7, Time: at, Received: at,
		})
	}
	add("ann", 9, event.Logon, 2, 1)
	add("ann", 12, event.Lock, event.LogonTypeNone, 1)
	add("ann", 13, event.Unlock, 7, 8) // as events of Windows' own come
	add("ann", 17, event.Disconnect, event.LogonTypeNone, 1)
	add("ann", 24+8, event.Logon, 13, 9) // as an agent may say it
	add("ann", 24+17, event.Logoff, 2, 1)
	add("ann", 24+18, event.Unlock, 7, 10)
	add("ben", 9, event.Unlock, 7, 11)
	add("cid", 9, event.Logon, 2, 2)
	add("cid", 24+8, event.Unlock, 7, 12) // proves that cid was still there
	insertEvents(t, conn, events)
	r, p, sessions := sessionsOfWeek(t, conn, c, monday)
	var got []string
	for _, s := range sessions {
		got = append(got, fmt.Sprintf("%s %s..%s %s, active %v h, elevated %t", s.User, s.Start.Format("Mon 15:04"), s.End.Format("Mon 15:04"), s.EndReason, s.ActiveSeconds/3600, s.Elevated))
	}
	want := []string{"ann Mon 09:00..Tue 17:00 logoff, active 16 h, elevated false", "cid Mon 09:00..Wed 08:00 max_session, active 47 h, elevated false"}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	totals, err := r.Totals(context.Background(), c, p)
	if err != nil {
		t.Fatal(err)
	}
	if totals.ActiveUsers != 2 || totals.SignIns != 2 {
		t.Errorf("%d active, %d sign-ins, want 2 each", totals.ActiveUsers, totals.SignIns)
	}
}

// phaseHistory is a person's events at a computer over months: busy and quiet stretches,
// ends that are missing, crashes.
func phaseHistory(r *rand.Rand, c Company, n int, start time.Time) (out []event.Event) {
	at := start.UnixMilli()
	pace := []int64{4, 30, 200, 900}[r.IntN(4)] * 3600_000
	add := func(typ event.Type) {
		e := event.Event{
			CompanyID: c.ID, SiteID: 1, Type: typ, Computer: fmt.Sprintf("pc-%d", n), User: fmt.Sprintf("user-%d", n/2),
			Account: event.AccountUser, LogonType: event.LogonTypeNone, Time: at, Received: at,
		}
		if typ.OfComputer() {
			e.User, e.Account = "", event.AccountNone
		}
		out = append(out, e)
	}
	people := []event.Type{event.Logon, event.Logoff, event.Lock, event.Unlock, event.Lock, event.Unlock, event.Disconnect, event.Reconnect}
	for end := start.AddDate(0, 0, 110).UnixMilli(); at < end; {
		at += 1 + r.Int64N(pace)
		switch r.IntN(10) {
		case 0:
			add(event.Shutdown)
			at += 60_000
			add(event.Startup)
		case 1:
			add(event.Startup) // after a crash
		case 2:
			add(event.Sleep)
		case 3:
			add(event.Wake)
		default:
			add(people[r.IntN(len(people))])
		}
	}
	return out
}

// TestDaysDoNotDependOnTheRange: what is told of a day is the same, wherever the range
// begins that the day is in.
func TestDaysDoNotDependOnTheRange(t *testing.T) {
	conn := testConn(t)
	start := time.Date(2025, 4, 1, 0, 0, 0, 0, time.UTC)
	for n, longest := range []time.Duration{24 * time.Hour, 90 * time.Minute, 31 * 24 * time.Hour} {
		c := newCompany("Europe/Berlin")
		c.MaxSession = longest
		rnd := rand.New(rand.NewPCG(uint64(n), 31))
		var events []event.Event
		for h := range 100 {
			events = append(events, phaseHistory(rnd, c, h, start)...)
		}
		insertEvents(t, conn, events)
		r := New(conn, Options{Now: func() time.Time { return start.AddDate(0, 0, 100) }})
		day := time.Date(2025, 6, 3, 0, 0, 0, 0, c.Location)
		rowsOf := func(from time.Time) []TimeSpentRow {
			p := Params{From: from, To: day.AddDate(0, 0, 1), Location: c.Location, Limit: MaxLimit, GroupBy: []string{"user", "computer", "day"}}
			report, err := r.TimeSpent(context.Background(), c, p)
			if err != nil {
				t.Fatal(err)
			}
			return slices.DeleteFunc(report.Rows, func(row TimeSpentRow) bool { return row.Day != day.Format(time.DateOnly) })
		}
		want := rowsOf(day)
		if len(want) < 20 {
			t.Fatalf("only %d of them were there", len(want))
		}
		for _, back := range []int{1, 2, 3, 5, 8, 13, 20} {
			got := rowsOf(day.AddDate(0, 0, -back))
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
					t.Fatalf("max_session %s, from %d days before: row %d of\n got %+v\nwant %+v", longest, back, i, got, want)
				}
			}
		}
	}
}
