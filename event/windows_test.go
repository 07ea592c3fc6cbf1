package event

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"
)

const security = "Microsoft-Windows-Security-Auditing"

func windowsRecord(provider, channel string, id uint32, data ...string) *WindowsRecord {
	r := &WindowsRecord{Provider: provider, Channel: channel, EventID: id, Computer: "PC1.corp.example", RecordID: 77, Time: 1748179800123}
	for i := 0; i < len(data); i += 2 {
		r.Data = append(r.Data, WindowsValue{data[i], data[i+1]})
	}
	return r
}

// mapped is what [windowsRecord] becomes before the fields of its kind.
func mapped(r *WindowsRecord, t Type, edit func(*Event)) Event {
	e := Event{
		Type: t, Time: r.Time, Computer: r.Computer, LogonType: LogonTypeNone,
		EventID: uint16(r.EventID), RecordID: r.RecordID, Channel: r.Channel, Provider: r.Provider,
	}
	if edit != nil {
		edit(&e)
	}
	return e
}

const annSID = "S-1-5-21-1-2-3-1001"

func TestWindowsMapping(t *testing.T) {
	target := []string{
		"SubjectUserSid", "S-1-5-18", "SubjectUserName", "PC1$", "SubjectDomainName", "CORP", "SubjectLogonId", "0x3e7",
		"TargetUserSid", annSID, "TargetUserName", "ann", "TargetDomainName", "CORP", "TargetLogonId", "0x1D31FEF",
	}
	with := func(more ...string) []string { return append(append([]string{}, target...), more...) }
	ann := func(e *Event) { e.User, e.Domain, e.SID, e.LogonID = "ann", "CORP", annSID, 0x1d31fef }
	and := func(fs ...func(*Event)) func(*Event) {
		return func(e *Event) {
			for _, f := range fs {
				f(e)
			}
		}
	}
	from := func(ip, host string) func(*Event) {
		return func(e *Event) {
			if ip != "" {
				e.SourceIP = netip.MustParseAddr(ip)
			}
			e.SourceHost = host
		}
	}
	for i, c := range []struct {
		r    *WindowsRecord
		typ  Type
		edit func(*Event)
	}{
		{
			windowsRecord(security, "Security", 4624, with("LogonType", "10", "WorkstationName", "LAPTOP", "IpAddress", "10.1.2.3",
				"TargetLinkedLogonId", "0x1d32016", "ElevatedToken", "%%1842")...),
			Logon, and(ann, from("10.1.2.3", "LAPTOP"), func(e *Event) { e.LogonType, e.LinkedLogonID, e.Elevated = 10, 0x1d32016, true }),
		},
		{
			windowsRecord(security, "Security", 4624, with("LogonType", "2", "WorkstationName", "-", "IpAddress", "::ffff:10.1.2.3", "ElevatedToken", "%%1843")...),
			Logon, and(ann, from("10.1.2.3", ""), func(e *Event) { e.LogonType = 2 }),
		},
		{ // an address that is none is kept as a name
			windowsRecord(security, "Security", 4624, with("LogonType", "3", "WorkstationName", "", "IpAddress", "not an address")...),
			Logon, and(ann, from("", "not an address"), func(e *Event) { e.LogonType = 3 }),
		},
		{windowsRecord(security, "Security", 4624, with("LogonType", "7")...), Unlock, and(ann, func(e *Event) { e.LogonType = 7 })},
		{windowsRecord(security, "Security", 4624, with("LogonType", "13")...), Unlock, and(ann, func(e *Event) { e.LogonType = 13 })},
		{ // names come in any case
			windowsRecord("MICROSOFT-WINDOWS-SECURITY-AUDITING", "security", 4624, "targetusername", "ann", "logontype", "2"),
			Logon, func(e *Event) { e.User, e.LogonType = "ann", 2 },
		},
		{
			windowsRecord(security, "Security", 4625, "TargetUserSid", "S-1-0-0", "TargetUserName", "ann", "TargetDomainName", "-", "LogonType", "3",
				"Status", "0xc000006d", "SubStatus", "0xC0000064", "IpAddress", "fe80::1%12", "WorkstationName", "EVIL", "SubjectLogonId", "0x3e7"),
			LogonFailed, and(from("fe80::1", "EVIL"), func(e *Event) {
				e.User, e.LogonType, e.Status, e.SubStatus = "ann", 3, 0xc000006d, 0xc0000064
			}),
		},
		{ // as some collectors write NTSTATUS
			windowsRecord(security, "Security", 4625, "TargetUserName", "", "Status", "-1073741715", "SubStatus", "3221225572"),
			LogonFailed, func(e *Event) { e.Status, e.SubStatus = 0xc000006d, 0xc0000064 },
		},
		{windowsRecord(security, "Security", 4634, with("LogonType", "2")...), Logoff, and(ann, func(e *Event) { e.LogonType = 2 })},
		{windowsRecord(security, "Security", 4647, with()...), Logoff, ann},
		{
			windowsRecord(security, "Security", 4648, with("IpAddress", "-", "TargetServerName", "FILES")...),
			ExplicitLogon, ann,
		},
		{
			windowsRecord(security, "Security", 4672, "SubjectUserSid", annSID, "SubjectUserName", "ann", "SubjectDomainName", "CORP", "SubjectLogonId", "0x1d31fef"),
			Privileged, ann,
		},
		{
			windowsRecord(security, "Security", 4740, "TargetUserName", "ann", "TargetDomainName", "LAPTOP", "TargetSid", annSID,
				"SubjectUserName", "DC1$", "SubjectDomainName", "CORP", "SubjectLogonId", "0x3e7"),
			Lockout, and(from("", "LAPTOP"), func(e *Event) { e.User, e.Domain, e.SID = "ann", "CORP", annSID }),
		},
		{
			windowsRecord(security, "Security", 4768, "TargetUserName", "ann", "TargetDomainName", "CORP", "TargetSid", annSID, "Status", "0x0", "IpAddress", "::ffff:10.1.2.3"),
			CredentialCheck, and(from("10.1.2.3", ""), func(e *Event) { e.User, e.Domain, e.SID = "ann", "CORP", annSID }),
		},
		{
			windowsRecord(security, "Security", 4768, "TargetUserName", "ghost", "TargetDomainName", "CORP", "TargetSid", "S-1-0-0", "Status", "0x6", "IpAddress", "10.1.2.3"),
			CredentialFailed, and(from("10.1.2.3", ""), func(e *Event) { e.User, e.Domain, e.Status = "ghost", "CORP", 6 }),
		},
		{
			windowsRecord(security, "Security", 4769, "TargetUserName", "ann@CORP.EXAMPLE", "TargetDomainName", "CORP.EXAMPLE", "Status", "0x0"),
			CredentialCheck, func(e *Event) { e.User, e.Domain = "ann", "CORP.EXAMPLE" },
		},
		{
			windowsRecord(security, "Security", 4771, "TargetUserName", "ann", "TargetSid", annSID, "ServiceName", "krbtgt/CORP", "Status", "0x18", "IpAddress", "10.1.2.3"),
			CredentialFailed, and(from("10.1.2.3", ""), func(e *Event) { e.User, e.Domain, e.SID, e.Status = "ann", "CORP", annSID, 0x18 }),
		},
		{
			windowsRecord(security, "Security", 4776, "TargetUserName", "ann", "Workstation", `\\LAPTOP`, "Status", "0x0"),
			CredentialCheck, and(from("", "LAPTOP"), func(e *Event) { e.User = "ann" }),
		},
		{
			windowsRecord(security, "Security", 4776, "TargetUserName", "ann", "Workstation", "LAPTOP", "Status", "0xc000006a"),
			CredentialFailed, and(from("", "LAPTOP"), func(e *Event) { e.User, e.Status = "ann", 0xc000006a }),
		},
		{
			windowsRecord(security, "Security", 4778, "AccountName", "ann", "AccountDomain", "CORP", "LogonID", "0x1D31FEF", "SessionName", "RDP-Tcp#5", "ClientName", "LAPTOP", "ClientAddress", "10.1.2.3"),
			Reconnect, and(from("10.1.2.3", "LAPTOP"), func(e *Event) { e.User, e.Domain, e.LogonID = "ann", "CORP", 0x1d31fef }),
		},
		{ // fast user switching
			windowsRecord(security, "Security", 4779, "AccountName", "ann", "AccountDomain", "CORP", "LogonID", "0x1d31fef", "SessionName", "Console", "ClientName", "Unknown", "ClientAddress", "LOCAL"),
			Disconnect, and(from("", "Unknown"), func(e *Event) { e.User, e.Domain, e.LogonID = "ann", "CORP", 0x1d31fef }),
		},
		{windowsRecord(security, "Security", 4800, with("SessionId", "1")...), Lock, ann},
		{windowsRecord(security, "Security", 4801, with("SessionId", "1")...), Unlock, ann},
		{windowsRecord(security, "Security", 4802, with("SessionId", "1")...), ScreenSaverOn, ann},
		{windowsRecord(security, "Security", 4803, with("SessionId", "1")...), ScreenSaverOff, ann},
		{windowsRecord(security, "Security", 4608), Startup, nil},
		{windowsRecord(security, "Security", 4609), Shutdown, nil},
		{windowsRecord(security, "Security", 4616, with()...), ClockChanged, nil},
		{windowsRecord("Microsoft-Windows-Eventlog", "Security", 1100), Shutdown, nil},
		{windowsRecord("Microsoft-Windows-Eventlog", "Security", 1102, "SubjectUserName", "ann"), LogCleared, nil},
		{windowsRecord("Microsoft-Windows-Eventlog", "System", 104), LogCleared, nil},
		{windowsRecord("EventLog", "System", 6005), Startup, nil},
		{windowsRecord("EventLog", "System", 6006), Shutdown, nil},
		{windowsRecord("EventLog", "System", 6008, "", "9:03:54 PM", "", "\u200e2/\u200e13/\u200e2021"), Startup, nil},
		{windowsRecord("Microsoft-Windows-Kernel-General", "System", 12), Startup, nil},
		{windowsRecord("Microsoft-Windows-Kernel-General", "System", 13), Shutdown, nil},
		{windowsRecord("Microsoft-Windows-Kernel-Power", "System", 41), Startup, nil},
		{windowsRecord("Microsoft-Windows-Kernel-Power", "System", 42), Sleep, nil},
		{windowsRecord("Microsoft-Windows-Kernel-Power", "System", 506), Sleep, nil},
		{windowsRecord("Microsoft-Windows-Kernel-Power", "System", 107), Wake, nil},
		{windowsRecord("Microsoft-Windows-Kernel-Power", "System", 507), Wake, nil},
		{windowsRecord("Microsoft-Windows-Power-Troubleshooter", "System", 1), Wake, nil},
		{windowsRecord("User32", "System", 1074, "param5", "restart"), Shutdown, nil},
		{windowsRecord("User32", "System", 1074, "param5", "Herunterfahren"), Shutdown, nil},
		{windowsRecord("User32", "System", 1074, "param5", "log off"), 0, nil},
		{windowsRecord("Microsoft-Windows-Winlogon", "System", 7001, "TSId", "1", "UserSid", annSID), Logon, func(e *Event) { e.SID = annSID }},
		{windowsRecord("Microsoft-Windows-Winlogon", "System", 7002, "TSId", "1", "UserSid", annSID), Logoff, func(e *Event) { e.SID = annSID }},

		// The same numbers of other providers are other things.
		{windowsRecord("Service Control Manager", "System", 7001, "param1", "x"), 0, nil},
		{windowsRecord("Microsoft-Windows-EventSystem", "Application", 4625), 0, nil},
		{windowsRecord("Microsoft-Windows-Kernel-General", "System", 1), 0, nil},
		{windowsRecord("Microsoft-Windows-TerminalServices-LocalSessionManager", "Microsoft-Windows-TerminalServices-LocalSessionManager/Operational", 21), 0, nil},
		{windowsRecord(security, "Security", 4688), 0, nil},
		{windowsRecord(security, "Security", 4624+1<<16), 0, nil},
		{windowsRecord("", "Security", 4624), 0, nil},
	} {
		got, ok := c.r.Event()
		if WindowsMapped(c.r.Provider, c.r.EventID) != ok && c.r.EventID != 1074 {
			t.Errorf("%d: %s: WindowsMapped disagrees", i, c.r.Key())
		}
		if c.typ == 0 {
			if ok {
				t.Errorf("%d: %s became a %v", i, c.r.Key(), got.Type)
			}
			continue
		}
		if want := mapped(c.r, c.typ, c.edit); !ok || got != want {
			t.Errorf("%d: %s (%v)\n got %+v\nwant %+v", i, c.r.Key(), ok, got, want)
		}
		if err := got.Normalize(testNow); err != nil {
			t.Errorf("%d: %s cannot be stored: %v", i, c.r.Key(), err)
		}
	}
}

