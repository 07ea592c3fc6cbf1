package query

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"gatehouse/event"
)

// TestOnePersonByNameAndSID: Winlogon's records, which know people by a SID alone, are
// those people's; also in the months of which the Security log, which names them, is gone.
func TestOnePersonByNameAndSID(t *testing.T) {
	conn := testConn(t)
	c := newCompany("UTC")
	const domain, entra, clone, nobody = "S-1-5-21-9-9-9-1001", "S-1-12-1-9-9-9-9", "S-1-5-21-9-9-9-500", "S-1-5-21-9-9-9-7"
	day := func(month time.Month, day int, clock time.Duration) time.Time {
		return time.Date(2025, month, day, 0, 0, 0, 0, time.UTC).Add(clock)
	}
	var events []event.Event
	add := func(at time.Time, typ event.Type, user, sid, computer string, id uint64) {
		e := event.Event{
			CompanyID: c.ID, SiteID: 1, Type: typ, Computer: computer, User: user, SID: sid, LogonID: id,
			Account: event.AccountUser, LogonType: event.LogonTypeNone, Time: at.UnixMilli(), Received: at.UnixMilli(),
		}
		events = append(events, e)
	}
	const morning, evening = 9 * time.Hour, 17 * time.Hour
	for _, p := range []struct{ name, sid string }{{"Ann", domain}, {"Ben", entra}} {
		pc := "pc-" + p.name
		for _, d := range []time.Time{day(3, 3, 0), day(3, 4, 0), day(9, 1, 0)} { // the System log
			add(d.Add(morning+2*time.Second), event.Logon, p.sid, p.sid, pc, 0)
			add(d.Add(evening+time.Second), event.Logoff, p.sid, p.sid, pc, 0)
		}
		add(day(9, 1, morning), event.Logon, p.name, p.sid, pc, 7) // the Security log
		add(day(9, 1, evening), event.Logoff, p.name, p.sid, pc, 7)
		add(day(3, 5, morning), event.Logon, p.sid, p.sid, "hall", 0) // where nothing else is collected
		add(day(3, 5, evening), event.Logoff, p.sid, p.sid, "hall", 0)
	}
	add(day(3, 6, morning), event.Logon, clone, clone, "hall", 0)
	add(day(3, 6, evening), event.Logoff, clone, clone, "hall", 0)
	add(day(9, 2, morning), event.Logon, "Cid", clone, "pc-1", 1)
	add(day(9, 2, morning), event.Logon, "Dan", clone, "pc-2", 1)
	add(day(3, 7, morning), event.Logon, nobody, nobody, "hall", 0)
	add(day(3, 7, evening), event.Logoff, nobody, nobody, "hall", 0)
	insertEvents(t, conn, events)

	r := New(conn, Options{Now: func() time.Time { return day(11, 1, 0) }})
	timeOf := func(from, to time.Time, user string) (got []string) {
		report, err := r.TimeSpent(context.Background(), c, Params{From: from, To: to, Location: time.UTC, Limit: 100, GroupBy: []string{"user"}, User: user})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range report.Rows {
			got = append(got, fmt.Sprintf("%s %d sessions %.0f s", *row.User, row.Sessions, row.TotalSeconds))
		}
		return got
	}
	march := []string{
		"Ann 3 sessions 86398 s", "Ben 3 sessions 86398 s",
		"S-1-5-21-9-9-9-500 1 sessions 28800 s", "S-1-5-21-9-9-9-7 1 sessions 28800 s",
	}
	if got := timeOf(day(3, 1, 0), day(4, 1, 0), ""); !slices.Equal(got, march) {
		t.Errorf("March: %q, want %q", got, march)
	}
	if got := timeOf(day(3, 1, 0), day(4, 1, 0), "ann"); !slices.Equal(got, march[:1]) {
		t.Errorf("Ann's March: %q", got)
	}
	if got, want := timeOf(day(9, 1, 0), day(9, 2, 0), ""), []string{"Ann 1 sessions 28800 s", "Ben 1 sessions 28800 s"}; !slices.Equal(got, want) {
		t.Errorf("September: %q, want %q", got, want)
	}
	firstLast, err := r.FirstLast(context.Background(), c, Params{From: day(3, 4, 0), To: day(9, 2, 0), Location: time.UTC, Limit: 100, User: "ben"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range firstLast.Rows {
		got = append(got, fmt.Sprintf("%s %s %s %d", row.Day, row.User, row.LastLogon.Format(time.TimeOnly), row.Events))
	}
	if want := []string{"2025-03-04 Ben 09:00:02 2", "2025-03-05 Ben 09:00:00 2", "2025-09-01 Ben 09:00:00 2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	totals, err := r.Totals(context.Background(), c, Params{From: day(9, 1, 0), To: day(9, 2, 0), Location: time.UTC, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	if totals.ActiveUsers != 2 || totals.SignIns != 2 || totals.SignOffs != 2 {
		t.Errorf("%d active, %d sign-ins, %d sign-offs, want 2 each", totals.ActiveUsers, totals.SignIns, totals.SignOffs)
	}
}
