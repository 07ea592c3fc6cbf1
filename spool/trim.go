package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
)

// trimFile holds the trim mark in two slots, written in turn: a write torn by a crash leaves the other, older
// one, and an older mark only means reading some records again. A third slot has the floor: the lowest number that may
// be given next, where the segments do not show it.
type trimFile struct {
	f     *os.File
	turn  uint64
	pos   Position
	floor Position
}

const (
	trimSlot  = 512 // bytes apart: a sector each
	trimSize  = 28
	trimMagic = "GHTRIM\x00\x01"

	floorOffset = 2 * trimSlot
	floorSize   = 20
	floorMagic  = "GHFLOOR\x01"
)

func openTrim(path string) (*trimFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	t := &trimFile{f: f}
	for slot := range int64(2) {
		b := make([]byte, trimSize)
		if _, err := f.ReadAt(b, slot*trimSlot); err != nil {
			if errors.Is(err, io.EOF) {
				continue
			}
			return nil, errors.Join(fmt.Errorf("spool: %w", err), f.Close())
		}
		le := binary.LittleEndian
		if string(b[:8]) != trimMagic || crc32.Checksum(b[:24], castagnoli) != le.Uint32(b[24:]) {
			continue
		}
		if turn := le.Uint64(b[8:]); turn > t.turn {
			t.turn, t.pos = turn, Position(le.Uint64(b[16:]))
		}
	}
	b := make([]byte, floorSize)
	switch _, err := f.ReadAt(b, floorOffset); {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, errors.Join(fmt.Errorf("spool: %w", err), f.Close())
	case string(b[:8]) == floorMagic && crc32.Checksum(b[:16], castagnoli) == binary.LittleEndian.Uint32(b[16:]):
		t.floor = Position(binary.LittleEndian.Uint64(b[8:]))
	}
	return t, nil
}

// raise notes that no number below floor may be given any more. The caller makes it last.
func (t *trimFile) raise(floor Position) error {
	b := append(make([]byte, 0, floorSize), floorMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(floor))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if err := writeAll(t.f, b, floorOffset); err != nil {
		return err
	}
	t.floor = floor
	return nil
}

// write notes pos, without waiting for the disk.
func (t *trimFile) write(pos Position) error {
	b := make([]byte, 0, trimSize)
	b = append(b, trimMagic...)
	b = binary.LittleEndian.AppendUint64(b, t.turn+1)
	b = binary.LittleEndian.AppendUint64(b, uint64(pos))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if err := writeAll(t.f, b, int64((t.turn+1)%2)*trimSlot); err != nil {
		return err
	}
	t.turn, t.pos = t.turn+1, pos
	return nil
}

func (t *trimFile) close() error {
	if t == nil {
		return nil
	}
	return t.f.Close()
}

// Trim says that every record before upTo is consumed: readers begin there from now on, and segments that hold
// nothing else are deleted. After a crash reading may begin earlier, never later.
func (s *Spool) Trim(upTo Position) error {
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	upTo = min(upTo, s.last+1)
	if upTo <= s.trimmed {
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if err := s.trim.write(upTo); err != nil {
		return fmt.Errorf("spool: trim: %w", err)
	}
	s.mu.Lock()
	s.trimmed = upTo
	s.mu.Unlock()
	return s.deleteTrimmed()
}

// deleteTrimmed deletes the sealed segments that are consumed. The mark is made durable first: with the last segment gone
// it alone knows which numbers were given.
func (s *Spool) deleteTrimmed() error {
	s.mu.Lock()
	n := 0
	for n < len(s.segments) && s.segments[n] != s.active && s.segments[n].next <= s.trimmed {
		n++
	}
	if n == 0 && len(s.zombies) == 0 {
		s.mu.Unlock()
		return nil
	}
	victims := append(s.zombies, s.segments[:n]...)
	s.zombies = nil
	s.segments = append([]*segment(nil), s.segments[n:]...)
	s.mu.Unlock()
	if err := s.io.sync(s.trim.f); err != nil {
		s.mu.Lock()
		s.zombies = append(s.zombies, victims...)
		s.mu.Unlock()
		return fmt.Errorf("spool: trim: %w", err)
	}
	for _, g := range victims {
		s.discard(g)
	}
	return nil
}

// discard closes and deletes a segment's file. One that cannot be deleted now (on Windows while a reader has it
// open) is tried again at the next Trim; after a restart it is consumed and goes then.
func (s *Spool) discard(g *segment) {
	if g.f != nil {
		_ = g.f.Close() // nothing in it is needed
		g.f = nil
	}
	if g.keepFile.Load() {
		s.moveAside(g)
	} else if err := os.Remove(s.path(g.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("consumed segment could not be deleted yet", slog.String("segment", g.name), slog.Any("error", err))
		s.mu.Lock()
		s.zombies = append(s.zombies, g)
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	s.disk -= g.size
	s.mu.Unlock()
}
