package ingest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
	"gatehouse/spool"
)

// timingRows is how many events the benchmarks move; $GATEHOUSE_BENCH_ROWS overrides it.
func timingRows() int {
	if n, err := strconv.Atoi(os.Getenv("GATEHOUSE_BENCH_ROWS")); err == nil && n > 0 {
		return n
	}
	return 500_000
}

// shiftEvent is the i-th event of 50 companies of 200 people at work, in the order in which
// agents would send it: time moves on, companies and people alternate.
func shiftEvent(i int) event.Event {
	h := uint64(i) * 0x9E3779B97F4A7C15
	h ^= h >> 29
	company := uint32(h % 50)
	person := int(h >> 8 % 200)
	person %= 200
	kinds := [...]event.Type{event.Logon, event.Lock, event.Unlock, event.Lock, event.Unlock, event.Logoff, event.LogonFailed, event.Lock, event.Unlock}
	ids := [...]uint16{4624, 4800, 4801, 4800, 4801, 4634, 4625, 4800, 4801}
	k := i / 10_000 % len(kinds)
	at := testEpoch.UnixMilli() + int64(i)*40
	return event.Event{
		CompanyID: company + 1, SiteID: company*2 + uint32(person%2), Time: at, Received: at + 200 + int64(h>>40%3000),
		Type: kinds[k], Account: event.AccountUser, LogonType: 2,
		User: "Person" + strconv.Itoa(person), Computer: fmt.Sprintf("PC-%d-%03d", company, person), Domain: "CORP" + strconv.Itoa(int(company)), SID: "S-1-5-21-1004336348-1177238915-682003330-" + strconv.Itoa(1000+person),
		LogonID: h >> 20 & 0xFFFFFFFF, LocalIP: netip.AddrFrom4([4]byte{10, byte(company), 0, byte(person)}), PublicIP: netip.AddrFrom4([4]byte{81, 2, 69, byte(company)}),
		EventID: ids[k], RecordID: uint64(100000 + i/10), Channel: "Security", Provider: "Microsoft-Windows-Security-Auditing", Agent: "2.1.0",
	}
}

func shiftEvents(from, n int) []event.Event {
	out := make([]event.Event, n)
	for i := range out {
		out[i] = shiftEvent(from + i)
	}
	return out
}

// cpuMeter tells what this process and the engine's have spent since it was started.
type cpuMeter struct{ self, engine time.Duration }

func startMeter(t testing.TB) cpuMeter {
	return cpuMeter{processCPU(t, os.Getpid()), processCPU(t, testEngine(t).Pid())}
}

func (m cpuMeter) report(b *testing.B, events int) {
	now := startMeter(b)
	b.ReportMetric(float64((now.self-m.self).Nanoseconds())/float64(events), "client-ns/event")
	b.ReportMetric(float64((now.engine-m.engine).Nanoseconds())/float64(events), "engine-ns/event")
}

// processCPU reads the processor time of a process; zero where there is no /proc.
func processCPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int
	for _, v := range f[11:13] { // user and system
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// BenchmarkWriter is the writer alone: from a full queue into ClickHouse. `shared` looks every event up there.
func BenchmarkWriter(b *testing.B) {
	lock := newLeakyLock(1, 0)
	for _, c := range []struct {
		name string
		opts WriterOptions
	}{
		{"parallel=1", WriterOptions{Parallel: 1}},
		{"parallel=2", WriterOptions{Parallel: 2}},
		{"shared", WriterOptions{Shared: true, Lock: lock.with}},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := timingRows()
			var took time.Duration
			for range b.N {
				conn := testStore(b, testEngine(b))
				q := testSpool(b, b.TempDir())
				appendEvents(b, q, shiftEvents(0, n))
				runtime.GC()
				began, meter := time.Now(), startMeter(b)
				w, stop := runWriter(b, conn, q, c.opts)
				flush(b, w)
				took += time.Since(began)
				meter.report(b, n)
				if got := queryInt(b, conn, "SELECT count() FROM events"); got != n {
					b.Fatalf("%d rows, want %d", got, n)
				}
				st := w.Stats()
				b.ReportMetric(float64(st.SeenBytes)/float64(n), "seen-B/event")
				b.ReportMetric(float64(st.FalseMaybes)*1e6/float64(n), "maybes/M")
				stop()
			}
			b.ReportMetric(float64(n*b.N)/took.Seconds(), "events/s")
		})
	}
}

