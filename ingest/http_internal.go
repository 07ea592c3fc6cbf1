package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"gatehouse/event"
)

// InternalEvents is POST /internal/v1/events?company=…&site=…: events in binary
// frames from trusted local callers. It checks no key; whoever mounts it must see to
// it that only they reach it. Its limits are what [Client] sends, whatever those of the
// public routes are set to: an operator who bounds agents does not mean to bound imports.
//
// With exact=1 ClickHouse is asked too, and the answer says "exact": accepted are those
// that neither it nor the memory of the last events has.
func (in *Intake) InternalEvents(w http.ResponseWriter, r *http.Request) {
	start := in.clock()
	q := r.URL.Query()
	p, err := in.internal(r.Context(), q.Get("company"), q.Get("site"))
	if err == nil {
		decode := func(b *batch, text []byte) error {
			b.exact = q.Has("exact")
			return decodeFrames(b, text)
		}
		err = in.events(w, r, routeInternal, &p, start, clientBytes, clientBatch, decode)
	}
	if err != nil {
		in.refuse(w, r, routeInternal, &p, err, start)
	}
}

// InternalStored is POST /internal/v1/events/stored?company=…&site=…: how many of the events in the
// body ClickHouse has. Nothing is taken.
func (in *Intake) InternalStored(w http.ResponseWriter, r *http.Request) {
	start := in.clock()
	q := r.URL.Query()
	p, err := in.internal(r.Context(), q.Get("company"), q.Get("site"))
	stored := 0
	if err == nil {
		stored, err = in.countStored(w, r, &p)
	}
	if err != nil {
		in.refuse(w, r, routeInternal, &p, err, start)
		return
	}
	writeJSON(w, http.StatusOK, append(strconv.AppendInt([]byte(`{"stored":`), int64(stored), 10), "}\n"...))
	in.metrics.request(routeInternal, http.StatusOK, in.clock().Sub(start))
}

func (in *Intake) countStored(w http.ResponseWriter, r *http.Request, p *Principal) (int, error) {
	content, err := readBody(w, r, clientBytes, &in.open)
	if err != nil {
		return 0, err
	}
	defer content.release()
	b := newBatch(p, in.clock(), clientBatch) // none is expired: they are not to be taken
	defer b.release()
	if err := decodeFrames(b, content.bytes); err != nil {
		return 0, err
	}
	b.choose(nothingRecent)
	chosen := len(b.records)
	if err := in.dropStored(r.Context(), b); err != nil {
		return 0, event.Wrap(event.CodeUnavailable, err, "the event store does not answer")
	}
	return chosen - len(b.records), nil
}

// nothingRecent remembers nothing.
var nothingRecent = NewRecent(-1)

// InternalStore is GET /internal/v1/store: a name for the tables that events go to and for how long
// they stay there. What was sent under another name may have to be sent again.
func (in *Intake) InternalStore(w http.ResponseWriter, r *http.Request) {
	start := in.clock()
	name, err := "", errNoStore
	if in.stored != nil {
		name, err = in.stored.Table(r.Context())
	}
	if err != nil {
		in.refuse(w, r, routeInternal, &Principal{}, event.Wrap(event.CodeUnavailable, err, "the event store does not answer"), start)
		return
	}
	name += ", " + strconv.Itoa(in.retention) + " months"
	writeJSON(w, http.StatusOK, append(append([]byte(`{"store":`), quoted(name)...), "}\n"...))
	in.metrics.request(routeInternal, http.StatusOK, in.clock().Sub(start))
}

var errNoStore = errors.New("no event store is known")

// lookupPatience is how long ClickHouse may take to say what it has. Then the answer is not exact.
const lookupPatience = 30 * time.Second

// dropStored takes out of the chosen what ClickHouse has. After an error nothing has changed: the writer
// finds later what is there.
func (in *Intake) dropStored(ctx context.Context, b *batch) error {
	if in.stored == nil {
		return errNoStore
	}
	if len(b.records) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	stored := make(map[event.ID]struct{}, len(b.records))
	if err := in.stored.Find(ctx, b.records, func(id event.ID) { stored[id] = struct{}{} }); err != nil {
		in.log.Warn("what the event store has already could not be looked up", slog.Any("error", err))
		return err
	}
	b.drop(stored)
	return nil
}
