package query

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"gatehouse/event"
)

// isPresence tells whether an event is one that sessions are made of.
func isPresence(e *event.Event) bool {
	switch e.Type {
	case event.Logon, event.Logoff, event.Lock, event.Unlock, event.Disconnect, event.Reconnect:
	default:
		return false
	}
	switch e.LogonType {
	case 2, 10, 11, 12, 255:
		return e.Account == event.AccountUser
	}
	return false
}

// presentPeople gives the presence events that p asks for, under people's names: what
// names somebody by a SID alone is the person's, unless a logon or logoff with the name tells it too.
func presentPeople(p Params, events []event.Event) (out []event.Event) {
	names := refNames(distinct(events))
	for _, e := range events {
		if !isPresence(&e) || e.Time < p.From.UnixMilli() || e.Time >= p.To.UnixMilli() {
			continue
		}
		if name := names(&e); name != "" {
			if (e.Type == event.Logon || e.Type == event.Logoff) && refToldAgain(name, &e, events) {
				continue
			}
			e.User = name
		}
		if passes(p, &e) {
			out = append(out, e)
		}
	}
	return out
}

func TestOracleTotals(t *testing.T) {
	r := testReports(t)
	check(t, func(rt *draw) {
		c, events := rt.company, rt.events
		for range 2 {
			v := url.Values{}
			genRange(rt, v, events)
			genFilters(rt, v)
			p := parse(rt, TotalsSpec, c, v)
			report, err := r.Totals(context.Background(), c, p)
			if err != nil {
				rt.Fatal(err)
			}
			mine := chosen(p, events)
			once := toldOnce(mine, events)
			users, pcs, all, types := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]uint64{}
			want := TotalsReport{Events: uint64(len(once))}
			for _, e := range once {
				types[e.Type.String()]++
			}
			var first, last int64
			for _, e := range presentPeople(p, events) {
				users[event.Fold(e.User)], pcs[event.Fold(e.Computer)] = true, true
			}
			for i, e := range mine {
				if i == 0 {
					first, last = e.Time, e.Time
				}
				first, last = min(first, e.Time), max(last, e.Time)
				all[event.Fold(e.Computer)] = true
				if e.Type == event.LogonFailed && (e.Account == event.AccountUser || e.Account == event.AccountNone) {
					want.Failures++
				}
			}
			from, to := p.From.UnixMilli(), p.To.UnixMilli()
			around := SessionLookaround.Milliseconds()
			for _, s := range referenceSessions(events, from-around, to+around, testNow.UnixMilli(), c.MaxSession.Milliseconds()) {
				if (p.User != "" && s.user != p.User) || (p.Computer != "" && s.computer != p.Computer) || !p.ofSite(s.site) {
					continue
				}
				if s.signedIn && s.start >= from && s.start < to {
					want.SignIns++
				}
				if s.reason == "logoff" && s.until >= from && s.until < to {
					want.SignOffs++
				}
			}
			want.ActiveUsers, want.ActiveComputers, want.Computers = uint64(len(users)), uint64(len(pcs)), uint64(len(all))
			got := map[string]uint64{}
			for _, row := range report.Rows {
				got[row.Type] = row.Events
			}
			show := func(r *TotalsReport) string {
				return fmt.Sprint(r.Events, r.ActiveUsers, r.ActiveComputers, r.Computers, r.SignIns, r.SignOffs, r.Failures)
			}
			if show(report) != show(&want) || fmt.Sprint(got) != fmt.Sprint(types) {
				rt.Fatalf("%s\n got %s %v\nwant %s %v", v.Encode(), show(report), got, show(&want), types)
			}
			if len(mine) == 0 {
				if report.FirstEvent != nil || report.LastEvent != nil {
					rt.Fatal("first and last of no events")
				}
			} else if report.FirstEvent.UnixMilli() != first || report.LastEvent.UnixMilli() != last {
				rt.Fatalf("first %v last %v, want %d %d", report.FirstEvent, report.LastEvent, first, last)
			}
		}
	})
}

