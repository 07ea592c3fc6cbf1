package event

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The fast roads must lead where the slow ones do.

func TestFastClock(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	zones := []*time.Location{nil, time.UTC}
	for _, name := range []string{"Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"} {
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, loc)
	}
	suffixes := []string{"", "", " BST", " bst", " UTC", " GMT", " IST", " EDT", " est", " Z", " XYZ", " +01", " A", " TOOLONG", "x", " -03", " CEST"}
	taken := 0
	for range 200_000 {
		sep := []string{" ", "T"}[r.IntN(2)]
		s := fmt.Sprintf("%04d-%02d-%02d%s%02d:%02d:%02d", r.IntN(2200), r.IntN(14), r.IntN(33), sep, r.IntN(25), r.IntN(61), r.IntN(61)) + suffixes[r.IntN(len(suffixes))]
		if r.IntN(10) == 0 {
			b := []byte(s)
			b[r.IntN(len(b))] = " 0:-T9a"[r.IntN(7)]
			s = string(b)
		}
		loc := zones[r.IntN(len(zones))]
		got, ok := parseClock(s, loc)
		if !ok {
			continue // the slow road decides
		}
		taken++
		if want, ok := parseLoose(s, loc); !ok || got != want {
			t.Fatalf("%q in %v: fast %d, slow %d %v", s, loc, got, want, ok)
		}
	}
	if taken < 50_000 {
		t.Errorf("only %d took the fast road", taken)
	}
}

func TestFastCivil(t *testing.T) {
	for day := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2500; day = day.AddDate(0, 0, 1) {
		if got := daysFromCivil(day.Year(), int(day.Month()), day.Day()); got != floorDays(day) {
			t.Fatalf("%v: %d, want %d", day, got, floorDays(day))
		}
	}
	for year := range 2500 {
		for month := 1; month <= 12; month++ {
			if got, want := daysIn(year, month), time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day(); got != want {
				t.Fatalf("%d-%d: %d, want %d", year, month, got, want)
			}
		}
	}
}

func floorDays(day time.Time) int64 {
	unix := day.Unix()
	if unix%86400 != 0 {
		panic("not midnight")
	}
	return unix / 86400
}

func TestFastNumbersAndAddresses(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const letters = "0123456789.xXaAfFgG-: "
	for range 300_000 {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = letters[r.IntN(11+r.IntN(len(letters)-10))]
		}
		if r.IntN(3) == 0 {
			b = append([]byte("0x"), b...)
		}
		if r.IntN(3) == 0 {
			b = fmt.Appendf(nil, "%d.%d.%0*d.%d", r.IntN(300), r.IntN(300), 1+r.IntN(2), r.IntN(300), r.IntN(300))
		}
		s := string(b)
		if v, ok := plainDigits(b); ok {
			digits, base := s, 10
			if rest, hex := strings.CutPrefix(s, "0x"); hex {
				digits, base = rest, 16
			}
			if want, err := strconv.ParseUint(digits, base, 64); err != nil || v != want {
				t.Fatalf("%q: %d, want %d %v", s, v, want, err)
			}
		}
		a, ok := parseIPv4(b)
		if want, err := netip.ParseAddr(s); ok != (err == nil && want.Is4()) || ok && a != want {
			t.Fatalf("%q: %v %v, want %v %v", s, a, ok, want, err)
		}
	}
}

func TestFastCase(t *testing.T) {
	for _, s := range []string{"", "alice", "ALICE", "Ünal", "ÜNAL", "İstanbul", "a\u212aB", "ſystem", "system", "SyStem", "dwm-1", "Dwm-12", "pc1$", "ﬀ$", "local service", "network servıce", strings.Repeat("x", 300) + "$", "[`{@"} {
		if got := string(appendFold([]byte("x"), s)); got != "x"+Fold(s) {
			t.Errorf("%q folds to %q, want %q", s, got, "x"+Fold(s))
		}
		var buf [32]byte
		if got, ok := appendUpper(buf[:0], s); ok && string(got) != strings.ToUpper(s) {
			t.Errorf("%q in upper case is %q", s, got)
		}
	}
}
