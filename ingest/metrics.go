package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatehouse/event"
)

// route names what a request was for, in metrics.
type route int

const (
	routeSingle route = iota
	routeBatch
	routeInternal
	routeHealth
	numRoutes
)

func (r route) String() string {
	return [...]string{"log_event", "events", "internal_events", "health"}[r]
}

// Gauges are figures of other parts, asked at each scrape; nil ones are left out.
type Gauges struct {
	SpoolRecords   func() float64 // not yet in ClickHouse
	SpoolBytes     func() float64
	SpoolAge       func() float64 // seconds since the oldest of them was taken
	SpoolDamaged   func() float64 // damaged places set aside
	WriterFailing  func() float64 // steps of the writer whose last attempt failed
	EngineRestarts func() float64
	EngineFence    func() float64 // how far the embedded ClickHouse is confined: 0 not, 1 files, 2 network too
	Recent         *Recent
}

// Metrics counts what comes in. Per tenant are only counters whose labels the server
// chooses: nothing that a client sends becomes a label.
type Metrics struct {
	events   *prometheus.CounterVec
	unknown  *prometheus.CounterVec
	auth     *prometheus.CounterVec
	requests *prometheus.HistogramVec
	inserts  *prometheus.HistogramVec
	inserted prometheus.Counter

	tenants sync.Map            // uint32 → *tenantCounters
	cells   [numRoutes]sync.Map // status → prometheus.Observer
}

type tenantCounters struct {
	name                string
	accepted, duplicate prometheus.Counter
	unknown             prometheus.Counter
}

// NewMetrics registers the metrics with reg; a nil reg keeps them to itself.
func NewMetrics(reg prometheus.Registerer, g Gauges) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_events_total",
			Help: "Events by company and what became of them: accepted, duplicate, rejected (reason: the field) or refused with their whole request (reason: the error's code; counted as one).",
		}, []string{"company", "result", "reason"}),
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_unknown_fields_total",
			Help: "Fields in events that are no field of Gatehouse and were ignored.",
		}, []string{"company"}),
		auth: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_ingest_unauthorized_total",
			Help: "Requests refused because of their API key, by status.",
		}, []string{"status"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gatehouse_ingest_request_seconds",
			Help:    "Time to answer an intake request, durable storage included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "status"}),
		inserts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gatehouse_insert_seconds",
			Help:    "Time of one block's insert into ClickHouse.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"result"}),
		inserted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_inserted_rows_total",
			Help: "Rows that ClickHouse has confirmed.",
		}),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.events, m.unknown, m.auth, m.requests, m.inserts, m.inserted)
	gauge := func(name, help string, value func() float64) {
		if value != nil {
			reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
		}
	}
	gauge("gatehouse_spool_records", "Events on disk that are not in ClickHouse yet.", g.SpoolRecords)
	gauge("gatehouse_spool_bytes", "Disk space that the spool takes.", g.SpoolBytes)
	gauge("gatehouse_spool_age_seconds", "How long the oldest event on disk has waited for ClickHouse.", g.SpoolAge)
	gauge("gatehouse_spool_damaged", "Damaged places of the spool that were set aside.", g.SpoolDamaged)
	gauge("gatehouse_writer_failing", "Steps of the way from the disk to ClickHouse whose last attempt failed. Above 0, events are taken and wait on disk.", g.WriterFailing)
	gauge("gatehouse_engine_fence", "How far the kernel confines the embedded ClickHouse: 0 not at all, 1 its files, 2 its files and the network.", g.EngineFence)
	if g.EngineRestarts != nil {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "gatehouse_engine_restarts_total", Help: "How often the embedded ClickHouse was started anew.",
		}, g.EngineRestarts))
	}
	if g.Recent != nil {
		gauge("gatehouse_recent_ids", "Event identities remembered to answer repetitions at once.", func() float64 { return float64(g.Recent.Len()) })
	}
	return m
}

// ObserveInsert notes one insert into ClickHouse, for the writer.
func (m *Metrics) ObserveInsert(took time.Duration, rows int, err error) {
	if err != nil {
		m.inserts.WithLabelValues("error").Observe(took.Seconds())
		return
	}
	m.inserts.WithLabelValues("ok").Observe(took.Seconds())
	m.inserted.Add(float64(rows))
}

// tenant gives the company's counters, found once and kept.
func (m *Metrics) tenant(p *Principal) *tenantCounters {
	if t, ok := m.tenants.Load(p.CompanyID); ok {
		if t := t.(*tenantCounters); t.name == p.Company {
			return t
		}
	}
	t := &tenantCounters{
		name:      p.Company,
		accepted:  m.events.WithLabelValues(p.Company, "accepted", ""),
		duplicate: m.events.WithLabelValues(p.Company, "duplicate", ""),
		unknown:   m.unknown.WithLabelValues(p.Company),
	}
	m.tenants.Store(p.CompanyID, t)
	return t
}

// counted notes a request that was taken.
func (m *Metrics) counted(p *Principal, b *batch) {
	t := m.tenant(p)
	if b.accepted > 0 {
		t.accepted.Add(float64(b.accepted))
	}
	if b.duplicate > 0 {
		t.duplicate.Add(float64(b.duplicate))
	}
	if b.unknown > 0 {
		t.unknown.Add(float64(b.unknown))
	}
	for i := range b.rejections {
		m.events.WithLabelValues(p.Company, "rejected", reasonOf(b.rejections[i].err.Field)).Inc()
	}
}

// refused notes a request of which nothing was taken.
func (m *Metrics) refused(p *Principal, code event.Code, field string) {
	switch {
	case p.CompanyID == 0:
		m.auth.WithLabelValues(strconv.Itoa(statusOf(code))).Inc()
	case code == event.CodeInvalid && field != "":
		m.events.WithLabelValues(p.Company, "rejected", reasonOf(field)).Inc()
	default:
		m.events.WithLabelValues(p.Company, "refused", string(code)).Inc()
	}
}

// reasonOf is a field's name as a label. Only names of ours get here.
func reasonOf(field string) string {
	if field == "" {
		return "unreadable"
	}
	return field
}

func (m *Metrics) request(rt route, status int, took time.Duration) {
	o, ok := m.cells[rt].Load(status)
	if !ok {
		o, _ = m.cells[rt].LoadOrStore(status, m.requests.WithLabelValues(rt.String(), strconv.Itoa(status)))
	}
	o.(prometheus.Observer).Observe(took.Seconds())
}

// MetricsAccess says who may read /metrics: it names every tenant.
type MetricsAccess struct {
	Loopback bool   // connections from this machine, unless a proxy made them
	Token    string // and whoever sends it as a bearer token; "": nobody
}

// MetricsHandler serves g to whom a lets read it. Others are told that there is nothing.
func MetricsHandler(g prometheus.Gatherer, a MetricsAccess) http.Handler {
	serve := promhttp.HandlerFor(g, promhttp.HandlerOpts{})
	token := sha256.Sum256([]byte(a.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.Token != "" {
			if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
				sum := sha256.Sum256([]byte(given))
				if subtle.ConstantTimeCompare(sum[:], token[:]) == 1 {
					serve.ServeHTTP(w, r)
					return
				}
			}
		}
		if a.Loopback && remoteIP(r).Unmap().IsLoopback() && !proxied(r) {
			serve.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
}

// proxied tells whether a proxy on this machine may have brought the request from elsewhere.
func proxied(r *http.Request) bool {
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}
