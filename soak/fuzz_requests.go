package soak

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"gatehouse/bench"
	"gatehouse/event"
	"gatehouse/simulate"
)

// fuzzer makes damaged requests and judges each answer.
type fuzzer struct {
	tenant bench.Tenant
	book   book
	events []event.Event // sound ones to begin with
	until  time.Time
	most   int64

	mu       sync.Mutex
	requests int64
	byStatus map[int]int64
	closed   int64    // requests that were not answered, as may be with broken HTTP
	wrong    []string // what should not have been
}

// book keeps account of what the answers say was taken.
type book interface {
	// sound notes a sound event that was taken, as new or as known already.
	sound(w reading, fresh bool)
	// open notes records that were taken and may be read in several ways.
	open(fresh, known int)
}

// maxWrong is how many wrong answers are kept for the message.
const maxWrong = 20

func (f *fuzzer) fault(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.wrong) < maxWrong {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

func (f *fuzzer) count(status int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	if status != 0 {
		f.byStatus[status]++
	}
	return f.requests < f.most && time.Now().Before(f.until)
}

// probe is one request: how it is sent, and what it must lead to.
type probe struct {
	wire   []byte
	judge  func(status int, body []byte) // nil: anything but 2xx and 5xx
	broken bool                          // not HTTP any more: it may be answered by closing
}

// send is one client, over plain connections.
func (f *fuzzer) send(ctx context.Context, address string, r *rand.Rand) error {
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			_ = conn.Close() // its work is done
		}
	}()
	arrow := simulate.NewArrow()
	for i := 0; ctx.Err() == nil; i++ {
		p := f.probe(r, arrow, i)
		status := 0
		for try := 0; ; try++ {
			if conn == nil {
				var d net.Dialer
				c, err := d.DialContext(ctx, "tcp", address)
				if err != nil {
					return fmt.Errorf("the server does not take connections any more: %w", err)
				}
				conn, in = c, bufio.NewReader(c)
			}
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				return err
			}
			_, werr := conn.Write(p.wire)
			if p.broken {
				// What comes after a broken request must not be taken for its rest.
				if t, ok := conn.(*net.TCPConn); ok && werr == nil {
					werr = t.CloseWrite()
				}
			}
			resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodPost})
			if err == nil {
				var body []byte
				var keep bool
				status, body, keep, err = answer(resp)
				if err == nil {
					f.hear(&p, status, body)
				}
				if !keep || p.broken || err != nil {
					_ = conn.Close() // a new one serves the next request
					conn = nil
				}
				break
			}
			_ = conn.Close() // a new one serves the next request
			conn = nil
			if p.broken {
				f.unanswered()
				break
			}
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				f.fault("no answer within 30 s to %.200q", p.wire)
				break
			}
			// The server may have closed an idle connection in the same moment.
			if try > 3 {
				f.fault("no answer, four times (%v, %v): %.300q", err, werr, p.wire)
				break
			}
		}
		if !f.count(status) {
			return nil
		}
	}
	return ctx.Err()
}

func (f *fuzzer) unanswered() {
	f.mu.Lock()
	f.closed++
	f.mu.Unlock()
}

// handle is one client without a network: it hands each request, as net/http has parsed it, to a handler.
func (f *fuzzer) handle(ctx context.Context, h http.Handler, r *rand.Rand) error {
	arrow := simulate.NewArrow()
	in := bufio.NewReader(nil)
	for i := 0; ctx.Err() == nil; i++ {
		p := f.probe(r, arrow, i)
		in.Reset(bytes.NewReader(p.wire))
		req, err := http.ReadRequest(in)
		var w recorder
		if err == nil {
			f.serve(h, &w, req.WithContext(ctx), &p)
			f.hear(&p, w.status, w.body.Bytes())
		} else {
			f.unanswered()
		}
		if !f.count(w.status) {
			return nil
		}
	}
	return ctx.Err()
}

