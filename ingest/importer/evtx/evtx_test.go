package evtx

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"gatehouse/event"
)

// asm writes binary XML at an offset of a chunk.
type asm struct {
	base int
	b    []byte
}

func (a *asm) pos() int       { return a.base + len(a.b) }
func (a *asm) raw(b ...byte)  { a.b = append(a.b, b...) }
func (a *asm) u16(v int)      { a.b = binary.LittleEndian.AppendUint16(a.b, uint16(v)) }
func (a *asm) u32(v int)      { a.b = binary.LittleEndian.AppendUint32(a.b, uint32(v)) }
func (a *asm) utf16(s string) { a.raw(encodeUTF16(s)...) }

func encodeUTF16(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// name writes a name where it is used.
func (a *asm) name(s string) {
	a.u32(a.pos() + 4)
	a.u32(0)
	a.u16(0)
	a.u16(len(utf16.Encode([]rune(s))))
	a.utf16(s)
	a.u16(0)
}

func (a *asm) open(name string) {
	a.raw(tokOpen)
	a.u16(0xffff)
	a.u32(0)
	a.name(name)
}

func (a *asm) text(s string) {
	a.raw(tokValue, 1)
	a.u16(len(utf16.Encode([]rune(s))))
	a.utf16(s)
}

func (a *asm) subst(index int, typ byte) {
	a.raw(tokOptSubst)
	a.u16(index)
	a.raw(typ)
}

// element writes <name attr="…">…</name>.
func (a *asm) element(name, attr string, value func(), content func()) {
	if attr == "" {
		a.open(name)
	} else {
		a.raw(tokOpen | tokMore)
		a.u16(0xffff)
		a.u32(0)
		a.name(name)
		a.u32(0)
		a.raw(tokAttribute)
		a.name(attr)
		value()
	}
	a.raw(tokCloseStart)
	if content != nil {
		content()
	}
	a.raw(tokEnd)
}

// val is a value of a template instance.
type val struct {
	typ byte
	b   []byte
}

// instance writes a template instance; body writes its definition here unless
// def says that it stands elsewhere. It returns the definition's offset.
func (a *asm) instance(def int, body func(), vals ...val) int {
	a.raw(tokTemplate, 1)
	a.u32(1)
	if def == 0 {
		def = a.pos() + 4
		a.u32(def)
		a.u32(0)
		a.raw(make([]byte, 16)...)
		size := len(a.b)
		a.u32(0)
		body()
		a.raw(tokEOF)
		binary.LittleEndian.PutUint32(a.b[size:], uint32(len(a.b)-size-4))
	} else {
		a.u32(def)
	}
	a.u32(len(vals))
	for _, v := range vals {
		a.u16(len(v.b))
		a.raw(v.typ, 0)
	}
	for _, v := range vals {
		a.raw(v.b...)
	}
	return def
}

// logonBody is the definition of a small 4624.
func logonBody(a *asm) func() {
	return func() {
		a.element("Event", "", nil, func() {
			a.element("System", "", nil, func() {
				a.element("Provider", "Name", func() { a.text("Microsoft-Windows-Security-Auditing") }, nil)
				a.element("EventID", "", nil, func() { a.subst(0, typeUint16) })
				a.element("TimeCreated", "SystemTime", func() { a.subst(1, typeFileTime) }, nil)
				a.element("EventRecordID", "", nil, func() { a.subst(2, typeUint64) })
				a.element("Channel", "", nil, func() { a.text("Security") })
				a.element("Computer", "", nil, func() { a.subst(3, typeString) })
			})
			a.element("EventData", "", nil, func() {
				a.element("Data", "Name", func() { a.text("TargetUserName") }, func() { a.subst(4, typeString) })
				a.element("Data", "Name", func() { a.text("LogonType") }, func() { a.subst(5, typeUint32) })
				a.element("Data", "", nil, func() { a.subst(6, typeString|typeArray) })
			})
		})
	}
}

func logonValues(id uint64) []val {
	le := binary.LittleEndian
	return []val{
		{typeUint16, le.AppendUint16(nil, 4624)},
		{typeFileTime, le.AppendUint64(nil, 133926534001239999)},
		{typeUint64, le.AppendUint64(nil, id)},
		{typeString, encodeUTF16("PC1")},
		{typeString, encodeUTF16("änn\x00")},
		{typeUint32, le.AppendUint32(nil, 2)},
		{typeString | typeArray, encodeUTF16("one\x00two\x00three")},
	}
}

// fileOf makes a file of one chunk out of the payloads of records.
func fileOf(payloads ...func(a *asm)) []byte {
	le := binary.LittleEndian
	chunk := make([]byte, chunkHeaderSize, chunkSize)
	copy(chunk, chunkMagic)
	le.PutUint64(chunk[8:], 1)
	le.PutUint64(chunk[16:], uint64(len(payloads)))
	le.PutUint64(chunk[24:], 1)
	le.PutUint64(chunk[32:], uint64(len(payloads)))
	for i, p := range payloads {
		start := len(chunk)
		chunk = append(chunk, "**\x00\x00"...)
		chunk = le.AppendUint32(chunk, 0)
		chunk = le.AppendUint64(chunk, uint64(i+1))
		chunk = le.AppendUint64(chunk, 0)
		a := &asm{base: len(chunk)}
		p(a)
		chunk = append(chunk, a.b...)
		size := (len(chunk) - start + 4 + 7) &^ 7
		chunk = append(chunk, make([]byte, start+size-4-len(chunk))...)
		chunk = le.AppendUint32(chunk, uint32(size))
		le.PutUint32(chunk[start+4:], uint32(size))
	}
	if len(chunk) > chunkSize {
		panic("test: the chunk is full")
	}
	chunk = append(chunk, make([]byte, chunkSize-len(chunk))...)
	le.PutUint32(chunk[124:], (&chunk1{chunk}).sum())
	head := make([]byte, fileHeaderSize)
	copy(head, FileMagic)
	le.PutUint16(head[36:], 1)
	le.PutUint16(head[38:], 3)
	return append(head, chunk...)
}

type chunk1 struct{ buf []byte }

func (c *chunk1) sum() uint32 { return (&chunk{buf: c.buf}).sum() }

func logonRecord(a *asm) {
	a.raw(tokFragment, 1, 1, 0)
	a.instance(0, logonBody(a), logonValues(77)...)
	a.raw(tokEOF)
}

// readAll reads a file to its end. It fails the test when there is none.
func readAll(t testing.TB, file []byte, opt Options) (recs []event.WindowsRecord, damaged []*Damage) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), opt)
	if err != nil {
		t.Fatal(err)
	}
	most := 2*len(file)/(recordHeader+recordTrailer) + 100
	for {
		rec, err := r.Next()
		var d *Damage
		switch {
		case errors.Is(err, io.EOF):
			return recs, damaged
		case errors.As(err, &d):
			damaged = append(damaged, d)
		case err != nil:
			t.Fatal(err)
		default:
			recs = append(recs, rec)
		}
		if len(recs)+len(damaged) > most {
			t.Fatalf("%d bytes gave %d records and %d damages", len(file), len(recs), len(damaged))
		}
	}
}

