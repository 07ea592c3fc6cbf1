package query

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
)

// manySessions are more than a page of sessions holds before it drops some, of people who
// come and go at the same instants.
func manySessions(c Company, start time.Time) (out []event.Event) {
	r := rand.New(rand.NewPCG(3, 31))
	for person := range 60 {
		for day := range 25 {
			e := event.Event{
				CompanyID: c.ID, SiteID: uint32(1 + person%3), Type: event.Logon, User: fmt.Sprintf("user-%d", person), Computer: fmt.Sprintf("pc-%d", r.IntN(40)),
				Account: event.AccountUser, LogonType: event.LogonTypeNone, LogonID: uint64(r.IntN(2)),
				Time: start.AddDate(0, 0, day).Add(time.Duration(r.IntN(4)) * time.Hour).UnixMilli(),
			}
			e.Received = e.Time
			off := e
			off.Type, off.Time = event.Logoff, e.Time+int64(1+r.IntN(3))*1800_000
			fail := e
			fail.Type, fail.LogonID, fail.Status = event.LogonFailed, 0, testStatuses[r.IntN(len(testStatuses))]
			out = append(out, e, off, fail)
		}
	}
	return distinct(out)
}

// TestSessionsPageThrough reads all sessions three at a time, and holds them against the
// plain reference, which knows no pages.
func TestSessionsPageThrough(t *testing.T) {
	conn := testConn(t)
	c := newCompany("UTC")
	start := time.Date(2025, 6, 2, 7, 0, 0, 0, time.UTC)
	events := manySessions(c, start)
	insertEvents(t, conn, events)
	r := New(conn, Options{Now: func() time.Time { return start.AddDate(0, 2, 0) }})
	from, to := start, start.AddDate(0, 0, 30)
	around := SessionLookaround.Milliseconds()
	var want []string
	for _, s := range referenceSessions(events, from.UnixMilli()-around, to.UnixMilli()+around, r.now().UnixMilli(), c.MaxSession.Milliseconds()) {
		want = append(want, fmt.Sprintf("%d %s %s %d %d", s.start, s.user, s.computer, s.logonID, s.until))
	}
	if len(want) < 2*(3+1)+sessionsAside+100 {
		t.Fatalf("%d sessions drop none", len(want))
	}
	var got []string
	v := url.Values{"from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}, "limit": {"3"}}
	for pages := 0; ; pages++ {
		p, err := ParseParams(SessionsSpec, c, r.now(), v)
		if err != nil {
			t.Fatal(err)
		}
		report, err := r.Sessions(context.Background(), c, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range report.Rows {
			id := uint64(0)
			if s.LogonID != nil {
				id = 1
			}
			got = append(got, fmt.Sprintf("%d %s %s %d %d", s.Start.UnixMilli(), s.User, s.Computer, id, s.End.UnixMilli()))
		}
		if report.NextCursor == "" {
			break
		}
		if len(report.Rows) != p.Limit || pages > len(want) {
			t.Fatalf("a page of %d rows leads on", len(report.Rows))
		}
		v.Set("cursor", report.NextCursor)
		if pages == 20 { // enough of threes
			v.Set("limit", "97")
		}
	}
	began := func(s string) string { return strings.SplitN(s, " ", 2)[0] }
	if !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(began(a), began(b)) }) {
		t.Error("the pages are not in the order of the sessions' begin")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%d sessions on the pages, %d in the reference", len(got), len(want))
	}
}

// TestReportsPageThrough: the pages of each report, one after the other, are what one
// large page holds.
func TestReportsPageThrough(t *testing.T) {
	conn := testConn(t)
	c := newCompany("Europe/Berlin")
	start := time.Date(2025, 6, 2, 7, 0, 0, 0, time.UTC)
	insertEvents(t, conn, manySessions(c, start))
	r := New(conn, Options{Now: func() time.Time { return start.AddDate(0, 2, 0) }})
	for _, rt := range routes {
		if !slices.Contains(rt.spec.Params, "cursor") {
			continue
		}
		v := url.Values{}
		if slices.Contains(rt.spec.Params, "from") {
			v.Set("from", start.Format(time.RFC3339))
			v.Set("to", start.AddDate(0, 0, 12).Format(time.RFC3339))
		} else {
			v.Set("at", start.AddDate(0, 0, 3).Add(2*time.Hour).Format(time.RFC3339))
		}
		for _, group := range append(slices.Clone(rt.spec.GroupBy), "") {
			v := url.Values{"from": v["from"], "to": v["to"], "at": v["at"], "limit": {fmt.Sprint(rt.spec.maxLimit())}, "group_by": {group}}
			for name, values := range v {
				if len(values) == 0 || values[0] == "" {
					delete(v, name)
				}
			}
			ask := func() reflect.Value {
				p, err := ParseParams(rt.spec, c, r.now(), v)
				if err != nil {
					t.Fatal(rt.spec.Name, v.Encode(), err)
				}
				req := httptest.NewRequestWithContext(t.Context(), "GET", rt.path, nil)
				answer, err := rt.run(t.Context(), r, c, p, req)
				if err != nil {
					t.Fatal(rt.spec.Name, v.Encode(), err)
				}
				return reflect.Indirect(reflect.ValueOf(answer))
			}
			whole := ask().FieldByName("Rows")
			v.Set("limit", fmt.Sprint(max(3, whole.Len()/9)))
			rows := reflect.MakeSlice(whole.Type(), 0, whole.Len())
			for pages := 1; ; pages++ {
				answer := ask()
				rows = reflect.AppendSlice(rows, answer.FieldByName("Rows"))
				next := answer.FieldByName("NextCursor").String()
				if next == "" {
					break
				}
				if pages > 20 {
					t.Fatalf("%s: too many pages", rt.spec.Name)
				}
				v.Set("cursor", next)
			}
			if rows.Len() != whole.Len() || (whole.Len() > 0 && !reflect.DeepEqual(rows.Interface(), whole.Interface())) {
				t.Errorf("%s by %q: %d rows on pages, %d in one, or others", rt.spec.Name, group, rows.Len(), whole.Len())
			}
			if whole.Len() == 0 {
				t.Errorf("%s by %q has no rows", rt.spec.Name, group)
			}
		}
	}
}
