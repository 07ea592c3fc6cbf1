package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse/event"
	"gatehouse/simulate"
)

// question is one report that is measured.
type question struct {
	name   string
	path   string
	params url.Values
	target float64 // ms, 0: none
}

var questions = []question{
	{"report_time_spent", "/api/v1/reports/time-spent", nil, targetTimeSpent},
	{"report_frequency", "/api/v1/reports/frequency", nil, targetFrequency},
	{"report_failures", "/api/v1/reports/failures", nil, targetFailures},
	{"search_page", "/api/v1/events", url.Values{"limit": {"100"}}, targetSearch},
	{"report_sessions", "/api/v1/reports/sessions", nil, 0},
	{"report_totals", "/api/v1/reports/totals", nil, 0},
}

// store is a server filled with many companies' events.
type store struct {
	*Server
	keys map[string]string // by company
	from time.Time
	mu   sync.Mutex
	sent map[string]int64 // different events, by company
}

// Send counts a company's different events and sends them on: [simulate.Sink].
func (s *store) send(next *simulate.HTTP) sinkFunc {
	return func(ctx context.Context, c simulate.Company, events []event.Event) (simulate.Result, error) {
		n := int64(0)
		for i := range events {
			if events[i].Retry == 0 {
				n++
			}
		}
		s.mu.Lock()
		s.sent[c.Name] += n
		s.mu.Unlock()
		return next.Send(ctx, c, events)
	}
}

type sinkFunc func(ctx context.Context, c simulate.Company, events []event.Event) (simulate.Result, error)

// Send is [simulate.Sink].
func (f sinkFunc) Send(ctx context.Context, c simulate.Company, events []event.Event) (simulate.Result, error) {
	return f(ctx, c, events)
}

// measureReports fills a server through its own front door, asks one company's reports,
// and, when asked for, lets the other companies grow and asks again.
func (r *Runner) measureReports(ctx context.Context) (err error) {
	dir, remove, err := r.tempDir("reports")
	if err != nil {
		return err
	}
	s := &store{
		Server: &Server{Binary: r.Binary, Dir: dir, Env: map[string]string{"GATEHOUSE_SERVER_TLS": "false", "GATEHOUSE_LOGGING_LEVEL": "warn"}},
		keys:   map[string]string{}, sent: map[string]int64{},
		from: time.Now().UTC().AddDate(0, 0, -daysOfFill-1).Truncate(24 * time.Hour),
	}
	if err := s.Start(ctx); err != nil {
		return errors.Join(err, remove())
	}
	defer func() { err = errors.Join(err, s.Stop(), remove()) }()

	first, err := simulate.New(simulate.Config{Seed: 21, Companies: r.Companies, From: s.from, Days: daysOfFill, Events: r.FillEvents})
	if err != nil {
		return err
	}
	companies := first.Companies()
	for _, c := range companies {
		tenant, err := s.CreateCompany(ctx, c.Name, c.Zone)
		if err != nil {
			return err
		}
		s.keys[c.Name] = tenant.Key
	}
	small, err := r.fillAndAsk(ctx, s, first, r.FillEvents, companies[0].Name)
	if err != nil {
		return err
	}
	for _, q := range questions {
		if q.target > 0 {
			r.Board.Below(q.name, small[q.name], "ms", q.target)
		} else {
			r.Board.Plain(q.name, small[q.name], "ms")
		}
	}
	if r.LargeEvents <= r.FillEvents {
		return nil
	}
	return r.measureGrowth(ctx, s, companies, small)
}

