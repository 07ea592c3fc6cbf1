package event

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var testNow = time.Date(2026, 5, 25, 12, 0, 0, 0, time.UTC)

// genEvent draws a valid, normalized event.
func genEvent(t *rapid.T) Event {
	name := rapid.StringMatching(`[A-Za-z0-9äöüÄßжЖ.$ -]{0,20}`)
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		switch rapid.IntRange(0, 2).Draw(t, "family") {
		case 0:
			return netip.Addr{}
		case 1:
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		default:
			return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
		}
	})
	e := Event{
		CompanyID: rapid.Uint32().Draw(t, "company"), SiteID: rapid.Uint32().Draw(t, "site"),
		Time:     rapid.Int64Range(1, testNow.UnixMilli()).Draw(t, "time"),
		Received: rapid.Int64().Draw(t, "received"),
		Type:     rapid.SampledFrom(Types()).Draw(t, "type"),
		User:     "u" + name.Draw(t, "user"), Computer: "c" + name.Draw(t, "computer"), Domain: name.Draw(t, "domain"),
		SID:     rapid.SampledFrom([]string{"", "S-1-5-18", "S-1-5-21-1-2-3-500"}).Draw(t, "sid"),
		LogonID: rapid.Uint64().Draw(t, "logonid"), LinkedLogonID: rapid.Uint64().Draw(t, "linked"),
		LogonType: rapid.Byte().Draw(t, "logontype"), Elevated: rapid.Bool().Draw(t, "elevated"),
		LocalIP: addr.Draw(t, "local"), PublicIP: addr.Draw(t, "public"), SourceIP: addr.Draw(t, "source"),
		SourceHost: name.Draw(t, "host"), Status: rapid.Uint32().Draw(t, "status"), SubStatus: rapid.Uint32().Draw(t, "sub"),
		EventID: rapid.Uint16().Draw(t, "eventid"), RecordID: rapid.Uint64().Draw(t, "record"), ContentHash: rapid.Uint64().Draw(t, "hash"),
		Channel: name.Draw(t, "channel"), Provider: name.Draw(t, "provider"), Agent: name.Draw(t, "agent"), Retry: rapid.Uint16().Draw(t, "retry"),
	}
	if err := e.Normalize(testNow); err != nil {
		t.Fatalf("a valid event was refused: %v", err)
	}
	return e
}

func TestNormalizeTwiceChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent(t)
		again := e
		if err := again.Normalize(testNow); err != nil || again != e {
			t.Fatalf("normalized again (%v):\n %+v\n %+v", err, e, again)
		}
	})
}

// TestIdentityIsOfItsFieldsAlone: what an event is told apart by is the list in
// the design, in folded form, and nothing else.
func TestIdentityIsOfItsFieldsAlone(t *testing.T) {
	reference := func(e Event) ID {
		s := ""
		for _, part := range []any{
			e.CompanyID, strings.ToLower(e.Computer), strings.ToLower(e.User), uint8(e.Type), e.Time,
			e.LogonID, e.RecordID, e.EventID, e.ContentHash,
		} {
			s += fmt.Sprint(part) + "\x00"
		}
		sum := sha256.Sum256([]byte(s))
		return ID(sum[:16])
	}
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent(t)
		id := e.ID()
		if want := reference(e); id != want {
			t.Fatalf("ID %v, want %v of %+v", id, want, e)
		}
		back, err := ParseID(id.String())
		if err != nil || back != id {
			t.Fatalf("ParseID(%v) = %v, %v", id, back, err)
		}
		same := e
		same.Computer, same.User = strings.ToUpper(e.Computer), strings.ToUpper(e.User)
		if Fold(same.Computer) != Fold(e.Computer) || Fold(same.User) != Fold(e.User) {
			same.Computer, same.User = e.Computer, e.User // ß has no simple upper case
		}
		same.SiteID++
		same.Received++
		same.Retry++
		same.Domain, same.Agent, same.Channel = "other", "other", "other"
		same.PublicIP = netip.MustParseAddr("192.0.2.1")
		same.LogonType ^= 1
		same.Status++
		if same.ID() != id {
			t.Fatalf("delivery changed the identity of %+v", e)
		}
		for i, change := range []func(*Event){
			func(e *Event) { e.CompanyID++ }, func(e *Event) { e.Computer += "x" }, func(e *Event) { e.User += "x" },
			func(e *Event) { e.Type = e.Type%20 + 1 }, func(e *Event) { e.Time++ }, func(e *Event) { e.LogonID++ },
			func(e *Event) { e.RecordID++ }, func(e *Event) { e.EventID++ }, func(e *Event) { e.ContentHash++ },
		} {
			other := e
			change(&other)
			if other.ID() == id {
				t.Fatalf("change %d kept the identity of %+v", i, e)
			}
		}
	})
}

