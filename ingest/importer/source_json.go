package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/event"
)

// jsonSource reads JSON objects: one a line (NDJSON), one after the other in
// any layout, or the elements of an array.
//
// Where each object begins and ends is found before it is parsed. As long as
// the file keeps one object a line, an end of line ends a damaged one too.
type jsonSource struct {
	in   *input
	r    *bufio.Reader
	line int

	known, perLine bool   // the layout, from the first object on
	again          []byte // lines to scan once more, behind a damaged start
	rescans        int
	opened         bool // the "{" of the next object is read already
}

// maxRescans is how often a file may be scanned again from behind a record
// without an end: each time costs up to maxRecord bytes.
const maxRescans = 1000

func newJSONSource(r *bufio.Reader, in *input) *jsonSource {
	return &jsonSource{in: in, r: r, line: 1}
}

func (s *jsonSource) readByte() (byte, error) {
	var c byte
	var err error
	if len(s.again) > 0 {
		c, s.again = s.again[0], s.again[1:]
	} else if c, err = s.r.ReadByte(); err != nil {
		return 0, err
	}
	if c == '\n' {
		s.line++
	}
	return c, nil
}

func (s *jsonSource) next() (record, error) {
	if s.perLine && len(s.again) == 0 && !s.opened {
		if rec, ok, err := s.wholeLine(); ok || err != nil {
			return rec, err
		}
	}
	raw, line, err := s.object()
	if err != nil {
		return record{}, err
	}
	where := fmt.Sprintf("line %d", line)
	obj, _, err := decodeObject(raw)
	if err != nil {
		return record{}, &damage{where, "is not valid JSON: " + err.Error()}
	}
	return s.record(where, raw, obj)
}

// wholeLine is the short way for a file with one object a line: the line as it
// is. One that is anything else is left to be scanned, and false told.
func (s *jsonSource) wholeLine() (record, bool, error) {
	line, err := s.r.ReadSlice('\n')
	for err == nil && len(bytes.TrimSpace(line)) == 0 {
		s.line++
		line, err = s.r.ReadSlice('\n')
	}
	if err == nil {
		raw := bytes.Trim(line, " \t\r\n,")
		if len(raw) > 1 && raw[0] == '{' && raw[len(raw)-1] == '}' {
			if obj, whole, err := decodeObject(raw); err == nil && whole {
				s.line++
				rec, err := s.record(fmt.Sprintf("line %d", s.line-1), raw, obj)
				return rec, true, err
			}
		}
	}
	s.again = append([]byte(nil), line...)
	if err == nil || errors.Is(err, bufio.ErrBufferFull) || errors.Is(err, io.EOF) {
		return record{}, false, nil // an end or an error comes again
	}
	return record{}, false, err
}

// record makes a record of an object. It does not keep raw.
func (s *jsonSource) record(where string, raw []byte, obj map[string]any) (record, error) {
	if f, ok := ownFields(obj); ok {
		return s.in.own(where, f), nil
	}
	wr, err := windowsFromJSON(obj, s.in.im.Location)
	if err != nil {
		return record{}, &damage{where, err.Error()}
	}
	if wr.RecordID == 0 {
		wr.ContentHash = event.HashContent(raw)
	}
	return s.in.windows(where, wr), nil
}

// object cuts out the next object and says on which line it begins.
func (s *jsonSource) object() ([]byte, int, error) {
	if s.opened {
		s.opened = false
		return s.body(s.line)
	}
	var junk []byte
	junkLine := 0
	for {
		c, err := s.readByte()
		if err != nil {
			if len(junk) > 0 && errors.Is(err, io.EOF) {
				return nil, 0, &damage{fmt.Sprintf("line %d", junkLine), fmt.Sprintf("is no JSON object: %q", junk)}
			}
			return nil, 0, err
		}
		switch c {
		case '{':
			if len(junk) > 0 {
				// Told first; the object is read by the next call.
				s.opened = true
				return nil, 0, &damage{fmt.Sprintf("line %d", junkLine), fmt.Sprintf("is no JSON object: %q", junk)}
			}
			return s.body(s.line)
		case ' ', '\t', '\r', '\n', ',', '[', ']':
			if c == '\n' && len(junk) > 0 {
				return nil, 0, &damage{fmt.Sprintf("line %d", junkLine), fmt.Sprintf("is no JSON object: %q", junk)}
			}
		default:
			if len(junk) == 0 {
				junkLine = s.line
			}
			if len(junk) < 40 {
				junk = append(junk, c)
			}
		}
	}
}

