package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// testRecord is the n-th record of a test: its content follows from its number, so that a reader can tell a record
// that went in from one that did not.
func testRecord(n uint64, size int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, n)
	r := rand.New(rand.NewPCG(n, uint64(size)))
	for len(b) < size {
		b = append(b, byte(r.Uint32()))
	}
	return b
}

// fillSpool appends calls of records to a new spool in dir and closes it.
func fillSpool(t testing.TB, dir string, opts Options, calls, size int) map[Position][]byte {
	t.Helper()
	s, err := open(dir, opts, unsynced)
	if err != nil {
		t.Fatal(err)
	}
	want := map[Position][]byte{}
	n := uint64(0)
	for i := range calls {
		var recs [][]byte
		for range 1 + i%5 {
			n++
			recs = append(recs, testRecord(n, size+int(n%7)))
		}
		last, err := s.Append(context.Background(), recs...)
		if err != nil {
			t.Fatal(err)
		}
		for j, r := range recs {
			want[last-Position(len(recs)-1-j)] = r
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// readAll returns what a new reader gives up to the end.
func readAll(t interface{ Fatal(...any) }, s *Spool) map[Position][]byte {
	got := map[Position][]byte{}
	r := s.NewReader(0)
	defer r.Close() //nolint:errcheck // nothing to lose
	prev := Position(0)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // a reader that does not come to the end
	defer cancel()
	for {
		recs, err := r.Read(ctx, Limit{Before: s.Last() + 1})
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			if rec.Pos <= prev {
				t.Fatal("position ", rec.Pos, " after ", prev)
			}
			prev = rec.Pos
			got[rec.Pos] = rec.Data
		}
	}
}

func segmentFiles(t interface{ Fatal(...any) }, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

// lostTo says which records a flipped byte at off of the segment costs, by the format's promise: its own
// record, or its block's when it is in the header or the table.
func lostTo(path string, b []byte, at int64) (lost []Position) {
	_, mark, _ := parseSegmentName(filepath.Base(path))
	for off := int64(fileHeaderSize); off < int64(len(b)); {
		h, _ := getHeader(b[off:], mark, off)
		blk, _ := parseBlock(h, b[off:])
		if at >= off && at < off+h.size()-endSize {
			rel := at - off - headerSize
			begin := int64(0)
			for i := range int(h.count) {
				end := begin + int64(blk.length(i))
				if rel < 0 || rel >= int64(h.dataLen) || rel >= begin && rel < end {
					lost = append(lost, h.first+Position(i))
				}
				begin = end
			}
		}
		off += h.size()
	}
	return lost
}

// TestDamage flips bytes anywhere in the segments. Exactly the records of the damaged records and blocks are
// gone, they are counted and set aside, and everything else is read, at once and after another restart.
func TestDamage(t *testing.T) {
	root := t.TempDir()
	opts := Options{MaxBytes: 1 << 20, SegmentSize: 4 << 10}
	pristine := filepath.Join(root, "pristine")
	want := fillSpool(t, pristine, opts, 80, 40)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(root, fmt.Sprint(n))
		if err := os.CopyFS(dir, os.DirFS(pristine)); err != nil {
			t.Fatal(err)
		}
		files := segmentFiles(t, dir)
		lost := map[Position]bool{}
		flips := rapid.IntRange(1, 4).Draw(t, "flips")
		inTail := false
		for range flips {
			path := rapid.SampledFrom(files).Draw(t, "file")
			whole, err := os.ReadFile(filepath.Join(pristine, filepath.Base(path)))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			off := rapid.IntRange(0, len(b)-1).Draw(t, "offset")
			b[off] = whole[off] ^ byte(rapid.IntRange(1, 255).Draw(t, "xor"))
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, p := range lostTo(path, whole, int64(off)) {
				lost[p] = true
				inTail = inTail || p > slices.Max(positions(want))-5
			}
		}
		var parts int64
		for round := range 3 {
			s, err := open(dir, opts, unsynced)
			if err != nil {
				t.Fatal(err)
			}
			got := readAll(t, s)
			for p, rec := range want {
				if b, ok := got[p]; ok == lost[p] || ok && !bytes.Equal(b, rec) {
					t.Fatalf("round %d: record %d: read %v, lost %v", round, p, ok, lost[p])
				}
			}
			if len(got) != len(want)-len(lost) {
				t.Fatalf("round %d: %d records read, %d of %d lost", round, len(got), len(lost), len(want))
			}
			st := s.Stats()
			if (st.DamagedParts > 0) != (len(lost) > 0) || st.TornTails > 0 {
				t.Fatalf("round %d: %+v, lost %d", round, st, len(lost))
			}
			// How many were in a damaged header at the very end nothing says any more.
			if st.DamagedRecords != int64(len(lost)) && !inTail {
				t.Fatalf("round %d: %d counted as lost, %d are", round, st.DamagedRecords, len(lost))
			}
			if round > 0 && st.DamagedParts != parts {
				t.Fatalf("round %d: %d damaged parts, were %d", round, st.DamagedParts, parts)
			}
			parts = st.DamagedParts
			if entries, _ := os.ReadDir(filepath.Join(dir, damagedName)); int64(len(entries)) != parts {
				t.Fatalf("%d files set aside, %d counted", len(entries), parts)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		// New records come after all that was there, and are read.
		s, err := open(dir, opts, unsynced)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() //nolint:errcheck // closed below when all is well
		last, err := s.Append(context.Background(), []byte("after"))
		if err != nil || last <= slices.Max(positions(want)) {
			t.Fatalf("append after damage: %d, %v", last, err)
		}
		if got := readAll(t, s); string(got[last]) != "after" {
			t.Fatalf("read %q", got[last])
		}
	})
}

func positions(m map[Position][]byte) (p []Position) {
	for k := range m {
		p = append(p, k)
	}
	return p
}

// TestDamageWhileOpen flips bytes under a running spool and its reader.
func TestDamageWhileOpen(t *testing.T) {
	dir := t.TempDir()
	opts := Options{MaxBytes: 1 << 20, SegmentSize: 4 << 10}
	want := fillSpool(t, dir, opts, 60, 40)
	s := mustOpen(t, dir, opts)
	r := s.NewReader(0)
	first, err := r.Read(t.Context(), Limit{Records: 2})
	if err != nil {
		t.Fatal(err)
	}
	files := segmentFiles(t, dir)
	lost := map[Position]bool{}
	for _, path := range files[1:] {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range lostTo(path, b, fileHeaderSize) {
			lost[p] = true
		}
		b[fileHeaderSize] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := len(first)
	for {
		recs, err := r.Read(t.Context(), Limit{Before: s.Last() + 1})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			if lost[rec.Pos] || !bytes.Equal(rec.Data, want[rec.Pos]) {
				t.Fatalf("record %d is %x", rec.Pos, rec.Data)
			}
		}
		got += len(recs)
	}
	st := s.Stats()
	if got != len(want)-len(lost) || st.DamagedRecords != int64(len(lost)) || st.DamagedParts != int64(len(files)-1) {
		t.Fatalf("read %d of %d, lost %d: %+v", got, len(want), len(lost), st)
	}
}

// TestTruncatedAndMissing cuts a sealed segment short, empties one and deletes one.
func TestTruncatedAndMissing(t *testing.T) {
	dir := t.TempDir()
	opts := Options{MaxBytes: 1 << 20, SegmentSize: 4 << 10}
	want := fillSpool(t, dir, opts, 100, 60)
	files := segmentFiles(t, dir)
	if len(files) < 5 {
		t.Fatalf("only %d segments", len(files))
	}
	for i, do := range []func(string) error{
		func(p string) error { return os.Truncate(p, 1000) },
		func(p string) error { return os.Truncate(p, 0) },
		os.Remove,
	} {
		if err := do(files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, dir, opts)
	got := readAll(t, s)
	for p, b := range got {
		if !bytes.Equal(b, want[p]) {
			t.Fatalf("record %d is %x", p, b)
		}
	}
	if len(got) < len(want)/3 || len(got) >= len(want) {
		t.Fatalf("read %d of %d", len(got), len(want))
	}
}

// TestDamageIsKeptWhenItCannotBeCopied: with no room for a copy the segment's own file goes to damaged/.
func TestDamageIsKeptWhenItCannotBeCopied(t *testing.T) {
	dir := t.TempDir()
	opts := Options{MaxBytes: 1 << 20, SegmentSize: 4 << 10}
	fillSpool(t, dir, opts, 60, 40)
	victim := segmentFiles(t, dir)[0]
	b, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	b[fileHeaderSize+headerSize+2] ^= 1
	if err := os.WriteFile(victim, b, 0o600); err != nil {
		t.Fatal(err)
	}
	files := unsynced
	files.sync = func(f *os.File) error {
		if strings.HasSuffix(f.Name(), ".tmp") {
			return errTestNoSpace
		}
		return nil
	}
	s, err := open(dir, opts, files)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // a test of something else
	readAll(t, s)
	if err := s.Trim(s.Last() + 1); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, damagedName, filepath.Base(victim)))
	if err != nil || !bytes.Equal(kept, b) {
		t.Fatalf("kept %d bytes, %v", len(kept), err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	fillSpool(t, dir, Options{}, 3, 10)
	path := segmentFiles(t, dir)[0]
	ord, mark, _ := parseSegmentName(filepath.Base(path))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	hdr := putFileHeader(ord, mark)
	hdr[7]++
	binary.LittleEndian.PutUint32(hdr[28:], crcOf(hdr[:28]))
	copy(b, hdr)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("got %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(after, b) {
		t.Fatal("the refused segment was changed")
	}
}

// TestGapBeforeCutTail loses the last block, which does not follow the one before in number: what is between is nowhere,
// and a reader must not look for it for ever.
func TestGapBeforeCutTail(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	if _, err := s.Append(t.Context(), []byte("one"), []byte("two")); err != nil {
		t.Fatal(err)
	}
	_ = s.NewReader(1000) // a consumer ahead makes numbering jump
	if _, err := s.Append(t.Context(), []byte("three"), []byte("four"), []byte("five")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := segmentFiles(t, dir)[0]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-3] ^= 1 // in the table
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, Options{})
	if got := readAll(t, s); len(got) != 2 {
		t.Fatalf("read %d records", len(got))
	}
	pos, err := s.Append(t.Context(), []byte("after"))
	if err != nil || pos < 1003 {
		t.Fatalf("%d, %v", pos, err)
	}
	if got := readAll(t, s); len(got) != 3 || string(got[pos]) != "after" {
		t.Fatalf("read %d records", len(got))
	}
	if st := s.Stats(); st.DamagedRecords != 3 || st.DamagedParts != 1 {
		t.Fatalf("%+v", st)
	}
}

// badSector is a file of which some bytes cannot be read.
type badSector struct {
	b   []byte
	bad int64
}

func (f badSector) ReadAt(b []byte, off int64) (int, error) {
	if off <= f.bad && f.bad < off+int64(len(b)) {
		return 0, errTestIO
	}
	return bytes.NewReader(f.b).ReadAt(b, off)
}

func TestBadSector(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	for _, bad := range []int64{0, 5000, 16383} {
		got := bytes.Repeat([]byte{0xee}, 16000)
		n, err := readTolerant(badSector{content, bad}, got, 100)
		if err != nil || n != len(got) {
			t.Fatalf("%d, %v", n, err)
		}
		for i, c := range got {
			pos := int64(i) + 100
			if lost := pos/4096 == bad/4096; lost && bad >= 100 && bad < 16100 && c != 0 || !lost && c != content[pos] {
				t.Fatalf("byte %d is %x", pos, c)
			}
		}
	}
}