// TestIdentityIsForever: identities are stored. One that changes makes every
// event of the past count twice.
func TestIdentityIsForever(t *testing.T) {
	e := Event{
		CompanyID: 3, Computer: "PC-01", User: "Ölga", Type: Logon, Time: 1748183400123,
		LogonID: 0x1d31fef, RecordID: 42, EventID: 4624, ContentHash: 7,
	}
	if got, want := e.ID().String(), "0c4df433e130c812b004fa89a3b53f46"; got != want {
		t.Errorf("ID %s, want %s", got, want)
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "00", strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("g", 32)} {
		if _, err := ParseID(s); ErrorCode(err) != CodeInvalid {
			t.Errorf("ParseID(%q): %v", s, err)
		}
	}
}

func TestHashContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOf(rapid.Byte()).Draw(t, "a"), rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "b")
		if HashContent(a, b) == HashContent(append(append([]byte{}, a...), b...)) {
			t.Fatal("parts run together")
		}
		if HashContent(a) != HashContent(append([]byte{}, a...)) || HashContent(a) == 0 {
			t.Fatal("not a function of the content, or zero")
		}
	})
}

func TestNormalize(t *testing.T) {
	valid := Event{Type: Logon, Time: testNow.UnixMilli(), User: "ann", Computer: "pc", LogonType: LogonTypeNone}
	for _, c := range []struct {
		name  string
		field string
		edit  func(*Event)
	}{
		{"no type", "EventType", func(e *Event) { e.Type = 0 }},
		{"unknown type", "EventType", func(e *Event) { e.Type = 99 }},
		{"no time", "Timestamp", func(e *Event) { e.Time = 0 }},
		{"before 1970", "Timestamp", func(e *Event) { e.Time = -1 }},
		{"far future", "Timestamp", func(e *Event) { e.Time = testNow.Add(MaxFuture).UnixMilli() + 1 }},
		{"no computer", "ComputerName", func(e *Event) { e.Computer = " " }},
		{"no user", "UserName", func(e *Event) { e.User = "" }},
		{"dash for a user", "UserName", func(e *Event) { e.User = "-" }},
		{"control character", "UserName", func(e *Event) { e.User = "a\x00b" }},
		{"broken UTF-8", "Domain", func(e *Event) { e.Domain = "a\xffb" }},
		{"long name", "SourceHost", func(e *Event) { e.SourceHost = strings.Repeat("x", MaxName+1) }},
	} {
		e := valid
		c.edit(&e)
		err := e.Normalize(testNow)
		if ErrorCode(err) != CodeInvalid || !strings.HasPrefix(err.Error(), c.field+": ") {
			t.Errorf("%s: %v, want an error about %s", c.name, err, c.field)
		}
	}
	for _, c := range []struct {
		name       string
		edit       func(*Event)
		user, dom  string
		account    Account
		checkLogon bool
	}{
		{"plain", func(*Event) {}, "ann", "", AccountUser, false},
		{"a day ahead", func(e *Event) { e.Time = testNow.Add(MaxFuture).UnixMilli() }, "ann", "", AccountUser, false},
		{"down-level name", func(e *Event) { e.User = `CORP\ann` }, "ann", "CORP", AccountUser, false},
		{"spaces within", func(e *Event) { e.User = `CORP \ ann` }, "ann", "CORP", AccountUser, false},
		{"two backslashes", func(e *Event) { e.User = `FOREST\CORP\ann` }, "ann", `FOREST\CORP`, AccountUser, false},
		{"domain alone", func(e *Event) { e.User = `CORP\` }, `CORP\`, "", AccountUser, false},
		{"local machine", func(e *Event) { e.User = `.\ann` }, "ann", "", AccountUser, false},
		{"domain given twice", func(e *Event) { e.User, e.Domain = `A\ann`, "B" }, "ann", "B", AccountUser, false},
		{"SID alone", func(e *Event) { e.User, e.SID = "", "S-1-5-21-1-2-3-1001" }, "S-1-5-21-1-2-3-1001", "", AccountUser, false},
		{"blank from Windows", func(e *Event) { e.User, e.EventID = "", 4625 }, "", "", AccountNone, false},
		{"of the computer", func(e *Event) { e.Type, e.LogonID = Shutdown, 5 }, "", "", AccountNone, true},
	} {
		e := valid
		c.edit(&e)
		if err := e.Normalize(testNow); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if e.User != c.user || e.Domain != c.dom || e.Account != c.account || (c.checkLogon && e.LogonID != 0) {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}
