package event

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Event is one logon event in canonical form. An Event that came through
// [Event.Normalize] is valid and ready to be stored.
type Event struct {
	CompanyID uint32 // the tenant
	SiteID    uint32 // the API key it came by
	Time      int64  // when it happened, Unix milliseconds
	Received  int64  // when Gatehouse took it, Unix milliseconds
	Type      Type
	Account   Account // set by Normalize

	User     string // as sent, without domain; "" for events of a computer
	Computer string // as sent
	Domain   string
	SID      string // the user's security id, when the source gives it

	LogonID       uint64 // 0: none given
	LinkedLogonID uint64 // the UAC twin's logon id, 0: none
	LogonType     uint8  // LogonTypeNone: none given
	Elevated      bool   // the logon holds a full administrator token

	LocalIP    netip.Addr // the computer's own address
	PublicIP   netip.Addr // the address it is seen at from outside
	SourceIP   netip.Addr // where the logon came from, for remote ones
	SourceHost string     // and that computer's name

	Status    uint32 // NTSTATUS or Kerberos code of a failure, 0: none
	SubStatus uint32

	EventID     uint16 // the Windows event id, 0: not from Windows
	RecordID    uint64 // EventRecordID, 0: none given
	ContentHash uint64 // tells apart raw records that carry no RecordID, else 0
	Channel     string
	Provider    string
	Agent       string // the agent's version
	Retry       uint16 // how often the client had tried before
}

// Limits on an event. What lies beyond is refused with the field's name.
const (
	// MaxName is the longest user, computer, domain or other name, in bytes.
	// Windows' own limits are 256 characters for a user and 63 for a DNS label.
	MaxName = 512
	// MaxFuture is how far ahead of the server's clock an event may lie; more
	// means a wrong clock, and the event would sit on top of every "latest" list.
	MaxFuture = 24 * time.Hour
)

// ID is an event's identity: 128 bits over what makes the event that event.
// The same event has the same ID however often and by whatever way it comes.
type ID [16]byte

// String is the ID in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what [ID.String] wrote.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return id, FieldError("id", "an event id has %d hexadecimal digits", 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, FieldError("id", "an event id has only hexadecimal digits")
	}
	return id, nil
}

// ID is the first half of SHA-256 over the identifying fields in decimal or
// folded text, with a NUL after each. The store computes the same from its columns
// (schema, function event_id): the two must change together, and never for
// data that exists.
func (e *Event) ID() ID {
	var buf [256]byte
	b := strconv.AppendUint(buf[:0], uint64(e.CompanyID), 10)
	b = append(b, 0)
	b = appendFold(b, e.Computer)
	b = append(b, 0)
	b = appendFold(b, e.User)
	b = append(b, 0)
	b = strconv.AppendUint(b, uint64(e.Type), 10)
	b = append(b, 0)
	b = strconv.AppendInt(b, e.Time, 10)
	b = append(b, 0)
	b = strconv.AppendUint(b, e.LogonID, 10)
	b = append(b, 0)
	b = strconv.AppendUint(b, e.RecordID, 10)
	b = append(b, 0)
	b = strconv.AppendUint(b, uint64(e.EventID), 10)
	b = append(b, 0)
	b = strconv.AppendUint(b, e.ContentHash, 10)
	b = append(b, 0)
	sum := sha256.Sum256(b)
	return ID(sum[:16])
}

// Fold is the form in which names are compared: lower case.
func Fold(name string) string { return strings.ToLower(name) }

