package event

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTypeNames(t *testing.T) {
	for _, typ := range Types() {
		for _, name := range []string{
			typ.String(), strings.ToUpper(typ.String()), strings.ReplaceAll(typ.String(), "_", "-"),
			strings.ReplaceAll(typ.String(), "_", " "), strings.ReplaceAll(typ.String(), "_", ""),
		} {
			if got, ok := ParseType(name); !ok || got != typ {
				t.Errorf("ParseType(%q) = %v, %v; want %v", name, got, ok, typ)
			}
		}
	}
	for name, want := range map[string]Type{
		"Sign-In": Logon, "SignIn": Logon, "Login": Logon, "Logon": Logon, "LOGON": Logon, "sign_in": Logon, "Sign in": Logon,
		"Sign-Out": Logoff, "Logout": Logoff, "Logoff": Logoff, "log_off": Logoff,
		"Lock": Lock, "Unlock": Unlock, "Disconnect": Disconnect, "Reconnect": Reconnect,
		"Failed Login": LogonFailed, "logon-failed": LogonFailed, "Account Lockout": Lockout, "Startup": Startup, "Shutdown": Shutdown,
	} {
		if got, ok := ParseType(name); !ok || got != want {
			t.Errorf("ParseType(%q) = %v, %v; want %v", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "-", "AUDIT_SUCCESS", "INFO", "logonx", "logon\x00", strings.Repeat("logon", 20)} {
		if got, ok := ParseType(name); ok {
			t.Errorf("ParseType(%q) = %v, want none", name, got)
		}
	}
	if Type(0).Valid() || Type(21).Valid() || Type(200).String() != "unknown" {
		t.Error("numbers beside the types count as types")
	}
}

// TestTypeNumbers: the numbers are stored and stand in identities.
func TestTypeNumbers(t *testing.T) {
	want := "1 logon, 2 logoff, 3 lock, 4 unlock, 5 disconnect, 6 reconnect, 7 logon_failed, 8 lockout, 9 startup, 10 shutdown, " +
		"11 sleep, 12 wake, 13 screensaver_on, 14 screensaver_off, 15 privileged, 16 explicit_logon, 17 credential_check, " +
		"18 credential_failed, 19 clock_changed, 20 log_cleared"
	var got []string
	for _, typ := range Types() {
		got = append(got, itoa(int(typ))+" "+typ.String())
	}
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	accounts := "1 user, 2 computer, 3 service, 4 managed_service, 5 system, 6 anonymous, 7 window_manager, 8 none"
	got = nil
	for _, a := range Accounts() {
		got = append(got, itoa(int(a))+" "+a.String())
	}
	if s := strings.Join(got, ", "); s != accounts {
		t.Errorf("got  %s\nwant %s", s, accounts)
	}
}

func itoa(n int) string {
	if n >= 10 {
		return itoa(n/10) + itoa(n%10)
	}
	return string(rune('0' + n))
}

func TestClassifyAccount(t *testing.T) {
	for _, c := range []struct {
		user, sid string
		logonType uint8
		want      Account
	}{
		{"ann", "", LogonTypeNone, AccountUser},
		{"Administrator", "S-1-5-21-1-2-3-500", 2, AccountUser},
		{"PC01$", "S-1-5-21-1-2-3-1104", 3, AccountComputer},
		{"PC01$", "S-1-5-18", 5, AccountSystem},
		{"svc$", "", LogonTypeService, AccountManagedService},
		{"svc$", "", LogonTypeBatch, AccountManagedService},
		{"SYSTEM", "", 5, AccountSystem},
		{"СИСТЕМА", "S-1-5-18", 5, AccountSystem}, // names are localised, SIDs are not
		{"SERVICE LOCAL", "S-1-5-19", 5, AccountSystem},
		{"ANONYMOUS LOGON", "", 3, AccountAnonymous},
		{"x", "S-1-5-7", 3, AccountAnonymous},
		{"DWM-3", "", 2, AccountWindowManager},
		{"dwm-12", "S-1-5-90-0-12", 2, AccountWindowManager},
		{"UMFD-0", "S-1-5-96-0-0", 2, AccountWindowManager},
		{"DWM-", "", 2, AccountUser},
		{"DWM-Meyer", "", 2, AccountUser},
		{"MSSQL", "S-1-5-80-1-2", 5, AccountService},
		{"pool", "S-1-5-82-1", 5, AccountService},
		{"vm", "S-1-5-83-1-2", 5, AccountService},
		{"", "", LogonTypeNone, AccountNone},
		{"-", "", LogonTypeNone, AccountNone},
	} {
		if got := ClassifyAccount(c.user, c.sid, c.logonType); got != c.want {
			t.Errorf("ClassifyAccount(%q, %q, %d) = %v, want %v", c.user, c.sid, c.logonType, got, c.want)
		}
	}
}

// What is taken for a plain user at a glance is one when it is looked at.
func TestPlainUserIsOne(t *testing.T) {
	special := []string{"SYSTEM", "LOCAL SERVICE", "network service", "LocalSystem", "ANONYMOUS LOGON", "DWM-1", "UMFD-12", "pc$", "-", "\u017fystem", "local\u017fystem", "DWM\u2010", "ann"}
	glances := 0
	rapid.Check(t, func(t *rapid.T) {
		name := []rune(rapid.SampledFrom(special).Draw(t, "name"))
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			i := rapid.IntRange(0, len(name)).Draw(t, "at")
			c := rapid.SampledFrom([]rune("aS-$1 \u0131\u017f")).Draw(t, "letter")
			if i < len(name) && rapid.Bool().Draw(t, "in place") {
				name[i] = c
			} else {
				name = slices.Insert(name, i, c)
			}
		}
		if user := string(name); isPlainUser(user) {
			glances++
			if got := classifyUser(user, LogonTypeInteractive); got != AccountUser {
				t.Fatalf("%q is %v", user, got)
			}
		}
	})
	if glances == 0 {
		t.Error("no name was plain: the test tests nothing")
	}
}

// An event whose names are clean is the same without another look at them, and no other name is taken for clean.
func TestNormalizeClean(t *testing.T) {
	now := time.Date(2025, 5, 25, 14, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom([]string{"", " ann ", "CORP\\bob", "a\x00", "\x7f", "\xff", "j\u00f6rg\u00a0", "pc$"}), rapid.StringN(0, 12, MaxName+2), rapid.StringN(MaxName/4, -1, MaxName+4)), NumNames, NumNames).Draw(t, "names")
		e := Event{Type: Logon, Time: 1748174400000, User: names[0], Computer: names[1], Domain: names[2], SID: names[3], SourceHost: names[4], Channel: names[5], Provider: names[6], Agent: names[7]}
		clean, allClean := e, true
		for _, s := range []*string{&clean.User, &clean.Computer, &clean.Domain, &clean.SID, &clean.SourceHost, &clean.Channel, &clean.Provider, &clean.Agent} {
			var ok bool
			*s, ok = CleanName(*s)
			allClean = allClean && ok
		}
		err := e.cleanNames()
		if (err == nil) != allClean {
			t.Fatalf("%v, clean: %v", err, allClean)
		}
		if err != nil {
			return
		}
		err, err2 := e.Normalize(now), clean.NormalizeClean(now)
		if fmt.Sprint(err) != fmt.Sprint(err2) || err == nil && e != clean {
			t.Fatalf("%v %+v\n%v %+v", err, e, err2, clean)
		}
	})
}
