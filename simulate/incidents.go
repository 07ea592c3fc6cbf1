package simulate

import "gatehouse/event"

// servers plans what machines do by themselves, people or not.
func (c *company) servers(d *today) {
	c.reseed(forServers, uint64(d.number)) //nolint:gosec // not negative
	dayEnd := c.clock(d, 24)
	if d.weekday == 0 && c.chance(0.25) {
		c.patch(c.clock(d, 3.2))
	}
	for _, box := range [...]int32{c.dc, c.files, c.terminal} {
		for range 4 + c.r.IntN(4) {
			r := c.put(kLogon, c.span(d.start, dayEnd), box, c.system)
			r.logon, r.logonType = 0x3e7, event.LogonTypeService
		}
	}
	// The nightly backup, by a managed account, and a scan whose password nobody renewed.
	at := c.clock(d, 1.5)
	r := c.put(kLogon, at, c.files, c.gmsa)
	r.logon, r.logonType = c.luid(c.files), event.LogonTypeBatch
	g := c.put(kLogoff, at+c.span(10*minute, 50*minute), c.files, c.gmsa)
	g.logon, g.logonType = r.logon, event.LogonTypeBatch
	f := c.put(kFailed, c.clock(d, 2)+c.r.Int64N(2*second), c.files, c.backup)
	f.logonType, f.status = event.LogonTypeBatch, ntExpired
	// A telephone in a leaver's pocket still asks for mail.
	if d.number%2 == 0 {
		for i := range 6 + c.r.IntN(6) {
			r := c.put(kFailed, c.clock(d, 8)+int64(i)*15*minute+c.r.Int64N(3*second), c.dc, c.stale)
			r.logonType, r.status, r.from = event.LogonTypeNetwork, ntDisabled, 0xC6336407 // 198.51.100.7
		}
	}
	for range 1 + len(c.people)/40 {
		r := c.put(kCredential, c.span(d.start, dayEnd), c.dc, c.people[c.r.IntN(len(c.people))].account)
		r.source = c.files
	}
	if c.chance(0.05) {
		c.put(kClock, c.span(d.start, dayEnd), c.people[c.r.IntN(len(c.people))].machine, noAccount)
	}
	if c.chance(0.004) {
		box := c.people[c.r.IntN(len(c.people))].machine
		c.put(kCleared, c.span(d.start, dayEnd), box, noAccount)
	}
}

// patch restarts the terminal server; what stood open on it is gone.
func (c *company) patch(at int64) {
	c.put(kStopAsked, at, c.terminal, noAccount)
	c.put(kStop, at+20*second, c.terminal, noAccount)
	c.put(kBootSecurity, at+3*minute, c.terminal, noAccount)
	c.put(kBoot, at+3*minute+4*second, c.terminal, noAccount)
	c.boots++
}

// incidents plans the rare days: a spray of one password over many names, from
// one address, slowly enough to lock nobody out.
func (c *company) incidents(d *today) {
	c.reseed(forIncidents, uint64(d.number)) //nolint:gosec // not negative
	if !c.chance(0.05) {
		return
	}
	from := uint32(0xC0000200) + 10 + c.r.Uint32N(200) // 192.0.2.x
	at := c.clock(d, 1+6*c.r.Float64())
	names := min(len(c.people), 400)
	hit := c.r.IntN(names * 4) // one spray in four finds somebody
	first := c.r.IntN(len(c.people))
	for i := range names + len(c.guessed) {
		at += c.span(2*second, 24*second)
		if i >= names {
			r := c.put(kFailed, at, c.terminal, c.guessed[i-names])
			r.logonType, r.status, r.from = event.LogonTypeNetwork, ntNoSuchUser, from
			continue
		}
		who := c.people[(first+i)%len(c.people)].account
		r := c.put(kFailed, at, c.terminal, who)
		r.logonType, r.status, r.from = event.LogonTypeNetwork, ntBadPassword, from
		if i == hit {
			// The right password: in over the network, then with a screen, for a while.
			in := c.put(kLogon, at+40*second, c.terminal, who)
			in.logon, in.logonType, in.from = c.luid(c.terminal), event.LogonTypeRemoteInteractive, from
			till := at + c.span(4*minute, 30*minute)
			c.put(kLogoffBegun, till, c.terminal, who).logon = in.logon
		}
	}
}
