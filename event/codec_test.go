package event

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent(t)
		raw := e.AppendBinary(nil)
		var back Event
		if err := back.DecodeBinary(raw, nil); err != nil || back != e {
			t.Fatalf("%v\n got %+v\nwant %+v", err, back, e)
		}
		var in Interner
		if err := back.DecodeBinary(raw, in.String); err != nil || back != e {
			t.Fatalf("interned: %v\n got %+v\nwant %+v", err, back, e)
		}
		if appended := e.AppendBinary([]byte("x")); !bytes.Equal(appended[1:], raw) || appended[0] != 'x' {
			t.Fatal("AppendBinary does not append")
		}
		// With its identity it is the same event, and the identity comes along.
		stored := e.AppendStored([]byte("x"), e.ID())[1:]
		if err := back.DecodeBinary(stored, nil); err != nil || back != e {
			t.Fatalf("stored: %v\n got %+v\nwant %+v", err, back, e)
		}
		var s Stored
		if err := s.Decode(raw); err != nil || s.ID != (ID{}) {
			t.Fatalf("%v, the identity is %v", err, s.ID)
		}
		if err := s.Decode(stored); err != nil || s.ID != e.ID() {
			t.Fatalf("stored: %v, the identity is %v, want %v", err, s.ID, e.ID())
		}
		for i, name := range []string{e.User, e.Computer, e.Domain, e.SID, e.SourceHost, e.Channel, e.Provider, e.Agent} {
			if string(s.Names[i]) != name {
				t.Fatalf("name %d is %q, want %q", i, s.Names[i], name)
			}
		}
		// Whatever is cut off or added is noticed.
		for _, raw := range [][]byte{raw, stored} {
			cut := rapid.IntRange(0, len(raw)-1).Draw(t, "cut")
			if err := back.DecodeBinary(raw[:cut], nil); err == nil {
				t.Fatalf("%d of %d bytes were taken for whole", cut, len(raw))
			}
			if err := back.DecodeBinary(append(raw, 0), nil); err == nil {
				t.Fatal("a byte too many was taken")
			}
		}
	})
}

// TestCodecIsForever: a spool written by this version is read by every later one.
func TestCodecIsForever(t *testing.T) {
	raw := []byte("\x01\x01\x01\x02\x01\x07\x09\x80\xe2\xfa\xb7\x9b\x66\x00\xef\xbf\xcc\x0e\x00\x00\x00\x90\x24\x2a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x0a\x00\x00\x01\x03ann\x02pc\x00\x00\x00\x08Security\x00\x00")
	var e Event
	if err := e.DecodeBinary(raw, nil); err != nil {
		t.Fatal(err)
	}
	if e.User != "ann" || e.Computer != "pc" || e.Channel != "Security" || e.CompanyID != 7 || e.SiteID != 9 || e.EventID != 4624 ||
		e.RecordID != 42 || e.LogonID != 0x1d31fef || !e.Elevated || e.SourceIP.String() != "10.0.0.1" {
		t.Errorf("%+v", e)
	}
	if got := e.AppendBinary(nil); !bytes.Equal(got, raw) {
		t.Errorf("encodes as %q", got)
	}
	id, err := ParseID("000102030405060708090a0b0c0d0e0f")
	if err != nil {
		t.Fatal(err)
	}
	stored := append([]byte("\x02\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"), raw[1:]...)
	var s Stored
	if err := s.Decode(stored); err != nil || s.ID != id || string(s.Names[0]) != "ann" || s.Event.RecordID != 42 {
		t.Errorf("stored: %v %+v", err, s)
	}
	if got := e.AppendStored(nil, id); !bytes.Equal(got, stored) {
		t.Errorf("is stored as %q", got)
	}
}

func FuzzDecodeBinary(f *testing.F) {
	e := Event{Type: Logon, User: "ann", Computer: "pc", Time: 1748179800000, LogonType: 2}
	f.Add(e.AppendBinary(nil))
	f.Add(e.AppendStored(nil, e.ID()))
	f.Add([]byte{1, 1, 1, 2, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e Event
		if e.DecodeBinary(raw, nil) != nil {
			return
		}
		again := e.AppendBinary(nil)
		var back Event
		if err := back.DecodeBinary(again, nil); err != nil || back != e {
			t.Fatalf("%v\n got %+v\nwant %+v", err, back, e)
		}
	})
}

func TestInternerIsBounded(t *testing.T) {
	var in Interner
	for i := range 3 * maxInterned {
		b := []byte{byte(i), byte(i >> 8), byte(i >> 16)}
		if got := in.String(b); got != string(b) {
			t.Fatalf("String(%v) = %q", b, got)
		}
		if len(in.m) > maxInterned {
			t.Fatalf("%d names held", len(in.m))
		}
	}
}
