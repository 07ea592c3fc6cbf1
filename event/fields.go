package event

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// FieldID names a field that clients send.
type FieldID int

// The fields of the wire contract. The first seven are the contract of the
// application that Gatehouse replaces; the rest are optional.
const (
	FieldEventType FieldID = iota
	FieldUserName
	FieldComputerName
	FieldLocalIP
	FieldPublicIP
	FieldTimestamp
	FieldRetry
	FieldDomain
	FieldSID
	FieldLogonID
	FieldLinkedLogonID
	FieldLogonType
	FieldElevated
	FieldStatus
	FieldSubStatus
	FieldSourceIP
	FieldSourceHost
	FieldEventID
	FieldRecordID
	FieldChannel
	FieldProvider
	FieldAgentVersion
	NumFields
)

var fieldNames = [NumFields]string{
	"EventType", "UserName", "ComputerName", "LocalIP", "PublicIP", "Timestamp", "retry",
	"Domain", "SID", "LogonID", "LinkedLogonID", "LogonType", "Elevated", "Status", "SubStatus",
	"SourceIP", "SourceHost", "EventID", "RecordID", "Channel", "Provider", "AgentVersion",
}

// String is the field's name as documented.
func (f FieldID) String() string {
	if f < 0 || f >= NumFields {
		return "unknown"
	}
	return fieldNames[f]
}

// fieldByName maps folded names to fields: the documented ones and what other
// collectors call the same thing.
var fieldByName = func() map[string]FieldID {
	m := map[string]FieldID{
		"type": FieldEventType, "event": FieldEventType,
		"user": FieldUserName, "username": FieldUserName, "targetusername": FieldUserName, "account": FieldUserName, "accountname": FieldUserName,
		"computer": FieldComputerName, "hostname": FieldComputerName, "host": FieldComputerName, "machinename": FieldComputerName,
		"ipaddress": FieldLocalIP, "ip": FieldLocalIP, "localipaddress": FieldLocalIP,
		"publicipaddress": FieldPublicIP,
		"time":            FieldTimestamp, "eventtime": FieldTimestamp, "timecreated": FieldTimestamp, "datetime": FieldTimestamp,
		"retrycount": FieldRetry, "retries": FieldRetry,
		"targetdomainname": FieldDomain, "domainname": FieldDomain, "userdomain": FieldDomain,
		"usersid": FieldSID, "targetusersid": FieldSID,
		"targetlogonid": FieldLogonID, "targetlinkedlogonid": FieldLinkedLogonID,
		"elevatedtoken": FieldElevated,
		"sourceaddress": FieldSourceIP, "clientaddress": FieldSourceIP, "remoteip": FieldSourceIP,
		"workstationname": FieldSourceHost, "clientname": FieldSourceHost, "workstation": FieldSourceHost,
		"eventrecordid": FieldRecordID, "recordnumber": FieldRecordID,
		"providername": FieldProvider, "sourcename": FieldProvider,
		"agent": FieldAgentVersion, "version": FieldAgentVersion,
	}
	for id, name := range fieldNames {
		folded, _ := foldName(make([]byte, 0, 32), name)
		m[string(folded)] = FieldID(id)
	}
	return m
}()

// FieldByName finds a field by its name, without regard to case, spaces, "-" and "_".
func FieldByName[T string | []byte](name T) (FieldID, bool) {
	var buf [32]byte
	folded, ok := foldName(buf[:0], name)
	if !ok {
		return 0, false
	}
	id, ok := fieldByName[string(folded)]
	return id, ok
}

// FieldAliases lists, for documentation and tests, the folded names that stand for f.
func FieldAliases(f FieldID) []string {
	var out []string
	for name, id := range fieldByName {
		if id == f {
			out = append(out, name)
		}
	}
	return out
}

// Fields holds one record as it came, each field's text or nil when absent.
// Numbers and booleans stand as their text.
type Fields [NumFields][]byte

// ParseOptions is what a record cannot say of itself.
type ParseOptions struct {
	Now       time.Time
	Location  *time.Location // of times without a zone: the company's
	CompanyID uint32
	SiteID    uint32
	Intern    func([]byte) string // nil: copy
}

