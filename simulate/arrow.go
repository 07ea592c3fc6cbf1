package simulate

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"gatehouse/event"
)

// Arrow makes Arrow IPC streams of events. Names that repeat are
// dictionaries; what an event does not have is null. Not safe for concurrent use.
type Arrow struct {
	schema *arrow.Schema
	b      *array.RecordBuilder
	buf    bytes.Buffer
	hex    []byte
}

var arrowNames = [...]string{"EventType", "UserName", "ComputerName", "Domain", "SID", "Channel", "Provider", "SourceHost", "AgentVersion", "LocalIP", "PublicIP", "SourceIP"}

// NewArrow gives an encoder.
func NewArrow() *Arrow {
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	var fields []arrow.Field
	for _, name := range arrowNames {
		fields = append(fields, arrow.Field{Name: name, Type: dict, Nullable: true})
	}
	fields = append(fields, []arrow.Field{
		{Name: "Timestamp", Type: arrow.FixedWidthTypes.Timestamp_ms},
		{Name: "retry", Type: arrow.PrimitiveTypes.Uint16, Nullable: true},
		{Name: "EventID", Type: arrow.PrimitiveTypes.Uint16, Nullable: true},
		{Name: "RecordID", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
		{Name: "LogonID", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
		{Name: "LinkedLogonID", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
		{Name: "LogonType", Type: arrow.PrimitiveTypes.Uint8, Nullable: true},
		{Name: "Elevated", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "Status", Type: arrow.PrimitiveTypes.Uint32, Nullable: true},
		{Name: "SubStatus", Type: arrow.PrimitiveTypes.Uint32, Nullable: true},
	}...)
	a := &Arrow{schema: arrow.NewSchema(fields, nil)}
	a.b = array.NewRecordBuilder(memory.NewGoAllocator(), a.schema)
	return a
}

// Encode gives the stream of some events. It is valid until the next call.
func (a *Arrow) Encode(events []event.Event) ([]byte, error) {
	for i := range events {
		if err := a.add(&events[i]); err != nil {
			return nil, fmt.Errorf("simulate: arrow: %w", err)
		}
	}
	rec := a.b.NewRecord()
	defer rec.Release()
	for _, f := range a.b.Fields()[:len(arrowNames)] {
		if d, ok := f.(*array.BinaryDictionaryBuilder); ok {
			d.ResetFull() // each stream carries its own dictionary
		}
	}
	a.buf.Reset()
	w := ipc.NewWriter(&a.buf, ipc.WithSchema(a.schema))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		return nil, fmt.Errorf("simulate: arrow: %w", err)
	}
	return a.buf.Bytes(), nil
}

func (a *Arrow) add(e *event.Event) error {
	f := a.b.Fields()
	for i, s := range [...]string{typeName(e), e.User, e.Computer, e.Domain, e.SID, e.Channel, e.Provider, e.SourceHost, e.Agent} {
		d := f[i].(*array.BinaryDictionaryBuilder) //nolint:forcetypeassert // by the schema above
		if s == "" {
			d.AppendNull()
		} else if err := d.AppendString(s); err != nil {
			return err
		}
	}
	for i, ip := range [...]netip.Addr{e.LocalIP, e.PublicIP, e.SourceIP} {
		d := f[9+i].(*array.BinaryDictionaryBuilder) //nolint:forcetypeassert // by the schema above
		if !ip.IsValid() {
			d.AppendNull()
			continue
		}
		a.hex = ip.AppendTo(a.hex[:0])
		if err := d.Append(a.hex); err != nil {
			return err
		}
	}
	f[12].(*array.TimestampBuilder).Append(arrow.Timestamp(e.Time))            //nolint:forcetypeassert // by the schema above
	addUint(f[13].(*array.Uint16Builder), e.Retry)                             //nolint:forcetypeassert // by the schema above
	addUint(f[14].(*array.Uint16Builder), e.EventID)                           //nolint:forcetypeassert // by the schema above
	addUint(f[15].(*array.Uint64Builder), e.RecordID)                          //nolint:forcetypeassert // by the schema above
	addUint(f[16].(*array.Uint64Builder), e.LogonID)                           //nolint:forcetypeassert // by the schema above
	addUint(f[17].(*array.Uint64Builder), e.LinkedLogonID)                     //nolint:forcetypeassert // by the schema above
	if lt := f[18].(*array.Uint8Builder); e.LogonType == event.LogonTypeNone { //nolint:forcetypeassert // by the schema above
		lt.AppendNull()
	} else {
		lt.Append(e.LogonType)
	}
	f[19].(*array.BooleanBuilder).Append(e.Elevated)   //nolint:forcetypeassert // by the schema above
	addUint(f[20].(*array.Uint32Builder), e.Status)    //nolint:forcetypeassert // by the schema above
	addUint(f[21].(*array.Uint32Builder), e.SubStatus) //nolint:forcetypeassert // by the schema above
	return nil
}

// addUint appends v, null for 0: an agent leaves out what it does not know.
func addUint[T uint16 | uint32 | uint64](b interface {
	Append(v T)
	AppendNull()
}, v T,
) {
	if v == 0 {
		b.AppendNull()
		return
	}
	b.Append(v)
}
