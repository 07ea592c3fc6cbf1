package query

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
)

// oracleZones have midnight and other DST changes, half-hour and no DST.
var oracleZones = []string{"UTC", "Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo"}

// history makes the events of one small group of people and computers around
// start: out of order, with duplicates, missing ends, ties, crashes, sleep, UAC twins.
func history(r *rand.Rand, company uint32, name string, start time.Time) []event.Event {
	granularity := []int64{1, 1000, 60_000, 900_000}[r.IntN(4)]
	span := []int64{2, 8, 36, 200}[r.IntN(4)] * int64(time.Hour/time.Millisecond)
	withIDs, power, twins := r.IntN(3) == 0, r.IntN(3) > 0, r.IntN(6) == 0
	ids := 3 + 3*r.IntN(2) // the more, the longer the chains of twins, and the fewer meet by chance
	if twins {
		withIDs = true
	}
	types := []event.Type{event.Logon, event.Logoff, event.Lock, event.Unlock, event.Disconnect, event.Reconnect}
	if power {
		types = append(types, event.Startup, event.Shutdown, event.Sleep, event.Wake)
	}
	types = append(types, event.Logon, event.LogonFailed)
	users, computers := 1+r.IntN(2), 1+r.IntN(2)
	var out []event.Event
	for i := range 3 + r.IntN(25) {
		e := event.Event{
			CompanyID: company, SiteID: uint32(r.IntN(3)), Account: event.AccountUser, LogonType: event.LogonTypeNone,
			Type: types[r.IntN(len(types))], Computer: fmt.Sprintf("PC-%s-%d", name, r.IntN(computers)),
			Time: (start.UnixMilli() + r.Int64N(span)) / granularity * granularity,
		}
		e.Received = e.Time + 50
		if e.Type.OfComputer() {
			e.Account = event.AccountNone
			if r.IntN(8) == 0 {
				e.LogonType = 7 // which means nothing there
			}
		} else {
			e.User = fmt.Sprintf("User-%s-%d", name, r.IntN(users))
			authority := []string{"5-21-7", "12-1"}[len(e.User)%2] // a domain's, or Entra's
			switch sid := fmt.Sprintf("S-1-%s-%s-%s", authority, name, e.User[len(e.User)-1:]); r.IntN(12) {
			case 0: // a record of Winlogon, which knows the SID alone
				e.User, e.SID = sid, sid
			case 1:
				e.SID = sid
			}
			if withIDs && r.IntN(8) > 0 {
				e.LogonID = uint64(1 + r.IntN(ids))
			}
			if back := r.IntN(12); back < 2 { // as Windows writes that a session was unlocked, under an id of its own
				e.Type, e.LogonType = []event.Type{event.Logon, event.Unlock}[r.IntN(2)], []uint8{7, 13}[back]
			} else if e.Type == event.Logon {
				e.LogonType = []uint8{2, 2, 10, 3, 5, 0, 255, 255}[r.IntN(8)]
				if twins && e.LogonID != 0 {
					e.LinkedLogonID, e.Elevated = uint64(1+r.IntN(ids)), r.IntN(2) == 0
				}
			}
		}
		if r.IntN(3) == 0 {
			e.RecordID = uint64(i + 1)
		}
		out = append(out, e)
		if e.SID != "" && e.User != e.SID && r.IntN(2) == 0 { // as Winlogon tells it
			again := e
			again.User, again.LogonID, again.LinkedLogonID, again.LogonType, again.Elevated = e.SID, 0, 0, event.LogonTypeNone, false
			again.Time += []int64{0, 1500, 30_000, 30_001, -30_000, -30_001}[r.IntN(6)]
			out = append(out, again)
		}
		if e.LinkedLogonID != 0 && r.IntN(2) == 0 { // what UAC writes beside it, at once or a moment later
			twin := e
			twin.LogonID, twin.LinkedLogonID, twin.Elevated, twin.Time = e.LinkedLogonID, e.LogonID, !e.Elevated, e.Time+int64(r.IntN(2))
			out = append(out, twin)
		}
	}
	r.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
	return out
}

// distinct drops repeated identities, as the writer does.
func distinct(events []event.Event) []event.Event {
	seen := map[event.ID]bool{}
	var out []event.Event
	for _, e := range events {
		if !seen[e.ID()] {
			seen[e.ID()] = true
			out = append(out, e)
		}
	}
	return out
}

