package ingest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const (
	// probeTimeout bounds one question to the store or another part.
	probeTimeout = 2 * time.Second
	// probeFresh is how long an answer is good: callers without a key may ask as often as they like.
	probeFresh = time.Second
)

// cachedProbe asks at most once in probeFresh, and once at a time.
type cachedProbe struct {
	check func(ctx context.Context) error
	mu    sync.Mutex
	asked time.Time
	last  error
}

func (c *cachedProbe) ask(ctx context.Context, now func() time.Time) error {
	if c.check == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked.IsZero() && now().Sub(c.asked) < probeFresh {
		return c.last
	}
	// The answer is for others too, so it does not end with this caller.
	c.last = probe(context.WithoutCancel(ctx), probeTimeout, c.check)
	c.asked = now()
	return c.last
}

// health is the answer that agents of the old contract expect.
type health struct {
	Status         string  `json:"status"`
	Message        string  `json:"message"`
	Timestamp      string  `json:"timestamp"`
	Database       string  `json:"database"`
	APIKeyVerified bool    `json:"api_key_verified"`
	CompanyID      *uint32 `json:"company_id"`
}

// Health is /api/health, with or without a key. A store that is away makes the
// server degraded, not unhealthy: events are still taken and kept on disk, and
// an agent that stopped sending would be wrong.
func (in *Intake) Health(w http.ResponseWriter, r *http.Request) {
	now := in.clock()
	out := health{Status: "healthy", Message: "Gatehouse is running", Timestamp: now.UTC().Format(time.RFC3339), Database: "connected"}
	if err := in.store.ask(r.Context(), in.clock); err != nil {
		out.Status, out.Database = "degraded", "disconnected"
		out.Message = "The database is away; events are taken and kept on disk until it is back"
	}
	if key := r.Header.Get("X-Api-Key"); key != "" {
		if p, err := in.keys.Resolve(r.Context(), key, in.clientIP(r)); err == nil {
			out.APIKeyVerified, out.CompanyID = true, &p.CompanyID
		}
	}
	in.writeValue(w, http.StatusOK, out)
	in.metrics.request(routeHealth, http.StatusOK, in.clock().Sub(now))
}

// Live is /healthz: the process answers.
func (in *Intake) Live(w http.ResponseWriter, _ *http.Request) {
	in.writeValue(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Readiness is /readyz: what is needed to take events works. It names the parts that fail; why they fail is in the log.
//
// A store that is away, or a writer that does not get on, makes the server degraded and not unready: events are taken
// and kept on disk, while a load balancer that sent them elsewhere would find the same store away from there, or nobody.
func (in *Intake) Readiness(w http.ResponseWriter, r *http.Request) {
	checks := map[string]string{}
	status, word := http.StatusOK, "ready"
	note := func(name string, err error) bool {
		checks[name] = "ok"
		if err != nil {
			checks[name] = "failing"
			in.log.Debug("not ready", slog.String("part", name), slog.Any("error", err))
		}
		return err == nil
	}
	if !note("store", in.store.ask(r.Context(), in.clock)) {
		word = "degraded"
	}
	for _, p := range in.behind {
		if !note(p.Name, probe(r.Context(), probeTimeout, p.Check)) {
			word = "degraded"
		}
	}
	for _, p := range in.ready {
		if !note(p.Name, probe(r.Context(), probeTimeout, p.Check)) {
			status, word = http.StatusServiceUnavailable, "not ready"
		}
	}
	out := map[string]any{"status": word, "checks": checks}
	if in.detail != nil {
		out["detail"] = in.detail()
	}
	in.writeValue(w, status, out)
}

func (in *Intake) writeValue(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		in.log.Error("BUG: an answer cannot be encoded", slog.Any("error", err))
		status, text = http.StatusInternalServerError, []byte(`{"status":"error"}`)
	}
	writeJSON(w, status, append(text, '\n'))
}

func onlyPost(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			writeJSON(w, http.StatusMethodNotAllowed, []byte(`{"message":"use POST","status":"error"}`+"\n"))
			return
		}
		h(w, r)
	}
}
