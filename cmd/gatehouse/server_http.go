package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatehouse/authsvc"
	"gatehouse/authsvc/token"
	"gatehouse/event"
	"gatehouse/ingest"
	"gatehouse/internal/edge"
	"gatehouse/internal/logctx"
	"gatehouse/query"
)

// pathFlush answers when every event taken before the request can be counted in reports.
const pathFlush = "/internal/v1/flush"

// pathMetrics is where metrics are.
const pathMetrics = "/metrics"

// newMetrics makes the process's metrics.
func (s *server) newMetrics() {
	s.registry = prometheus.NewRegistry()
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.writtenEvents = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gatehouse_written_events_total", Help: "Events brought from the spool to ClickHouse, by result: inserted, duplicate, expired, set_aside.",
	}, []string{"company", "result"})
	s.registry.MustRegister(s.writtenEvents)
	s.recent = ingest.NewRecent(ingest.DefaultRecent)
	g := ingest.Gauges{
		SpoolRecords:  func() float64 { return float64(s.spool.Stats().Records) },
		SpoolBytes:    func() float64 { return float64(s.spool.Stats().DiskBytes) },
		SpoolAge:      func() float64 { return s.spool.Stats().Age(time.Now()).Seconds() },
		SpoolDamaged:  func() float64 { return float64(s.spool.Stats().DamagedParts) },
		WriterFailing: func() float64 { return float64(s.writerFailing()) },
		Recent:        s.recent,
	}
	if s.engine != nil {
		g.EngineRestarts = func() float64 { return float64(s.engine.Restarts()) }
		g.EngineFence = func() float64 { return float64(s.engine.Fence().Level()) }
	}
	s.metrics = ingest.NewMetrics(s.registry, g)
}

func (s *server) openIntake(context.Context) (err error) {
	s.newMetrics()
	s.intake, err = ingest.NewIntake(ingest.Options{
		Spool: s.spool, Keys: keyResolver{s.keys}, Internal: s.internalPrincipal, Stored: ingest.NewLookup(s.findConn, s.cfg.ClickHouse.Cluster), Recent: s.recent, Metrics: s.metrics,
		Limits:          ingest.Limits{BatchBytes: int(s.cfg.Ingest.MaxBytes), BatchEvents: s.cfg.Ingest.MaxRecords, StoredBytes: int(s.spool.MaxAppend())},
		RetentionMonths: s.cfg.Ingest.RetentionMonths,
		Store:           s.pingStore,
		Ready: []ingest.Probe{
			{Name: "database", Check: s.store.DB().Ping},
			{Name: "spool", Check: s.spoolHasRoom},
		},
		Behind:  []ingest.Probe{{Name: "writer", Check: s.writerGetsOn}},
		Detail:  s.readyDetail,
		Limiter: newEventLimiter(s.cfg.Ingest.RateLimit, s.accounts.limiter, s.accounts.limitSecret),
		Log:     s.logger("ingest"),
	})
	return err
}

func (s *server) pingStore(ctx context.Context) error {
	if s.engine != nil && !s.engine.Ready() {
		return errors.New("the engine is starting")
	}
	return s.pingConn.Ping(ctx)
}

// readyDetail is what /readyz tells besides what works.
func (s *server) readyDetail() map[string]string {
	if s.engine == nil {
		return map[string]string{"engine": "outside"}
	}
	return map[string]string{"engine": "embedded", "engine_fence": string(s.engine.Fence())}
}

// minDiskFree is the room on disk below which the server is not ready: an insert's parts need some.
const minDiskFree = 64 << 20

func (s *server) spoolHasRoom(context.Context) error {
	if st := s.spool.Stats(); st.Free <= 0 {
		return fmt.Errorf("the spool is full: %d records wait for the event store", st.Records)
	}
	free, err := diskFree(s.dataDir)
	if err == nil && free < minDiskFree {
		return fmt.Errorf("%d MiB are free on the disk of %s", free>>20, s.dataDir)
	}
	return err
}

// keyResolver is authsvc's resolver as the intake asks it.
type keyResolver struct{ keys *authsvc.Resolver }

// Resolve gives whom an API key speaks for.
func (k keyResolver) Resolve(ctx context.Context, key string, from netip.Addr) (ingest.Principal, error) {
	p, err := k.keys.Resolve(ctx, key, from)
	if err != nil {
		if token.APIKey.WellFormed(key) {
			logctx.SetCaller(ctx, 0, "", "key "+token.APIKey.Prefix(key)) // which one is still in use somewhere
		}
		return ingest.Principal{}, err
	}
	return ingest.Principal{CompanyID: p.CompanyID, SiteID: p.SiteID, Company: p.CompanyName, Location: p.Location, MayIngest: p.Scopes.Has(authsvc.ScopeIngest)}, nil
}

