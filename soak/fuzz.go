package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/event"
)

// noise is any byte.
func noise(r *rand.Rand) byte { return byte(r.Uint32N(256)) } //nolint:gosec // below 256

// mutate damages text in one of the ways in which clients and wires do.
func mutate(r *rand.Rand, text []byte) []byte {
	out := bytes.Clone(text)
	for range 1 + r.IntN(3) {
		if len(out) == 0 {
			return out
		}
		i := r.IntN(len(out))
		switch r.IntN(10) {
		case 0:
			out[i] ^= 1 << r.IntN(8)
		case 1:
			out[i] = noise(r)
		case 2:
			out = out[:i]
		case 3:
			out = append(out[:i], out[min(i+1+r.IntN(8), len(out)):]...)
		case 4:
			junk := interesting[r.IntN(len(interesting))]
			out = append(out[:i], append([]byte(junk), out[i:]...)...)
		case 5: // a piece of it again
			j := min(i+1+r.IntN(40), len(out))
			out = append(out[:j], append(bytes.Clone(out[i:j]), out[j:]...)...)
		case 6: // a value becomes another
			if at := bytes.IndexByte(out[i:], ':'); at >= 0 {
				j := i + at + 1
				k := j
				for k < len(out) && out[k] != ',' && out[k] != '}' {
					k++
				}
				v := values[r.IntN(len(values))]
				out = append(out[:j], append([]byte(v), out[k:]...)...)
			}
		case 7: // case of a letter
			if c := out[i] | 0x20; c >= 'a' && c <= 'z' {
				out[i] ^= 0x20
			}
		case 8: // a digit
			if out[i] >= '0' && out[i] <= '9' {
				out[i] = "0123456789"[r.IntN(10)]
			}
		default:
			out = append(out, junkTails[r.IntN(len(junkTails))]...)
		}
	}
	return out
}

var interesting = []string{
	"\x00", "\xff", "\u2028", "\"", "\\", "\\u0000", "\\ud800", "{", "}", "[", "]", ",", ":", "\n", "\r\n", "\t", "'", "//", "/*", "null", "1e999", "-0",
	"\xef\xbb\xbf", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "é", "ﬀ", "İ", "a\u0308",
}

var values = []string{
	`null`, `true`, `false`, `0`, `-1`, `1.5`, `1e3`, `18446744073709551616`, `""`, `"-"`, `" "`, `"0x"`, `"0xZZ"`, `{}`, `[]`, `[1]`, `{"a":1}`,
	`"9999-12-31T23:59:59Z"`, `"1969-12-31T23:59:59Z"`, `"2025-02-29T00:00:00Z"`, `"2025-13-01T00:00:00Z"`, `"\u0000"`, `"\ud800"`, `"a\\b\\c"`, `"::1"`, `"999.1.1.1"`,
	`NaN`, `Infinity`, `0777`, `+1`, `.5`, `'x'`, `"unterminated`,
}

var junkTails = []string{"}", "{}", " ", "\n", "x", "\x00", ",", "null", "\n{}"}

// reading is what a plain, slow reader makes of a body of one event.
type reading struct {
	id    event.ID
	at    int64
	valid bool // it is an event
	sure  bool // and no reader could see it otherwise
}

// byteOrderMark is what some programs write before UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// readPlainly reads one event with encoding/json and event.Fields, held to a second
// reader of values (fuzz_values.go): the oracle for what the server may take. Members of the same field twice, and text that is not
// UTF-8, are read differently by honest readers: then it is not sure.
func readPlainly(body []byte, o *event.ParseOptions) reading {
	body = bytes.TrimPrefix(body, []byte(byteOrderMark))
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	sure := utf8.Valid(body) && !bytes.Contains(bytes.ToLower(body), []byte(`\ud`))
	tok, err := dec.Token()
	if err != nil || tok != json.Delim('{') {
		return reading{sure: sure}
	}
	var f event.Fields
	seen := map[event.FieldID]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return reading{sure: sure}
		}
		key, ok := name.(string)
		if !ok {
			return reading{sure: sure}
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return reading{sure: sure}
		}
		id, known := event.FieldByName(key)
		if !known {
			continue
		}
		if seen[id] {
			sure = false
		}
		seen[id] = true
		switch raw[0] {
		case '"':
			var text string
			if json.Unmarshal(raw, &text) != nil {
				return reading{sure: sure}
			}
			f[id] = []byte(text)
		case '{', '[':
			sure = false // refused, or taken for absent
			return reading{sure: sure}
		case 'n':
			f[id] = nil
		default:
			f[id] = raw
		}
	}
	if _, err := dec.Token(); err != nil {
		return reading{sure: sure}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return reading{sure: sure}
	}
	e, err := f.Parse(o)
	e, valid := secondReading(&f, e, err == nil)
	if !valid {
		return reading{sure: sure}
	}
	// A minute of tolerance around "a day in the future": the clocks of this reader and the server differ.
	if d := time.UnixMilli(e.Time).Sub(o.Now.Add(event.MaxFuture)); d > -time.Minute && d < time.Minute {
		sure = false
	}
	return reading{id: e.ID(), at: e.Time, valid: true, sure: sure && !strings.ContainsRune(e.User+e.Computer, utf8.RuneError)}
}
