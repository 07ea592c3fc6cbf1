package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"gatehouse/event"
)

// xmlSource reads <Event> elements, one or many, enclosed or bare. Each is cut
// out of the text before it is parsed, so that a damaged one does not take
// those behind it along.
type xmlSource struct {
	in   *input
	r    io.Reader
	buf  []byte
	eof  error
	seen int
}

func newXMLSource(r io.Reader, in *input) *xmlSource { return &xmlSource{in: in, r: r} }

var (
	eventOpen  = []byte("<Event")
	eventClose = []byte("</Event>")
)

func (s *xmlSource) next() (record, error) {
	start, err := s.find(0, findOpen)
	if err != nil {
		if errors.Is(err, io.EOF) && s.seen == 0 {
			return record{}, errors.New("holds no Windows <Event>")
		}
		return record{}, err
	}
	s.buf = s.buf[start:]
	s.seen++
	where := fmt.Sprintf("event %d", s.seen)
	end, err := s.find(len(eventOpen), findClose)
	switch {
	case errors.Is(err, io.EOF):
		s.buf = nil
		return record{}, &damage{where, "ends before </Event>"}
	case errors.Is(err, errLong):
		s.buf = s.buf[len(eventOpen):]
		return record{}, &damage{where, fmt.Sprintf("is longer than %d bytes", maxRecord)}
	case err != nil:
		return record{}, err
	}
	// An event that begins before this one has ended was cut off.
	if again := findOpen(s.buf[len(eventOpen):end]); again >= 0 {
		s.buf = s.buf[len(eventOpen)+again:]
		return record{}, &damage{where, "ends before </Event>"}
	}
	raw := s.buf[:end+len(eventClose)]
	s.buf = s.buf[len(raw):]
	wr, err := event.ParseWindowsXML(raw)
	if err != nil {
		return record{}, &damage{where, err.Error()}
	}
	if wr.RecordID == 0 {
		wr.ContentHash = event.HashContent(raw)
	}
	return s.in.windows(where, &wr), nil
}

// findOpen finds the start of an <Event>, not of an <Events> or <EventData>.
func findOpen(b []byte) int {
	for from := 0; ; {
		i := bytes.Index(b[from:], eventOpen)
		if i < 0 || from+i+len(eventOpen) >= len(b) {
			return -1
		}
		i += from
		switch b[i+len(eventOpen)] {
		case '>', ' ', '\t', '\r', '\n':
			return i
		}
		from = i + len(eventOpen)
	}
}

func findClose(b []byte) int { return bytes.Index(b, eventClose) }

var errLong = errors.New("too long")

// find looks from an offset of the buffer on, reading more as it needs.
func (s *xmlSource) find(from int, where func([]byte) int) (int, error) {
	for {
		if len(s.buf) > from {
			if i := where(s.buf[from:]); i >= 0 {
				return from + i, nil
			}
		}
		if from == 0 && len(s.buf) > 2*len(eventOpen) {
			s.buf = s.buf[len(s.buf)-len(eventOpen)-1:] // only what may be the start of a match
		}
		if len(s.buf) > maxRecord {
			return 0, errLong
		}
		if s.eof != nil {
			return 0, s.eof
		}
		chunk := make([]byte, 32<<10)
		n, err := s.r.Read(chunk)
		s.buf = append(s.buf, chunk[:n]...)
		s.eof = err
	}
}
