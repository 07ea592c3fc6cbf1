package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/authsvc"
	"gatehouse/authsvc/password"
	"gatehouse/config"
	"gatehouse/engine"
	"gatehouse/ingest"
	"gatehouse/internal/tlscert"
	"gatehouse/query"
	"gatehouse/schema"
	"gatehouse/spool"
)

// serverOptions say how much of the product runs.
type serverOptions struct {
	dataDir     string
	databaseURL string
	listen      string // "" listens on the control socket alone: the stores are opened for one command
	plainHTTP   bool
	cfg         *config.Config
	log         *slog.Logger
	now         func() time.Time // the clock of reports, nil for the system's
	passwords   *password.Hasher // nil: of the cost that the settings say
}

// server is the whole product in one process: what it opens, in the order in
// which it stands here, it closes in the opposite one.
type server struct {
	serverOptions

	trails    trails
	first     authsvc.FirstStart
	spool     *spool.Spool
	store     *authsvc.Store
	keys      *authsvc.Resolver
	accounts  accounts
	engine    *engine.Engine // nil with an outside ClickHouse
	conn      driver.Conn    // for reports
	writeConn driver.Conn    // for the writer: its inserts must never queue behind reports
	findConn  driver.Conn    // for imports: reports count on having their connections to themselves
	pingConn  driver.Conn    // for health: a store whose report connections are all busy is not away
	writer    *ingest.Writer
	reports   *query.Reports
	intake    *ingest.Intake
	recent    *ingest.Recent
	cert      *tlscert.Source

	registry      *prometheus.Registry
	metrics       *ingest.Metrics
	writtenEvents *prometheus.CounterVec

	storeReady atomic.Bool // the event store has its tables
	migrations *schema.ClickHouse
	migrate    func(context.Context) error
	stopWriter context.CancelFunc
	writerDone chan error
	fatal      chan error // what ends the server by itself

	bound         net.Listener // taken and not yet served
	boundRedirect net.Listener // the same for plain HTTP, if any
	control       *http.Server
	public        *http.Server
	router        *mux.Router // of public
	controlAt     string
	controlDir    string // made for the socket where the data directory's path is too long for one
	url           string
}

// directories and files of the data directory.
const (
	fileDatabase = "gatehouse.db"

	dirSpool  = "spool"
	dirWriter = "writer"
	dirEngine = "engine"
	dirImport = "import"
)

