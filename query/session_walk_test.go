package query

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gatehouse/event"
)

// walked are the sessions that a walker makes of one person's tracks at one computer.
func walked(t *testing.T, power []mark, tracks ...track) (out []string) {
	t.Helper()
	w := &walker{now: 1e9, maxSession: time.Hour.Milliseconds(), power: map[string][]mark{}, emit: func(s *span) error {
		out = append(out, fmt.Sprintf("%d: %d..%d %s elevated %t", s.logonID, s.start, s.until, s.reason, s.elevated))
		return nil
	}}
	w.setPower("pc", power)
	if err := w.walk("ann", "pc", tracks); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// markAt is an event of a person or computer at t, an administrator's with full rights where elevated.
func markAt(t int64, rank int, elevated bool) mark {
	m := mark{code: t<<rankBits | int64(rank), tag: uint64(event.LogonTypeNone) << 1}
	if elevated {
		m.tag |= elevatedTag
	}
	return m
}

// Twins of twins are one session, in whatever order the links come.
func TestTwinsAreJoinedThroughEachOther(t *testing.T) {
	logon := func(at int64, id, linked uint64) track {
		m := markAt(at, rankLogon, id%2 == 0)
		return track{id: id, marks: []mark{m}, linked: []linkedLogon{{m.code, id, linked}}}
	}
	end := track{id: 4, marks: []mark{markAt(5000, rankLogoff, false)}}
	tracks := []track{logon(1000, 2, 7), logon(1001, 7, 2), logon(1002, 9, 7), logon(1003, 4, 9), end}
	want := []string{"2: 1000..5000 logoff elevated true"}
	for range len(tracks) {
		tracks = append(tracks[1:], tracks[0])
		if got := walked(t, nil, slices.Clone(tracks)...); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// The same logon id after a startup is another logon's.
func TestLogonIDsMeanALogonOfOneBoot(t *testing.T) {
	first, twin := markAt(1000, rankLogon, true), markAt(1000, rankLogon, false)
	before := track{id: 5, marks: []mark{first, markAt(2000, rankLogoff, false), markAt(300_000, rankLogon, false), markAt(400_000, rankLogoff, false)}}
	before.linked = []linkedLogon{{first.code, 5, 6}}
	other := track{id: 6, marks: []mark{twin, markAt(310_000, rankLogon, false), markAt(350_000, rankLogoff, false)}}
	other.linked = []linkedLogon{{twin.code, 6, 5}}
	power := []mark{markAt(100_000, rankShutdown, false), markAt(200_000, rankStartup, false)}
	got := walked(t, power, before, other)
	want := []string{"5: 1000..2000 logoff elevated true", "5: 300000..400000 logoff elevated false", "6: 310000..350000 logoff elevated false"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
