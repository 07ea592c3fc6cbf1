//go:build linux || darwin

package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// ServerDisplayName is what the engine calls itself.
const ServerDisplayName = "gatehouse-engine"

// What tells the supervisor which process answers, and its Fence: what a child writes is read only when it dies.
const (
	pidHeader   = "X-Gatehouse-Engine-Pid"
	fenceHeader = "X-Gatehouse-Engine-Fence"
)

// appendSize is how much of an insert's data is handed to the engine at once.
const appendSize = 256 << 10

var pid = strconv.Itoa(os.Getpid())

// handler is ClickHouse's HTTP interface on a database.
type handler struct {
	d         *database
	tmp       string
	log       *slog.Logger
	fence     string // a Fence
	allowFile bool   // tests of the fence only: lets INTO OUTFILE reach the kernel
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/ping" || r.URL.Path == "/replicas_status",
		r.URL.Path == "/" && r.Method == http.MethodGet && !r.URL.Query().Has("query"):
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		_, _ = io.WriteString(w, "Ok.\n")
		return
	case r.Method == http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	case r.URL.Path != "/":
		http.Error(w, "There is no handle "+r.URL.Path, http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodPost && r.Method != http.MethodHead:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	hd := w.Header()
	hd.Set("X-ClickHouse-Server-Display-Name", ServerDisplayName)
	hd.Set("X-ClickHouse-Timezone", "UTC")
	hd.Set(pidHeader, pid)
	hd.Set(fenceHeader, h.fence)
	req, err := parseRequest(r)
	resp := newResponse(w, req, h.tmp)
	defer resp.held.close()
	if req != nil {
		hd.Set("X-ClickHouse-Query-Id", req.queryID)
	}
	if err == nil {
		err = h.run(r.Context(), r.Method, req, resp)
	}
	if err == nil {
		err = resp.finish()
	}
	if err != nil {
		e := asException(err)
		h.log.Debug("statement failed", slog.Int("code", e.code))
		resp.fail(e)
	}
}

// run executes one request in a session of its own.
func (h *handler) run(ctx context.Context, method string, req *request, resp *response) error {
	if isHello(req) {
		return h.hello(req, resp)
	}
	if err := h.d.acquire(ctx); err != nil {
		return err
	}
	defer h.d.release()
	if err := h.d.register(req.queryID); err != nil {
		return err
	}
	defer h.d.unregister(req.queryID)

	// The library keeps state for each thread while a statement runs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	c, done, err := h.d.session(req)
	if err != nil {
		return err
	}
	defer done()

	st := parseStatement(req.text)
	rows, err := h.check(c, method, req, st)
	if err != nil {
		return err
	}

	finished := make(chan struct{})
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		h.d.kill(req.queryID, finished)
	})
	defer func() {
		close(finished)
		if !stop() {
			<-killed
		}
	}()

	if st.insertData && req.data != nil {
		return h.insert(c, req, st, resp)
	}
	format := first(st.format, req.format)
	if rows {
		if joinOf(format) == joinWhole && isIdentifier(format) {
			err = h.viaFile(c, req, st, format, resp)
		} else {
			err = h.stream(c, req, format, resp)
		}
		return err
	}
	return h.whole(c, req, st, format, resp)
}

// check refuses what the HTTP interface of ClickHouse refuses, and for a
// company's session everything that is not one read-only statement. rows says
// that the statement is a query whose result can be streamed.
func (h *handler) check(c *connection, method string, req *request, st statement) (rows bool, err error) {
	if st.keyword == "" && strings.TrimSpace(req.text) == "" {
		return false, raise(codeSyntaxError, "SYNTAX_ERROR", "Empty query")
	}
	if st.outfile && !h.allowFile {
		return false, raise(codeOutfile, "INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE and FROM INFILE are not allowed")
	}
	mayWrite := req.company == "" && method == http.MethodPost
	if st.insertData && req.data != nil {
		if !mayWrite {
			return false, raise(codeReadonly, "READONLY", "Cannot execute query in readonly mode")
		}
		return false, nil
	}
	a, err := c.classifyQuery(req.text)
	if err != nil {
		return false, err
	}
	if a.statements > 1 {
		return false, raise(codeSyntaxError, "SYNTAX_ERROR", "Multi-statements are not allowed")
	}
	readOnly := a.class == classReadOnly
	if !readOnly && !mayWrite {
		return false, raise(codeReadonly, "READONLY", "Cannot execute query in readonly mode")
	}
	if req.company != "" {
		if err := refuseSettings(c, req); err != nil {
			return false, err
		}
	}
	query := st.keyword == "SELECT" || st.keyword == "WITH" || st.keyword == "FROM"
	return readOnly && query, nil
}

// refuseSettings refuses SETTINGS in a company's statement. ClickHouse holds a session's constraints against those of the statement
// itself, but not against those of a query within it, which could so name another company. What SETTINGS there are the engine's own
// parser says: it cannot be deceived by quotes and comments, and is asked only where the word stands somewhere.
func refuseSettings(c *connection, req *request) error {
	if !strings.Contains(strings.ToLower(req.text), "settings") {
		return nil
	}
	tree, _, err := c.query("EXPLAIN AST "+req.text, "TSVRaw", req.params)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(tree)) {
		if strings.TrimSpace(line) == "Set" {
			return raise(codeReadonly, "READONLY", "SETTINGS are not for a company's statement: send them as parameters of the request")
		}
	}
	return nil
}

