package event

import "strings"

// Providers, in the form in which they are compared. An event id means
// nothing without its provider: another one reuses 4625 and 7001.
const (
	providerSecurity = "microsoft-windows-security-auditing"
	providerEventlog = "microsoft-windows-eventlog"
	providerClassic  = "eventlog"
	providerWinlogon = "microsoft-windows-winlogon"
	providerKernel   = "microsoft-windows-kernel-general"
	providerPower    = "microsoft-windows-kernel-power"
	providerResume   = "microsoft-windows-power-troubleshooter"
	providerUser32   = "user32"
)

type windowsKey struct {
	provider string
	id       uint32
}

// windowsRule says what a record is. fill copies what the type needs beyond
// time, computer and origin; it may change the type, and reports false for a
// record that is none of ours after all.
type windowsRule struct {
	typ  Type
	fill func(*WindowsRecord, *Event) bool
}

// windowsRules is the whole mapping. Left out on purpose: the log of
// TerminalServices-LocalSessionManager (21 to 25, 39, 40), which tells of the
// same logons and reconnections as 4624, 4778 and 4779 with other times and no
// logon id, so that each would count twice.
var windowsRules = map[windowsKey]windowsRule{
	{providerSecurity, 4624}: {Logon, fillLogon},
	{providerSecurity, 4625}: {LogonFailed, fillFailed},
	{providerSecurity, 4634}: {Logoff, fillTarget},
	{providerSecurity, 4647}: {Logoff, fillTarget},
	{providerSecurity, 4648}: {ExplicitLogon, fillExplicit},
	{providerSecurity, 4672}: {Privileged, fillSubject},
	{providerSecurity, 4740}: {Lockout, fillLockout},
	{providerSecurity, 4768}: {CredentialCheck, fillKerberos},
	{providerSecurity, 4769}: {CredentialCheck, fillKerberos},
	{providerSecurity, 4771}: {CredentialFailed, fillKerberos},
	{providerSecurity, 4776}: {CredentialCheck, fillNTLM},
	{providerSecurity, 4778}: {Reconnect, fillRDP},
	{providerSecurity, 4779}: {Disconnect, fillRDP},
	{providerSecurity, 4800}: {Lock, fillTarget},
	{providerSecurity, 4801}: {Unlock, fillTarget},
	{providerSecurity, 4802}: {ScreenSaverOn, fillTarget},
	{providerSecurity, 4803}: {ScreenSaverOff, fillTarget},
	{providerSecurity, 4608}: {Startup, nil},
	{providerSecurity, 4609}: {Shutdown, nil},
	{providerSecurity, 4616}: {ClockChanged, nil},

	{providerEventlog, 1100}: {Shutdown, nil}, // the Security log's own word for 6006
	{providerEventlog, 1102}: {LogCleared, nil},
	{providerEventlog, 104}:  {LogCleared, nil},

	{providerClassic, 6005}: {Startup, nil},
	{providerClassic, 6006}: {Shutdown, nil},
	// 6008 and Kernel-Power 41 tell of an unexpected stop, but are written at the
	// boot after it and carry that boot's time: they are starts. Their event id
	// stays, so that a session's end before them is known to be inferred. The
	// time of the stop, which 6008 gives as localised text, is not read.
	{providerClassic, 6008}: {Startup, nil},
	{providerKernel, 12}:    {Startup, nil},
	{providerKernel, 13}:    {Shutdown, nil},
	{providerUser32, 1074}:  {Shutdown, fillShutdown},
	{providerPower, 41}:     {Startup, nil},
	{providerPower, 42}:     {Sleep, nil},
	{providerPower, 107}:    {Wake, nil},
	{providerPower, 506}:    {Sleep, nil}, // modern standby
	{providerPower, 507}:    {Wake, nil},
	{providerResume, 1}:     {Wake, nil},

	{providerWinlogon, 7001}: {Logon, fillWinlogon},
	{providerWinlogon, 7002}: {Logoff, fillWinlogon},
}

func findWindowsRule(provider string, id uint32) (windowsRule, bool) {
	rule, ok := windowsRules[windowsKey{strings.ToLower(strings.TrimSpace(provider)), id}]
	return rule, ok
}

// WindowsMapped tells whether records of a provider and event id become
// events, for a reader that wants to look at no others.
func WindowsMapped(provider string, id uint32) bool {
	_, ok := findWindowsRule(provider, id)
	return ok
}

// Event makes an event of r; false when r is of a kind that Gatehouse does not
// keep. The caller sets the tenant and calls [Event.Normalize].
func (r *WindowsRecord) Event() (Event, bool) {
	rule, ok := findWindowsRule(r.Provider, r.EventID)
	if !ok {
		return Event{}, false
	}
	e := Event{
		Type: rule.typ, Time: r.Time, Computer: cleanValue(r.Computer), LogonType: LogonTypeNone,
		EventID: uint16(r.EventID), RecordID: r.RecordID, //nolint:gosec // every id in windowsRules fits
		Channel: cleanValue(r.Channel), Provider: cleanValue(r.Provider),
	}
	if r.RecordID == 0 {
		e.ContentHash = r.ContentHash
	}
	if rule.fill != nil && !rule.fill(r, &e) {
		return Event{}, false
	}
	return e, true
}

