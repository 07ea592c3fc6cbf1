package query

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Ranks of events, in the order in which those of one millisecond are taken.
// Those up to rankLogoff, and rankCrash, end a session.
const (
	rankShutdown = 1
	rankStartup  = 2
	rankLogoff   = 3
	rankLogon    = 4
	rankWake     = 5
	rankResume   = 6 // unlock or reconnect
	rankBack     = 7 // a logon of type 7 or 13: somebody unlocked, or came back to, a session
	rankSleep    = 8
	rankPause    = 9  // lock or disconnect
	rankTwin     = 10 // the logon of the UAC twin of an open one
	rankCrash    = 15

	rankBits = 4
	rankMask = 1<<rankBits - 1
)

// sameBoot is how far apart the startups are that one boot writes.
const sameBoot = time.Minute

// mark is one event on the line of a session.
type mark struct {
	code int64  // milliseconds << rankBits | rank
	tag  uint64 // site << 9 | logon type << 1 | elevated
}

// elevatedTag is the bit of a tag that tells of an administrator's full rights.
const elevatedTag = 1

func (m mark) time() int64 { return m.code >> rankBits }
func (m mark) rank() int   { return int(m.code & rankMask) }
func (m mark) ends() bool  { return m.rank() <= rankLogoff || m.rank() == rankCrash }
func (m mark) opens() bool { return m.rank() == rankLogon || m.rank() == rankResume }

// byPerson tells whether somebody did it, where others befell the computer.
func (m mark) byPerson() bool {
	switch m.rank() {
	case rankLogon, rankResume, rankBack, rankPause, rankTwin:
		return true
	}
	return false
}

// crash is the end that a startup tells of, when the computer was last seen before it.
func crash(seen, startup int64) mark {
	return mark{code: seen<<rankBits | rankCrash, tag: uint64(startup) << 1} //nolint:gosec // after 1970
}

// startedAt is the startup that tells of a crash.
func (m mark) startedAt() int64 { return int64(m.tag >> 1) }

func (m mark) site() uint32     { return uint32(m.tag >> 9) } //nolint:gosec // a tag holds 32 bits of site
func (m mark) logonType() uint8 { return uint8(m.tag >> 1) }  //nolint:gosec // the lower 8 are meant

func compareMarks(a, b mark) int {
	return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.tag, b.tag))
}

// linkedLogon is a logon that names the logon id of its UAC twin.
type linkedLogon struct {
	code       int64
	id, linked uint64
}

// interval is [start, end) in Unix milliseconds.
type interval struct{ start, end int64 }

// span is one session as it is made, times in Unix milliseconds.
type span struct {
	user, computer         string // folded
	userName, computerName string
	logonID                uint64
	sid                    string // see track
	site                   uint32
	logonType              uint8
	signedIn               bool // opened by a logon, not by an unlock
	elevated               bool
	start, until           int64 // until is the end, or now while open
	told                   int64 // when the event came that ended it
	active                 []interval
	reason, confidence     string
}

func (s *span) activeMS() (sum int64) {
	for _, i := range s.active {
		sum += i.end - i.start
	}
	return sum
}

// pausedAt tells whether a session was paused at an instant that lies in it.
func (s *span) pausedAt(at int64) bool {
	return s.until > s.start && !slices.ContainsFunc(s.active, func(i interval) bool {
		return i.start <= at && (at < i.end || (at == i.end && at == s.until)) // the last: active until now
	})
}

// track is the events of one user, computer and logon id; a row of session_tracks.sql.
type track struct {
	id                     uint64
	sid                    string // folded, where its records named the person by that alone
	userName, computerName string
	marks                  []mark
	linked                 []linkedLogon
}

// startup is one startup of a computer.
type startup struct {
	computer string // folded
	time     int64
}

// walker makes sessions of tracks, as docs/reports.md defines them. The plain Go
// of the same rules that it is held against is in session_reference_test.go.
type walker struct {
	now, maxSession int64
	lastSeen        map[startup]int64 // when the computer was last seen before a startup
	power           map[string][]mark // by computer, sorted
	emit            func(*span) error

	line []mark // reused
}