func TestBuiltFile(t *testing.T) {
	var def int
	file := fileOf(logonRecord, func(a *asm) {
		a.raw(tokFragment, 1, 1, 0)
		def = a.instance(0, logonBody(a), logonValues(0)...)
		a.raw(tokEOF)
	}, func(a *asm) { // by a definition that stands in another record, with a value of no type
		a.raw(tokFragment, 1, 1, 0)
		vals := logonValues(79)
		vals[4] = val{}
		a.instance(def, nil, vals...)
		a.raw(tokEOF)
	})
	recs, damaged := readAll(t, file, Options{})
	if len(recs) != 3 || len(damaged) != 0 {
		t.Fatalf("%d records, damage %v", len(recs), damaged)
	}
	r := recs[0]
	if r.EventID != 4624 || r.RecordID != 77 || r.Computer != "PC1" || r.Channel != "Security" || r.Time != 1748179800123 ||
		r.Get("TargetUserName") != "änn" || r.Get("LogonType") != "2" || r.Provider != "Microsoft-Windows-Security-Auditing" {
		t.Errorf("%+v", r)
	}
	var bare []string
	for _, v := range r.Data {
		if v.Name == "" {
			bare = append(bare, v.Value)
		}
	}
	if strings.Join(bare, ",") != "one,two,three" {
		t.Errorf("an array became %q", bare)
	}
	if recs[1].RecordID != 2 && recs[1].RecordID != 0 {
		t.Errorf("record id %d", recs[1].RecordID)
	}
	if recs[2].RecordID != 79 || recs[2].Get("TargetUserName") != "" {
		t.Errorf("%+v", recs[2])
	}
	// Data that nobody wants is not read.
	recs, _ = readAll(t, file, Options{Wanted: func(string, uint32) bool { return false }})
	if len(recs) != 3 || len(recs[0].Data) != 0 || recs[0].EventID != 4624 {
		t.Errorf("unwanted: %+v", recs)
	}
}

