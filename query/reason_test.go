package query

import (
	"strings"
	"testing"
)

func TestReasons(t *testing.T) {
	for _, c := range []struct {
		status, sub uint32
		key         string
	}{
		{0xC000006D, 0xC000006A, "wrong_password"}, // the sub-status says more
		{0xC000006D, 0xC0000064, "no_such_user"},
		{0xC0000234, 0, "locked_out"},
		{0xC000006D, 0, "bad_credentials"},
		{0, 0xC0000072, "account_disabled"},
		{0, 0, "not_given"},
		{0x18, 0, "wrong_password"}, // Kerberos
		{0x6, 0, "no_such_user"},
		{0x12, 0, "account_revoked"},
		{0x17, 0, "password_expired"},
		{0x25, 0, "clock_skew"},
		{0x10, 0, "smart_card"},
		{0xC0000133, 0, "clock_skew"},
		{0xC00000FF, 0, "code_0xC00000FF"},
		{0x7F, 0, "code_0x7F"},
	} {
		if got := ReasonFor(c.status, c.sub); got.Key != c.key || got.Text == "" {
			t.Errorf("%x/%x is %+v, want %s", c.status, c.sub, got, c.key)
		}
	}
	// All codes that Windows' reference names for these events have words.
	for _, code := range []uint32{
		0x64, 0x6A, 0x6D, 0x6E, 0x6F, 0x70, 0x71, 0x72, 0x5E, 0xDC, 0x9A, 0x133, 0x15B, 0x18B, 0x18C, 0x192, 0x193, 0x224, 0x225, 0x234,
		0x2EE, 0x371, 0x380, 0x413, 0x418,
	} {
		if r := ReasonFor(0xC0000000|code, 0); strings.HasPrefix(r.Key, "code_") {
			t.Errorf("%08X has no words", 0xC0000000|code)
		}
	}
	for _, code := range []uint32{0x6, 0x10, 0x12, 0x17, 0x18, 0x25} {
		if r := ReasonFor(code, 0); strings.HasPrefix(r.Key, "code_") {
			t.Errorf("%X has no words", code)
		}
	}
}

// One key always has the same words, or reports by reason would be ambiguous.
func TestReasonKeysAreUnambiguous(t *testing.T) {
	words := map[string]string{}
	for _, table := range []map[uint32]Reason{ntReasons, kerberosReasons} {
		for _, r := range table {
			if old, ok := words[r.Key]; ok && old != r.Text {
				t.Errorf("%s is %q and %q", r.Key, old, r.Text)
			}
			words[r.Key] = r.Text
		}
	}
}