// setPower takes what befell a computer, its switches, sleeps and wakes, in any order.
// Startups within a minute of each other are one boot; where no shutdown came before
// it, the computer crashed when it was last seen.
func (w *walker) setPower(computer string, marks []mark) {
	slices.SortFunc(marks, compareMarks)
	kept := make([]mark, 0, len(marks))
	var before, switched mark // the startup or shutdown before, any and of those kept
	for _, m := range marks {
		if m.rank() > rankStartup {
			kept = append(kept, m)
			continue
		}
		again := m.rank() == rankStartup && before.rank() == rankStartup && m.time()-before.time() < sameBoot.Milliseconds()
		before = m
		if again {
			continue
		}
		if last, ok := w.lastSeen[startup{computer, m.time()}]; ok && m.rank() == rankStartup && switched.rank() != rankShutdown {
			kept = append(kept, crash(last, m.time()))
		}
		kept, switched = append(kept, m), m
	}
	slices.SortFunc(kept, compareMarks)
	w.power[computer] = kept
}

// walk makes the sessions of one person at one computer.
func (w *walker) walk(user, computer string, tracks []track) error {
	power := w.power[computer]
	tracks, around := takeBacks(tracks, power)
	for _, key := range joinTwins(tracks, power) {
		if err := w.walkKey(user, computer, key, around); err != nil {
			return err
		}
	}
	return nil
}

// takeBacks takes those marks out of tracks that resume sessions of the person whatever
// their logon id, for they have one of their own. It gives them in one line with what
// befell the computer.
func takeBacks(tracks []track, power []mark) (own []track, around []mark) {
	around = power
	for i := range tracks {
		t := &tracks[i]
		t.marks = slices.DeleteFunc(t.marks, func(m mark) bool {
			if m.rank() != rankBack {
				return false
			}
			if len(around) == len(power) {
				around = slices.Clone(power)
			}
			around = append(around, mark{code: m.code})
			return true
		})
	}
	if len(around) > len(power) {
		slices.SortFunc(around, compareMarks)
		tracks = slices.DeleteFunc(tracks, func(t track) bool { return len(t.marks) == 0 })
	}
	return tracks, around
}

// joinTwins makes one track of the logon ids that UAC gives an administrator, under the
// lowest, and of what names and SIDs tell of one logon id. A logon id means a logon between
// two boots alone: the tracks are cut at the computer's startups first.
func joinTwins(tracks []track, power []mark) []*track {
	out := make([]*track, 0, len(tracks))
	if !slices.ContainsFunc(tracks, func(t track) bool { return len(t.linked) > 0 || (t.sid != "" && t.id != 0) }) {
		for i := range tracks {
			out = append(out, &tracks[i])
		}
		return out
	}
	for _, boot := range cutAtStartups(tracks, power) {
		same := sameLogon{}
		for _, t := range boot {
			for _, l := range t.linked {
				if l.id != 0 {
					same.join(l.id, l.linked)
				}
			}
		}
		at := map[uint64]*track{}
		for _, t := range boot {
			t.id = same.lowest(t.id)
			first := at[t.id]
			if first == nil || t.id == 0 {
				at[t.id], out = t, append(out, t)
				continue
			}
			first.marks = append(first.marks, t.marks...)
			first.linked = append(first.linked, t.linked...)
			first.userName, first.computerName = max(first.userName, t.userName), max(first.computerName, t.computerName)
		}
	}
	return out
}

