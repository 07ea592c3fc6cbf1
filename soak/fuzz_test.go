package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"gatehouse/bench"
	"gatehouse/event"
)

// amount is how much fuzzing is done: a number of tries and a limit of time,
// which $GATEHOUSE_SOAK_FUZZ and $GATEHOUSE_SOAK_MINUTES change.
func amount(t *testing.T, short, longer int64) (most int64, until time.Time) {
	t.Helper()
	most, until = short, time.Now().Add(6*time.Second)
	if long() {
		most, until = longer, time.Now().Add(3*time.Hour)
	}
	for name, set := range map[string]func(int64){
		"GATEHOUSE_SOAK_FUZZ":    func(n int64) { most = n },
		"GATEHOUSE_SOAK_MINUTES": func(n int64) { until = time.Now().Add(time.Duration(n) * time.Minute) },
	} {
		if v := os.Getenv(name); v != "" {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			set(n)
		}
	}
	return most, until
}

// newFuzzer makes requests for a tenant, of a simulation's events.
func newFuzzer(t *testing.T, tenant bench.Tenant, b book, most int64, until time.Time) *fuzzer {
	t.Helper()
	sim, _, _ := newSim(t, 51, 300)
	f := &fuzzer{tenant: tenant, book: b, until: until, most: most, byStatus: map[int]int64{}}
	for e := range sim.Company(0) {
		e.CompanyID = tenant.ID
		f.events = append(f.events, *e)
	}
	return f
}

