package ingest

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"gatehouse/event"
)

// arrowChunk is how many rows are filled at once, column by column: small enough
// that the events stay in the processor's cache.
const arrowChunk = 128

// arrowRows is the chunk of events being filled.
type arrowRows struct {
	events [arrowChunk]event.Event
	errs   [arrowChunk]*event.Error
	raw    [arrowChunk]bool // a name of the event has not been looked at, or is not clean
}

var arrowRowsPool = sync.Pool{New: func() any { return new(arrowRows) }}

// decodeArrow reads an Arrow IPC stream into b: a row is an event, a column a field, found by
// its name as in JSON. A row with a wrong value is refused alone; a stream that cannot be
// read to its end is refused whole.
func decodeArrow(b *batch, text []byte) (err error) {
	source := &arrowMessages{text: text, limit: b.limit, maxRows: b.limit}
	mem := &arrowMemory{
		left:  min(arrowRatio*len(text), 2*len(text)+arrowSlack) + arrowSmall,
		arena: arrowArenas.Get().(*arrowArena),
		share: b.share,
	}
	defer mem.release() // last: b holds copies of what was read
	defer func() {
		if p := recover(); p != nil { // the arrays trust offsets and indexes of the stream
			err = arrowError(source, mem, fmt.Errorf("%w: %v", errArrowDamaged, p))
		}
	}()
	reader, err := ipc.NewReaderFromMessageReader(source, ipc.WithAllocator(mem), ipc.WithEnsureNativeEndian(false))
	if err != nil {
		return arrowError(source, mem, err)
	}
	defer reader.Release()
	d := arrowDecoder{batch: b, rows: arrowRowsPool.Get().(*arrowRows)}
	defer d.release()
	for reader.Next() {
		if err := d.record(reader.Record()); err != nil {
			return err
		}
	}
	if err := reader.Err(); err != nil {
		return arrowError(source, mem, err)
	}
	return nil
}

// What the reader may allocate for a stream: lz4 inside it makes more of it, padding makes
// little of it more, and a lie of a few bytes must not make gigabytes.
const (
	arrowRatio = 16
	arrowSlack = 64 << 20
	arrowSmall = 1 << 20
)

func arrowError(source *arrowMessages, mem *arrowMemory, err error) error {
	switch {
	case source.refusal != nil:
		return source.refusal
	case mem.busy:
		return errBusy
	case mem.left < 0:
		return event.Wrap(event.CodeTooLarge, err, "the Arrow stream needs more memory than is allowed for its size; send less in one request")
	default:
		return event.Wrap(event.CodeInvalid, err, "the body is not a valid Arrow IPC stream")
	}
}

type arrowDecoder struct {
	batch *batch
	rows  *arrowRows
}

func (d *arrowDecoder) release() {
	*d.rows = arrowRows{} // its strings point into the stream
	arrowRowsPool.Put(d.rows)
}

// arrowColumn is one column that has a field.
type arrowColumn struct {
	field event.FieldID
	data  arrow.Array
	words *arrowWords // of a dictionary whose words are read once each, else nil
	nulls []byte      // validity bitmap, nil: no nulls
	shift int         // of the first row in the bitmap
}

func (c *arrowColumn) null(i int) bool {
	i += c.shift
	return c.nulls != nil && c.nulls[i>>3]>>(i&7)&1 == 0
}

func (d *arrowDecoder) record(rec arrow.Record) error {
	columns := make([]arrowColumn, 0, rec.NumCols())
	rows := int(rec.NumRows())
	for i, data := range rec.Columns() {
		field, ok := event.FieldByName(rec.ColumnName(i))
		if !ok {
			d.batch.unknown += rows
			continue
		}
		if !arrowTypeTaken(data.DataType()) {
			return event.FieldError(field.String(), "column %.64q is of type %.64s; send text, integers, a timestamp or a boolean", rec.ColumnName(i), data.DataType())
		}
		c := arrowColumn{field: field, data: data, shift: data.Data().Offset()}
		if buffers := data.Data().Buffers(); len(buffers) > 0 && buffers[0] != nil && data.DataType().ID() != arrow.NULL {
			c.nulls = buffers[0].Bytes()
		}
		columns = append(columns, c)
	}
	for i := range columns {
		if w := wordsOf(&columns[i], rows); w != nil {
			columns[i].words = w
			defer w.release()
		}
	}
	for from := 0; from < rows; from += arrowChunk {
		if err := d.chunk(columns, from, min(from+arrowChunk, rows)); err != nil {
			return err
		}
	}
	return nil
}

