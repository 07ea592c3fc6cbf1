package query

import (
	"cmp"
	"slices"
	"sort"

	"gatehouse/event"
)

// This file is sessions in plain Go: one event after the other, as
// docs/reports.md tells it. It is what session_walk.go is held against.

type refInterval struct{ start, end int64 }

type refSession struct {
	user, computer string
	logonID        uint64
	site           uint32
	logonType      uint8
	signedIn       bool
	elevated       bool
	start, until   int64
	active         []refInterval
	reason         string
	confidence     string
}

func (s refSession) activeMS() (sum int64) {
	for _, i := range s.active {
		sum += i.end - i.start
	}
	return sum
}

// touches tells whether any of the session is in [from, to): an instant will do.
func (s refSession) touches(from, to int64) bool {
	return s.start < to && (s.until > from || s.start >= from || (s.reason == "open" && s.until >= from))
}

// Ranks, in the order in which events of one millisecond are taken.
const (
	refShutdown = 1
	refStartup  = 2
	refLogoff   = 3
	refLogon    = 4
	refWake     = 5
	refResume   = 6
	refBack     = 7
	refSleep    = 8
	refPause    = 9
	refTwin     = 10
	refCrash    = 15
)

func refRank(t event.Type) int {
	switch t {
	case event.Shutdown:
		return refShutdown
	case event.Startup:
		return refStartup
	case event.Logoff:
		return refLogoff
	case event.Logon:
		return refLogon
	case event.Wake:
		return refWake
	case event.Unlock, event.Reconnect:
		return refResume
	case event.Sleep:
		return refSleep
	case event.Lock, event.Disconnect:
		return refPause
	default:
		return 0
	}
}

func refPresence(e event.Event) bool {
	switch e.LogonType {
	case 2, 10, 11, 12, event.LogonTypeNone:
		return e.Account == event.AccountUser && refRank(e.Type) != 0 && !e.Type.OfComputer()
	default:
		return false
	}
}

// refBackMark tells whether an event is a logon of type 7 or 13: a sign that a person is back
// at whatever sessions are open.
func refBackMark(e *event.Event) bool {
	return e.Account == event.AccountUser && e.User != "" && (e.LogonType == 7 || e.LogonType == 13) && (e.Type == event.Logon || e.Type == event.Unlock)
}

type refMark struct {
	t    int64
	rank int
	ev   event.Event
	told int64 // of a crash: the startup that tells of it
}

func (m refMark) ends() bool  { return m.rank <= refLogoff || m.rank == refCrash }
func (m refMark) opens() bool { return m.rank == refLogon || m.rank == refResume }

func refSort(marks []refMark) {
	slices.SortStableFunc(marks, func(a, b refMark) int {
		return cmp.Or(cmp.Compare(a.t, b.t), cmp.Compare(a.rank, b.rank), cmp.Compare(a.ev.SiteID, b.ev.SiteID), cmp.Compare(a.ev.LogonType, b.ev.LogonType))
	})
}

// referenceSessions gives the sessions of a set of events, in no order.
func referenceSessions(events []event.Event, lo, hi, now, maxSession int64) []refSession {
	type key struct {
		user string
		id   uint64
		boot int    // of a logon with a twin
		sid  string // of one without an id, in records that name a SID alone
	}
	byComputer := map[string][]event.Event{}
	seen := map[event.ID]bool{}
	for _, e := range events {
		if e.Time < lo || e.Time >= hi || seen[e.ID()] {
			continue
		}
		seen[e.ID()] = true
		c := event.Fold(e.Computer)
		byComputer[c] = append(byComputer[c], e)
	}
	names := refNames(distinct(events))
	var out []refSession
	for _, evs := range byComputer {
		power := refPower(evs)
		ids := refLogons(evs, power, names)
		keys := map[key][]refMark{}
		backs := map[string][]refMark{}
		for _, e := range evs {
			if refBackMark(&e) {
				who := cmp.Or(names(&e), event.Fold(e.User))
				e.Elevated = false
				backs[who] = append(backs[who], refMark{t: e.Time, rank: refBack, ev: e})
			}
			if !refPresence(e) || e.User == "" {
				continue
			}
			k := key{user: event.Fold(e.User), id: e.LogonID, boot: -1}
			if name := names(&e); name != "" {
				if e.Type == event.Logon && refToldAgain(name, &e, evs) {
					continue
				}
				if e.User = name; e.LogonID == 0 {
					k.sid = k.user
				}
				k.user = name
			}
			if l, ok := ids[refLogonOf(&e, power)]; ok {
				k.id, k.boot = l, refBoot(&e, power)
			}
			keys[k] = append(keys[k], refMark{t: e.Time, rank: refRank(e.Type), ev: e})
		}
		for k, marks := range keys {
			marks = slices.Concat(marks, power, backs[k.user])
			refSort(marks)
			for _, s := range refKey(marks, now, maxSession) {
				s.logonID = k.id
				out = append(out, s)
			}
		}
	}
	return out
}

