//go:build linux || darwin

package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

// eventTable is a table as wide as the one of events, with codecs.
func eventTable(name, settings string) string {
	return `CREATE TABLE ` + name + ` (
		company_id UInt32 CODEC(Delta, ZSTD), site UInt32 CODEC(T64, ZSTD), time DateTime64(3, 'UTC') CODEC(Delta, ZSTD), received DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
		type Enum8('logon' = 1, 'logoff' = 2, 'lock' = 3, 'unlock' = 4), user LowCardinality(String), domain LowCardinality(String),
		computer LowCardinality(String), logon_id UInt64 CODEC(T64, ZSTD), logon_type UInt8, local_ip IPv6 CODEC(ZSTD), public_ip IPv6 CODEC(ZSTD),
		status UInt32, sub_status UInt32, record_id UInt64 CODEC(Delta, ZSTD), channel LowCardinality(String), provider LowCardinality(String),
		agent LowCardinality(String), retry UInt8, identity UUID CODEC(NONE)
	) ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (company_id, time, identity) SETTINGS non_replicated_deduplication_window = 1000` + settings
}

func appendEvents(b driver.Batch, r *rand.Rand, base time.Time, n int) error {
	for i := range n {
		at := base.Add(time.Duration(i) * 10 * time.Millisecond)
		k := r.Uint64N(500)
		var id uuid.UUID
		for j := range 16 {
			id[j] = byte(r.Uint32())
		}
		if err := b.Append(uint32(k%50), uint32(k%100), at, at.Add(time.Second), int8(1+k%4), fmt.Sprintf("user%03d", k), "CORP",
			fmt.Sprintf("PC-%03d", k/2), r.Uint64N(1<<24), uint8(2), "10.0.0.1", "203.0.113.9", uint32(0), uint32(0), uint64(i), "Security",
			"Microsoft-Windows-Security-Auditing", "1.0", uint8(0), id); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkInsert fills a table of 20 columns through clickhouse-go in blocks
// of 50,000 rows, with and without fsync.
func BenchmarkInsert(b *testing.B) {
	for _, fsync := range []bool{true, false} {
		for _, writers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("fsync=%v/writers=%d", fsync, writers), func(b *testing.B) { benchInsert(b, fsync, writers, 50_000) })
		}
	}
}

// BenchmarkInsertSmall is the cost of a durable insert of few rows.
func BenchmarkInsertSmall(b *testing.B) {
	for _, fsync := range []bool{true, false} {
		b.Run(fmt.Sprintf("fsync=%v", fsync), func(b *testing.B) { benchInsert(b, fsync, 1, 10) })
	}
}

func benchInsert(b *testing.B, fsync bool, writers, rows int) {
	e := startEngine(b, Config{Dir: b.TempDir()}, false)
	defer func() { _ = e.Close() }()
	c := openClient(b, e.Options())
	settings := ""
	if !fsync {
		settings = ", fsync_after_insert = 0, fsync_part_directory = 0"
	}
	mustExec(b, c, eventTable("bench", settings))
	peak := watchRSS(e)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	began := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			base := time.Date(2025, 5, 1, 0, 0, 0, 0, time.UTC)
			for left.Add(-1) >= 0 {
				batch, err := c.PrepareBatch(context.Background(), "INSERT INTO bench")
				if err == nil {
					err = appendEvents(batch, r, base, rows)
				}
				if err == nil {
					err = batch.Send()
				}
				if err != nil {
					b.Error(err)
					return
				}
				base = base.Add(10 * time.Minute)
			}
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	b.ReportMetric(float64(b.N*rows)/took, "rows/s")
	b.ReportMetric(float64(peak()>>20), "MiB-engine")
}

// BenchmarkQuery is the fixed cost of a small statement, with and without settings.
func BenchmarkQuery(b *testing.B) {
	e := startEngine(b, Config{Dir: b.TempDir()}, false)
	defer func() { _ = e.Close() }()
	c := openClient(b, e.Options())
	for name, ctx := range map[string]context.Context{
		"plain":    context.Background(),
		"settings": clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": 10, "max_threads": 1})),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var n uint8
				if err := c.QueryRow(ctx, "SELECT 1").Scan(&n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRowFilter is what filters cost the statements that see all rows.
func BenchmarkRowFilter(b *testing.B) {
	open := func(filters []RowFilter) driver.Conn {
		e := startEngine(b, Config{Dir: b.TempDir(), RowFilters: filters}, true)
		c := openClient(b, e.Options())
		mustExec(b, c, "CREATE TABLE ev (company_id UInt32, v UInt64, w UInt64) ENGINE = MergeTree ORDER BY (company_id, v)")
		mustExec(b, c, "INSERT INTO ev SELECT intDiv(number, 400000), number, rand64() % 1000 FROM numbers(20000000)")
		mustExec(b, c, "OPTIMIZE TABLE ev FINAL")
		return c
	}
	without, with := open(nil), open([]RowFilter{{"default", "ev"}})
	for _, q := range []struct{ name, text string }{
		{"count", "SELECT count() FROM ev"},
		{"scan", "SELECT sum(w) FROM ev"},
		{"company", "SELECT sum(w) FROM ev WHERE company_id = 7"},
		{"point", "SELECT sum(w) FROM ev WHERE company_id = 7 AND v = 2800001"},
	} {
		for _, side := range []struct {
			name string
			conn driver.Conn
		}{{"without", without}, {"with", with}} {
			b.Run(q.name+"/"+side.name, func(b *testing.B) {
				for b.Loop() {
					var n uint64
					if err := side.conn.QueryRow(context.Background(), q.text).Scan(&n); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
