package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The directory of a spool holds, and only this file says so:
//
//	LOCK                            held while a process has the spool open
//	trim                            how far the consumer is done, and which numbers are given (see trim.go)
//	00000000000000000007-MARK.seg   segments, in the order of their leading number
//	damaged/                        what could not be read any more, never deleted by us
//
// A segment is a file header followed by blocks, one block per group commit, then zeros up to its
// allocated size. A block is
//
//	header (40 bytes) | record bytes, one after the other | table: per record its CRC32C and length | 0xA5
//
// (the last byte is never zero, so that a block whose writing was cut off differs from a damaged one).
// The header carries a CRC of itself and of the table, the table one of each record. So a flipped
// byte in a record costs that record, and one in a header or a table costs that block.
//
// MARK is 64 random bits, drawn per segment, that begin each of its blocks. It lets a scan find the next
// block after a damaged one, and since nobody outside knows it, a record cannot pretend to be
// a block. It stands in the file's name as well, so that no single damaged place hides it.
const (
	lockName      = "LOCK"
	trimName      = "trim"
	damagedName   = "damaged"
	segmentSuffix = ".seg"

	fileMagic      = "GHSPOOL"
	fileVersion    = 1
	fileHeaderSize = 32
	headerSize     = 40
	entrySize      = 8
	endSize        = 1
	endByte        = 0xA5
)

// maxBlock bounds what one Append call, and so one block, may hold. A length beyond it in a
// header is damage, whatever its checksum says; a call beyond it gets ErrTooLarge.
const maxBlock = 64 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockHeader is what stands before the records of a block.
type blockHeader struct {
	first    Position // of the block's first record; the others follow without a gap
	nanos    int64    // append time, Unix nanoseconds
	count    uint32
	dataLen  uint32
	tableCRC uint32
}

// size is the whole block's, header, table and end included.
func (h blockHeader) size() int64 {
	return headerSize + int64(h.dataLen) + int64(h.count)*entrySize + endSize
}

func (h blockHeader) next() Position { return h.first + Position(h.count) }

// headerCRC covers the offset too: a block written to the wrong place is no block there.
func headerCRC(b []byte, off int64) uint32 {
	var o [8]byte
	binary.LittleEndian.PutUint64(o[:], uint64(off)) //nolint:gosec // an offset is never negative
	return crc32.Update(crc32.Checksum(o[:], castagnoli), castagnoli, b[:headerSize-4])
}

// putHeader writes h into b, for a block at offset off of the segment marked mark.
func putHeader(b []byte, h blockHeader, mark uint64, off int64) {
	le := binary.LittleEndian
	le.PutUint64(b, mark)
	le.PutUint64(b[8:], uint64(h.first))
	le.PutUint64(b[16:], uint64(h.nanos)) //nolint:gosec // the same 64 bits come back in getHeader
	le.PutUint32(b[24:], h.count)
	le.PutUint32(b[28:], h.dataLen)
	le.PutUint32(b[32:], h.tableCRC)
	le.PutUint32(b[36:], headerCRC(b, off))
}

// getHeader reads the header at the start of b; ok is false when it is not one of this segment at
// this offset.
func getHeader(b []byte, mark uint64, off int64) (h blockHeader, ok bool) {
	le := binary.LittleEndian
	if len(b) < headerSize || le.Uint64(b) != mark || le.Uint32(b[36:]) != headerCRC(b, off) {
		return h, false
	}
	h = blockHeader{
		first:    Position(le.Uint64(b[8:])),
		nanos:    int64(le.Uint64(b[16:])), //nolint:gosec // written by putHeader from an int64
		count:    le.Uint32(b[24:]),
		dataLen:  le.Uint32(b[28:]),
		tableCRC: le.Uint32(b[32:]),
	}
	ok = h.count > 0 && h.first > 0 && h.next() > h.first && h.size() <= maxBlock
	return h, ok
}

// block is one whole block in memory, its table verified.
type block struct {
	blockHeader
	data  []byte
	table []byte
}

// parseBlock takes the block at the start of b. ok is false when it is cut short or its table is damaged: then the
// bounds of its records are not known.
func parseBlock(h blockHeader, b []byte) (block, bool) {
	if int64(len(b)) < h.size() {
		return block{}, false
	}
	data := b[headerSize : headerSize+int(h.dataLen)]
	table := b[headerSize+int(h.dataLen) : h.size()-endSize]
	if crc32.Checksum(table, castagnoli) != h.tableCRC {
		return block{}, false
	}
	var sum uint64
	for i := 4; i < len(table); i += entrySize {
		sum += uint64(binary.LittleEndian.Uint32(table[i:]))
	}
	return block{blockHeader: h, data: data, table: table}, sum == uint64(h.dataLen)
}

// length is that of record i.
func (b block) length(i int) int {
	return int(binary.LittleEndian.Uint32(b.table[i*entrySize+4:]))
}

// each calls fn for every record in order, with ok false for those whose checksum does not hold,
// until fn returns false.
func (b block) each(fn func(i int, rec []byte, ok bool) bool) {
	off := 0
	for i := range int(b.count) {
		end := off + b.length(i)
		rec := b.data[off:end]
		off = end
		if !fn(i, rec, crc32.Checksum(rec, castagnoli) == binary.LittleEndian.Uint32(b.table[i*entrySize:])) {
			return
		}
	}
}

// putEntry appends a record's table entry.
func putEntry(table, rec []byte) []byte {
	table = binary.LittleEndian.AppendUint32(table, crc32.Checksum(rec, castagnoli))
	return binary.LittleEndian.AppendUint32(table, uint32(len(rec))) //nolint:gosec // Append refuses records beyond maxBlock
}

// putFileHeader returns a segment's first bytes. They say what the file is and refuse a format that
// this code does not know; nothing needed for reading stands there alone.
func putFileHeader(ord, mark uint64) []byte {
	b := make([]byte, fileHeaderSize)
	copy(b, fileMagic)
	b[7] = fileVersion
	binary.LittleEndian.PutUint64(b[8:], ord)
	binary.LittleEndian.PutUint64(b[16:], mark)
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	return b
}

// checkFileHeader returns an error only for an intact header of another version. A damaged one is
// no obstacle: name and blocks say all that it does.
func checkFileHeader(b []byte, name string) error {
	if len(b) < fileHeaderSize || string(b[:7]) != fileMagic ||
		binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) {
		return nil
	}
	if b[7] != fileVersion {
		return fmt.Errorf("spool: segment %s has format version %d, this program knows %d: use the program that wrote it", name, b[7], fileVersion)
	}
	return nil
}

func segmentName(ord, mark uint64) string {
	return fmt.Sprintf("%020d-%016x%s", ord, mark, segmentSuffix)
}

func parseSegmentName(name string) (ord, mark uint64, ok bool) {
	base, found := strings.CutSuffix(name, segmentSuffix)
	if !found || len(base) != 20+1+16 || base[20] != '-' {
		return 0, 0, false
	}
	ord, err1 := strconv.ParseUint(base[:20], 10, 64)
	mark, err2 := strconv.ParseUint(base[21:], 16, 64)
	return ord, mark, err1 == nil && err2 == nil && name == segmentName(ord, mark)
}
