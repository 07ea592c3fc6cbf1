package simulate

import (
	"encoding/binary"
	"net/netip"

	"gatehouse/event"
)

// kind is one kind of Windows record that the simulation writes.
type kind uint8

const (
	kLogon kind = iota
	kUnlockLogon
	kLogoffBegun
	kLogoff
	kLock
	kUnlock
	kSaverOn
	kSaverOff
	kDisconnect
	kReconnect
	kFailed
	kLockout
	kPrivileged
	kExplicit
	kTicket
	kTicketFailed
	kCredential
	kBoot
	kBootSecurity
	kUnexpected
	kPower
	kStopAsked
	kStop
	kSleep
	kWake
	kClock
	kCleared
	numKinds
)

const (
	providerSecurity = "Microsoft-Windows-Security-Auditing"
	providerPower    = "Microsoft-Windows-Kernel-Power"
	providerEventlog = "Microsoft-Windows-Eventlog"
)

// kinds says what each kind is on Windows; old marks those for which an agent
// that knows sign-in, sign-out and the screen lock alone has a name.
var kinds = [numKinds]struct {
	typ      event.Type
	id       uint16
	provider string
	system   bool // in the System log
	old      bool
}{
	kLogon:        {event.Logon, 4624, providerSecurity, false, true},
	kUnlockLogon:  {event.Unlock, 4624, providerSecurity, false, false},
	kLogoffBegun:  {event.Logoff, 4647, providerSecurity, false, true},
	kLogoff:       {event.Logoff, 4634, providerSecurity, false, false},
	kLock:         {event.Lock, 4800, providerSecurity, false, true},
	kUnlock:       {event.Unlock, 4801, providerSecurity, false, true},
	kSaverOn:      {event.ScreenSaverOn, 4802, providerSecurity, false, false},
	kSaverOff:     {event.ScreenSaverOff, 4803, providerSecurity, false, false},
	kDisconnect:   {event.Disconnect, 4779, providerSecurity, false, true},
	kReconnect:    {event.Reconnect, 4778, providerSecurity, false, true},
	kFailed:       {event.LogonFailed, 4625, providerSecurity, false, true},
	kLockout:      {event.Lockout, 4740, providerSecurity, false, true},
	kPrivileged:   {event.Privileged, 4672, providerSecurity, false, false},
	kExplicit:     {event.ExplicitLogon, 4648, providerSecurity, false, false},
	kTicket:       {event.CredentialCheck, 4768, providerSecurity, false, false},
	kTicketFailed: {event.CredentialFailed, 4771, providerSecurity, false, false},
	kCredential:   {event.CredentialCheck, 4776, providerSecurity, false, false},
	kBoot:         {event.Startup, 6005, "EventLog", true, false},
	kBootSecurity: {event.Startup, 4608, providerSecurity, false, false},
	kUnexpected:   {event.Startup, 6008, "EventLog", true, false},
	kPower:        {event.Startup, 41, providerPower, true, false},
	kStopAsked:    {event.Shutdown, 1074, "User32", true, false},
	kStop:         {event.Shutdown, 6006, "EventLog", true, false},
	kSleep:        {event.Sleep, 42, providerPower, true, false},
	kWake:         {event.Wake, 107, providerPower, true, false},
	kClock:        {event.ClockChanged, 4616, providerSecurity, false, false},
	kCleared:      {event.LogCleared, 1102, providerEventlog, false, false},
}

// Failure codes.
const (
	ntBadPassword  = 0xC000006A
	ntNoSuchUser   = 0xC0000064
	ntLogonFailure = 0xC000006D
	ntExpired      = 0xC0000071
	ntDisabled     = 0xC0000072
	ntLockedOut    = 0xC0000234
	ntRestriction  = 0xC000006E
	krbBadPassword = 0x18
	noSource       = int32(-1)
	noAccount      = int32(-1)
	flagElevated   = 1
	flagAway       = 2 // from home: the public address is the person's
	flagRepeat     = 4
)

// record is an event to be, small enough to hold a company's day of them.
type record struct {
	at, deliver   int64
	number        uint64 // EventRecordID
	logon, linked uint64
	seq           uint32 // the order in which equal times were made
	account       int32
	machine       int32
	source        int32  // the machine the logon came from, noSource: none
	from          uint32 // or an address outside, 0: none
	status        uint32 // what failed
	home          int32  // the person whose home it came from, noSource: the office
	kind          kind
	logonType     uint8
	flags         uint8
}

// fill makes e of r.
func (c *company) fill(r *record, e *event.Event) {
	k, m := &kinds[r.kind], &c.machines[r.machine]
	*e = event.Event{
		CompanyID: uint32(c.index + 1), //nolint:gosec // MaxCompanies
		SiteID:    uint32(c.index + 1), //nolint:gosec // MaxCompanies
		Time:      r.at, Received: r.deliver, Type: k.typ, LogonType: event.LogonTypeNone,
		Computer: m.name, LocalIP: m.ip, PublicIP: m.public,
	}
	if r.home >= 0 {
		e.PublicIP = c.people[r.home].home
	}
	if r.flags&flagRepeat != 0 {
		e.Retry = 1
	}
	if r.account >= 0 {
		a := &c.accounts[r.account]
		e.User, e.Account = a.user, a.sort
		if !m.old {
			e.Domain, e.SID = a.domain, a.sid
		}
	}
	if m.old {
		c.classify(e)
		return
	}
	e.EventID, e.RecordID, e.Provider, e.Agent = k.id, r.number, k.provider, m.agent
	e.Channel = "Security"
	if k.system {
		e.Channel = "System"
	}
	e.LogonID, e.LinkedLogonID, e.Elevated = r.logon, r.linked, r.flags&flagElevated != 0
	switch r.kind {
	case kLogon, kUnlockLogon, kLogoff, kFailed:
		e.LogonType = r.logonType
	}
	switch {
	case r.source >= 0:
		s := &c.machines[r.source]
		e.SourceIP, e.SourceHost = s.ip, s.name
		if r.kind == kLockout {
			e.SourceIP = netip.Addr{} // a lockout names the computer alone
		}
	case r.from != 0:
		e.SourceIP = addrOf(r.from)
	}
	if r.status != 0 {
		e.Status = r.status
		if r.kind == kFailed {
			switch r.status {
			case ntBadPassword, ntNoSuchUser:
				e.Status, e.SubStatus = ntLogonFailure, r.status
			case ntExpired, ntDisabled:
				e.Status, e.SubStatus = ntRestriction, r.status
			}
		}
	}
	c.classify(e)
}

// classify sets what [event.Event.Normalize] would.
func (c *company) classify(e *event.Event) {
	if e.Account == 0 {
		e.Account = event.ClassifyAccount(e.User, e.SID, e.LogonType)
	}
}

func addrOf(v uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}
