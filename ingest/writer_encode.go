package ingest

import (
	"io"
	"net/netip"
	"strings"
	"sync"

	"github.com/ClickHouse/ch-go/proto"
)

// eventColumn is one column of the table events as it goes over the wire.
type eventColumn struct {
	name, typ string
	put       func(e *blockEncoder, b *writeBlock, rows []uint32)
}

// eventColumns are all stored columns. The order is free: inserts name them.
// Enumerations travel as Int8; ClickHouse casts them and refuses what it does not know.
var eventColumns = []eventColumn{
	fixed32("company_id", func(b *writeBlock) []uint32 { return b.company }),
	fixed32("site_id", func(b *writeBlock) []uint32 { return b.site }),
	fixedInt64("time", "DateTime64(3, 'UTC')", func(b *writeBlock) []int64 { return b.time }),
	fixedInt64("lag_ms", "Int64", func(b *writeBlock) []int64 { return b.lag }),
	fixed8("type", "Int8", func(b *writeBlock) []uint8 { return b.kind }),
	fixed8("account", "Int8", func(b *writeBlock) []uint8 { return b.account }),
	nameColumn("user", nameUser, true),
	nameColumn("user_name", nameUser, false),
	nameColumn("computer", nameComputer, true),
	nameColumn("computer_name", nameComputer, false),
	nameColumn("domain", nameDomain, false),
	nameColumn("sid", nameSID, false),
	fixed64("logon_id", func(b *writeBlock) []uint64 { return b.logonID }),
	fixed64("linked_logon_id", func(b *writeBlock) []uint64 { return b.linkedLogonID }),
	fixed8("logon_type", "UInt8", func(b *writeBlock) []uint8 { return b.logonType }),
	fixed8("elevated", "Bool", func(b *writeBlock) []uint8 { return b.elevated }),
	addrColumn("local_ip", func(b *writeBlock) [][16]byte { return b.localIP }),
	addrColumn("public_ip", func(b *writeBlock) [][16]byte { return b.publicIP }),
	addrColumn("source_ip", func(b *writeBlock) [][16]byte { return b.sourceIP }),
	nameColumn("source_host", nameSourceHost, false),
	fixed32("status", func(b *writeBlock) []uint32 { return b.status }),
	fixed32("sub_status", func(b *writeBlock) []uint32 { return b.subStatus }),
	fixed16("event_id", func(b *writeBlock) []uint16 { return b.eventID }),
	fixed64("record_id", func(b *writeBlock) []uint64 { return b.recordID }),
	fixed64("content_hash", func(b *writeBlock) []uint64 { return b.contentHash }),
	nameColumn("channel", nameChannel, false),
	nameColumn("provider", nameProvider, false),
	nameColumn("agent", nameAgent, false),
	fixed16("retry", func(b *writeBlock) []uint16 { return b.retry }),
}

// insertEventsSQL is the statement whose data blockEncoder writes.
var insertEventsSQL = func() string {
	names := make([]string, len(eventColumns))
	for i, c := range eventColumns {
		names[i] = c.name
	}
	return "INSERT INTO events (" + strings.Join(names, ", ") + ")"
}()

func gather[T any](dst, src []T, rows []uint32) []T {
	dst = dst[:0]
	for _, r := range rows {
		dst = append(dst, src[r])
	}
	return dst
}

// pick gives the values of rows: src itself when these are all of the block's, as they mostly are, else gathered in dst.
func pick[T any](b *writeBlock, rows []uint32, dst *[]T, src []T) []T {
	if len(rows) == b.len() {
		return src
	}
	*dst = gather(*dst, src, rows)
	return *dst
}

func fixed8(name, typ string, of func(*writeBlock) []uint8) eventColumn {
	return eventColumn{name, typ, func(e *blockEncoder, b *writeBlock, rows []uint32) {
		proto.ColUInt8(pick(b, rows, &e.u8, of(b))).EncodeColumn(&e.buf)
	}}
}

func fixed16(name string, of func(*writeBlock) []uint16) eventColumn {
	return eventColumn{name, "UInt16", func(e *blockEncoder, b *writeBlock, rows []uint32) {
		proto.ColUInt16(pick(b, rows, &e.u16, of(b))).EncodeColumn(&e.buf)
	}}
}

func fixed32(name string, of func(*writeBlock) []uint32) eventColumn {
	return eventColumn{name, "UInt32", func(e *blockEncoder, b *writeBlock, rows []uint32) {
		proto.ColUInt32(pick(b, rows, &e.u32, of(b))).EncodeColumn(&e.buf)
	}}
}