// TestHostile: files built to keep a reader busy for ever, or to make it fall
// over, end soon and cost no other chunk's records.
func TestHostile(t *testing.T) {
	nest := func(levels, branches int) func(a *asm) {
		return func(a *asm) {
			// Each level is a template whose one value, binary XML, is used many times.
			var level func(n int) []byte
			def := 0
			level = func(n int) []byte {
				inner := &asm{}
				if n == 0 {
					inner.raw(tokEOF)
					return inner.b
				}
				v := level(n - 1)
				inner.instance(def, nil, val{typeBinXML, v})
				return inner.b
			}
			a.raw(tokFragment, 1, 1, 0)
			def = a.pos() + 10
			a.instance(0, func() {
				for range branches {
					a.subst(0, typeBinXML)
				}
			}, val{typeBinXML, level(levels)})
		}
	}
	for _, c := range []struct {
		name, want string
		record     func(a *asm)
	}{
		{"templates in templates", "more work", nest(6, 500)},
		{"deeper than any", "nest too deep", nest(100, 1)},
		{"a value that holds itself", "nest too deep", func(a *asm) {
			self := &asm{}
			for range 300 {
				self.subst(0, typeBinXML)
			}
			a.instance(0, func() { a.subst(0, typeBinXML) }, val{typeBinXML, self.b})
		}},
		{"a definition that uses itself", "nest too deep", func(a *asm) {
			def := a.pos() + 10
			a.instance(0, func() {
				for range 100 {
					inner := &asm{base: a.pos()}
					inner.instance(def, nil)
					a.raw(inner.b...)
				}
			})
		}},
		{"one long text many times", "more work", func(a *asm) {
			a.instance(0, func() {
				a.element("Event", "", nil, func() {
					a.element("EventData", "", nil, func() {
						for range 6000 {
							a.subst(0, typeString)
						}
					})
				})
			}, val{typeString, encodeUTF16(strings.Repeat("x", 15_000))})
		}},
		{"one long attribute", "more work", func(a *asm) {
			a.instance(0, func() {
				a.element("Event", "Name", func() {
					for range 6000 {
						a.subst(0, typeString)
					}
				}, nil)
			}, val{typeString, encodeUTF16(strings.Repeat("x", 15_000))})
		}},
		{"elements without end", "nest too deep", func(a *asm) {
			a.raw(tokFragment, 1, 1, 0)
			for range 2000 {
				a.raw(tokOpen)
				a.u32(0)
				a.name("a")
			}
		}},
		{"more values than bytes", "more values", func(a *asm) {
			a.raw(tokTemplate, 1)
			a.u32(1)
			a.u32(a.pos() + 4)
			a.raw(make([]byte, 24)...)
			a.u32(1 << 30)
		}},
	} {
		file := fileOf(c.record)
		good := fileOf(logonRecord)
		recs, damaged := readAll(t, append(file, good[fileHeaderSize:]...), Options{})
		if len(recs) != 1 || len(damaged) != 1 || !strings.Contains(damaged[0].Reason, c.want) {
			t.Errorf("%s: %d records, damage %v, want %q", c.name, len(recs), damaged, c.want)
		}
	}
}

