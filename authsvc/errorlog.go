package authsvc

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// errorWindow is how long equal records are one row with a count.
	errorWindow = time.Minute
	// errorWriteEvery spaces the writes; a crash loses no more than what was logged since the last one, which the log itself has.
	errorWriteEvery = time.Second
	// errorWriteTimeout bounds one write, and the last one at the end.
	errorWriteTimeout = 5 * time.Second
	// maxPendingErrors bounds the different records that wait to be written. What comes beyond is counted, and told by one row.
	maxPendingErrors = 500
	// errorRulesEvery is how often the settings are read.
	errorRulesEvery = 5 * time.Second
)

// ErrorLog keeps what the program logs at or above a level, for administrators to read: it stands between a logger and its handler
// (Handler), collects equal records, and writes them to the database (Run) once there is one. Whoever logs never waits for the
// database: when it is away, records are kept up to a limit and then counted.
type ErrorLog struct {
	own     *slog.Logger // for what goes wrong here; it does not come back here
	now     func() time.Time
	rules   atomic.Pointer[errorRules]
	wake    chan struct{}
	dropped atomic.Int64

	mu      sync.Mutex
	pending map[string]*errorRow // by fingerprint
}

// errorRules say what is kept.
type errorRules struct {
	level   slog.Level
	loggers map[string]slog.Level // in place of level, for a logger and those under it
	lowest  slog.Level
}

// newErrorRules takes them from the settings.
func newErrorRules(level slog.Level, loggers map[string]slog.Level) *errorRules {
	r := &errorRules{level: level, loggers: loggers, lowest: level}
	for _, l := range loggers {
		r.lowest = min(r.lowest, l)
	}
	return r
}

// keeps tells whether a record is kept: the level of the longest name that the logger's begins with, up to a dot, decides.
func (r *errorRules) keeps(level slog.Level, logger string) bool {
	want := r.level
	for name := logger; name != ""; {
		if l, ok := r.loggers[name]; ok {
			want = l
			break
		}
		i := strings.LastIndexByte(name, '.')
		name = name[:max(i, 0)]
	}
	return level >= want
}

// NewErrorLog makes one that keeps warnings and errors until Run has read the settings. own is where it tells of its own troubles; now
// is the clock.
func NewErrorLog(own slog.Handler, now func() time.Time) *ErrorLog {
	l := &ErrorLog{own: slog.New(own), now: now, wake: make(chan struct{}, 1), pending: map[string]*errorRow{}}
	l.rules.Store(newErrorRules(slog.LevelWarn, nil))
	return l
}

// add takes one record; build makes the whole row of it, and is called only for the first of equal ones.
func (l *ErrorLog) add(fingerprint string, at int64, build func() *errorRow) {
	l.mu.Lock()
	row := l.pending[fingerprint]
	if row != nil {
		row.occurrences++
		row.last = max(row.last, at)
		l.mu.Unlock()
		return
	}
	full := len(l.pending) >= maxPendingErrors
	l.mu.Unlock()
	if full {
		l.dropped.Add(1)
		return
	}
	row = build() // takes a while: not under the lock
	l.mu.Lock()
	l.merge(row)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// merge puts a row among those that wait. Call it under the lock.
func (l *ErrorLog) merge(row *errorRow) {
	known := l.pending[row.fingerprint]
	switch {
	case known != nil:
		row.occurrences += known.occurrences
		row.first, row.last = min(row.first, known.first), max(row.last, known.last)
	case len(l.pending) >= maxPendingErrors:
		l.dropped.Add(row.occurrences)
		return
	}
	l.pending[row.fingerprint] = row
}

// take moves out what waits.
func (l *ErrorLog) take() []*errorRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows := make([]*errorRow, 0, len(l.pending)+1)
	for row := range maps.Values(l.pending) {
		rows = append(rows, row)
	}
	clear(l.pending)
	if n := l.dropped.Swap(0); n > 0 {
		rows = append(rows, droppedRow(n, millis(l.now())))
	}
	return rows
}

// giveBack undoes take after a failed write.
func (l *ErrorLog) giveBack(rows []*errorRow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, row := range rows {
		if row.fingerprint == droppedFingerprint {
			l.dropped.Add(row.occurrences)
			continue
		}
		l.merge(row)
	}
}

// Run writes to the store's database until ctx ends, then once more what waits.
func (l *ErrorLog) Run(ctx context.Context, store *Store) {
	w := errorWriter{log: l, store: store, open: map[string]openError{}}
	w.readRules(ctx)
	rules := time.NewTicker(errorRulesEvery)
	defer rules.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), errorWriteTimeout)
			w.write(last)
			cancel()
			return
		case <-rules.C:
			w.readRules(ctx)
		case <-l.wake:
			w.write(ctx)
			// The next write collects what comes meanwhile. After a failure nothing has to wake it: what waits is still there.
			pause := time.NewTimer(errorWriteEvery)
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
		}
	}
}

// errorWriter is the writing half of an ErrorLog; one goroutine has it.
type errorWriter struct {
	log     *ErrorLog
	store   *Store
	open    map[string]openError
	failing bool
}

// openError is a row to which equal records are still added.
type openError struct {
	id    int64
	until int64 // Unix milliseconds
}

func (w *errorWriter) readRules(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, errorWriteTimeout)
	defer cancel()
	settings, err := w.store.GetSettings(ctx)
	if err != nil {
		return // the rules stay as they were; that the database is away is told by others
	}
	w.log.rules.Store(newErrorRules(settings.ErrorLogLevel, settings.ErrorLogFilters))
}

func (w *errorWriter) write(ctx context.Context) {
	rows := w.log.take()
	if len(rows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, errorWriteTimeout)
	defer cancel()
	now := millis(w.log.now())
	maps.DeleteFunc(w.open, func(_ string, o openError) bool { return o.until <= now })
	ids, err := w.store.saveErrors(ctx, rows, w.open)
	if err != nil {
		w.log.giveBack(rows)
		if !w.failing {
			w.log.own.Warn("the error log cannot be written to the database; what comes is kept in memory up to a limit", slog.Any("error", err))
		}
		w.failing = true
		// Try again after the pause, whether or not something new comes.
		select {
		case w.log.wake <- struct{}{}:
		default:
		}
		return
	}
	w.failing = false
	for i, row := range rows {
		if _, known := w.open[row.fingerprint]; !known || w.open[row.fingerprint].id != ids[i] {
			w.open[row.fingerprint] = openError{ids[i], row.first + errorWindow.Milliseconds()}
		}
	}
}