func fixed64(name string, of func(*writeBlock) []uint64) eventColumn {
	return eventColumn{name, "UInt64", func(e *blockEncoder, b *writeBlock, rows []uint32) {
		proto.ColUInt64(pick(b, rows, &e.u64, of(b))).EncodeColumn(&e.buf)
	}}
}

func fixedInt64(name, typ string, of func(*writeBlock) []int64) eventColumn {
	return eventColumn{name, typ, func(e *blockEncoder, b *writeBlock, rows []uint32) {
		proto.ColInt64(pick(b, rows, &e.i64, of(b))).EncodeColumn(&e.buf)
	}}
}

func addrColumn(name string, of func(*writeBlock) [][16]byte) eventColumn {
	return eventColumn{name, "IPv6", func(e *blockEncoder, b *writeBlock, rows []uint32) {
		proto.ColFixedStr16(pick(b, rows, &e.a16, of(b))).EncodeColumn(&e.buf)
	}}
}

// nameColumn sends names as ClickHouse keeps them: the distinct ones once, then numbers.
func nameColumn(name string, which int, folded bool) eventColumn {
	return eventColumn{name, "LowCardinality(String)", func(e *blockEncoder, b *writeBlock, rows []uint32) {
		src := b.names[which]
		e.local = append(e.local[:0], make([]uint32, len(b.dict.text))...)
		e.u32, e.words.Buf, e.words.Pos = e.u32[:0], e.words.Buf[:0], e.words.Pos[:0]
		for _, r := range rows {
			n := src[r]
			if folded {
				n = b.dict.fold[n] // filled when the row's id was made
			}
			if e.local[n] == 0 {
				e.words.Append(b.dict.text[n])
				e.local[n] = uint32(len(e.words.Pos)) //nolint:gosec // fewer than 2^32 names
			}
			e.u32 = append(e.u32, e.local[n]-1)
		}
		col := proto.ColLowCardinalityRaw{Index: &e.words}
		switch n := len(e.words.Pos); {
		case n <= 1<<8:
			col.Key, e.u8 = proto.KeyUInt8, narrow(e.u8, e.u32)
			col.Keys8 = e.u8
		case n <= 1<<16:
			col.Key, e.u16 = proto.KeyUInt16, narrow(e.u16, e.u32)
			col.Keys16 = e.u16
		default:
			col.Key, col.Keys32 = proto.KeyUInt32, e.u32
		}
		col.EncodeState(&e.buf)
		col.EncodeColumn(&e.buf)
	}}
}

func narrow[T uint8 | uint16](dst []T, src []uint32) []T {
	dst = dst[:0]
	for _, v := range src {
		dst = append(dst, T(v))
	}
	return dst
}

// blockEncoder is rows of a block in ClickHouse's Native format, made column by column
// while it is read: at no time is more than one column in memory twice.
type blockEncoder struct {
	mu     sync.Mutex // the HTTP transport may read on after the request has failed
	closed bool
	b      *writeBlock
	rows   []uint32
	column int // the next to encode; -1: the head
	off    int
	buf    proto.Buffer

	u8    []uint8
	u16   []uint16
	u32   []uint32
	u64   []uint64
	i64   []int64
	a16   [][16]byte
	local []uint32
	words proto.ColStr
}

func (e *blockEncoder) start(b *writeBlock, rows []uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.b, e.rows, e.column, e.off, e.closed = b, rows, -1, 0, false
	e.buf.Reset()
}

// stop ends the use of the block: from here on a late Read gets an error.
func (e *blockEncoder) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.b, e.rows, e.closed = nil, nil, true
}

// Read implements io.Reader.
func (e *blockEncoder) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0, io.ErrClosedPipe
	}
	for e.off == len(e.buf.Buf) {
		if e.column == len(eventColumns) {
			return 0, io.EOF
		}
		e.buf.Reset()
		e.off = 0
		if e.column < 0 {
			e.buf.PutInt(len(eventColumns))
			e.buf.PutInt(len(e.rows))
		} else {
			c := eventColumns[e.column]
			e.buf.PutString(c.name)
			e.buf.PutString(c.typ)
			c.put(e, e.b, e.rows)
		}
		e.column++
	}
	n := copy(p, e.buf.Buf[e.off:])
	e.off += n
	return n, nil
}

// addr16 is an address as the store has it: IPv4 mapped into IPv6, :: for none.
func addr16(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

func addrOf(b [16]byte) netip.Addr {
	if b == ([16]byte{}) {
		return netip.Addr{}
	}
	return netip.AddrFrom16(b).Unmap()
}
