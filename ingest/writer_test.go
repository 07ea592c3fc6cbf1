package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

var testEpoch = time.Date(2026, 10, 1, 6, 0, 0, 0, time.UTC)

// drawEvent is a valid event out of a space small enough that duplicates happen.
func drawEvent(r *rand.Rand, space int) event.Event {
	n := r.IntN(space)
	s := rand.New(rand.NewPCG(uint64(n), 7))
	types := event.Types()
	names := []string{"Anna.Berg", "anna.berg", "JÖRG", "Ünal", "İrem", "ΣΊΣΥΦΟΣ", "o'neil", `back\tick`, "王小明", "svc$"}
	e := event.Event{
		CompanyID: uint32(1 + s.IntN(3)), SiteID: uint32(s.IntN(5)),
		Time: testEpoch.Add(time.Duration(s.IntN(40*24*60)) * time.Minute).UnixMilli(),
		Type: types[s.IntN(len(types))], LogonType: []uint8{2, 3, 7, 10, 11, 13, 255}[s.IntN(7)], Elevated: s.IntN(2) == 0,
		User: names[s.IntN(len(names))], Computer: fmt.Sprintf("PC-%d", s.IntN(20)), Domain: "CORP", SID: "S-1-5-21-7",
		LogonID: s.Uint64N(1 << 40), LinkedLogonID: s.Uint64N(3), LocalIP: netip.AddrFrom4([4]byte{10, 0, 0, byte(s.IntN(256))}),
		PublicIP: netip.MustParseAddr("2001:db8::7"), Status: uint32(s.IntN(3)), SubStatus: 0xC000006A,
		EventID: 4624, RecordID: uint64(s.IntN(1000)), Channel: "Security", Provider: "Microsoft-Windows-Security-Auditing", Agent: "2.1.0",
	}
	if err := e.Normalize(testEpoch.AddDate(1, 0, 0)); err != nil {
		panic(err)
	}
	// The same event sent again need not look the same.
	e.Received = e.Time + r.Int64N(1e6)
	e.Retry = uint16(r.IntN(4))
	e.SiteID += uint32(r.IntN(2))
	return e
}

func drawEvents(r *rand.Rand, n, space int) []event.Event {
	out := make([]event.Event, n)
	for i := range out {
		out[i] = drawEvent(r, space)
	}
	return out
}

func remember(want map[event.ID]event.Event, events []event.Event) {
	for _, e := range events {
		if _, ok := want[e.ID()]; !ok {
			want[e.ID()] = e
		}
	}
}

func TestWriterBringsEventsInOnce(t *testing.T) {
	conn := testStore(t, testEngine(t))
	q := testSpool(t, t.TempDir())
	r := rand.New(rand.NewPCG(1, 1))
	want := map[event.ID]event.Event{}
	results := map[string]int{}
	var mu sync.Mutex
	w, stop := runWriter(t, conn, q, WriterOptions{OnResult: func(_ uint32, result string, n int) {
		mu.Lock()
		defer mu.Unlock()
		results[result] += n
	}})
	for range 3 {
		events := drawEvents(r, 3000, 5000)
		remember(want, events)
		appendEvents(t, q, events)
		flush(t, w)
		checkStore(t, conn, want)
	}
	stop()
	if got := results[WriterInserted]; got != len(want) {
		t.Errorf("%d reported inserted, want %d", got, len(want))
	}
	if got := results[WriterInserted] + results[WriterDuplicate]; got != 9000 {
		t.Errorf("%d answered, want 9000", got)
	}
	if q.First() != q.Last()+1 {
		t.Errorf("the queue begins at %d after %d", q.First(), q.Last())
	}
}

