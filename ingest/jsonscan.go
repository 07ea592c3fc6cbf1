package ingest

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"gatehouse/event"
)

// Limits of one JSON record. Real ones have a dozen members and no nesting.
const (
	// maxJSONDepth is how deep an unknown member may nest; deeper is refused, so
	// that a body of brackets cannot exhaust the stack.
	maxJSONDepth = 64
	// maxPredicted is for how many members the scanner remembers the name that
	// stood at the same place in the record before.
	maxPredicted = 32
)

// jsonError says where a text stops being JSON.
type jsonError struct {
	offset int
	what   string
}

func (e *jsonError) Error() string {
	return "not valid JSON at byte " + strconv.Itoa(e.offset) + ": " + e.what
}

// jsonScanner reads flat JSON objects into event.Fields, strictly by RFC 8259: what
// it accepts is valid JSON in valid UTF-8, lone surrogates are refused, and of
// members that mean the same field the last one that is not null counts. It is
// hand-written because it is the hot path of every event: it allocates nothing,
// and a member whose name stands where it stood in the record before costs one
// comparison. The general decoders take five times as long and more
// (BenchmarkJSONRecord), and the fuzz tests hold it to encoding/json.
//
// The fields alias the text and the scanner's scratch space: they are good until
// the next object is read.
type jsonScanner struct {
	fields  event.Fields
	unknown int          // members of no known field, in the last object
	bad     *event.Error // the first member whose value no field can have

	scratch   []byte // unescaped strings of the current object
	predicted [maxPredicted]prediction
	nPredict  int
}

// prediction is a member name as it stands in the text, quotes included.
type prediction struct {
	quoted string
	id     event.FieldID
	known  bool
}

// object reads the object at b[i] and returns the place after it.
func (s *jsonScanner) object(b []byte, i int) (int, error) {
	s.fields = event.Fields{}
	s.unknown, s.bad = 0, nil
	s.scratch = s.scratch[:0]
	if i >= len(b) || b[i] != '{' {
		return i, &jsonError{i, "expected an object"}
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for member := 0; ; member++ {
		id, known, next, err := s.name(b, i, member)
		if err != nil {
			return next, err
		}
		i = skipSpace(b, next)
		if i >= len(b) || b[i] != ':' {
			return i, &jsonError{i, "expected ':' after a name"}
		}
		i = skipSpace(b, i+1)
		if i, err = s.member(b, i, id, known); err != nil {
			return i, err
		}
		i = skipSpace(b, i)
		if i >= len(b) {
			return i, errEndsEarly(i)
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			return i + 1, nil
		default:
			return i, &jsonError{i, "expected ',' or '}' after a value"}
		}
	}
}

func errEndsEarly(i int) *jsonError { return &jsonError{i, "it ends in the middle"} }

// name reads a member's name and finds its field.
func (s *jsonScanner) name(b []byte, i, member int) (id event.FieldID, known bool, next int, err error) {
	if member < s.nPredict {
		p := &s.predicted[member]
		if end := i + len(p.quoted); end <= len(b) && string(b[i:end]) == p.quoted {
			return p.id, p.known, end, nil
		}
	}
	if i >= len(b) {
		return 0, false, i, errEndsEarly(i)
	}
	if b[i] != '"' {
		return 0, false, i, &jsonError{i, "expected a name in quotes"}
	}
	raw, next, err := s.str(b, i)
	if err != nil {
		return 0, false, next, err
	}
	id, known = event.FieldByName(raw)
	// Only names without escapes are predicted, or the quoted text were not the name.
	if member < maxPredicted && member <= s.nPredict && next-i == len(raw)+2 && len(raw) <= 64 {
		s.predicted[member] = prediction{string(b[i:next]), id, known}
		s.nPredict = max(s.nPredict, member+1)
	}
	return id, known, next, nil
}

// member reads the value at b[i] into its field.
func (s *jsonScanner) member(b []byte, i int, id event.FieldID, known bool) (int, error) {
	if i >= len(b) {
		return i, errEndsEarly(i)
	}
	var value []byte
	var err error
	start := i
	switch c := b[i]; {
	case c == '"':
		value, i, err = s.str(b, i)
	case c == '-' || c-'0' <= 9:
		i, err = number(b, i)
		value = b[start:i]
	case c == 't':
		i, err = literal(b, i, "true")
		value = b[start:i]
	case c == 'f':
		i, err = literal(b, i, "false")
		value = b[start:i]
	case c == 'n':
		i, err = literal(b, i, "null")
		if known || err != nil {
			return i, err
		}
	case c == '{' || c == '[':
		i, err = s.skip(b, i, maxJSONDepth)
		if err == nil && known {
			if s.bad == nil {
				s.bad = event.FieldError(id.String(), "must be text, a number, true, false or null")
			}
			return i, nil
		}
	default:
		return i, &jsonError{i, "expected a value"}
	}
	if err != nil {
		return i, err
	}
	switch {
	case !known:
		s.unknown++
	case len(value) > 0:
		s.fields[id] = value
	}
	return i, nil
}

// skip reads over any value and checks it.
func (s *jsonScanner) skip(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return i, errEndsEarly(i)
	}
	switch c := b[i]; {
	case c == '"':
		mark := len(s.scratch)
		_, next, err := s.str(b, i)
		s.scratch = s.scratch[:mark]
		return next, err
	case c == '-' || c-'0' <= 9:
		return number(b, i)
	case c == 't':
		return literal(b, i, "true")
	case c == 'f':
		return literal(b, i, "false")
	case c == 'n':
		return literal(b, i, "null")
	case c == '{' || c == '[':
		if depth == 0 {
			return i, &jsonError{i, "nested deeper than " + strconv.Itoa(maxJSONDepth) + " levels"}
		}
		return s.skipContainer(b, i, depth-1)
	default:
		return i, &jsonError{i, "expected a value"}
	}
}

