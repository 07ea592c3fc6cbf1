package spool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// softGroup is where a group stops gathering: later callers wait for the next one, so that memory stays bounded
// while the disk is slow.
const softGroup = 4 << 20

// fileIO is what is done to files so that it lasts; tests put failures in its place.
type fileIO struct {
	write    func(f *os.File, b []byte, off int64) error
	datasync func(f *os.File) error
	sync     func(f *os.File) error
	syncDir  func(dir string) error
	reserve  func(f *os.File, size int64) error
}

var osFiles = fileIO{write: writeAll, datasync: datasync, sync: (*os.File).Sync, syncDir: syncDir, reserve: reserve}

// group is what is written and fsynced as one block.
type group struct {
	buf   []byte // room for the header, then record bytes
	table []byte
	count int
	first Position      // set when committed
	err   error         // set when committed
	taken chan struct{} // closed when the committer has taken the group
	done  chan struct{} // closed when it is durable or has failed
}

func newGroup(buf, table []byte) *group {
	if cap(buf) < headerSize || cap(buf) > 2*softGroup {
		buf, table = make([]byte, headerSize, 64<<10), nil
	}
	return &group{buf: buf[:headerSize], table: table[:0], taken: make(chan struct{}), done: make(chan struct{})}
}

func (g *group) size() int64 { return int64(len(g.buf) + len(g.table)) }

// tables are the memory of calls with many records.
var tables = sync.Pool{New: func() any { return new([]byte) }}

