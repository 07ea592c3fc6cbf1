package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/event"
	"gatehouse/spool"
)

// fullLine is an event with the fields that Gatehouse's own agent sends.
func fullLine(n int) string {
	return fmt.Sprintf(`{"EventType":"Logon","UserName":"CORP\\user%d","ComputerName":"WS-%05d","IPAddress":"10.1.%d.%d","PublicIP":"81.2.69.142","Timestamp":"2025-05-25T12:%02d:%02d.%03dZ","LogonID":"0x%x","LogonType":2,"RecordID":%d,"EventID":4624,"Channel":"Security","AgentVersion":"1.0.0","retry":0}`,
		n%500, n%300, n%200, n%250, n/1000%60, n%60, n%1000, 100000+n, 5_000_000+n)
}

func textOf(n int, line func(int) string) []byte {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(line(i))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// noSpool takes everything and keeps nothing.
type noSpool struct{ n atomic.Int64 }

func (s *noSpool) Append(_ context.Context, records ...[]byte) (spool.Position, error) {
	return spool.Position(s.n.Add(int64(len(records)))), nil
}

func perEvent(b *testing.B, events int) {
	b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkDecode is the work of one core from a body in memory to records for the
// spool: decoding, checking, identity, repetitions, encoding.
func BenchmarkDecode(b *testing.B) {
	const n = 1000
	seven := textOf(n, line)
	full := textOf(n, fullLine)
	old := textOf(n, func(i int) string { return strings.Replace(oldAgent, "alice", fmt.Sprintf("alice%d", i), 1) })
	for _, c := range []struct {
		name string
		text []byte
		dec  decoder
	}{
		{"NDJSON", seven, decoderFor("application/x-ndjson")},
		{"NDJSONRemembered", seven, decoderFor("application/x-ndjson")},
		{"NDJSONFull", full, decoderFor("application/x-ndjson")},
		{"NDJSONOldAgent", old, decoderFor("application/x-ndjson")},
		{"Array", []byte(arrayOf(0, n)), decoderFor("")},
		{"Arrow", arrowStream(b, n), decodeArrow},
		{"Frames", framesOf(b, full), decodeFrames},
	} {
		b.Run(c.name, func(b *testing.B) {
			remember := -1
			if c.name == "NDJSONRemembered" {
				remember = DefaultRecent
			}
			in, err := NewIntake(Options{Spool: &noSpool{}, Keys: &fakeKeys{}, Recent: NewRecent(remember)})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.text)))
			p := acme
			for b.Loop() {
				p.CompanyID++ // so that no event comes twice
				batch := newBatch(&p, testNow, n)
				if err := c.dec(batch, c.text); err != nil {
					b.Fatal(err)
				}
				if err := in.take(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				if batch.accepted != n {
					b.Fatalf("%d accepted: %v", batch.accepted, batch.rejections[0].err)
				}
				batch.release()
			}
			perEvent(b, n)
		})
	}
}

// framesOf turns lines into internal frames.
func framesOf(t testing.TB, text []byte) []byte {
	t.Helper()
	var out []byte
	var scan jsonScanner
	for line := range bytes.Lines(text) {
		if _, err := scan.object(line, 0); err != nil {
			t.Fatal(err)
		}
		e, err := scan.fields.Parse(&event.ParseOptions{Now: testNow, CompanyID: 7, SiteID: 70})
		if err != nil {
			t.Fatal(err)
		}
		out = appendFrame(out, &e)
	}
	return out
}

