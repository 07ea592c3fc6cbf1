//go:build linux || darwin

package engine

import (
	"context"
	"fmt"
	"math/big"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"
)

// typeCase is a column type with a value that must come back as it went in.
type typeCase struct {
	typ   string
	value any
	// literal is the value in SQL, to compare with what the engine stored.
	literal string
	setting string
}

func ptr[T any](v T) *T { return &v }

func typeCases(t *testing.T) []typeCase {
	day := time.Date(2025, 5, 25, 0, 0, 0, 0, time.UTC)
	at := time.Date(2025, 5, 25, 14, 30, 1, 0, time.UTC)
	ms := time.Date(2025, 5, 25, 14, 30, 1, 123_000_000, time.UTC)
	ns := time.Date(2025, 5, 25, 14, 30, 1, 123_456_789, time.UTC)
	huge, ok := new(big.Int).SetString("-170141183460469231731687303715884105728", 10)
	if !ok {
		t.Fatal("bad number")
	}
	id := uuid.MustParse("61f0c404-5cb3-11e7-907b-a6006ad3dba0")
	return []typeCase{
		{typ: "UInt8", value: uint8(255), literal: "255"},
		{typ: "UInt16", value: uint16(65535), literal: "65535"},
		{typ: "UInt32", value: uint32(4294967295), literal: "4294967295"},
		{typ: "UInt64", value: uint64(18446744073709551615), literal: "18446744073709551615"},
		{typ: "Int8", value: int8(-128), literal: "-128"},
		{typ: "Int16", value: int16(-32768), literal: "-32768"},
		{typ: "Int32", value: int32(-2147483648), literal: "-2147483648"},
		{typ: "Int64", value: int64(-9223372036854775808), literal: "-9223372036854775808"},
		{typ: "Int128", value: huge, literal: "toInt128('-170141183460469231731687303715884105728')"},
		{typ: "UInt256", value: big.NewInt(12345678901234), literal: "toUInt256('12345678901234')"},
		{typ: "Float32", value: float32(1.5), literal: "1.5"},
		{typ: "Float64", value: -2.25e300, literal: "-2.25e300"},
		{typ: "Bool", value: true, literal: "true"},
		{typ: "String", value: "a\x00b\t'é", literal: "'a\\0b\\t\\'é'"},
		{typ: "FixedString(4)", value: "abcd", literal: "'abcd'"},
		{typ: "UUID", value: id, literal: "'61f0c404-5cb3-11e7-907b-a6006ad3dba0'"},
		{typ: "IPv4", value: net.ParseIP("10.1.2.3").To4(), literal: "toIPv4('10.1.2.3')"},
		{typ: "IPv6", value: net.ParseIP("2001:db8::1"), literal: "toIPv6('2001:db8::1')"},
		{typ: "Date", value: day, literal: "'2025-05-25'"},
		{typ: "Date32", value: day, literal: "'2025-05-25'"},
		{typ: "DateTime", value: at, literal: "'2025-05-25 14:30:01'"},
		{typ: "DateTime('UTC')", value: at, literal: "'2025-05-25 14:30:01'"},
		{typ: "DateTime64(3)", value: ms, literal: "toDateTime64('2025-05-25 14:30:01.123', 3)"},
		{typ: "DateTime64(9, 'UTC')", value: ns, literal: "toDateTime64('2025-05-25 14:30:01.123456789', 9)"},
		{typ: "Decimal(9, 2)", value: decimal.RequireFromString("-12345.67"), literal: "toDecimal32('-12345.67', 2)"},
		{typ: "Decimal(18, 4)", value: decimal.RequireFromString("123456789.0123"), literal: "toDecimal64('123456789.0123', 4)"},
		{typ: "Decimal(38, 10)", value: decimal.RequireFromString("-1234567890123456.0123456789"), literal: "toDecimal128('-1234567890123456.0123456789', 10)"},
		{typ: "Decimal(76, 10)", value: decimal.RequireFromString("1234567890123456.0123456789"), literal: "toDecimal256('1234567890123456.0123456789', 10)"},
		{typ: "Enum8('a' = 1, 'b' = -2)", value: "b", literal: "'b'"},
		{typ: "Enum16('x' = 1000, 'y' = 2)", value: "x", literal: "'x'"},
		{typ: "LowCardinality(String)", value: "low", literal: "'low'"},
		{typ: "LowCardinality(Nullable(String))", value: ptr("low"), literal: "'low'"},
		{typ: "Nullable(UInt32)", value: ptr(uint32(7)), literal: "7"},
		{typ: "Nullable(String)", value: (*string)(nil), literal: "NULL"},
		{typ: "Nullable(DateTime64(3))", value: &ms, literal: "toDateTime64('2025-05-25 14:30:01.123', 3)"},
		{typ: "Array(UInt32)", value: []uint32{1, 2, 3}, literal: "[1,2,3]"},
		{typ: "Array(Array(String))", value: [][]string{{"a"}, {}, {"b", "c"}}, literal: "[['a'],[],['b','c']]"},
		{typ: "Array(Nullable(Int64))", value: []*int64{ptr(int64(1)), nil}, literal: "[1,NULL]"},
		{typ: "Array(LowCardinality(String))", value: []string{"x", "y", "x"}, literal: "['x','y','x']"},
		{typ: "Map(String, UInt64)", value: map[string]uint64{"a": 1}, literal: "map('a',1)"},
		{typ: "Map(LowCardinality(String), Array(String))", value: map[string][]string{"k": {"v", "w"}}, literal: "map('k',['v','w'])"},
		{typ: "Tuple(UInt8, String)", value: []any{uint8(5), "five"}, literal: "(5,'five')"},
		{typ: "Tuple(a UInt8, b String)", value: map[string]any{"a": uint8(5), "b": "five"}, literal: "(5,'five')"},
		{typ: "Point", value: nil, literal: "(1.,2.)"},
		{typ: "SimpleAggregateFunction(sum, UInt64)", value: uint64(9), literal: "9"},
		{typ: "Nothing", value: nil, literal: ""},
		{typ: "IntervalDay", value: nil, literal: ""},
		{typ: "Variant(String, UInt64)", value: clickhouse.NewVariantWithType(uint64(4), "UInt64"), literal: "4::UInt64", setting: "allow_experimental_variant_type"},
		{typ: "Dynamic", value: clickhouse.NewDynamicWithType("d", "String"), literal: "'d'", setting: "allow_experimental_dynamic_type"},
		{typ: "JSON", value: nil, literal: `'{"a":1,"b":{"c":"x"}}'`, setting: "allow_experimental_json_type"},
	}
}

