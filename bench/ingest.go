package bench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	singleConns = 64
	batchConns  = 4
	batchEvents = 1000

	// settleLimit is how long acknowledged events may take to be countable, or, where a store is
	// filled, how long no further one may become so.
	settleLimit = 5 * time.Minute
)

// withServer starts a server on a fresh data directory with one company, runs
// fn and stops it.
func (r *Runner) withServer(ctx context.Context, plain bool, fn func(s *Server, key string) error) (err error) {
	dir, remove, err := r.tempDir("server")
	if err != nil {
		return err
	}
	s := &Server{Binary: r.Binary, Dir: dir, Env: map[string]string{"GATEHOUSE_LOGGING_LEVEL": "warn"}}
	if plain {
		s.Env["GATEHOUSE_SERVER_TLS"] = "false"
	}
	if r.Profiles != "" {
		if err := os.MkdirAll(r.Profiles, 0o700); err != nil {
			return errors.Join(err, remove())
		}
		s.Args = []string{"--cpu-profile", filepath.Join(r.Profiles, filepath.Base(dir)+".pprof")}
	}
	if err := s.Start(ctx); err != nil {
		return errors.Join(err, remove())
	}
	defer func() {
		err = errors.Join(err, s.Stop())
		if err == nil {
			err = remove()
		} else {
			r.Board.Note("the server's data and log stay in %s", dir)
		}
	}()
	tenant, err := s.CreateCompany(ctx, "Bench", "UTC")
	if err != nil {
		return err
	}
	return fn(s, tenant.Key)
}

// single sends one event a request over many connections and waits for each
// durable acknowledgement. It gives the rate and the latencies, both after
// warming up.
func (r *Runner) single(ctx context.Context, plain bool, l *load) (rate float64, p99 time.Duration, err error) {
	err = r.withServer(ctx, plain, func(s *Server, key string) error {
		requests := l.singles(s.Address(), key)
		warm := len(requests) / 10
		_, warmed, err := r.sendSingles(ctx, s, requests[:warm])
		if err != nil {
			return err
		}
		serverCPU, engineCPU := cpuTime(s.PID()), cpuTime(s.EnginePID())
		took, latencies, err := r.sendSingles(ctx, s, requests[warm:])
		if err != nil {
			return err
		}
		rate = float64(len(latencies)) / took.Seconds()
		p99 = percentile(latencies, 0.99)
		r.Board.Note("%d requests in %s: median %.2f ms, p99 %.2f ms, longest %.2f ms; processor time of the server %.1f µs, of the engine %.1f µs a request",
			len(latencies), took.Round(time.Millisecond), millis(percentile(latencies, 0.5)), millis(p99), millis(percentile(latencies, 1)),
			micros(cpuTime(s.PID())-serverCPU, len(latencies)), micros(cpuTime(s.EnginePID())-engineCPU, len(latencies)))
		return r.countable(ctx, s, key, l, len(warmed)+len(latencies)) // a slow machine does not come to the end of either
	})
	return rate, p99, err
}

func micros(d time.Duration, n int) float64 {
	return float64(d) / float64(time.Microsecond) / float64(max(n, 1))
}

