package query

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// FuzzRowReader: whatever comes, it is read or refused, and a whole answer is read as it was written.
func FuzzRowReader(f *testing.F) {
	f.Add([]byte("\x03ann\x02\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"), 0)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 3)
	f.Fuzz(func(t *testing.T, name []byte, cut int) {
		if len(name) > 1<<16 {
			return
		}
		garbage := &rowReader{r: bufio.NewReader(bytes.NewReader(name))}
		for garbage.more() {
			_, _ = garbage.text(""), garbage.numbers()
		}
		row := binary.AppendUvarint(nil, uint64(len(name)))
		row = append(row, name...)
		row = binary.AppendUvarint(row, 2)
		row = binary.LittleEndian.AppendUint64(row, 7)
		row = binary.LittleEndian.AppendUint64(row, 8)
		whole := &rowReader{r: bufio.NewReader(bytes.NewReader(row))}
		if !whole.more() {
			t.Fatal("no row")
		}
		text, numbers := whole.text("before"), whole.numbers()
		if text != string(name) || len(numbers) != 16 || binary.LittleEndian.Uint64(numbers[8:]) != 8 || whole.more() || whole.err != nil {
			t.Errorf("%q %v %v", text, numbers, whole.err)
		}
		if cut = cut % len(row); cut <= 0 {
			return
		}
		torn := &rowReader{r: bufio.NewReader(bytes.NewReader(row[:cut]))}
		if torn.more() {
			_, _ = torn.text(""), torn.numbers()
		}
		if !errors.Is(torn.err, io.ErrUnexpectedEOF) {
			t.Errorf("cut off at %d of %d: %v", cut, len(row), torn.err)
		}
	})
}