// cutAtStartups gives the parts of tracks that lie between two startups, boot by boot.
func cutAtStartups(tracks []track, power []mark) [][]*track {
	var starts []int64
	for _, m := range power {
		if m.rank() == rankStartup {
			starts = append(starts, m.code)
		}
	}
	boots := make([][]*track, len(starts)+1)
	for _, t := range tracks {
		parts := map[int]*track{}
		part := func(code int64) *track {
			boot, _ := slices.BinarySearch(starts, code)
			p := parts[boot]
			if p == nil {
				p = &track{id: t.id, sid: t.sid, userName: t.userName, computerName: t.computerName}
				parts[boot], boots[boot] = p, append(boots[boot], p)
			}
			return p
		}
		for _, m := range t.marks {
			p := part(m.code)
			p.marks = append(p.marks, m)
		}
		for _, l := range t.linked {
			p := part(l.code)
			p.linked = append(p.linked, l)
		}
	}
	return boots
}

// sameLogon joins logon ids: each leads to a lower one of the same logon, or is the lowest.
type sameLogon map[uint64]uint64

func (s sameLogon) lowest(id uint64) uint64 {
	for {
		lower, ok := s[id]
		if !ok {
			return id
		}
		id = lower
	}
}

func (s sameLogon) join(a, b uint64) {
	if a, b = s.lowest(a), s.lowest(b); a != b {
		s[max(a, b)] = min(a, b)
	}
}

// walkKey merges a key's own events with those around it, which are the computer's and
// the person's whatever the key, and cuts the line into segments: a segment begins with a logon or after an end.
func (w *walker) walkKey(user, computer string, key *track, around []mark) error {
	slices.SortFunc(key.marks, compareMarks)
	line := append(w.line[:0], key.marks...)
	first, final := key.marks[0].code, key.marks[len(key.marks)-1].code
	for _, m := range around {
		if m.code < first {
			continue
		}
		line = append(line, m)
		if m.code > final && m.ends() {
			break // nothing of this key comes after it
		}
	}
	slices.SortFunc(line, compareMarks)
	w.line = line
	line = compactMarks(dropAnnounced(line))
	if len(key.linked) > 1 {
		markTwins(line, key.linked)
	}
	begin := 0
	for i, m := range line {
		if m.rank() == rankLogon && i > begin {
			if err := w.segment(user, computer, key, line[begin:i], m.time()); err != nil {
				return err
			}
			begin = i
		}
		if m.ends() {
			if err := w.segment(user, computer, key, line[begin:i+1], 0); err != nil {
				return err
			}
			begin = i + 1
		}
	}
	if begin < len(line) {
		return w.segment(user, computer, key, line[begin:], 0)
	}
	return nil
}

// dropAnnounced leaves out the shutdowns that a logoff of the key follows before the computer starts or the person
// logs on again: Windows tells of a shutdown when it is asked for, seconds before the people are logged off, and also when it
// is called off afterwards.
func dropAnnounced(line []mark) []mark {
	kept, logoff := len(line), false // from behind: whether a logoff is what comes next
	for _, m := range slices.Backward(line) {
		switch m.rank() {
		case rankLogoff:
			logoff = true
		case rankStartup, rankLogon:
			logoff = false
		case rankShutdown:
			if logoff {
				continue
			}
		}
		kept--
		line[kept] = m
	}
	return line[kept:]
}

// compactMarks lets the first of the marks alike in one millisecond stand for all of
// them, with full rights if any has them: of the two logons of an administrator under
// UAC the second often has the time of the first.
func compactMarks(line []mark) []mark {
	out := line[:0]
	for _, m := range line {
		if n := len(out); n > 0 && out[n-1].code == m.code {
			out[n-1].tag |= m.tag & elevatedTag
			continue
		}
		out = append(out, m)
	}
	return out
}

// markTwins turns those logons into rankTwin that belong to the session open already:
// linked to the logon before, with no end and no other logon between.
func markTwins(line []mark, linked []linkedLogon) {
	slices.SortFunc(linked, func(a, b linkedLogon) int {
		return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.id, b.id), cmp.Compare(a.linked, b.linked))
	})
	var twins []int64
	for i := 1; i < len(linked); i++ {
		g, h := linked[i-1], linked[i]
		if h.linked != g.id || h.code <= g.code {
			continue
		}
		between := slices.ContainsFunc(line, func(m mark) bool {
			return m.code > g.code && m.code < h.code && (m.ends() || m.rank() == rankLogon)
		})
		if !between {
			twins = append(twins, h.code)
		}
	}
	for i := range line {
		if slices.Contains(twins, line[i].code) {
			line[i].code += rankTwin - rankLogon
		}
	}
}

