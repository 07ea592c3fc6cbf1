package event

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Skipf("no time zone database: %v", err)
	}
	return loc
}

func TestParseTime(t *testing.T) {
	const want = 1748179800000 // 2025-05-25T13:30:00Z
	london, kolkata := zone(t, "Europe/London"), zone(t, "Asia/Kolkata")
	for _, c := range []struct {
		s   string
		loc *time.Location
		ms  int64
	}{
		{"2025-05-25T13:30:00Z", nil, want},
		{"2025-05-25t13:30:00z", nil, want},
		{" 2025-05-25T13:30:00Z ", nil, want},
		{"2025-05-25T13:30:00.9876543Z", nil, want + 987},
		{"2025-05-25T13:30:00.5Z", nil, want + 500},
		{"2025-05-25T14:30:00+01:00", kolkata, want},
		{"2025-05-25T14:30:00.123+01:00", nil, want + 123},
		{"2025-05-25T09:00:00-04:30", nil, want},
		{"2025-05-25 14:30:00 BST", nil, want},
		{"2025-05-25 14:30:00 bst", london, want},
		{"2025-05-25 19:00:00 IST", kolkata, want},
		{"2025-05-25 19:00:00 IST", nil, want},
		{"2025-05-25 14:30:00+0100", nil, want},
		{"2025-05-25 14:30:00 +0100", nil, want},
		{"2025-05-25 14:30:00+01:00", nil, want},
		{"2025-05-25T14:30:00+0100", nil, want},
		{"2025-05-25 14:30:00+01", nil, want},
		{"2025-05-25 14:30:00", london, want},
		{"2025-05-25T14:30:00", london, want},
		{"2025-05-25 13:30:00", nil, want},
		{"2025-05-25 13:30:00.250", nil, want + 250},
		{"2025-05-25 13:30:00.9851573", time.UTC, want + 985},
		{"2025-01-25 14:30:00", london, 1737815400000},
		{"1748179800", nil, want},
		{"1748179800.25", nil, want + 250},
		{"1748179800.123456", nil, want + 123},
		{"1748179800123", nil, want + 123},
		{"638837766000000000", nil, want},       // .NET ticks
		{"638837766001234567", nil, want + 123}, // with a fraction
		{"133926534000000000", nil, want},       // FILETIME
		{"2024-02-29T00:00:00Z", nil, 1709164800000},
	} {
		ms, err := ParseTime(c.s, c.loc)
		if err != nil || ms != c.ms {
			t.Errorf("ParseTime(%q, %v) = %d, %v; want %d", c.s, c.loc, ms, err, c.ms)
		}
	}
	for _, s := range []string{
		"", " ", "yesterday", "2025-05-25", "14:30", "2025-13-01T00:00:00Z", "2025-02-29T00:00:00Z", "2025-05-25T24:00:00Z",
		"2025-05-25T13:60:00Z", "2025-05-25T13:30:00.Z", "2025-05-25T13:30:00+25:00", "2025-05-25 14:30:00 XYZ",
		"-1", "99999999999", "99999999999999999999", "1748179800.1e3", "05/25/2025 14:30", "NaN", "0x682",
	} {
		if ms, err := ParseTime(s, nil); err == nil || ErrorCode(err) != CodeInvalid {
			t.Errorf("ParseTime(%q) = %d, %v; want an error", s, ms, err)
		}
	}
}