// BenchmarkWriterResend is the same events again: every one is looked up and dropped.
func BenchmarkWriterResend(b *testing.B) {
	n := timingRows()
	conn := testStore(b, testEngine(b))
	q := testSpool(b, b.TempDir())
	dir := b.TempDir()
	events := shiftEvents(0, n)
	appendEvents(b, q, events)
	w, stop := runWriter(b, conn, q, WriterOptions{Dir: dir})
	flush(b, w)
	stop()
	var took time.Duration
	for range b.N {
		w, stop := runWriter(b, conn, q, WriterOptions{Dir: dir})
		flush(b, w)
		appendEvents(b, q, events)
		began, meter := time.Now(), startMeter(b)
		flush(b, w)
		took += time.Since(began)
		meter.report(b, n)
		stop()
	}
	if got := queryInt(b, conn, "SELECT count() FROM events"); got != n {
		b.Fatalf("%d rows, want %d", got, n)
	}
	b.ReportMetric(float64(n*b.N)/took.Seconds(), "events/s")
}

// BenchmarkClientFill is what clickhouse-go alone does with the same rows in the same tables, from values
// ready in memory: the measure for BenchmarkWriter.
func BenchmarkClientFill(b *testing.B) {
	n := timingRows()
	events := shiftEvents(0, n)
	var took time.Duration
	for range b.N {
		conn := testStore(b, testEngine(b))
		runtime.GC()
		began, meter := time.Now(), startMeter(b)
		fillColumns(b, conn, events, DefaultBlockRows)
		took += time.Since(began)
		meter.report(b, n)
	}
	b.ReportMetric(float64(n*b.N)/took.Seconds(), "events/s")
}

func fillColumns(t testing.TB, conn driver.Conn, events []event.Event, size int) {
	t.Helper()
	jobs := make(chan []event.Event)
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			var err error
			for part := range jobs {
				if err == nil {
					err = fillPart(t.Context(), conn, part)
				}
			}
			errs <- err
		}()
	}
	for len(events) > 0 {
		k := min(size, len(events))
		jobs <- events[:k]
		events = events[k:]
	}
	close(jobs)
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

func fillPart(ctx context.Context, conn driver.Conn, events []event.Event) error {
	batch, err := conn.PrepareBatch(ctx, insertEventsSQL)
	if err != nil {
		return err
	}
	column := func(i int, v any) {
		if err == nil {
			err = batch.Column(i).Append(v)
		}
	}
	of := func(f func(e *event.Event) string) []string {
		out := make([]string, len(events))
		for i := range events {
			out[i] = f(&events[i])
		}
		return out
	}
	u64 := func(f func(e *event.Event) uint64) []uint64 {
		out := make([]uint64, len(events))
		for i := range events {
			out[i] = f(&events[i])
		}
		return out
	}
	u32 := func(f func(e *event.Event) uint32) []uint32 {
		out := make([]uint32, len(events))
		for i := range events {
			out[i] = f(&events[i])
		}
		return out
	}
	u16 := func(f func(e *event.Event) uint16) []uint16 {
		out := make([]uint16, len(events))
		for i := range events {
			out[i] = f(&events[i])
		}
		return out
	}
	addr := func(f func(e *event.Event) netip.Addr) []netip.Addr {
		out := make([]netip.Addr, len(events))
		for i := range events {
			out[i] = netip.IPv6Unspecified()
			if a := f(&events[i]); a.IsValid() {
				out[i] = netip.AddrFrom16(a.As16())
			}
		}
		return out
	}
	times, lags := make([]time.Time, len(events)), make([]int64, len(events))
	logonTypes, elevated := make([]uint8, len(events)), make([]bool, len(events))
	for i, e := range events {
		times[i], lags[i] = time.UnixMilli(e.Time).UTC(), e.Received-e.Time
		logonTypes[i], elevated[i] = e.LogonType, e.Elevated
	}
	for i, v := range []any{
		u32(func(e *event.Event) uint32 { return e.CompanyID }), u32(func(e *event.Event) uint32 { return e.SiteID }), times, lags,
		of(func(e *event.Event) string { return e.Type.String() }), of(func(e *event.Event) string { return e.Account.String() }),
		of(func(e *event.Event) string { return event.Fold(e.User) }), of(func(e *event.Event) string { return e.User }),
		of(func(e *event.Event) string { return event.Fold(e.Computer) }), of(func(e *event.Event) string { return e.Computer }),
		of(func(e *event.Event) string { return e.Domain }), of(func(e *event.Event) string { return e.SID }),
		u64(func(e *event.Event) uint64 { return e.LogonID }), u64(func(e *event.Event) uint64 { return e.LinkedLogonID }), logonTypes, elevated,
		addr(func(e *event.Event) netip.Addr { return e.LocalIP }), addr(func(e *event.Event) netip.Addr { return e.PublicIP }), addr(func(e *event.Event) netip.Addr { return e.SourceIP }),
		of(func(e *event.Event) string { return e.SourceHost }),
		u32(func(e *event.Event) uint32 { return e.Status }), u32(func(e *event.Event) uint32 { return e.SubStatus }),
		u16(func(e *event.Event) uint16 { return e.EventID }), u64(func(e *event.Event) uint64 { return e.RecordID }), u64(func(e *event.Event) uint64 { return e.ContentHash }),
		of(func(e *event.Event) string { return e.Channel }), of(func(e *event.Event) string { return e.Provider }), of(func(e *event.Event) string { return e.Agent }),
		u16(func(e *event.Event) uint16 { return e.Retry }),
	} {
		column(i, v)
	}
	if err != nil {
		return err
	}
	return batch.Send()
}