func TestOracleFirstLast(t *testing.T) {
	r := testReports(t)
	check(t, func(rt *draw) {
		c, events := rt.company, rt.events
		for range 3 {
			v := url.Values{"limit": {"100000"}}
			genRange(rt, v, events)
			genFilters(rt, v)
			p := parse(rt, FirstLastSpec, c, v)
			report, err := r.FirstLast(context.Background(), c, p)
			if err != nil {
				rt.Fatal(err)
			}
			type key struct{ day, user string }
			groups := map[key][]event.Event{}
			for _, e := range presentPeople(p, events) {
				k := key{wantDay(p, e.Time), event.Fold(e.User)}
				groups[k] = append(groups[k], e)
			}
			var want, got []string
			for k, list := range groups {
				var firstLogon, lastLogon, lastLogoff int64
				first, last := list[0].Time, list[0].Time
				firstAt, lastAt := "", ""
				pcs := map[string]bool{}
				for _, e := range list {
					if e.Time < first || firstAt == "" || (e.Time == first && e.Computer < firstAt) {
						first, firstAt = e.Time, e.Computer
					}
					if e.Time > last || lastAt == "" || (e.Time == last && e.Computer > lastAt) {
						last, lastAt = e.Time, e.Computer
					}
					pcs[event.Fold(e.Computer)] = true
					if e.Type == event.Logon {
						if firstLogon == 0 || e.Time < firstLogon {
							firstLogon = e.Time
						}
						lastLogon = max(lastLogon, e.Time)
					}
					if e.Type == event.Logoff {
						lastLogoff = max(lastLogoff, e.Time)
					}
				}
				want = append(want, fmt.Sprint(k, firstLogon, lastLogon, lastLogoff, first, last, firstAt, lastAt, len(pcs), len(list)))
			}
			ms := func(t *time.Time) int64 {
				if t == nil {
					return 0
				}
				return t.UnixMilli()
			}
			for _, row := range report.Rows {
				got = append(got, fmt.Sprint(key{row.Day, event.Fold(row.User)}, ms(row.FirstLogon), ms(row.LastLogon), ms(row.LastLogoff),
					row.FirstSeen.UnixMilli(), row.LastSeen.UnixMilli(), row.FirstComputer, row.LastComputer, row.Computers, row.Events))
			}
			if !slices.IsSorted(got) {
				rt.Fatalf("rows are not in order: %v", got)
			}
			slices.Sort(want)
			if !slices.Equal(got, want) {
				rt.Fatalf("%s %s\n got %v\nwant %v", c.Zone(), v.Encode(), got, want)
			}
		}
	})
}

func TestOracleCoverage(t *testing.T) {
	r := testReports(t)
	check(t, func(rt *draw) {
		c, events := rt.company, rt.events
		for range 2 {
			v := url.Values{"silence_after": {oneOf(rt, []string{"1", "24", "2000"})}}
			genRange(rt, v, events)
			if rt.coin() {
				v.Set("site", "1")
			}
			p := parse(rt, CoverageSpec, c, v)
			report, err := r.Coverage(context.Background(), c, p)
			if err != nil {
				rt.Fatal(err)
			}
			back := p
			back.From = p.From.Add(-CoverageLookback)
			groups := map[string][]event.Event{}
			for _, e := range chosen(back, events) {
				groups[event.Fold(e.Computer)] = append(groups[event.Fold(e.Computer)], e)
			}
			var got, want []string
			for _, row := range report.Rows {
				got = append(got, showCoverage(&row))
			}
			for _, list := range groups {
				row := wantCoverage(p, list)
				want = append(want, showCoverage(&row))
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				rt.Fatalf("%s\n got %v\nwant %v", v.Encode(), got, want)
			}
		}
	})
}