// chunk fills and takes the rows from..to.
func (d *arrowDecoder) chunk(columns []arrowColumn, from, to int) error {
	b, n := d.batch, to-from
	for i := range d.rows.events[:n] {
		d.rows.events[i].Begin(&b.parse)
	}
	clear(d.rows.errs[:n])
	clear(d.rows.raw[:n])
	for i := range columns {
		d.fill(&columns[i], from, n)
	}
	for i := range n {
		e, err := &d.rows.events[i], d.rows.errs[i]
		if err == nil {
			normalize := e.NormalizeClean
			if d.rows.raw[i] {
				normalize = e.Normalize
			}
			if bad := normalize(b.parse.Now); bad != nil {
				err = asError(bad)
			}
		}
		if err := b.take(e, err); err != nil {
			return err
		}
	}
	return nil
}

func arrowTypeTaken(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.DICTIONARY:
		switch t.(*arrow.DictionaryType).ValueType.ID() {
		case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY, arrow.STRING_VIEW:
			return true
		default:
			return false
		}
	case arrow.NULL, arrow.BOOL, arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY, arrow.STRING_VIEW, arrow.TIMESTAMP,
		arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64,
		arrow.FLOAT32, arrow.FLOAT64:
		return true
	default:
		return false
	}
}

// fill sets one field of n rows from row from on.
func (d *arrowDecoder) fill(c *arrowColumn, from, n int) {
	switch a := c.data.(type) {
	case *array.String:
		fillText(d, c, from, n, a.Value)
	case *array.LargeString:
		fillText(d, c, from, n, a.Value)
	case *array.StringView:
		fillText(d, c, from, n, a.Value)
	case *array.Binary:
		fillText(d, c, from, n, a.Value)
	case *array.LargeBinary:
		fillText(d, c, from, n, a.Value)
	case *array.Dictionary:
		d.fillDictionary(a, c, from, n)
	case *array.Timestamp:
		d.fillTimestamp(a, c, from, n)
	case *array.Boolean:
		d.each(c, from, n, func(e *event.Event, i int) error { return d.setBool(e, c.field, a.Value(i)) })
	case *array.Int8:
		fillInt(d, c, from, n, a.Int8Values())
	case *array.Int16:
		fillInt(d, c, from, n, a.Int16Values())
	case *array.Int32:
		fillInt(d, c, from, n, a.Int32Values())
	case *array.Int64:
		fillInt(d, c, from, n, a.Int64Values())
	case *array.Uint8:
		fillUint(d, c, from, n, a.Uint8Values())
	case *array.Uint16:
		fillUint(d, c, from, n, a.Uint16Values())
	case *array.Uint32:
		fillUint(d, c, from, n, a.Uint32Values())
	case *array.Uint64:
		fillUint(d, c, from, n, a.Uint64Values())
	case *array.Float32:
		d.each(c, from, n, func(e *event.Event, i int) error { return d.setFloat(e, c.field, float64(a.Value(i))) })
	case *array.Float64:
		d.each(c, from, n, func(e *event.Event, i int) error { return d.setFloat(e, c.field, a.Value(i)) })
	}
}

// each sets the rows that are not null and have no error yet.
func (d *arrowDecoder) each(c *arrowColumn, from, n int, set func(e *event.Event, i int) error) {
	for k := range n {
		if d.rows.errs[k] != nil || c.null(from+k) {
			continue
		}
		if err := set(&d.rows.events[k], from+k); err != nil {
			d.rows.errs[k] = asError(err)
		}
	}
}

func fillText[T string | []byte](d *arrowDecoder, c *arrowColumn, from, n int, value func(i int) T) {
	if name := nameOf(c.field); name != nil {
		fillNames(d, c, from, n, name, value)
		return
	}
	d.each(c, from, n, func(e *event.Event, i int) error {
		v := value(i)
		return e.Set(c.field, asBytes(v), &d.batch.parse)
	})
}

// fillNames checks each name while it is at hand.
func fillNames[T string | []byte](d *arrowDecoder, c *arrowColumn, from, n int, name func(e *event.Event) *string, value func(i int) T) {
	for k := range n {
		if c.null(from + k) {
			continue
		}
		text := borrow(asBytes(value(from + k)))
		if text == "" {
			continue
		}
		clean, ok := event.CleanName(text)
		if !ok {
			clean, d.rows.raw[k] = text, true
		}
		*name(&d.rows.events[k]) = clean
	}
}

// asBytes gives the bytes of a string without copying; they are only read.
func asBytes[T string | []byte](v T) []byte {
	switch v := any(v).(type) {
	case []byte:
		return v
	case string:
		return unsafe.Slice(unsafe.StringData(v), len(v)) //nolint:gosec // only read, and while the record stands
	}
	return nil
}

