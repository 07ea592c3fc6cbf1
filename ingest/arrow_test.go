package ingest

import (
	"bytes"
	"encoding/json"
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
