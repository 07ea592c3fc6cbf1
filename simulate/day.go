package simulate

import (
	"math"
	"time"

	"gatehouse/event"
)

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
)

// today is what the plans of one day share.
type today struct {
	number   int
	start    int64 // local midnight, Unix milliseconds
	midnight time.Time
	free     bool
	weekday  time.Weekday
}

// clock is the moment of an hour of the day, as the wall shows it: on the two
// days a year when clocks change, people come at the same hour all the same.
func (c *company) clock(d *today, hours float64) int64 {
	whole := int(math.Floor(hours))
	rest := int64((hours - float64(whole)) * float64(hour))
	y, m, day := d.midnight.Date()
	return time.Date(y, m, day, whole, 0, 0, 0, c.loc).UnixMilli() + rest
}

// span is a random time from a to b.
func (c *company) span(a, b int64) int64 {
	if b <= a {
		return a
	}
	return a + c.r.Int64N(b-a)
}

func (c *company) chance(p float64) bool { return c.r.Float64() < p }

// put plans one record. The machine's clock is the truth here: lateness is
// added on delivery.
func (c *company) put(k kind, at int64, machine, account int32) *record {
	d := &c.at
	d.planned = append(d.planned, record{
		at: max(at, d.floor), machine: machine, account: account, seq: d.seq,
		source: noSource, home: noSource, kind: k,
	})
	d.seq++
	return &d.planned[len(d.planned)-1]
}

// luid is a machine's next logon id. They rise until the machine starts anew.
func (c *company) luid(machine int32) uint64 {
	m := &c.machines[machine]
	m.luid += uint64(0x40 + c.r.IntN(0x4000)) //nolint:gosec // not negative
	return m.luid
}

// seat is a person at one of their machines on one day.
type seat struct {
	c     *company
	p     *person
	who   int32 // the person's index
	i     int   // 0: the main machine, 1: the second
	box   int32
	away  bool
	begin uint8 // the logon type with which they sit down
}

func (s *seat) put(k kind, at int64) *record {
	r := s.c.put(k, at, s.box, s.p.account)
	if s.away {
		r.home = s.who
	}
	return r
}

func (s *seat) power(k kind, at int64) *record {
	r := s.put(k, at)
	r.account = noAccount
	return r
}

// day plans a person's day.
func (c *company) day(who int, d *today) {
	c.reseed(uint64(who), uint64(d.number)) //nolint:gosec // not negative
	p := &c.people[who]
	if !c.works(p, d) {
		return
	}
	box := p.machine
	s := seat{c: c, p: p, who: int32(who), box: box, begin: event.LogonTypeInteractive} //nolint:gosec // MaxUsers
	if p.laptop && c.chance(p.nomad) {
		s.away, s.begin = true, event.LogonTypeCachedInteractive
	}
	start := c.clock(d, p.shift.start) + int64(c.r.NormFloat64()*18*float64(minute))
	end := start + int64(p.shift.hours*float64(hour)) + int64(c.r.NormFloat64()*25*float64(minute))
	end = max(end, start+hour)
	if c.chance(0.004) {
		start = c.forgotten(&s, start)
	}
	c.sitDown(&s, start)
	if p.second >= 0 && c.chance(0.6) {
		two := s
		two.i, two.box, two.away, two.begin = 1, p.second, false, event.LogonTypeInteractive
		from := c.span(start, start+2*hour)
		c.sitDown(&two, from)
		till := c.stretch(&two, from, c.span(from+hour, max(end, from+2*hour)), 2)
		c.leave(&two, till)
	}
	if p.remote && c.chance(0.7) {
		c.terminalDay(&s, c.span(start+10*minute, start+3*hour), end)
	}
	c.shares(&s, start, end)
	c.leave(&s, c.stretch(&s, start, end, 4+c.r.IntN(4)))
}

func (c *company) works(p *person, d *today) bool {
	if int(p.awayTill) >= d.number {
		return false
	}
	if c.chance(0.008) { // ill for some days, or two weeks on leave
		n := 1 + c.r.IntN(3)
		if c.chance(0.4) {
			n = 14
		}
		p.awayTill = int32(d.number + n) //nolint:gosec // MaxDays
		return false
	}
	if p.shift.days != 0 {
		return p.shift.days>>uint(d.weekday)&1 == 1
	}
	if d.free {
		return c.chance(0.03)
	}
	return true
}

// sitDown brings a person to a session that is theirs and unlocked.
func (c *company) sitDown(s *seat, at int64) {
	p := s.p
	if !p.on[s.i] {
		c.boot(s, at-c.span(40*second, 4*minute))
	}
	if c.chance(0.07) {
		n := 1 + c.r.IntN(2)
		for i := range n {
			c.mistype(s, at-int64(n-i)*9*second)
		}
	}
	if p.open[s.i] != 0 {
		c.unlock(s, at)
		return
	}
	c.logon(s, at)
}

