package event

import (
	"strings"
	"unicode/utf8"
)

// Type is what happened. The numbers are stored (ClickHouse Enum8 and spool):
// they never change their meaning.
type Type uint8

// The types. Those up to [Shutdown] are what an agent may send by name; the
// rest come from Windows records.
const (
	Logon       Type = 1
	Logoff      Type = 2
	Lock        Type = 3
	Unlock      Type = 4
	Disconnect  Type = 5
	Reconnect   Type = 6
	LogonFailed Type = 7
	Lockout     Type = 8
	Startup     Type = 9
	Shutdown    Type = 10

	Sleep            Type = 11 // the computer suspends (Kernel-Power 42, 506)
	Wake             Type = 12 // and comes back (107, 507)
	ScreenSaverOn    Type = 13 // 4802
	ScreenSaverOff   Type = 14 // 4803
	Privileged       Type = 15 // special privileges given to a logon (4672)
	ExplicitLogon    Type = 16 // a logon tried with explicit credentials (4648)
	CredentialCheck  Type = 17 // a domain controller or SAM vouched for an account (4768, 4769, 4776)
	CredentialFailed Type = 18 // or refused to (4768, 4769, 4771, 4776)
	ClockChanged     Type = 19 // 4616
	LogCleared       Type = 20 // 1102, 104
)

var typeNames = [...]string{ //nolint:gosec // names of events, no credentials
	Logon: "logon", Logoff: "logoff", Lock: "lock", Unlock: "unlock",
	Disconnect: "disconnect", Reconnect: "reconnect",
	LogonFailed: "logon_failed", Lockout: "lockout",
	Startup: "startup", Shutdown: "shutdown",
	Sleep: "sleep", Wake: "wake",
	ScreenSaverOn: "screensaver_on", ScreenSaverOff: "screensaver_off",
	Privileged: "privileged", ExplicitLogon: "explicit_logon",
	CredentialCheck: "credential_check", CredentialFailed: "credential_failed",
	ClockChanged: "clock_changed", LogCleared: "log_cleared",
}

// Types lists every type in the order of its number.
func Types() []Type {
	out := make([]Type, 0, len(typeNames)-1)
	for t := Logon; int(t) < len(typeNames); t++ {
		out = append(out, t)
	}
	return out
}

// Valid tells whether t is one of the types above.
func (t Type) Valid() bool { return t >= Logon && int(t) < len(typeNames) }

// String is the canonical name, "unknown" for a number that is no type.
func (t Type) String() string {
	if !t.Valid() {
		return "unknown"
	}
	return typeNames[t]
}

// OfComputer tells whether the event is about the computer as a whole, so that
// it needs no user.
func (t Type) OfComputer() bool {
	switch t {
	case Startup, Shutdown, Sleep, Wake, ClockChanged, LogCleared:
		return true
	default:
		return false
	}
}

// typeByName maps folded names (see foldName) to types.
var typeByName = func() map[string]Type {
	m := map[string]Type{
		"signin": Logon, "login": Logon, "logon": Logon, "loggedon": Logon, "sessionlogon": Logon,
		"signout": Logoff, "logout": Logoff, "logoff": Logoff, "signoff": Logoff, "sessionlogoff": Logoff,
		"lock": Lock, "locked": Lock, "screenlock": Lock, "sessionlock": Lock, "workstationlocked": Lock,
		"unlock": Unlock, "unlocked": Unlock, "screenunlock": Unlock, "sessionunlock": Unlock, "workstationunlocked": Unlock,
		"disconnect": Disconnect, "disconnected": Disconnect, "remotedisconnect": Disconnect, "rdpdisconnect": Disconnect, "sessiondisconnect": Disconnect,
		"reconnect": Reconnect, "reconnected": Reconnect, "remoteconnect": Reconnect, "rdpreconnect": Reconnect, "sessionreconnect": Reconnect,
		"logonfailed": LogonFailed, "loginfailed": LogonFailed, "failedlogon": LogonFailed, "failedlogin": LogonFailed,
		"signinfailed": LogonFailed, "failedsignin": LogonFailed, "logonfailure": LogonFailed, "loginfailure": LogonFailed, "signinfailure": LogonFailed,
		"lockout": Lockout, "lockedout": Lockout, "accountlockout": Lockout, "accountlockedout": Lockout,
		"startup": Startup, "boot": Startup, "start": Startup, "systemstartup": Startup, "poweron": Startup,
		"shutdown": Shutdown, "systemshutdown": Shutdown, "poweroff": Shutdown,
		"sleep": Sleep, "suspend": Sleep, "wake": Wake, "resume": Wake, "wakeup": Wake,
	}
	for t := Logon; int(t) < len(typeNames); t++ {
		m[strings.ReplaceAll(typeNames[t], "_", "")] = t
	}
	return m
}()

// ParseType reads a type's name without regard to case, spaces, "-" and "_".
func ParseType(name string) (Type, bool) {
	var buf [32]byte
	folded, ok := foldName(buf[:0], name)
	if !ok {
		return 0, false
	}
	t, ok := typeByName[string(folded)]
	return t, ok
}

