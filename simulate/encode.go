package simulate

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"gatehouse/event"
)

const timeLayout = "2006-01-02T15:04:05.000Z"

// oldAgent tells whether e came from an agent that sends the seven old fields.
func oldAgent(e *event.Event) bool { return e.EventID == 0 && e.Agent == "" }

// typeName is how the two kinds of agents call a type.
func typeName(e *event.Event) string {
	if oldAgent(e) {
		switch e.Type {
		case event.Logon:
			return "Sign-In"
		case event.Logoff:
			return "Sign-Out"
		}
	}
	return e.Type.String()
}

// AppendJSON appends e as one JSON object in the fields that agents send, without a newline.
func AppendJSON(b []byte, e *event.Event) []byte {
	old := oldAgent(e)
	b = append(b, `{"EventType":"`...)
	b = append(b, typeName(e)...)
	b = append(b, '"')
	b = appendMember(b, "UserName", e.User)
	b = appendMember(b, "ComputerName", e.Computer)
	if old {
		b = appendAddr(b, "IPAddress", e.LocalIP)
	} else {
		b = appendAddr(b, "LocalIP", e.LocalIP)
	}
	b = appendAddr(b, "PublicIP", e.PublicIP)
	b = append(b, `,"Timestamp":"`...)
	layout := timeLayout
	if old {
		layout = "2006-01-02T15:04:05Z"
	}
	b = time.UnixMilli(e.Time).UTC().AppendFormat(b, layout)
	b = append(b, '"')
	b = appendNumber(b, "retry", uint64(e.Retry))
	if old {
		return append(b, '}')
	}
	b = appendMember(b, "Domain", e.Domain)
	b = appendMember(b, "SID", e.SID)
	b = appendNumber(b, "EventID", uint64(e.EventID))
	b = appendNumber(b, "RecordID", e.RecordID)
	b = appendMember(b, "Channel", e.Channel)
	b = appendMember(b, "Provider", e.Provider)
	b = appendHex(b, "LogonID", e.LogonID)
	b = appendHex(b, "LinkedLogonID", e.LinkedLogonID)
	if e.LogonType != event.LogonTypeNone {
		b = append(b, `,"LogonType":`...)
		b = strconv.AppendUint(b, uint64(e.LogonType), 10)
	}
	if e.Elevated {
		b = append(b, `,"Elevated":true`...)
	}
	b = appendHex(b, "Status", uint64(e.Status))
	b = appendHex(b, "SubStatus", uint64(e.SubStatus))
	b = appendAddr(b, "SourceIP", e.SourceIP)
	b = appendMember(b, "SourceHost", e.SourceHost)
	b = appendMember(b, "AgentVersion", e.Agent)
	return append(b, '}')
}

func appendName(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(appendName(b, name), value)
}

func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always has a JSON form
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendNumber(b []byte, name string, v uint64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendUint(appendName(b, name), v, 10)
}

// appendHex writes what Windows writes in hexadecimal as it does.
func appendHex(b []byte, name string, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = append(appendName(b, name), '"', '0', 'x')
	b = strconv.AppendUint(b, v, 16)
	return append(b, '"')
}

func appendAddr(b []byte, name string, a netip.Addr) []byte {
	if !a.IsValid() {
		return b
	}
	b = append(appendName(b, name), '"')
	b = a.AppendTo(b)
	return append(b, '"')
}

// CSVHeader names the columns of [AppendCSV].
var CSVHeader = []string{
	"EventType", "UserName", "ComputerName", "LocalIP", "PublicIP", "Timestamp", "retry", "Domain", "SID",
	"EventID", "RecordID", "Channel", "Provider", "LogonID", "LinkedLogonID", "LogonType", "Elevated",
	"Status", "SubStatus", "SourceIP", "SourceHost", "AgentVersion",
}

// csvRow fills row with e's columns.
func csvRow(row []string, e *event.Event) []string {
	addr := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	number := func(v uint64, base int) string {
		switch {
		case v == 0:
			return ""
		case base == 16:
			return "0x" + strconv.FormatUint(v, 16)
		}
		return strconv.FormatUint(v, 10)
	}
	logonType, elevated := "", ""
	if e.LogonType != event.LogonTypeNone {
		logonType = strconv.Itoa(int(e.LogonType))
	}
	if e.Elevated {
		elevated = "true"
	}
	return append(row[:0], typeName(e), e.User, e.Computer, addr(e.LocalIP), addr(e.PublicIP),
		time.UnixMilli(e.Time).UTC().Format(timeLayout), number(uint64(e.Retry), 10), e.Domain, e.SID,
		number(uint64(e.EventID), 10), number(e.RecordID, 10), e.Channel, e.Provider,
		number(e.LogonID, 16), number(e.LinkedLogonID, 16), logonType, elevated,
		number(uint64(e.Status), 16), number(uint64(e.SubStatus), 16), addr(e.SourceIP), e.SourceHost, e.Agent)
}