// refBoot is how many startups of its computer an event comes after.
func refBoot(e *event.Event, power []refMark) (n int) {
	for _, m := range power {
		if m.rank == refStartup && m.t <= e.Time {
			n++
		}
	}
	return n
}

// refLogonKey is a logon id, with whose it is and the boot that it means something in.
type refLogonKey struct {
	user string
	boot int
	id   uint64
}

func refLogonOf(e *event.Event, power []refMark) refLogonKey {
	return refLogonKey{event.Fold(e.User), refBoot(e, power), e.LogonID}
}

// refLogons gives the logon ids of one computer that are twins the lowest id that is
// reached by going from twin to twin: whatever is told of one is told of all.
func refLogons(evs []event.Event, power []refMark, names func(*event.Event) string) map[refLogonKey]uint64 {
	beside := map[refLogonKey][]uint64{}
	for _, e := range evs {
		if refPresence(e) && e.Type == event.Logon && e.LinkedLogonID != 0 && e.LogonID != 0 {
			if name := names(&e); name != "" {
				e.User = name
			}
			here := refLogonOf(&e, power)
			there := here
			there.id = e.LinkedLogonID
			beside[here], beside[there] = append(beside[here], there.id), append(beside[there], here.id)
		}
	}
	out := map[refLogonKey]uint64{}
	for start := range beside {
		lowest, reached, queue := start.id, map[uint64]bool{start.id: true}, []uint64{start.id}
		for len(queue) > 0 {
			k := refLogonKey{start.user, start.boot, queue[0]}
			queue, lowest = queue[1:], min(lowest, k.id)
			for _, id := range beside[k] {
				if !reached[id] {
					reached[id], queue = true, append(queue, id)
				}
			}
		}
		out[start] = lowest
	}
	return out
}

// refNames gives the name of whom a record names by the SID alone, "" where the record
// has a name itself or nothing gives one.
func refNames(events []event.Event) func(*event.Event) string {
	said := map[string]map[string]event.Event{} // by SID and computer, the last that gives it a name
	isSID := func(s string) bool { return len(s) > 4 && s[:4] == "s-1-" }
	for _, e := range events {
		name, sid, computer := event.Fold(e.User), event.Fold(e.SID), event.Fold(e.Computer)
		if sid == "" || name == "" || isSID(name) || (!refPresence(e) && !refBackMark(&e)) {
			continue
		}
		if said[sid] == nil {
			said[sid] = map[string]event.Event{}
		}
		had, ok := said[sid][computer]
		if !ok || e.Time > had.Time || (e.Time == had.Time && name > event.Fold(had.User)) {
			said[sid][computer] = e
		}
	}
	return func(e *event.Event) string {
		sid := event.Fold(e.User)
		if own, ok := said[sid][event.Fold(e.Computer)]; ok {
			return event.Fold(own.User)
		}
		all := map[string]bool{}
		for _, one := range said[sid] {
			all[event.Fold(one.User)] = true
		}
		for name := range all {
			if len(all) == 1 {
				return name
			}
		}
		return ""
	}
}