// never is an end that no event tells.
const never = math.MaxInt64 >> rankBits

// segment makes the sessions of one segment. next is when the logon right after it
// came, 0 where none did.
func (w *walker) segment(user, computer string, key *track, seg []mark, next int64) error {
	open := slices.IndexFunc(seg, mark.opens)
	if open < 0 {
		return nil
	}
	tail := seg[len(seg)-1]
	closed, reason, told := tail.time(), "superseded", tail.time()
	switch tail.rank() {
	case rankLogoff:
		reason = "logoff"
	case rankShutdown:
		reason = "shutdown"
	case rankCrash:
		reason, told = "startup", tail.startedAt()
	case rankStartup:
		// A stop was logged, and something after it: that is the last that is known.
		closed, reason = seg[len(seg)-2].time(), "startup"
	default:
		closed, told = next, next
		if next == 0 {
			told = never
		}
	}
	for open < len(seg) {
		opener := seg[open]
		s := &span{
			user: user, computer: computer, userName: key.userName, computerName: key.computerName, logonID: key.id, sid: key.sid,
			site: opener.site(), logonType: opener.logonType(),
			signedIn: opener.rank() == rankLogon, start: opener.time(), reason: reason, confidence: "inferred",
		}
		s.told = told
		proof, most, upTo := w.proven(seg, open)
		ended := closed
		if upTo < len(seg) || told-proof > SessionLookaround.Milliseconds() {
			ended, s.reason = most, "max_session"
		}
		switch {
		case ended > w.now:
			s.reason, s.confidence = "open", "open"
		case s.reason == "logoff", s.reason == "shutdown":
			s.confidence = "logged"
		}
		s.until = max(s.start, min(ended, w.now))
		s.elevated = slices.ContainsFunc(seg[open:upTo], func(m mark) bool { return m.tag&elevatedTag != 0 })
		s.active = activeStretches(seg[open:upTo], s.until)
		if err := w.emit(s); err != nil {
			return err
		}
		open = upTo
	}
	return nil
}

// proven tells how long the session lasts that seg[open] opens, as far as the person's own
// events tell. Whatever opens a session proves presence until the next such, or the end,
// if that comes within SessionLookaround; else until maxSession after the last thing that
// the person did within it. So what is known of an instant follows from what happened
// within SessionLookaround of it, wherever the events that are read begin.
//
// proof is the last mark of the session that opens, most the end where nothing after that
// tells one, next the mark of the segment that opens another session.
func (w *walker) proven(seg []mark, open int) (proof, most int64, next int) {
	around := SessionLookaround.Milliseconds()
	proof = seg[open].time()
	known := proof
	for next = open + 1; next < len(seg); next++ {
		m := seg[next]
		near := m.time()-proof <= around
		if m.opens() {
			if !near {
				break
			}
			proof = m.time()
		}
		if near && m.byPerson() {
			known = m.time()
		}
	}
	return proof, min(known+w.maxSession, proof+around), next
}

// activeStretches are when a session is neither away (locked, disconnected) nor
// asleep. Its first mark opens it.
func activeStretches(marks []mark, until int64) []interval {
	var out []interval
	away, asleep := false, false
	for i, m := range marks {
		switch m.rank() {
		case rankLogon, rankResume, rankBack:
			away, asleep = false, false
		case rankPause:
			away = true
		case rankSleep:
			asleep = true
		case rankWake:
			asleep = false
		}
		end := until
		if i+1 < len(marks) {
			end = min(until, marks[i+1].time())
		}
		if away || asleep || end <= m.time() {
			continue
		}
		if n := len(out); n > 0 && out[n-1].end == m.time() {
			out[n-1].end = end
		} else {
			out = append(out, interval{m.time(), end})
		}
	}
	return out
}
