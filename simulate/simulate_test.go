package simulate_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"gatehouse/event"
	"gatehouse/simulate"
)

var from = time.Date(2025, 3, 3, 0, 0, 0, 0, time.UTC) // a Monday; 28 days hold two changes of clocks

func newSim(t testing.TB, cfg simulate.Config) *simulate.Simulation {
	t.Helper()
	if cfg.From.IsZero() {
		cfg.From = from
	}
	s, err := simulate.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func digest(t *testing.T, s *simulate.Simulation, path string) [32]byte {
	t.Helper()
	var buf bytes.Buffer
	w := simulate.NewWriter(path, &buf, s.Companies())
	if _, err := s.Write(t.Context(), w, simulate.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(buf.Bytes())
}

func TestSameSeedSameBytes(t *testing.T) {
	cfg := simulate.Config{Seed: 7, Companies: 4, Users: 12, Days: 9}
	a, b := digest(t, newSim(t, cfg), "-"), digest(t, newSim(t, cfg), "-")
	if a != b {
		t.Error("two runs of one seed differ")
	}
	cfg.Seed = 8
	if digest(t, newSim(t, cfg), "-") == a {
		t.Error("another seed gives the same events")
	}
}

// Other tenants must not change what one tenant's people do: comparisons of
// reports while others grow depend on it.
func TestCompaniesAreIndependent(t *testing.T) {
	hash := func(s *simulate.Simulation, company int) [32]byte {
		h := sha256.New()
		for e := range s.Company(company) {
			fmt.Fprintf(h, "%+v\n", *e)
		}
		return [32]byte(h.Sum(nil))
	}
	small := newSim(t, simulate.Config{Seed: 1, Companies: 2, Users: 10, Days: 6})
	large := newSim(t, simulate.Config{Seed: 1, Companies: 5, Users: 90, Sizes: []int{10}, Days: 6})
	if hash(small, 0) != hash(large, 0) {
		t.Error("company 1 changed when the others grew")
	}
	if hash(small, 1) == hash(large, 1) {
		t.Error("company 2 did not grow")
	}
	var alone, merged [][]byte
	for e := range large.Company(3) {
		alone = append(alone, simulate.AppendJSON(nil, e))
	}
	for e := range large.Events {
		if e.CompanyID == 4 {
			merged = append(merged, simulate.AppendJSON(nil, e))
		}
	}
	if !reflect.DeepEqual(alone, merged) {
		t.Error("a company walked alone differs from the same among others")
	}
}

// TestEventsHold checks what every consumer relies on.
func TestEventsHold(t *testing.T) {
	s := newSim(t, simulate.Config{Seed: 3, Companies: 16, Users: 25, Days: 28})
	now := from.AddDate(0, 2, 0)
	var stats simulate.Stats
	seen := map[event.ID]event.Event{}
	type log struct{ computer, channel string }
	type entry struct {
		at     int64
		number uint64
	}
	logs := map[log][]entry{}
	var last, repeats int64
	s.Walk(&stats, func(e *event.Event) bool {
		if e.Received < last {
			t.Fatalf("delivered at %d after %d", e.Received, last)
		}
		if e.Received < e.Time {
			t.Fatalf("delivered before it happened: %+v", *e)
		}
		last = e.Received
		n := *e
		if err := n.Normalize(now); err != nil {
			t.Fatalf("%v: %+v", err, *e)
		}
		if n != *e {
			t.Fatalf("not canonical:\n%+v\n%+v", *e, n)
		}
		id := e.ID()
		if old, ok := seen[id]; ok {
			repeats++
			old.Retry, old.Received = e.Retry, e.Received
			if old != *e {
				t.Fatalf("two events of one identity:\n%+v\n%+v", old, *e)
			}
		} else {
			seen[id] = *e
			if e.EventID != 0 && e.Type != event.LogCleared {
				k := log{e.Computer, e.Channel}
				logs[k] = append(logs[k], entry{e.Time, e.RecordID})
			}
		}
		return true
	})
	if repeats != stats.Repeated {
		t.Errorf("%d repeated, counted %d", repeats, stats.Repeated)
	}
	if int64(len(seen)) != stats.Distinct() {
		t.Errorf("%d distinct, counted %d", len(seen), stats.Distinct())
	}
	for k, entries := range logs {
		slices.SortStableFunc(entries, func(a, b entry) int { return int(a.at - b.at) })
		resets := 0
		for i := 1; i < len(entries); i++ {
			if entries[i].number <= entries[i-1].number && entries[i].at > entries[i-1].at {
				resets++ // after the log was cleared
			}
		}
		if resets > 1 {
			t.Errorf("%v: record ids fall %d times", k, resets)
		}
	}
	for typ := event.Logon; typ <= event.LogCleared; typ++ {
		if typ == event.ScreenSaverOn || typ == event.LogCleared {
			continue // rare ones may be missing
		}
		if stats.ByType[typ] == 0 {
			t.Errorf("no event of type %s", typ)
		}
	}
	share := func(name string, n int64, low, high float64) {
		if got := float64(n) / float64(stats.Events); got < low || got > high {
			t.Errorf("%s: a share of %.4f, expected %.3f to %.3f", name, got, low, high)
		}
	}
	share("repeated", stats.Repeated, 0.007, 0.013)
	share("late", stats.Late, 0.008, 0.06)
	share("failed", stats.ByType[event.LogonFailed], 0.005, 0.15)
	perDay := float64(stats.Events) / (16 * 25 * 28)
	t.Logf("%d events, %.1f for a person and day, %.2f%% late", stats.Events, perDay, 100*float64(stats.Late)/float64(stats.Events))
	if math.Abs(perDay-simulate.EventsPerUserDay) > 0.2*simulate.EventsPerUserDay {
		t.Errorf("%.1f events for a person and day; EventsPerUserDay says %.1f", perDay, simulate.EventsPerUserDay)
	}
}

// People of an office sit down in the morning of their own zone, also after the clocks changed.
func TestWorkFollowsTheLocalClock(t *testing.T) {
	for _, zone := range []string{"Asia/Kathmandu", "Australia/Lord_Howe", "Europe/London", "America/St_Johns"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		s := newSim(t, simulate.Config{Seed: 11, Companies: 1, Zones: []string{zone}, Users: 60, Days: 40})
		var byHour [24]int
		for e := range s.Company(0) {
			if e.Account == event.AccountUser && e.Type == event.Logon && (e.LogonType == event.LogonTypeInteractive || e.LogonType == event.LogonTypeCachedInteractive) {
				byHour[time.UnixMilli(e.Time).In(loc).Hour()]++
			}
		}
		day, night := 0, 0
		for h, n := range byHour {
			if h >= 5 && h < 19 {
				day += n
			} else if h < 4 {
				night += n
			}
		}
		if day < 8*night || day == 0 {
			t.Errorf("%s: %d logons by day, %d by night: %v", zone, day, night, byHour)
		}
	}
}

// What is sent, read as the server reads it, is the event again.
func TestJSONIsTheEvent(t *testing.T) {
	s := newSim(t, simulate.Config{Seed: 5, Companies: 2, Users: 15, Days: 8})
	now := from.AddDate(0, 1, 0)
	for e := range s.Events {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(simulate.AppendJSON(nil, e), &members); err != nil {
			t.Fatal(err)
		}
		var f event.Fields
		for name, raw := range members {
			id, ok := event.FieldByName(name)
			if !ok {
				t.Fatalf("no field %q", name)
			}
			var text string
			if json.Unmarshal(raw, &text) != nil {
				text = string(raw)
			}
			f[id] = []byte(text)
		}
		got, err := f.Parse(&event.ParseOptions{Now: now, CompanyID: e.CompanyID, SiteID: e.SiteID})
		if err != nil {
			t.Fatalf("%v: %s", err, simulate.AppendJSON(nil, e))
		}
		got.Received = e.Received
		if got != *e {
			t.Fatalf("sent\n%+v\nread\n%+v", *e, got)
		}
	}
}

func TestEventsEndTheSimulation(t *testing.T) {
	s := newSim(t, simulate.Config{Seed: 2, Companies: 3, Events: 50_000, Days: 10})
	var stats simulate.Stats
	s.Walk(&stats, func(*event.Event) bool { return true })
	if stats.Events != 50_000 {
		t.Errorf("%d events", stats.Events)
	}
	if got := time.UnixMilli(stats.Last).Sub(from).Hours() / 24; got < 7 {
		t.Errorf("the workforce is too large: it ended after %.1f of 10 days", got)
	}
}

func TestUntilEndsInTheMiddle(t *testing.T) {
	until := from.AddDate(0, 0, 9).Add(11*time.Hour + 30*time.Minute) // a Wednesday
	whole := newSim(t, simulate.Config{Seed: 2, Companies: 1, Zones: []string{"UTC"}, Users: 50, Days: 12, Late: -1, Repeat: -1, OldAgents: -1})
	part := newSim(t, simulate.Config{Seed: 2, Companies: 1, Zones: []string{"UTC"}, Users: 50, Days: 12, Until: until, Late: -1, Repeat: -1, OldAgents: -1})
	var want, got []event.ID
	for e := range whole.Events {
		if e.Time <= until.UnixMilli() {
			want = append(want, e.ID())
		}
	}
	open := map[string]bool{}
	for e := range part.Events {
		got = append(got, e.ID())
		if e.LogonType == event.LogonTypeInteractive && e.Account == event.AccountUser {
			open[e.User] = e.Type == event.Logon
		}
	}
	slices.SortFunc(want, func(a, b event.ID) int { return bytes.Compare(a[:], b[:]) })
	slices.SortFunc(got, func(a, b event.ID) int { return bytes.Compare(a[:], b[:]) })
	if !slices.Equal(want, got) {
		t.Errorf("%d events until then, %d with that end", len(want), len(got))
	}
	n := 0
	for _, on := range open {
		if on {
			n++
		}
	}
	if n < 5 {
		t.Errorf("%d people are signed in on a working day at half past eleven", n)
	}
}

// Memory follows the people, not the days.
func TestMemoryIsBounded(t *testing.T) {
	s := newSim(t, simulate.Config{Seed: 4, Companies: 5, Users: 20, Days: 400})
	var at1, at2 runtime.MemStats
	n := 0
	for range s.Events {
		n++
		switch n {
		case 100_000:
			runtime.GC()
			runtime.ReadMemStats(&at1)
		case 1_000_000:
			runtime.GC()
			runtime.ReadMemStats(&at2)
		}
		if n == 1_000_000 {
			break
		}
	}
	if n < 1_000_000 {
		t.Fatalf("%d events only", n)
	}
	if grown := int64(at2.HeapAlloc) - int64(at1.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes over 900,000 events", grown)
	}
}

func TestNewTellsAllThatIsWrong(t *testing.T) {
	_, err := simulate.New(simulate.Config{Companies: -1, Users: -4, Zones: []string{"Mars/Olympus"}, Names: []string{"A", "a"}})
	if err == nil {
		t.Fatal("taken")
	}
	for _, part := range []string{"companies", "users", "Mars/Olympus", `called "a"`} {
		if !bytes.Contains([]byte(err.Error()), []byte(part)) {
			t.Errorf("%q says nothing of %s", err, part)
		}
	}
}

func BenchmarkEvents(b *testing.B) {
	s := newSim(b, simulate.Config{Seed: 1, Companies: 10, Users: 100, Days: 4000})
	n := 0
	b.ReportAllocs()
	for range s.Events {
		if n++; n >= b.N {
			break
		}
	}
}