// refToldAgain tells whether a record of the same computer tells of the person by name
// what e, which has no logon id, tells by the SID, within half a minute.
func refToldAgain(name string, e *event.Event, others []event.Event) bool {
	return e.LogonID == 0 && slices.ContainsFunc(others, func(o event.Event) bool {
		return refPresence(o) && o.Type == e.Type && event.Fold(o.User) == name && event.Fold(o.Computer) == event.Fold(e.Computer) &&
			o.Time-e.Time <= 30_000 && e.Time-o.Time <= 30_000
	})
}

// refPower is what befell one computer, with a crash put at the last event
// seen before the startup that tells of it.
func refPower(evs []event.Event) []refMark {
	var power, switches []refMark
	for _, e := range evs {
		switch e.Type {
		case event.Startup, event.Shutdown:
			switches = append(switches, refMark{t: e.Time, rank: refRank(e.Type), ev: e})
		case event.Sleep, event.Wake:
			power = append(power, refMark{t: e.Time, rank: refRank(e.Type), ev: e})
		}
	}
	refSort(switches)
	// Startups within a minute of another one are the same boot.
	all := slices.Clone(switches)
	switches = switches[:0]
	for i, s := range all {
		if s.rank == refStartup && i > 0 && all[i-1].rank == refStartup && s.t-all[i-1].t < 60_000 {
			continue
		}
		switches = append(switches, s)
		power = append(power, s)
	}
	for i, s := range switches {
		if s.rank != refStartup || (i > 0 && switches[i-1].rank == refShutdown) {
			continue
		}
		last := int64(-1)
		for _, e := range evs {
			if e.Time < s.t && (e.Type == event.Startup || (e.LogonType != 0 && e.LogonType != 5)) {
				last = max(last, e.Time)
			}
		}
		if last >= 0 {
			power = append(power, refMark{t: last, rank: refCrash, told: s.t})
		}
	}
	return power
}

// refWithoutAnnounced leaves out a shutdown when, of the logoffs and logons of the key and the startups of the
// computer, a logoff is the first to come after it.
func refWithoutAnnounced(marks []refMark) (out []refMark) {
	for i, m := range marks {
		announced := false
		if m.rank == refShutdown {
			for _, later := range marks[i+1:] {
				if later.rank == refLogoff || later.rank == refLogon || later.rank == refStartup {
					announced = later.rank == refLogoff
					break
				}
			}
		}
		if !announced {
			out = append(out, m)
		}
	}
	return out
}

// refKey walks the events of one key. Logons of one millisecond are one; its
// site and logon type are the lowest.
func refKey(marks []refMark, now, maxSession int64) (out []refSession) {
	marks = refWithoutAnnounced(marks)
	var segment []refMark
	var edge []refMark // the last logons, or end, before
	finish := func(next int64) {
		out = append(out, refSegment(segment, next, now, maxSession)...)
		segment = nil
	}
	for i := 0; i < len(marks); i++ {
		m := marks[i]
		if m.rank == refLogon {
			group := marks[i : i+1]
			for i+1 < len(marks) && marks[i+1].t == m.t && marks[i+1].rank == refLogon {
				i++
				group = group[:len(group)+1]
				m.ev.Elevated = m.ev.Elevated || marks[i].ev.Elevated
			}
			twin := refIsTwin(edge, group)
			edge = group
			if twin { // it belongs to the open session and changes nothing
				m.rank = refTwin
			} else {
				finish(m.t)
			}
		} else if m.ends() {
			edge = marks[i : i+1]
		}
		segment = append(segment, m)
		if m.ends() {
			finish(0)
		}
	}
	finish(0)
	return out
}

// refIsTwin tells whether logons are the UAC twin of those before: linked to them
// with no end or other logon between.
func refIsTwin(before, group []refMark) bool {
	linked := func(marks []refMark) []event.Event {
		var out []event.Event
		for _, m := range marks {
			if m.rank == refLogon && m.ev.LinkedLogonID != 0 {
				out = append(out, m.ev)
			}
		}
		slices.SortFunc(out, func(a, b event.Event) int {
			return cmp.Or(cmp.Compare(a.LogonID, b.LogonID), cmp.Compare(a.LinkedLogonID, b.LinkedLogonID))
		})
		return out
	}
	b, g := linked(before), linked(group)
	return len(b) > 0 && len(g) > 0 && g[0].LinkedLogonID == b[len(b)-1].LogonID
}