// run has clients make requests until there are enough of them, and tells what was wrong.
func (f *fuzzer) run(t *testing.T, clients int, client func(ctx context.Context, r *rand.Rand) error) {
	t.Helper()
	seed, begin := uint64(time.Now().UnixNano()), time.Now()
	g, ctx := errgroup.WithContext(t.Context())
	for i := range clients {
		g.Go(func() error { return client(ctx, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	t.Logf("seed %d: %d requests, %.0f a second; answers%s, %d without one", seed, f.requests, float64(f.requests)/time.Since(begin).Seconds(), f.statuses(), f.closed)
	for _, w := range f.wrong {
		t.Error(w)
	}
	if f.byStatus[201] == 0 || f.byStatus[200] == 0 || f.byStatus[400] == 0 {
		t.Error("nothing was taken, or nothing refused: the test shows nothing")
	}
}

// shownBook is what the server must show in the end.
type shownBook struct {
	mu    sync.Mutex
	ids   map[event.ID]int64 // events that must be there, and their times
	maybe int64              // records whose identity is open to reading
}

func (b *shownBook) sound(w reading, _ bool) {
	b.mu.Lock()
	b.ids[w.id] = w.at
	b.mu.Unlock()
}

func (b *shownBook) open(fresh, known int) {
	b.mu.Lock()
	b.maybe += int64(fresh + known)
	b.mu.Unlock()
}

// fuzzClients share the server's group commits: the disk must not be what sets the pace.
const fuzzClients = 64

// No request makes the server fall over, none is taken that holds no event, and
// none that does is refused. This goes over the network, to the last byte shown by the search;
// many more requests go to the same handlers in TestSoakFuzzIntake.
func TestSoakFuzzRequests(t *testing.T) {
	most, until := amount(t, 15_000, 500_000)
	s, tenant := newServer(t, map[string]string{"GATEHOUSE_SERVER_TLS": "false"})
	b := &shownBook{ids: map[event.ID]int64{}}
	f := newFuzzer(t, tenant, b, most, until)
	pid, engine := s.PID(), s.EnginePID()
	f.run(t, fuzzClients, func(ctx context.Context, r *rand.Rand) error { return f.send(ctx, s.Address(), r) })
	t.Logf("%d events that must be there, %d records open to reading", len(b.ids), b.maybe)
	if s.PID() != pid || s.EnginePID() != engine {
		t.Errorf("the server or its engine did not live through it: %d and %d, then %d and %d", pid, engine, s.PID(), s.EnginePID())
	}
	if text, err := os.ReadFile(s.LogFile()); err != nil {
		t.Error(err)
	} else if i := strings.Index(string(text), "panic"); i >= 0 {
		t.Errorf("the log tells of a panic:\n%.2000s", text[i:])
	}
	b.verify(t, s, tenant)
}

// verify reads back what the fuzzing left: every sound event once, and no
// more records than answers admit.
func (b *shownBook) verify(t *testing.T, s *bench.Server, tenant bench.Tenant) {
	t.Helper()
	from, to := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Now().Add(3*24*time.Hour)
	client := httpClient(t, s)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	shown, err := showAll(t.Context(), client, s.URL(), tenant.Key, from, to)
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for id, at := range b.ids {
		if shown[id] == 0 {
			missing = append(missing, fmt.Sprintf("%s of %s", id, time.UnixMilli(at).UTC().Format(time.RFC3339Nano)))
		}
	}
	if len(missing) > 0 {
		t.Errorf("%d of %d acknowledged events are not there: %.1000q", len(missing), len(b.ids), missing)
	}
	for id, n := range shown {
		if n > 1 {
			t.Errorf("event %s is there %d times", id, n)
		}
	}
	if extra := int64(len(shown) - len(b.ids)); extra > b.maybe {
		t.Errorf("%d events are there, of which %d are accounted for, and only %d more can be", len(shown), len(b.ids), b.maybe)
	}
	from = to.AddDate(-4, 0, 0)
	q := url.Values{"from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}}
	if _, err := bench.Get(t.Context(), client, s.URL()+"/api/v1/reports/totals?"+q.Encode(), tenant.Key); err != nil {
		t.Errorf("after fuzzing: %v", err)
	}
}

// Whatever happens to its files, the spool opens, gives back only what went in,
// and works on.
func TestSoakFuzzSpool(t *testing.T) {
	most, until := amount(t, 1_500, 200_000)
	if testing.Short() {
		most = 200
	}
	seed := uint64(time.Now().UnixNano())
	var mu sync.Mutex
	var rounds, lost int64
	g, ctx := errgroup.WithContext(t.Context())
	for i := range 2 {
		base := memoryDir(t)
		g.Go(func() error {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := uint64(0); ctx.Err() == nil; n++ {
				dir := base + "/" + strconv.FormatUint(n, 10)
				cost, err := spoolRound(ctx, r, dir, n)
				if err != nil {
					t.Errorf("seed %d, client %d, round %d: %v", seed, i, n, err)
					return err
				}
				if err := os.RemoveAll(dir); err != nil {
					return err
				}
				mu.Lock()
				rounds++
				lost += int64(cost)
				done := rounds >= most
				mu.Unlock()
				if done || time.Now().After(until) {
					return nil
				}
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("seed %d: %d damaged spools; the damage cost %d records", seed, rounds, lost)
}

// The plain reader itself must tell events from what is none.
func TestPlainReader(t *testing.T) {
	o := &event.ParseOptions{Now: time.Now(), Location: time.UTC, CompanyID: 1}
	sound := `{"EventType":"Logon","UserName":"ann","ComputerName":"PC","Timestamp":"2025-05-25T14:30:00Z"}`
	for body, valid := range map[string]bool{
		sound: true, sound + "\n": true, sound + "x": false, sound[1:]: false, "": false, "null": false, "[" + sound + "]": false,
		strings.Replace(sound, "Logon", "Lagon", 1): false, strings.Replace(sound, "2025", "2925", 1): false,
	} {
		if got := readPlainly([]byte(body), o); got.valid != valid {
			t.Errorf("%q: valid %v, want %v", body, got.valid, valid)
		}
	}
	if readPlainly([]byte(strings.Replace(sound, "{", `{"User":"bob",`, 1)), o).sure {
		t.Error("two values of one field, and the reader is sure")
	}
}

// TestSecondReader holds package event and the second reader to a table, and to each other.
func TestSecondReader(t *testing.T) {
	o := &event.ParseOptions{Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Location: time.UTC, CompanyID: 1}
	sound := map[event.FieldID]string{
		event.FieldEventType: "Logon", event.FieldUserName: "ann", event.FieldComputerName: "pc", event.FieldTimestamp: "2025-05-25T14:30:00Z",
	}
	for _, tc := range []struct {
		field event.FieldID
		value string
		taken bool
		time  int64
	}{
		{event.FieldTimestamp, "2025-05-25T14:30:00Z", true, 1748183400000},
		{event.FieldTimestamp, "2025-05-25T14:30:00.1239+01:00", true, 1748179800123},
		{event.FieldTimestamp, "2024-02-29T23:59:59-00:30", true, 1709252999000},
		{event.FieldTimestamp, "2000-02-29T00:00:00Z", true, 951782400000},
		{event.FieldTimestamp, "2025-02-30T00:00:00Z", false, 0},
		{event.FieldTimestamp, "2025-02-29T00:00:00Z", false, 0},
		{event.FieldTimestamp, "2025-04-31T00:00:00Z", false, 0},
		{event.FieldTimestamp, "2025-13-01T00:00:00Z", false, 0},
		{event.FieldTimestamp, "2025-00-01T00:00:00Z", false, 0},
		{event.FieldTimestamp, "2025-01-00T00:00:00Z", false, 0},
		{event.FieldTimestamp, "2025-01-01T24:00:00Z", false, 0},
		{event.FieldTimestamp, "2025-01-01T00:60:00Z", false, 0},
		{event.FieldTimestamp, "2025-01-01T00:00:61Z", false, 0},
		{event.FieldLogonType, "10", true, 0},
		{event.FieldLogonType, "254", true, 0},
		{event.FieldLogonType, "255", false, 0},
		{event.FieldLogonType, "1.5", false, 0},
		{event.FieldEventID, "65536", false, 0},
		{event.FieldStatus, "0xC000006A", true, 0},
		{event.FieldStatus, "4294967296", false, 0},
		{event.FieldStatus, "0x100000000", false, 0},
		{event.FieldLogonID, "18446744073709551615", true, 0},
		{event.FieldLogonID, "18446744073709551616", false, 0},
		{event.FieldRecordID, "1,000", false, 0},
		{event.FieldEventType, "Sign-In", true, 0},
		{event.FieldEventType, "Logon!", false, 0},
		{event.FieldEventType, "4624x", false, 0},
	} {
		var f event.Fields
		for id, value := range sound {
			f[id] = []byte(value)
		}
		f[tc.field] = []byte(tc.value)
		e, err := f.Parse(o)
		second, mayBe := secondReading(&f, e, true)
		if (err == nil) != tc.taken || mayBe != tc.taken {
			t.Errorf("%s %q: taken %v, by the second reader %v, want %v", tc.field, tc.value, err == nil, mayBe, tc.taken)
		}
		if tc.time != 0 && (e.Time != tc.time || second.Time != tc.time) {
			t.Errorf("%q: %d, by the second reader %d, want %d", tc.value, e.Time, second.Time, tc.time)
		}
	}
	for text, want := range documentedTypes {
		if got, ok := event.ParseType(text); !ok || got != want {
			t.Errorf("%s: %v %v", text, got, ok)
		}
	}
}