func (c *company) mistype(s *seat, at int64) {
	r := s.put(kFailed, at)
	r.logonType, r.status, r.source = s.begin, ntBadPassword, s.box
	if !s.away {
		t := c.put(kTicketFailed, at, c.dc, s.p.account)
		t.status, t.source = krbBadPassword, s.box
	}
}

func (c *company) logon(s *seat, at int64) {
	p := s.p
	id := c.luid(s.box)
	p.open[s.i] = id
	if !s.away {
		c.put(kTicket, at-c.r.Int64N(400), c.dc, p.account).source = s.box
	}
	w := c.put(kLogon, at-2*second, s.box, c.window)
	w.logon, w.logonType = c.luid(s.box), event.LogonTypeInteractive
	r := s.put(kLogon, at)
	r.logon, r.logonType, r.source = id, s.begin, s.box
	if p.admin {
		// Two tokens: the elevated twin comes first, each names the other.
		twin := c.luid(s.box)
		r.linked = twin
		e := s.put(kLogon, at)
		e.logon, e.linked, e.logonType, e.flags, e.source = twin, id, s.begin, flagElevated, s.box
		s.put(kPrivileged, at).logon = twin
	}
}

// unlock is written as a logon of type 7 with an id of its own, gone at once,
// and as 4801 of the session.
func (c *company) unlock(s *seat, at int64) {
	id := c.luid(s.box)
	r := s.put(kUnlockLogon, at)
	r.logon, r.logonType = id, event.LogonTypeUnlock
	if s.away {
		r.logonType = event.LogonTypeCachedUnlock
	}
	s.put(kUnlock, at+20+c.r.Int64N(200)).logon = s.p.open[s.i]
	g := s.put(kLogoff, at+300+c.r.Int64N(900))
	g.logon, g.logonType = id, event.LogonTypeUnlock
}

func (c *company) boot(s *seat, at int64) {
	p := s.p
	if p.crashed[s.i] {
		s.power(kPower, at)
		s.power(kUnexpected, at+2*second)
	}
	s.power(kBootSecurity, at)
	s.power(kBoot, at+3*second)
	r := c.put(kLogon, at+4*second, s.box, c.system)
	r.logon, r.logonType = 0x3e7, event.LogonTypeService
	m := &c.machines[s.box]
	m.luid = uint64(0x10000 + c.r.IntN(0x20000)) //nolint:gosec // not negative
	if !s.away {
		n := c.put(kLogon, at+6*second, c.dc, m.self)
		n.logon, n.logonType, n.source = c.luid(c.dc), event.LogonTypeNetwork, s.box
		g := c.put(kLogoff, at+6*second+c.r.Int64N(minute), c.dc, m.self)
		g.logon, g.logonType = n.logon, event.LogonTypeNetwork
	}
	p.on[s.i], p.crashed[s.i], p.open[s.i] = true, false, 0
}

// stretch is the time between sitting down and leaving: breaks, and now and
// then a crash. It gives the time at which the person leaves.
func (c *company) stretch(s *seat, start, end int64, breaks int) int64 {
	crash := int64(math.MaxInt64)
	if c.chance(0.012) {
		crash = c.span(start, end)
	}
	at := start
	for i := range breaks {
		room := (end - at) / int64(breaks-i+1)
		from := at + room/2 + c.r.Int64N(max(room/2, 1))
		length := c.span(3*minute, 14*minute)
		if i == breaks/2 {
			length = c.span(25*minute, 65*minute)
		}
		till := from + length
		if till > end-5*minute {
			break
		}
		if crash < from {
			from = c.crash(s, crash)
			crash = math.MaxInt64
			if from > end {
				return from
			}
			at = from
			continue
		}
		c.breakTime(s, from, till)
		at = till
	}
	if crash < end {
		return c.crash(s, max(crash, at))
	}
	return max(end, at+minute)
}

// crash stops the machine without a word; it comes back within the hour.
func (c *company) crash(s *seat, at int64) int64 {
	s.p.on[s.i], s.p.crashed[s.i], s.p.open[s.i] = false, true, 0
	back := at + c.span(3*minute, 40*minute)
	c.boot(s, back)
	c.logon(s, back+c.span(20*second, 90*second))
	return back + 2*minute
}