func (f *fuzzer) serve(h http.Handler, w http.ResponseWriter, req *http.Request, p *probe) {
	defer func() {
		if v := recover(); v != nil {
			f.fault("panic: %v at %.300q\n%s", v, p.wire, debug.Stack())
		}
	}()
	h.ServeHTTP(w, req)
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is of [http.ResponseWriter].
func (w *recorder) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// WriteHeader is of [http.ResponseWriter].
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write is of [http.ResponseWriter].
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

func answer(resp *http.Response) (status int, body []byte, keep bool, err error) {
	body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, body, !resp.Close, errors.Join(err, resp.Body.Close())
}

func (f *fuzzer) hear(p *probe, status int, body []byte) {
	switch {
	case status >= 500 && status != http.StatusServiceUnavailable && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported:
		f.fault("%d to %.300q: %.200s", status, p.wire, body)
	case p.judge != nil:
		p.judge(status, body)
	case status < 300:
		f.fault("%d to what no reader can take: %.300q", status, p.wire)
	}
}

// probe makes the i-th request: mostly damaged bodies in sound HTTP, now and
// then sound ones, damaged heads, and bodies in strange wrappings.
func (f *fuzzer) probe(r *rand.Rand, arrow *simulate.Arrow, i int) probe {
	e := &f.events[r.IntN(len(f.events))]
	body := simulate.AppendJSON(nil, e)
	switch {
	case i%50 == 0:
		return f.single(body)
	case i%9 == 1:
		return f.lines(r, body)
	case i%23 == 2:
		return f.arrow(r, arrow)
	case i%31 == 3:
		return f.head(r, body)
	case i%37 == 4:
		return f.wrapped(r, body)
	default:
		return f.single(mutate(r, body))
	}
}

func (f *fuzzer) wire(path, kind, encoding, key string, body []byte) []byte {
	b := append([]byte("POST "+path+" HTTP/1.1\r\nHost: x\r\nX-API-Key: "+key+"\r\nContent-Type: "+kind+"\r\nContent-Length: "), strconv.Itoa(len(body))...)
	if encoding != "" {
		b = append(b, "\r\nContent-Encoding: "+encoding...)
	}
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}

func (f *fuzzer) options() *event.ParseOptions {
	return &event.ParseOptions{Now: time.Now(), Location: time.UTC, CompanyID: f.tenant.ID}
}

// single judges one event by the plain reader.
func (f *fuzzer) single(body []byte) probe {
	return probe{wire: f.wire("/api/log_event", "application/json", "", f.tenant.Key, body), judge: func(status int, text []byte) {
		want := readPlainly(body, f.options())
		taken := status == http.StatusCreated || status == http.StatusOK
		switch {
		case taken && want.valid && want.sure:
			f.book.sound(want, status == http.StatusCreated)
		case taken && !want.sure && status == http.StatusCreated:
			f.book.open(1, 0)
		case taken && !want.sure:
			f.book.open(0, 1)
		case taken:
			f.fault("%d to what is no event: %q", status, body)
		case want.valid && want.sure && status != http.StatusServiceUnavailable:
			f.fault("%d to a sound event %q: %.200s", status, body, text)
		}
	}}
}

// lines sends NDJSON of which some lines are damaged: the others must be taken.
func (f *fuzzer) lines(r *rand.Rand, body []byte) probe {
	var text []byte
	var want []reading
	for range 1 + r.IntN(6) {
		line := body
		if r.IntN(2) == 0 {
			line = mutate(r, simulate.AppendJSON(nil, &f.events[r.IntN(len(f.events))]))
		}
		if bytes.ContainsAny(line, "\n\r") || len(bytes.TrimSpace(line)) == 0 {
			continue // then it is another number of lines
		}
		w := readPlainly(line, f.options())
		if len(text) > 0 && bytes.HasPrefix(line, []byte(byteOrderMark)) {
			w = reading{sure: true} // a mark may stand before the whole, and nowhere else
		}
		text = append(append(text, line...), '\n')
		want = append(want, w)
	}
	if len(want) == 0 {
		return f.single(body)
	}
	return probe{wire: f.wire("/api/v1/events", "application/x-ndjson", "", f.tenant.Key, text), judge: func(status int, answer []byte) {
		got, err := readAnswer(answer)
		if err != nil || status == http.StatusServiceUnavailable {
			return
		}
		if got.Accepted+got.Duplicate+got.Rejected != len(want) {
			f.fault("an answer about %d of %d lines: %q: %.200s", got.Accepted+got.Duplicate+got.Rejected, len(want), text, answer)
			return
		}
		became := got.outcomes(len(want))
		for i, w := range want {
			refused, known := became[i] == "rejected", became[i] == "duplicate"
			switch {
			case !w.sure && refused:
			case !w.sure && known:
				f.book.open(0, 1)
			case !w.sure:
				f.book.open(1, 0)
			case w.valid && refused:
				f.fault("line %d is a sound event and was refused: %q: %.300s", i, text, answer)
			case !w.valid && !refused:
				f.fault("line %d is no event and was taken: %q: %.300s", i, text, answer)
			case w.valid:
				f.book.sound(w, !known)
			}
		}
	}}
}

// arrow sends a damaged Arrow stream. What it still holds is open to reading:
// it must be answered in order, whatever with.
func (f *fuzzer) arrow(r *rand.Rand, a *simulate.Arrow) probe {
	at := r.IntN(max(len(f.events)-5, 1))
	part := f.events[at:min(at+1+r.IntN(5), len(f.events))]
	stream, err := a.Encode(part)
	if err != nil {
		f.fault("BUG: %v", err)
	}
	body := mutate(r, stream)
	return probe{wire: f.wire("/api/v1/events", "application/vnd.apache.arrow.stream", "", f.tenant.Key, body), judge: func(status int, answer []byte) {
		if status != http.StatusOK {
			return
		}
		got, err := readAnswer(answer)
		if err != nil {
			f.fault("%d with an answer that is none: %.200s", status, answer)
			return
		}
		if !bytes.Equal(body, stream) {
			f.book.open(got.Accepted, got.Duplicate)
			return
		}
		for i, became := range got.outcomes(len(part)) {
			e := part[i]
			e.CompanyID = f.tenant.ID
			if became == "rejected" {
				f.fault("event %d of a sound stream was refused: %.300s", i, answer)
				continue
			}
			f.book.sound(reading{id: e.ID(), at: e.Time, valid: true, sure: true}, became != "duplicate")
		}
	}}
}

// head damages what stands before the body. The key is left out of it, so that
// nothing can rightly be taken, unless the damage is none.
func (f *fuzzer) head(r *rand.Rand, body []byte) probe {
	wire := f.wire("/api/log_event", "application/json", "", "gh_"+strconv.Itoa(r.IntN(1000)), body)
	end := bytes.Index(wire, []byte("\r\n\r\n"))
	return probe{wire: append(mutate(r, wire[:end]), wire[end:]...), broken: true}
}

var gzips = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// wrapped sends a body in a compression that is damaged, or is not what it says.
func (f *fuzzer) wrapped(r *rand.Rand, body []byte) probe {
	var buf bytes.Buffer
	z := gzips.Get().(*gzip.Writer) //nolint:forcetypeassert // ours alone
	defer gzips.Put(z)
	z.Reset(&buf)
	_, werr := z.Write(body)
	if err := errors.Join(werr, z.Close()); err != nil {
		f.fault("BUG: %v", err)
	}
	encoding := []string{"gzip", "zstd", "br", "gzip, gzip", "GZIP"}[r.IntN(5)]
	packed := mutate(r, buf.Bytes())
	return probe{wire: f.wire("/api/log_event", "application/json", encoding, f.tenant.Key, packed), judge: func(status int, _ []byte) {
		if status >= 300 {
			return
		}
		// Taken: then it must unpack to this very event.
		zr, err := gzip.NewReader(bytes.NewReader(packed))
		var plain []byte
		if err == nil {
			plain, err = io.ReadAll(zr)
		}
		if err != nil || !bytes.Equal(plain, body) {
			f.fault("%d to a body in damaged %s: %q", status, encoding, packed)
			return
		}
		if want := readPlainly(body, f.options()); want.valid {
			f.book.sound(want, status == http.StatusCreated)
		}
	}}
}

func (f *fuzzer) statuses() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := make([]int, 0, len(f.byStatus))
	for k := range f.byStatus {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&b, " %d: %d", k, f.byStatus[k])
	}
	return b.String()
}
