package ingest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// writeArrow makes a stream of records.
func writeArrow(t testing.TB, schema *arrow.Schema, opts []ipc.Option, recs ...arrow.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	w := ipc.NewWriter(&b, append(opts, ipc.WithSchema(schema))...)
	for _, r := range recs {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// arrowStream is the events of lines(0, n) as a stream with the recommended schema.
func arrowStream(t testing.TB, n int) []byte {
	t.Helper()
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint16, ValueType: arrow.BinaryTypes.String}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "EventType", Type: dict},
		{Name: "UserName", Type: arrow.BinaryTypes.String},
		{Name: "ComputerName", Type: dict},
		{Name: "Timestamp", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}},
		{Name: "IPAddress", Type: arrow.BinaryTypes.String},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range n {
		var r struct{ EventType, UserName, ComputerName, Timestamp, IPAddress string }
		if err := json.Unmarshal([]byte(line(i)), &r); err != nil {
			t.Fatal(err)
		}
		at := must(time.Parse(time.RFC3339, r.Timestamp))
		if err := b.Field(0).(*array.BinaryDictionaryBuilder).AppendString(r.EventType); err != nil {
			t.Fatal(err)
		}
		b.Field(1).(*array.StringBuilder).Append(r.UserName)
		if err := b.Field(2).(*array.BinaryDictionaryBuilder).AppendString(r.ComputerName); err != nil {
			t.Fatal(err)
		}
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMilli()))
		b.Field(4).(*array.StringBuilder).Append(r.IPAddress)
	}
	rec := b.NewRecord()
	defer rec.Release()
	return writeArrow(t, schema, nil, rec)
}

// arrowVariants are streams of other types, compressed, with nulls, of several batches.
func arrowVariants(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	ts := func(unit arrow.TimeUnit, zone string) *arrow.TimestampType {
		return &arrow.TimestampType{Unit: unit, TimeZone: zone}
	}
	add := func(name string, opts []ipc.Option, columns ...arrowTestColumn) {
		fields := make([]arrow.Field, len(columns))
		for i, c := range columns {
			fields[i] = arrow.Field{Name: c.name, Type: c.typ, Nullable: true}
		}
		schema := arrow.NewSchema(fields, nil)
		var recs []arrow.Record
		for range 2 { // the second batch repeats the first
			b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
			for i, c := range columns {
				for _, v := range c.values {
					if v == nil {
						b.Field(i).AppendNull()
					} else if err := b.Field(i).AppendValueFromString(*v); err != nil {
						t.Fatal(name, c.name, err)
					}
				}
			}
			recs = append(recs, b.NewRecord())
			b.Release()
		}
		out[name] = writeArrow(t, schema, opts, recs...)
	}
	text := arrow.BinaryTypes.String
	typ := arrowTestColumn{"EventType", text, values("Logon", "Logoff", "Startup")}
	user := arrowTestColumn{"UserName", text, append(values("ann", "bob"), nil)}
	pc := arrowTestColumn{"ComputerName", text, values("pc1", "pc2", "pc3")}
	at := arrowTestColumn{"Timestamp", ts(arrow.Second, "UTC"), values("2025-05-25 12:00:00Z", "2025-05-25 12:00:01Z", "2025-05-25 12:00:02Z")}
	add("plain", nil, typ, user, pc, at)
	add("lz4", []ipc.Option{ipc.WithLZ4()}, typ, user, pc, at)
	add("large text", nil, typ, arrowTestColumn{"user name", arrow.BinaryTypes.LargeString, user.values}, pc, at)
	add("text views", nil, typ, arrowTestColumn{"UserName", arrow.BinaryTypes.StringView, append(values("ann", "bob-with-a-long-name-behind"), nil)}, pc, at)
	add("microseconds, local", nil, typ, user, pc, arrowTestColumn{"Timestamp", ts(arrow.Microsecond, ""), values("2025-05-25 13:00:00.000999", "2025-05-25 13:00:01", "2025-05-25 13:00:02")})
	add("nanoseconds", nil, typ, user, pc, arrowTestColumn{"Timestamp", ts(arrow.Nanosecond, "Europe/Berlin"), values("2025-05-25 12:00:00Z", "2025-05-25 12:00:01Z", "2025-05-25 12:00:02Z")})
	add("times as text", nil, typ, user, pc, arrowTestColumn{"Timestamp", text, values("2025-05-25 13:00:00 BST", "2025-05-25T12:00:01Z", "1748174402")})
	add("times as numbers", nil, typ, user, pc, arrowTestColumn{"Timestamp", arrow.PrimitiveTypes.Int64, values("1748174400", "1748174401000", "1748174402")})
	add("times as fractions", nil, typ, user, pc, arrowTestColumn{"Timestamp", arrow.PrimitiveTypes.Float64, values("1748174400", "1748174401", "1748174402")})
	add("dictionary with nulls", nil, arrowTestColumn{"EventType", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: text}, typ.values},
		arrowTestColumn{"UserName", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: text}, user.values}, pc, at)
	add("numbers", nil, typ, user, pc, at,
		arrowTestColumn{"LogonID", arrow.PrimitiveTypes.Uint64, append(values("18446744073709551615", "1"), nil)},
		arrowTestColumn{"RecordID", arrow.PrimitiveTypes.Int64, values("9", "8", "7")},
		arrowTestColumn{"Status", arrow.PrimitiveTypes.Int32, append(values("-1073741715"), nil, nil)},
		arrowTestColumn{"LogonType", arrow.PrimitiveTypes.Float64, append(values("10"), nil, nil)},
		arrowTestColumn{"EventID", arrow.PrimitiveTypes.Uint16, append(values("4624"), nil, nil)},
		arrowTestColumn{"Elevated", arrow.FixedWidthTypes.Boolean, append(values("true"), nil, values("false")[0])},
		arrowTestColumn{"retry", arrow.FixedWidthTypes.Boolean, append(values("true"), nil, nil)},
		arrowTestColumn{"Agent", arrow.PrimitiveTypes.Int16, append(values("3"), nil, nil)},
		arrowTestColumn{"LinkedLogonID", text, append(values("0x1F"), nil, nil)},
		arrowTestColumn{"something else", arrow.PrimitiveTypes.Date32, append(values("2025-01-01"), nil, nil)},
		arrowTestColumn{"nothing", arrow.Null, []*string{nil, nil, nil}},
		arrowTestColumn{"Domain", arrow.Null, []*string{nil, nil, nil}})
	return out
}