// Used notes the use of a key.
func (k keyResolver) Used(p ingest.Principal, from netip.Addr, agent, version string, accepted, refused int) {
	k.keys.Record(p.SiteID, from, agent, version, accepted, refused)
}

// internalPrincipal is whom a local command sends for.
func (s *server) internalPrincipal(ctx context.Context, company, site string) (ingest.Principal, error) {
	c, err := s.store.FindCompany(ctx, company)
	if err != nil {
		return ingest.Principal{}, err
	}
	p := ingest.Principal{CompanyID: c.ID, Company: c.Name, Location: c.Location, MayIngest: true}
	if site != "" && site != "0" {
		key, err := s.store.FindKey(ctx, authsvc.System(), site)
		if err != nil || key.CompanyID != c.ID {
			return ingest.Principal{}, event.FieldError("site", "the company has no site %q", site)
		}
		p.SiteID = key.ID
	}
	return p, nil
}

// mountQueries puts reports and search on r, for whom auth allows, each behind limited.
func (s *server) mountQueries(r *mux.Router, auth query.Authenticator, limited func(http.Handler) http.Handler) error {
	api, err := query.NewAPI(s.reports, auth, query.APIOptions{Log: s.logger("query"), RequestID: edge.RequestID, Extra: operations()})
	if err != nil {
		return err
	}
	for _, rt := range api.Routes() {
		r.Handle(rt.Path, limited(rt.Handler)).Methods(rt.Method, http.MethodHead)
	}
	r.NotFoundHandler = api.NotFound()
	r.MethodNotAllowedHandler = api.MethodNotAllowed(func(req *http.Request) []string { return methodsAt(r, req) })
	return nil
}

// methodsAt are the methods that r takes at a request's path.
func methodsAt(r *mux.Router, req *http.Request) (out []string) {
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := *req
		probe.Method = method
		var found mux.RouteMatch
		if r.Match(&probe, &found) && found.MatchErr == nil {
			out = append(out, method)
		}
	}
	return out
}

// flushLimit bounds a flush: with the event store away it would wait for ever.
const flushLimit = 10 * time.Minute

// flush is POST /internal/v1/flush?wait=…, for no longer than wait.
func (s *server) flush(w http.ResponseWriter, r *http.Request) {
	limit := flushLimit
	if wait, err := time.ParseDuration(r.URL.Query().Get("wait")); err == nil {
		limit = min(wait, limit)
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	if err := s.writer.Flush(ctx); err != nil {
		edge.Fail(w, r, http.StatusServiceUnavailable, string(event.CodeUnavailable),
			"all events are stored safely and will appear in reports; the event store has not taken them yet, see the server's log")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// maxSocketPath is what a unix socket's address has room for on the systems we run on.
const maxSocketPath = 100

// serveControl listens on the socket by which commands on this machine work with
// the server. Whoever may open it is trusted: mode 0600, so the server's user and root.
func (s *server) serveControl(ctx context.Context) error {
	path, err := filepath.Abs(filepath.Join(s.dataDir, "control.sock"))
	if err != nil {
		return err
	}
	if len(path) > maxSocketPath {
		dir, err := os.MkdirTemp("", "gatehouse-")
		if err != nil {
			return err
		}
		s.controlDir, path = dir, filepath.Join(dir, "control.sock")
	}
	// Ours alone: the spool's lock says that no other server is on this directory.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("FATAL: cannot listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	s.controlAt = path
	r := mux.NewRouter()
	s.intake.MountInternal(r)
	r.HandleFunc(pathFlush, s.flush).Methods(http.MethodPost)
	r.Handle(pathMetrics, promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})).Methods(http.MethodGet)
	r.HandleFunc(pathMigrations, s.migrationState).Methods(http.MethodGet)
	if err := s.mountQueries(r, s.localReader, func(h http.Handler) http.Handler { return h }); err != nil {
		return errors.Join(err, l.Close())
	}
	s.control = s.httpServer(r)
	// Local commands may take their time: a flush waits for the event store.
	s.control.ReadTimeout = 0
	go func() {
		if err := s.control.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.fatal <- fmt.Errorf("FATAL: the control socket ended: %w", err)
		}
	}()
	return nil
}