// BenchmarkDedupeQueries is what the questions to ClickHouse cost that dedupe asks.
func BenchmarkDedupeQueries(b *testing.B) {
	n := timingRows()
	conn := testStore(b, testEngine(b))
	fillColumns(b, conn, shiftEvents(0, n), DefaultBlockRows)
	if err := conn.Exec(b.Context(), "OPTIMIZE TABLE events FINAL"); err != nil {
		b.Fatal(err)
	}
	store := &eventStore{conn: conn}
	blk := newWriteBlock()
	blk.reset(1)
	step := max(1, n/DefaultBlockRows)
	for i := range min(n, DefaultBlockRows) { // spread over all that is there
		e := shiftEvent(i * step)
		blk.add(spool.Record{Pos: spool.Position(i + 1), Data: e.AppendBinary(nil)})
		blk.rows = append(blk.rows, uint32(i))
	}
	for _, k := range []int{1, 30, 1000, len(blk.rows)} {
		rows := make([]uint32, 0, k)
		for i := range k {
			rows = append(rows, blk.rows[i*len(blk.rows)/k])
		}
		b.Run(fmt.Sprintf("present=%d", k), func(b *testing.B) {
			for range b.N {
				got := 0
				if err := store.present(b.Context(), blk, rows, func(event.ID) { got++ }); err != nil || got < k {
					b.Fatal(got, err)
				}
			}
		})
		b.Run(fmt.Sprintf("presentInDays=%d", k), func(b *testing.B) {
			var days []companyDay
			for _, r := range rows {
				if d := (companyDay{blk.company[r], blk.day(r)}); !slices.Contains(days, d) {
					days = append(days, d)
				}
			}
			for range b.N {
				got := 0
				if err := store.presentInDays(b.Context(), blk, rows, days, func(event.ID) { got++ }); err != nil || got < k {
					b.Fatal(got, err)
				}
			}
		})
		b.Run(fmt.Sprintf("repair=%d", k), func(b *testing.B) {
			for range b.N {
				if err := store.repair(b.Context(), blk, rows); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	days := map[companyDay]bool{}
	for i := range n {
		e := shiftEvent(i)
		days[companyDay{e.CompanyID, uint16(e.Time / 86400000)}] = true
	}
	var all []companyDay
	for k := range days {
		all = append(all, k)
	}
	b.Run(fmt.Sprintf("count of %d days", len(all)), func(b *testing.B) {
		for range b.N {
			if _, err := store.countDays(b.Context(), all); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(fmt.Sprintf("ids of %d events", n), func(b *testing.B) {
		for range b.N {
			got := 0
			if err := store.eachID(b.Context(), all, func(companyDay, event.ID) { got++ }); err != nil || got != n {
				b.Fatal(got, err)
			}
		}
	})
	b.Run("ids of one company's day", func(b *testing.B) {
		for range b.N {
			if err := store.eachID(b.Context(), all[:1], func(companyDay, event.ID) {}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("quiesce", func(b *testing.B) {
		for range b.N {
			if err := store.quiesce(b.Context(), "gatehouse-none"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWriterDecode is from records to a block, the writer's own work per event but for encoding.
func BenchmarkWriterDecode(b *testing.B) {
	records := make([]spool.Record, DefaultBlockRows)
	for i := range records {
		e := shiftEvent(i)
		records[i] = spool.Record{Pos: spool.Position(i + 1), Data: e.AppendBinary(nil)}
	}
	blk := newWriteBlock()
	b.ReportAllocs()
	for b.Loop() {
		blk.reset(1)
		for i := range records {
			blk.add(records[i])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/event")
}

// BenchmarkWriterEncode is from a block to the bytes of an insert.
func BenchmarkWriterEncode(b *testing.B) {
	blk := newWriteBlock()
	blk.reset(1)
	for i := range DefaultBlockRows {
		e := shiftEvent(i)
		blk.add(spool.Record{Pos: spool.Position(i + 1), Data: e.AppendBinary(nil)})
		blk.rows = append(blk.rows, uint32(i))
	}
	var enc blockEncoder
	var size int64
	b.ReportAllocs()
	for b.Loop() {
		enc.start(blk, blk.rows)
		var err error
		if size, err = io.Copy(io.Discard, struct{ io.Reader }{&enc}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*DefaultBlockRows), "ns/event")
	b.ReportMetric(float64(size)/DefaultBlockRows, "B/event")
}
