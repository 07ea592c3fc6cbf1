package ingest

import (
	"net/http"

	"github.com/gorilla/mux"
)

// Paths of the intake.
const (
	PathLogEvent       = "/api/log_event"
	PathEvents         = "/api/v1/events"
	PathHealth         = "/api/health"
	PathInternalEvents = "/internal/v1/events"
	PathInternalStored = "/internal/v1/events/stored"
	PathInternalStore  = "/internal/v1/store"
)

// Mount puts the public routes on r. PathEvents is taken for POST alone: a GET is the
// search, and not the intake's.
func (in *Intake) Mount(r *mux.Router) {
	r.HandleFunc(PathLogEvent, onlyPost(in.LogEvent))
	r.HandleFunc(PathEvents, in.Events).Methods(http.MethodPost)
	r.HandleFunc(PathHealth, in.Health).Methods(http.MethodPost, http.MethodGet)
	r.HandleFunc("/healthz", in.Live).Methods(http.MethodGet, http.MethodHead)
	r.HandleFunc("/readyz", in.Readiness).Methods(http.MethodGet, http.MethodHead)
}

// MountInternal puts the routes for trusted local callers on r, which must be reachable
// for them alone: a unix socket that only the server's user can open.
func (in *Intake) MountInternal(r *mux.Router) {
	r.HandleFunc(PathInternalEvents, onlyPost(in.InternalEvents))
	r.HandleFunc(PathInternalStored, onlyPost(in.InternalStored))
	r.HandleFunc(PathInternalStore, in.InternalStore).Methods(http.MethodGet)
}

// Fast answers PathLogEvent itself and leaves the rest to next. Every event of an old
// agent is a request of its own: the way through a router's patterns is a measurable part of it.
func (in *Intake) Fast(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == PathLogEvent && r.Method == http.MethodPost {
			in.LogEvent(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