// Every type goes in by a batch and by SQL, and comes back equal, for each
// compression that the client knows.
func TestClientTypes(t *testing.T) {
	e := sharedEngine(t)
	ctx := context.Background()
	for _, m := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4} {
		o := e.Options()
		o.Compression = &clickhouse.Compression{Method: m}
		c := openClient(t, o)
		for i, tc := range typeCases(t) {
			if tc.literal == "" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", m, tc.typ), func(t *testing.T) {
				table := fmt.Sprintf("types_%d", i)
				qctx := ctx
				if tc.setting != "" {
					qctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{tc.setting: 1}))
				}
				if err := c.Exec(qctx, fmt.Sprintf("CREATE OR REPLACE TABLE %s (n UInt8, v %s) ENGINE = MergeTree ORDER BY n", table, tc.typ)); err != nil {
					t.Fatal(err)
				}
				if err := c.Exec(qctx, fmt.Sprintf("INSERT INTO %s SELECT 1, %s", table, tc.literal)); err != nil {
					t.Fatal(err)
				}
				if tc.value == nil {
					var s string
					if err := c.QueryRow(qctx, "SELECT toString(v) FROM "+table).Scan(&s); err != nil || s == "" {
						t.Fatalf("%q %v", s, err)
					}
					return
				}
				b, err := c.PrepareBatch(qctx, "INSERT INTO "+table+" (n, v)")
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if err := b.Append(uint8(2), tc.value); err != nil {
						t.Fatal(err)
					}
				}
				if err := b.Send(); err != nil {
					t.Fatal(err)
				}
				var same uint64
				if err := c.QueryRow(qctx, fmt.Sprintf("SELECT countDistinct(toString(v)) + countIf(v IS NULL) FROM %s", table)).Scan(&same); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(tc.literal, "NULL") && tc.literal == "NULL" {
					if same != 4 {
						t.Errorf("%d NULLs of 4", same)
					}
				} else if same != 1 {
					t.Errorf("the batch's value differs from the SQL literal's: %d values", same)
				}
				rows, err := c.Query(qctx, "SELECT n, v FROM "+table+" ORDER BY n")
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for rows.Next() {
					n++
					var k uint8
					dest := reflect.New(reflect.TypeOf(tc.value))
					if err := rows.Scan(&k, dest.Interface()); err != nil {
						t.Fatal(err)
					}
					if got := dest.Elem().Interface(); !sameValue(got, tc.value) {
						t.Errorf("row %d: got %v (%T), want %v", n, got, got, tc.value)
					}
				}
				if err := rows.Err(); err != nil {
					t.Fatal(err)
				}
				_ = rows.Close()
				if n != 4 {
					t.Errorf("%d rows", n)
				}
			})
		}
	}
}

// sameValue compares what reflect.DeepEqual is too strict or too blind for.
func sameValue(got, want any) bool {
	switch w := want.(type) {
	case time.Time:
		g, ok := got.(time.Time)
		return ok && g.Equal(w)
	case *time.Time:
		g, ok := got.(*time.Time)
		return ok && g != nil && g.Equal(*w)
	case decimal.Decimal:
		g, ok := got.(decimal.Decimal)
		return ok && g.Equal(w)
	case *big.Int:
		g, ok := got.(*big.Int)
		return ok && g.Cmp(w) == 0
	case net.IP:
		g, ok := got.(net.IP)
		return ok && g.Equal(w)
	case clickhouse.Variant:
		g, ok := got.(clickhouse.Variant)
		return ok && fmt.Sprint(g.Any()) == fmt.Sprint(w.Any())
	}
	return reflect.DeepEqual(got, want)
}