// typeOfEventID sets the type of an event whose fields came already named as
// ours, with a Windows event id in place of a type. Without a provider, the
// id counts only as one of the Security log, whose ids are by far the most sent.
func (e *Event) typeOfEventID() error {
	provider := e.Provider
	if provider == "" && (e.Channel == "" || strings.EqualFold(e.Channel, "Security")) {
		provider = providerSecurity
	}
	rule, ok := findWindowsRule(provider, uint32(e.EventID))
	if !ok {
		return FieldError("EventID", "%d of provider %q is no event that is kept; send EventType to say what it means", e.EventID, clip(e.Provider, 64))
	}
	e.Type = refineType(rule.typ, e.LogonType, e.Status)
	return nil
}

// refineType is what a type becomes by its other fields: unlocking a session
// is written as a logon of type 7 or 13, and the same id tells of a credential
// check that went well and of one that failed.
func refineType(t Type, logonType uint8, status uint32) Type {
	switch {
	case t == Logon && (logonType == LogonTypeUnlock || logonType == LogonTypeCachedUnlock):
		return Unlock
	case t == CredentialCheck && status != 0:
		return CredentialFailed
	}
	return t
}

// fillTarget reads the Target fields, which name the account that the record
// is about. The Subject of a logon is who asked for it, never the session.
func fillTarget(r *WindowsRecord, e *Event) bool {
	e.User, e.Domain, e.SID = r.name("TargetUserName"), r.name("TargetDomainName"), r.sid("TargetUserSid")
	e.LogonID, e.LogonType = r.number("TargetLogonId"), r.logonType()
	return true
}

func fillLogon(r *WindowsRecord, e *Event) bool {
	fillTarget(r, e)
	r.source(e, "IpAddress", "WorkstationName")
	e.LinkedLogonID = r.number("TargetLinkedLogonId")
	e.Elevated = strings.TrimSpace(r.Get("ElevatedToken")) == "%%1842"
	e.Type = refineType(e.Type, e.LogonType, 0)
	return true
}

func fillFailed(r *WindowsRecord, e *Event) bool {
	fillTarget(r, e)
	r.source(e, "IpAddress", "WorkstationName")
	e.Status, e.SubStatus = r.code("Status"), r.code("SubStatus")
	return true
}

// fillExplicit names the account whose credentials were used. The logon id in
// the record is that of the asking session, another account's: it is left out.
func fillExplicit(r *WindowsRecord, e *Event) bool {
	fillTarget(r, e)
	r.source(e, "IpAddress", "WorkstationName")
	return true
}

func fillSubject(r *WindowsRecord, e *Event) bool {
	e.User, e.Domain, e.SID = r.name("SubjectUserName"), r.name("SubjectDomainName"), r.sid("SubjectUserSid")
	e.LogonID = r.number("SubjectLogonId")
	return true
}

// fillLockout: the computer that the bad passwords came from stands in
// TargetDomainName; the account's domain is that of the controller writing this.
func fillLockout(r *WindowsRecord, e *Event) bool {
	e.User, e.Domain, e.SID = r.name("TargetUserName"), r.name("SubjectDomainName"), r.sid("TargetSid")
	e.SourceHost = strings.TrimLeft(r.name("TargetDomainName"), `\`)
	return true
}

func fillKerberos(r *WindowsRecord, e *Event) bool {
	fillTarget(r, e)
	if e.SID == "" {
		e.SID = r.sid("TargetSid")
	}
	if e.Domain == "" {
		// 4771 has no domain field; the service is krbtgt/DOMAIN.
		if domain, ok := strings.CutPrefix(r.name("ServiceName"), "krbtgt/"); ok {
			e.Domain = domain
		}
	}
	// 4769 writes user@DOMAIN.
	if user, domain, ok := strings.Cut(e.User, "@"); ok && strings.EqualFold(domain, e.Domain) {
		e.User = user
	}
	r.source(e, "IpAddress", "WorkstationName")
	e.Status = r.code("Status")
	e.Type = refineType(e.Type, e.LogonType, e.Status)
	return true
}

func fillNTLM(r *WindowsRecord, e *Event) bool {
	e.User = r.name("TargetUserName")
	r.source(e, "IpAddress", "Workstation")
	e.Status = r.code("Status")
	e.Type = refineType(e.Type, e.LogonType, e.Status)
	return true
}

func fillRDP(r *WindowsRecord, e *Event) bool {
	e.User, e.Domain, e.LogonID = r.name("AccountName"), r.name("AccountDomain"), r.number("LogonID")
	r.source(e, "ClientAddress", "ClientName")
	return true
}

// fillWinlogon: the System log knows the user by SID alone.
func fillWinlogon(r *WindowsRecord, e *Event) bool {
	e.SID = r.sid("UserSid")
	return true
}

// fillShutdown refuses a 1074 that only logs a user off. The kind stands in
// param5 as localised text; the words known to mean a mere logoff are few, and
// anything else stops the computer.
func fillShutdown(r *WindowsRecord, _ *Event) bool {
	switch strings.ToLower(strings.TrimSpace(r.Get("param5"))) {
	case "log off", "logoff", "logout", "abmelden", "abmeldung", "fermer la session", "cerrar sesión":
		return false
	}
	return true
}
