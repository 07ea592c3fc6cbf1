package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzBlock feeds the decoder of a block anything: it must not panic, and what it takes for a block must be
// exactly what the encoder makes of the same records.
func FuzzBlock(f *testing.F) {
	const mark, off = 0x1122334455667789, 32
	encode := func(first Position, nanos int64, recs ...[]byte) []byte {
		b, table := make([]byte, headerSize), []byte(nil)
		for _, r := range recs {
			b = append(b, r...)
			table = putEntry(table, r)
		}
		h := blockHeader{first: first, nanos: nanos, count: uint32(len(recs)), dataLen: uint32(len(b) - headerSize), tableCRC: crcOf(table)}
		putHeader(b, h, mark, off)
		return append(append(b, table...), endByte)
	}
	f.Add(encode(1, 1, nil), []byte{})
	f.Add(encode(7, 1<<60, []byte("one"), []byte(""), bytes.Repeat([]byte("three"), 40)), []byte{12, 1, 0})
	f.Add(encode(1<<40, -1, bytes.Repeat([]byte{0}, 100)), []byte{200, 0, 255})
	f.Fuzz(func(t *testing.T, b, flips []byte) {
		b = slices.Clone(b)
		for ; len(flips) >= 3 && len(b) > 0; flips = flips[3:] {
			b[int(binary.LittleEndian.Uint16(flips))%len(b)] ^= flips[2]
		}
		if len(b) >= headerSize && len(flips) == 1 { // let the fuzzer past the header's checksum
			binary.LittleEndian.PutUint64(b, mark)
			binary.LittleEndian.PutUint32(b[36:], headerCRC(b, off))
		}
		h, ok := getHeader(b, mark, off)
		if !ok {
			return
		}
		if h.size() < headerSize+entrySize+endSize || h.size() > maxBlock {
			t.Fatalf("a block of %d bytes", h.size())
		}
		blk, ok := parseBlock(h, b)
		if !ok {
			return
		}
		var recs [][]byte
		whole := true
		blk.each(func(_ int, rec []byte, ok bool) bool {
			recs = append(recs, rec)
			whole = whole && ok
			return true
		})
		if again := encode(h.first, h.nanos, recs...); whole && !bytes.Equal(again[:len(again)-1], b[:len(again)-1]) {
			t.Fatalf("decoded %x\nencoded %x", b, again)
		}
	})
}

// FuzzSegment changes the files of a valid directory at will: flips, cuts, zeros, copies within and between
// files, garbage, whole files gone. Opening never panics nor fails, no record comes out that did not go
// in there, and the spool goes on working.
func FuzzSegment(f *testing.F) {
	opts := Options{MaxBytes: 1 << 20, SegmentSize: 4 << 10}
	pristine := f.TempDir()
	want := fillSpool(f, pristine, opts, 30, 60)
	content := map[string][]byte{}
	entries, err := os.ReadDir(pristine)
	if err != nil {
		f.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != lockName {
			names = append(names, e.Name())
			if content[e.Name()], err = os.ReadFile(filepath.Join(pristine, e.Name())); err != nil {
				f.Fatal(err)
			}
		}
	}
	f.Add([]byte{0, 0, 40, 0, 1, 0})
	f.Add([]byte{1, 1, 100, 2, 0, 0, 5, 2, 0, 0, 0, 0})
	f.Add([]byte{2, 2, 60, 0, 200, 0, 3, 0, 32, 0, 255, 1, 4, 1, 10, 0, 99, 3})
	f.Fuzz(func(t *testing.T, ops []byte) {
		files := map[string][]byte{}
		for name, b := range content {
			files[name] = slices.Clone(b)
		}
		for ; len(ops) >= 6; ops = ops[6:] {
			name := names[int(ops[1])%len(names)]
			b := files[name]
			at := int(binary.LittleEndian.Uint16(ops[2:])) % (len(b) + 1)
			n := int(binary.LittleEndian.Uint16(ops[4:])) % 2000
			switch ops[0] % 6 {
			case 0: // flip
				if at < len(b) {
					b[at] ^= byte(n) | 1
				}
			case 1: // cut
				b = b[:at]
			case 2: // zeros
				clear(b[at:min(at+n, len(b))])
			case 3: // a piece of another file, in place or behind the end
				from := files[names[int(ops[0]/6)%len(names)]]
				from = from[min(n, len(from)):min(n+1000, len(from))]
				b = append(b[:at:at], append(slices.Clone(from), b[min(at+len(from), len(b)):]...)...)
			case 4: // a stretch removed: everything behind moves
				b = slices.Delete(b, at, min(at+n, len(b)))
			case 5:
				delete(files, name)
				continue
			}
			files[name] = b
		}
		dir := t.TempDir()
		for name, b := range files {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := open(dir, opts, unsynced)
		if err != nil {
			t.Fatal(err)
		}
		check := func() (n int) {
			for pos, rec := range readAll(t, s) {
				if string(rec) != "after" && !bytes.Equal(rec, want[pos]) {
					t.Fatalf("record %d is %x, went in as %x", pos, rec, want[pos])
				}
				n++
			}
			if st := s.Stats(); st.Records < 0 || st.Bytes < 0 || st.DamagedRecords < 0 || st.DiskBytes < 0 {
				t.Fatalf("%+v", st)
			}
			return n
		}
		before := check()
		if before == len(want) && len(files) == len(content) && s.Stats().DamagedRecords > 0 {
			t.Fatal("all records are there, and some counted as lost")
		}
		if _, err := s.Append(context.Background(), []byte("after")); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = open(dir, opts, unsynced); err != nil {
			t.Fatal(err)
		}
		if after := check(); after != before+1 {
			t.Fatalf("%d records, then one more, then %d", before, after)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