// Append stores the records in order, next to each other, and returns the last one's position when they are
// fsynced. Callers at the same time share an fsync. All records of a call are stored, or none is known to be:
//   - ErrFull: nothing was stored, the bound or the disk is reached; try again later;
//   - ErrTooLarge: the call, or one record, is beyond what the spool takes at once (64 MiB, a quarter of MaxBytes);
//   - ErrClosed: nothing was stored;
//   - any other error, the context's too: it is not known whether they were stored.
//
// The records may be reused after the return, whatever it is.
func (s *Spool) Append(ctx context.Context, records ...[]byte) (last Position, err error) {
	need := int64(headerSize + endSize)
	for _, r := range records {
		need += int64(len(r)) + entrySize
	}
	if need > s.maxBlock() {
		return 0, fmt.Errorf("%w: %d records of %d bytes in one call, at most %d bytes go in", ErrTooLarge, len(records), need, s.maxBlock())
	}
	if len(records) == 0 {
		return s.Last(), nil
	}
	// The checksums are made here, by many callers at once, and not by the one committer.
	var small [4 * entrySize]byte
	table := small[:0]
	if len(records) > len(small)/entrySize {
		t := tables.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
		defer tables.Put(t)
		table = slices.Grow((*t)[:0], len(records)*entrySize)
		*t = table
	}
	for _, r := range records {
		table = putEntry(table, r)
	}
	g, err := s.gather(ctx, need)
	if err != nil {
		return 0, err
	}
	index := g.count
	for _, r := range records {
		g.buf = append(g.buf, r...)
	}
	g.table = append(g.table, table...)
	g.count += len(records)
	s.gmu.Unlock()
	s.wakeCommitter()
	select {
	case <-g.done:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if g.err != nil {
		return 0, g.err
	}
	return g.first + Position(index+len(records)-1), nil //nolint:gosec // counts, never negative
}

// gather returns the group to add to, with gmu held, or an error without it.
func (s *Spool) gather(ctx context.Context, need int64) (*group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for {
		s.gmu.Lock()
		g := s.group
		if s.gclosed {
			s.gmu.Unlock()
			return nil, ErrClosed
		}
		if g.count == 0 || g.size() < softGroup && g.size()+need <= s.maxBlock() {
			return g, nil
		}
		s.gmu.Unlock()
		select {
		case <-g.taken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// MaxAppend is what one Append call may bring at most, 8 bytes for each record included.
func (s *Spool) MaxAppend() int64 { return s.maxBlock() }

func (s *Spool) maxBlock() int64 {
	return min(maxBlock, s.opts.MaxBytes/segmentsPerSpool-fileHeaderSize)
}

func (s *Spool) wakeCommitter() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// commitLoop writes one group after the other; while one is being fsynced the next gathers.
func (s *Spool) commitLoop() {
	defer close(s.idle)
	var spare *group
	var lastStart time.Time
	for range s.wake {
		if d := s.opts.CommitDelay - time.Since(lastStart); d > 0 {
			time.Sleep(d)
		}
		lastStart = time.Now()
		for {
			s.gmu.Lock()
			g, closed := s.group, s.gclosed
			if g.count == 0 {
				s.gmu.Unlock()
				if closed {
					return
				}
				break
			}
			if spare != nil {
				s.group = newGroup(spare.buf, spare.table)
			} else {
				s.group = newGroup(nil, nil)
			}
			s.gmu.Unlock()
			close(g.taken)
			g.err = s.commit(g)
			close(g.done)
			spare = g
			if s.opts.CommitDelay > 0 {
				s.wakeCommitter() // what came meanwhile waits its time
				break
			}
		}
	}
}

// commit makes one group durable.
func (s *Spool) commit(g *group) error {
	h := blockHeader{
		nanos: s.opts.Clock().UnixNano(), count: uint32(g.count), dataLen: uint32(len(g.buf) - headerSize), //nolint:gosec // bounded by maxBlock
		tableCRC: crc32.Checksum(g.table, castagnoli),
	}
	seg, err := s.room(h.size())
	if err != nil {
		return err
	}
	s.mu.Lock()
	h.first = s.next
	s.next += Position(g.count) //nolint:gosec // a count
	off := seg.end
	s.mu.Unlock()
	g.first = h.first
	putHeader(g.buf, h, seg.mark, off)
	g.buf = append(append(g.buf, g.table...), endByte)
	start := time.Now()
	err = s.io.write(seg.f, g.buf, off)
	if err == nil {
		err = s.io.datasync(seg.f)
	}
	s.syncing.Add(int64(time.Since(start)))
	s.commits.Add(1)
	if err != nil {
		return s.abandon(seg, err)
	}
	s.mu.Lock()
	seg.add(h, off)
	s.last = h.next() - 1
	s.notifyLocked()
	s.mu.Unlock()
	s.prepareAhead(seg)
	return nil
}

// abandon gives the active segment up after a failed write or fsync: what the system did with the pages is not
// known then, and a second fsync may wrongly succeed. What was acknowledged in it stays; the next group gets a new
// file, and higher numbers, should the failed block show up after a restart.
func (s *Spool) abandon(seg *segment, cause error) error {
	s.log.Error("write failed, going on in a new segment", slog.String("segment", seg.name), slog.Any("error", cause))
	if isNoSpace(cause) {
		s.giveDisk(0, cause)
	}
	if seg.records > 0 {
		s.retire(seg)
	} else {
		s.mu.Lock()
		s.active = nil
		s.segments = s.segments[:len(s.segments)-1]
		s.mu.Unlock()
		s.discard(seg)
	}
	if isNoSpace(cause) {
		return fmt.Errorf("%w: no space on disk: %w", ErrFull, cause)
	}
	return fmt.Errorf("spool: write: %w", cause)
}

// seal cuts a segment to what it holds and closes it.
func (s *Spool) seal(g *segment) error {
	err := g.f.Truncate(g.end)
	if err == nil {
		s.mu.Lock()
		s.disk -= g.size - g.end
		g.size = g.end
		s.mu.Unlock()
	}
	err = errors.Join(err, g.f.Close())
	g.f = nil
	return err
}

// room returns the active segment with n bytes free in it, a new one if need be.
func (s *Spool) room(n int64) (*segment, error) {
	if g := s.active; g != nil { // only the committer sets it while it runs
		if g.end+n <= g.size {
			return g, nil
		}
		s.retire(g)
	}
	s.prep.Wait() // one being allocated comes next in order
	need := max(s.opts.SegmentSize, fileHeaderSize+n)
	g := s.takePrepared()
	var err error
	switch {
	case g == nil:
		if g, err = s.create(need, false); errors.Is(err, ErrFull) && s.reclaim() {
			g, err = s.create(need, false)
		}
	case g.size < need:
		err = s.grow(g, need)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.active = g
	s.segments = append(s.segments, g)
	s.mu.Unlock()
	return g, nil
}

// retire seals a full active segment. Until it is sealed it stays the active one, which a Trim does not touch.
func (s *Spool) retire(g *segment) {
	if err := s.seal(g); err != nil {
		s.log.Error("segment could not be closed", slog.String("segment", g.name), slog.Any("error", err))
	}
	s.mu.Lock()
	s.active = nil
	s.mu.Unlock()
}

// reclaim deletes what is consumed and was not deleted for being the active segment then. It tells whether that made room.
func (s *Spool) reclaim() bool {
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	before := s.diskBytes()
	if err := s.deleteTrimmed(); err != nil {
		s.log.Error("consumed segments could not be deleted", slog.Any("error", err))
	}
	return s.diskBytes() < before
}

func (s *Spool) diskBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk
}

// takeDisk reserves n bytes within the bound.
func (s *Spool) takeDisk(n int64) error {
	aside := s.damage.size()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disk+aside+n > s.opts.MaxBytes {
		return fmt.Errorf("%w: %d bytes on disk (%d of them damaged), the bound is %d", ErrFull, s.disk+aside, aside, s.opts.MaxBytes)
	}
	if !s.noSpace.IsZero() && s.opts.Clock().Sub(s.noSpace).Abs() < retryAfterNoSpace {
		return fmt.Errorf("%w: no space on disk", ErrFull)
	}
	s.disk += n
	return nil
}

func (s *Spool) giveDisk(n int64, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk -= n
	if isNoSpace(cause) {
		s.noSpace = s.opts.Clock()
	}
}

// create allocates a new segment of size bytes, with its name durable. With zero it is also written once: then later
// writes change nothing but data, and their fsync is about half as long.
func (s *Spool) create(size int64, zero bool) (*segment, error) {
	if err := s.takeDisk(size); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.lastOrd++
	g := &segment{ord: s.lastOrd, mark: randomMark(), size: size, end: fileHeaderSize}
	s.mu.Unlock()
	g.name = segmentName(g.ord, g.mark)
	f, err := os.OpenFile(s.path(g.name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		g.f = f
		err = s.fill(g, zero)
		if err == nil {
			return g, nil
		}
		_ = f.Close()
		if rmErr := os.Remove(s.path(g.name)); rmErr != nil {
			err = errors.Join(err, rmErr)
		}
	}
	s.giveDisk(size, err)
	if isNoSpace(err) {
		return nil, fmt.Errorf("%w: no space on disk: %w", ErrFull, err)
	}
	return nil, fmt.Errorf("spool: new segment: %w", err)
}

func (s *Spool) fill(g *segment, zero bool) error {
	if err := s.io.reserve(g.f, g.size); err != nil {
		return err
	}
	if zero {
		zeros := make([]byte, min(1<<20, g.size))
		for off := int64(0); off < g.size; off += int64(len(zeros)) {
			if err := s.io.write(g.f, zeros[:min(int64(len(zeros)), g.size-off)], off); err != nil {
				return err
			}
		}
	}
	if err := s.io.write(g.f, putFileHeader(g.ord, g.mark), 0); err != nil {
		return err
	}
	if err := s.io.sync(g.f); err != nil {
		return err
	}
	return s.io.syncDir(s.dir)
}

// grow makes a prepared segment large enough for an unusually large group.
func (s *Spool) grow(g *segment, size int64) error {
	err := s.takeDisk(size - g.size)
	if err == nil {
		if err = s.io.reserve(g.f, size); err == nil {
			g.size = size
			return nil
		}
		s.giveDisk(size-g.size, err)
		if isNoSpace(err) {
			err = fmt.Errorf("%w: no space on disk: %w", ErrFull, err)
		}
	}
	s.mu.Lock()
	s.prepared = g
	s.mu.Unlock()
	return err
}

func (s *Spool) takePrepared() *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.prepared
	s.prepared = nil
	return g
}

// prepareAhead allocates the next segment in the background once the active one is half full, so that no caller waits for it.
func (s *Spool) prepareAhead(g *segment) {
	if g.end < g.size/2 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.preparing || s.prepared != nil || s.disk+s.opts.SegmentSize > s.opts.MaxBytes ||
		!s.noSpace.IsZero() && s.opts.Clock().Sub(s.noSpace).Abs() < retryAfterNoSpace {
		return
	}
	s.preparing = true
	s.prep.Go(func() {
		p, err := s.create(s.opts.SegmentSize, true)
		s.mu.Lock()
		s.prepared, s.preparing = p, false
		s.mu.Unlock()
		if err != nil && !errors.Is(err, ErrFull) {
			s.log.Error("next segment could not be allocated ahead", slog.Any("error", err))
		}
	})
}

// randomMark draws a segment's mark.
func randomMark() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])                      // never fails
	return binary.LittleEndian.Uint64(b[:]) | 1 // never zero, which is what an unwritten place holds
}