// measureGrowth lets all companies but the first grow until the store holds
// LargeEvents, and compares.
func (r *Runner) measureGrowth(ctx context.Context, s *store, companies []simulate.Company, small map[string]float64) error {
	others := make([]string, 0, len(companies))
	zones := make([]string, 0, len(companies))
	for _, c := range companies[1:] {
		others, zones = append(others, c.Name), append(zones, c.Zone)
	}
	more, err := simulate.New(simulate.Config{
		Seed: 22, Companies: len(others), Names: others, Zones: zones, From: s.from, Days: daysOfFill, Events: r.LargeEvents - r.FillEvents,
		// At a hundred times the speed of life what is delivered twice comes after a million others, and each is looked up in the store: that
		// is slower than writing, and not what is measured here.
		Repeat: 1e-6,
		// The seven fields of an old agent tell whole seconds and no record: among a hundred million, one that the first simulation made too does occur.
		OldAgents: -1,
	})
	if err != nil {
		return err
	}
	large, err := r.fillAndAsk(ctx, s, more, r.LargeEvents, companies[0].Name)
	if err != nil {
		return err
	}
	suffix := sizeSuffix(r.LargeEvents)
	for _, q := range questions {
		r.Board.Plain(q.name+suffix, large[q.name], "ms")
		if q.target > 0 {
			r.Board.Below(q.name+"_growth", large[q.name]/small[q.name], "times", targetGrowth)
		}
	}
	return nil
}

// fillAndAsk brings the store to its size and gives the median times of its reports. It says which of the two
// it is at: filling takes minutes in which nothing is measured, and the machine must be quiet only afterwards.
func (r *Runner) fillAndAsk(ctx context.Context, s *store, sim *simulate.Simulation, size int64, company string) (map[string]float64, error) {
	r.Board.Note("filling the store to %d events: nothing is measured meanwhile", size)
	if err := r.fill(ctx, s, sim); err != nil {
		return nil, err
	}
	if err := r.measureDisk(ctx, s); err != nil {
		return nil, err
	}
	r.Board.Note("MEASURING reports at %d events from now on: keep the machine quiet", size)
	out, err := r.ask(ctx, s, company)
	r.Board.Note("reports at %d events are measured: the machine may be used again", size)
	return out, err
}

// sizeSuffix tells figures of a large store from those of the usual one: "_100m".
func sizeSuffix(events int64) string {
	const million = 1_000_000
	if events < million {
		return "_grown"
	}
	return "_" + strconv.FormatInt(events/million, 10) + "m"
}

// fillBatch is the size of requests when the store is filled, where speed is not what is measured.
const fillBatch = 5_000

// fill sends a simulation's events and waits until the first company's are countable.
func (r *Runner) fill(ctx context.Context, s *store, sim *simulate.Simulation) error {
	client, err := s.Client(batchConns)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	sink := &simulate.HTTP{
		URL: s.URL(), Format: simulate.FormatArrow, Client: client,
		Key: func(_ context.Context, c simulate.Company) (string, error) { return s.keys[c.Name], nil },
	}
	out, err := sim.Run(ctx, s.send(sink), simulate.Options{Batch: fillBatch, Connections: batchConns})
	if err != nil {
		return fmt.Errorf("filling: %w\n%s", err, s.LogTail())
	}
	if out.Rejected > 0 {
		return fmt.Errorf("filling: %d events were rejected", out.Rejected)
	}
	begin := time.Now()
	for name, want := range s.sent {
		last, moved := int64(-1), begin
		for {
			got, err := CountEvents(ctx, client, s.URL(), s.keys[name], s.from.AddDate(0, 0, -2), s.from.AddDate(0, 0, daysOfFill+3))
			if err != nil {
				return err
			}
			if got == want {
				break
			}
			if got > last {
				last, moved = got, time.Now() // a busy machine may be tens of millions behind
			}
			if got > want || time.Since(moved) > settleLimit {
				return fmt.Errorf("%s: the report counts %d events, for %s now; %d different ones were sent", name, got, time.Since(moved).Round(time.Second), want)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(500 * time.Millisecond):
			}
		}
	}
	r.Board.Note("filled with %d events (%d delivered twice, %d late) of %d companies in %s, %.0f a second; every company's are countable %s later",
		out.Events, out.Repeated, out.Late, len(s.sent), out.Elapsed.Round(time.Second), float64(out.Events)/out.Elapsed.Seconds(), time.Since(begin).Round(time.Second))
	return nil
}