// TestParseTimeForms: one moment, written in every form, is one number.
func TestParseTimeForms(t *testing.T) {
	zones := []*time.Location{time.UTC, zone(t, "America/New_York"), zone(t, "Asia/Kathmandu"), zone(t, "Australia/Lord_Howe")}
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(minUnixMillis, 4102444800000-1).Draw(t, "ms") // 1973 to 2100
		at := time.UnixMilli(ms).UTC()
		loc := rapid.SampledFrom(zones).Draw(t, "zone")
		for _, s := range []string{
			at.Format(time.RFC3339Nano), at.In(loc).Format(time.RFC3339Nano), at.In(loc).Format("2006-01-02T15:04:05.0000000Z07:00"),
			at.In(loc).Format("2006-01-02 15:04:05.000Z0700"), at.Format("2006-01-02 15:04:05.000"),
			strconv.FormatInt(ms, 10), strconv.FormatInt(ms*stepsPerMilli+ticksUnixEpoch, 10), strconv.FormatInt(ms*stepsPerMilli+filetimeUnixEpoch, 10),
			fmt.Sprintf("%d.%03d", ms/1000, ms%1000),
		} {
			if got, err := ParseTime(s, nil); err != nil || got != ms {
				t.Fatalf("ParseTime(%q) = %d, %v; want %d", s, got, err, ms)
			}
		}
		// A local time without a zone means one moment, or one of two when the clock steps back.
		local := at.In(loc).Format("2006-01-02 15:04:05.000")
		got, err := ParseTime(local, loc)
		if err != nil || time.UnixMilli(got).In(loc).Format("2006-01-02 15:04:05.000") != local {
			t.Fatalf("ParseTime(%q, %v) = %d, %v", local, loc, got, err)
		}
	})
}

// TestClockChanges: what docs/ingest.md says of local times that come twice or not at all, and of names that several zones have.
func TestClockChanges(t *testing.T) {
	for _, c := range []struct{ zone, local, want string }{
		{"Europe/London", "2025-10-26 01:30:00", "2025-10-26T01:30:00Z"},
		{"Europe/London", "2025-10-26 01:30:00 BST", "2025-10-26T00:30:00Z"},
		{"Europe/London", "2025-10-26 01:30:00 GMT", "2025-10-26T01:30:00Z"},
		{"Europe/Berlin", "2025-10-26 02:30:00", "2025-10-26T01:30:00Z"},
		{"Africa/Cairo", "2025-10-30 23:30:00", "2025-10-30T21:30:00Z"},
		{"Australia/Sydney", "2025-04-06 02:30:00", "2025-04-05T16:30:00Z"},
		{"America/New_York", "2025-11-02 01:30:00", "2025-11-02T05:30:00Z"},
		{"America/New_York", "2025-11-02 01:30:00 EST", "2025-11-02T06:30:00Z"},
		{"America/Los_Angeles", "2025-11-02 01:30:00", "2025-11-02T08:30:00Z"},
		{"Europe/London", "2025-03-30 01:30:00", "2025-03-30T01:30:00Z"},
		{"Europe/Berlin", "2025-03-30 02:30:00", "2025-03-30T01:30:00Z"},
		{"Australia/Sydney", "2025-10-05 02:30:00", "2025-10-04T16:30:00Z"},
		{"America/New_York", "2025-03-09 02:30:00", "2025-03-09T06:30:00Z"},
		{"America/Los_Angeles", "2025-03-09 02:30:00", "2025-03-09T09:30:00Z"},
		{"Asia/Shanghai", "2025-07-01 12:00:00 CST", "2025-07-01T04:00:00Z"},
		{"Europe/London", "2025-07-01 12:00:00 CST", "2025-07-01T18:00:00Z"},
		{"Asia/Jerusalem", "2025-01-01 12:00:00 IST", "2025-01-01T10:00:00Z"},
		{"Europe/London", "2025-01-01 12:00:00 IST", "2025-01-01T06:30:00Z"},
	} {
		loc, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{c.local, c.local + " "} { // the fast road and the other
			if ms, err := ParseTime(form, loc); err != nil || time.UnixMilli(ms).UTC().Format(time.RFC3339) != c.want {
				t.Errorf("%s, %q: %s, %v; want %s", c.zone, form, time.UnixMilli(ms).UTC().Format(time.RFC3339), err, c.want)
			}
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2025-05-25T13:30:00Z", "2025-05-25 14:30:00 BST", "1748179800", "638837766000000000", "2025-05-25 14:30:00+0100", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ms, err := ParseTime(s, time.UTC)
		if err != nil {
			if ErrorCode(err) != CodeInvalid {
				t.Errorf("ParseTime(%q): %v is no error about the input", s, err)
			}
			return
		}
		// Where the standard library reads it too, both mean the same.
		if ref, err := time.Parse(time.RFC3339Nano, s); err == nil && ref.UnixMilli() != ms {
			t.Errorf("ParseTime(%q) = %d, want %d", s, ms, ref.UnixMilli())
		}
	})
}