func showCoverage(row *CoverageRow) string {
	lag := func(f *float64) float64 {
		if f == nil {
			return -1
		}
		return *f
	}
	return fmt.Sprint(event.Fold(row.Computer), row.FirstSeen.UnixMilli(), row.LastSeen.UnixMilli(), row.SilentSeconds, row.Events, row.Logons, row.Logoffs, row.Locks,
		row.ClockChanges, row.LogClears, row.FutureEvents, row.MaxAheadSeconds, lag(row.LagMedianSeconds), lag(row.LagP95Seconds), row.MissingRecords, row.Flags, row.Logs)
}

func wantCoverage(p Params, list []event.Event) CoverageRow {
	row := CoverageRow{Computer: list[0].Computer, FirstSeen: time.UnixMilli(list[0].Time), LastSeen: time.UnixMilli(list[0].Time), Logs: []LogCoverage{}}
	var lags []int64
	logs := map[string][]event.Event{}
	for _, e := range list {
		at := time.UnixMilli(e.Time)
		if at.Before(row.FirstSeen) {
			row.FirstSeen = at
		}
		if at.After(row.LastSeen) {
			row.LastSeen = at
		}
		if at.Before(p.From) {
			continue
		}
		row.Events++
		lags = append(lags, max(e.Received-e.Time, 0))
		if ahead := e.Time - e.Received; ahead > 5000 {
			row.FutureEvents++
			row.MaxAheadSeconds = max(row.MaxAheadSeconds, float64(ahead)/1000)
		}
		switch e.Type {
		case event.Logon:
			if isPresence(&e) {
				row.Logons++
			}
		case event.Logoff:
			if isPresence(&e) {
				row.Logoffs++
			}
		case event.Lock, event.Unlock:
			row.Locks++
		case event.ClockChanged:
			row.ClockChanges++
		case event.LogCleared:
			row.LogClears++
		}
		if e.RecordID != 0 {
			logs[e.Channel] = append(logs[e.Channel], e)
		}
	}
	end := p.To
	if testNow.Before(end) {
		end = testNow
	}
	row.SilentSeconds = max(float64(end.UnixMilli()-row.LastSeen.UnixMilli())/1000, 0)
	if len(lags) > 0 {
		slices.Sort(lags)
		median, p95 := float64(lags[len(lags)/2])/1000, float64(lags[int(0.95*float64(len(lags)))])/1000
		row.LagMedianSeconds, row.LagP95Seconds = &median, &p95
	}
	for channel, records := range logs {
		l := wantLog(channel, records)
		row.MissingRecords += l.Missing
		row.Logs = append(row.Logs, l)
	}
	slices.SortFunc(row.Logs, func(a, b LogCoverage) int { return cmp.Compare(a.Channel, b.Channel) })
	flag := func(name string, on bool) {
		if on {
			row.Flags = append(row.Flags, name)
		}
	}
	flag("blind", row.Events == 0)
	flag("silent", row.SilentSeconds > p.SilenceAfter.Seconds())
	flag("no_logoffs", row.Logons > 0 && row.Logoffs == 0)
	flag("no_locks", row.Logons > 0 && row.Locks == 0)
	flag("clock_ahead", row.FutureEvents > 0)
	flag("clock_changed", row.ClockChanges > 0)
	flag("log_cleared", row.LogClears > 0)
	return row
}