// TestWindowsMappingIsTotal: whatever stands in a record's fields, a mapped
// one can be stored, so that nobody hides a logon behind a strange name.
func TestWindowsHostileValues(t *testing.T) {
	long := strings.Repeat("ä", MaxName)
	for _, v := range []string{"", "-", " ", "\x00", "a\nb\x1b[31m", "\xff\xfe", long, "\u202e", `\`, `DOM\`, `\\`, "S-1-0-0", "%%1842", "0x", "-1", "99999999999999999999"} {
		for key := range windowsRules {
			r := &WindowsRecord{Provider: key.provider, EventID: key.id, Computer: "pc" + v, Channel: v, Time: 1}
			for _, name := range []string{
				"TargetUserName", "TargetDomainName", "TargetUserSid", "TargetSid", "SubjectUserName", "SubjectDomainName", "SubjectUserSid",
				"SubjectLogonId", "TargetLogonId", "LogonType", "IpAddress", "WorkstationName", "Workstation", "Status", "SubStatus", "AccountName",
				"AccountDomain", "LogonID", "ClientName", "ClientAddress", "UserSid", "ServiceName", "TargetLinkedLogonId", "ElevatedToken", "param5",
			} {
				r.Data = append(r.Data, WindowsValue{name, v})
			}
			e, ok := r.Event()
			if !ok {
				t.Fatalf("%s with %q is not mapped", r.Key(), v)
			}
			if err := e.Normalize(testNow); err != nil {
				t.Errorf("%s with %q: %v", r.Key(), v, err)
			}
			if len(e.User) > MaxName || !utf8.ValidString(e.User) {
				t.Errorf("%s with %q: user %q", r.Key(), v, e.User)
			}
			again, _ := r.Event()
			if err := again.Normalize(testNow); err != nil || again.ID() != e.ID() {
				t.Errorf("%s with %q: identity is not stable (%v)", r.Key(), v, err)
			}
		}
	}
}

func TestWindowsContentHash(t *testing.T) {
	r := windowsRecord(security, "Security", 4634, "TargetUserName", "ann")
	r.ContentHash = 5
	if e, _ := r.Event(); e.ContentHash != 0 {
		t.Error("a content hash beside a record id splits one event in two")
	}
	r.RecordID = 0
	if e, _ := r.Event(); e.ContentHash != 5 {
		t.Error("without a record id and a content hash, two records are one")
	}
}

func eventXML(data string) string {
	return `<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='` + security + `' Guid='{54849625}'/>
<EventID Qualifiers='0'>4624</EventID><Version>2</Version><TimeCreated SystemTime='2025-05-25T13:30:00.1234567Z'/><EventRecordID>77</EventRecordID>
<Channel>Security</Channel><Computer>PC1</Computer><Security UserID='S-1-5-18'/></System>` + data + `</Event>`
}

func TestParseWindowsXML(t *testing.T) {
	r, err := ParseWindowsXML([]byte(eventXML(`<EventData><Data Name='TargetUserName'>a&amp;b</Data><Data Name="LogonType">2</Data><Data>bare</Data><Data Name='empty'/></EventData>
<RenderingInfo Culture='de-DE'><Message>Ein Konto &lt;wurde&gt;</Message><Level>x</Level></RenderingInfo>`)))
	if err != nil {
		t.Fatal(err)
	}
	want := WindowsRecord{
		Provider: security, Channel: "Security", Computer: "PC1", UserSID: "S-1-5-18", EventID: 4624, RecordID: 77, Time: 1748179800123,
		Data: []WindowsValue{{"TargetUserName", "a&b"}, {"LogonType", "2"}, {"", "bare"}, {"empty", ""}},
	}
	if fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	r, err = ParseWindowsXML([]byte(eventXML(`<UserData><LogFileCleared xmlns='x'><SubjectUserName>ann</SubjectUserName></LogFileCleared></UserData>`)))
	if err != nil || r.Get("SubjectUserName") != "ann" {
		t.Errorf("UserData: %+v, %v", r, err)
	}
	for name, s := range map[string]string{
		"empty": "", "no event": "<a/>", "cut": eventXML("")[:200], "no time": strings.Replace(eventXML(""), "SystemTime", "X", 1),
		"bad time": strings.Replace(eventXML(""), "2025-", "99-", 1), "bad id": strings.Replace(eventXML(""), "4624", "x", 1),
		"bad record id": strings.Replace(eventXML(""), ">77<", ">-1<", 1), "nothing": "<Event></Event>", "deep": "<Event>" + strings.Repeat("<a>", 100),
	} {
		if r, err := ParseWindowsXML([]byte(s)); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
}

func TestReadWindowsXML(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader("<?xml version='1.0'?><Events>" + eventXML("") + "\n" + eventXML("") + "</Events>"))
	n := 0
	for {
		_, err := ReadWindowsXML(d, nil)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

func FuzzParseWindowsXML(f *testing.F) {
	f.Add([]byte(eventXML("<EventData><Data Name='TargetUserName'>ann</Data></EventData>")))
	f.Add([]byte(eventXML("<UserData><a><b>c</b></a></UserData>")))
	f.Add([]byte("<Event><System/></Event>"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseWindowsXML(raw)
		if err != nil {
			return
		}
		e, ok := r.Event()
		if ok && e.Normalize(testNow) == nil {
			var back Event
			if err := back.DecodeBinary(e.AppendBinary(nil), nil); err != nil || back != e {
				t.Errorf("%v\n got %+v\nwant %+v", err, back, e)
			}
		}
	})
}
