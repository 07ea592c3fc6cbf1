package ingest

import (
	"bytes"
	"errors"

	"gatehouse/event"
)

// decodeJSON reads a body of JSON into b: an array of objects, one object, or NDJSON,
// told apart by what stands there unless lines says that it is NDJSON. In NDJSON a line that is
// not JSON is refused alone. An array that is not JSON to its end is refused whole,
// since what its rest means is anybody's guess.
func decodeJSON(b *batch, text []byte, lines bool) error {
	text = bytes.TrimPrefix(text, utf8BOM)
	start := skipSpace(text, 0)
	if start == len(text) {
		return event.Errorf(event.CodeInvalid, "the body is empty")
	}
	if lines {
		return decodeLines(b, text)
	}
	switch text[start] {
	case '[':
		return decodeArray(b, text, start)
	case '{':
		next, err := b.scan.object(text, start)
		if err == nil && skipSpace(text, next) == len(text) {
			return b.addFields()
		}
		return decodeLines(b, text)
	default:
		return event.Errorf(event.CodeInvalid, "the body is neither a JSON array, nor an object, nor NDJSON, nor an Arrow stream")
	}
}

// utf8BOM may stand before the text: Windows tools write it.
var utf8BOM = []byte("\ufeff")

func decodeArray(b *batch, text []byte, i int) error {
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == ']' {
		i++
	} else {
		var err error
		if i, err = decodeElements(b, text, i); err != nil {
			return err
		}
	}
	if i = skipSpace(text, i); i != len(text) {
		return notJSON(&jsonError{i, "something stands behind the array"})
	}
	return nil
}

// decodeElements reads to behind the closing bracket.
func decodeElements(b *batch, text []byte, i int) (int, error) {
	for {
		if b.full() {
			return i, errTooMany(b.limit)
		}
		if i < len(text) && text[i] != '{' {
			next, err := b.scan.skip(text, i, maxJSONDepth)
			if err != nil {
				return i, notJSON(err)
			}
			if err := b.reject(errNotObject); err != nil {
				return i, err
			}
			i = next
		} else {
			next, err := b.scan.object(text, i)
			if err != nil {
				return i, notJSON(err)
			}
			if err := b.addFields(); err != nil {
				return i, err
			}
			i = next
		}
		i = skipSpace(text, i)
		switch {
		case i >= len(text):
			return i, notJSON(errEndsEarly(i))
		case text[i] == ',':
			i = skipSpace(text, i+1)
		case text[i] == ']':
			return i + 1, nil
		default:
			return i, notJSON(&jsonError{i, "expected ',' or ']' after an element"})
		}
	}
}

func decodeLines(b *batch, text []byte) error {
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		start := skipSpace(line, 0)
		if start == len(line) {
			continue
		}
		if b.full() {
			return errTooMany(b.limit)
		}
		if err := decodeLine(b, line, start); err != nil {
			return err
		}
	}
	return nil
}

// decodeLine reads one line, which begins at start.
func decodeLine(b *batch, line []byte, start int) error {
	next, err := b.scan.object(line, start)
	if err == nil {
		if next = skipSpace(line, next); next == len(line) {
			return b.addFields()
		}
		err = &jsonError{next, "something stands behind the object"}
	} else if line[start] != '{' {
		if next, other := b.scan.skip(line, start, maxJSONDepth); other == nil && skipSpace(line, next) == len(line) {
			return b.reject(errNotObject)
		}
	}
	b.unreadable++
	return b.reject(notJSON(err))
}

var errNotObject = event.Errorf(event.CodeInvalid, "is not a JSON object")

func errTooMany(limit int) *event.Error {
	return event.Errorf(event.CodeTooLarge, "more than %d records in one request; send them in several", limit)
}

// notJSON makes the caller's error of a scanner's.
func notJSON(err error) *event.Error {
	return event.Wrap(event.CodeInvalid, err, err.Error())
}

// asError gives the *event.Error in err, which every decoder's error is.
func asError(err error) *event.Error {
	var e *event.Error
	if errors.As(err, &e) {
		return e
	}
	return event.Wrap(event.CodeInternal, err, "internal error")
}