// TestSessionsEqualReference compares the sessions of a report, and time spent made of them,
// with the plain Go, over 3,500 random histories: 500 of them in each of 7 companies. `make soak` takes
// 10,000 in 20.
func TestSessionsEqualReference(t *testing.T) {
	companies, histories := 7, 500
	if os.Getenv("GATEHOUSE_SOAK") != "" {
		companies = 20
	}
	if testing.Short() {
		companies = 3
	}
	conn := testConn(t)
	for n := range companies {
		zone := oracleZones[n%len(oracleZones)]
		t.Run(fmt.Sprintf("%d-%s", n, strings.ReplaceAll(zone, "/", "-")), func(t *testing.T) {
			c := newCompany(zone)
			r := rand.New(rand.NewPCG(uint64(n), 20251122))
			c.MaxSession = []time.Duration{24 * time.Hour, 6 * time.Hour, 90 * time.Minute}[n%3]
			var events []event.Event
			bases := []time.Time{
				time.Date(2025, 3, 29, 20, 0, 0, 0, time.UTC), time.Date(2025, 10, 25, 20, 0, 0, 0, time.UTC),
				time.Date(2025, 11, 1, 20, 0, 0, 0, time.UTC), time.Date(2025, 4, 5, 10, 0, 0, 0, time.UTC), time.Date(2025, 4, 24, 18, 0, 0, 0, time.UTC),
			}
			base := bases[n%len(bases)]
			for h := range histories {
				events = append(events, history(r, c.ID, fmt.Sprint(h), base)...)
			}
			insertEvents(t, conn, distinct(events))
			now := base.Add(time.Duration(r.IntN(300)) * time.Hour)
			reports := New(conn, Options{Now: func() time.Time { return now }})
			for range 2 {
				from := base.Add(time.Duration(r.IntN(30)-5) * time.Hour)
				p := Params{From: from, To: from.Add(time.Duration(1+r.IntN(120)) * time.Hour), Location: c.Location, Limit: MaxLimit}
				sessions := compareSessions(t, reports, c, p, events, now)
				for range 4 {
					compareFiltered(t, reports, c, p, events, sessions, now, r)
				}
			}
		})
	}
}

// compareSessions asks for all sessions of a range, and gives them with those around it.
func compareSessions(t *testing.T, reports *Reports, c Company, p Params, events []event.Event, now time.Time) []refSession {
	t.Helper()
	ctx := context.Background()
	from, to := p.From.UnixMilli(), p.To.UnixMilli()
	var want []refSession
	all := referenceSessions(events, from-SessionLookaround.Milliseconds(), to+SessionLookaround.Milliseconds(), now.UnixMilli(), c.MaxSession.Milliseconds())
	for _, s := range all {
		if s.touches(from, to) {
			want = append(want, s)
		}
	}
	got, err := reports.Sessions(ctx, c, p)
	if err != nil {
		t.Fatal(err)
	}
	describe := make([]string, 0, len(want))
	for _, s := range want {
		id, lt := "-", "-"
		if s.logonID != 0 {
			id = fmt.Sprintf("0x%x", s.logonID)
		}
		if s.logonType != event.LogonTypeNone {
			lt = fmt.Sprint(s.logonType)
		}
		describe = append(describe, fmt.Sprintf("%s %s %s site %d type %s in %t elevated %t %d..%d active %d %s %s", s.computer, s.user, id, s.site, lt, s.signedIn, s.elevated, s.start, s.until, s.activeMS(), s.reason, s.confidence))
	}
	have := make([]string, 0, len(got.Rows))
	for _, s := range got.Rows {
		id, lt, until := "-", "-", now.UnixMilli()
		if s.LogonID != nil {
			id = *s.LogonID
		}
		if s.LogonType != nil {
			lt = fmt.Sprint(*s.LogonType)
		}
		if s.End != nil {
			until = s.End.UnixMilli()
		}
		until = max(until, s.Start.UnixMilli())
		have = append(have, fmt.Sprintf("%s %s %s site %d type %s in %t elevated %t %d..%d active %d %s %s", event.Fold(s.Computer), event.Fold(s.User), id, s.SiteID, lt, s.OpenedBy == "logon", s.Elevated,
			s.Start.UnixMilli(), until, int64(s.ActiveSeconds*1000+0.5), s.EndReason, s.EndConfidence))
	}
	diffLines(t, events, describe, have)
	compareTimeSpent(t, reports, c, p, want)
	comparePeak(t, reports, c, p, all)
	return all
}

