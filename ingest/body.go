package ingest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"gatehouse/event"
	"gatehouse/internal/edge"
)

const (
	// bodyPatience is how long a client may take for the first and each further
	// bodyStep of its body; slower ones are cut off with 408, so that open requests
	// cannot be hoarded.
	bodyPatience = 20 * time.Second
	bodyStep     = 1 << 20

	// maxPooledBody is how large a body buffer may be to be kept for the next request.
	maxPooledBody = 1 << 20
	// zstdWindow is the largest zstd window taken (the format's usual maximum is 8 MiB);
	// a frame that asks for more is refused.
	zstdWindow = 8 << 20
)

// budget bounds the memory of all large requests together: their bodies, and what is decoded of them.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

// body is the content of one request, unpacked.
type body struct {
	bytes  []byte
	budget *budget
	held   int
}

var bodies = sync.Pool{New: func() any { return &body{bytes: make([]byte, 0, 4<<10)} }}

// hold counts n bytes more that the request takes, until release; false when there is no room for them.
func (b *body) hold(n int) bool {
	if b == nil || b.budget == nil {
		return true
	}
	if !b.budget.take(n) {
		return false
	}
	b.held += n
	return true
}

// unhold gives n of the held bytes back.
func (b *body) unhold(n int) {
	if b == nil || b.budget == nil {
		return
	}
	b.budget.used.Add(-int64(n))
	b.held -= n
}

// release gives the memory back; nothing of the bytes may be in use.
func (b *body) release() {
	if b.held > 0 {
		b.budget.used.Add(-int64(b.held))
	}
	b.budget, b.held = nil, 0
	if cap(b.bytes) <= maxPooledBody {
		b.bytes = b.bytes[:0]
		bodies.Put(b)
	}
}

// errOverLimit is the cause of what fill refuses.
var errOverLimit = errors.New("over the limit")

func errTooLarge(limit int) *event.Error {
	return event.Wrap(event.CodeTooLarge, errOverLimit, "the body is larger than "+formatBytes(limit)+"; send less in one request")
}

var errBusy = event.Errorf(event.CodeUnavailable, "too many large requests at the same time; try again shortly")

// readBody reads and unpacks r's body, of which no more than limit bytes are taken, packed
// or unpacked. budget may be nil, for bodies so small that they need not count.
func readBody(w http.ResponseWriter, r *http.Request, limit int, budget *budget) (*body, error) {
	if r.ContentLength > int64(limit) {
		edge.CloseAfter(w, r)
		return nil, errTooLarge(limit)
	}
	encoding := ""
	if h := r.Header["Content-Encoding"]; len(h) > 0 {
		encoding = strings.ToLower(strings.TrimSpace(strings.Join(h, ",")))
	}
	b := bodies.Get().(*body)
	b.budget = budget
	src := &patient{src: r.Body, w: w, left: limit}
	err := b.unpack(encoding, src, limit, max(0, int(r.ContentLength)))
	if err == nil {
		return b, nil
	}
	b.release()
	if !errors.Is(src.err, io.EOF) {
		edge.CloseAfter(w, r)
	}
	var known *event.Error
	switch {
	case errors.As(err, &known):
		return nil, known
	case src.left < 0: // the decoder was given no more
		return nil, errTooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, event.Wrap(codeTimeout, err, "the body came too slowly")
	case src.err != nil && !errors.Is(src.err, io.EOF):
		return nil, event.Wrap(event.CodeInvalid, err, "the body could not be read to its end")
	default:
		return nil, event.Wrap(event.CodeInvalid, err, "the body is not valid "+encoding)
	}
}

// unpack fills b from src through the decoder that encoding names.
func (b *body) unpack(encoding string, src io.Reader, limit, hint int) error {
	switch encoding {
	case "", "identity":
		return b.fill(src, limit, hint)
	case "gzip", "x-gzip":
		z, err := takeGzip(src)
		if err != nil {
			return err
		}
		defer gzips.Put(z)
		return b.fill(z, limit, hint)
	case "zstd":
		z, err := takeZstd(src)
		if err != nil {
			return err
		}
		defer func() {
			if z.Reset(nil) == nil {
				zstds.Put(z)
			}
		}()
		return b.fill(z, limit, hint)
	default:
		return &event.Error{Code: event.CodeUnsupported, Field: "Content-Encoding", Message: "must be gzip, zstd or absent"}
	}
}

// fill reads src to its end.
func (b *body) fill(src io.Reader, limit, hint int) error {
	if hint >= cap(b.bytes) && !b.grow(hint+1, limit) {
		return errBusy
	}
	for {
		if len(b.bytes) == cap(b.bytes) && !b.grow(2*cap(b.bytes), limit) {
			return errBusy
		}
		n, err := src.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if len(b.bytes) > limit {
			return errTooLarge(limit)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// grow makes room for size bytes in all, one more than the limit at most: that one tells.
func (b *body) grow(size, limit int) bool {
	size = min(max(size, 4<<10), limit+1)
	if size <= cap(b.bytes) {
		return true
	}
	if b.budget != nil {
		if !b.budget.take(size - b.held) {
			return false
		}
		b.held = size
	}
	grown := make([]byte, len(b.bytes), size)
	copy(grown, b.bytes)
	b.bytes = grown
	return true
}

// patient reads a request's body, no more of it than left bytes and one, and moves the
// connection's read deadline as bytes come.
type patient struct {
	src  io.Reader
	w    http.ResponseWriter
	left int
	due  int // bytes until the deadline moves
	err  error
}

// setReadDeadline gives the client bodyPatience from now.
func setReadDeadline(w http.ResponseWriter) {
	deadline := time.Now().Add(bodyPatience)
	// Without wrappers in between the controller's allocation can be saved.
	if d, ok := w.(readDeadliner); ok {
		_ = d.SetReadDeadline(deadline) // refused only by writers without a connection
	} else {
		_ = http.NewResponseController(w).SetReadDeadline(deadline)
	}
}

// readDeadliner is what net/http's response writers can do, behind http.ResponseController.
type readDeadliner interface{ SetReadDeadline(t time.Time) error }

func (p *patient) Read(b []byte) (int, error) {
	if p.due <= 0 {
		p.due = bodyStep
		setReadDeadline(p.w)
	}
	if p.left < 0 {
		return 0, io.EOF // the decoder has had enough to be told that it is too much
	}
	n, err := p.src.Read(b)
	p.left -= n
	p.due -= n
	p.err = err
	return n, err
}

var gzips, zstds sync.Pool

func takeGzip(src io.Reader) (*gzip.Reader, error) {
	if z, ok := gzips.Get().(*gzip.Reader); ok {
		if err := z.Reset(src); err != nil {
			gzips.Put(z)
			return nil, err
		}
		return z, nil
	}
	return gzip.NewReader(src)
}

func takeZstd(src io.Reader) (*zstd.Decoder, error) {
	if z, ok := zstds.Get().(*zstd.Decoder); ok {
		if err := z.Reset(src); err != nil {
			return nil, err
		}
		return z, nil
	}
	return zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
}

// probe asks a check under a limit of time.
func probe(ctx context.Context, timeout time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return check(ctx)
}
