package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"gatehouse/event"
)

// csvSource reads CSV with a header: Gatehouse's own fields, or Windows
// records with a column for each value. Rows are cut out before they are
// parsed, so that a quote left open costs one row and not the rest of the file.
type csvSource struct {
	in      *input
	r       *bufio.Reader
	line    int
	comma   byte
	columns []column
	windows bool
	again   [][]byte // lines to read once more, behind a damaged row
	rescans int
}

type column struct {
	name  string
	field event.FieldID
	known bool
}

func newCSVSource(r *bufio.Reader, in *input) (*csvSource, error) {
	s := &csvSource{in: in, r: r, comma: ','}
	raw, _, err := s.row()
	if err != nil {
		var d *damage
		if errors.As(err, &d) {
			return nil, errors.New("the header row cannot be read: " + d.reason)
		}
		return nil, err
	}
	// Excel writes ";" in half of Europe. The separator is what yields most names.
	best, chosen := -1, byte(',')
	for _, comma := range []byte{',', ';', '\t'} {
		s.comma = comma
		names, err := s.split(raw)
		if err != nil {
			continue
		}
		columns, known := readHeader(names)
		if known > best {
			best, chosen, s.columns = known, comma, columns
		}
	}
	s.comma = chosen
	return s.settle()
}

// readHeader finds the fields of a header row.
func readHeader(names []string) ([]column, int) {
	columns := make([]column, len(names))
	known := 0
	taken := map[event.FieldID]int{}
	for i, name := range names {
		name = strings.TrimSpace(name)
		id, ok := event.FieldByName(name)
		if j, twice := taken[id]; ok && twice {
			// Two names for one field: the documented one is meant.
			if isCanonical(id, name) {
				columns[j].known = false
			} else {
				ok = false
			}
		}
		columns[i] = column{name, id, ok}
		if ok {
			taken[id] = i
			known++
		} else if windowsColumn(name) {
			known++
		}
	}
	return columns, known
}

// windowsColumn tells names that only Windows records have.
func windowsColumn(name string) bool {
	switch strings.ToLower(name) {
	case "eventid", "event id", "id", "provider", "providername", "sourcename", "channel", "logname", "payload", "timecreated":
		return true
	}
	return false
}

// settle decides what kind of rows the header announces.
func (s *csvSource) settle() (*csvSource, error) {
	has := func(names ...string) bool {
		for _, c := range s.columns {
			for _, n := range names {
				if strings.EqualFold(c.name, n) {
					return true
				}
			}
		}
		return false
	}
	own := map[event.FieldID]bool{}
	for _, c := range s.columns {
		if c.known {
			own[c.field] = true
		}
	}
	switch {
	case own[event.FieldEventType] && own[event.FieldTimestamp] && own[event.FieldComputerName]:
		return s, nil
	case has("EventID", "event_id", "Id") && has("Provider", "ProviderName", "SourceName", "provider_name", "source_name") &&
		has("Computer", "Hostname", "ComputerName", "computer_name", "MachineName"):
		s.windows = true
		return s, nil
	case has("Event ID") && has("Source"):
		return nil, errors.New("is an export of Event Viewer as CSV, which keeps neither the computer nor the account; save the log as .evtx or .xml and import that")
	}
	return nil, errors.New("is no format that can be imported: a CSV file needs a first row with at least EventType, UserName, ComputerName and Timestamp, or with EventID, Provider, Computer and TimeCreated")
}

func (s *csvSource) next() (record, error) {
	raw, line, err := s.row()
	if err != nil {
		return record{}, err
	}
	where := fmt.Sprintf("line %d", line)
	values, err := s.split(raw)
	if err != nil {
		return record{}, &damage{where, "is not valid CSV: " + err.Error()}
	}
	if len(values) != len(s.columns) {
		return record{}, &damage{where, fmt.Sprintf("has %d fields; the header has %d", len(values), len(s.columns))}
	}
	if !s.windows {
		var f event.Fields
		for i, c := range s.columns {
			if c.known {
				f[c.field] = []byte(values[i])
			}
		}
		return s.in.own(where, &f), nil
	}
	obj := make(map[string]any, len(values))
	for i, c := range s.columns {
		if values[i] != "" {
			obj[c.name] = values[i]
		}
	}
	wr, err := flatRecord(obj, obj, s.in.im.Location)
	if err != nil {
		return record{}, &damage{where, err.Error()}
	}
	if wr.RecordID == 0 {
		wr.ContentHash = event.HashContent(raw)
	}
	return s.in.windows(where, wr), nil
}

// row gives the lines of one row, without the last line end, and the number of
// its first line. Empty lines are passed over.
func (s *csvSource) row() ([]byte, int, error) {
	var row []byte
	start, quotes := 0, 0
	for {
		line, err := s.readLine()
		if err != nil {
			if errors.Is(err, io.EOF) && row != nil {
				return nil, 0, s.unclosed(row, start, "a quote is not closed before the end of the file")
			}
			return nil, 0, err
		}
		s.line++
		if row == nil {
			start = s.line
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
		}
		if len(row)+len(line) > maxRecord {
			return nil, 0, s.unclosed(append(row, line...), start, fmt.Sprintf("is longer than %d bytes", maxRecord))
		}
		row = append(row, line...)
		if quotes += bytes.Count(line, []byte{'"'}); quotes%2 == 0 {
			return bytes.TrimRight(row, "\r\n"), start, nil
		}
	}
}

// unclosed makes the damage of a row without an end; the lines behind its
// first are read again.
func (s *csvSource) unclosed(row []byte, start int, why string) error {
	lines := bytes.SplitAfter(row, []byte("\n"))
	rest := lines[1:]
	if len(rest) > 0 && len(rest[len(rest)-1]) == 0 {
		rest = rest[:len(rest)-1]
	}
	if s.rescans++; s.rescans > maxRescans {
		return errors.New("too many rows without an end; the rest was not read")
	}
	s.line -= len(rest)
	s.again = append(rest, s.again...)
	return &damage{fmt.Sprintf("line %d", start), why}
}

// readLine gives the next line with its end. Of a line longer than any row,
// the rest is dropped.
func (s *csvSource) readLine() ([]byte, error) {
	if len(s.again) > 0 {
		line := s.again[0]
		s.again = s.again[1:]
		return line, nil
	}
	var line []byte
	for {
		part, err := s.r.ReadSlice('\n')
		if len(line) <= maxRecord {
			line = append(line, part...)
		}
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		default:
			return nil, err
		}
	}
}

// split parses one row.
func (s *csvSource) split(row []byte) ([]string, error) {
	if bytes.IndexByte(row, '"') < 0 {
		return strings.Split(string(row), string(s.comma)), nil
	}
	r := csv.NewReader(bytes.NewReader(row))
	r.Comma = rune(s.comma)
	r.FieldsPerRecord = -1
	values, err := r.Read()
	var pe *csv.ParseError
	if errors.As(err, &pe) {
		return nil, pe.Err // its line and column count within the row
	}
	if err != nil {
		return nil, err
	}
	if _, err := r.Read(); !errors.Is(err, io.EOF) {
		return nil, errors.New("a quote stands within a field")
	}
	return values, nil
}
