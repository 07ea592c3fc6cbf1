package event

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func fieldsOf(t testing.TB, kv ...string) *Fields {
	t.Helper()
	var f Fields
	for i := 0; i < len(kv); i += 2 {
		id, ok := FieldByName(kv[i])
		if !ok {
			t.Fatalf("no field %q", kv[i])
		}
		f[id] = []byte(kv[i+1])
	}
	return &f
}

func TestFieldNames(t *testing.T) {
	for id := FieldID(0); id < NumFields; id++ {
		for _, name := range []string{id.String(), strings.ToUpper(id.String()), strings.ToLower(id.String())} {
			if got, ok := FieldByName(name); !ok || got != id {
				t.Errorf("FieldByName(%q) = %v, %v", name, got, ok)
			}
		}
		if !slices.Contains(FieldAliases(id), strings.ToLower(id.String())) {
			t.Errorf("%v is not among its own names", id)
		}
	}
	for name, want := range map[string]FieldID{
		"user_name": FieldUserName, "Computer Name": FieldComputerName, "IPAddress": FieldLocalIP, "ip-address": FieldLocalIP,
		"event_type": FieldEventType, "public_ip": FieldPublicIP, "record_id": FieldRecordID,
	} {
		if got, ok := FieldByName([]byte(name)); !ok || got != want {
			t.Errorf("FieldByName(%q) = %v, %v; want %v", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "password", strings.Repeat("username", 10)} {
		if got, ok := FieldByName(name); ok {
			t.Errorf("FieldByName(%q) = %v", name, got)
		}
	}
	if NumFields.String() != "unknown" || FieldID(-1).String() != "unknown" {
		t.Error("names for no fields")
	}
}

func TestParseFields(t *testing.T) {
	o := &ParseOptions{Now: testNow, CompanyID: 3, SiteID: 5}
	// The record of the application that Gatehouse replaces, as its agents send it.
	e, err := fieldsOf(t, "EventType", "Sign-In", "UserName", `CORP\ann`, "ComputerName", "PC-1", "IPAddress", "10.0.0.7",
		"PublicIP", "Unknown", "Timestamp", "2025-05-25T13:30:00Z", "retry", "true").Parse(o)
	if err != nil {
		t.Fatal(err)
	}
	want := Event{
		CompanyID: 3, SiteID: 5, Type: Logon, User: "ann", Domain: "CORP", Computer: "PC-1", Time: 1748179800000,
		Received: testNow.UnixMilli(), Retry: 1, LogonType: LogonTypeNone, Account: AccountUser, LocalIP: e.LocalIP,
	}
	if e != want || e.LocalIP.String() != "10.0.0.7" {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}

	base := []string{"UserName", "ann", "ComputerName", "pc", "Timestamp", "1748179800"}
	// A Windows event id stands for the type where none is given.
	for _, c := range []struct {
		extra []string
		want  Type
	}{
		{[]string{"EventID", "4624", "LogonType", "2"}, Logon},
		{[]string{"EventID", "4624", "LogonType", "7", "Channel", "Security"}, Unlock},
		{[]string{"EventID", "4647", "Provider", "Microsoft-Windows-Security-Auditing"}, Logoff},
		{[]string{"EventID", "4776", "Status", "0xC000006A"}, CredentialFailed},
		{[]string{"EventID", "4776", "Status", "0x0"}, CredentialCheck},
		{[]string{"EventID", "7001", "Provider", "Microsoft-Windows-Winlogon"}, Logon},
		{[]string{"EventID", "6005", "Provider", "EventLog"}, Startup},
		{[]string{"EventID", "4634", "EventType", "Lock"}, Lock}, // the sender knows better
	} {
		e, err := fieldsOf(t, append(slices.Clone(base), c.extra...)...).Parse(o)
		if err != nil || e.Type != c.want {
			t.Errorf("%v: %v, %v; want %v", c.extra, e.Type, err, c.want)
		}
	}
	for _, c := range []struct {
		field string
		extra []string
	}{
		{"EventType", nil},
		{"EventType", []string{"EventType", "AUDIT_SUCCESS"}},
		{"EventID", []string{"EventID", "7001"}},
		{"EventID", []string{"EventID", "7001", "Provider", "Service Control Manager"}},
		{"EventID", []string{"EventID", "70000"}},
		{"Timestamp", []string{"EventType", "logon", "Timestamp", "soon"}},
		{"LocalIP", []string{"EventType", "logon", "LocalIP", "10.0.0.256"}},
		{"SourceIP", []string{"EventType", "logon", "SourceIP", "host"}},
		{"LogonID", []string{"EventType", "logon", "LogonID", "0xg"}},
		{"LogonType", []string{"EventType", "logon", "LogonType", "255"}},
		{"Status", []string{"EventType", "logon", "Status", "0x100000000"}},
		{"Elevated", []string{"EventType", "logon", "Elevated", "maybe"}},
	} {
		_, err := fieldsOf(t, append(slices.Clone(base), c.extra...)...).Parse(o)
		if ErrorCode(err) != CodeInvalid || !strings.HasPrefix(err.Error(), c.field+": ") {
			t.Errorf("%v: %v, want an error about %s", c.extra, err, c.field)
		}
	}
}

func FuzzFieldsParse(f *testing.F) {
	f.Add("Logon", "ann", "pc", "2025-05-25T13:30:00Z", "10.0.0.1", "0x3e7", "2", "4624", "Security")
	f.Add("", `C\a`, "pc", "1748179800", "::1%eth0", "-", "-", "4776", "")
	f.Add("Lock", "-", " ", "", "LOCAL", "true", "300", "x", "\xff")
	f.Fuzz(func(t *testing.T, typ, user, computer, at, ip, id, logonType, eventID, channel string) {
		var fields Fields
		for id, v := range map[FieldID]string{
			FieldEventType: typ, FieldUserName: user, FieldComputerName: computer, FieldTimestamp: at, FieldSourceIP: ip, FieldLocalIP: ip,
			FieldLogonID: id, FieldRecordID: id, FieldLogonType: logonType, FieldEventID: eventID, FieldChannel: channel, FieldElevated: id, FieldSID: channel,
		} {
			fields[id] = []byte(v)
		}
		e, err := fields.Parse(&ParseOptions{Now: testNow, Location: time.UTC, CompanyID: 1})
		if err != nil {
			if ErrorCode(err) != CodeInvalid || ErrorMessage(err) == "" {
				t.Errorf("%v is no error about the input", err)
			}
			return
		}
		// What was taken can be stored, and read back as it was.
		if !e.Type.Valid() || e.Computer == "" || e.Time <= 0 || e.Time > testNow.Add(MaxFuture).UnixMilli() {
			t.Errorf("not valid: %+v", e)
		}
		var back Event
		if err := back.DecodeBinary(e.AppendBinary(nil), nil); err != nil || back != e {
			t.Errorf("%v\n got %+v\nwant %+v", err, back, e)
		}
		again := e
		if err := again.Normalize(testNow); err != nil || again != e {
			t.Errorf("%v\n got %+v\nwant %+v", err, again, e)
		}
	})
}

func TestErrors(t *testing.T) {
	if ErrorCode(nil) != "" || ErrorCode(errCodec) != CodeInternal || ErrorMessage(errCodec) != "internal error" {
		t.Error("errors of others show")
	}
	err := Wrap(CodeUnavailable, errCodec, "try later")
	if ErrorMessage(err) != "try later" || err.Code.Status() != 503 || !strings.Contains(err.Error(), errCodec.Error()) {
		t.Errorf("%v", err)
	}
	if ErrorMessage(Wrap(CodeInternal, errCodec, "secret")) != "internal error" || Code("?").Status() != 500 {
		t.Error("an internal error shows")
	}
}