// foldName appends name to dst in lower case without spaces, "-" and "_".
// It reports false for a name longer than dst can hold: no name we know is.
func foldName[T string | []byte](dst []byte, name T) ([]byte, bool) {
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == ' ' || c == '-' || c == '_':
			continue
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		if len(dst) == cap(dst) {
			return nil, false
		}
		dst = append(dst, c)
	}
	return dst, true
}

// Account is what sort of account a name stands for. Time spent and sessions
// are about [AccountUser] alone; the rest stays countable.
type Account uint8

// The kinds of account; the numbers are stored.
const (
	AccountUser           Account = 1
	AccountComputer       Account = 2 // NAME$
	AccountService        Account = 3 // S-1-5-80/82/83: services, IIS, virtual machines
	AccountManagedService Account = 4 // a gMSA: NAME$ that logs on as a service or batch
	AccountSystem         Account = 5 // S-1-5-18/19/20
	AccountAnonymous      Account = 6 // S-1-5-7
	AccountWindowManager  Account = 7 // DWM-n, UMFD-n
	AccountNone           Account = 8 // no user in the event
)

var accountNames = [...]string{
	AccountUser: "user", AccountComputer: "computer", AccountService: "service",
	AccountManagedService: "managed_service", AccountSystem: "system",
	AccountAnonymous: "anonymous", AccountWindowManager: "window_manager", AccountNone: "none",
}

// Accounts lists every kind in the order of its number.
func Accounts() []Account {
	out := make([]Account, 0, len(accountNames)-1)
	for a := AccountUser; int(a) < len(accountNames); a++ {
		out = append(out, a)
	}
	return out
}

// String is the canonical name, "unknown" for a number that is no kind.
func (a Account) String() string {
	if a < AccountUser || int(a) >= len(accountNames) {
		return "unknown"
	}
	return accountNames[a]
}

// ClassifyAccount tells what sort of account stands behind a name and, when
// the source gives it, its SID. The rules are those of Microsoft's well-known
// SIDs; sid may be "".
func ClassifyAccount(user, sid string, logonType uint8) Account {
	switch sid {
	case "S-1-5-18", "S-1-5-19", "S-1-5-20":
		return AccountSystem
	case "S-1-5-7":
		return AccountAnonymous
	}
	switch {
	case strings.HasPrefix(sid, "S-1-5-90-"), strings.HasPrefix(sid, "S-1-5-96-"):
		return AccountWindowManager
	case strings.HasPrefix(sid, "S-1-5-80-"), strings.HasPrefix(sid, "S-1-5-82-"), strings.HasPrefix(sid, "S-1-5-83-"):
		return AccountService
	}
	if isPlainUser(user) {
		return AccountUser
	}
	return classifyUser(user, logonType)
}

func classifyUser(user string, logonType uint8) Account {
	var buf [32]byte
	upper, short := appendUpper(buf[:0], user)
	if !short {
		upper = []byte(strings.ToUpper(user))
	}
	switch u := string(upper); {
	case u == "" || u == "-":
		return AccountNone
	case u == "SYSTEM", u == "LOCAL SERVICE", u == "NETWORK SERVICE", u == "LOCALSYSTEM":
		return AccountSystem
	case u == "ANONYMOUS LOGON":
		return AccountAnonymous
	case isNumbered(u, "DWM-"), isNumbered(u, "UMFD-"):
		return AccountWindowManager
	case strings.HasSuffix(u, "$"):
		if logonType == LogonTypeService || logonType == LogonTypeBatch {
			return AccountManagedService
		}
		return AccountComputer
	}
	return AccountUser
}

// isPlainUser tells apart, at a glance, most of the names that are none of the special ones: by their
// length, by where those have a hyphen, and by the $ at the end.
func isPlainUser(name string) bool {
	switch n := len(name); {
	case n == 0 || name[n-1] == '$',
		n == len("SYSTEM"), n == len("LOCALSYSTEM"), n == len("LOCAL SERVICE"), n == len("NETWORK SERVICE"), n == len("ANONYMOUS LOGON"),
		n > len("DWM") && name[len("DWM")] == '-', n > len("UMFD") && name[len("UMFD")] == '-', name == "-":
		return false
	}
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf { // which may be an ASCII letter in upper case
			return false
		}
	}
	return true
}

// appendUpper appends name in upper case to dst. It reports false for a name that is not
// ASCII or longer than dst can hold.
func appendUpper(dst []byte, name string) ([]byte, bool) {
	if len(name) > cap(dst) {
		return nil, false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= utf8.RuneSelf:
			return nil, false
		case c-'a' < 26:
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst, true
}

// isNumbered tells whether s is prefix followed by digits alone.
func isNumbered(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}

// Windows logon types that the rules name.
const (
	LogonTypeSystem            uint8 = 0
	LogonTypeInteractive       uint8 = 2
	LogonTypeNetwork           uint8 = 3
	LogonTypeBatch             uint8 = 4
	LogonTypeService           uint8 = 5
	LogonTypeUnlock            uint8 = 7
	LogonTypeNetworkCleartext  uint8 = 8
	LogonTypeNewCredentials    uint8 = 9
	LogonTypeRemoteInteractive uint8 = 10
	LogonTypeCachedInteractive uint8 = 11
	LogonTypeCachedRemote      uint8 = 12
	LogonTypeCachedUnlock      uint8 = 13

	// LogonTypeNone says that the source gave no logon type.
	LogonTypeNone uint8 = 255
)
