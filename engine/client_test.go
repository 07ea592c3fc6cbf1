//go:build linux || darwin

package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/apache/arrow/go/v17/arrow/ipc"
)

// compressions are all that clickhouse-go can be asked for over HTTP.
var compressions = []clickhouse.CompressionMethod{
	clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD,
	clickhouse.CompressionGZIP, clickhouse.CompressionDeflate, clickhouse.CompressionBrotli,
}

func optionsWith(e *Engine, m clickhouse.CompressionMethod) *clickhouse.Options {
	o := e.Options()
	o.Compression = &clickhouse.Compression{Method: m, Level: 3}
	return o
}

// Batches, queries, errors before and in the middle of a result: with every compression.
func TestClientCompressions(t *testing.T) {
	e := sharedEngine(t)
	ctx := context.Background()
	for _, m := range compressions {
		t.Run(m.String(), func(t *testing.T) {
			c := openClient(t, optionsWith(e, m))
			if err := c.Ping(ctx); err != nil {
				t.Fatal(err)
			}
			mustExec(t, c, "CREATE OR REPLACE TABLE comp (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
			b, err := c.PrepareBatch(ctx, "INSERT INTO comp")
			if err != nil {
				t.Fatal(err)
			}
			n := 200_000
			if testing.Short() {
				n = 20_000
			}
			for i := range n {
				if err := b.Append(uint64(i), "value "+fmt.Sprint(i%77)); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Send(); err != nil {
				t.Fatal(err)
			}
			rows, err := c.Query(ctx, "SELECT a, b FROM comp ORDER BY a")
			if err != nil {
				t.Fatal(err)
			}
			want := uint64(0)
			for rows.Next() {
				var a uint64
				var s string
				if err := rows.Scan(&a, &s); err != nil {
					t.Fatal(err)
				}
				if a != want || s != "value "+fmt.Sprint(a%77) {
					t.Fatalf("row %d is %d %q", want, a, s)
				}
				want++
			}
			if err := rows.Err(); err != nil || want != uint64(n) {
				t.Fatalf("%d rows, %v", want, err)
			}
			_ = rows.Close()

			var ex *clickhouse.Exception
			err = c.Exec(ctx, "SELECT * FROM no_such_table")
			if !errors.As(err, &ex) || ex.Code != 60 {
				t.Errorf("exec: %v", err)
			}
			if _, err = c.Query(ctx, "SELECT * FROM no_such_table"); !errors.As(err, &ex) || ex.Code != 60 || !strings.Contains(ex.Message, "no_such_table") {
				t.Errorf("query: %v", err)
			}
			rows, err = c.Query(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_block_size": 10000, "max_threads": 1})),
				"SELECT throwIf(number = 900000), randomString(30) FROM numbers(1000000)")
			if err == nil {
				got := 0
				for rows.Next() {
					got++
				}
				if err = rows.Err(); got == 0 {
					t.Error("no row before the error")
				}
				_ = rows.Close()
			}
			if ex = nil; !errors.As(err, &ex) || ex.Code != 395 {
				t.Errorf("mid-stream error: %v", err)
			}
			b, err = c.PrepareBatch(ctx, "INSERT INTO comp (a)")
			if err != nil {
				t.Fatal(err)
			}
			_ = b.Append(uint64(1))
			mustExec(t, c, "DROP TABLE comp")
			if err = b.Send(); !errors.As(err, &ex) || ex.Code != 60 {
				t.Errorf("batch into a dropped table: %v", err)
			}
		})
	}
}

func TestClientParameters(t *testing.T) {
	c := openClient(t, sharedEngine(t).Options())
	ctx := context.Background()
	nasty := "it's a \\ \"quote\"\n\ttab 'é'"
	var s string
	var n uint32
	var arr []string
	if err := c.QueryRow(ctx, "SELECT {s:String}, {n:UInt32}, {a:Array(String)}",
		clickhouse.Named("s", nasty), clickhouse.Named("n", "4000000000"), clickhouse.Named("a", "['x','y']")).Scan(&s, &n, &arr); err != nil {
		t.Fatal(err)
	}
	if s != nasty || n != 4000000000 || len(arr) != 2 {
		t.Errorf("named: %q %d %v", s, n, arr)
	}
	when := time.Date(2025, 5, 25, 14, 30, 0, 0, time.UTC)
	var back time.Time
	if err := c.QueryRow(ctx, "SELECT ?, ?, toDateTime(?)", nasty, 7, when).Scan(&s, new(uint8), &back); err != nil || s != nasty || !back.Equal(when) {
		t.Errorf("positional: %q %v %v", s, back, err)
	}
	if err := c.QueryRow(ctx, "SELECT $1, @two", 1, clickhouse.Named("two", 2)).Scan(new(uint8), new(uint8)); err == nil {
		t.Error("mixed parameters were accepted")
	}
	if err := c.QueryRow(ctx, "SELECT @one, @two", clickhouse.Named("one", "a"), clickhouse.Named("two", "b")).Scan(&s, &s); err != nil || s != "b" {
		t.Errorf("@named: %v", err)
	}
	if err := c.QueryRow(ctx, "SELECT count() FROM numbers(10) WHERE number IN (?)", []uint64{1, 2, 30}).Scan(new(uint64)); err != nil {
		t.Error(err)
	}
	mustExec(t, c, "CREATE OR REPLACE TABLE params (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
	mustExec(t, c, "INSERT INTO params VALUES ({a:UInt64}, {s:String})", clickhouse.Named("a", "5"), clickhouse.Named("s", nasty))
	mustExec(t, c, "INSERT INTO params VALUES (?, ?)", 6, nasty)
	var cnt uint64
	if err := c.QueryRow(ctx, "SELECT count() FROM params WHERE s = {s:String}", clickhouse.Named("s", nasty)).Scan(&cnt); err != nil || cnt != 2 {
		t.Errorf("%d rows, %v", cnt, err)
	}
}

func TestClientFormats(t *testing.T) {
	e := sharedEngine(t)
	ctx := context.Background()
	for _, m := range compressions {
		c := openClient(t, optionsWith(e, m))
		const q = "SELECT number AS n, toString(number) AS s FROM numbers({count:UInt64})"
		read := func(format string) string {
			t.Helper()
			r, err := c.QueryFormat(ctx, format, q, clickhouse.Named("count", "150000"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		csv := read("CSVWithNames")
		if strings.Count(csv, "\n") != 150001 || strings.Count(csv, `"n","s"`) != 1 {
			t.Errorf("%s: CSVWithNames has %d lines", m, strings.Count(csv, "\n"))
		}
		parquet := read("Parquet")
		arrow := read("ArrowStream")
		rd, err := ipc.NewReader(strings.NewReader(arrow))
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for rd.Next() {
			total += rd.Record().NumRows()
		}
		if rd.Err() != nil || total != 150000 {
			t.Errorf("%s: ArrowStream has %d rows, %v", m, total, rd.Err())
		}
		for format, data := range map[string]string{"CSVWithNames": csv, "Parquet": parquet, "ArrowStream": arrow} {
			mustExec(t, c, "CREATE OR REPLACE TABLE fmt (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
			if err := c.InsertFormat(ctx, format, "INSERT INTO fmt", strings.NewReader(data)); err != nil {
				t.Fatalf("%s %s: %v", m, format, err)
			}
			var n, sum uint64
			if err := c.QueryRow(ctx, "SELECT count(), sum(n) FROM fmt WHERE s = toString(n)").Scan(&n, &sum); err != nil || n != 150000 || sum != 150000*149999/2 {
				t.Errorf("%s %s: %d rows, %v", m, format, n, err)
			}
		}
		r, err := c.QueryFormat(ctx, "CSV", "SELECT throwIf(number = 200000), randomString(30) FROM numbers(250000) SETTINGS max_block_size = 10000, max_threads = 1")
		if err == nil {
			_, err = io.ReadAll(r)
			_ = r.Close()
		}
		var ex *clickhouse.Exception
		if !errors.As(err, &ex) || ex.Code != 395 {
			t.Errorf("%s: error inside of CSV: %v", m, err)
		}
	}
}

func TestClientDeadlineAndCancel(t *testing.T) {
	e := sharedEngine(t)
	c := openClient(t, e.Options())
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := c.Exec(ctx, "SELECT sum(number) FROM numbers(100000000000000) /* deadline */")
	if err == nil {
		t.Fatal("an endless statement ended well")
	}
	var ex *clickhouse.Exception
	if !errors.Is(err, context.DeadlineExceeded) && (!errors.As(err, &ex) || ex.Code != 159 && ex.Code != 394) {
		t.Errorf("deadline: %v", err)
	}
	waitFor(t, "the statement to be gone", func() bool {
		var n uint64
		err := c.QueryRow(context.Background(), "SELECT count() FROM system.processes WHERE query LIKE '%/* dead%' AND query NOT LIKE '%system.processes%'").Scan(&n)
		return err == nil && n == 0
	})
	// A deadline that is far away reaches the engine and harms nothing.
	far, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	var v string
	if err := c.QueryRow(far, "SELECT toString(getSetting('max_execution_time'))").Scan(&v); err != nil || v == "0" {
		t.Errorf("max_execution_time is %s, %v", v, err)
	}
	// Rows that nobody reads to their end.
	half, cancel := context.WithCancel(context.Background())
	rows, err := c.Query(half, "SELECT number, randomString(100) FROM numbers(1000000000) /* half */")
	if err != nil {
		t.Fatal(err)
	}
	rows.Next()
	cancel()
	waitFor(t, "the abandoned statement to be gone", func() bool {
		var n uint64
		err := c.QueryRow(context.Background(), "SELECT count() FROM system.processes WHERE query LIKE '%/* hal%' AND query NOT LIKE '%system.processes%'").Scan(&n)
		return err == nil && n == 0
	})
}

// Sixteen connections insert and read at once; every reader sees its own
// table's rows, settings and database.
func TestClientConcurrency(t *testing.T) {
	e := sharedEngine(t)
	o := e.Options()
	o.MaxOpenConns, o.MaxIdleConns = 16, 16
	c := openClient(t, o)
	ctx := context.Background()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			table := fmt.Sprintf("conc_%d", w)
			fail := func(err error) bool {
				if err != nil {
					t.Error(table, err)
				}
				return err != nil
			}
			if fail(c.Exec(ctx, "CREATE OR REPLACE TABLE "+table+" (w UInt8, n UInt64) ENGINE = MergeTree ORDER BY n")) {
				return
			}
			for round := range 10 {
				b, err := c.PrepareBatch(ctx, "INSERT INTO "+table)
				if fail(err) {
					return
				}
				for i := range 500 {
					if fail(b.Append(uint8(w), uint64(i))) {
						return
					}
				}
				if fail(b.Send()) {
					return
				}
				q := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_block_size": 1000 + w}))
				var n, sum uint64
				var bs uint64
				if fail(c.QueryRow(q, "SELECT count(), sum(w), any(toUInt64(getSetting('max_block_size'))) FROM "+table).Scan(&n, &sum, &bs)) {
					return
				}
				if want := uint64(500 * (round + 1)); n != want || sum != want*uint64(w) || bs != uint64(1000+w) {
					t.Errorf("%s round %d: %d rows, sum %d, block size %d", table, round, n, sum, bs)
				}
			}
		})
	}
	wg.Wait()
}

func TestClientExternalTable(t *testing.T) {
	c := openClient(t, sharedEngine(t).Options())
	tab, err := ext.NewTable("wanted", ext.Column("id", "UInt64"), ext.Column("name", "String"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := tab.Append(uint64(i), fmt.Sprint("n", i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx := clickhouse.Context(context.Background(), clickhouse.WithExternalTable(tab))
	var n uint64
	if err := c.QueryRow(ctx, "SELECT sum(id) FROM wanted WHERE name != 'n1'").Scan(&n); err != nil || n != 9 {
		t.Fatalf("%d %v", n, err)
	}
}

func TestClientDatabaseSQL(t *testing.T) {
	e := sharedEngine(t)
	db := clickhouse.OpenDB(e.Options())
	defer func() { _ = db.Close() }()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "CREATE OR REPLACE TABLE stdsql (a UInt64, b Nullable(String)) ENGINE = MergeTree ORDER BY a"); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := tx.PrepareContext(ctx, "INSERT INTO stdsql (a, b)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	for i := range 10 {
		if _, err := st.ExecContext(ctx, uint64(i), sql.NullString{String: "x", Valid: i%2 == 0}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	var n, nulls int
	if err := db.QueryRowContext(ctx, "SELECT count(), countIf(b IS NULL) FROM stdsql").Scan(&n, &nulls); err != nil || n != 10 || nulls != 5 {
		t.Fatalf("%d rows, %d nulls, %v", n, nulls, err)
	}
	rows, err := db.QueryContext(ctx, "SELECT a, b FROM stdsql WHERE a > 100")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	cols, err := rows.ColumnTypes()
	if err != nil || len(cols) != 2 || cols[1].DatabaseTypeName() != "Nullable(String)" {
		t.Fatalf("columns of an empty result: %v %v", cols, err)
	}
	if rows.Next() || rows.Err() != nil {
		t.Fatal("rows out of nothing")
	}
}

// A block sent twice under one token is stored once, in the table and in what
// its materialized views sum up.
func TestClientDeduplicationToken(t *testing.T) {
	c := openClient(t, sharedEngine(t).Options())
	ctx := context.Background()
	mustExec(t, c, "CREATE OR REPLACE TABLE dd (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100")
	mustExec(t, c, "CREATE OR REPLACE TABLE dd_sum (k UInt8, s SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 100")
	mustExec(t, c, "DROP VIEW IF EXISTS dd_mv")
	mustExec(t, c, "CREATE MATERIALIZED VIEW dd_mv TO dd_sum AS SELECT 1 AS k, sum(a) AS s FROM dd GROUP BY k")
	send := func(token string, n int) {
		t.Helper()
		q := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
			"insert_deduplication_token": token, "deduplicate_blocks_in_dependent_materialized_views": 1,
		}))
		b, err := c.PrepareBatch(q, "INSERT INTO dd")
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			_ = b.Append(uint64(i))
		}
		if err := b.Send(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		send("one", 100)
	}
	send("two", 100)
	var n, sum uint64
	if err := c.QueryRow(ctx, "SELECT (SELECT count() FROM dd), (SELECT sum(s) FROM dd_sum)").Scan(&n, &sum); err != nil || n != 200 || sum != 2*4950 {
		t.Fatalf("%d rows, sum %d, %v", n, sum, err)
	}
}

func TestClientAsyncInsertAndQueryID(t *testing.T) {
	c := openClient(t, sharedEngine(t).Options())
	ctx := context.Background()
	mustExec(t, c, "CREATE OR REPLACE TABLE async1 (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
	a := clickhouse.Context(ctx, clickhouse.WithAsync(true), clickhouse.WithQueryID("async-1"))
	if err := c.Exec(a, "INSERT INTO async1 VALUES (?, ?)", 1, "x"); err != nil {
		t.Fatal(err)
	}
	var n uint64
	if err := c.QueryRow(ctx, "SELECT count() FROM async1").Scan(&n); err != nil || n != 1 {
		t.Fatalf("%d rows, %v", n, err)
	}
}

func TestClientJSONColumn(t *testing.T) {
	c := openClient(t, sharedEngine(t).Options())
	ctx := context.Background()
	mustExec(t, c, "CREATE OR REPLACE TABLE js (n UInt8, v JSON) ENGINE = MergeTree ORDER BY n")
	mustExec(t, c, `INSERT INTO js VALUES (1, '{"a":1,"b":{"c":"x"}}')`)
	b, err := c.PrepareBatch(ctx, "INSERT INTO js")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Append(uint8(2), `{"a":2,"b":{"c":"y"}}`); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(); err != nil {
		t.Fatal(err)
	}
	rows, err := c.Query(ctx, "SELECT n, v FROM js ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var got []string
	for rows.Next() {
		var n uint8
		var v clickhouse.JSON
		if err := rows.Scan(&n, &v); err != nil {
			t.Fatal(err)
		}
		p, _ := v.ValueAtPath("b.c")
		got = append(got, fmt.Sprint(n, p))
	}
	if err := rows.Err(); err != nil || len(got) != 2 {
		t.Fatalf("%v %v", got, err)
	}
	t.Log(got)
}

// More than the engine has memory passes through it in both directions, a gigabyte in the long form.
func TestSoakMoreThanMemoryBothWays(t *testing.T) {
	if testing.Short() {
		t.Skip("moves gigabytes")
	}
	const width = 100 // bytes of a row in CSV, at least
	// With less memory the blocks of the insert must be smaller too.
	rows, limit, settings := int64(4_500_000), int64(420)<<20, clickhouse.Settings{"min_insert_block_size_bytes": 64 << 20}
	if os.Getenv("GATEHOUSE_SOAK") != "" {
		rows, limit, settings = 10_500_000, 700<<20, nil
	}
	if rows*width < limit {
		t.Fatal("the data fit into memory: the test shows nothing")
	}
	e := startEngine(t, Config{MemoryLimit: limit}, true)
	ctx := context.Background()
	c := openClient(t, e.Options())
	mustExec(t, c, "CREATE TABLE big (n UInt64, s String CODEC(LZ4)) ENGINE = MergeTree ORDER BY n")
	peak := watchRSS(e)
	pr, pw := io.Pipe()
	go func() {
		var b []byte
		pad := strings.Repeat("abcdefghij", width/10)
		for i := range rows {
			b = append(append(strconv.AppendInt(b, i, 10), ','), pad...)
			b = append(strconv.AppendInt(b, i, 10), '\n')
			if len(b) > 1<<20 {
				if _, err := pw.Write(b); err != nil {
					return
				}
				b = b[:0]
			}
		}
		_, _ = pw.Write(b)
		_ = pw.Close()
	}()
	if err := c.InsertFormat(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), "CSV", "INSERT INTO big", pr); err != nil {
		t.Fatal(err)
	}
	inserted := peak()
	// Arrow's and Parquet's buffers are compressed, hence the lower bounds.
	for format, least := range map[string]int64{"CSV": rows * width, "Native": rows * width, "ArrowStream": rows * 10, "JSONCompact": rows * width, "Parquet": rows * 5} {
		r, err := c.QueryFormat(ctx, format, "SELECT n, s FROM big")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil || n < least {
			t.Fatalf("%s: %d bytes, %v", format, n, err)
		}
		_ = r.Close()
	}
	total := peak()
	t.Logf("peak RSS: %d MiB after the insert, %d MiB after the results", inserted>>20, total>>20)
	if total > limit+400<<20 {
		t.Errorf("the engine took %d MiB", total>>20)
	}
}
