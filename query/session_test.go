package query

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
)

// What ends a session, by hand: times are of one day, end and reason those of the sessions report.
func TestSessionEnds(t *testing.T) {
	conn, day := testConn(t), time.Date(2025, 5, 26, 0, 0, 0, 0, time.UTC)
	type told struct {
		at   string
		kind event.Type
		id   uint16
	}
	for _, c := range []struct {
		name   string
		events []told
		want   []string
	}{
		{"a shutdown, told when it was asked for", []told{
			{"09:00:00", event.Logon, 4624}, {"17:00:00", event.Shutdown, 1074}, {"17:00:04", event.Logoff, 4647}, {"17:00:05", event.Logoff, 4634}, {"17:00:09", event.Shutdown, 6006}, {"17:05:00", event.Startup, 6005},
		}, []string{"09:00:00-17:00:04 logoff logged"}},
		{"the same without an end of the logoff's own", []told{
			{"09:00:00", event.Logon, 4624}, {"17:00:00", event.Shutdown, 1074}, {"17:00:09", event.Shutdown, 6006}, {"17:05:00", event.Startup, 6005},
		}, []string{"09:00:00-17:00:00 shutdown logged"}},
		{"a shutdown that was called off", []told{
			{"09:00:00", event.Logon, 4624}, {"11:00:00", event.Shutdown, 1074}, {"12:00:00", event.Lock, 4800}, {"13:00:00", event.Unlock, 4801}, {"17:00:00", event.Logoff, 4647},
		}, []string{"09:00:00-17:00:00 logoff logged"}},
		{"a logoff after the next start is another's", []told{
			{"09:00:00", event.Logon, 4624}, {"11:00:00", event.Shutdown, 6006}, {"11:05:00", event.Startup, 6005}, {"17:00:00", event.Logoff, 4647},
		}, []string{"09:00:00-11:00:00 shutdown logged"}},
		{"a logoff after the next logon is that one's", []told{
			{"09:00:00", event.Logon, 4624}, {"11:00:00", event.Shutdown, 1074}, {"12:00:00", event.Logon, 4624}, {"17:00:00", event.Logoff, 4647},
		}, []string{"09:00:00-11:00:00 shutdown logged", "12:00:00-17:00:00 logoff logged"}},
	} {
		company := newCompany("UTC")
		var events []event.Event
		for _, e := range c.events {
			at, err := time.Parse(time.TimeOnly, e.at)
			if err != nil {
				t.Fatal(err)
			}
			made := event.Event{
				CompanyID: company.ID, SiteID: 1, Type: e.kind, Computer: "PC", EventID: e.id, LogonType: event.LogonTypeNone,
				Time: day.Add(at.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))).UnixMilli(),
			}
			if !e.kind.OfComputer() {
				made.User, made.LogonID = "ann", 0x1d31fef
			}
			if err := made.Normalize(testNow); err != nil {
				t.Fatal(err)
			}
			events = append(events, made)
		}
		insertEvents(t, conn, events)
		report, err := testReports(t).Sessions(t.Context(), company, Params{From: day, To: day.AddDate(0, 0, 1), Location: time.UTC, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range report.Rows {
			got = append(got, fmt.Sprintf("%s-%s %s %s", s.Start.Format(time.TimeOnly), s.End.Format(time.TimeOnly), s.EndReason, s.EndConfidence))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", c.name, strings.Join(got, "; "), strings.Join(c.want, "; "))
		}
	}
}