// appendFold appends Fold(name), without a new string when name is ASCII.
func appendFold(b []byte, name string) []byte {
	start := len(b)
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= utf8.RuneSelf:
			return append(b[:start], Fold(name)...)
		case c-'A' < 26:
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

// Normalize trims and checks e and sets what follows from the rest (domain out
// of DOMAIN\user, account kind). now is the server's clock. The error, when
// there is one, is a *[Error] that names the field; e is then not to be used.
func (e *Event) Normalize(now time.Time) error { return e.normalize(now, false) }

// NormalizeClean is Normalize for an event whose names all came through [CleanName], which need not be looked at again.
func (e *Event) NormalizeClean(now time.Time) error { return e.normalize(now, true) }

func (e *Event) normalize(now time.Time, clean bool) error {
	if e.Type == 0 && e.EventID != 0 {
		if err := e.typeOfEventID(); err != nil {
			return err
		}
	}
	if !e.Type.Valid() {
		return FieldError("EventType", "is missing; send Logon, Logoff, Lock, Unlock, Disconnect, Reconnect, LogonFailed, Lockout, Startup or Shutdown")
	}
	if e.Time == 0 {
		return FieldError("Timestamp", "is missing; send RFC 3339, for example 2025-05-25T14:30:00Z")
	}
	if e.Time < 0 {
		return FieldError("Timestamp", "lies before 1970; set the computer's clock")
	}
	if limit := now.Add(MaxFuture).UnixMilli(); e.Time > limit {
		return FieldError("Timestamp", "%s lies more than %d hours in the future (the server's clock says %s); check the computer's clock and time zone",
			time.UnixMilli(e.Time).UTC().Format(time.RFC3339), int(MaxFuture.Hours()), now.UTC().Format(time.RFC3339))
	}
	if !clean {
		if err := e.cleanNames(); err != nil {
			return err
		}
	}
	if e.Computer == "" {
		return FieldError("ComputerName", "is missing")
	}
	e.splitDomain()
	if e.User == "-" {
		e.User = ""
	}
	if e.User == "" && e.SID != "" && !strings.Contains(e.SID, `\`) {
		e.User = e.SID
	}
	if e.User == "" && !e.Type.OfComputer() && e.EventID == 0 {
		return FieldError("UserName", "is missing")
	}
	if e.Type.OfComputer() {
		// Who asked for a shutdown is not a presence of theirs.
		e.User, e.SID, e.LogonID = "", "", 0
	}
	e.Account = ClassifyAccount(e.User, e.SID, e.LogonType)
	e.LocalIP, e.PublicIP, e.SourceIP = e.LocalIP.Unmap().WithZone(""), e.PublicIP.Unmap().WithZone(""), e.SourceIP.Unmap().WithZone("")
	return nil
}

// cleanNames trims and checks all names.
func (e *Event) cleanNames() error {
	for _, f := range [...]struct {
		name  string
		value *string
	}{
		{"UserName", &e.User},
		{"ComputerName", &e.Computer},
		{"Domain", &e.Domain},
		{"SID", &e.SID},
		{"SourceHost", &e.SourceHost},
		{"Channel", &e.Channel},
		{"Provider", &e.Provider},
		{"AgentVersion", &e.Agent},
	} {
		if *f.value == "" {
			continue
		}
		if err := cleanName(f.name, f.value); err != nil {
			return err
		}
	}
	return nil
}

// CleanName trims a name, and tells whether [Event.Normalize] takes it.
func CleanName(s string) (clean string, ok bool) {
	err := cleanName("", &s)
	return s, err == nil
}

// splitDomain turns DOMAIN\user into its parts. No account name holds a
// backslash, so the last one divides, and doing it twice changes nothing.
func (e *Event) splitDomain() {
	i := strings.LastIndexByte(e.User, '\\')
	if i < 0 {
		return
	}
	domain, user := strings.TrimSpace(e.User[:i]), strings.TrimSpace(e.User[i+1:])
	if user == "" {
		return
	}
	e.User = user
	if e.Domain == "" && domain != "." {
		e.Domain = domain
	}
}

// cleanName trims *s and refuses what no name may hold.
func cleanName(field string, s *string) error {
	v := strings.TrimSpace(*s)
	*s = v
	if len(v) > MaxName {
		return FieldError(field, "is longer than %d bytes", MaxName)
	}
	ascii := true
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c < 0x20 || c == 0x7f {
			return FieldError(field, "holds a control character")
		}
		if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	if !ascii && !utf8.ValidString(v) {
		return FieldError(field, "is not valid UTF-8")
	}
	return nil
}
