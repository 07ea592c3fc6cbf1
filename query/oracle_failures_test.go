package query

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"testing"

	"gatehouse/event"
)

// The failures report against plain loops.
func TestOracleFailures(t *testing.T) {
	r := testReports(t)
	bursts, sprays, again := 0, 0, 0
	check(t, func(rt *draw) {
		c, events := rt.company, rt.events
		for range 2 {
			v := url.Values{"limit": {"100000"}}
			genRange(rt, v, events)
			if rt.coin() {
				genFilters(rt, v)
			}
			v.Set("group_by", oneOf(rt, FailuresSpec.GroupBy))
			v.Set("type", oneOf(rt, []string{"logon_failed", "all", "credential_failed"}))
			v.Set("account", oneOf(rt, []string{"", "all"}))
			v.Set("burst_count", fmt.Sprint(rt.between(2, 5)))
			v.Set("spray_users", fmt.Sprint(rt.between(2, 4)))
			v.Set("burst_window", oneOf(rt, []string{"1", "60", "600", "36000"}))
			p := parse(rt, FailuresSpec, c, v)
			report, err := r.Failures(context.Background(), c, p)
			if err != nil {
				rt.Fatal(err)
			}
			bursts, sprays = bursts+len(report.Bursts), sprays+len(report.Sprays)
			fail := func(what string, got, want any) {
				rt.Fatalf("%s of %s\n got %v\nwant %v", what, v.Encode(), got, want)
			}
			if len(p.Types) == 0 {
				p.Types = FailuresSpec.TypeChoice
			}
			failed := chosen(p, events)
			if report.Failures != uint64(len(failed)) {
				fail("failures", report.Failures, len(failed))
			}
			kinds, users, computers := map[event.Type]int{}, map[string]bool{}, map[string]bool{}
			for _, e := range failed {
				computers[event.Fold(e.Computer)] = true
				if e.User != "" {
					users[event.Fold(e.User)] = true
				}
			}
			either := p
			either.Types = FailuresSpec.TypeChoice
			for _, e := range chosen(either, events) {
				kinds[e.Type]++
			}
			got := [4]uint64{report.Users, report.Computers, report.LogonFailed, report.CredentialFailed}
			if want := [4]uint64{uint64(len(users)), uint64(len(computers)), uint64(kinds[event.LogonFailed]), uint64(kinds[event.CredentialFailed])}; got != want {
				fail("users, computers, both kinds", got, want)
			}
			if got, want := shownFailures(report), wantFailures(report.GroupBy, failed); !slices.Equal(got, want) {
				fail("rows", got, want)
			}
			if got, want := shownBursts(report), wantBursts(p, failed); !slices.Equal(got, want) {
				fail("bursts", got, want)
			}
			if got, want := shownSprays(report), wantSprays(p, failed); !slices.Equal(got, want) {
				fail("sprays", got, want)
			}
			all := p
			all.Types = []event.Type{event.Lockout}
			told := chosen(all, events)
			want := len(toldOnce(told, events))
			if report.Lockouts != uint64(want) {
				fail("lockouts", report.Lockouts, want)
			}
			again += len(told) - want
		}
	})
	if bursts == 0 || sprays == 0 || again == 0 {
		t.Errorf("%d bursts, %d sprays and %d lockouts told again in all cases: they show nothing", bursts, sprays, again)
	}
}

// addressOf is where an attempt came from, by the words of docs/reports.md.
func addressOf(e *event.Event) netip.Addr {
	if e.SourceIP.IsValid() && !e.SourceIP.IsLoopback() && !e.SourceIP.IsUnspecified() {
		return e.SourceIP
	}
	if e.LocalIP.IsUnspecified() {
		return netip.Addr{}
	}
	return e.LocalIP
}

func shownFailures(report *FailuresReport) []string {
	var out []string
	for _, row := range report.Rows {
		name := ""
		switch report.GroupBy {
		case ByUser:
			name = event.Fold(*row.User)
		case ByComputer:
			name = event.Fold(*row.Computer)
		case ByAddress:
			name = *row.Address
		case ByReason:
			name = row.Reason
		case BySite:
			name = fmt.Sprint(*row.SiteID)
		}
		line := fmt.Sprintf("%s %d u%d c%d a%d %d-%d", name, row.Failures, row.Users, row.Computers, row.Addresses, row.First.UnixMilli(), row.Last.UnixMilli())
		reasons := map[string]uint64{}
		for _, rc := range row.Reasons {
			reasons[rc.Reason] += rc.Failures
		}
		out = append(out, line+fmt.Sprint(reasons))
	}
	slices.Sort(out)
	return out
}

