package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"gatehouse/event"
)

// The oracle of the JSON decoders is encoding/json: slow, tried by many, and written by
// others. slowRecord reads one object with it into what the scanner must find.
type slowRecord struct {
	fields  [event.NumFields]string
	unknown int
	bad     bool // a known field holds an object or an array
}

// slowObject reports false for a text that is no object.
func slowObject(text []byte) (slowRecord, bool) {
	var r slowRecord
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return r, false
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return r, false
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return r, false
		}
		id, known := event.FieldByName(name.(string))
		if !known {
			r.unknown++
			continue
		}
		value := ""
		switch raw[0] {
		case '{', '[':
			r.bad = true
			continue
		case '"':
			if err := json.Unmarshal(raw, &value); err != nil {
				return r, false
			}
		case 'n':
		default:
			value = string(raw)
		}
		if value != "" {
			r.fields[id] = value
		}
	}
	_, err := dec.Token()
	return r, err == nil
}

// acceptable tells whether text is JSON that the scanner takes: valid, in UTF-8,
// without lone surrogates and not nested too deep.
func acceptable(text []byte) bool {
	if !json.Valid(text) || !utf8.Valid(text) {
		return false
	}
	depth, deepest := 0, 0
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	for {
		t, err := dec.Token()
		if err != nil {
			break
		}
		if d, ok := t.(json.Delim); ok {
			if d == '{' || d == '[' {
				depth++
			} else {
				depth--
			}
			deepest = max(deepest, depth)
		}
	}
	return deepest <= maxJSONDepth && !loneSurrogate(text)
}

// loneSurrogate looks through the escapes of valid JSON.
func loneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if text[i+1] != 'u' {
			i++
			continue
		}
		r := must(strconv.ParseUint(string(text[i+2:i+6]), 16, 32))
		i += 5
		switch {
		case r >= 0xdc00 && r < 0xe000:
			return true
		case r >= 0xd800 && r < 0xdc00:
			rest := text[i+1:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return true
			}
			if lo := must(strconv.ParseUint(string(rest[2:6]), 16, 32)); lo < 0xdc00 || lo >= 0xe000 {
				return true
			}
			i += 6
		}
	}
	return false
}

func jsonSeeds(f *testing.F) {
	for _, s := range []string{
		oldAgent, line(1), fullLine(1), "", "{}", "[]", "[{}]", "{", "null", "7", `"x"`,
		`{"UserName":"a\u00e4\ud83d\ude00\n","ComputerName":"\u0041","EventType":"Logon","Timestamp":1748174400.5}`,
		`{"UserName":"\ud800","x":"\udc00\ud800"}`, `{"a":{"b":[[[]]]},"UserName":[1]}`, `{"UserName":"a","username":null,"USER":"","user":"b"}`,
		"{\"UserName\":\"a\x00\"}", "{\"UserName\":\"a\xff\"}", `{"retry":true,"Elevated":false,"RecordID":1e3,"LogonID":-0,"EventID":01}`,
		`{"":"","x":-,"y":1.,"z":1e}`, line(1) + "\n" + line(2) + "\r\n\n{\n" + line(3), "[" + line(1) + "," + line(2) + ",7]", "\ufeff" + line(1),
		`{"EventType":"Startup","ComputerName":"ä\\` + `","Timestamp":"2025-03-30 02:30:00"}`,
		strings.Repeat("[", 70) + strings.Repeat("]", 70), `{"x":` + strings.Repeat(`{"x":`, 70) + "1" + strings.Repeat("}", 71),
	} {
		f.Add([]byte(s))
	}
}

// FuzzScanner holds the scanner to encoding/json, for one object.
func FuzzScanner(f *testing.F) {
	jsonSeeds(f)
	var s jsonScanner // kept, so that wrong predictions of names would show
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		next, err := s.object(text, skipSpace(text, 0))
		if !bytes.Equal(text, before) {
			t.Fatal("the text was changed")
		}
		whole := err == nil && skipSpace(text, next) == len(text)
		slow, isObject := slowObject(text)
		if want := isObject && acceptable(text); whole != want {
			t.Fatalf("accepted %v, want %v: %v", whole, want, err)
		}
		if !whole {
			return
		}
		if (s.bad != nil) != slow.bad || s.unknown != slow.unknown {
			t.Fatalf("bad %v, unknown %d, want %v, %d", s.bad, s.unknown, slow.bad, slow.unknown)
		}
		for id, want := range slow.fields {
			if got := string(s.fields[id]); got != want {
				t.Fatalf("%v is %q, want %q", event.FieldID(id), got, want)
			}
		}
	})
}