type arrowTestColumn struct {
	name   string
	typ    arrow.DataType
	values []*string // nil: null
}

func values(v ...string) []*string {
	out := make([]*string, len(v))
	for i := range v {
		out[i] = &v[i]
	}
	return out
}

func TestArrowVariants(t *testing.T) {
	for name, stream := range arrowVariants(t) {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			a := s.post(t, PathEvents, string(stream))
			if got, want := a.result(t), "3 3 0 | 3:duplicate: 4:duplicate: 5:duplicate:"; got != want {
				t.Fatalf("%s, want %s\n%s", got, want, a.text)
			}
			events := s.spool.events(t)
			for i, e := range events {
				user := []string{"ann", "bob", ""}[i]
				if name == "text views" && i == 1 {
					user = "bob-with-a-long-name-behind"
				}
				if e.User != user || e.Computer != []string{"pc1", "pc2", "pc3"}[i] || e.Time != 1748174400000+int64(i)*1000 {
					t.Errorf("event %d is %+v", i, e)
				}
			}
			if name != "numbers" {
				return
			}
			e := events[0]
			if e.LogonID != 1<<64-1 || e.RecordID != 9 || e.Status != 0xc000006d || e.LogonType != 10 || e.EventID != 4624 || !e.Elevated || e.Retry != 1 || e.Agent != "3" || e.LinkedLogonID != 31 {
				t.Errorf("%+v", e)
			}
			if got := s.counter(t, "gatehouse_unknown_fields_total", "company", "Acme"); got != 12 {
				t.Errorf("%v unknown fields counted, want 12", got)
			}
		})
	}
}

