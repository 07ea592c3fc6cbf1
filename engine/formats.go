package engine

import (
	"encoding/binary"
	"strings"
)

// The library writes each piece of a streamed result as a document of its own.
// How pieces become one document depends on the format:
//
//   - plain: rows or blocks without a frame; pieces are appended as they are.
//   - header: each piece begins with names (and types); all but the first lose them.
//   - arrow: each piece is an Arrow stream; schemas but the first and
//     end-of-stream marks but the last are cut out.
//   - whole: the format has a frame or an index over all rows (JSON, Parquet),
//     or a header whose end cannot be told (the raw formats with names). The
//     engine writes it to a file first.
type joinKind int

const (
	joinWhole joinKind = iota
	joinPlain
	joinLines1 // one header line
	joinLines2
	joinCSV1 // header lines in CSV quoting
	joinCSV2
	joinBinary1 // RowBinary headers
	joinBinary2
	joinArrow
)

var formatJoins = map[string]joinKind{
	"native": joinPlain, "rowbinary": joinPlain, "msgpack": joinPlain,
	"tabseparated": joinPlain, "tsv": joinPlain, "tabseparatedraw": joinPlain, "tsvraw": joinPlain, "raw": joinPlain,
	"csv": joinPlain, "tskv": joinPlain, "lineasstring": joinPlain, "rawblob": joinPlain, "null": joinPlain,
	"jsoneachrow": joinPlain, "jsonlines": joinPlain, "ndjson": joinPlain, "jsonl": joinPlain,
	"jsonstringseachrow": joinPlain, "jsoncompacteachrow": joinPlain, "jsoncompactstringseachrow": joinPlain,
	"prettyjsoneachrow": joinPlain, "prettyndjson": joinPlain, "prettyjsonlines": joinPlain,
	"bsoneachrow": joinPlain,

	"tabseparatedwithnames": joinLines1, "tsvwithnames": joinLines1,
	"tabseparatedwithnamesandtypes": joinLines2, "tsvwithnamesandtypes": joinLines2,
	"jsoncompacteachrowwithnames": joinLines1, "jsoncompactstringseachrowwithnames": joinLines1,
	"jsoncompacteachrowwithnamesandtypes": joinLines2, "jsoncompactstringseachrowwithnamesandtypes": joinLines2,
	"csvwithnames": joinCSV1, "csvwithnamesandtypes": joinCSV2,
	"rowbinarywithnames": joinBinary1, "rowbinarywithnamesandtypes": joinBinary2,
	"arrowstream": joinArrow,
}

func joinOf(format string) joinKind { return formatJoins[strings.ToLower(format)] }

// joiner makes one document of the pieces of a streamed result.
type joiner struct {
	kind   joinKind
	pieces int
	held   []byte // arrow: the end-of-stream mark, written last
}

// piece returns what of b belongs into the document. ok is false when b does
// not have the shape that its format promises.
func (j *joiner) piece(b []byte) (out [][]byte, ok bool) {
	first := j.pieces == 0
	j.pieces++
	if j.kind == joinArrow {
		return j.arrow(b, first)
	}
	if first || j.kind == joinPlain {
		return [][]byte{b}, true
	}
	n := -1
	switch j.kind {
	case joinLines1:
		n = lines(b, 1)
	case joinLines2:
		n = lines(b, 2)
	case joinCSV1:
		n = csvLines(b, 1)
	case joinCSV2:
		n = csvLines(b, 2)
	case joinBinary1:
		n = binaryHeader(b, 1)
	case joinBinary2:
		n = binaryHeader(b, 2)
	}
	if n < 0 {
		// TOTALS and extremes come as a piece without a header.
		return [][]byte{b}, true
	}
	return [][]byte{b[n:]}, true
}

// tail is what ends the document.
func (j *joiner) tail() []byte { return j.held }

func lines(b []byte, n int) int {
	for i, c := range b {
		if c == '\n' {
			if n--; n == 0 {
				return i + 1
			}
		}
	}
	return -1
}

func csvLines(b []byte, n int) int {
	in := false
	for i, c := range b {
		switch {
		case c == '"':
			in = !in
		case c == '\n' && !in:
			if n--; n == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// binaryHeader is the length of a column count and sets × count strings.
func binaryHeader(b []byte, sets int) int {
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return -1
	}
	rest := b[n:]
	for range sets {
		for range count {
			l, n := binary.Uvarint(rest)
			if n <= 0 || l > uint64(len(rest[n:])) {
				return -1
			}
			rest = rest[n:][l:]
		}
	}
	return len(b) - len(rest)
}

// Arrow IPC: each message is 0xFFFFFFFF, the metadata's length, the metadata
// (a flatbuffer padded to 8) and a body whose length the metadata tells.
const (
	arrowContinuation = 0xFFFFFFFF
	arrowHeaderSchema = 1
)

func (j *joiner) arrow(b []byte, first bool) (out [][]byte, ok bool) {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint32(b) != arrowContinuation {
			return nil, false
		}
		meta := int64(binary.LittleEndian.Uint32(b[4:]))
		if meta == 0 {
			j.held = append(j.held[:0], b[:8]...)
			return out, len(b) == 8
		}
		if 8+meta > int64(len(b)) {
			return nil, false
		}
		kind, body, ok := arrowMessage(b[8 : 8+meta])
		size := 8 + meta + body
		if !ok || body < 0 || size > int64(len(b)) {
			return nil, false
		}
		if first || kind != arrowHeaderSchema {
			out = append(out, b[:size])
		}
		b = b[size:]
	}
	return out, len(b) == 0
}

// arrowMessage reads header_type and bodyLength of a Message flatbuffer
// (fields 1 and 3 of its table).
func arrowMessage(m []byte) (kind byte, body int64, ok bool) {
	if len(m) < 8 {
		return 0, 0, false
	}
	table := int64(binary.LittleEndian.Uint32(m))
	if table+4 > int64(len(m)) {
		return 0, 0, false
	}
	vtable := table - int64(int32(binary.LittleEndian.Uint32(m[table:]))) //nolint:gosec // a signed offset by the format
	if vtable < 0 || vtable+4 > int64(len(m)) {
		return 0, 0, false
	}
	vsize := int64(binary.LittleEndian.Uint16(m[vtable:]))
	field := func(i, size int64) (int64, bool) {
		at := vtable + 4 + 2*i
		if 4+2*i+2 > vsize || at+2 > int64(len(m)) {
			return 0, false
		}
		off := int64(binary.LittleEndian.Uint16(m[at:]))
		if off == 0 || table+off+size > int64(len(m)) {
			return 0, false
		}
		return table + off, true
	}
	if at, ok := field(1, 1); ok {
		kind = m[at]
	}
	if at, ok := field(3, 8); ok {
		body = int64(binary.LittleEndian.Uint64(m[at:])) //nolint:gosec // checked by the caller
	}
	return kind, body, true
}
