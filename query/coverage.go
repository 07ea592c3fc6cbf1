package query

import (
	"context"
	_ "embed" // the statements
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed coverage.sql
var coverageSQL string

//go:embed coverage_records.sql
var coverageRecordsSQL string

const (
	// CoverageLookback is how long before the range a computer may have been
	// heard of last and still be listed. One silent for longer counts as retired.
	CoverageLookback = 90 * 24 * time.Hour
	// ClockTolerance is how far ahead of its receipt an event may be stamped
	// before its computer's clock is called wrong.
	ClockTolerance = 5 * time.Second
	// RecordIDDrop is how far a log's record ids must fall to be a numbering
	// that began anew rather than records written at the same moment.
	RecordIDDrop = 1000
)

// CoverageSpec is the coverage report's parameters.
var CoverageSpec = &Spec{
	Name:   "coverage",
	Params: []string{"company", "tz", "format", "from", "to", "site", "computer", "limit", "cursor", "silence_after"},
}

// What is wrong with a computer's coverage.
const (
	FlagBlind       = "blind"         // no event in the whole range: nothing is known, not nothing happened
	FlagSilent      = "silent"        // the last event is older than silence_after
	FlagNoLogoffs   = "no_logoffs"    // people sign in and nobody ever signs off: the audit policy is missing
	FlagNoLocks     = "no_locks"      // people sign in and nobody ever locks: the audit policy is missing
	FlagClockAhead  = "clock_ahead"   // events stamped later than they were received
	FlagClockChange = "clock_changed" // the clock was set
	FlagLogCleared  = "log_cleared"   // a log was cleared
)

// CoverageReport says how well each computer is heard.
type CoverageReport struct {
	Header
	SilenceAfterSeconds float64       `json:"silence_after_seconds"`
	Rows                []CoverageRow `json:"rows"`
	NextCursor          string        `json:"next_cursor,omitempty"`
}

// CoverageRow is one computer.
type CoverageRow struct {
	Computer         string        `json:"computer"`
	FirstSeen        time.Time     `json:"first_seen"` // within the range and the time looked back over
	LastSeen         time.Time     `json:"last_seen"`
	SilentSeconds    float64       `json:"silent_seconds"` // from the last event to the end of the range, or now
	Events           uint64        `json:"events"`
	Logons           uint64        `json:"logons"`
	Logoffs          uint64        `json:"logoffs"`
	Locks            uint64        `json:"locks"` // locks and unlocks
	ClockChanges     uint64        `json:"clock_changes"`
	LogClears        uint64        `json:"log_clears"`
	FutureEvents     uint64        `json:"future_events"`
	MaxAheadSeconds  float64       `json:"max_ahead_seconds"`
	LagMedianSeconds *float64      `json:"lag_median_seconds"` // null without events
	LagP95Seconds    *float64      `json:"lag_p95_seconds"`
	MissingRecords   uint64        `json:"missing_records"` // of all logs
	Flags            []string      `json:"flags"`
	Logs             []LogCoverage `json:"logs"`
}

// LogCoverage is the record ids of one log of a computer.
type LogCoverage struct {
	Channel    string `json:"channel"`
	Records    uint64 `json:"records"`     // distinct ids held
	Missing    uint64 `json:"missing"`     // ids between the lowest and the highest held that are not
	Gaps       uint64 `json:"gaps"`        // stretches of missing ids
	LargestGap uint64 `json:"largest_gap"` // ids in the longest stretch
	Numberings uint64 `json:"numberings"`  // 1, and one more for each time that the log began anew
}

// Coverage reports, per computer, how complete and timely its events are.
func (r *Reports) Coverage(ctx context.Context, c Company, p Params) (*CoverageReport, error) {
	report := &CoverageReport{Header: r.header("coverage", c, p), SilenceAfterSeconds: p.SilenceAfter.Seconds()}
	rows, names, err := r.coverageRows(ctx, c, p)
	if err != nil {
		return nil, err
	}
	report.Rows, report.NextCursor = nextPage(p, rows)
	names = names[:len(report.Rows)]
	logs, err := r.coverageLogs(ctx, c, p, names)
	if err != nil {
		return nil, err
	}
	for i := range report.Rows {
		row := &report.Rows[i]
		if row.Logs = logs[names[i]]; row.Logs == nil {
			row.Logs = []LogCoverage{}
		}
		for _, l := range row.Logs {
			row.MissingRecords += l.Missing
		}
		row.Flags = row.flags(p)
	}
	return report, nil
}

// flags says what is wrong, the worst first.
func (row *CoverageRow) flags(p Params) []string {
	out := []string{}
	for _, f := range []struct {
		name string
		on   bool
	}{
		{FlagBlind, row.Events == 0},
		{FlagSilent, row.SilentSeconds > p.SilenceAfter.Seconds()},
		{FlagNoLogoffs, row.Logons > 0 && row.Logoffs == 0},
		{FlagNoLocks, row.Logons > 0 && row.Locks == 0},
		{FlagClockAhead, row.FutureEvents > 0},
		{FlagClockChange, row.ClockChanges > 0},
		{FlagLogCleared, row.LogClears > 0},
	} {
		if f.on {
			out = append(out, f.name)
		}
	}
	return out
}

func (r *Reports) coverageRows(ctx context.Context, c Company, p Params) (rows []CoverageRow, names []string, err error) {
	w := where(c).add("time >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') AND time < fromUnixTimestamp64Milli({to:Int64}, 'UTC')",
		"since", max(p.From.Add(-CoverageLookback).UnixMilli(), 0), "to", p.To).matching(p).pageArgs(p)
	w.args["from"] = p.From
	w.args["tolerance"] = ClockTolerance.Milliseconds()
	end := p.To
	if now := r.now(); now.Before(end) {
		end = now
	}
	err = r.query(ctx, w.in(coverageSQL), w.args, func(q driver.Rows) error {
		var (
			row                             CoverageRow
			name                            string
			first, last, ahead, median, p95 int64
		)
		err := q.Scan(&name, &row.Computer, &first, &last, &row.Events, &row.Logons, &row.Logoffs, &row.Locks,
			&row.ClockChanges, &row.LogClears, &row.FutureEvents, &ahead, &median, &p95)
		if err != nil {
			return err
		}
		row.FirstSeen, row.LastSeen = *p.local(first), *p.local(last)
		row.SilentSeconds = max(seconds(end.UnixMilli()-last), 0)
		row.MaxAheadSeconds = seconds(ahead)
		if row.Events > 0 {
			m, n := seconds(median), seconds(p95)
			row.LagMedianSeconds, row.LagP95Seconds = &m, &n
		}
		rows, names = append(rows, row), append(names, name)
		return nil
	})
	return rows, names, err
}

// coverageLogs reads the logs of a page's computers, which are neighbours in the order of their names.
func (r *Reports) coverageLogs(ctx context.Context, c Company, p Params, computers []string) (map[string][]LogCoverage, error) {
	out := make(map[string][]LogCoverage, len(computers))
	if len(computers) == 0 {
		return out, nil
	}
	w := where(c).during(p).matching(p)
	w.args["first"], w.args["last"], w.args["drop"] = computers[0], computers[len(computers)-1], RecordIDDrop
	err := r.query(ctx, w.in(coverageRecordsSQL), w.args, func(q driver.Rows) error {
		var (
			name string
			l    LogCoverage
		)
		if err := q.Scan(&name, &l.Channel, &l.Numberings, &l.Records, &l.Missing, &l.LargestGap, &l.Gaps); err != nil {
			return err
		}
		out[name] = append(out[name], l)
		return nil
	})
	return out, err
}
