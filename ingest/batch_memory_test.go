package ingest

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/gzip"

	"gatehouse/event"
)

// wordyStream is a small stream whose rows name the same few long words, so that little makes much.
func wordyStream(t testing.TB, rows, word int, opts ...ipc.Option) []byte {
	t.Helper()
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	fields := []arrow.Field{{Name: "EventType", Type: dict}, {Name: "Timestamp", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}}}
	for _, name := range []string{"UserName", "ComputerName", "Domain", "SID", "SourceHost", "Channel", "Provider", "AgentVersion"} {
		fields = append(fields, arrow.Field{Name: name, Type: dict})
	}
	schema := arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	long := strings.Repeat("x", word)
	for i := range rows {
		for c := range fields {
			var err error
			switch f := b.Field(c).(type) {
			case *array.TimestampBuilder:
				f.Append(arrow.Timestamp(testNow.UnixMilli() - int64(i)))
			case *array.BinaryDictionaryBuilder:
				if c == 0 {
					err = f.AppendString("Logon")
				} else {
					err = f.AppendString(long)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	return writeArrow(t, schema, opts, rec)
}

// zipped is text as a client would send it with Content-Encoding: gzip.
func zipped(t testing.TB, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// highestHeap runs f and tells how much larger than before the heap got meanwhile.
func highestHeap(f func()) int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, highest := m.HeapAlloc, m.HeapAlloc
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		var m runtime.MemStats
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				runtime.ReadMemStats(&m)
				highest = max(highest, m.HeapAlloc)
			}
		}
	}()
	f()
	close(done)
	<-watched
	return int64(highest) - int64(before)
}

// Small requests whose events are large take no more memory together than the budget, and hear what to do.
func TestSmallRequestsOfLargeEvents(t *testing.T) {
	const open = 96 << 20
	s := newServer(t, func(o *Options) {
		o.Spool = &noSpool{}
		o.Limits = Limits{OpenBytes: open}
	})
	text := wordyStream(t, DefaultLimits.BatchEvents, event.MaxName)
	body := zipped(t, text)
	if len(text) > 1<<20 || len(body) > 100<<10 {
		t.Fatalf("the stream takes %d bytes, and %d packed: that is not small", len(text), len(body))
	}
	// One alone is refused for what its events are together.
	a := s.post(t, PathEvents, body, "Content-Encoding", "gzip")
	if a.status != http.StatusRequestEntityTooLarge || a.json["message"] != "the events of the request take more than 64 MiB once unpacked; send them in several" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if used := s.open.used.Load(); used != 0 {
		t.Fatalf("%d bytes are still counted", used)
	}
	var tooLarge, busy atomic.Int64
	grown := highestHeap(func() {
		var wg sync.WaitGroup
		for range 24 {
			wg.Go(func() {
				a := s.post(t, PathEvents, body, "Content-Encoding", "gzip")
				switch {
				case a.status == http.StatusRequestEntityTooLarge:
					tooLarge.Add(1)
				case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "1" && strings.HasPrefix(a.text, `{"message":"too many large requests at the same time; try again shortly"`):
					busy.Add(1)
				default:
					t.Errorf("%d %v %s", a.status, a.header, a.text)
				}
			})
		}
		wg.Wait()
	})
	t.Logf("%d were too large, %d came when there was no room; the heap grew by %d MiB", tooLarge.Load(), busy.Load(), grown>>20)
	// Each may have a first chunk and a body besides, and the collector is late.
	if limit := int64(2*open + 24*4<<20); grown > limit {
		t.Errorf("the heap grew by %d MiB, more than %d", grown>>20, limit>>20)
	}
	if used := s.open.used.Load(); used != 0 {
		t.Errorf("%d bytes are still counted", used)
	}
	// What fits is taken as before, over many chunks too.
	a = s.post(t, PathEvents, string(wordyStream(t, 10_000, event.MaxName)))
	if got := a.result(t); got != "10000 0 0 |" {
		t.Error(got)
	}
	if used := s.open.used.Load(); used != 0 {
		t.Errorf("%d bytes are still counted", used)
	}
}

// The records of an arena of many chunks are the events that came, each whole.
func TestArenaOfManyChunks(t *testing.T) {
	s := newServer(t, func(o *Options) { o.Limits = Limits{} })
	const rows = 3000      // of 4 KiB: a dozen chunks
	for round := range 3 { // the later ones with chunks that were in use
		s.spool.records = nil
		s.recent = NewRecent(-1)
		if got := s.post(t, PathEvents, string(wordyStream(t, rows, event.MaxName-round))).result(t); got != "3000 0 0 |" {
			t.Fatal(got)
		}
		events := s.spool.events(t)
		if len(events) != rows {
			t.Fatalf("%d events", len(events))
		}
		for i, e := range events {
			if e.Time != testNow.UnixMilli()-int64(i) || len(e.User) != event.MaxName-round || len(e.Agent) != event.MaxName-round {
				t.Fatalf("round %d: event %d is %+v", round, i, e)
			}
		}
	}
}

// What is unpacked inside of an Arrow stream, and what is said of refused records, counts too.
func TestBudgetOfDecoding(t *testing.T) {
	var lines strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&lines, "{%d}\n", i)
	}
	for name, c := range map[string]struct {
		body string
		open int64
		ok   bool
	}{
		"lz4":                       {string(wordyStream(t, 50_000, 8, ipc.WithLZ4())), 256 << 10, false},
		"lz4, with room":            {string(wordyStream(t, 50_000, 8, ipc.WithLZ4())), 64 << 20, true},
		"refused records":           {lines.String(), 8 << 20, false},
		"refused records with room": {lines.String(), 64 << 20, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(o *Options) { o.Limits = Limits{OpenBytes: c.open} })
			a := s.post(t, PathEvents, c.body, "Content-Type", map[bool]string{true: "application/x-ndjson"}[c.body[0] == '{'])
			if busy := a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "1"; busy == c.ok {
				t.Errorf("%d %.200s", a.status, a.text)
			}
			if used := s.open.used.Load(); used != 0 {
				t.Errorf("%d bytes are still counted", used)
			}
		})
	}
}
