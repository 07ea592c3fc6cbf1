package spool

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync/atomic"
)

// indexStride is how far apart the known blocks of a segment lie: a seek reads headers for at most this far.
const indexStride = 128 << 10

// segment is one file. The committer alone changes the active one's content, and its fields under Spool.mu.
type segment struct {
	ord, mark uint64
	name      string
	size      int64 // of the file, allocated
	end       int64 // of the last whole block
	first     Position
	next      Position // after the last record
	records   int64
	index     []indexEntry // a block about every indexStride, the first always
	f         *os.File     // for writing; nil once sealed
	keepFile  atomic.Bool  // damage in it could not be copied: the file itself goes to damaged/
}

type indexEntry struct {
	first  Position
	off    int64
	nanos  int64
	before int64 // records of the segment before this block
}

// add notes the block h at off as part of the segment.
func (g *segment) add(h blockHeader, off int64) {
	if g.records == 0 {
		g.first = h.first
	}
	if n := len(g.index); n == 0 || off-g.index[n-1].off >= indexStride {
		g.index = append(g.index, indexEntry{h.first, off, h.nanos, g.records})
	}
	g.records += int64(h.count)
	g.next, g.end = h.next(), off+h.size()
}

// at returns the last indexed block that begins at or before pos.
func (g *segment) at(pos Position) indexEntry {
	i := sort.Search(len(g.index), func(i int) bool { return g.index[i].first > pos })
	return g.index[max(i-1, 0)]
}

func (s *Spool) path(name string) string { return filepath.Join(s.dir, name) }