func (s *jsonScanner) skipContainer(b []byte, i, depth int) (int, error) {
	isObject := b[i] == '{'
	end := b[i] + 2 // '}' and ']' lie two behind their openings
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == end {
		return i + 1, nil
	}
	for {
		var err error
		if isObject {
			if i >= len(b) {
				return i, errEndsEarly(i)
			}
			if b[i] != '"' {
				return i, &jsonError{i, "expected a name in quotes"}
			}
			if i, err = s.skip(b, i, 0); err != nil {
				return i, err
			}
			i = skipSpace(b, i)
			if i >= len(b) || b[i] != ':' {
				return i, &jsonError{i, "expected ':' after a name"}
			}
			i = skipSpace(b, i+1)
		}
		if i, err = s.skip(b, i, depth); err != nil {
			return i, err
		}
		i = skipSpace(b, i)
		switch {
		case i >= len(b):
			return i, errEndsEarly(i)
		case b[i] == ',':
			i = skipSpace(b, i+1)
		case b[i] == end:
			return i + 1, nil
		default:
			return i, &jsonError{i, "expected ',' or '" + string(end) + "' after a value"}
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

func literal(b []byte, i int, word string) (int, error) {
	if end := i + len(word); end <= len(b) && string(b[i:end]) == word {
		return end, nil
	}
	return i, &jsonError{i, "expected a value"}
}

// number reads over -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func number(b []byte, i int) (int, error) {
	start := i
	if b[i] == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for i < len(b) && b[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return i, &jsonError{start, "a number without digits"}
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return i, &jsonError{start, "a number without digits after the point"}
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return i, &jsonError{start, "a number without digits in its exponent"}
		}
	}
	return i, nil
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str reads the string at b[i], which is a quote.
func (s *jsonScanner) str(b []byte, i int) (value []byte, next int, err error) {
	i++
	start := i
	ascii := true
	for {
		// Eight bytes at a time to the first that is a quote, a backslash, a control
		// character or not ASCII. The subtractions may borrow into the bytes behind a
		// hit, so only the first mark is right, and only that is used.
		if i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			q, e := x^(ones*'"'), x^(ones*'\\')
			marks := ((x - ones*0x20) | (q - ones) | (e - ones) | x) & highs
			if marks == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(marks) >> 3
		}
		if i >= len(b) {
			return nil, i, errEndsEarly(i)
		}
		switch c := b[i]; {
		case c == '"':
			value = b[start:i]
			if !ascii && !utf8.Valid(value) {
				return nil, start, &jsonError{start, "text that is not UTF-8"}
			}
			return value, i + 1, nil
		case c == '\\':
			return s.escaped(b, start, i)
		case c < 0x20:
			return nil, i, &jsonError{i, "a control character inside a string"}
		case c >= utf8.RuneSelf:
			ascii = false
			i++
		default:
			i++
		}
	}
}

// escaped reads a string on from its first backslash, at b[i], into the scratch space.
func (s *jsonScanner) escaped(b []byte, start, i int) (value []byte, next int, err error) {
	from := len(s.scratch)
	out := append(s.scratch, b[start:i]...)
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			s.scratch = out
			value = out[from:len(out):len(out)]
			if !utf8.Valid(value) {
				return nil, start, &jsonError{start, "text that is not UTF-8"}
			}
			return value, i + 1, nil
		case c < 0x20:
			return nil, i, &jsonError{i, "a control character inside a string"}
		case c != '\\':
			out = append(out, c)
			i++
		default:
			r, n, err := unescape(b, i)
			if err != nil {
				return nil, i, err
			}
			out = utf8.AppendRune(out, r)
			i += n
		}
	}
	return nil, i, errEndsEarly(i)
}

// unescape reads the escape at b[i] and tells its length.
func unescape(b []byte, i int) (r rune, n int, err error) {
	if i+1 >= len(b) {
		return 0, 0, errEndsEarly(len(b))
	}
	switch b[i+1] {
	case '"', '\\', '/':
		return rune(b[i+1]), 2, nil
	case 'b':
		return '\b', 2, nil
	case 'f':
		return '\f', 2, nil
	case 'n':
		return '\n', 2, nil
	case 'r':
		return '\r', 2, nil
	case 't':
		return '\t', 2, nil
	case 'u':
		hi, ok := hex4(b, i+2)
		if !ok {
			return 0, 0, &jsonError{i, "\\u without four hexadecimal digits"}
		}
		if !utf16.IsSurrogate(hi) {
			return hi, 6, nil
		}
		if i+7 < len(b) && b[i+6] == '\\' && b[i+7] == 'u' {
			if lo, ok := hex4(b, i+8); ok {
				if r := utf16.DecodeRune(hi, lo); r != utf8.RuneError {
					return r, 12, nil
				}
			}
		}
		return 0, 0, &jsonError{i, "half a surrogate pair, which is no character"}
	default:
		return 0, 0, &jsonError{i, "an unknown escape"}
	}
}

func hex4(b []byte, i int) (rune, bool) {
	if i+4 > len(b) {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