// ask gives the median time of each report in milliseconds.
func (r *Runner) ask(ctx context.Context, s *store, company string) (map[string]float64, error) {
	client, err := s.Client(1)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	out := map[string]float64{}
	for _, q := range questions {
		params := url.Values{"from": {s.from.Format(time.RFC3339)}, "to": {s.from.AddDate(0, 0, daysOfFill).Format(time.RFC3339)}}
		for k, v := range q.params {
			params[k] = v
		}
		var took []time.Duration
		var size int
		for i := range warmRuns + r.Runs {
			begin := time.Now()
			text, err := Get(ctx, client, s.URL()+q.path+"?"+params.Encode(), s.keys[company])
			d := time.Since(begin)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", q.name, err)
			}
			if i >= warmRuns {
				took = append(took, d)
				size = len(text)
				continue
			}
			if err := notEmpty(text); err != nil {
				return nil, fmt.Errorf("%s: %w", q.name, err)
			}
		}
		m := median(took)
		out[q.name] = millis(m)
		r.Board.Note("%s of %q: median %.1f ms, fastest %.1f, slowest %.1f, of %d runs; %d bytes", q.name, company, millis(m),
			millis(percentile(took, 0)), millis(percentile(took, 1)), len(took), size)
	}
	return out, nil
}

// notEmpty tells whether a report has content: rows, or a figure above 0.
func notEmpty(text []byte) error {
	var v map[string]json.RawMessage
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	var rows []json.RawMessage
	if json.Unmarshal(v["rows"], &rows) != nil || len(rows) == 0 {
		return errEmpty
	}
	return nil
}

// measureDisk waits until merges have come to rest and tells how large the store is for an event.
func (r *Runner) measureDisk(ctx context.Context, s *store) error {
	db := s.EngineClient()
	defer db.CloseIdleConnections()
	before, events, _, err := diskUse(ctx, db)
	if err != nil {
		return err
	}
	begin := time.Now()
	last, still := "", 0
	for still < settleTicks && time.Since(begin) < r.Settle {
		state, err := askEngine(ctx, db, "SELECT (SELECT count() FROM system.merges), (SELECT (count(), sum(rows)) FROM system.parts WHERE active AND database != 'system') FORMAT TSV")
		if err != nil {
			return err
		}
		if still++; state != last || !strings.HasPrefix(state, "0\t") {
			still = 0
		}
		last = state
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	after, _, parts, err := diskUse(ctx, db)
	if err != nil {
		return err
	}
	r.Board.Note("%d events in the store; before merging %.2f bytes an event, %d parts after %s of merging", events, float64(before)/float64(events), parts, time.Since(begin).Round(time.Second))
	name := "bytes_per_event"
	if events > r.FillEvents {
		name += sizeSuffix(r.LargeEvents)
	}
	r.Board.Below(name, float64(after)/float64(events), "bytes", targetBytes)
	return nil
}

// settleTicks is how many seconds nothing may change before merging counts as done.
const settleTicks = 5

func diskUse(ctx context.Context, db *http.Client) (bytes, events, parts int64, err error) {
	text, err := askEngine(ctx, db, "SELECT sum(bytes_on_disk), sumIf(rows, table = 'events' OR table = 'events_local'), count() FROM system.parts WHERE active AND database NOT IN ('system', 'information_schema') FORMAT TSV")
	if err != nil {
		return 0, 0, 0, err
	}
	if _, err := fmt.Sscanf(text, "%d\t%d\t%d", &bytes, &events, &parts); err != nil || events == 0 {
		return 0, 0, 0, fmt.Errorf("the store's size is not understood: %q: %w", text, err)
	}
	return bytes, events, parts, nil
}

func askEngine(ctx context.Context, db *http.Client, sql string) (string, error) {
	text, err := Get(ctx, db, "http://engine/?"+url.Values{"query": {sql}}.Encode(), "")
	return string(text), err
}