func wantFailures(by string, failed []event.Event) []string {
	groups := map[string][]event.Event{}
	for _, e := range failed {
		name := event.Fold(e.User)
		switch by {
		case ByComputer:
			name = event.Fold(e.Computer)
		case ByAddress:
			name = ""
			if a := addressOf(&e); a.IsValid() {
				name = a.String()
			}
		case ByReason:
			name = ReasonFor(e.Status, e.SubStatus).Key
		case BySite:
			name = fmt.Sprint(e.SiteID)
		}
		groups[name] = append(groups[name], e)
	}
	var out []string
	for name, list := range groups {
		users, computers, addresses, reasons := map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}, map[string]uint64{}
		first, last := list[0].Time, list[0].Time
		for _, e := range list {
			if e.User != "" {
				users[event.Fold(e.User)] = true
			}
			computers[event.Fold(e.Computer)] = true
			if a := addressOf(&e); a.IsValid() {
				addresses[a] = true
			}
			reasons[ReasonFor(e.Status, e.SubStatus).Key]++
			first, last = min(first, e.Time), max(last, e.Time)
		}
		line := fmt.Sprintf("%s %d u%d c%d a%d %d-%d", name, len(list), len(users), len(computers), len(addresses), first, last)
		out = append(out, line+fmt.Sprint(reasons))
	}
	slices.Sort(out)
	return out
}

func shownBursts(report *FailuresReport) []string {
	var out []string
	for _, b := range report.Bursts {
		name := event.Fold(b.User)
		if b.Kind == ByAddress {
			name = b.Address
		}
		out = append(out, fmt.Sprintf("%s %s %d-%d n%d u%d c%d a%d", b.Kind, name, b.First.UnixMilli(), b.Last.UnixMilli(), b.Failures, b.Users, b.Computers, b.Addresses))
	}
	slices.Sort(out)
	return out
}

// perSubject splits failures by user and by address, each in order of time.
func perSubject(failed []event.Event) map[string][]event.Event {
	out := map[string][]event.Event{}
	for _, e := range failed {
		if e.User != "" {
			out["user "+event.Fold(e.User)] = append(out["user "+event.Fold(e.User)], e)
		}
		if a := addressOf(&e); a.IsValid() {
			out["address "+a.String()] = append(out["address "+a.String()], e)
		}
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
	}
	return out
}

// joined gives the stretches [first, last] of indices that overlapping windows
// make together.
func joined(windows [][2]int) [][2]int {
	var out [][2]int
	for _, w := range windows {
		if n := len(out); n > 0 && w[0] <= out[n-1][1] {
			out[n-1][1] = max(out[n-1][1], w[1])
			continue
		}
		out = append(out, w)
	}
	return out
}

func wantBursts(p Params, failed []event.Event) []string {
	var out []string
	for subject, list := range perSubject(failed) {
		var windows [][2]int
		for i := 0; i+p.BurstCount <= len(list); i++ {
			if list[i+p.BurstCount-1].Time-list[i].Time <= p.BurstWindow.Milliseconds() {
				windows = append(windows, [2]int{i, i + p.BurstCount - 1})
			}
		}
		for _, w := range joined(windows) {
			part := list[w[0] : w[1]+1]
			users, computers, addresses := map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}
			for _, e := range part {
				if e.User != "" {
					users[event.Fold(e.User)] = true
				}
				computers[event.Fold(e.Computer)] = true
				if a := addressOf(&e); a.IsValid() {
					addresses[a] = true
				}
			}
			out = append(out, fmt.Sprintf("%s %d-%d n%d u%d c%d a%d", subject, part[0].Time, part[len(part)-1].Time, len(part), len(users), len(computers), len(addresses)))
		}
	}
	slices.Sort(out)
	return out
}

func shownSprays(report *FailuresReport) []string {
	var out []string
	for _, s := range report.Sprays {
		out = append(out, fmt.Sprintf("address %s %d-%d n%d u%d", s.Address, s.First.UnixMilli(), s.Last.UnixMilli(), s.Failures, s.Users))
	}
	slices.Sort(out)
	return out
}

func wantSprays(p Params, failed []event.Event) []string {
	named := slices.DeleteFunc(slices.Clone(failed), func(e event.Event) bool { return e.User == "" })
	var out []string
	for subject, list := range perSubject(named) {
		if subject[:5] == "user " {
			continue
		}
		var windows [][2]int
		for i := range list {
			users, last := map[string]bool{}, i
			for j := i; j < len(list) && list[j].Time-list[i].Time <= p.BurstWindow.Milliseconds(); j++ {
				users[event.Fold(list[j].User)] = true
				if len(users) >= p.SprayUsers {
					last = j
				}
			}
			// The window that begins here reaches as far as the last failure that
			// can end one with enough users.
			if len(users) >= p.SprayUsers {
				windows = append(windows, [2]int{i, last})
			}
		}
		for _, w := range joined(windows) {
			users := map[string]bool{}
			for _, e := range list[w[0] : w[1]+1] {
				users[event.Fold(e.User)] = true
			}
			out = append(out, fmt.Sprintf("%s %d-%d n%d u%d", subject, list[w[0]].Time, list[w[1]].Time, w[1]-w[0]+1, len(users)))
		}
	}
	slices.Sort(out)
	return out
}
