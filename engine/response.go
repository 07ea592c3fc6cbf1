package engine

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// holdSize is how much of an answer is held back before its headers go out. A
// statement that fails within it gets a status and an error body instead of
// half a result, and short answers get a complete summary.
const holdSize = 256 << 10

// spillSize is how much of an answer wait_end_of_query=1 keeps in memory. The
// rest goes to a temporary file in the engine's directory.
const spillSize = 4 << 20

// response writes an answer with ClickHouse's headers and framing. A statement
// that fails after the headers are out ends in ClickHouse's exception block.
type response struct {
	w      http.ResponseWriter
	req    *request
	tmp    string
	begin  time.Time
	total  stats
	format string // of the result; empty while there is none

	held spillFile // what is not sent yet
	sent bool      // the headers are out
	tag  string

	out    io.Writer // what the result is written to once sent
	blocks *blockWriter
	enc    io.WriteCloser
}

func newResponse(w http.ResponseWriter, req *request, tmp string) *response {
	return &response{w: w, req: req, tmp: tmp, begin: time.Now(), held: spillFile{dir: tmp}}
}

// start says that there is a result, even if nothing gets written, and its format.
func (r *response) start(format string) {
	if r.format == "" {
		r.format = format
	}
}

// Write takes a part of the result.
func (r *response) Write(p []byte) (int, error) {
	if r.sent {
		return r.out.Write(p)
	}
	if r.req.waitForEnd || r.held.size+int64(len(p)) <= holdSize {
		return r.held.Write(p)
	}
	if err := r.send(false); err != nil {
		return 0, err
	}
	return r.out.Write(p)
}

// send lets the headers go, and what was held. complete says that nothing follows.
func (r *response) send(complete bool) error {
	h := r.w.Header()
	h.Set("X-ClickHouse-Summary", r.summary())
	h.Set("Content-Type", contentType(r.format))
	if r.format != "" {
		h.Set("X-ClickHouse-Format", r.format)
	}
	if !complete {
		r.tag = exceptionTag()
		h.Set("X-ClickHouse-Exception-Tag", r.tag)
	}
	r.sent = true
	if complete && r.held.size == 0 {
		return nil // no body: clients tell it from an empty compressed one
	}
	r.out = r.w
	if r.req.encoding != "" {
		enc, err := encodeWriter(r.w, r.req.encoding)
		if err != nil {
			return err
		}
		h.Set("Content-Encoding", r.req.encoding)
		r.enc, r.out = enc, enc
	}
	if r.req.compress {
		r.blocks = newBlockWriter(r.out, r.req.zstdBlocks)
		r.out = r.blocks
	}
	return r.held.copyTo(r.out)
}

// finish ends a good answer.
func (r *response) finish() error {
	if !r.sent {
		if err := r.send(true); err != nil {
			return err
		}
	}
	if r.blocks != nil {
		if err := r.blocks.Close(); err != nil {
			return err
		}
	}
	if r.enc != nil {
		return r.enc.Close()
	}
	return nil
}

// fail ends an answer with an exception, in whichever way is still open.
func (r *response) fail(e *exception) {
	if !r.sent {
		h := r.w.Header()
		h.Set("Content-Type", "text/plain; charset=UTF-8")
		h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.code))
		h.Set("X-ClickHouse-Summary", r.summary())
		if e.code == codeTooManyQueries {
			h.Set("Retry-After", "1")
		}
		r.w.WriteHeader(httpStatus(e.code))
		text := []byte(e.msg + "\n")
		if r.req != nil && r.req.compress {
			_ = newBlockWriter(r.w, r.req.zstdBlocks).writeStored(text)
			return
		}
		_, _ = r.w.Write(text) //nolint:gosec // text/plain, to a client of the socket
		return
	}
	if r.out == nil {
		return
	}
	block := exceptionBlock(r.tag, e.msg)
	if r.blocks != nil {
		_ = r.blocks.writeStored(block)
	} else {
		_, _ = r.out.Write(block)
	}
	if r.enc != nil {
		_ = r.enc.Close()
	}
}

