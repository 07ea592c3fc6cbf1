package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"

	"gatehouse/event"
)

// The Arrow reader believes what a stream says of itself: it allocates what a length
// claims, follows offsets without end and copies overlapping parts as often as they
// are named. Its panics can be caught; an exhausted stack or memory cannot. So each
// message is looked at before the reader sees it, and it allocates from a budget.

// Limits of an Arrow stream; beyond them it is refused with the reason.
const (
	maxArrowColumns = 256
	// maxArrowSchema bounds the schema message and all names and metadata in it.
	maxArrowSchema = 1 << 20
)

// Numbers of the Arrow format (Message.fbs, Schema.fbs): kinds of message, and where
// fields stand in their tables.
const (
	arrowMessageSchema     = 1
	arrowMessageDictionary = 2
	arrowMessageRecords    = 3

	slotMessageKind    = 6
	slotMessageHeader  = 8
	slotMessageBodyLen = 10

	slotSchemaEndianness = 4
	slotSchemaFields     = 6
	slotSchemaMetadata   = 8

	slotFieldName       = 4
	slotFieldKind       = 8
	slotFieldType       = 10
	slotFieldDictionary = 12
	slotFieldChildren   = 14
	slotFieldMetadata   = 16

	slotTimestampZone = 6

	slotRecordsLength   = 4
	slotRecordsBuffers  = 8
	slotRecordsCompress = 10
	slotRecordsVariadic = 12

	slotDictionaryData = 6
	slotCompressCodec  = 4
)

// Kinds of column: every flat one. Nested ones are refused, since the reader follows them without a limit.
const (
	arrowKindTimestamp  = 10
	arrowKindBinaryView = 23
	arrowKindUTF8View   = 24
)

func isFlatKind(kind byte) bool {
	switch kind {
	case 1, 2, 3, 4, 5, 6, 7, 8, 9, arrowKindTimestamp, 11, 15, 18, 19, 20, arrowKindBinaryView, arrowKindUTF8View:
		return true
	default:
		return false
	}
}

// arrowMessages gives the messages of a stream in memory to the reader, each after a
// look at it. It implements ipc.MessageReader.
type arrowMessages struct {
	text     []byte
	off      int
	limit    int // records of a request
	maxRows  int // records that may still come
	views    int // columns of view types
	names    int // bytes of names and metadata seen
	sawFirst bool
	refusal  *event.Error // why the stream is refused, in the caller's words
}

// arrowStart is how an Arrow stream begins: the continuation marker.
var arrowStart = []byte{0xff, 0xff, 0xff, 0xff}

var errArrowDamaged = errors.New("damaged message")

func (m *arrowMessages) Retain()  {}
func (m *arrowMessages) Release() {}

// Message gives the next message, io.EOF at the end.
func (m *arrowMessages) Message() (msg *ipc.Message, err error) {
	defer func() {
		if p := recover(); p != nil { // an offset that points out of the message
			msg, err = nil, fmt.Errorf("%w: %v", errArrowDamaged, p)
		}
	}()
	rest := m.text[m.off:]
	if len(rest) == 0 {
		return nil, io.EOF
	}
	if len(rest) < 8 || binary.LittleEndian.Uint32(rest) != 0xffffffff {
		return nil, fmt.Errorf("%w at byte %d", errArrowDamaged, m.off)
	}
	size := int(int32(binary.LittleEndian.Uint32(rest[4:]))) //nolint:gosec // checked in the next lines
	if size == 0 {
		return nil, io.EOF
	}
	rest = rest[8:]
	if size < 0 || size > len(rest) {
		return nil, fmt.Errorf("%w at byte %d: its length is beyond the body", errArrowDamaged, m.off)
	}
	meta, rest := rest[:size], rest[size:]
	table := rootTable(meta)
	length := getInt64(&table, slotMessageBodyLen)
	if length < 0 || length > int64(len(rest)) {
		return nil, fmt.Errorf("%w at byte %d: its body is beyond the request's", errArrowDamaged, m.off)
	}
	if err := m.check(&table, meta); err != nil {
		return nil, err
	}
	m.off = len(m.text) - len(rest) + int(length)
	return ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(rest[:length])), nil
}

func (m *arrowMessages) refuse(format string, args ...any) error {
	m.refusal = event.Errorf(event.CodeInvalid, format, args...)
	return m.refusal
}

