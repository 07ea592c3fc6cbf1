package query

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// rowReader reads an answer in ClickHouse's format RowBinary: the columns of a row one after the other, numbers little-endian,
// lengths of strings and arrays before them as LEB128. Scanning arrays into a row by reflection takes longer than
// ClickHouse needs to make them. The first error stays, and everything is empty after it.
type rowReader struct {
	r   *bufio.Reader
	err error
	buf []byte
}

// more tells whether another row follows.
func (r *rowReader) more() bool {
	if r.err != nil {
		return false
	}
	_, err := r.r.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return err == nil
}

// bytes gives the next n, until the next call.
func (r *rowReader) bytes(n int) []byte {
	if r.err != nil {
		return nil
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.fail(err)
		return nil
	}
	return b
}

func (r *rowReader) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	r.err = fmt.Errorf("the answer broke off: %w", err)
}

// maxRowPart bounds one string or array: beyond it the answer is not what it is taken for.
const maxRowPart = math.MaxInt32 / 8

// length is that of a string or array.
func (r *rowReader) length() int {
	if r.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(r.r)
	switch {
	case err != nil:
		r.fail(err)
	case n > maxRowPart:
		r.err = fmt.Errorf("a length of %d in the answer", n)
	default:
		return int(n)
	}
	return 0
}

// text gives a String, the one before again where they are equal.
func (r *rowReader) text(before string) string {
	b := r.bytes(r.length())
	if string(b) == before {
		return before
	}
	return string(b)
}

// uint64 gives a UInt64.
func (r *rowReader) uint64() uint64 {
	b := r.bytes(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// numbers gives the elements of an Array(UInt64) or Array(Int64) as they are, eight bytes each, until the next call.
func (r *rowReader) numbers() []byte { return r.bytes(8 * r.length()) }

// rows runs a statement with bound values and calls row until there is none left; row reads one.
func (r *Reports) rows(ctx context.Context, sql string, a args, row func(*rowReader) error) (err error) {
	ctx, done, err := r.begin(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	answer, err := r.conn.QueryFormat(ctx, "RowBinary", sql)
	if err != nil {
		return queryError(ctx, err)
	}
	defer func() {
		if cerr := answer.Close(); cerr != nil && err == nil {
			err = queryError(ctx, cerr)
		}
	}()
	rr := &rowReader{r: bufio.NewReaderSize(answer, 64<<10)}
	for rr.more() {
		if err := row(rr); err != nil {
			return err
		}
	}
	if rr.err != nil {
		return queryError(ctx, rr.err)
	}
	return nil
}