// sound fails unless what went into the spool is valid, of the tenant, and stays what it
// is when it goes through all steps again.
func sound(t *testing.T, s *server, company, site uint32) {
	t.Helper()
	seen := map[event.ID]bool{}
	for _, e := range s.spool.events(t) {
		again := e
		if err := again.Normalize(testNow); err != nil || again != e {
			t.Fatalf("accepted, but not a normal event: %v\n%+v\n%+v", err, e, again)
		}
		if e.CompanyID != company || e.SiteID != site || e.Received != testNow.UnixMilli() {
			t.Fatalf("of another tenant or time: %+v", e)
		}
		for _, name := range []string{e.User, e.Computer, e.Domain, e.SID, e.SourceHost, e.Channel, e.Provider, e.Agent} {
			if len(name) > event.MaxName || !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\n\x7f") {
				t.Fatalf("name %q", name)
			}
		}
		if e.Time <= 0 || e.Time > testNow.Add(event.MaxFuture).UnixMilli() || !e.Type.Valid() || e.Computer == "" {
			t.Fatalf("%+v", e)
		}
		if seen[e.ID()] {
			t.Fatalf("twice in the spool: %+v", e)
		}
		seen[e.ID()] = true
	}
}

// slowEvent is what a record must become: through encoding/json and event.Fields.
func slowEvent(text []byte) (event.Event, error) {
	r, ok := slowObject(text)
	if !ok || !acceptable(text) {
		return event.Event{}, errors.New("not JSON")
	}
	if r.bad {
		return event.Event{}, errors.New("an object as a value")
	}
	var f event.Fields
	for id, v := range r.fields {
		f[id] = []byte(v)
	}
	return f.Parse(&event.ParseOptions{Now: testNow, Location: acme.Location, CompanyID: acme.CompanyID, SiteID: acme.SiteID})
}

func sameEvents(t *testing.T, got, want []event.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("event %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}

func FuzzLogEvent(f *testing.F) {
	jsonSeeds(f)
	s := newServer(f, func(o *Options) { o.Recent = NewRecent(-1); o.Limits.SingleBytes = 1 << 20 })
	f.Fuzz(func(t *testing.T, text []byte) {
		s.spool.records = nil
		a := s.post(t, PathLogEvent, string(text))
		sound(t, s, 7, 70)
		want, err := slowEvent(bytes.TrimPrefix(text, utf8BOM))
		if err != nil {
			if a.status != http.StatusBadRequest {
				t.Fatalf("status %d, want 400: %v", a.status, err)
			}
			sameEvents(t, s.spool.events(t), nil)
			return
		}
		if a.status != http.StatusCreated {
			t.Fatalf("status %d: %s", a.status, a.text)
		}
		sameEvents(t, s.spool.events(t), []event.Event{want})
	})
}

// distinct leaves out repetitions.
func distinct(events []event.Event) []event.Event {
	var out []event.Event
	seen := map[event.ID]bool{}
	for _, e := range events {
		if !seen[e.ID()] {
			seen[e.ID()] = true
			out = append(out, e)
		}
	}
	return out
}

// checkAnswer fails unless the answer accounts for each record.
func checkAnswer(t *testing.T, s *server, a answer, records int) {
	t.Helper()
	var accepted, duplicate, rejected int
	if a.status == http.StatusOK || a.json["results"] != nil {
		accepted, duplicate, rejected = int(a.json["accepted"].(float64)), int(a.json["duplicate"].(float64)), int(a.json["rejected"].(float64))
		if n := len(a.json["results"].([]any)); n != duplicate+rejected {
			t.Fatalf("%d results for %d duplicates and %d rejected", n, duplicate, rejected)
		}
	}
	if accepted != len(s.spool.records) {
		t.Fatalf("%d accepted, %d in the spool", accepted, len(s.spool.records))
	}
	if records >= 0 && accepted+duplicate+rejected != records {
		t.Fatalf("answered for %d records of %d: %s", accepted+duplicate+rejected, records, a.text)
	}
	if a.status != http.StatusOK && a.status/100 != 4 {
		t.Fatalf("status %d: %s", a.status, a.text)
	}
}

func FuzzBatchJSON(f *testing.F) {
	jsonSeeds(f)
	s := newServer(f, func(o *Options) { o.Recent = NewRecent(-1) })
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 || len(bytes.TrimSpace(text)) == 0 || bytes.TrimSpace(text)[0] != '[' {
			text = append(append([]byte("["), text...), ']')
		}
		s.spool.records = nil
		a := s.post(t, PathEvents, string(text), "Content-Type", "application/json")
		sound(t, s, 7, 70)
		var elements []json.RawMessage
		if !json.Valid(text) || !acceptableArray(text) || json.Unmarshal(text, &elements) != nil || len(elements) == 0 {
			if a.status != http.StatusBadRequest {
				t.Fatalf("status %d, want 400", a.status)
			}
			checkAnswer(t, s, a, 0)
			return
		}
		if len(elements) > s.limits.BatchEvents {
			return
		}
		var want []event.Event
		for _, e := range elements {
			if e, err := slowEvent(e); err == nil {
				want = append(want, e)
			}
		}
		checkAnswer(t, s, a, len(elements))
		sameEvents(t, s.spool.events(t), distinct(want))
	})
}

