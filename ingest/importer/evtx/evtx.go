// Package evtx reads Windows event log files (.evtx) as a stream, one chunk
// of 64 KiB at a time, and gives their records as [event.WindowsRecord].
//
// It is made for files from anywhere: damaged, cut off, or built to hurt. Every
// offset is checked, every step is paid from a budget per chunk, and what
// cannot be read is told as a [Damage] while reading goes on behind it. It
// leaves to others what the records mean.
package evtx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"gatehouse/event"
)

const (
	// FileMagic begins every .evtx file.
	FileMagic  = "ElfFile\x00"
	chunkMagic = "ElfChnk\x00"

	fileHeaderSize  = 4096
	chunkSize       = 64 << 10
	chunkHeaderSize = 512
	recordHeader    = 24
	recordTrailer   = 4 // the size once more

	// noRecord stands in the header of a chunk that holds none yet.
	noRecord = 1<<64 - 1
)

// Damage is something in the file that could not be read. It is not the end
// of the file: the caller goes on with Next.
type Damage struct {
	Where  string // "chunk 3, record 117"
	Reason string
	Lost   bool // records were lost by it, as far as can be told
}

func (d *Damage) Error() string { return d.Where + ": " + d.Reason }

// Reader gives the records of one file in file order.
type Reader struct {
	src io.Reader
	opt Options

	chunk  *chunk
	buf    []byte // the current chunk's bytes
	number int    // of the current chunk, from 1
	queue  []*Damage
	done   error
}

// Options say how to read.
type Options struct {
	// Wanted tells, by provider and event id, whether a record's data will be
	// looked at: that of others is skipped. nil wants all.
	Wanted func(provider string, id uint32) bool
	// Salvage looks for records behind damage, where no other reader of event
	// logs does: after a record whose size is destroyed, and in a last chunk that
	// is cut off. What it finds is whole by its own measure alone.
	Salvage bool
}

// NewReader reads the file header. A file whose header is damaged is read all the same.
func NewReader(src io.Reader, opt Options) (*Reader, error) {
	r := &Reader{src: src, opt: opt}
	head := make([]byte, fileHeaderSize)
	n, err := io.ReadFull(src, head)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		r.damage(true, "file header", "the file ends after %d bytes", n)
		r.done = io.EOF
	case err != nil:
		return nil, fmt.Errorf("read the file header: %w", err)
	case string(head[:8]) != FileMagic:
		r.damage(false, "file header", "does not begin as an event log; looking for chunks all the same")
	case binary.LittleEndian.Uint16(head[38:]) != 3:
		r.damage(false, "file header", "format version %d.%d is not known; reading it as 3.1",
			binary.LittleEndian.Uint16(head[38:]), binary.LittleEndian.Uint16(head[36:]))
	}
	return r, nil
}

func (r *Reader) damage(lost bool, where, format string, args ...any) {
	r.queue = append(r.queue, &Damage{Where: where, Reason: fmt.Sprintf(format, args...), Lost: lost})
}

// Next gives the next record; a *[Damage] error for something unreadable,
// after which the caller goes on; [io.EOF] at the end; any other error is of
// the source and final.
func (r *Reader) Next() (event.WindowsRecord, error) {
	for {
		if len(r.queue) > 0 {
			d := r.queue[0]
			r.queue = r.queue[1:]
			return event.WindowsRecord{}, d
		}
		if r.chunk == nil {
			if r.done != nil {
				return event.WindowsRecord{}, r.done
			}
			r.nextChunk()
			continue
		}
		rec, err := r.chunk.next()
		if errors.Is(err, io.EOF) {
			r.chunk = nil
			continue
		}
		return rec, err
	}
}

// nextChunk reads the next chunk into r.chunk, or says in r.queue or r.done why not.
func (r *Reader) nextChunk() {
	if r.buf == nil {
		r.buf = make([]byte, chunkSize)
	}
	buf := r.buf
	n, err := io.ReadFull(r.src, buf)
	r.number++
	where := fmt.Sprintf("chunk %d", r.number)
	switch {
	case errors.Is(err, io.EOF):
		r.done = io.EOF
		return
	case errors.Is(err, io.ErrUnexpectedEOF):
		// Its checksums cannot be verified and its records refer to each other's
		// bytes: what a cut chunk seems to say is not taken for an event unasked.
		r.done = io.EOF
		if len(bytes.Trim(buf[:n], "\x00")) == 0 {
			return
		}
		clear(buf[n:]) // of the chunk before
		if !r.opt.Salvage || n < chunkHeaderSize || string(buf[:8]) != chunkMagic {
			r.damage(true, where, "the file is cut off after %d of %d bytes; %s", n, chunkSize, describe(buf))
			return
		}
		r.damage(true, where, "the file is cut off after %d of %d bytes; its whole records are read", n, chunkSize)
		r.chunk = newChunk(buf[:n], r.number, r.opt)
		return
	case err != nil:
		r.damage(true, where, "could not be read to its end: %v", err)
		r.done = err
		return
	}
	if string(buf[:8]) != chunkMagic {
		// Windows grows the file ahead of need: zeros are no damage.
		if len(bytes.Trim(buf, "\x00")) > 0 {
			r.damage(true, where, "does not begin as a chunk")
		}
		return
	}
	c := newChunk(buf, r.number, r.opt)
	if c.lastID == noRecord {
		return
	}
	if c.sum() != binary.LittleEndian.Uint32(buf[124:]) {
		r.damage(false, where, "the checksum of its header differs; read all the same")
	}
	r.chunk = c
}

// describe says which records a chunk's header promises.
func describe(buf []byte) string {
	if string(buf[:8]) != chunkMagic {
		return "not read"
	}
	return fmt.Sprintf("records %d to %d were not read",
		binary.LittleEndian.Uint64(buf[24:]), binary.LittleEndian.Uint64(buf[32:]))
}