// stream sends a result in pieces as the engine produces them.
func (h *handler) stream(c *connection, req *request, format string, resp *response) error {
	s, err := c.streamQuery(req.text, format, req.params)
	if err != nil {
		return err
	}
	defer s.close()
	j := joiner{kind: joinOf(format)}
	for {
		b, st, err := s.next()
		if err != nil {
			return err
		}
		resp.add(st)
		resp.start(format)
		if b == nil {
			break
		}
		parts, ok := j.piece(b)
		if !ok {
			return raise(codeStdException, "STD_EXCEPTION", "A piece of the result is not %s", format)
		}
		for _, p := range parts {
			if _, err := resp.Write(p); err != nil {
				return err
			}
		}
	}
	if j.pieces == 0 && strings.EqualFold(format, "Native") {
		_, err = resp.Write(emptyBlock(c, req))
		return err
	}
	_, err = resp.Write(j.tail())
	return err
}

// viaFile has the engine write a result that cannot be streamed into a file of
// its own directory, and sends that: the result need not fit into memory.
func (h *handler) viaFile(c *connection, req *request, st statement, format string, resp *response) error {
	path := filepath.Join(h.tmp, "result-"+newQueryID())
	defer func() { _ = os.Remove(path) }()
	err := c.queryTo(st.intoFile(req.text, path, format), format, req.params, func(_ []byte, s stats) error {
		resp.add(s)
		return nil
	})
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a statement without a result
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	resp.start(format)
	_, err = io.Copy(resp, f)
	return err
}

// emptyBlock is a Native block with the columns of a statement and no row, so
// that a client learns the columns of an empty result. Nil where they cannot
// be had without running the statement again.
func emptyBlock(c *connection, req *request) []byte {
	if st := parseStatement(req.text); st.format != "" {
		return nil
	}
	q := "DESCRIBE TABLE (\n" + strings.TrimRight(req.text, "; \t\r\n") + "\n)"
	b, _, err := c.query(q, "TabSeparatedRaw", req.params)
	if err != nil {
		return nil
	}
	var columns [][2]string
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(line, "\t", 3)
		if len(f) < 3 {
			return nil // a name or type with a line break in it
		}
		columns = append(columns, [2]string{f[0], f[1]})
	}
	out := binary.AppendUvarint(nil, uint64(len(columns)))
	out = append(out, 0)
	for _, c := range columns {
		for _, s := range c {
			out = binary.AppendUvarint(out, uint64(len(s)))
			out = append(out, s...)
		}
	}
	return out
}

// whole runs a statement to its end and sends what it returns.
func (h *handler) whole(c *connection, req *request, st statement, format string, resp *response) error {
	return c.queryTo(req.text, format, req.params, func(b []byte, s stats) error {
		resp.add(s)
		if len(b) == 0 {
			return nil
		}
		resp.start(format)
		_, err := resp.Write(b)
		return err
	})
}

// insert streams the data of an INSERT into the engine.
func (h *handler) insert(c *connection, req *request, st statement, resp *response) error {
	head := req.text[:st.head]
	format := first(st.format, "Values")
	in, err := c.streamInsert(head, format, req.params)
	if err != nil {
		return err
	}
	defer in.destroy()
	if st.data < len(req.text) {
		if err := in.append([]byte(req.text[st.data:])); err != nil {
			return err
		}
	}
	buf := make([]byte, appendSize)
	for {
		n, err := fill(req.data, buf)
		if n > 0 {
			if err := in.append(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// The rest will not come. Blocks that were already full are stored,
			// as on a server; the client has no acknowledgement and sends again.
			in.cancel()
			return raise(codeCancelled, "QUERY_WAS_CANCELLED", "The data of the insert broke off: %s", err)
		}
	}
	s, err := in.commit()
	if err != nil {
		return err
	}
	resp.add(s)
	return nil
}

// fill reads until buf is full. Unlike io.ReadFull it passes the reader's error
// on, for a body that broke off must not look like one that ended.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	return n, err
}

// isHello recognises the question with which clickhouse-go opens a connection.
func isHello(req *request) bool {
	return req.revision > 0 && strings.EqualFold(req.format, "Native") &&
		strings.TrimRight(strings.TrimSpace(req.text), ";") == "SELECT displayName(), version(), revision(), timezone()"
}

// Revisions of the native protocol at which a block's layout changed.
const (
	revisionBlockInfo     = 51903
	revisionSerialization = 54454
)

// hello answers with revision 0. The client reads this one answer as a block
// of its own revision, and everything later at the revision told here: at 0
// that is the plain Native format, which is what the library writes.
func (h *handler) hello(req *request, resp *response) error {
	var b []byte
	if req.revision >= revisionBlockInfo {
		b = append(b, 1, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0)
	}
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = append(b, 4, 1) // columns, rows
	column := func(name, typ string) {
		str(name)
		str(typ)
		if req.revision >= revisionSerialization {
			b = append(b, 0)
		}
	}
	column("displayName()", "String")
	str(ServerDisplayName)
	column("version()", "String")
	str(h.d.version)
	column("revision()", "UInt32")
	b = append(b, 0, 0, 0, 0)
	column("timezone()", "String")
	str("UTC")
	resp.start("Native")
	if _, err := resp.Write(b); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	return nil
}
