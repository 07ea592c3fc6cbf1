package ingest

import (
	"net/http"
	"time"

	"gatehouse/event"
)

// LogEvent is POST /api/log_event: one event, as the application that Gatehouse replaces took it.
func (in *Intake) LogEvent(w http.ResponseWriter, r *http.Request) {
	start := in.clock()
	p, err := in.authorize(w, r)
	if err == nil {
		var out outcome
		if out, err = in.logEvent(w, r, &p, start); err == nil {
			status := http.StatusCreated
			if out == accepted {
				writeStatic(w, status, bodyLogged)
			} else {
				status = http.StatusOK
				writeStatic(w, status, bodyKnown)
			}
			in.metrics.request(routeSingle, status, in.clock().Sub(start))
			return
		}
	}
	in.refuse(w, r, routeSingle, &p, err, start)
}

func (in *Intake) logEvent(w http.ResponseWriter, r *http.Request, p *Principal, now time.Time) (outcome, error) {
	content, err := readBody(w, r, in.limits.SingleBytes, nil)
	if err != nil {
		return rejected, err
	}
	defer content.release()
	b := in.newBatch(p, now, 1, nil)
	if err := decodeSingle(b, content.bytes); err != nil {
		b.release()
		return rejected, err
	}
	if err := in.admit(w, r, p, 1); err != nil {
		b.release()
		return rejected, err
	}
	if err := in.take(r.Context(), b); err != nil {
		return rejected, err // b is not used again: the spool may still hold it
	}
	in.metrics.counted(p, b)
	out := b.outcomes[0]
	in.keys.Used(*p, in.clientIP(r), r.UserAgent(), b.version, boolInt(out == accepted), 0)
	b.release()
	return out, nil
}

// decodeSingle reads the one object that the body is.
func decodeSingle(b *batch, text []byte) error {
	if len(text) >= len(utf8BOM) && string(text[:len(utf8BOM)]) == string(utf8BOM) {
		text = text[len(utf8BOM):]
	}
	i := skipSpace(text, 0)
	if i == len(text) {
		return event.Errorf(event.CodeInvalid, "the body is empty; send a JSON object")
	}
	next, err := b.scan.object(text, i)
	if err != nil {
		return notJSON(err)
	}
	if next = skipSpace(text, next); next != len(text) {
		return notJSON(&jsonError{next, "something stands behind the object"})
	}
	if err := b.addFields(); err != nil {
		return err
	}
	if len(b.rejections) > 0 {
		return b.rejections[0].err
	}
	return nil
}

// authorize tells whose events the request brings.
func (in *Intake) authorize(w http.ResponseWriter, r *http.Request) (Principal, error) {
	key := ""
	if h := r.Header["X-Api-Key"]; len(h) > 0 {
		key = h[0]
	}
	p, err := in.keys.Resolve(r.Context(), key, in.clientIP(r))
	if err == nil && !p.MayIngest {
		err = errMayNotIngest
	}
	if err != nil {
		setReadDeadline(w) // the server reads a short body before it answers, and must not wait for it without end
	}
	return p, err
}

var errMayNotIngest = event.Errorf(event.CodeForbidden, "this API key may not send events: it lacks the scope ingest")

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