// refSegment makes the sessions of one segment: from a logon, or from what came
// after an end, to the next end or logon (at next).
func refSegment(segment []refMark, next, now, maxSession int64) (out []refSession) {
	var openers []refMark
	for _, m := range segment {
		if m.opens() {
			openers = append(openers, m)
		}
	}
	if len(openers) == 0 {
		return nil
	}
	elevated := func(from, to int64) bool { // in [from, to)
		return slices.ContainsFunc(segment, func(m refMark) bool { return m.ev.Elevated && m.t >= from && m.t < to })
	}
	const never = int64(1) << 62
	tail := segment[len(segment)-1]
	closed, reason := never, "superseded"
	switch {
	case tail.rank == refLogoff:
		closed, reason = tail.t, "logoff"
	case tail.rank == refShutdown:
		closed, reason = tail.t, "shutdown"
	case tail.rank == refCrash:
		closed, reason = tail.t, "startup"
	case tail.rank == refStartup:
		closed, reason = segment[len(segment)-2].t, "startup"
	case next != 0:
		closed = next
	}
	// Each opener holds the session open until the next one, or until the segment's end,
	// which told is the event that tells of. One that is more than 31 days from that
	// holds it no longer than max_session after the person's last event.
	const month = int64(31 * 24 * 3600 * 1000)
	told := tail.t
	switch {
	case tail.rank == refCrash:
		told = tail.told
	case !tail.ends():
		told = closed
	}
	for i := 0; i < len(openers); {
		first, last := openers[i], openers[i]
		for i++; i < len(openers) && openers[i].t <= last.t+month; i++ {
			last = openers[i]
		}
		end, ends, why := closed, "inferred", reason
		if i < len(openers) || told > last.t+month {
			why, end = "max_session", last.t
			for _, m := range segment {
				if !m.ends() && m.ev.User != "" && m.t <= last.t+month {
					end = max(end, m.t)
				}
			}
			end = min(end+maxSession, last.t+month)
		} else if why == "logoff" || why == "shutdown" {
			ends = "logged"
		}
		next := never
		if i < len(openers) {
			next = openers[i].t
		}
		if end > now {
			why, ends = "open", "open"
		}
		until := max(first.t, min(end, now))
		out = append(out, refSession{
			user: event.Fold(first.ev.User), computer: event.Fold(first.ev.Computer), site: first.ev.SiteID, logonType: first.ev.LogonType,
			signedIn: first.rank == refLogon, elevated: elevated(first.t, next), start: first.t, until: until,
			active: refActive(segment, first.t, until), reason: why, confidence: ends,
		})
	}
	return out
}

// refActive walks a segment and keeps the stretches in which the session is
// neither away (locked, disconnected) nor asleep.
func refActive(segment []refMark, start, until int64) (out []refInterval) {
	away, asleep := false, false
	for i, m := range segment {
		switch m.rank {
		case refLogon, refResume, refBack:
			away, asleep = false, false
		case refPause:
			away = true
		case refSleep:
			asleep = true
		case refWake:
			asleep = false
		}
		end := until
		if i+1 < len(segment) {
			end = min(until, segment[i+1].t)
		}
		if begin := max(m.t, start); !away && !asleep && end > begin {
			out = append(out, refInterval{begin, end})
		}
	}
	return out
}

// refUnion is the length of the union of intervals within [lo, hi), and their plain sum.
func refUnion(intervals []refInterval, lo, hi int64) (union, sum int64) {
	clipped := make([]refInterval, 0, len(intervals))
	for _, i := range intervals {
		if s, e := max(i.start, lo), min(i.end, hi); e > s {
			clipped = append(clipped, refInterval{s, e})
			sum += e - s
		}
	}
	sort.Slice(clipped, func(a, b int) bool { return clipped[a].start < clipped[b].start })
	covered := lo
	for _, i := range clipped {
		if s := max(i.start, covered); i.end > s {
			union += i.end - s
		}
		covered = max(covered, i.end)
	}
	return union, sum
}
