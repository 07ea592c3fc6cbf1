package ingest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
	"gatehouse/simulate"
)

// simulatedEvents are what agents of one company send, in the order in which they would.
func simulatedEvents(t testing.TB, n int) []event.Event {
	t.Helper()
	from := time.Now().UTC().AddDate(0, 0, -31).Truncate(24 * time.Hour)
	sim, err := simulate.New(simulate.Config{Seed: 1, Companies: 1, Zones: []string{"UTC"}, From: from, Days: 30, Users: n/(30*18) + 2, Repeat: -1})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]event.Event, 0, n)
	for e := range sim.Company(0) {
		if e.Time < time.Now().UnixMilli() {
			out = append(out, *e)
		}
		if len(out) == n {
			return out
		}
	}
	t.Fatalf("the simulation gave %d of %d events", len(out), n)
	return nil
}

// nowhere is a ClickHouse that takes everything and has nothing.
type nowhere struct{ rows atomic.Int64 }

func (*nowhere) QueryRow(context.Context, string, ...any) driver.Row { return zeroRow{} }
func (*nowhere) Exec(context.Context, string, ...any) error          { return nil }

func (*nowhere) QueryFormat(context.Context, string, string, ...any) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("")), nil
}

func (n *nowhere) InsertFormat(_ context.Context, _, _ string, data io.Reader) error {
	size, err := io.Copy(io.Discard, struct{ io.Reader }{data})
	n.rows.Add(size)
	return err
}

type zeroRow struct{ driver.Row }

func (zeroRow) Scan(...any) error { return nil }

// newCompanies is a resolver by which each round of a benchmark brings events that nobody had before.
type newCompanies struct {
	fakeKeys
	company atomic.Uint32
}

func (k *newCompanies) Resolve(context.Context, string, netip.Addr) (Principal, error) {
	p := acme
	p.CompanyID = k.company.Load()
	return p, nil
}

// BenchmarkPath is this process's whole part in taking events: from a request's body over a real spool to the bytes of the
// insert, everything but the network and ClickHouse. Processor time counts; the time on the wall is the disk's as well.
func BenchmarkPath(b *testing.B) {
	const each, batches = 1000, 200
	events := simulatedEvents(b, each*batches)
	var ndjson, arrow [][]byte
	enc := simulate.NewArrow()
	for part := range slices.Chunk(events, each) {
		var text []byte
		for i := range part {
			text = append(simulate.AppendJSON(text, &part[i]), '\n')
		}
		ndjson = append(ndjson, text)
		stream, err := enc.Encode(part)
		if err != nil {
			b.Fatal(err)
		}
		arrow = append(arrow, slices.Clone(stream))
	}
	for _, c := range []struct {
		name, kind string
		bodies     [][]byte
	}{
		{"NDJSON", "application/x-ndjson", ndjson},
		{"Arrow", "application/vnd.apache.arrow.stream", arrow},
	} {
		b.Run(c.name, func(b *testing.B) {
			q := testSpool(b, b.TempDir())
			keys := &newCompanies{}
			in, err := NewIntake(Options{Spool: q, Keys: keys})
			if err != nil {
				b.Fatal(err)
			}
			w, stop := runWriter(b, &nowhere{}, q, WriterOptions{BlockDelay: 500 * time.Millisecond})
			defer stop()
			runtime.GC()
			b.ReportAllocs()
			size := 0
			before := cpuSelf(b)
			for b.Loop() {
				keys.company.Add(1)
				var next atomic.Int64
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for {
							n := int(next.Add(1)) - 1
							if n >= len(c.bodies) {
								return
							}
							r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, PathEvents, bytes.NewReader(c.bodies[n]))
							r.Header.Set("Content-Type", c.kind)
							rec := httptest.NewRecorder()
							in.Events(rec, r)
							if got := rec.Body.String(); !strings.HasPrefix(got, `{"status":"success","accepted":1000,`) {
								b.Errorf("%d %.300s", rec.Code, got)
							}
						}
					})
				}
				wg.Wait()
				flush(b, w)
			}
			for _, body := range c.bodies {
				size += len(body)
			}
			n := b.N * each * batches
			b.ReportMetric(float64((cpuSelf(b)-before).Nanoseconds())/float64(n), "cpu-ns/event")
			b.ReportMetric(float64(size)/float64(each*batches), "B/event")
			perEvent(b, each*batches)
		})
	}
}

// cpuSelf is the processor time that this process has used.
func cpuSelf(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