// Every column comes back as it went in, and the identity in SQL is the one in Go.
func TestWriterColumns(t *testing.T) {
	conn := testStore(t, testEngine(t))
	q := testSpool(t, t.TempDir())
	events := drawEvents(rand.New(rand.NewPCG(2, 1)), 4000, 1<<30)
	want := map[event.ID]event.Event{}
	remember(want, events)
	appendEvents(t, q, events)
	w, _ := runWriter(t, conn, q, WriterOptions{})
	flush(t, w)
	rows, err := conn.Query(t.Context(), `SELECT id, company_id, site_id, toUnixTimestamp64Milli(time), toUnixTimestamp64Milli(received), toInt8(type), toInt8(account),
		toString(user), toString(user_name), toString(computer), toString(computer_name), toString(domain), toString(sid), logon_id, linked_logon_id, logon_type, elevated,
		toString(local_ip), toString(public_ip), toString(source_ip), toString(source_host), status, sub_status, event_id, record_id, content_hash,
		toString(channel), toString(provider), toString(agent), retry FROM events`)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for rows.Next() {
		var (
			id, user, computer, local, public, source string
			kind, account                             int8
			g                                         event.Event
		)
		if err := rows.Scan(&id, &g.CompanyID, &g.SiteID, &g.Time, &g.Received, &kind, &account, &user, &g.User, &computer, &g.Computer, &g.Domain, &g.SID,
			&g.LogonID, &g.LinkedLogonID, &g.LogonType, &g.Elevated, &local, &public, &source, &g.SourceHost, &g.Status, &g.SubStatus, &g.EventID, &g.RecordID, &g.ContentHash,
			&g.Channel, &g.Provider, &g.Agent, &g.Retry); err != nil {
			t.Fatal(err)
		}
		g.Type, g.Account = event.Type(kind), event.Account(account)
		for _, a := range []struct {
			text string
			to   *netip.Addr
		}{{local, &g.LocalIP}, {public, &g.PublicIP}, {source, &g.SourceIP}} {
			if a.text != "::" {
				*a.to = netip.MustParseAddr(a.text).Unmap()
			}
		}
		e, ok := want[event.ID([]byte(id))]
		if !ok {
			t.Fatalf("the store gives an id that no event has, for %+v", g)
		}
		if g != e {
			t.Fatalf("came back as\n%+v, went in as\n%+v", g, e)
		}
		if user != event.Fold(e.User) || computer != event.Fold(e.Computer) {
			t.Fatalf("folded to %q on %q, from %q on %q", user, computer, e.User, e.Computer)
		}
		seen++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if seen != len(want) {
		t.Fatalf("%d rows, want %d", seen, len(want))
	}
}

// Damaged and foreign records, and events that nothing could hold, are set aside; the rest goes in.
func TestWriterSetsStraysAside(t *testing.T) {
	conn := testStore(t, testEngine(t))
	s := testSpool(t, t.TempDir())
	events := drawEvents(rand.New(rand.NewPCG(3, 1)), 20, 1<<30)
	want := map[event.ID]event.Event{}
	remember(want, events)
	appendEvents(t, s, events)
	good := events[0].AppendBinary(nil)
	late, strange := events[1], events[2]
	late.Time = maxEventTime
	strange.Account = 99
	strays := [][]byte{{}, {0}, good[:len(good)-1], append(append([]byte(nil), good...), 0), late.AppendBinary(nil), strange.AppendBinary(nil)}
	if _, err := s.Append(t.Context(), strays...); err != nil {
		t.Fatal(err)
	}
	more := drawEvents(rand.New(rand.NewPCG(4, 1)), 20, 1<<30)
	remember(want, more)
	appendEvents(t, s, more)
	opts := WriterOptions{Dir: t.TempDir()}
	for range 2 { // the second life reads it all again
		w, stop := runWriter(t, conn, forgetful{s}, opts)
		flush(t, w)
		checkStore(t, conn, want)
		if n := w.Stats().SetAside; n != int64(len(strays)) {
			t.Fatalf("%d set aside, want %d", n, len(strays))
		}
		stop()
	}
	text, err := os.ReadFile(filepath.Join(opts.Dir, asideName))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, line := range lines {
		var l asideLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(l.Record, strays[i]) || l.Reason == "" || l.At.IsZero() {
			t.Fatalf("line %d is %+v, want the record %x", i, l, strays[i])
		}
	}
}

// An event that ClickHouse would delete at once is not written, for after that it could not be told from a new one.
func TestWriterRetention(t *testing.T) {
	conn := testStore(t, testEngine(t))
	s := testSpool(t, t.TempDir())
	now := testEpoch.AddDate(0, 3, 0)
	old := event.Event{CompanyID: 1, Type: event.Startup, Account: event.AccountNone, Computer: "a", Time: now.AddDate(0, -2, 0).UnixMilli() - 1}
	young := old
	young.Time++
	appendEvents(t, s, []event.Event{old, young})
	w, _ := runWriter(t, conn, s, WriterOptions{RetentionMonths: 2, Clock: func() time.Time { return now }})
	flush(t, w)
	checkStore(t, conn, map[event.ID]event.Event{young.ID(): young})
	if st := w.Stats(); st.Expired != 1 || st.Inserted != 1 {
		t.Fatalf("%+v", st)
	}
}

// Weeks later, when the memory of the seen index has long gone to other days, a duplicate is still one.
func TestWriterRemembersBeyondItsMemory(t *testing.T) {
	conn := testStore(t, testEngine(t))
	s := testSpool(t, t.TempDir())
	w, _ := runWriter(t, conn, s, WriterOptions{SeenBudget: 1, BlockRows: 500, BlockDelay: time.Millisecond})
	events := drawEvents(rand.New(rand.NewPCG(9, 1)), 2000, 1<<30)
	want := map[event.ID]event.Event{}
	remember(want, events)
	for range 3 {
		appendEvents(t, s, events)
		flush(t, w)
		checkStore(t, conn, want)
	}
	if st := w.Stats(); st.SeenEvictions == 0 || st.Inserted != int64(len(want)) {
		t.Fatalf("%+v", st)
	}
}

func TestWriterFlushEndsWithItsContext(t *testing.T) {
	s := testSpool(t, t.TempDir())
	appendEvents(t, s, drawEvents(rand.New(rand.NewPCG(9, 1)), 1, 1))
	w, _ := quickWriter(t, awayConn{}, s, WriterOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v while ClickHouse is away", err)
	}
	if st := w.Stats(); st.Depth != 1 || st.LastError == "" || st.Failing == 0 {
		t.Fatalf("%+v", st)
	}
}

// awayConn is a ClickHouse that cannot be reached.
type awayConn struct{ driver.Conn }

func (awayConn) QueryRow(context.Context, string, ...any) driver.Row { return awayRow{} }

type awayRow struct{ driver.Row }

func (awayRow) Scan(...any) error { return errInjected }

// moodyConn is away when told so.
type moodyConn struct {
	driver.Conn
	away atomic.Bool
}

func (c *moodyConn) QueryRow(ctx context.Context, query string, args ...any) driver.Row {
	if c.away.Load() {
		return awayRow{}
	}
	return c.Conn.QueryRow(ctx, query, args...)
}

// logLines counts what was logged at each level.
type logLines struct {
	slog.Handler
	mu    sync.Mutex
	lines map[slog.Level][]string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }

func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[r.Level] = append(l.lines[r.Level], r.Message)
	return nil
}

// While ClickHouse is away the log says so when it begins, at growing intervals, and when it is over; not at each of the tries.
func TestWriterLogsOnChange(t *testing.T) {
	conn := &moodyConn{Conn: testStore(t, testEngine(t))}
	conn.away.Store(true)
	log := &logLines{lines: map[slog.Level][]string{}}
	s := testSpool(t, t.TempDir())
	appendEvents(t, s, drawEvents(rand.New(rand.NewPCG(9, 1)), 1, 1))
	w, _ := quickWriter(t, conn, s, WriterOptions{Logger: slog.New(log)})
	for w.Stats().Retries < 20 {
		time.Sleep(time.Millisecond)
	}
	if st := w.Stats(); st.Failing == 0 {
		t.Errorf("%+v", st)
	}
	conn.away.Store(false)
	flush(t, w)
	if st := w.Stats(); st.Failing != 0 {
		t.Errorf("%+v", st)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if warned, told := log.lines[slog.LevelWarn], log.lines[slog.LevelInfo]; len(warned) != 1 || !slices.Equal(told, []string{"ClickHouse takes events again"}) {
		t.Errorf("warnings %q, news %q; and %d lines for debugging", warned, told, len(log.lines[slog.LevelDebug]))
	}
}