// compareFiltered asks for some of the sessions: filters choose among them and change
// none. It also asks who was signed in at an instant.
func compareFiltered(t *testing.T, reports *Reports, c Company, p Params, events []event.Event, sessions []refSession, now time.Time, r *rand.Rand) {
	t.Helper()
	some := sessions[r.IntN(len(sessions))]
	p.Computer = some.computer
	if r.IntN(2) == 0 {
		p.User = some.user
	}
	if r.IntN(2) == 0 {
		p.Site = &some.site
	}
	mine := func(s *refSession) bool {
		return s.computer == p.Computer && (p.User == "" || s.user == p.User) && p.ofSite(s.site)
	}
	// An instant at which something happened to it, or one beside that.
	instants := []int64{some.start, some.until}
	for _, i := range some.active {
		instants = append(instants, i.start, i.end)
	}
	p.At = time.UnixMilli(instants[r.IntN(len(instants))] + int64(r.IntN(3)-1))
	if p.At.After(now) {
		p.At = now
	}
	at, around := p.At.UnixMilli(), SessionLookaround.Milliseconds()
	var want, have []string
	for _, s := range referenceSessions(events, at-around, at+1+around, now.UnixMilli(), c.MaxSession.Milliseconds()) {
		if mine(&s) && s.start <= at && (s.until > at || s.reason == "open") {
			paused := s.until > s.start && !slices.ContainsFunc(s.active, func(i refInterval) bool {
				return i.start <= at && (at < i.end || (at == i.end && at == now.UnixMilli()))
			})
			want = append(want, fmt.Sprintf("%s %s %d paused %t", s.computer, s.user, s.start, paused))
		}
	}
	open, err := reports.SignedIn(context.Background(), c, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range open.Rows {
		have = append(have, fmt.Sprintf("%s %s %d paused %t", event.Fold(s.Computer), event.Fold(s.User), s.Start.UnixMilli(), s.State == "paused"))
	}
	diffLines(t, events, want, have)

	want, have = nil, nil
	from, to := p.From.UnixMilli(), p.To.UnixMilli()
	for _, s := range referenceSessions(events, from-around, to+around, now.UnixMilli(), c.MaxSession.Milliseconds()) {
		if mine(&s) && s.touches(from, to) {
			want = append(want, fmt.Sprintf("%s %s %d %s", s.computer, s.user, s.start, s.reason))
		}
	}
	got, err := reports.Sessions(context.Background(), c, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range got.Rows {
		have = append(have, fmt.Sprintf("%s %s %d %s", event.Fold(s.Computer), event.Fold(s.User), s.Start.UnixMilli(), s.EndReason))
	}
	diffLines(t, events, want, have)
}

// diffLines fails with the first history whose lines differ.
func diffLines(t *testing.T, events []event.Event, want, have []string) {
	t.Helper()
	slices.Sort(want)
	slices.Sort(have)
	if slices.Equal(want, have) {
		return
	}
	for i := range max(len(want), len(have)) {
		w, h := "", ""
		if i < len(want) {
			w = want[i]
		}
		if i < len(have) {
			h = have[i]
		}
		if w == h {
			continue
		}
		computer, _, _ := strings.Cut(cmp.Or(w, h), " ")
		var lines []string
		for _, e := range events {
			if event.Fold(e.Computer) == computer {
				lines = append(lines, fmt.Sprintf("  %d %s user %q id %d linked %d type %d site %d", e.Time, e.Type, e.User, e.LogonID, e.LinkedLogonID, e.LogonType, e.SiteID))
			}
		}
		slices.Sort(lines)
		t.Fatalf("reference %q\nSQL       %q\nevents of %s:\n%s", w, h, computer, strings.Join(lines, "\n"))
	}
}

func compareTimeSpent(t *testing.T, reports *Reports, c Company, p Params, sessions []refSession) {
	t.Helper()
	from, to := p.From.UnixMilli(), p.To.UnixMilli()
	for _, group := range [][]string{{"user"}, {"user", "computer"}, {"site"}, {"company"}, {"user", "day"}, {"company", "day"}} {
		p.GroupBy = group
		got, err := reports.TimeSpent(context.Background(), c, p)
		if err != nil {
			t.Fatal(err)
		}
		days := []Day{{Start: from, End: to}}
		if p.Grouped("day") {
			days = Days(p.From, p.To, c.Location)
		}
		want := map[string]*[8]int64{}
		for _, d := range days {
			units := map[[2]string][]refSession{}
			for _, s := range sessions {
				// A session of no length belongs to the moment it began in.
				if s.start >= d.End || (s.until <= d.Start && s.start < d.Start) {
					continue
				}
				label, unit := "", s.user
				if p.Grouped("user") {
					label += s.user
				}
				if p.Grouped("computer") {
					label += "|" + s.computer
					unit += "|" + s.computer
				}
				if p.Grouped("site") {
					label += fmt.Sprint("#", s.site)
					unit += fmt.Sprint("#", s.site)
				}
				units[[2]string{label + "@" + d.Date, unit}] = append(units[[2]string{label + "@" + d.Date, unit}], s)
			}
			for k, list := range units {
				row := want[k[0]]
				if row == nil {
					row = &[8]int64{6: math.MaxInt64}
					want[k[0]] = row
				}
				var whole, active []refInterval
				for _, s := range list {
					whole = append(whole, refInterval{s.start, s.until})
					active = append(active, s.active...)
					row[6], row[7] = min(row[6], max(s.start, d.Start)), max(row[7], min(s.until, d.End))
					row[4]++
					if s.confidence != "logged" {
						row[5]++
					}
				}
				u, sum := refUnion(whole, d.Start, d.End)
				row[0] += u
				row[2] += sum
				u, sum = refUnion(active, d.Start, d.End)
				row[1] += u
				row[3] += sum
			}
		}
		have := map[string]bool{}
		for _, row := range got.Rows {
			label := ""
			if row.User != nil {
				label += event.Fold(*row.User)
			}
			if row.Computer != nil {
				label += "|" + event.Fold(*row.Computer)
			}
			if row.SiteID != nil {
				label += fmt.Sprint("#", *row.SiteID)
			}
			label += "@" + row.Day
			have[label] = true
			ms := func(s float64) int64 { return int64(s*1000 + 0.5) }
			g := [8]int64{
				ms(row.TotalSeconds), ms(row.ActiveSeconds), ms(row.SumSeconds), ms(row.SumActiveSeconds), int64(row.Sessions), int64(row.InferredSessions),
				row.First.UnixMilli(), row.Last.UnixMilli(),
			}
			w, ok := want[label]
			if !ok {
				t.Fatalf("group_by %v: row %q is not in the reference: %v", group, label, g)
			}
			if *w != g {
				t.Fatalf("group_by %v, %q: total, active, sums, sessions, inferred, first, last: reference %v, SQL %v", group, label, *w, g)
			}
		}
		for label, w := range want {
			if !have[label] {
				t.Fatalf("group_by %v: row %q is missing: %v", group, label, *w)
			}
		}
	}
}

func comparePeak(t *testing.T, reports *Reports, c Company, p Params, sessions []refSession) {
	t.Helper()
	got := &TotalsReport{}
	if err := reports.totalsOfSessions(context.Background(), c, p, got); err != nil {
		t.Fatal(err)
	}
	type edge struct {
		t     int64
		delta int
		user  string
	}
	var edges []edge
	for _, s := range sessions {
		if b, e := max(s.start, p.From.UnixMilli()), min(s.until, p.To.UnixMilli()); e > b {
			edges = append(edges, edge{b, 1, s.user}, edge{e, -1, s.user})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.t, b.t), cmp.Compare(a.delta, b.delta)) })
	open, people := map[string]int{}, 0
	var count, peak, peakPeople int
	var at, peopleAt int64
	for i, e := range edges {
		count += e.delta
		before := open[e.user]
		open[e.user] += e.delta
		if before == 0 {
			people++
		} else if open[e.user] == 0 {
			people--
		}
		if i+1 == len(edges) || edges[i+1].t != e.t { // an instant counts when all of it has been taken
			if count > peak {
				peak, at = count, e.t
			}
			if people > peakPeople {
				peakPeople, peopleAt = people, e.t
			}
		}
	}
	var in, off uint64
	for _, s := range sessions {
		inside := func(t int64) bool { return t >= p.From.UnixMilli() && t < p.To.UnixMilli() }
		if s.signedIn && inside(s.start) {
			in++
		}
		if s.reason == "logoff" && inside(s.until) {
			off++
		}
	}
	if got.SignIns != in || got.SignOffs != off {
		t.Fatalf("reference %d sign-ins, %d sign-offs; SQL %d, %d", in, off, got.SignIns, got.SignOffs)
	}
	if got.PeakSessions != uint64(peak) || got.PeakUsers != uint64(peakPeople) {
		t.Fatalf("peak: reference %d sessions, %d people; SQL %d, %d", peak, peakPeople, got.PeakSessions, got.PeakUsers)
	}
	if peak > 0 && (got.PeakSessionsAt.UnixMilli() != at || got.PeakUsersAt.UnixMilli() != peopleAt) {
		t.Fatalf("peak: reference at %d and %d, SQL at %d and %d", at, peopleAt, got.PeakSessionsAt.UnixMilli(), got.PeakUsersAt.UnixMilli())
	}
}