func (m *arrowMessages) check(table *flatbuffers.Table, meta []byte) error {
	kind := getByte(table, slotMessageKind)
	header, ok := getTable(table, slotMessageHeader)
	if !ok {
		return errArrowDamaged
	}
	if first := !m.sawFirst; first != (kind == arrowMessageSchema) {
		return m.refuse("an Arrow stream begins with its schema, and has one")
	}
	m.sawFirst = true
	switch kind {
	case arrowMessageSchema:
		if len(meta) > maxArrowSchema {
			return m.refuse("the Arrow schema is larger than %s", formatBytes(maxArrowSchema))
		}
		return m.checkSchema(&header)
	case arrowMessageDictionary:
		data, ok := getTable(&header, slotDictionaryData)
		if !ok {
			return errArrowDamaged
		}
		return m.checkRecords(&data, 1)
	case arrowMessageRecords:
		rows := getInt64(&header, slotRecordsLength)
		if rows < 0 {
			return errArrowDamaged
		}
		if rows > int64(m.maxRows) {
			m.refusal = errTooMany(m.limit)
			return m.refusal
		}
		m.maxRows -= int(rows)
		return m.checkRecords(&header, m.views)
	default:
		return m.refuse("the Arrow stream holds something else than records and dictionaries")
	}
}

func (m *arrowMessages) checkSchema(schema *flatbuffers.Table) error {
	if getInt16(schema, slotSchemaEndianness) != 0 {
		return m.refuse("big-endian Arrow streams are not taken")
	}
	if err := m.checkMetadata(schema, slotSchemaMetadata); err != nil {
		return err
	}
	start, n := getVector(schema, slotSchemaFields)
	if n > maxArrowColumns {
		return m.refuse("more than %d columns", maxArrowColumns)
	}
	for i := range n {
		field := flatbuffers.Table{Bytes: schema.Bytes, Pos: schema.Indirect(start + flatbuffers.UOffsetT(4*i))}
		name := getBytes(&field, slotFieldName)
		if err := m.checkMetadata(&field, slotFieldMetadata); err != nil {
			return err
		}
		kind := getByte(&field, slotFieldKind)
		if _, children := getVector(&field, slotFieldChildren); children > 0 || !isFlatKind(kind) {
			return m.refuse("column %.64q is nested, or of a kind that is not taken; send flat columns", name)
		}
		if _, encoded := slotOf(&field, slotFieldDictionary); !encoded && (kind == arrowKindUTF8View || kind == arrowKindBinaryView) {
			m.views++
		}
		m.names += len(name)
		if t, ok := getTable(&field, slotFieldType); ok && kind == arrowKindTimestamp {
			m.names += len(getBytes(&t, slotTimestampZone))
		}
	}
	return m.checkNames()
}

// checkMetadata counts the key-value pairs at slot, which are copied once for each
// time that they are named.
func (m *arrowMessages) checkMetadata(t *flatbuffers.Table, slot flatbuffers.VOffsetT) error {
	start, n := getVector(t, slot)
	for i := range n {
		pair := flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(start + flatbuffers.UOffsetT(4*i))}
		m.names += 32 + len(getBytes(&pair, 4)) + len(getBytes(&pair, 6))
		if err := m.checkNames(); err != nil {
			return err
		}
	}
	return nil
}

func (m *arrowMessages) checkNames() error {
	if m.names > maxArrowSchema {
		return m.refuse("the names and metadata of the Arrow schema are larger than %s", formatBytes(maxArrowSchema))
	}
	return nil
}

// checkRecords looks at what a batch of records or a dictionary says of its buffers.
// lookups is how many counts of buffers the reader will look up.
func (m *arrowMessages) checkRecords(t *flatbuffers.Table, lookups int) error {
	if c, ok := getTable(t, slotRecordsCompress); ok && getByte(&c, slotCompressCodec) != 0 {
		// The zstd decoder allocates the window that a frame asks for.
		return m.refuse("Arrow buffers compressed with zstd are not taken; use lz4, or no compression in the stream and Content-Encoding: zstd around it")
	}
	// Columns of view types look up how many buffers each has. The reader does not ask
	// how many such counts there are, and makes room for what they say.
	_, buffers := getVector(t, slotRecordsBuffers)
	if _, ok := slotOf(t, slotRecordsVariadic); !ok {
		return nil
	}
	start, n := getVector(t, slotRecordsVariadic)
	if n < lookups {
		return errArrowDamaged
	}
	for i := range n {
		count := t.GetInt64(start + flatbuffers.UOffsetT(8*i))
		if count < 0 || count > int64(buffers) {
			return errArrowDamaged
		}
	}
	return nil
}

// Reading flatbuffers: absent fields are zero, and offsets out of the message panic.

