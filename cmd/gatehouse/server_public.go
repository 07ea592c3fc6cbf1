package main

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"gatehouse/dashboards"
	"gatehouse/ingest"
	"gatehouse/internal/edge"
	"gatehouse/internal/loopback"
	"gatehouse/query"
)

// maxBody bounds the bodies of requests that bring no events: forms and small JSON objects.
const maxBody = 1 << 20

// publicHandler is what the network reaches.
func (s *server) publicHandler() (http.Handler, error) {
	r, err := s.publicRoutes()
	if err != nil {
		return nil, err
	}
	mountPages(r)
	mountAccounts(r, s.accounts.pages.Routes())
	s.router = r
	inAPI, elsewhere := r.NotFoundHandler, http.HandlerFunc(edge.NotFound)
	r.NotFoundHandler = byAPI(inAPI, elsewhere)
	r.MethodNotAllowedHandler = byAPI(r.MethodNotAllowedHandler, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Allow", strings.Join(methodsAt(r, req), ", "))
		edge.Fail(w, req, http.StatusMethodNotAllowed, "method", "this address does not take that kind of request")
	}))
	h, err := edge.Compress(edge.LimitBody(r, maxBody, bringsEvents), func(r *http.Request) bool { return s.cfg.Cache.Compression && isCompressed(r) })
	if err != nil {
		return nil, err
	}
	all := s.intake.Fast(h)
	if p := s.cfg.Proxy; len(p.Trusted) > 0 && !p.PlainHTTP {
		// Names that are not ours the proxy and the edge have refused; the certificate that browsers see is the proxy's.
		all = edge.OnlyHTTPS(all, edge.Redirect("443", func(string) bool { return true }, ""))
	}
	return s.newEdge().Handler(all), nil
}

// mountPages puts the pages on r: not on a prefix of everything, which would make 404 of the router's 405.
func mountPages(r *mux.Router) {
	pages := dashboards.Handler()
	r.Handle("/", pages)
	r.PathPrefix("/assets/").Handler(pages)
}

// byAPI leaves errors under /api/ to the API.
func byAPI(api, elsewhere http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path+"/", "/api/") {
			api.ServeHTTP(w, r)
			return
		}
		elsewhere.ServeHTTP(w, r)
	})
}

// bringsEvents tells the requests whose size the intake bounds.
func bringsEvents(r *http.Request) bool {
	return r.Method == http.MethodPost && (r.URL.Path == ingest.PathEvents || r.URL.Path == ingest.PathLogEvent)
}

// isCompressed tells what may be compressed, see edge.Compress: reports, events and static files, in none of which a secret
// ever stands. A page with a form must never come here.
func isCompressed(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	path := r.URL.Path
	return strings.HasPrefix(path, query.ReportsPath) || path == query.EventsPath || path == query.OpenAPIPath || strings.HasPrefix(path, "/assets/")
}

// publicRoutes has all but the pages.
func (s *server) publicRoutes() (*mux.Router, error) {
	r := mux.NewRouter()
	s.intake.Mount(r)
	r.Handle(pathMetrics, s.metricsHandler()).Methods(http.MethodGet)
	if err := s.mountQueries(r, s.reader, s.accounts.api.LimitReads); err != nil {
		return nil, err
	}
	mountAccounts(r, s.accounts.api.Routes())
	return r, nil
}

// metricsHandler shows metrics to programs on this machine. A request that a proxy on this machine brought may be from anywhere. Most say so, in headers
// that the edge takes away and tells of, or ask by the name that the client asked for; one that does neither looks like any program here, and is known
// by its address alone. Where that is a proxy's, programs on this machine ask at the control socket.
func (s *server) metricsHandler() http.Handler {
	h := ingest.MetricsHandler(s.registry, ingest.MetricsAccess{Loopback: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := edge.FromContext(r.Context())
		isProxy := slices.ContainsFunc(s.cfg.Proxy.Trusted, func(p netip.Prefix) bool { return p.Contains(info.Peer) })
		if info.Forwarded || isProxy || !loopback.Is(info.Host) {
			edge.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}