// loadSegments finds out what the directory holds. All segments are sealed after it: an append goes to a new
// file, so that no file of an earlier process is ever written to, and a misjudged tail cannot be overwritten.
func (s *Spool) loadSegments() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	var found []*segment
	for _, e := range entries {
		ord, mark, ok := parseSegmentName(e.Name())
		if !ok || !e.Type().IsRegular() {
			if !slices.Contains([]string{lockName, trimName, damagedName}, e.Name()) {
				s.log.Warn("leaving a file alone that is not the spool's", slog.String("name", e.Name()))
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		found = append(found, &segment{ord: ord, mark: mark, name: e.Name(), size: info.Size(), end: fileHeaderSize})
	}
	slices.SortFunc(found, func(a, b *segment) int { return cmp.Compare(a.ord, b.ord) })
	results := make([]scanResult, len(found))
	lastUsed := -1
	next := Position(1)
	for i, g := range found {
		s.lastOrd = max(s.lastOrd, g.ord)
		if results[i], err = s.scan(g, next); err != nil {
			return err
		}
		if g.records > 0 || results[i].dirty > g.end {
			lastUsed = i
		}
		if g.records > 0 {
			next = g.next
		}
	}
	for i, g := range found {
		if err := s.settle(g, results[i], i == lastUsed, nextFirst(found[i+1:], results[i+1:])); err != nil {
			return err
		}
	}
	return nil
}

// nextFirst is the number that the next segment begins with; 0 when there is none, or when the records before
// that number are counted as lost there already.
func nextFirst(rest []*segment, results []scanResult) Position {
	for i, g := range rest {
		if g.records == 0 {
			continue
		}
		if d := results[i].damaged; len(d) > 0 && d[0].off == fileHeaderSize {
			return 0
		}
		return g.first
	}
	return 0
}

// region is a stretch of a segment that cannot be read, with the records that were in it.
type region struct {
	off, len int64
	records  int64
	why      string
}

type scanResult struct {
	damaged []region
	dirty   int64 // end of the last byte that is not zero, at or after the segment's end
	lastOff int64 // of the last block
	lastHdr blockHeader
}

// scan walks the headers of a segment, whose records are numbered from minFirst or higher.
func (s *Spool) scan(g *segment, minFirst Position) (res scanResult, err error) {
	f, err := os.Open(s.path(g.name))
	if err != nil {
		return res, fmt.Errorf("spool: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	w := window{f: f, size: g.size}
	hdr, err := w.at(0, fileHeaderSize)
	if err != nil {
		return res, err
	}
	if err := checkFileHeader(hdr, g.name); err != nil {
		return res, err
	}
	off := int64(fileHeaderSize)
	g.next = minFirst
	for off+headerSize <= g.size {
		b, err := w.at(off, headerSize)
		if err != nil {
			return res, err
		}
		h, ok := getHeader(b, g.mark, off)
		if !ok || h.first < g.next || off+h.size() > g.size {
			from := off
			off, h, ok, err = resync(&w, off+1, g.size, g.mark, g.next)
			if err != nil {
				return res, err
			}
			if !ok {
				break
			}
			r := region{off: from, len: off - from, why: "block header"}
			if begin := max(g.next, s.trimmed); h.first > begin {
				r.records = int64(h.first - begin) //nolint:gosec // compared just before
			}
			res.damaged = append(res.damaged, r)
		}
		g.add(h, off)
		res.lastOff, res.lastHdr = off, h
		off += h.size()
	}
	res.dirty, err = lastNonZero(&w, g.end, g.size)
	return res, err
}

// settle decides what to do about what the scan has found, and makes the segment a sealed one.
func (s *Spool) settle(g *segment, res scanResult, isTail bool, nextFirst Position) error {
	for _, r := range res.damaged {
		s.setAside(g, r)
	}
	if g.records > 0 {
		s.next = max(s.next, g.next)
	}
	var cut int64
	if isTail {
		var err error
		if cut, err = s.checkLastBlock(g, &res); err != nil {
			return err
		}
	}
	if res.dirty > g.end {
		r := region{off: g.end, len: res.dirty - g.end, records: cut, why: "end of segment"}
		switch {
		case !isTail && nextFirst > g.next:
			r.records = int64(nextFirst - g.next) //nolint:gosec // compared just before
			s.setAside(g, r)
		case !isTail:
			s.setAside(g, r)
		default:
			s.cutTail(g, r)
		}
	}
	if g.size > g.end || g.records == 0 {
		return s.shrink(g)
	}
	s.keep(g)
	return nil
}

func (s *Spool) keep(g *segment) {
	s.segments = append(s.segments, g)
	s.disk += g.size
}

// shrink gives back what a segment has allocated and not used, and removes it when it is empty.
func (s *Spool) shrink(g *segment) error {
	path := s.path(g.name)
	if g.records == 0 {
		if g.keepFile.Load() {
			s.moveAside(g)
			return nil
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("spool: %w", err)
		}
		return nil
	}
	if !g.keepFile.Load() {
		if err := os.Truncate(path, g.end); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		g.size = g.end
	}
	s.keep(g)
	return nil
}

// checkLastBlock reads the very last block: the only one that a crash can have left half
// written below a whole header. When nothing of it is whole it is cut; the number of its records is returned.
func (s *Spool) checkLastBlock(g *segment, res *scanResult) (cut int64, err error) {
	if g.records == 0 {
		return 0, nil
	}
	f, err := os.Open(s.path(g.name))
	if err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	buf := make([]byte, res.lastHdr.size())
	if _, err := readTolerant(f, buf, res.lastOff); err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	whole := false
	if b, ok := parseBlock(res.lastHdr, buf); ok {
		b.each(func(_ int, _ []byte, ok bool) bool { whole = ok; return !ok })
	}
	if whole {
		return 0, nil
	}
	if res.dirty == g.end {
		res.dirty = res.lastOff + int64(len(bytes.TrimRight(buf, "\x00")))
	}
	g.end = res.lastOff
	g.records -= int64(res.lastHdr.count)
	g.next = res.lastHdr.first
	if n := len(g.index); g.index[n-1].off == res.lastOff {
		g.index = g.index[:n-1]
	}
	return int64(res.lastHdr.count), nil
}

// cutTail cuts the spool behind its last whole block. The numbers that the lost bytes may have had are not
// given again: a consumer may have noted one, and would skip its new bearer.
func (s *Spool) cutTail(g *segment, r region) {
	s.next += Position((g.size-g.end)/entrySize + 1) //nolint:gosec // a length, never negative
	// The bytes go, and with them what the next start would see of it.
	if err := errors.Join(s.trim.raise(s.next), s.io.sync(s.trim.f)); err != nil {
		s.log.Error("numbers of a damaged tail may be given again after another restart", slog.Any("error", err))
	}
	if s.looksTorn(g, r) {
		s.log.Warn("cut a tail torn by a crash; it was never acknowledged",
			slog.String("segment", g.name), slog.Int64("offset", r.off), slog.Int64("bytes", r.len))
		s.damage.tornTail()
		return
	}
	s.setAside(g, r)
}

// looksTorn tells an interrupted write from damage: it is the beginning of a block, and the end of that
// block was never written. Anything else may have been acknowledged and is treated as damage.
func (s *Spool) looksTorn(g *segment, r region) bool {
	if r.len < headerSize {
		return true
	}
	f, err := os.Open(s.path(g.name))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	buf := make([]byte, headerSize)
	if _, err := readTolerant(f, buf, r.off); err != nil {
		return false
	}
	h, ok := getHeader(buf, g.mark, r.off)
	return ok && r.len < h.size()
}

// resync looks for the next block from off on; ok is false when there is none before end.
func resync(w *window, off, end int64, mark uint64, minFirst Position) (int64, blockHeader, bool, error) {
	const chunk = 256 << 10
	want := binary.LittleEndian.AppendUint64(nil, mark)
	for off+headerSize <= end {
		b, err := w.at(off, int(min(chunk, end-off)))
		if err != nil {
			return 0, blockHeader{}, false, err
		}
		if len(b) < headerSize {
			break // the file is shorter than it was
		}
		i := bytes.Index(b, want)
		if i < 0 {
			off += int64(max(len(b)-len(want)+1, 1))
			continue
		}
		off += int64(i)
		if b, err = w.at(off, headerSize); err != nil {
			return 0, blockHeader{}, false, err
		}
		if h, ok := getHeader(b, mark, off); ok && h.first >= minFirst && off+h.size() <= end {
			return off, h, true, nil
		}
		off++
	}
	return 0, blockHeader{}, false, nil
}

// lastNonZero returns the end of the last byte in [from, end) that is not zero, or from.
func lastNonZero(w *window, from, end int64) (int64, error) {
	last := from
	for off := from; off < end; {
		b, err := w.at(off, int(min(256<<10, end-off)))
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			break
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			last = off + int64(n)
		}
		off += int64(len(b))
	}
	return last, nil
}

// window reads a file piece by piece, so that walking small blocks does not cost a call each.
type window struct {
	f    io.ReaderAt
	size int64
	buf  []byte
	off  int64
	n    int
}

// at returns the n bytes at off, fewer at the end of the file; valid until the next call.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < w.off || off+int64(n) > w.off+int64(w.n) {
		want := max(n, 16<<10)
		if cap(w.buf) < want {
			w.buf = make([]byte, want)
		}
		w.buf = w.buf[:min(int64(want), max(w.size-off, 0))]
		got, err := readTolerant(w.f, w.buf, off)
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		w.off, w.n = off, got
	}
	b := w.buf[off-w.off : w.n]
	return b[:min(n, len(b))], nil
}

// readTolerant fills b from off on, reading as zeros the pages that the disk cannot give any more: checksums then tell
// what was lost, instead of one bad sector making the rest unreachable. n is short at the end of the file.
func readTolerant(f io.ReaderAt, b []byte, off int64) (n int, err error) {
	n, err = f.ReadAt(b, off)
	if err == nil || errors.Is(err, io.EOF) {
		return n, nil
	}
	if !isBadSector(err) {
		return n, err
	}
	const page = 4 << 10
	for n = 0; n < len(b); {
		end := min(len(b), n+page-int((off+int64(n))%page))
		m, err := f.ReadAt(b[n:end], off+int64(n))
		switch {
		case errors.Is(err, io.EOF):
			return n + m, nil
		case err != nil && !isBadSector(err):
			return n, err
		case err != nil:
			clear(b[n+m : end])
		}
		n = end
	}
	return n, nil
}