// sendSingles sends requests, in order, over all connections, for SingleTime
// at most. It gives the time and the latency of each request.
func (r *Runner) sendSingles(ctx context.Context, s *Server, requests [][]byte) (took time.Duration, latencies []time.Duration, err error) {
	conf, err := rawTLS(s)
	if err != nil {
		return 0, nil, err
	}
	conns := make([]*rawConn, 0, singleConns)
	defer func() {
		for _, c := range conns {
			err = errors.Join(err, c.Close())
		}
	}()
	for range singleConns {
		c, err := dialRaw(ctx, s.Address(), conf)
		if err != nil {
			return 0, nil, err
		}
		conns = append(conns, c)
	}
	var next atomic.Int64
	each := make([][]time.Duration, len(conns))
	g, gctx := errgroup.WithContext(ctx)
	begin := time.Now()
	deadline := begin.Add(r.SingleTime)
	for i, c := range conns {
		each[i] = make([]time.Duration, 0, 2*len(requests)/len(conns))
		g.Go(func() error {
			for gctx.Err() == nil {
				n := next.Add(1) - 1
				if n >= int64(len(requests)) {
					return nil
				}
				sent := time.Now()
				if sent.After(deadline) {
					return nil
				}
				status, body, err := c.do(requests[n])
				if err != nil {
					return err
				}
				if status != http.StatusCreated {
					return fmt.Errorf("answer %d: %s", status, body)
				}
				each[i] = append(each[i], time.Since(sent))
			}
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return 0, nil, err
	}
	took = time.Since(begin)
	for _, e := range each {
		latencies = append(latencies, e...)
	}
	return took, latencies, nil
}

func rawTLS(s *Server) (*tls.Config, error) {
	if u, err := url.Parse(s.URL()); err != nil || u.Scheme != "https" {
		return nil, err
	}
	return s.TLSConfig()
}

// batchRun is what one run of batches gave.
type batchRun struct {
	rate           float64 // events a second until countable
	acked          float64 // until the last acknowledgement
	server, engine memory  // at their peaks
}

// batches sends bodies over four connections and waits until a report counts
// every event in them.
func (r *Runner) batches(ctx context.Context, kind string, l *load, bodies [][]byte) (run batchRun, err error) {
	err = r.withServer(ctx, true, func(s *Server, key string) error {
		w := watch(ctx, s)
		serverCPU, engineCPU := cpuTime(s.PID()), cpuTime(s.EnginePID())
		begin := time.Now()
		if err := sendBatches(ctx, s, key, kind, bodies); err != nil {
			_, _ = w.stop()
			return err
		}
		acked := time.Since(begin)
		err := r.countable(ctx, s, key, l, len(l.events))
		took := time.Since(begin)
		run.server, run.engine = w.stop()
		if err != nil {
			return err
		}
		run.rate, run.acked = float64(len(l.events))/took.Seconds(), float64(len(l.events))/acked.Seconds()
		r.Board.Note("%d events: acknowledged in %s, countable in %s; processor time of the server %.2f µs, of the engine %.2f µs an event; memory %s and %s",
			len(l.events), acked.Round(time.Millisecond), took.Round(time.Millisecond), micros(cpuTime(s.PID())-serverCPU, len(l.events)),
			micros(cpuTime(s.EnginePID())-engineCPU, len(l.events)), run.server, run.engine)
		return nil
	})
	return run, err
}

func sendBatches(ctx context.Context, s *Server, key, kind string, bodies [][]byte) error {
	conf, err := rawTLS(s)
	if err != nil {
		return err
	}
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for range batchConns {
		g.Go(func() (err error) {
			c, err := dialRaw(gctx, s.Address(), conf)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			var head []byte
			for gctx.Err() == nil {
				n := next.Add(1) - 1
				if n >= int64(len(bodies)) {
					return nil
				}
				head = appendHead(head[:0], "/api/v1/events", s.Address(), key, kind, len(bodies[n]))
				if err := c.send(head, bodies[n]); err != nil {
					return err
				}
				if err := allAccepted(c, s); err != nil {
					return err
				}
			}
			return gctx.Err()
		})
	}
	return g.Wait()
}

func allAccepted(c *rawConn, s *Server) error {
	status, body, err := c.read()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.LogTail())
	}
	var a struct{ Accepted, Duplicate, Rejected int }
	if status != http.StatusOK || json.Unmarshal(body, &a) != nil || a.Duplicate != 0 || a.Rejected != 0 {
		return fmt.Errorf("answer %d: %.500s", status, body)
	}
	return nil
}

// countable waits until the frequency report counts want events.
func (r *Runner) countable(ctx context.Context, s *Server, key string, l *load, want int) error {
	client, err := s.Client(1)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	limit := time.Now().Add(settleLimit)
	for {
		got, err := CountEvents(ctx, client, s.URL(), key, l.from, l.to)
		if err != nil {
			return err
		}
		switch {
		case got == int64(want):
			return nil
		case got > int64(want):
			return fmt.Errorf("the report counts %d events, only %d were sent", got, want)
		case time.Now().After(limit):
			return fmt.Errorf("the report counts %d of %d events after %s", got, want, settleLimit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(countEvery):
		}
	}
}

// countEvery is the pause between two counts: often enough to tell the moment,
// rarely enough not to be a load.
const countEvery = 30 * time.Millisecond

// CountEvents asks the frequency report how many events of any kind there are.
func CountEvents(ctx context.Context, client *http.Client, base, key string, from, to time.Time) (int64, error) {
	q := url.Values{
		"group_by": {"day"}, "type": {"all"}, "account": {"all"},
		"from": {from.UTC().Format(time.RFC3339)}, "to": {to.UTC().Format(time.RFC3339)},
	}
	text, err := Get(ctx, client, base+"/api/v1/reports/frequency?"+q.Encode(), key)
	if err != nil {
		return 0, err
	}
	var v struct {
		Total *int64 `json:"total"`
	}
	if err := json.Unmarshal(text, &v); err != nil || v.Total == nil {
		return 0, fmt.Errorf("the frequency report has no total: %.300s", text)
	}
	return *v.Total, nil
}