// wantLog walks one log in order of time, and counts what each numbering lacks.
func wantLog(channel string, records []event.Event) LogCoverage {
	slices.SortStableFunc(records, func(a, b event.Event) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.RecordID, b.RecordID), boolOrder(a.Type == event.LogCleared, b.Type == event.LogCleared))
	})
	l := LogCoverage{Channel: channel}
	var before uint64
	held := map[uint64]bool{}
	finish := func() {
		l.Numberings++
		ids := make([]uint64, 0, len(held))
		for id := range held {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for i, id := range ids {
			l.Records++
			if i > 0 && id-ids[i-1] > 1 {
				l.Gaps++
				l.Missing += id - ids[i-1] - 1
				l.LargestGap = max(l.LargestGap, id-ids[i-1]-1)
			}
		}
		clear(held)
	}
	for _, e := range records {
		if e.RecordID < before && (e.Type == event.LogCleared || before-e.RecordID > 1000) {
			finish()
		}
		held[e.RecordID], before = true, e.RecordID
	}
	finish()
	return l
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Search against filtering and sorting by hand, page after page.
func TestOracleSearch(t *testing.T) {
	r := testReports(t)
	check(t, func(rt *draw) {
		c, events := rt.company, rt.events
		v := url.Values{"limit": {oneOf(rt, []string{"1", "3", "7", "50"})}}
		genRange(rt, v, events)
		genFilters(rt, v)
		for _, filter := range [][]string{
			{"q", "p", "PC-", "Zoë", "back\\"},
			{"domain", "corp", "élan"},
			{"ip", "10.0.0.7", "::1", "2001:db8::1"},
			{"logon_id", "0x1"},
			{"event_id", "4624"},
			{"type", "Logon,lockout", "logon_failed"},
			{"account", "user", "computer,none"},
		} {
			if rt.between(0, 5) == 0 {
				v.Set(filter[0], oneOf(rt, filter[1:]))
			}
		}
		p := parse(rt, SearchSpec, c, v)
		want := chosen(p, events)
		slices.SortFunc(want, func(a, b event.Event) int {
			return -cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(event.Fold(a.Computer), event.Fold(b.Computer)), cmp.Compare(event.Fold(a.User), event.Fold(b.User)),
				cmp.Compare(a.Type, b.Type), cmp.Compare(a.LogonID, b.LogonID), cmp.Compare(a.RecordID, b.RecordID), cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.ContentHash, b.ContentHash))
		})
		var got []EventRow
		for pages := 0; ; pages++ {
			report, err := r.Search(context.Background(), c, parse(rt, SearchSpec, c, v))
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, report.Rows...)
			if report.NextCursor == "" {
				break
			}
			if len(report.Rows) != p.Limit || pages > len(events) {
				rt.Fatalf("a page of %d rows leads on", len(report.Rows))
			}
			v.Set("cursor", report.NextCursor)
			if pages == 12 { // enough of single rows
				v.Set("limit", "200")
			}
			p.Limit = parse(rt, SearchSpec, c, v).Limit
		}
		if len(got) != len(want) {
			rt.Fatalf("%s: %d events, want %d", v.Encode(), len(got), len(want))
		}
		for i := range got {
			if got[i].ID != want[i].ID().String() || !got[i].Time.Equal(time.UnixMilli(want[i].Time)) || got[i].Received.UnixMilli() != want[i].Received {
				rt.Fatalf("row %d is %+v, want %+v", i, got[i], want[i])
			}
		}
		if len(got) > 0 {
			checkOneEvent(rt, r, c, &got[0])
		}
	})
}

// checkOneEvent looks an event up by its id, with its time and without.
func checkOneEvent(t *draw, r *Reports, c Company, row *EventRow) {
	id, err := event.ParseID(row.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{row.Time.Format(time.RFC3339Nano), ""} {
		one, err := r.Event(context.Background(), c, parse(t, EventSpec, c, url.Values{"time": {at}}), id)
		if err != nil {
			t.Fatal(err)
		}
		if one.Event.ID != row.ID || one.Event.e != row.e {
			t.Fatalf("looked up %+v, got %+v", row, one.Event)
		}
		other := Company{ID: c.ID + 1<<30, Name: "other"}
		if _, err := r.Event(context.Background(), other, parse(t, EventSpec, other, url.Values{"time": {at}}), id); event.ErrorCode(err) != event.CodeNotFound {
			t.Fatalf("another company's look-up of the event: %v", err)
		}
	}
}