func exceptionBlock(tag, msg string) []byte {
	msg = strings.TrimRight(msg, "\n") + "\n"
	return fmt.Appendf(nil, "\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n", tag, msg, len(msg), tag)
}

func exceptionTag() string {
	var b [10]byte
	_, _ = rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// summary is X-ClickHouse-Summary: numbers as strings, as the server writes them.
func (r *response) summary() string {
	s := struct {
		ReadRows     string `json:"read_rows"`
		ReadBytes    string `json:"read_bytes"`
		WrittenRows  string `json:"written_rows"`
		WrittenBytes string `json:"written_bytes"`
		TotalRows    string `json:"total_rows_to_read"`
		ResultRows   string `json:"result_rows"`
		ResultBytes  string `json:"result_bytes"`
		Elapsed      string `json:"elapsed_ns"`
	}{
		u(r.total.storageRows), u(r.total.storageBytes), u(r.total.writtenRows), u(r.total.writtenBytes),
		u(r.total.storageRows), u(r.total.rows), u(r.total.bytes), strconv.FormatInt(time.Since(r.begin).Nanoseconds(), 10),
	}
	b, err := json.Marshal(s)
	if err != nil {
		return "{}"
	}
	return string(b)
}

func u(n uint64) string { return strconv.FormatUint(n, 10) }

func (r *response) add(s stats) {
	r.total.rows += s.rows
	r.total.bytes += s.bytes
	r.total.storageRows += s.storageRows
	r.total.storageBytes += s.storageBytes
	r.total.writtenRows += s.writtenRows
	r.total.writtenBytes += s.writtenBytes
}

func contentType(format string) string {
	f := strings.ToLower(format)
	switch {
	case strings.HasPrefix(f, "csv"):
		if strings.Contains(f, "withnames") {
			return "text/csv; charset=UTF-8; header=present"
		}
		return "text/csv; charset=UTF-8; header=absent"
	case strings.HasPrefix(f, "tsv"), strings.HasPrefix(f, "tabseparated"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.Contains(f, "eachrow"), f == "ndjson", f == "jsonlines", f == "jsonl":
		if strings.HasPrefix(f, "bson") {
			return "application/octet-stream"
		}
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(f, "json"):
		return "application/json; charset=UTF-8"
	case f == "xml":
		return "application/xml; charset=UTF-8"
	case f == "markdown", f == "md":
		return "text/markdown; charset=UTF-8"
	case strings.HasPrefix(f, "rowbinary"), f == "native", f == "parquet", f == "arrow", f == "orc", f == "avro", f == "msgpack", f == "npy":
		return "application/octet-stream"
	case f == "arrowstream":
		return "application/vnd.apache.arrow.stream"
	}
	return "text/plain; charset=UTF-8"
}

// spillFile holds an answer, in memory first and then in a file.
type spillFile struct {
	dir  string
	mem  bytes.Buffer
	f    *os.File
	size int64
}

func (s *spillFile) Write(p []byte) (n int, err error) {
	defer func() { s.size += int64(n) }()
	if s.f == nil && s.mem.Len()+len(p) <= spillSize {
		return s.mem.Write(p)
	}
	if s.f == nil {
		f, err := os.CreateTemp(s.dir, "answer-*")
		if err != nil {
			return 0, err
		}
		// The name goes at once, so that no crash leaves the file behind.
		_ = os.Remove(f.Name())
		s.f = f
	}
	return s.f.Write(p)
}

// copyTo writes what is held and forgets it.
func (s *spillFile) copyTo(w io.Writer) error {
	defer s.close()
	if _, err := s.mem.WriteTo(w); err != nil || s.f == nil {
		return err
	}
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(w, s.f)
	return err
}

func (s *spillFile) close() {
	if s.f != nil {
		_ = s.f.Close()
		s.f = nil
	}
}