func TestArrowRefused(t *testing.T) {
	good := arrowStream(t, 50)
	build := func(opts []ipc.Option, fields ...arrow.Field) []byte {
		schema := arrow.NewSchema(fields, nil)
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		defer b.Release()
		for i := range fields {
			b.Field(i).AppendNull()
		}
		return writeArrow(t, schema, opts, b.NewRecord())
	}
	text := arrow.BinaryTypes.String
	many := make([]arrow.Field, maxArrowColumns+1)
	for i := range many {
		many[i] = arrow.Field{Name: "x", Type: arrow.Null, Nullable: true}
	}
	meta := arrow.NewMetadata([]string{"k"}, []string{string(bytes.Repeat([]byte("x"), maxArrowSchema))})
	for _, c := range []struct {
		name    string
		text    []byte
		message string
	}{
		{"cut in the schema", good[:100], "the body is not a valid Arrow IPC stream"},
		{"cut in the records", good[:len(good)-100], "the body is not a valid Arrow IPC stream"},
		{"nested", build(nil, arrow.Field{Name: "UserName", Type: arrow.ListOf(text), Nullable: true}), `column "UserName" is nested`},
		{"a struct", build(nil, arrow.Field{Name: "x", Type: arrow.StructOf(arrow.Field{Name: "y", Type: text}), Nullable: true}), `column "x" is nested`},
		{"a date", build(nil, arrow.Field{Name: "Timestamp", Type: arrow.FixedWidthTypes.Date32, Nullable: true}), `Timestamp column "Timestamp" is of type date32`},
		{"a dictionary of numbers", build(nil, arrow.Field{Name: "RecordID", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.PrimitiveTypes.Int64}, Nullable: true}), `RecordID column "RecordID" is of type dictionary`},
		{"zstd inside", build([]ipc.Option{ipc.WithZstd()}, arrow.Field{Name: "UserName", Type: text, Nullable: true}), "Arrow buffers compressed with zstd are not taken"},
		{"many columns", build(nil, many...), "more than 256 columns"},
		{"much metadata", build(nil, arrow.Field{Name: "UserName", Type: text, Nullable: true, Metadata: meta}), "the Arrow schema is larger than 1 MiB"},
		{"two schemas", append(append([]byte{}, good[:schemaEnd(good)]...), good...), "an Arrow stream begins with its schema, and has one"},
		{"no schema", good[schemaEnd(good):], "an Arrow stream begins with its schema, and has one"},
		{"only a schema", good[:schemaEnd(good)], "the body holds no records"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, func(o *Options) { o.Limits.BatchBytes = 4 << 20 })
			a := s.post(t, PathEvents, string(c.text), "Content-Type", "application/vnd.apache.arrow.stream")
			if message, _ := a.json["message"].(string); a.status != 400 || !strings.HasPrefix(message, c.message) {
				t.Errorf("%d %s, want 400 %s", a.status, a.text, c.message)
			}
		})
	}
}

// schemaEnd is where the first message of a stream ends.
func schemaEnd(stream []byte) int {
	return 8 + int(binary.LittleEndian.Uint32(stream[4:]))
}

// A damaged stream must neither panic, nor give events that are none, nor make the server
// allocate what a length in it claims.
func TestArrowDamaged(t *testing.T) {
	const rounds = 300
	s := newServer(t, func(o *Options) { o.Recent = NewRecent(-1) })
	r := rand.New(rand.NewPCG(1, 2))
	for name, good := range arrowVariants(t) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		read := 0
		for range rounds {
			text := bytes.Clone(good)
			for range 1 + r.IntN(3) {
				i := r.IntN(len(text) - 8)
				switch r.IntN(4) {
				case 0:
					binary.LittleEndian.PutUint64(text[i&^7:], 1<<uint(r.IntN(63)))
				case 1:
					binary.LittleEndian.PutUint32(text[i&^3:], r.Uint32())
				case 2:
					text[i] = byte(r.Uint32())
				case 3:
					copy(text[i:], text[r.IntN(len(text)):])
				}
			}
			s.spool.records = nil
			if a := s.post(t, PathEvents, string(text), "Content-Type", "application/vnd.apache.arrow.stream"); a.status == 200 {
				read++
			}
			sound(t, s, 7, 70)
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / rounds; each > 4<<20 {
			t.Errorf("%s: %d bytes allocated for a stream of %d", name, each, len(good))
		}
		if read == 0 || read == rounds {
			t.Errorf("%s: %d of %d damaged streams were read, so the test tests nothing", name, read, rounds)
		}
	}
}