func (d *arrowDecoder) fillDictionary(a *array.Dictionary, c *arrowColumn, from, n int) {
	if c.words != nil {
		fillWords(d, c, from, n, a.Indices())
		return
	}
	words := a.Dictionary()
	value, size := wordsText(words), words.Len()
	nulls := arrowColumn{data: words, shift: words.Data().Offset()}
	if buffers := words.Data().Buffers(); len(buffers) > 0 && buffers[0] != nil {
		nulls.nulls = buffers[0].Bytes()
	}
	text := func(i int) []byte {
		word := a.GetValueIndex(i)
		if word < 0 || word >= size {
			panic("an index beyond its dictionary")
		}
		if nulls.null(word) {
			return nil
		}
		return value(word)
	}
	fillText(d, c, from, n, text)
}

func (d *arrowDecoder) fillTimestamp(a *array.Timestamp, c *arrowColumn, from, n int) {
	t := a.DataType().(*arrow.TimestampType)
	values := a.TimestampValues()
	if c.field != event.FieldTimestamp {
		for k := range n {
			if !c.null(from+k) && d.rows.errs[k] == nil {
				d.rows.errs[k] = event.FieldError(c.field.String(), "cannot be a timestamp")
			}
		}
		return
	}
	loc := d.batch.parse.Location
	local := t.TimeZone == "" && loc != nil && loc != time.UTC
	for k := range n {
		if c.null(from + k) {
			continue
		}
		ms, ok := arrowMillis(int64(values[from+k]), t.Unit)
		if !ok {
			if d.rows.errs[k] == nil {
				d.rows.errs[k] = event.FieldError("Timestamp", "lies outside of what a time can be")
			}
			continue
		}
		if local {
			// Without a zone it is the clock on the company's wall, as in text.
			w := time.UnixMilli(ms).UTC()
			ms = time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), w.Nanosecond(), loc).UnixMilli()
		}
		d.rows.events[k].Time = ms
	}
}

// arrowMillis turns a count of units into milliseconds, downwards.
func arrowMillis(v int64, unit arrow.TimeUnit) (int64, bool) {
	switch unit {
	case arrow.Second:
		return v * 1000, v >= -math.MaxInt64/1000 && v <= math.MaxInt64/1000
	case arrow.Millisecond:
		return v, true
	case arrow.Microsecond:
		return floorDiv(v, 1000), true
	default:
		return floorDiv(v, 1_000_000), true
	}
}

func floorDiv(v, by int64) int64 {
	q := v / by
	if v%by < 0 {
		q--
	}
	return q
}

func fillInt[T int8 | int16 | int32 | int64](d *arrowDecoder, c *arrowColumn, from, n int, values []T) {
	d.each(c, from, n, func(e *event.Event, i int) error { return d.setInt(e, c.field, int64(values[i])) })
}

func fillUint[T uint8 | uint16 | uint32 | uint64](d *arrowDecoder, c *arrowColumn, from, n int, values []T) {
	d.each(c, from, n, func(e *event.Event, i int) error { return d.setUint(e, c.field, uint64(values[i])) })
}

func (d *arrowDecoder) setUint(e *event.Event, field event.FieldID, v uint64) error {
	switch field {
	case event.FieldLogonID, event.FieldLinkedLogonID, event.FieldLogonType, event.FieldStatus, event.FieldSubStatus,
		event.FieldEventID, event.FieldRecordID, event.FieldRetry:
		return e.SetUint(field, v)
	default:
		return d.setWords(e, field, strconv.AppendUint(make([]byte, 0, 20), v, 10))
	}
}

func (d *arrowDecoder) setInt(e *event.Event, field event.FieldID, v int64) error {
	if v < 0 && v >= math.MinInt32 && (field == event.FieldStatus || field == event.FieldSubStatus) {
		return e.SetUint(field, uint64(uint32(v))) //nolint:gosec // NTSTATUS is often kept as a signed number: the bits count
	}
	if v < 0 {
		return d.setWords(e, field, strconv.AppendInt(nil, v, 10))
	}
	return d.setUint(e, field, uint64(v))
}

// setFloat takes the integers that tools keep as floating point because of nulls, and
// seconds with a fraction.
func (d *arrowDecoder) setFloat(e *event.Event, field event.FieldID, v float64) error {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return d.setInt(e, field, int64(v))
	}
	return d.setWords(e, field, strconv.AppendFloat(nil, v, 'f', -1, 64))
}

func (d *arrowDecoder) setBool(e *event.Event, field event.FieldID, v bool) error {
	if field == event.FieldElevated {
		e.Elevated = v
		return nil
	}
	return d.setWords(e, field, strconv.AppendBool(nil, v))
}

// setWords sets a field from text that is kept nowhere else.
func (d *arrowDecoder) setWords(e *event.Event, field event.FieldID, text []byte) error {
	return e.Set(field, text, &d.batch.parse) // text is memory of its own, and lives as long as its strings
}