// acceptableArray is acceptable for each element: the array itself is one level more.
func acceptableArray(text []byte) bool {
	var elements []json.RawMessage
	if json.Unmarshal(text, &elements) != nil {
		return false
	}
	for _, e := range elements {
		if !acceptable(e) {
			return false
		}
	}
	return true
}

func FuzzNDJSON(f *testing.F) {
	jsonSeeds(f)
	s := newServer(f, func(o *Options) { o.Recent = NewRecent(-1) })
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		s.spool.records = nil
		a := s.post(t, PathEvents, string(text), "Content-Type", "application/x-ndjson")
		sound(t, s, 7, 70)
		var want []event.Event
		records := 0
		for line := range bytes.SplitSeq(bytes.TrimPrefix(text, utf8BOM), []byte("\n")) {
			if line = bytes.Trim(line, " \t\r"); len(line) == 0 {
				continue
			}
			records++
			if e, err := slowEvent(line); err == nil {
				want = append(want, e)
			}
		}
		if records > s.limits.BatchEvents {
			return
		}
		checkAnswer(t, s, a, records)
		sameEvents(t, s.spool.events(t), distinct(want))
	})
}

func FuzzArrow(f *testing.F) {
	f.Add(arrowStream(f, 3))
	f.Add(arrowStream(f, 0))
	for _, stream := range arrowVariants(f) {
		f.Add(stream)
	}
	s := newServer(f, func(o *Options) { o.Recent = NewRecent(-1) })
	f.Fuzz(func(t *testing.T, text []byte) {
		s.spool.records = nil
		a := s.post(t, PathEvents, string(text), "Content-Type", "application/vnd.apache.arrow.stream")
		sound(t, s, 7, 70)
		checkAnswer(t, s, a, -1)
	})
}

func FuzzInternalFrames(f *testing.F) {
	full := framesOf(f, textOf(3, fullLine))
	f.Add(full)
	f.Add(framesOf(f, []byte(oldAgent+"\n")))
	f.Add(full[:50])
	e := event.Event{
		Type: event.LogonFailed, Time: 1, User: `a\b\c`, Computer: " x ", SID: "S-1-5-18", LocalIP: netip.MustParseAddr("::ffff:1.2.3.4"),
		SourceIP: netip.MustParseAddr("fe80::1"), LogonType: 10, Status: 0xc000006d, ContentHash: 1 << 63, Retry: 65535,
	}
	f.Add(appendFrame(nil, &e))
	s := newServer(f, func(o *Options) { o.Recent = NewRecent(-1) })
	f.Fuzz(func(t *testing.T, text []byte) {
		s.spool.records = nil
		a := s.do(t, http.MethodPost, PathInternalEvents+"?company=5&site=6", string(text))
		sound(t, s, 5, 6)
		checkAnswer(t, s, a, -1)
	})
}