// Parse makes a valid event of one record. The error is a *[Error] naming the field.
func (f *Fields) Parse(o *ParseOptions) (Event, error) {
	var e Event
	err := f.ParseInto(&e, o)
	return e, err
}

// ParseInto is [Fields.Parse] into an event that the caller reuses.
func (f *Fields) ParseInto(e *Event, o *ParseOptions) error {
	e.Begin(o)
	for id := range NumFields {
		if len(f[id]) == 0 {
			continue
		}
		if err := e.Set(id, f[id], o); err != nil {
			return err
		}
	}
	return e.Normalize(o.Now)
}

// Begin makes e an empty event of o's tenant, to be filled by [Event.Set] and
// finished by [Event.Normalize].
func (e *Event) Begin(o *ParseOptions) {
	*e = Event{CompanyID: o.CompanyID, SiteID: o.SiteID, Received: o.Now.UnixMilli(), LogonType: LogonTypeNone}
}

// Set fills one field from its text, as clients write it; empty text is an absent
// field. The error is a *[Error] naming the field.
func (e *Event) Set(id FieldID, raw []byte, o *ParseOptions) error {
	if len(raw) == 0 {
		return nil
	}
	switch id {
	case FieldEventType:
		t, ok := parseType(raw)
		if !ok {
			return FieldError("EventType", "%q is not an event type; send Logon, Logoff, Lock, Unlock, Disconnect, Reconnect, LogonFailed, Lockout, Startup or Shutdown", clip(string(raw), 64))
		}
		e.Type = t
	case FieldUserName, FieldComputerName, FieldDomain, FieldSID, FieldSourceHost, FieldChannel, FieldProvider, FieldAgentVersion:
		if o.Intern != nil {
			*e.name(id) = o.Intern(raw)
		} else {
			*e.name(id) = string(raw)
		}
	case FieldTimestamp:
		ms, err := parseTime(raw, o.Location)
		e.Time = ms
		return err
	case FieldLocalIP:
		return parseAddr(id, raw, &e.LocalIP)
	case FieldPublicIP:
		return parseAddr(id, raw, &e.PublicIP)
	case FieldSourceIP:
		return parseAddr(id, raw, &e.SourceIP)
	case FieldElevated:
		on, err := parseBool(string(raw))
		e.Elevated = on
		return err
	default:
		v, err := parseUint(raw)
		if err != nil {
			return notANumber(id, string(raw))
		}
		return e.SetUint(id, v)
	}
	return nil
}

// name is the string that a field fills.
func (e *Event) name(id FieldID) *string {
	switch id {
	case FieldUserName:
		return &e.User
	case FieldComputerName:
		return &e.Computer
	case FieldDomain:
		return &e.Domain
	case FieldSID:
		return &e.SID
	case FieldSourceHost:
		return &e.SourceHost
	case FieldChannel:
		return &e.Channel
	case FieldProvider:
		return &e.Provider
	default:
		return &e.Agent
	}
}

// uintLimit is the largest number that a field takes, 0 for a field that is no number.
func uintLimit(id FieldID) uint64 {
	switch id {
	case FieldLogonID, FieldLinkedLogonID, FieldRecordID, FieldRetry:
		return 1<<64 - 1
	case FieldLogonType:
		return 254
	case FieldStatus, FieldSubStatus:
		return 1<<32 - 1
	case FieldEventID:
		return 1<<16 - 1
	default:
		return 0
	}
}

// SetUint fills a field that is a number.
func (e *Event) SetUint(id FieldID, v uint64) error {
	if v > uintLimit(id) {
		return notANumber(id, strconv.FormatUint(v, 10))
	}
	switch id {
	case FieldLogonID:
		e.LogonID = v
	case FieldLinkedLogonID:
		e.LinkedLogonID = v
	case FieldLogonType:
		e.LogonType = uint8(v) //nolint:gosec // bounded by uintLimit
	case FieldStatus:
		e.Status = uint32(v) //nolint:gosec // bounded by uintLimit
	case FieldSubStatus:
		e.SubStatus = uint32(v) //nolint:gosec // bounded by uintLimit
	case FieldEventID:
		e.EventID = uint16(v) //nolint:gosec // bounded by uintLimit
	case FieldRecordID:
		e.RecordID = v
	case FieldRetry:
		e.Retry = uint16(min(v, 1<<16-1))
	default:
	}
	return nil
}