func rootTable(b []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: b, Pos: flatbuffers.GetUOffsetT(b)}
}

func slotOf(t *flatbuffers.Table, slot flatbuffers.VOffsetT) (flatbuffers.UOffsetT, bool) {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	return o, o != 0
}

func getTable(t *flatbuffers.Table, slot flatbuffers.VOffsetT) (flatbuffers.Table, bool) {
	o, ok := slotOf(t, slot)
	if !ok {
		return flatbuffers.Table{}, false
	}
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Pos + o)}, true
}

func getByte(t *flatbuffers.Table, slot flatbuffers.VOffsetT) byte {
	if o, ok := slotOf(t, slot); ok {
		return t.GetByte(t.Pos + o)
	}
	return 0
}

func getInt16(t *flatbuffers.Table, slot flatbuffers.VOffsetT) int16 {
	if o, ok := slotOf(t, slot); ok {
		return t.GetInt16(t.Pos + o)
	}
	return 0
}

func getInt64(t *flatbuffers.Table, slot flatbuffers.VOffsetT) int64 {
	if o, ok := slotOf(t, slot); ok {
		return t.GetInt64(t.Pos + o)
	}
	return 0
}

func getBytes(t *flatbuffers.Table, slot flatbuffers.VOffsetT) []byte {
	if o, ok := slotOf(t, slot); ok {
		return t.ByteVector(t.Pos + o)
	}
	return nil
}

// getVector gives where a vector's elements begin and how many there are, at least
// four bytes each, so that none can claim more than the message holds.
func getVector(t *flatbuffers.Table, slot flatbuffers.VOffsetT) (start flatbuffers.UOffsetT, n int) {
	o, ok := slotOf(t, slot)
	if !ok {
		return 0, 0
	}
	start, n = t.Vector(o), t.VectorLen(o)
	if n < 0 || n > (len(t.Bytes)-int(start))/4 {
		panic("a vector longer than the message")
	}
	return start, n
}

// arrowMemory is the reader's allocator. What it gives out in all is bounded, and not
// given back by Free: parts that are named many times are work, even when their
// memory is free again. The first of it comes from an arena that later streams use again;
// what is beyond counts as the request's until the stream is read.
type arrowMemory struct {
	memory.GoAllocator
	left  int
	arena *arrowArena // nil: none
	share *body       // whose share of the budget bears it, nil: nobody's
	held  int         // of that
	busy  bool        // the budget had no room
}

// arrowArena is memory for the streams of one request after the other.
type arrowArena struct {
	bytes []byte
	used  int
}

const (
	// arenaSize is enough for some thousand events; what a larger stream needs beyond is left to the collector.
	arenaSize = 256 << 10
	// arenaAlign is what the reader's arrays are aligned to.
	arenaAlign = 64
)

var arrowArenas = sync.Pool{New: func() any {
	b := make([]byte, arenaSize+arenaAlign)
	shift := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (arenaAlign - 1) //nolint:gosec // only to align
	return &arrowArena{bytes: b[shift : shift+arenaSize]}
}}

// take gives n zeroed bytes, nil when there are not so many.
func (a *arrowArena) take(n int) []byte {
	if a == nil || n > len(a.bytes)-a.used {
		return nil
	}
	b := a.bytes[a.used : a.used+n : a.used+n]
	a.used += (n + arenaAlign - 1) &^ (arenaAlign - 1)
	a.used = min(a.used, len(a.bytes))
	clear(b)
	return b
}

// release gives the arena to the next stream. Nothing that was read with it may be in use.
func (a *arrowMemory) release() {
	a.arena.used = 0
	arrowArenas.Put(a.arena)
	a.arena = nil
	a.share.unhold(a.held)
	a.held = 0
}

var errArrowMemory = errors.New("more memory than the stream's limit")

// Allocate implements memory.Allocator.
func (a *arrowMemory) Allocate(size int) []byte {
	a.spend(size)
	if b := a.arena.take(size); b != nil {
		return b
	}
	if !a.share.hold(size) {
		a.busy = true
		panic(errArrowMemory)
	}
	a.held += size
	return a.GoAllocator.Allocate(size)
}

// Reallocate implements memory.Allocator.
func (a *arrowMemory) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	grown := a.Allocate(size)
	copy(grown, b)
	return grown
}

// spend panics beyond the budget: the reader's own recover makes an error of it.
func (a *arrowMemory) spend(size int) {
	if size < 0 || size > a.left {
		a.left = -1
		panic(errArrowMemory)
	}
	a.left -= size
}