// startServer opens everything and serves. Close ends it, also after an error.
func startServer(ctx context.Context, o serverOptions) (_ *server, err error) {
	s := &server{serverOptions: o, fatal: make(chan error, 4)}
	s.keepErrors()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("FATAL: the data directory cannot be made: %w", err)
	}
	for _, step := range []func(context.Context) error{
		s.openSpool, s.bindPublic, s.openStore, s.openAccounts, s.openEventStore, s.openIntake, s.startWriter, s.serveControl, s.servePublic, s.tellWhere,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// tellWhere lets programs on this machine find the server.
func (s *server) tellWhere(context.Context) error {
	if s.listen == "" {
		return s.writeServeFile(fileCommand)
	}
	return s.writeServeFile(fileServe)
}

func (s *server) openSpool(context.Context) (err error) {
	// First of all: its lock is what keeps two servers from one data directory.
	s.spool, err = spool.Open(filepath.Join(s.dataDir, dirSpool), spool.Options{
		MaxBytes: int64(s.cfg.Spool.MaxBytes), SegmentSize: int64(s.cfg.Spool.SegmentSize), Logger: s.logger("spool"),
	})
	if errors.Is(err, spool.ErrLocked) {
		return newBusyError(s.dataDir, err)
	}
	if err == nil {
		s.removeServeFiles()
	}
	return err
}

func (s *server) openStore(ctx context.Context) (err error) {
	passwords := authsvc.WithPasswordCost(s.cfg.Security.BcryptCost)
	if s.passwords != nil {
		passwords = authsvc.WithPasswords(s.passwords)
	}
	if s.store, err = authsvc.Open(ctx, s.databaseURL, passwords); err != nil {
		return err
	}
	if _, _, err := schema.NewRelational(s.store.DB()).Up(ctx); err != nil {
		return err
	}
	// A server that a command starts for itself greets nobody: what a first start makes
	// must be shown.
	if s.listen != "" {
		if s.first, err = s.store.Bootstrap(ctx, s.cfg.App.AdminPassword.Reveal()); err != nil {
			return err
		}
	}
	s.startTrails(ctx)
	s.keys, err = s.store.NewResolver(ctx, s.logger("keys"))
	return err
}

// openClickHouse reaches the event store: the server that the settings name, else the embedded
// engine, which it starts in the data directory and which is nil otherwise.
func openClickHouse(ctx context.Context, dataDir string, cfg *config.Config, log *slog.Logger) (*clickhouse.Options, *engine.Engine, error) {
	if address := cfg.ClickHouse.URL.Reveal(); address != "" {
		o, err := outsideClickHouse(address)
		return o, nil, err
	}
	e, err := engine.Start(ctx, engine.Config{
		Dir: filepath.Join(dataDir, dirEngine), Library: cfg.Engine.Library,
		MemoryLimit: int64(cfg.Engine.MemoryLimit), Threads: cfg.Engine.Threads, Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	return e.Options(), e, nil
}

// outsideClickHouse reads a URL as clickhouse-go options for HTTP.
func outsideClickHouse(address string) (*clickhouse.Options, error) {
	o, err := clickhouse.ParseDSN(address)
	if err != nil {
		return nil, fmt.Errorf("[clickhouse] url: %w", err)
	}
	o.Protocol = clickhouse.HTTP
	o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	o.DialContext = dialOutside
	return o, nil
}

// Connections to the event store: few, as each statement takes all cores.
const (
	reportConns = 8
	writerConns = 6
	pingConns   = 1
	findConns   = 2 // of imports that ask what is there
)

// eventLayout is how the settings want the event store's tables.
func eventLayout(cfg *config.Config) schema.Layout {
	return schema.Layout{Database: cfg.ClickHouse.Name, Cluster: cfg.ClickHouse.Cluster, RetentionMonths: cfg.Ingest.RetentionMonths}
}

func (s *server) openEventStore(ctx context.Context) error {
	o, e, err := openClickHouse(ctx, s.dataDir, s.cfg, s.logger("engine"))
	if err != nil {
		return err
	}
	s.engine = e
	layout := eventLayout(s.cfg)
	if s.migrations, err = schema.NewClickHouse(o, layout); err != nil {
		return err
	}
	open := func(conns int) (driver.Conn, error) {
		c := *o
		c.Auth.Database = layout.Database
		c.MaxOpenConns, c.MaxIdleConns = conns, conns
		return clickhouse.Open(&c)
	}
	if s.conn, err = open(reportConns); err != nil {
		return fmt.Errorf("event store: %w", err)
	}
	if s.writeConn, err = open(writerConns); err != nil {
		return fmt.Errorf("event store: %w", err)
	}
	if s.findConn, err = open(findConns); err != nil {
		return fmt.Errorf("event store: %w", err)
	}
	if s.pingConn, err = open(pingConns); err != nil {
		return fmt.Errorf("event store: %w", err)
	}
	s.reports = query.New(s.conn, query.Options{Now: s.now, SiteNames: s.siteNames})

	s.migrate = func(ctx context.Context) error {
		return s.store.DB().WithLock(ctx, eventsLock(layout.Database), func(ctx context.Context) error {
			_, _, err := s.migrations.Up(ctx)
			return err
		})
	}
	if err = s.migrate(ctx); err == nil {
		s.storeReady.Store(true)
		return nil
	}
	if s.engine != nil || errors.Is(err, schema.ErrNewer) || isAnswer(err) {
		return err
	}
	// An outside store that is away must not keep events from being taken.
	s.log.Warn("the event store does not answer; events are taken and will be written when it does", slog.Any("error", err))
	return nil
}

// isAnswer tells whether an error is the store's own word, which a later try would hear again.
func isAnswer(err error) bool {
	var ex *clickhouse.Exception
	return errors.As(err, &ex)
}

// Close ends the server: first what brings work in, last what the rest stands
// on. Each part has its own limit within it. It may be called on a server that
// started only in part.
func (s *server) Close() error {
	timeout := s.cfg.Server.ShutdownTimeout
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var errs []error
	part := func(name string, close func() error) {
		begin := time.Now()
		if err := close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the %s: %w", name, err))
		}
		if took := time.Since(begin); took > time.Second {
			s.log.Info("closed", slog.String("part", name), slog.Duration("took", took.Round(time.Millisecond)))
		}
	}
	if s.controlAt != "" {
		s.removeServeFiles() // nobody comes any more who looks for a server
	}
	if s.public != nil {
		part("listener", func() error { return shutdown(ctx, s.public) })
	}
	for _, l := range []net.Listener{s.bound, s.boundRedirect} {
		if l != nil {
			part("listener", l.Close)
		}
	}
	if s.control != nil {
		part("control socket", func() error { return shutdown(ctx, s.control) })
	}
	if s.controlDir != "" {
		part("control socket", func() error { return os.RemoveAll(s.controlDir) })
	}
	if s.stopWriter != nil {
		part("writer", func() error {
			s.stopWriter()
			return <-s.writerDone
		})
	}
	if s.keys != nil {
		part("keys", s.keys.Close)
	}
	part("Redis", s.closeAccounts)
	for _, c := range []driver.Conn{s.conn, s.writeConn, s.findConn, s.pingConn} {
		if c != nil {
			part("event store's connection", c.Close)
		}
	}
	if s.engine != nil {
		part("engine", s.engine.Close)
	}
	if s.trails.stop != nil {
		part("error log", s.stopTrails)
	}
	if s.store != nil {
		part("database", s.store.Close)
	}
	if s.spool != nil {
		part("spool", s.spool.Close)
	}
	return errors.Join(errs...)
}

// shutdown lets running requests end until ctx does, then cuts them off: nothing may use
// what is closed after them.
func shutdown(ctx context.Context, srv *http.Server) error {
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return srv.Close()
	}
	return err
}

// siteNames are the names of a company's keys, for display.
func (s *server) siteNames(ctx context.Context, company uint32) (map[uint32]string, error) {
	return s.store.SiteNames(ctx, company)
}