func notANumber(id FieldID, text string) *Error {
	return FieldError(id.String(), "%q is not a whole number from 0 to %d (decimal, or hexadecimal with 0x)", clip(text, 64), uintLimit(id))
}

// parseType is ParseType for bytes, around which there may be spaces.
func parseType(raw []byte) (Type, bool) {
	var buf [32]byte
	folded, ok := foldName(buf[:0], bytes.TrimSpace(raw))
	if !ok {
		return 0, false
	}
	t, ok := typeByName[string(folded)]
	return t, ok
}

// parseUint reads decimal or 0x-hexadecimal. "true" and "false" stand for 1 and
// 0: the old agent sends "retry": true. "-" stands for nothing, as Windows writes it.
func parseUint(raw []byte) (uint64, error) {
	if v, ok := plainDigits(raw); ok {
		return v, nil
	}
	s := strings.TrimSpace(string(raw))
	switch s {
	case "-", "false", "False":
		return 0, nil
	case "true", "True":
		return 1, nil
	}
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		return strconv.ParseUint(s[2:], 16, 64)
	}
	return strconv.ParseUint(s, 10, 64)
}

// plainDigits is parseUint for plain decimal, and hexadecimal behind 0x, that cannot overflow.
func plainDigits(raw []byte) (uint64, bool) {
	v := uint64(0)
	if len(raw) > 2 && len(raw) <= 2+16 && raw[0] == '0' && raw[1] == 'x' {
		for _, c := range raw[2:] {
			switch {
			case c-'0' <= 9:
				c -= '0'
			case c-'a' < 6:
				c -= 'a' - 10
			case c-'A' < 6:
				c -= 'A' - 10
			default:
				return 0, false
			}
			v = v<<4 | uint64(c)
		}
		return v, true
	}
	if len(raw) == 0 || len(raw) > 19 {
		return 0, false
	}
	for _, c := range raw {
		if c -= '0'; c > 9 {
			return 0, false
		}
		v = v*10 + uint64(c)
	}
	return v, true
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "yes", "1", "%%1842":
		return true, nil
	case "false", "no", "0", "-", "%%1843":
		return false, nil
	}
	return false, FieldError("Elevated", "%q is neither true nor false", clip(s, 64))
}

// parseAddr reads an IP address. What Windows and the old agents write for "no
// address" counts as none: "-", "LOCAL", "Unknown", "N/A".
func parseAddr(id FieldID, raw []byte, dst *netip.Addr) error {
	if a, ok := parseIPv4(raw); ok {
		*dst = a
		return nil
	}
	s := strings.TrimSpace(string(raw))
	switch strings.ToLower(s) {
	case "", "-", "local", "unknown", "n/a", "none", "null":
		return nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return FieldError(id.String(), "%q is not an IP address", clip(s, 64))
	}
	*dst = a.Unmap().WithZone("")
	return nil
}

// parseIPv4 is the fast road for what most addresses are: four decimal numbers.
func parseIPv4(raw []byte) (netip.Addr, bool) {
	var a [4]byte
	part, digits, value := 0, 0, 0
	for _, c := range raw {
		switch {
		case c-'0' <= 9:
			if digits > 0 && value == 0 { // a leading zero, which some read as octal
				return netip.Addr{}, false
			}
			value = 10*value + int(c-'0')
			if digits++; value > 255 {
				return netip.Addr{}, false
			}
		case c == '.' && digits > 0 && part < 3:
			a[part] = byte(value)
			part, digits, value = part+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if part != 3 || digits == 0 {
		return netip.Addr{}, false
	}
	a[3] = byte(value)
	return netip.AddrFrom4(a), true
}

// HashContent is a number that tells raw records apart which carry no record
// id of their own: FNV-1a over the given parts. Never 0.
func HashContent(parts ...[]byte) uint64 {
	h := fnv.New64a()
	var n [8]byte
	for _, p := range parts {
		binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
		_, _ = h.Write(n[:])
		_, _ = h.Write(p)
	}
	return max(h.Sum64(), 1)
}
