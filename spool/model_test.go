package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is the spool as plain memory: what was acknowledged, by position.
type model struct {
	recs    map[Position][]byte
	last    Position
	trimmed Position
	pos     Position // of the reader
}

func (m *model) from(p Position) []Position {
	keys := slices.Sorted(maps.Keys(m.recs))
	i, _ := slices.BinarySearch(keys, p)
	return keys[i:]
}

// TestModel holds the spool to the model through appends, reads, trims, clean and unclean reopening, and
// tails torn by a crash.
func TestModel(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		opts := Options{MaxBytes: 64 << 10, SegmentSize: 8 << 10, Clock: stepClock(time.Millisecond)}
		m := model{recs: map[Position][]byte{}, trimmed: 1, pos: 1}
		var s *Spool
		var r *Reader
		reuse := rapid.Bool().Draw(t, "reuse")
		open := func() {
			if s, err = open(dir, opts, unsynced); err != nil {
				t.Fatal(err)
			}
			if r = s.NewReader(m.pos); reuse {
				r.Reuse()
			}
		}
		open()
		defer func() { _ = s.Close() }()
		ctx := context.Background()
		serial := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				sizes := rapid.SliceOfN(rapid.IntRange(0, 900), 1, 12).Draw(t, "sizes")
				var recs [][]byte
				for _, n := range sizes {
					serial++
					recs = append(recs, binary.LittleEndian.AppendUint64(bytes.Repeat([]byte{byte(serial)}, n), serial))
				}
				last, err := s.Append(ctx, recs...)
				if errors.Is(err, ErrFull) {
					if st := s.Stats(); st.DiskBytes < opts.MaxBytes/2 {
						t.Fatalf("full at %d of %d bytes", st.DiskBytes, opts.MaxBytes)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if last-Position(len(recs)) < m.last {
					t.Fatalf("last position %d after %d for %d records", last, m.last, len(recs))
				}
				for i, rec := range recs {
					m.recs[last-Position(len(recs)-1-i)] = rec
				}
				m.last = last
			},
			"read": func(t *rapid.T) {
				lim := Limit{Records: rapid.IntRange(0, 20).Draw(t, "records"), Bytes: rapid.IntRange(0, 3000).Draw(t, "bytes")}
				lim.Before = m.last + 1 // never waits
				if rapid.Bool().Draw(t, "before") {
					lim.Before = Position(rapid.Uint64Range(1, uint64(m.last)+1).Draw(t, "before"))
				}
				got, err := r.Read(ctx, lim)
				var want []Position
				for _, p := range m.from(max(m.pos, m.trimmed)) {
					if p < lim.Before {
						want = append(want, p)
					}
				}
				if errors.Is(err, io.EOF) {
					if len(want) > 0 {
						t.Fatalf("end before %d, but %d is there", lim.Before, want[0])
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				size := 0
				for i, rec := range got {
					if i >= len(want) || rec.Pos != want[i] || !bytes.Equal(rec.Data, m.recs[rec.Pos]) {
						t.Fatalf("record %d is %d (%d bytes), want positions %v", i, rec.Pos, len(rec.Data), want)
					}
					size += len(rec.Data)
				}
				if lim.Records > 0 && len(got) > lim.Records || lim.Bytes > 0 && len(got) > 1 && size > lim.Bytes {
					t.Fatalf("%d records of %d bytes for the limit %+v", len(got), size, lim)
				}
				m.pos = got[len(got)-1].Pos + 1
			},
			"trim": func(t *rapid.T) {
				p := Position(rapid.Uint64Range(0, uint64(m.last)+1).Draw(t, "to"))
				if rapid.Bool().Draw(t, "consumed") {
					p = m.pos
				}
				if err := s.Trim(p); err != nil {
					t.Fatal(err)
				}
				m.trimmed = max(m.trimmed, p)
			},
			"reopen": func(t *rapid.T) {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				open()
				if s.Last() < m.last {
					t.Fatalf("last is %d after reopening, was %d", s.Last(), m.last)
				}
			},
			"crash": func(t *rapid.T) {
				copied, err := os.MkdirTemp(root, "")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				tearTail(t, copied, rapid.IntRange(0, headerSize+600+entrySize-3).Draw(t, "torn"))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				dir = copied
				open()
				if st := s.Stats(); st.DamagedParts != 0 {
					t.Fatalf("a torn tail counted as damage: %+v", st)
				}
			},
			"": func(t *rapid.T) {
				st := s.Stats()
				live := m.from(m.trimmed)
				if st.Records != int64(len(live)) || st.First != m.trimmed || st.DiskBytes > opts.MaxBytes {
					t.Fatalf("stats %+v, want %d records from %d", st, len(live), m.trimmed)
				}
				if disk := diskUse(t, dir); disk > opts.MaxBytes+trimSlot+trimSize+16 {
					t.Fatalf("%d bytes on disk", disk)
				}
				if st.Oldest.IsZero() != (len(live) == 0) {
					t.Fatalf("oldest is %v with %d records", st.Oldest, len(live))
				}
			},
		})
		// All that is acknowledged and not trimmed is there, in order, to a new reader.
		all := s.NewReader(0)
		for _, p := range m.from(m.trimmed) {
			recs, err := all.Read(ctx, Limit{Records: 1})
			if err != nil || recs[0].Pos != p || !bytes.Equal(recs[0].Data, m.recs[p]) {
				t.Fatalf("got %v, %v, want %d", recs, err, p)
			}
		}
	})
}

// tearTail writes the first n bytes of a block that was never acknowledged behind the last one, as a crash
// within the write leaves it.
func tearTail(t interface{ Fatal(...any) }, dir string, n int) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	for _, path := range slices.Backward(files) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, mark, _ := parseSegmentName(filepath.Base(path))
		off, next := int64(fileHeaderSize), Position(0)
		for {
			h, ok := getHeader(b[min(off, int64(len(b))):], mark, off)
			if !ok {
				break
			}
			off, next = off+h.size(), h.next()
		}
		if next == 0 {
			continue // prepared, or not yet used
		}
		rec := bytes.Repeat([]byte("torn"), 150) // its length needs two bytes: the longest tear leaves out the second
		table := putEntry(nil, rec)
		blk := make([]byte, headerSize)
		blk = append(append(blk, rec...), table...)
		putHeader(blk, blockHeader{first: next, nanos: 1, count: 1, dataLen: uint32(len(rec)), tableCRC: crcOf(table)}, mark, off)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writeAll(f, blk[:n], off), f.Close()); err != nil {
			t.Fatal(err)
		}
		return
	}
}

func diskUse(t interface{ Fatal(...any) }, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a file deleted meanwhile
		t.Fatal(err)
	}
	return n
}
