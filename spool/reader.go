package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// readChunk is how much of a segment is read at once.
const readChunk = 512 << 10

// maxReused bounds the memory that a Reader with Reuse keeps: some blocks of a busy spool.
const maxReused = 8 << 20

// Record is one record as it went in. The memory is the caller's to keep, but for a Reader with Reuse; records read
// together share it.
type Record struct {
	Pos  Position
	Time time.Time // when it was appended
	Data []byte
}

// Limit bounds one Read; zero fields do not.
type Limit struct {
	Records int
	Bytes   int      // of record data; a single record is returned whatever its size
	Before  Position // no record at or after this position; io.EOF when there is none left before it
}

// Reader reads a spool in order. Several may exist; one Reader's calls exclude each other.
type Reader struct {
	s    *Spool
	mu   sync.Mutex
	pos  Position // of the next record to return, or higher when that one is gone
	seg  *segment // where off is in; nil: look pos up
	off  int64    // of the block that pos is in
	f    *os.File
	buf  []byte // of seg, from bOff
	bOff int64
	cur  cursor // in the block at off, when it is loaded

	reuse bool
	spare []byte   // a former buf
	out   []Record // the answer before
}

// cursor walks one block whose records have all been checked.
type cursor struct {
	block
	i    int          // the next record
	data int          // where that begins
	bad  map[int]bool // damaged records
}

// NewReader begins at from, or at First when that is later. A position beyond the end is one that the
// spool has given before and has lost all trace of: numbering then goes on from there, so that nothing new hides
// behind the consumer's own mark.
func (s *Spool) NewReader(from Position) *Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from > s.next {
		s.log.Error("consumer is ahead of the spool: records it has read are no longer known here; numbering goes on behind them",
			slog.Uint64("consumer", uint64(from)), slog.Uint64("spool", uint64(s.next)))
		s.next = from
	}
	return &Reader{s: s, pos: max(from, 1)}
}

// Reuse makes the records of a Read good until the next one alone, which uses their memory again: for a consumer of much
// that keeps nothing. It is called before the first Read, and returns r.
func (r *Reader) Reuse() *Reader {
	r.reuse = true
	return r
}

// Pos is the position that reading goes on from.
func (r *Reader) Pos() Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pos
}

// Close frees the open file. The spool stays open.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
	r.s = nil
	return nil
}

// Read returns the next records, at least one, waiting for it if need be. Records lost to damage are
// left out: the numbers then have a gap. Errors are the context's, ErrClosed, io.EOF (see Limit.Before), and those of
// the disk; after each of them the next Read goes on at the same place.
func (r *Reader) Read(ctx context.Context, lim Limit) ([]Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.s == nil {
			return nil, ErrClosed
		}
		if lim.Before > 0 && r.pos >= lim.Before {
			return nil, io.EOF
		}
		end, wait, err := r.locate(lim.Before)
		if err != nil {
			return nil, err
		}
		if wait != nil {
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		recs, err := r.readSegment(end, lim)
		if err != nil {
			r.forget()
			return nil, err
		}
		if len(recs) > 0 {
			return recs, nil
		}
	}
}

// extent is how far a segment is durable.
type extent struct {
	off  int64
	next Position
}

// locate finds where pos is, and the end of what is durable in that segment; or what to wait for when
// there is nothing yet; or io.EOF when nothing before the given position will come.
func (r *Reader) locate(before Position) (end extent, wait <-chan struct{}, err error) {
	s := r.s
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return end, nil, ErrClosed
	}
	r.pos = max(r.pos, s.trimmed)
	if r.seg != nil && r.off < r.seg.end && r.pos < r.seg.next {
		end = extent{r.seg.end, r.seg.next}
		s.mu.Unlock()
		return end, nil, nil
	}
	var found *segment
	for _, g := range s.segments {
		if g.records > 0 && g.next > r.pos {
			found = g
			break
		}
	}
	if found == nil && before > 0 && before <= s.last+1 {
		s.mu.Unlock()
		return end, nil, io.EOF
	}
	if found == nil {
		if s.waiters == nil {
			s.waiters = make(chan struct{})
		}
		wait = s.waiters
		s.mu.Unlock()
		return end, wait, nil
	}
	e := found.at(r.pos)
	end = extent{found.end, found.next}
	s.mu.Unlock()
	r.forget()
	f, err := os.Open(s.path(found.name))
	if errors.Is(err, fs.ErrNotExist) {
		s.mu.Lock()
		gone := found.next <= s.trimmed
		s.mu.Unlock()
		if gone { // trimmed just now
			return r.locate(before)
		}
	}
	if err != nil {
		return end, nil, fmt.Errorf("spool: %w", err)
	}
	r.f, r.seg, r.off = f, found, e.off
	return end, nil, nil
}

// forget gives up the place in the file; pos alone remains.
func (r *Reader) forget() {
	if r.f != nil {
		_ = r.f.Close() // read only
	}
	r.keep(r.buf)
	r.f, r.seg, r.buf, r.cur = nil, nil, nil, cursor{}
}

// keep holds a buffer that is not read from any more.
func (r *Reader) keep(buf []byte) {
	if r.reuse && cap(buf) > cap(r.spare) && cap(buf) <= maxReused {
		r.spare = buf
	}
}