// sum is the checksum that the header of c should carry.
func (c *chunk) sum() uint32 {
	return crc32.Update(crc32.ChecksumIEEE(c.buf[:120]), crc32.IEEETable, c.buf[128:chunkHeaderSize])
}

// chunk walks the records of one chunk.
type chunk struct {
	buf    []byte
	number int
	opt    Options

	firstID, lastID uint64
	left            uint64 // records that the header promises still
	pos             int
	end             bool
	pending         *Damage // to be told after the record just given

	names  map[uint32]string // decoded names by offset
	budget int
	build  event.WindowsBuilder
}

// chunkBudget is the work that one chunk may cost, in tokens and bytes of text.
// Real ones need up to a seventeenth of it. A chunk can be built so that its
// templates nest without end on paper; beyond the budget its rest is given up.
const chunkBudget = 2 << 20

func newChunk(buf []byte, number int, opt Options) *chunk {
	le := binary.LittleEndian
	c := &chunk{
		buf: buf, number: number, opt: opt, pos: chunkHeaderSize,
		firstID: le.Uint64(buf[24:]), lastID: le.Uint64(buf[32:]),
		names: make(map[uint32]string, 64), budget: chunkBudget,
	}
	first, last := le.Uint64(buf[8:]), le.Uint64(buf[16:])
	// The smallest record that Windows could write bounds what a header may promise.
	const most = (chunkSize - chunkHeaderSize) / (recordHeader + recordTrailer)
	if last >= first && last-first < most {
		c.left = last - first + 1
	} else {
		c.left = most
	}
	return c
}

func (c *chunk) where(id uint64) string { return fmt.Sprintf("chunk %d, record %d", c.number, id) }

// next gives the next record, io.EOF at the chunk's end, or a *Damage.
func (c *chunk) next() (event.WindowsRecord, error) {
	if d := c.pending; d != nil {
		c.pending = nil
		return event.WindowsRecord{}, d
	}
	if c.end || c.left == 0 {
		return event.WindowsRecord{}, io.EOF
	}
	le := binary.LittleEndian
	if c.pos+recordHeader+recordTrailer > len(c.buf) || le.Uint32(c.buf[c.pos:]) != 0x2a2a {
		d := &Damage{Where: fmt.Sprintf("chunk %d", c.number), Lost: true}
		at := c.pos
		if c.opt.Salvage && c.resync(at) {
			d.Reason = fmt.Sprintf("no record at byte %d; reading goes on at byte %d", at, c.pos)
			return event.WindowsRecord{}, d
		}
		c.end = true
		d.Reason = fmt.Sprintf("no record at byte %d, though its header promises records up to %d; %d were not read", at, c.lastID, c.left)
		return event.WindowsRecord{}, d
	}
	size, id := int(le.Uint32(c.buf[c.pos+4:])), le.Uint64(c.buf[c.pos+8:])
	start := c.pos
	c.left--
	if size < recordHeader+recordTrailer || size > len(c.buf)-c.pos {
		return c.sizeless(start, size, id)
	}
	c.pos += size
	rec, err := c.record(start+recordHeader, start+size-recordTrailer)
	if err != nil {
		if errors.Is(err, errBudget) {
			c.end = true
		}
		return event.WindowsRecord{}, &Damage{Where: c.where(id), Reason: err.Error(), Lost: true}
	}
	if rec.RecordID == 0 {
		rec.RecordID = id
	}
	return rec, nil
}

// sizeless handles a record whose size is destroyed. Its own content says
// where it ends, so it may be whole; but there is no sure way to the next one.
func (c *chunk) sizeless(start, size int, id uint64) (event.WindowsRecord, error) {
	rec, err := c.record(start+recordHeader, len(c.buf))
	whole := err == nil
	d := &Damage{Where: c.where(id), Lost: !whole || c.left > 0}
	d.Reason = fmt.Sprintf("its size of %d bytes is impossible; %d records after it were not read", size, c.left)
	if c.opt.Salvage && c.resync(start+recordHeader) {
		d.Reason = fmt.Sprintf("its size of %d bytes is impossible; reading goes on at byte %d of the chunk", size, c.pos)
		d.Lost = !whole
	} else {
		c.end = true
	}
	if !whole {
		return event.WindowsRecord{}, d
	}
	if rec.RecordID == 0 {
		rec.RecordID = id
	}
	c.pending = d
	return rec, nil
}

// resync moves to the next place that looks like the start of a record: its
// mark, and a size that its end repeats. Records begin at multiples of 8.
func (c *chunk) resync(from int) bool {
	le := binary.LittleEndian
	for p := (from + 7) &^ 7; p+recordHeader+recordTrailer <= len(c.buf); p += 8 {
		if le.Uint32(c.buf[p:]) != 0x2a2a {
			continue
		}
		size := int(le.Uint32(c.buf[p+4:]))
		if size < recordHeader+recordTrailer || size > len(c.buf)-p || int(le.Uint32(c.buf[p+size-4:])) != size {
			continue
		}
		if id := le.Uint64(c.buf[p+8:]); c.lastID >= id {
			c.left = min(c.left, c.lastID-id+1)
			c.pos = p
			return true
		}
	}
	return false
}

// errSkip ends the reading of a record whose data nobody wants.
var errSkip = errors.New("not wanted")

func (c *chunk) record(pos, end int) (event.WindowsRecord, error) {
	c.build.Reset()
	_, err := c.fragment(pos, end, nil, false, 0)
	if err != nil && !errors.Is(err, errSkip) {
		return event.WindowsRecord{}, err
	}
	return c.build.Record()
}
