package ingest

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/event"
)

// Events is POST /api/v1/events: many events as a JSON array, NDJSON or an Arrow stream.
func (in *Intake) Events(w http.ResponseWriter, r *http.Request) {
	start := in.clock()
	p, err := in.authorize(w, r)
	all := false
	if err == nil {
		all, err = allResults(w, r)
	}
	if err == nil {
		decode := decoderFor(r.Header.Get("Content-Type"))
		err = in.events(w, r, routeBatch, &p, start, in.limits.BatchBytes, in.limits.BatchEvents, func(b *batch, text []byte) error {
			b.all = all
			return decode(b, text)
		})
	}
	if err != nil {
		in.refuse(w, r, routeBatch, &p, err, start)
	}
}

// errParameter is the cause of what allResults refuses. Its field may be any text, which no metric is to bear.
var errParameter = errors.New("a parameter")

// allResults reads the parameters: whether the accepted records are listed too.
func allResults(w http.ResponseWriter, r *http.Request) (all bool, err error) {
	if r.URL.RawQuery == "" {
		return false, nil
	}
	refuse := func(field, message string) (bool, error) {
		setReadDeadline(w) // as in authorize
		return false, &event.Error{Code: event.CodeInvalid, Field: field, Message: message, Cause: errParameter}
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refuse("", "the parameters are not well-formed: write % as %25, & as %26 and ; as %3B")
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch {
		case name != "results":
			return refuse(name[:min(len(name), 64)], "is not a parameter of sending events; there is results alone")
		case len(q[name]) > 1 || q[name][0] != "all":
			return refuse(name, "must be all, once, or absent")
		}
	}
	return true, nil
}

// decoder reads a body into a batch. Its error refuses the request whole.
type decoder func(b *batch, text []byte) error

// decoderFor chooses by content type; where that says nothing, by the first bytes.
func decoderFor(contentType string) decoder {
	mediaType, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(mediaType)) {
	case "application/vnd.apache.arrow.stream":
		return decodeArrow
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
		return func(b *batch, text []byte) error { return decodeJSON(b, text, true) }
	default:
		return func(b *batch, text []byte) error {
			if bytes.HasPrefix(text, arrowStart) {
				return decodeArrow(b, text)
			}
			return decodeJSON(b, text, false)
		}
	}
}

// events reads, decodes, stores and answers. An error means that nothing was taken
// and nothing was answered.
func (in *Intake) events(w http.ResponseWriter, r *http.Request, rt route, p *Principal, start time.Time, maxBytes, maxEvents int, decode decoder) error {
	status, answer, err := in.takeBatch(w, r, rt, p, start, maxBytes, maxEvents, decode)
	if err != nil {
		return err
	}
	// By now the request's share of the memory is given back: it must not wait for a client that
	// reads its answer slowly.
	writeJSON(w, status, answer)
	in.metrics.request(rt, status, in.clock().Sub(start))
	return nil
}

// takeBatch is events up to the answer.
func (in *Intake) takeBatch(w http.ResponseWriter, r *http.Request, rt route, p *Principal, start time.Time, maxBytes, maxEvents int, decode decoder) (status int, answer []byte, err error) {
	content, err := readBody(w, r, maxBytes, &in.open)
	if err != nil {
		return 0, nil, err
	}
	defer content.release()
	b := in.newBatch(p, start, maxEvents, content)
	err = decode(b, content.bytes)
	if err == nil && len(b.outcomes) == 0 {
		err = errNoRecords
	}
	if err == nil && rt != routeInternal { // the rate is that of agents' keys
		err = in.admit(w, r, p, len(b.outcomes))
	}
	if err != nil {
		b.release()
		return 0, nil, err
	}
	if err := in.take(r.Context(), b); err != nil {
		return 0, nil, err // b is not used again: the spool may still hold it
	}
	status = http.StatusOK
	if b.unreadable == len(b.outcomes) {
		status = http.StatusBadRequest // nothing could be read
	}
	in.keys.Used(*p, in.clientIP(r), r.UserAgent(), b.version, b.accepted, len(b.rejections))
	in.metrics.counted(p, b)
	answer = b.appendResult(nil)
	b.release()
	return status, answer, nil
}

var errNoRecords = event.Errorf(event.CodeInvalid, "the body holds no records")

// appendResult writes what became of the records, of all or of those not accepted.
func (b *batch) appendResult(text []byte) []byte {
	status := "success"
	if len(b.rejections) == len(b.outcomes) {
		status = "error" // there was nothing that could be taken
	}
	text = append(text, `{"status":"`...)
	text = append(text, status...)
	text = append(text, `","accepted":`...)
	text = strconv.AppendInt(text, int64(b.accepted), 10)
	text = append(text, `,"duplicate":`...)
	text = strconv.AppendInt(text, int64(b.duplicate), 10)
	text = append(text, `,"rejected":`...)
	text = strconv.AppendInt(text, int64(len(b.rejections)), 10)
	if b.exact {
		text = append(text, `,"exact":true`...)
	}
	text = append(text, `,"results":[`...)
	next, first := 0, true
	for i, out := range b.outcomes {
		if out == accepted && !b.all {
			continue
		}
		if !first {
			text = append(text, ',')
		}
		first = false
		text = append(text, `{"index":`...)
		text = strconv.AppendInt(text, int64(i), 10)
		switch out {
		case accepted:
			text = append(text, `,"status":"accepted"}`...)
		case duplicate:
			text = append(text, `,"status":"duplicate"}`...)
		case rejected:
			text = b.rejections[next].append(text)
			next++
		}
	}
	return append(text, "]}\n"...)
}

func (r *rejection) append(text []byte) []byte {
	message := r.err.Message
	if r.err.Code == event.CodeInternal {
		message = "internal error"
	}
	text = append(text, `,"status":"rejected"`...)
	if r.err.Field != "" {
		text = append(append(text, `,"field":`...), quoted(r.err.Field)...)
	}
	text = append(append(text, `,"message":`...), quoted(message)...)
	return append(text, '}')
}
