//go:build linux || darwin

//nolint:gosec // this file is the boundary to C, which is made of pointers
package engine

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb bound by name. One process loads it once: it keeps global
// state (one data directory for each process) and cannot be unloaded.
//
// All calls below take explicit lengths, so SQL and data may hold any byte.
// The library copies what it is given before a call returns.
type library struct {
	connect   func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	closeConn func(conn unsafe.Pointer)
	shutdown  func() int32
	version   func() string

	setSignalHandlers func(enabled int32)

	query         func(conn, q unsafe.Pointer, qn uintptr, f unsafe.Pointer, fn uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	stream        func(conn, q unsafe.Pointer, qn uintptr, f unsafe.Pointer, fn uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	streamFetch   func(conn, result unsafe.Pointer) unsafe.Pointer
	streamCancel  func(conn, result unsafe.Pointer)
	destroyResult func(result unsafe.Pointer)

	insert        func(conn, q unsafe.Pointer, qn uintptr, f unsafe.Pointer, fn uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	insertAppend  func(stream, data unsafe.Pointer, n uintptr) int32
	insertDone    func(stream unsafe.Pointer) unsafe.Pointer
	insertCancel  func(stream unsafe.Pointer)
	insertError   func(stream unsafe.Pointer) unsafe.Pointer
	insertDestroy func(stream unsafe.Pointer)

	resultBuffer      func(result unsafe.Pointer) unsafe.Pointer
	resultLength      func(result unsafe.Pointer) uintptr
	resultError       func(result unsafe.Pointer) unsafe.Pointer
	resultRowsRead    func(result unsafe.Pointer) uint64
	resultBytesRead   func(result unsafe.Pointer) uint64
	resultStorageRows func(result unsafe.Pointer) uint64
	resultStorageByte func(result unsafe.Pointer) uint64
	resultRowsWritten func(result unsafe.Pointer) uint64
	resultByteWritten func(result unsafe.Pointer) uint64

	classify func(conn, q unsafe.Pointer, qn uintptr, db unsafe.Pointer, dbn uintptr, out unsafe.Pointer) int32
}

// openLibrary loads libchdb from path and binds what this package calls. A
// library that lacks one of the calls is too old, and is refused by name.
func openLibrary(path string) (lib *library, err error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load engine library %s: %w", path, err)
	}
	lib = &library{}
	for _, s := range []struct {
		fn   any
		name string
	}{
		{&lib.connect, "chdb_connect"},
		{&lib.closeConn, "chdb_close_conn"},
		{&lib.shutdown, "chdb_shutdown"},
		{&lib.version, "chdb_version"},
		{&lib.setSignalHandlers, "chdb_set_signal_handlers_enabled"},
		{&lib.query, "chdb_query_with_params_n"},
		{&lib.stream, "chdb_stream_query_with_params_n"},
		{&lib.streamFetch, "chdb_stream_fetch_result"},
		{&lib.streamCancel, "chdb_stream_cancel_query"},
		{&lib.destroyResult, "chdb_destroy_query_result"},
		{&lib.insert, "chdb_stream_insert_with_params_n"},
		{&lib.insertAppend, "chdb_stream_append"},
		{&lib.insertDone, "chdb_stream_done"},
		{&lib.insertCancel, "chdb_stream_cancel_insert"},
		{&lib.insertError, "chdb_stream_insert_error"},
		{&lib.insertDestroy, "chdb_destroy_insert_stream"},
		{&lib.resultBuffer, "chdb_result_buffer"},
		{&lib.resultLength, "chdb_result_length"},
		{&lib.resultError, "chdb_result_error"},
		{&lib.resultRowsRead, "chdb_result_rows_read"},
		{&lib.resultBytesRead, "chdb_result_bytes_read"},
		{&lib.resultStorageRows, "chdb_result_storage_rows_read"},
		{&lib.resultStorageByte, "chdb_result_storage_bytes_read"},
		{&lib.resultRowsWritten, "chdb_result_rows_written"},
		{&lib.resultByteWritten, "chdb_result_bytes_written"},
		{&lib.classify, "chdb_classify_query_n"},
	} {
		sym, err := purego.Dlsym(handle, s.name)
		if err != nil {
			return nil, fmt.Errorf("engine library %s has no %s, it is too old: %w", path, s.name, err)
		}
		purego.RegisterFunc(s.fn, sym)
	}
	return lib, nil
}

// connection is one chDB session. It runs one statement at a time and is not
// safe for concurrent use: the pool hands it to one request at a time.
type connection struct {
	lib    *library
	handle *unsafe.Pointer // chdb_connection *, owned by the library
	conn   unsafe.Pointer  // *handle
}

// open connects with command line arguments such as --path=… or --readonly=1.
// The first connection of the process boots the engine.
func (l *library) open(args ...string) (*connection, error) {
	args = append([]string{"clickhouse"}, args...)
	var pin runtime.Pinner
	defer pin.Unpin()
	argv := make([]*byte, len(args)+1)
	for i, a := range args {
		b := append([]byte(a), 0)
		pin.Pin(&b[0])
		argv[i] = &b[0]
	}
	h := (*unsafe.Pointer)(l.connect(int32(len(args)), unsafe.Pointer(&argv[0])))
	runtime.KeepAlive(argv)
	if h == nil || *h == nil {
		return nil, errors.New("the engine library refused the connection (its log has the reason)")
	}
	return &connection{lib: l, handle: h, conn: *h}, nil
}

func (c *connection) close() {
	if c.handle != nil {
		c.lib.closeConn(unsafe.Pointer(c.handle))
		c.handle, c.conn = nil, nil
	}
}

// param is one {name:Type} value as text.
type param struct{ name, value string }

// cparams lays parameters out as the four parallel arrays of the C interface.
type cparams struct {
	pin                   runtime.Pinner
	names, values         []unsafe.Pointer
	nameLens, valueLens   []uintptr
	pNames, pValues       unsafe.Pointer
	pNameLens, pValueLens unsafe.Pointer
}

func newCParams(ps []param) *cparams {
	c := &cparams{}
	if len(ps) == 0 {
		return c
	}
	for _, p := range ps {
		c.names = append(c.names, c.ptr(p.name))
		c.nameLens = append(c.nameLens, uintptr(len(p.name)))
		c.values = append(c.values, c.ptr(p.value))
		c.valueLens = append(c.valueLens, uintptr(len(p.value)))
	}
	c.pNames, c.pValues = unsafe.Pointer(&c.names[0]), unsafe.Pointer(&c.values[0])
	c.pNameLens, c.pValueLens = unsafe.Pointer(&c.nameLens[0]), unsafe.Pointer(&c.valueLens[0])
	return c
}

func (c *cparams) ptr(s string) unsafe.Pointer {
	b := append([]byte(s), 0)
	c.pin.Pin(&b[0])
	return unsafe.Pointer(&b[0])
}

func (c *cparams) free() { c.pin.Unpin() }

// bytesPtr is the address of s. Never nil, so that an empty string is an empty
// string for the library and not a missing one.
func bytesPtr(s string) unsafe.Pointer {
	if s == "" {
		return unsafe.Pointer(&emptyByte)
	}
	return unsafe.Pointer(unsafe.StringData(s))
}

var emptyByte byte

// cString copies a C string. The text of an error may be followed by a stack
// trace; callers trim it.
func cString(p unsafe.Pointer) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}

// stats is what the engine tells of the work that a statement did.
type stats struct {
	rows, bytes               uint64 // in the result
	storageRows, storageBytes uint64 // read from tables
	writtenRows, writtenBytes uint64
}

func (c *connection) stats(r unsafe.Pointer) stats {
	return stats{
		rows: c.lib.resultRowsRead(r), bytes: c.lib.resultBytesRead(r),
		storageRows: c.lib.resultStorageRows(r), storageBytes: c.lib.resultStorageByte(r),
		writtenRows: c.lib.resultRowsWritten(r), writtenBytes: c.lib.resultByteWritten(r),
	}
}

func (c *connection) failure(r unsafe.Pointer) error {
	if r == nil {
		return newException("Code: 1001. DB::Exception: the engine returned nothing (STD_EXCEPTION)")
	}
	if msg := cString(c.lib.resultError(r)); msg != "" {
		return newException(msg)
	}
	return nil
}

// query runs a statement to its end and returns a copy of its result. For small
// results: see streamQuery.
func (c *connection) query(q, format string, ps []param) (out []byte, st stats, err error) {
	err = c.queryTo(q, format, ps, func(b []byte, s stats) error {
		out, st = append([]byte(nil), b...), s
		return nil
	})
	return out, st, err
}

// queryTo runs a statement to its end and lends its whole result to use.
func (c *connection) queryTo(q, format string, ps []param, use func([]byte, stats) error) error {
	cp := newCParams(ps)
	defer cp.free()
	r := c.lib.query(c.conn, bytesPtr(q), uintptr(len(q)), bytesPtr(format), uintptr(len(format)),
		cp.pNames, cp.pNameLens, cp.pValues, cp.pValueLens, uintptr(len(ps)))
	runtime.KeepAlive(cp)
	runtime.KeepAlive(q)
	if r != nil {
		defer c.lib.destroyResult(r)
	}
	if err := c.failure(r); err != nil {
		return err
	}
	var b []byte
	if n := c.lib.resultLength(r); n > 0 {
		b = unsafe.Slice((*byte)(c.lib.resultBuffer(r)), n)
	}
	return use(b, c.stats(r))
}

// resultStream is a running SELECT whose result is fetched in pieces.
type resultStream struct {
	c    *connection
	r    unsafe.Pointer
	last unsafe.Pointer
	done bool
}

// streamQuery starts a statement whose result is read by next.
func (c *connection) streamQuery(q, format string, ps []param) (*resultStream, error) {
	cp := newCParams(ps)
	defer cp.free()
	r := c.lib.stream(c.conn, bytesPtr(q), uintptr(len(q)), bytesPtr(format), uintptr(len(format)),
		cp.pNames, cp.pNameLens, cp.pValues, cp.pValueLens, uintptr(len(ps)))
	runtime.KeepAlive(cp)
	if err := c.failure(r); err != nil {
		if r != nil {
			c.lib.destroyResult(r)
		}
		return nil, err
	}
	return &resultStream{c: c, r: r}, nil
}

// next returns the next piece, valid until the following call, or nil at the end.
func (s *resultStream) next() ([]byte, stats, error) {
	if s.done {
		return nil, stats{}, nil
	}
	s.release()
	s.last = s.c.lib.streamFetch(s.c.conn, s.r)
	if err := s.c.failure(s.last); err != nil {
		s.done = true
		return nil, stats{}, err
	}
	n := s.c.lib.resultLength(s.last)
	st := s.c.stats(s.last)
	if n == 0 {
		s.done = true
		return nil, st, nil
	}
	return unsafe.Slice((*byte)(s.c.lib.resultBuffer(s.last)), n), st, nil
}

func (s *resultStream) release() {
	if s.last != nil {
		s.c.lib.destroyResult(s.last)
		s.last = nil
	}
}

// close ends the statement, cancelling it if it has not come to its end.
func (s *resultStream) close() {
	s.release()
	if !s.done {
		s.c.lib.streamCancel(s.c.conn, s.r)
		s.done = true
	}
	s.c.lib.destroyResult(s.r)
}

// insertStream is a running INSERT that is fed in pieces.
type insertStream struct {
	c *connection
	s unsafe.Pointer
}

func (c *connection) streamInsert(q, format string, ps []param) (*insertStream, error) {
	cp := newCParams(ps)
	defer cp.free()
	s := c.lib.insert(c.conn, bytesPtr(q), uintptr(len(q)), bytesPtr(format), uintptr(len(format)),
		cp.pNames, cp.pNameLens, cp.pValues, cp.pValueLens, uintptr(len(ps)))
	runtime.KeepAlive(cp)
	if s == nil {
		return nil, newException("Code: 1001. DB::Exception: the engine did not start the insert (STD_EXCEPTION)")
	}
	is := &insertStream{c: c, s: s}
	if err := is.failure(); err != nil {
		c.lib.insertDestroy(s)
		return nil, err
	}
	return is, nil
}

func (s *insertStream) failure() error {
	if msg := cString(s.c.lib.insertError(s.s)); msg != "" {
		return newException(msg)
	}
	return nil
}

// append hands over data, waiting while the engine is behind.
func (s *insertStream) append(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if s.c.lib.insertAppend(s.s, unsafe.Pointer(&b[0]), uintptr(len(b))) == 0 {
		return nil
	}
	if err := s.failure(); err != nil {
		return err
	}
	return newException("Code: 1001. DB::Exception: the insert ended early (STD_EXCEPTION)")
}

// commit ends the data; when it returns without error the rows are stored.
func (s *insertStream) commit() (stats, error) {
	r := s.c.lib.insertDone(s.s)
	if r != nil {
		defer s.c.lib.destroyResult(r)
	}
	if err := s.c.failure(r); err != nil {
		return stats{}, err
	}
	return s.c.stats(r), nil
}

func (s *insertStream) cancel()  { s.c.lib.insertCancel(s.s) }
func (s *insertStream) destroy() { s.c.lib.insertDestroy(s.s) }

// classReadOnly is a statement that leaves no trace, by the engine's own parser.
const classReadOnly = 0

type analysis struct {
	size       uint32
	statements uint32
	flags      uint32
	class      uint32
}

// classifyQuery asks the engine's parser what a statement would do, running nothing.
func (c *connection) classifyQuery(q string) (analysis, error) {
	a := analysis{size: uint32(unsafe.Sizeof(analysis{}))}
	if c.lib.classify(c.conn, bytesPtr(q), uintptr(len(q)), nil, 0, unsafe.Pointer(&a)) != 0 {
		return analysis{}, errors.New("the engine did not classify the statement")
	}
	runtime.KeepAlive(q)
	return a, nil
}

// baseVersion is the library's own version, for instance 26.7.3.
func (l *library) baseVersion() string { return strings.TrimSpace(l.version()) }