// body reads on behind a "{" to the "}" that closes it.
func (s *jsonSource) body(line int) ([]byte, int, error) {
	buf := make([]byte, 1, 2048)
	buf[0] = '{'
	depth, inString, escaped, lines := 1, false, false, false
	for {
		c, err := s.readByte()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return nil, 0, err
			}
			return nil, 0, s.broken(buf, line, "the file ends within an object")
		}
		buf = append(buf, c)
		switch {
		case c == '\n' && (inString || (s.known && s.perLine)):
			return nil, 0, s.broken(buf, line, "the object does not end on its line")
		case len(buf) > maxRecord:
			return nil, 0, s.tooLong(buf, line)
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '\n':
			lines = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				if !s.known {
					s.known, s.perLine = true, !lines
				}
				return buf, line, nil
			}
		}
	}
}

// broken makes the damage of an object without an end. What stands behind its
// first line is scanned again: it may hold whole objects.
func (s *jsonSource) broken(buf []byte, line int, why string) error {
	first := bytes.IndexByte(buf, '\n')
	if first >= 0 && first+1 < len(buf) {
		if s.rescans++; s.rescans > maxRescans {
			return errors.New("too many damaged JSON objects; the rest was not read")
		}
		rest := buf[first+1:]
		s.line -= bytes.Count(rest, []byte("\n"))
		s.again = append(rest, s.again...)
	}
	return &damage{fmt.Sprintf("line %d", line), why}
}

// tooLong passes over the rest of a line that is longer than any record.
func (s *jsonSource) tooLong(buf []byte, line int) error {
	why := fmt.Sprintf("an object is longer than %d bytes", maxRecord)
	if bytes.IndexByte(buf, '\n') >= 0 {
		return s.broken(buf, line, why)
	}
	for {
		c, err := s.readByte()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil || c == '\n' {
			return &damage{fmt.Sprintf("line %d", line), why}
		}
	}
}

// number is a JSON number as it was written: record ids and logon ids are
// whole 64-bit numbers, which a float would bend.
type number string

// decodeObject reads one object and tells whether it is all there is in raw.
func decodeObject(raw []byte) (obj map[string]any, whole bool, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	v, err := decodeValue(d)
	if err != nil {
		return nil, false, err
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, false, errors.New("not an object")
	}
	return obj, len(bytes.TrimSpace(raw[d.InputOffset():])) == 0, nil
}

func decodeValue(d *jsontext.Decoder) (any, error) {
	tok, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '{':
		obj := make(map[string]any, 32)
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			// The rendered text is the largest part of most records, and never read.
			if key := name.String(); key == "Message" || key == "message" {
				if err := d.SkipValue(); err != nil {
					return nil, err
				}
			} else if obj[key], err = decodeValue(d); err != nil {
				return nil, err
			}
		}
		_, err := d.ReadToken()
		return obj, err
	case '[':
		list := []any{}
		for d.PeekKind() != ']' {
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.ReadToken()
		return list, err
	case '"':
		return tok.String(), nil
	case '0':
		return number(tok.String()), nil
	case 't', 'f':
		return tok.Bool(), nil
	}
	return nil, nil //nolint:nilnil // JSON's null
}

// ownFields gives the fields of a record in Gatehouse's own form, which
// is one whose EventType names a type. Windows collectors have an EventType
// too, but write AUDIT_SUCCESS or INFO there.
func ownFields(obj map[string]any) (*event.Fields, bool) {
	var f event.Fields
	for _, key := range sortedKeys(obj) {
		id, ok := event.FieldByName(key)
		if !ok {
			continue
		}
		s, ok := scalar(obj[key])
		if !ok || (f[id] != nil && !isCanonical(id, key)) {
			continue
		}
		f[id] = []byte(s)
	}
	if f[event.FieldEventType] == nil {
		// No Windows record either: the sender meant ours, and is told what is missing.
		_, isWindows := lookup(obj, "EventID", "event_id", "Event", "System", "winlog", "Id")
		return &f, !isWindows && f[event.FieldUserName] != nil && f[event.FieldComputerName] != nil
	}
	if _, ok := event.ParseType(string(f[event.FieldEventType])); ok {
		return &f, true
	}
	_, isWindows := lookup(obj, "EventID", "event_id", "Event", "System", "winlog", "Id")
	return &f, !isWindows
}

// isCanonical tells whether key is the documented name of a field: it wins
// over other names for the same, in whatever order they come.
func isCanonical(id event.FieldID, key string) bool {
	return len(key) == len(id.String()) && bytes.EqualFold([]byte(key), []byte(id.String()))
}