func (c *company) breakTime(s *seat, from, till int64) {
	id := s.p.open[s.i]
	locked, saver := from, false
	if c.chance(0.2) { // the screen saver came first
		saver = true
		s.put(kSaverOn, from).logon = id
		locked = from + 10*second
	}
	s.put(kLock, locked).logon = id
	if s.p.laptop && s.i == 0 && till-from > 20*minute && c.chance(0.4) {
		s.power(kSleep, locked+c.span(5*minute, 10*minute))
		s.power(kWake, till-12*second)
	}
	if c.chance(0.02) {
		c.mistype(s, till-8*second)
	}
	if saver {
		s.put(kSaverOff, till-3*second).logon = id
	}
	c.unlock(s, till)
}

// leave ends a person's day at a machine in one of the ways days end.
func (c *company) leave(s *seat, at int64) {
	p := s.p
	id := p.open[s.i]
	switch {
	case c.chance(p.sloppy):
		// The lid is shut, the battery runs flat: no logoff, no stop.
		p.on[s.i], p.crashed[s.i], p.open[s.i] = false, true, 0
	case c.chance(p.stays):
		s.put(kLock, at).logon = id
		if p.laptop && s.i == 0 {
			s.power(kSleep, at+c.span(2*minute, 9*minute))
		}
	default:
		s.put(kLogoffBegun, at).logon = id
		if !c.chance(p.sloppy) { // some agents miss the second half
			g := s.put(kLogoff, at+second+c.r.Int64N(3*second))
			g.logon, g.logonType = id, s.begin
		}
		p.open[s.i] = 0
		if c.chance(p.stops) {
			s.power(kStopAsked, at+500)
			s.power(kStop, at+5*second+c.r.Int64N(10*second))
			p.on[s.i] = false
		}
	}
}

// terminalDay is work on the terminal server: connect, perhaps drop and come
// back, and at the end log off or merely disconnect.
func (c *company) terminalDay(s *seat, from, end int64) {
	p := s.p
	until := c.span(min(from+20*minute, end), end)
	if p.rdpBoot != c.boots {
		p.rdp, p.rdpBoot = 0, c.boots
	}
	t := seat{c: c, p: p, who: s.who, box: c.terminal}
	if p.rdp != 0 {
		id := c.luid(c.terminal)
		u := t.put(kUnlockLogon, from)
		u.logon, u.logonType, u.source = id, event.LogonTypeUnlock, s.box
		r := t.put(kReconnect, from+100)
		r.logon, r.source = p.rdp, s.box
		g := t.put(kLogoff, from+second)
		g.logon, g.logonType = id, event.LogonTypeUnlock
	} else {
		p.rdp = c.luid(c.terminal)
		c.put(kTicket, from-c.r.Int64N(900), c.dc, p.account).source = s.box
		x := c.put(kExplicit, from-500, s.box, p.account)
		x.source = noSource
		r := t.put(kLogon, from)
		r.logon, r.logonType, r.source = p.rdp, event.LogonTypeRemoteInteractive, s.box
	}
	if until-from > hour && c.chance(0.4) {
		drop := c.span(from+10*minute, until-20*minute)
		d := t.put(kDisconnect, drop)
		d.logon, d.source = p.rdp, s.box
		b := t.put(kReconnect, drop+c.span(20*second, 15*minute))
		b.logon, b.source = p.rdp, s.box
	}
	if c.chance(0.5) {
		d := t.put(kDisconnect, until)
		d.logon, d.source = p.rdp, s.box
		return
	}
	t.put(kLogoffBegun, until).logon = p.rdp
	g := t.put(kLogoff, until+second)
	g.logon, g.logonType = p.rdp, event.LogonTypeRemoteInteractive
	p.rdp = 0
}

// shares are the network logons of a day's work: many, short, and no presence.
func (c *company) shares(s *seat, start, end int64) {
	if s.away {
		return
	}
	for range 3 + c.r.IntN(5) {
		at := c.span(start, end)
		r := c.put(kLogon, at, c.files, s.p.account)
		r.logon, r.logonType, r.source = c.luid(c.files), event.LogonTypeNetwork, s.box
		g := c.put(kLogoff, at+c.span(5*second, 12*minute), c.files, s.p.account)
		g.logon, g.logonType = r.logon, event.LogonTypeNetwork
	}
}

// forgotten is a password gone after a holiday: wrong five times, locked out,
// and half an hour until the help desk answers.
func (c *company) forgotten(s *seat, at int64) int64 {
	if !s.p.on[s.i] {
		c.boot(s, at-2*minute)
	}
	for range 5 {
		c.mistype(s, at)
		at += c.span(6*second, 25*second)
	}
	c.put(kLockout, at, c.dc, s.p.account).source = s.box
	for range 1 + c.r.IntN(3) {
		at += c.span(20*second, 3*minute)
		r := s.put(kFailed, at)
		r.logonType, r.status, r.source = s.begin, ntLockedOut, s.box
	}
	return at + c.span(8*minute, 35*minute)
}
