package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// rawConn is one keep-alive HTTP/1.1 connection that sends requests made
// beforehand. It does for a measurement what net/http would, with a third of its
// processor time: client and server share the machine.
type rawConn struct {
	c     net.Conn
	r     *bufio.Reader
	buf   []byte
	until time.Time // when the connection gives up
}

// rawPatience is how long one answer may take, and half of it at least; longer is a failure of the run.
const rawPatience = 60 * time.Second

// maxRawAnswer bounds an answer; a longer one is a failure of the run.
const maxRawAnswer = 16 << 20

var errTooLong = errors.New("the answer is too long")

func dialRaw(ctx context.Context, address string, conf *tls.Config) (*rawConn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if conf != nil {
		conf = conf.Clone()
		if conf.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		t := tls.Client(c, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c = t
	}
	return &rawConn{c: c, r: bufio.NewReaderSize(c, 16<<10)}, nil
}

func (c *rawConn) Close() error { return c.c.Close() }

// do sends a whole request and gives the status and body of its answer; the
// body is valid until the next call.
func (c *rawConn) do(request []byte) (status int, body []byte, err error) {
	if err := c.extend(); err != nil {
		return 0, nil, err
	}
	if _, err := c.c.Write(request); err != nil {
		return 0, nil, err
	}
	return c.read()
}

// extend sets the deadline of the next answer. Setting it each time would cost two timers a request.
func (c *rawConn) extend() error {
	now := time.Now()
	if c.until.Sub(now) > rawPatience/2 {
		return nil
	}
	c.until = now.Add(rawPatience)
	return c.c.SetDeadline(c.until)
}

// send writes a request in two parts; read gives its answer.
func (c *rawConn) send(head, body []byte) error {
	if err := c.extend(); err != nil {
		return err
	}
	parts := net.Buffers{head, body} // one system call where the connection is plain
	_, err := parts.WriteTo(c.c)
	return err
}

func (c *rawConn) read() (status int, body []byte, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, nil, fmt.Errorf("not an HTTP answer: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("not an HTTP status: %q", line)
	}
	length, chunked := -1, false
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return 0, nil, fmt.Errorf("not a header: %q", line)
		}
		value = bytes.TrimSpace(value)
		switch {
		case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return 0, nil, fmt.Errorf("not a length: %q", line)
			}
		case len(name) == len("Transfer-Encoding") && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
	switch {
	case chunked:
		return status, c.buf, c.readChunks()
	case length < 0:
		return 0, nil, errors.New("an answer without a length")
	case length > maxRawAnswer:
		return 0, nil, errTooLong
	}
	c.buf = grown(c.buf, length)
	_, err = io.ReadFull(c.r, c.buf)
	return status, c.buf, err
}

func grown(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func (c *rawConn) readChunks() error {
	c.buf = c.buf[:0]
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(";"))
		n, err := strconv.ParseUint(string(size), 16, 31)
		if err != nil {
			return err
		}
		if n == 0 {
			for { // trailers
				if line, err = c.r.ReadSlice('\n'); err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
					return err
				}
			}
		}
		at := len(c.buf)
		if uint64(at)+n > maxRawAnswer {
			return errTooLong
		}
		c.buf = append(c.buf, make([]byte, n)...)
		if _, err := io.ReadFull(c.r, c.buf[at:]); err != nil {
			return err
		}
		if _, err := c.r.Discard(2); err != nil {
			return err
		}
	}
}

// appendHead appends the head of a POST whose body has so many bytes.
func appendHead(b []byte, path, host, key, kind string, length int) []byte {
	b = append(b, "POST "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nX-API-Key: "...)
	b = append(b, key...)
	b = append(b, "\r\nContent-Type: "...)
	b = append(b, kind...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(length), 10)
	return append(b, "\r\n\r\n"...)
}

// appendRequest appends a whole POST.
func appendRequest(b []byte, path, host, key, kind string, body []byte) []byte {
	return append(appendHead(b, path, host, key, kind, len(body)), body...)
}