// BenchmarkJSONRecord compares ways to read one JSON object into event.Fields.
func BenchmarkJSONRecord(b *testing.B) {
	text := []byte(fullLine(7))
	b.Run("scanner", func(b *testing.B) {
		var s jsonScanner
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.object(text, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jsontext", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		var r bytes.Reader
		dec := jsontext.NewDecoder(&r)
		for b.Loop() {
			r.Reset(text)
			dec.Reset(&r)
			var f event.Fields
			if _, err := dec.ReadToken(); err != nil {
				b.Fatal(err)
			}
			for dec.PeekKind() != '}' {
				name, err := dec.ReadValue()
				if err != nil {
					b.Fatal(err)
				}
				id, known := event.FieldByName([]byte(name[1 : len(name)-1]))
				value, err := dec.ReadValue()
				if err != nil {
					b.Fatal(err)
				}
				if known {
					f[id] = bytes.Trim(value, `"`)
				}
			}
		}
	})
	b.Run("encodingjson", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			var m map[string]any
			if err := json.Unmarshal(text, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRecent(b *testing.B) {
	r := NewRecent(DefaultRecent)
	ids := make([]event.ID, 1<<20)
	for i := range ids {
		e := event.Event{CompanyID: 1, Type: event.Logon, Time: int64(i + 1)}
		ids[i] = e.ID()
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		id := ids[i&(len(ids)-1)]
		if !r.Has(id) {
			r.Add(id)
		}
		i++
	}
	b.ReportMetric(float64(r.MaxBytes())/DefaultRecent, "B/id")
}

// BenchmarkHandlerSingle is /api/log_event without a network.
func BenchmarkHandlerSingle(b *testing.B) {
	s := newServer(b, func(o *Options) { o.Spool = &noSpool{} })
	bodies := make([]string, 4096)
	for i := range bodies {
		bodies[i] = line(i)
	}
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, PathLogEvent, nil)
	r.Header.Set("X-API-Key", "acme")
	w := &discardWriter{h: http.Header{}}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		text := bodies[i&4095]
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		s.LogEvent(w, r)
		if w.status/100 != 2 {
			b.Fatal(w.status)
		}
		i++
	}
	perEvent(b, 1)
}

type discardWriter struct {
	h      http.Header
	status int
}

func (w *discardWriter) Header() http.Header         { return w.h }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(status int)      { w.status = status }

// BenchmarkHTTPSingle is one event a POST over 64 keep-alive connections with a durable
// answer from a real spool, client and server on the same processors.
func BenchmarkHTTPSingle(b *testing.B) {
	const connections = 64
	sp, err := spool.Open(b.TempDir(), spool.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := sp.Close(); err != nil {
			b.Error(err)
		}
	}()
	s := newServer(b, func(o *Options) { o.Spool, o.Recent, o.Clock = sp, nil, time.Now })
	srv := httptest.NewServer(s.http)
	defer srv.Close()
	var next atomic.Int64
	took := make([][]time.Duration, connections)
	var wg sync.WaitGroup
	b.ResetTimer()
	for c := range connections {
		wg.Go(func() {
			for took[c] = make([]time.Duration, 0, b.N/connections*2); ; {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				start := time.Now()
				if err := postRaw(b.Context(), srv.Listener.Addr().String(), &conns[c], line2(i)); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(start))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	perEvent(b, 1)
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	for c := range conns {
		conns[c].close()
	}
}

// line2 is an event that differs from all others in its time.
func line2(n int) string {
	at := time.UnixMilli(1748174400000 - int64(n)).UTC().Format("2006-01-02T15:04:05.000Z")
	return fmt.Sprintf(`{"EventType":"Sign-In","UserName":"user%d","ComputerName":"PC%d","IPAddress":"192.168.1.5","PublicIP":"81.2.69.142","Timestamp":"%s","retry":0}`, n%500, n%300, at)
}

// rawConn is a connection of a client that costs next to nothing.
type rawConn struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

var conns [64]rawConn

func (c *rawConn) close() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	*c = rawConn{}
}

func postRaw(ctx context.Context, addr string, c *rawConn, text string) error {
	if c.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReaderSize(conn, 1024)
	}
	c.out = fmt.Appendf(c.out[:0], "POST /api/log_event HTTP/1.1\r\nHost: x\r\nX-API-Key: acme\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 201")) {
		return fmt.Errorf("answer %q", status)
	}
	length := 0
	for {
		header, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(header) <= 2 {
			break
		}
		if v, ok := bytes.CutPrefix(header, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	_, err = c.in.Discard(length)
	return err
}