func TestFileDamage(t *testing.T) {
	good := fileOf(logonRecord, logonRecord, logonRecord)
	edit := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	le := binary.LittleEndian
	second := fileHeaderSize + chunkHeaderSize + int(le.Uint32(good[fileHeaderSize+chunkHeaderSize+4:]))
	for _, c := range []struct {
		name              string
		file              []byte
		records, salvaged int
		damage            string
	}{
		{"whole", good, 3, 3, ""},
		{"empty chunk behind", append(edit(func(b []byte) []byte { return b }), make([]byte, chunkSize)...), 3, 3, ""},
		{"nothing", nil, 0, 0, "ends after 0 bytes"},
		{"half a header", good[:2000], 0, 0, "ends after 2000 bytes"},
		{"header alone", good[:fileHeaderSize], 0, 0, ""},
		{"cut chunk", good[:len(good)-100], 0, 3, "cut off"},
		{"cut into the chunk's header", good[:fileHeaderSize+100], 0, 0, "cut off"},
		{"cut within zeros", append(edit(func(b []byte) []byte { return b }), make([]byte, 100)...), 3, 3, ""},
		{"no file magic", edit(func(b []byte) []byte { b[0] = 'x'; return b }), 3, 3, "does not begin as an event log"},
		{"no chunk magic", edit(func(b []byte) []byte { b[fileHeaderSize] = 'x'; return b }), 0, 0, "does not begin as a chunk"},
		{"bad checksum", edit(func(b []byte) []byte { b[fileHeaderSize+130]++; return b }), 3, 3, "checksum"},
		{"size of zero", edit(func(b []byte) []byte { le.PutUint32(b[second+4:], 0); return b }), 2, 3, "impossible"},
		{"size beyond the chunk", edit(func(b []byte) []byte { le.PutUint32(b[second+4:], 1<<30); return b }), 2, 3, "impossible"},
		{"size too small", edit(func(b []byte) []byte { le.PutUint32(b[second+4:], 40); return b }), 1, 2, "record 2"},
		{"record mark gone", edit(func(b []byte) []byte { b[second] = 0; return b }), 1, 2, "no record at byte"},
		{"content damaged", edit(func(b []byte) []byte { b[second+28] = 0x7f; return b }), 2, 2, "record 2"},
		{"promises too much", edit(func(b []byte) []byte {
			le.PutUint64(b[fileHeaderSize+16:], 9)
			le.PutUint32(b[fileHeaderSize+124:], (&chunk1{b[fileHeaderSize:]}).sum())
			return b
		}), 3, 3, "no record at byte"},
		{"promises nonsense", edit(func(b []byte) []byte {
			le.PutUint64(b[fileHeaderSize+8:], 1<<63)
			le.PutUint32(b[fileHeaderSize+124:], (&chunk1{b[fileHeaderSize:]}).sum())
			return b
		}), 3, 3, "no record at byte"},
	} {
		recs, damaged := readAll(t, c.file, Options{})
		told := ""
		for _, d := range damaged {
			told += d.Error() + "\n"
		}
		if len(recs) != c.records || (c.damage == "") != (told == "") || !strings.Contains(told, c.damage) {
			t.Errorf("%s: %d records, damage %q; want %d and %q", c.name, len(recs), told, c.records, c.damage)
		}
		if recs, _ := readAll(t, c.file, Options{Salvage: true}); len(recs) != c.salvaged {
			t.Errorf("%s: salvaged %d records, want %d", c.name, len(recs), c.salvaged)
		}
	}
}

func TestReadError(t *testing.T) {
	broken := errors.New("disk gone")
	r, err := NewReader(io.MultiReader(bytes.NewReader(fileOf(logonRecord)), iotestErr{broken}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	var d *Damage
	if _, err := r.Next(); !errors.As(err, &d) {
		t.Fatalf("%v, want a damage that tells where", err)
	}
	if _, err := r.Next(); !errors.Is(err, broken) {
		t.Fatalf("%v, want %v", err, broken)
	}
}

type iotestErr struct{ err error }

func (e iotestErr) Read([]byte) (int, error) { return 0, e.err }

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		typ  byte
		b    string
		want string
	}{
		{typeInt8, "\xff", "-1"},
		{typeInt16, "\xfe\xff", "-2"},
		{typeInt32, "\x00\x00\x00\x80", "-2147483648"},
		{typeInt64, "\xff\xff\xff\xff\xff\xff\xff\xff", "-1"},
		{typeUint8, "\xff", "255"},
		{typeUint64, "\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"},
		{typeHex32, "\xe7\x03\x00\x00", "0x3e7"},
		{typeHex64, "\xef\x1f\xd3\x01\x00\x00\x00\x00", "0x1d31fef"},
		{typeSizeT, "\x5c\x02\x00\x00\x00\x00\x00\x00", "0x25c"}, // of either width
		{typeSizeT, "\x5c\x02\x00\x00", "0x25c"},
		{typeReal64, "\x00\x00\x00\x00\x00\x00\xf8\x3f", "1.5"},
		{typeReal32, "\x00\x00\xc0\x3f", "1.5"},
		{typeBool, "\x01\x00\x00\x00", "true"},
		{typeBool, "\x00", "false"},
		{typeBinary, "\x01\xab", "01AB"},
		{typeANSI, "abc\x00", "abc"},
		{typeString, "a\x00\xe4\x00\x00\x00", "aä"},
		{typeString, "\x3d\xd8\x00\xde", "😀"},
		{typeString, "\x3d\xd8", "\ufffd"},
		{typeGUID, "\x25\x96\x84\x54\x78\x54\x94\x49\xa5\xba\x3e\x3b\x03\x28\xc3\x0d", "{54849625-5478-4994-a5ba-3e3b0328c30d}"},
		{typeFileTime, "\xbf\xa7\x24\x1d\x79\xcd\xdb\x01", "2025-05-25T13:30:00.1239999Z"},
		{typeSysTime, "\xe9\x07\x05\x00\x00\x00\x19\x00\x0d\x00\x1e\x00\x01\x00\x7b\x00", "2025-05-25T13:30:01.123Z"},
		{typeSID, "\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x20\x02\x00\x00", "S-1-5-32-544"},
		{typeSID, "\x01\x05\x00", ""},
		{typeUint32, "\x01\x02\x03", "010203"}, // of a width that it cannot have
		{0x7f, "\x01", "01"},
	} {
		if got := format(c.typ, []byte(c.b)); got != c.want {
			t.Errorf("format(%#x, %q) = %q, want %q", c.typ, c.b, got, c.want)
		}
	}
	if got := split(typeUint16, []byte("\x01\x00\x02\x00\x03")); strings.Join(got, ",") != "1,2" {
		t.Errorf("split: %q", got)
	}
}

