package evtx

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Types of values. The high bit makes an array.
const (
	typeNull     = 0x00
	typeString   = 0x01
	typeANSI     = 0x02
	typeInt8     = 0x03
	typeUint8    = 0x04
	typeInt16    = 0x05
	typeUint16   = 0x06
	typeInt32    = 0x07
	typeUint32   = 0x08
	typeInt64    = 0x09
	typeUint64   = 0x0a
	typeReal32   = 0x0b
	typeReal64   = 0x0c
	typeBool     = 0x0d
	typeBinary   = 0x0e
	typeGUID     = 0x0f
	typeSizeT    = 0x10
	typeFileTime = 0x11
	typeSysTime  = 0x12
	typeSID      = 0x13
	typeHex32    = 0x14
	typeHex64    = 0x15
	typeBinXML   = 0x21
	typeArray    = 0x80
)

// format writes a value as Windows renders it. The width of numbers is that of
// the bytes there are: SizeT is 4 or 8.
func format(typ byte, b []byte) string {
	switch typ {
	case typeString:
		return decodeUTF16(b)
	case typeANSI:
		return strings.TrimRight(decodeLatin1(b), "\x00")
	case typeInt8, typeInt16, typeInt32, typeInt64:
		if v, bits, ok := number(b); ok {
			shift := 64 - bits
			return strconv.FormatInt(int64(v)<<shift>>shift, 10) //nolint:gosec // sign extension on purpose
		}
	case typeUint8, typeUint16, typeUint32, typeUint64:
		if v, _, ok := number(b); ok {
			return strconv.FormatUint(v, 10)
		}
	case typeHex32, typeHex64, typeSizeT:
		if v, _, ok := number(b); ok {
			return "0x" + strconv.FormatUint(v, 16)
		}
	case typeReal32:
		if len(b) == 4 {
			return strconv.FormatFloat(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 'g', -1, 32)
		}
	case typeReal64:
		if len(b) == 8 {
			return strconv.FormatFloat(math.Float64frombits(binary.LittleEndian.Uint64(b)), 'g', -1, 64)
		}
	case typeBool:
		if v, _, ok := number(b); ok {
			return strconv.FormatBool(v != 0)
		}
	case typeGUID:
		if len(b) == 16 {
			le := binary.LittleEndian
			return fmt.Sprintf("{%08x-%04x-%04x-%x-%x}", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
		}
	case typeFileTime:
		if len(b) == 8 {
			return fileTime(binary.LittleEndian.Uint64(b))
		}
	case typeSysTime:
		if len(b) == 16 {
			return sysTime(b)
		}
	case typeSID:
		return sid(b)
	}
	return strings.ToUpper(hex.EncodeToString(b))
}

// number reads 1, 2, 4 or 8 bytes and says how many bits they are.
func number(b []byte) (v uint64, bits int, ok bool) {
	switch len(b) {
	case 1:
		v = uint64(b[0])
	case 2:
		v = uint64(binary.LittleEndian.Uint16(b))
	case 4:
		v = uint64(binary.LittleEndian.Uint32(b))
	case 8:
		v = binary.LittleEndian.Uint64(b)
	default:
		return 0, 0, false
	}
	return v, 8 * len(b), true
}

const (
	filetimeUnixEpoch = 116444736000000000 // 1970 in steps of 100 ns from 1601
	stepsPerSecond    = 10_000_000
)

// fileTime writes a FILETIME whole: rounding it through a float would move
// one in some thousand events to the next millisecond.
func fileTime(v uint64) string {
	if v > math.MaxInt64 {
		return ""
	}
	steps := int64(v) - filetimeUnixEpoch
	sec, rest := steps/stepsPerSecond, steps%stepsPerSecond
	return time.Unix(sec, rest*100).UTC().Format("2006-01-02T15:04:05.0000000Z")
}

func sysTime(b []byte) string {
	part := func(i int) int { return int(binary.LittleEndian.Uint16(b[2*i:])) }
	return fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", part(0), part(1), part(3), part(4), part(5), part(6), part(7))
}

func sid(b []byte) string {
	if len(b) < 8 {
		return ""
	}
	authority := uint64(0)
	for _, x := range b[2:8] {
		authority = authority<<8 | uint64(x)
	}
	s := strconv.AppendUint([]byte("S-"), uint64(b[0]), 10)
	s = append(s, '-')
	s = strconv.AppendUint(s, authority, 10)
	for rest, n := b[8:], int(b[1]); n > 0 && len(rest) >= 4; rest, n = rest[4:], n-1 {
		s = append(s, '-')
		s = strconv.AppendUint(s, uint64(binary.LittleEndian.Uint32(rest)), 10)
	}
	return string(s)
}

// decodeLatin1 is for the few values in the writer's code page, which the
// file does not name: ASCII is right, the rest at least readable.
func decodeLatin1(b []byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return string(out)
}

// widths of the types that stand in arrays without separators.
var widths = map[byte]int{
	typeInt8: 1, typeUint8: 1, typeInt16: 2, typeUint16: 2, typeInt32: 4, typeUint32: 4,
	typeInt64: 8, typeUint64: 8, typeReal32: 4, typeReal64: 8, typeBool: 4, typeGUID: 16,
	typeFileTime: 8, typeSysTime: 16, typeHex32: 4, typeHex64: 8,
}

// split gives the values of an array.
func split(typ byte, raw []byte) []string {
	switch typ {
	case typeString:
		return strings.Split(decodeUTF16(raw), "\x00")
	case typeANSI:
		return strings.Split(strings.TrimRight(decodeLatin1(raw), "\x00"), "\x00")
	}
	width := widths[typ]
	if width == 0 {
		return []string{format(typeBinary, raw)}
	}
	out := make([]string, 0, len(raw)/width)
	for ; len(raw) >= width; raw = raw[width:] {
		out = append(out, format(typ, raw[:width]))
	}
	return out
}
