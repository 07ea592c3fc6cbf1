package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The targets, for client and server on the same two processors.
const (
	targetSingle    = 15_000 // events/s
	targetSingleP99 = 50     // ms
	targetRatio     = 0.35
	targetTimeSpent = 300 // ms
	targetFrequency = 100
	targetFailures  = 100
	targetSearch    = 50
	targetGrowth    = 1.5
	targetBytes     = 20    // an event on disk
	targetRSSServer = 200   // MB
	targetRSSEngine = 1_500 // MB
	targetList      = 100   // ms
	contentNDJSON   = "application/x-ndjson"
	contentArrow    = "application/vnd.apache.arrow.stream"
	companiesOfFill = 50
	daysOfFill      = 30
	warmRuns        = 3 // of a report, before those that count
)

// Groups are the parts of the measurement that can be asked for alone.
var Groups = []string{"single", "batch", "reports", "accounts"}

// Runner measures. Its fields have the defaults of [NewRunner].
type Runner struct {
	Binary  string // gatehouse
	WorkDir string // for data directories; "" is the system's temporary directory
	Board   *Board

	Only         []string      // of Groups; empty: all
	SingleEvents int           // requests of one event at most
	SingleTime   time.Duration // and for how long
	BatchEvents  int           // events of a batch run
	Rounds       int           // of batch runs; their median counts
	FillEvents   int64         // in the store when reports are measured
	LargeEvents  int64         // and again with so many; 0: not
	Companies    int           // among which they are
	Runs         int           // of each report
	Settle       time.Duration // how long merges may take to come to rest
	Profiles     string        // where CPU profiles of the servers that take events are put; "": none
	People       int           // accounts among which lists are made, in a tenth as many companies
}

// NewRunner is a runner of the full size.
func NewRunner(binary string, board *Board) *Runner {
	return &Runner{
		Binary: binary, Board: board, SingleEvents: 240_000, SingleTime: 15 * time.Second,
		BatchEvents: 1_000_000, Rounds: 3, FillEvents: 10_000_000, Companies: companiesOfFill, Runs: 21, Settle: 5 * time.Minute,
		People: 100_000,
	}
}

// LargeEvents is the size of the store that --large grows to.
const LargeEvents = 100_000_000

// Quick makes r small enough for a test of the bench itself: its figures say
// nothing about the product.
func (r *Runner) Quick() {
	r.SingleEvents, r.SingleTime, r.BatchEvents, r.Rounds = 2_000, 5*time.Second, 10_000, 1
	r.FillEvents, r.Companies, r.Runs, r.Settle = 30_000, 3, 2, 3*time.Second
	r.People = 500
	if r.LargeEvents > 0 {
		r.LargeEvents = 60_000
	}
}

func (r *Runner) wants(group string) bool { return len(r.Only) == 0 || slices.Contains(r.Only, group) }

// Run measures everything that is wanted. The error tells of what could not be
// measured, never of a figure that falls short.
func (r *Runner) Run(ctx context.Context) error {
	for _, g := range r.Only {
		if !slices.Contains(Groups, g) {
			return fmt.Errorf("%q is none of %s", g, strings.Join(Groups, ", "))
		}
	}
	var err error
	if r.Binary, err = filepath.Abs(r.Binary); err != nil {
		return err
	}
	r.Board.Note("%s", machine())
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"single", r.measureSingle}, {"batch", r.measureBatch}, {"reports", r.measureReports}, {"accounts", r.measureAccounts}} {
		if !r.wants(part.name) {
			continue
		}
		if part.name != "reports" && part.name != "accounts" { // which fill a store first, and say when they measure
			r.Board.Note("MEASURING %s from now on: keep the machine quiet", part.name)
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		runtime.GC()
	}
	if short := r.Board.Short(); len(short) > 0 {
		r.Board.Note("short of their targets: %s", strings.Join(short, ", "))
	}
	return r.Board.err
}

func (r *Runner) measureSingle(ctx context.Context) error {
	l, err := makeLoad(11, r.SingleEvents)
	if err != nil {
		return err
	}
	rate, p99, err := r.single(ctx, true, l)
	if err != nil {
		return err
	}
	r.Board.AtLeast("ingest_single", rate, "events/s", targetSingle)
	r.Board.Below("ingest_single_p99", millis(p99), "ms", targetSingleP99)
	if rate, p99, err = r.single(ctx, false, l); err != nil {
		return err
	}
	r.Board.Plain("ingest_single_tls", rate, "events/s")
	r.Board.Plain("ingest_single_tls_p99", millis(p99), "ms")
	return nil
}

func (r *Runner) measureBatch(ctx context.Context) error {
	l, err := makeLoad(12, r.BatchEvents)
	if err != nil {
		return err
	}
	ndjson := l.ndjson(batchEvents)
	arrow, err := l.arrow(batchEvents)
	if err != nil {
		return err
	}
	var limits, batches, arrows []float64
	var server, engine int64
	for range r.Rounds {
		limit, err := r.engineLimit(ctx, l)
		if err != nil {
			return err
		}
		limits = append(limits, limit)
		runtime.GC()
		r.Board.Note("ingest_batch:")
		run, err := r.batches(ctx, contentNDJSON, l, ndjson)
		if err != nil {
			return err
		}
		batches = append(batches, run.rate)
		server, engine = max(server, run.server.rss), max(engine, run.engine.rss)
		r.Board.Note("ingest_arrow:")
		if run, err = r.batches(ctx, contentArrow, l, arrow); err != nil {
			return err
		}
		arrows = append(arrows, run.rate)
	}
	limit, batch := median(limits), median(batches)
	r.Board.Plain("engine_limit", limit, "rows/s")
	r.Board.AtLeast("ingest_batch", batch, "events/s", targetRatio*limit)
	r.Board.AtLeast("ingest_ratio", batch/limit, "of_engine_limit", targetRatio)
	r.Board.AtLeast("ingest_arrow", median(arrows), "events/s", batch)
	r.Board.Below("rss_server", float64(server)/1e6, "MB", targetRSSServer)
	r.Board.Below("rss_engine", float64(engine)/1e6, "MB", targetRSSEngine)
	return nil
}

// tempDir makes a directory for data; remove deletes it.
func (r *Runner) tempDir(name string) (dir string, remove func() error, err error) {
	dir, err = os.MkdirTemp(r.WorkDir, "gatehouse-bench-"+name+"-*")
	if err != nil {
		return "", nil, err
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// errEmpty says that a report that should be full is not: its time would mean nothing.
var errEmpty = errors.New("the report is empty")