// room is a buffer of n bytes in place of buf.
func (r *Reader) room(n int64) []byte {
	r.keep(r.buf)
	r.buf = nil
	if int64(cap(r.spare)) >= n {
		buf := r.spare[:n]
		r.spare = nil
		return buf
	}
	return make([]byte, n)
}

// readSegment returns records from off on within the segment, up to end; none when what is there is before pos or
// damaged, with off moved on.
func (r *Reader) readSegment(end extent, lim Limit) (out []Record, err error) {
	size := 0
	for r.off < end.off {
		if r.cur.count == 0 {
			if len(out) > 0 && !r.buffered() {
				return out, nil // the rest needs a read of its own
			}
			if err := r.load(end); err != nil {
				if len(out) > 0 {
					return out, nil // the next call meets the error again
				}
				return nil, err
			}
			continue
		}
		c := &r.cur
		t := time.Unix(0, c.nanos).UTC()
		for ; c.i < int(c.count); c.i++ {
			pos := c.first + Position(c.i) //nolint:gosec // a count
			n := c.length(c.i)
			if pos >= r.pos {
				if lim.Before > 0 && pos >= lim.Before {
					r.pos = max(r.pos, pos) // over a gap in the numbers, which else would be looked at for ever
					return out, nil
				}
				if lim.Records > 0 && len(out) >= lim.Records ||
					lim.Bytes > 0 && len(out) > 0 && size+n > lim.Bytes {
					return out, nil
				}
				if !c.bad[c.i] {
					if out == nil {
						out = r.answer(lim)
					}
					out = append(out, Record{Pos: pos, Time: t, Data: c.block.data[c.data : c.data+n : c.data+n]})
					size += n
				}
				r.pos = pos + 1
			}
			c.data += n
		}
		r.off += c.size()
		r.cur = cursor{}
	}
	if len(out) == 0 {
		r.pos = max(r.pos, end.next) // the numbers up to there are not in this segment, nor anywhere
	}
	return out, nil
}

// answer is where a Read puts its records.
func (r *Reader) answer(lim Limit) []Record {
	if !r.reuse {
		return make([]Record, 0, r.expect(lim))
	}
	if n := r.expect(lim); cap(r.out) < n {
		r.out = make([]Record, 0, n)
	}
	return r.out[:0]
}

// expect is how many records a Read is likely to return.
func (r *Reader) expect(lim Limit) int {
	n := int(r.cur.count) - r.cur.i
	if per := r.cur.size() / int64(r.cur.count); int64(len(r.buf)) > r.cur.size() {
		n = max(n, int(int64(len(r.buf))/per))
	}
	if lim.Records > 0 {
		n = min(n, lim.Records)
	}
	return n
}

// buffered tells whether the block at off can be had without reading.
func (r *Reader) buffered() bool {
	i := r.off - r.bOff
	if i < 0 || i+headerSize > int64(len(r.buf)) {
		return false
	}
	h, ok := getHeader(r.buf[i:], r.seg.mark, r.off)
	return ok && i+h.size() <= int64(len(r.buf))
}

// load reads and checks the block at off into cur, or moves off on when it is before pos or damaged.
func (r *Reader) load(end extent) error {
	b, err := r.bytes(r.off, headerSize, end.off)
	if err != nil {
		return err
	}
	h, ok := getHeader(b, r.seg.mark, r.off)
	if !ok || r.off+h.size() > end.off || h.next() > end.next {
		return r.skipDamage(end)
	}
	if h.next() <= r.pos {
		r.off += h.size()
		return nil
	}
	if b, err = r.bytes(r.off, int(h.size()), end.off); err != nil {
		return err
	}
	blk, ok := parseBlock(h, b)
	if !ok {
		r.lose(region{off: r.off, len: h.size(), records: int64(h.count), why: "record table"})
		r.pos, r.off = h.next(), r.off+h.size()
		return nil
	}
	r.cur = cursor{block: blk}
	blk.each(func(i int, _ []byte, ok bool) bool {
		if !ok {
			if r.cur.bad == nil {
				r.cur.bad = map[int]bool{}
			}
			r.cur.bad[i] = true
		}
		return true
	})
	if n := len(r.cur.bad); n > 0 {
		r.lose(region{off: r.off, len: h.size(), records: int64(n), why: "records"})
	}
	return nil
}

// skipDamage goes on at the next block after one whose header is damaged.
func (r *Reader) skipDamage(end extent) error {
	w := window{f: r.f, size: end.off}
	off, h, ok, err := resync(&w, r.off+1, end.off, r.seg.mark, r.pos)
	if err != nil {
		return err
	}
	next := h.first
	if !ok {
		off, next = end.off, end.next
	}
	next = max(next, r.pos)
	r.lose(region{off: r.off, len: off - r.off, records: int64(next - r.pos), why: "block header"}) //nolint:gosec // next >= pos
	r.off, r.pos = off, next
	return nil
}

func (r *Reader) lose(d region) { r.s.setAside(r.seg, d) }

// bytes returns n bytes at off, fewer at the end of the file or at end.
func (r *Reader) bytes(off int64, n int, end int64) ([]byte, error) {
	if off < r.bOff || off+int64(n) > r.bOff+int64(len(r.buf)) {
		buf := r.room(min(max(int64(n), readChunk), end-off))
		got, err := readTolerant(r.f, buf, off)
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		r.buf, r.bOff = buf[:got], off
	}
	b := r.buf[off-r.bOff:]
	return b[:min(n, len(b))], nil
}