// realFiles are event logs recorded by Windows itself.
func realFiles(t testing.TB, most int64) [][]byte {
	t.Helper()
	dir := os.Getenv("GATEHOUSE_TESTDATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	names, _ := filepath.Glob(filepath.Join(dir, "evtx", "*.evtx*"))
	var out [][]byte
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".gz") {
			gz, err := gzip.NewReader(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			if raw, err = io.ReadAll(gz); err != nil {
				t.Fatal(err)
			}
		}
		if int64(len(raw)) <= most {
			out = append(out, raw)
		}
	}
	return out
}

// TestMutatedFiles damages real files at random: reading ends, with no more
// records than before and one.
func TestMutatedFiles(t *testing.T) {
	files := realFiles(t, 80<<10)
	if len(files) == 0 {
		t.Skip("no collection of event logs (set GATEHOUSE_TESTDATA)")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 1500 {
		base := files[i%len(files)]
		file := append([]byte(nil), base...)
		for range 1 + rng.IntN(40) {
			at := fileHeaderSize + rng.IntN(len(file)-fileHeaderSize)
			switch rng.IntN(4) {
			case 0:
				file[at] = byte(rng.Uint32())
			case 1:
				file[at] ^= 1 << rng.IntN(8)
			case 2: // a run copied from elsewhere
				from := rng.IntN(len(file) - 64)
				copy(file[at:], file[from:from+rng.IntN(64)])
			default:
				clear(file[at:min(at+rng.IntN(32), len(file))])
			}
		}
		if rng.IntN(8) == 0 {
			file = file[:rng.IntN(len(file))]
		}
		readAll(t, file, Options{Salvage: i%2 == 0})
	}
}

// TestBudget: the real files stay far below what a chunk may cost.
func TestBudget(t *testing.T) {
	files := realFiles(t, 1<<30)
	if len(files) == 0 {
		t.Skip("no collection of event logs (set GATEHOUSE_TESTDATA)")
	}
	most := 0
	for _, file := range files {
		for pos := fileHeaderSize; pos+chunkSize <= len(file); pos += chunkSize {
			buf := file[pos : pos+chunkSize]
			if string(buf[:8]) != chunkMagic {
				continue
			}
			c := newChunk(buf, 1, Options{})
			for {
				if _, err := c.next(); errors.Is(err, io.EOF) {
					break
				}
			}
			most = max(most, chunkBudget-c.budget)
		}
	}
	t.Logf("the dearest chunk costs %d of %d", most, chunkBudget)
	if most > chunkBudget/8 {
		t.Errorf("the dearest real chunk costs %d of %d", most, chunkBudget)
	}
}

// FuzzReader patches a file at some places and reads it. The patches, not the
// file, are what the fuzzer mutates, so that nearly every try gets past the headers.
func FuzzReader(f *testing.F) {
	bases := append(realFiles(f, 80<<10), fileOf(logonRecord, logonRecord, logonRecord))
	f.Add(uint(0), uint32(fileHeaderSize+chunkHeaderSize), []byte{0x0f, 1, 1, 0}, uint32(0), []byte{}, false)
	f.Add(uint(1), uint32(600), []byte{0x0c}, uint32(40000), []byte{0, 0, 0, 0}, true)
	f.Add(uint(len(bases)-1), uint32(fileHeaderSize+48), []byte{0xff}, uint32(5000), []byte{0x21}, false)
	f.Fuzz(func(t *testing.T, which uint, at1 uint32, patch1 []byte, at2 uint32, patch2 []byte, salvage bool) {
		file := append([]byte(nil), bases[which%uint(len(bases))]...)
		copy(file[int(at1)%len(file):], patch1)
		copy(file[int(at2)%len(file):], patch2)
		recs, _ := readAll(t, file, Options{Salvage: salvage})
		for i := range recs {
			if e, ok := recs[i].Event(); ok {
				_ = e.ID()
			}
		}
	})
}
