package event

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// WindowsRecord is one record of a Windows event log, whatever it was read
// from: a log file, a rendered XML text, a collector's JSON, the live log.
type WindowsRecord struct {
	Provider string // System/Provider/@Name
	Channel  string
	Computer string
	UserSID  string // System/Security/@UserID
	EventID  uint32
	RecordID uint64 // EventRecordID, 0: the source did not keep it
	Time     int64  // TimeCreated, Unix milliseconds
	Data     []WindowsValue

	// ContentHash stands in for a RecordID that the source did not keep, see
	// [HashContent]. It is not used beside a RecordID.
	ContentHash uint64
}

// WindowsValue is one named value of EventData. Classic sources leave the name empty.
type WindowsValue struct{ Name, Value string }

// Get is the first value of a name, "" when there is none. Names are compared
// without regard to case: collectors change it.
func (r *WindowsRecord) Get(name string) string {
	for i := range r.Data {
		if r.Data[i].Name == name {
			return r.Data[i].Value
		}
	}
	for i := range r.Data {
		if strings.EqualFold(r.Data[i].Name, name) {
			return r.Data[i].Value
		}
	}
	return ""
}

// Key names the kind of record in summaries: "Security/4624" for the provider
// Microsoft-Windows-Security-Auditing, else "System/7001/Service Control
// Manager", because other providers reuse each other's ids.
func (r *WindowsRecord) Key() string {
	id := strconv.FormatUint(uint64(r.EventID), 10)
	if strings.EqualFold(r.Provider, providerSecurity) {
		return "Security/" + id
	}
	channel := r.Channel
	switch {
	case channel == "":
		channel = "-"
	case strings.EqualFold(channel, "Security"): // some collectors send "security"
		channel = "Security"
	case strings.EqualFold(channel, "System"):
		channel = "System"
	}
	return channel + "/" + id + "/" + r.Provider
}

// cleanValue makes a name storable: attackers choose the user name of a failed
// logon, and a record must not be lost for what they put into it. "-" is how
// Windows writes "none". The result depends on the input alone, so identity
// stays the same.
func cleanValue(s string) string {
	s = strings.TrimSpace(s)
	if s == "-" {
		return ""
	}
	if strings.IndexFunc(s, unicode.IsControl) >= 0 || !utf8.ValidString(s) {
		s = strings.TrimSpace(strings.Map(func(c rune) rune {
			if unicode.IsControl(c) {
				return utf8.RuneError
			}
			return c
		}, strings.ToValidUTF8(s, string(utf8.RuneError))))
	}
	if len(s) > MaxName {
		n := MaxName
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = strings.TrimSpace(s[:n])
	}
	return s
}

// name is the cleaned value of a field that holds a name.
func (r *WindowsRecord) name(field string) string { return cleanValue(r.Get(field)) }

// sid is the security id in a field; the null SID, which Windows writes for an
// account it does not know, counts as none.
func (r *WindowsRecord) sid(field string) string {
	s := r.name(field)
	if s == "S-1-0-0" {
		return ""
	}
	return s
}

// number reads a decimal or hexadecimal field; 0 when absent or unreadable.
func (r *WindowsRecord) number(field string) uint64 {
	s := r.Get(field)
	if s == "" {
		return 0
	}
	v, err := parseUint([]byte(s))
	if err != nil {
		return 0
	}
	return v
}

// code reads a status field. Some collectors write NTSTATUS codes, which have
// the top bit set, as negative decimals.
func (r *WindowsRecord) code(field string) uint32 {
	s := strings.TrimSpace(r.Get(field))
	if strings.HasPrefix(s, "-") && len(s) > 1 {
		v, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return 0
		}
		return uint32(int32(v)) //nolint:gosec // the same 32 bits, read as unsigned
	}
	v := r.number(field)
	if v > 1<<32-1 {
		return 0
	}
	return uint32(v)
}

// logonType is the LogonType field, [LogonTypeNone] when absent or unreadable.
func (r *WindowsRecord) logonType() uint8 {
	s := strings.TrimSpace(r.Get("LogonType"))
	if s == "" || s == "-" {
		return LogonTypeNone
	}
	v, err := parseUint([]byte(s))
	if err != nil || v >= uint64(LogonTypeNone) {
		return LogonTypeNone
	}
	return uint8(v)
}

// source fills where a logon came from. An address that is none (a name, as
// some logon processes write) is kept as the host's name.
func (r *WindowsRecord) source(e *Event, addrField, hostField string) {
	e.SourceHost = strings.TrimLeft(r.name(hostField), `\`)
	raw := r.name(addrField)
	var a netip.Addr
	if err := parseAddr(FieldSourceIP, []byte(raw), &a); err != nil {
		if e.SourceHost == "" {
			e.SourceHost = raw
		}
		return
	}
	e.SourceIP = a
}
