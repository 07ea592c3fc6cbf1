package soak

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/bench"
	"gatehouse/event"
	"gatehouse/simulate"
)

// sender is a crowd of clients that send one company's simulated events, in
// single requests, NDJSON and Arrow, and keep account. What is not answered is sent again
// by some of them and left alone by others.
type sender struct {
	server *bench.Server
	tenant bench.Tenant
	ledger *ledger
	seed   uint64
	rate   float64 // events a second; 0: no limit
	batch  int     // the largest batch, 0: batchLargest
	padded bool    // the events carry long texts, so that fewer of them fill a spool

	next   chan event.Event // the simulation's events, in order
	sent   atomic.Int64
	stop   context.CancelFunc
	wg     sync.WaitGroup
	broken error // an answer that should never be
	mu     sync.Mutex
}

const (
	singleSenders = 6
	batchSenders  = 2 // of NDJSON, and as many of Arrow
	batchLargest  = 200
	oldKept       = 500 // events that a client may send again
	// answerLimit is how long a client waits for an answer before it counts the request as unanswered.
	answerLimit = 20 * time.Second
)

// padding is as long as a name may be. It is no part of an event's identity.
var padding = strings.Repeat("padding ", event.MaxName/8-1) + "padding"

// start begins to send the events of sim's first company.
func (s *sender) start(ctx context.Context, sim *simulate.Simulation) {
	ctx, s.stop = context.WithCancel(ctx)
	s.next = make(chan event.Event, 1024)
	s.wg.Go(func() {
		defer close(s.next)
		begin, n := time.Now(), 0
		for e := range sim.Company(0) {
			if e.Retry != 0 {
				continue // the crowd repeats by itself
			}
			e.CompanyID = s.tenant.ID
			if s.padded {
				e.Domain, e.SourceHost, e.Agent = padding, padding, padding
			}
			if s.rate > 0 {
				if n++; n%16 == 0 {
					time.Sleep(time.Until(begin.Add(time.Duration(float64(n) / s.rate * float64(time.Second)))))
				}
			}
			select {
			case s.next <- *e:
			case <-ctx.Done():
				return
			}
		}
	})
	for i := range singleSenders + 2*batchSenders {
		format := simulate.FormatSingle
		switch {
		case i >= singleSenders+batchSenders:
			format = simulate.FormatArrow
		case i >= singleSenders:
			format = simulate.FormatNDJSON
		}
		s.wg.Go(func() { s.run(ctx, format, rand.New(rand.NewPCG(s.seed, uint64(i)))) }) //nolint:gosec // repeatable
	}
}

// end stops sending and waits for what is under way.
func (s *sender) end() error {
	s.stop()
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

func (s *sender) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = errors.Join(s.broken, err)
}

// run is one client.
func (s *sender) run(ctx context.Context, format simulate.Format, r *rand.Rand) {
	client := &http.Client{Timeout: answerLimit, Transport: s.transport()}
	defer client.CloseIdleConnections()
	arrow := simulate.NewArrow()
	var parcel []event.Event
	var old []event.Event // sent before, some of it to be sent again
	for {
		parcel = parcel[:0]
		size := 1
		if format != simulate.FormatSingle {
			size = 1 + r.IntN(cmp.Or(s.batch, batchLargest))
		}
		for len(parcel) < size {
			if len(old) > 0 && r.IntN(12) == 0 {
				parcel = append(parcel, old[r.IntN(len(old))])
				continue
			}
			e, ok := <-s.next
			if !ok {
				break
			}
			parcel = append(parcel, e)
			if len(old) < oldKept {
				old = append(old, e)
			} else {
				old[r.IntN(len(old))] = e
			}
		}
		if len(parcel) == 0 || ctx.Err() != nil {
			return
		}
		s.deliver(ctx, client, format, arrow, parcel, r)
	}
}

func (s *sender) transport() http.RoundTripper {
	t := &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}
	if conf, err := s.server.TLSConfig(); err == nil {
		t.TLSClientConfig = conf
	}
	return t
}

// deliver sends a parcel until it is acknowledged, or gives it up: three in
// four times it tries again, as an agent does.
func (s *sender) deliver(ctx context.Context, client *http.Client, format simulate.Format, arrow *simulate.Arrow, parcel []event.Event, r *rand.Rand) {
	ids := make([]event.ID, len(parcel))
	for i := range parcel {
		ids[i] = parcel[i].ID()
	}
	s.ledger.sending(ids)
	for {
		got, full, err := s.post(client, format, arrow, parcel, ids)
		switch {
		case err == nil && !full:
			s.ledger.ack(got)
			s.sent.Add(int64(len(parcel)))
			return
		case full:
			s.ledger.note(&s.ledger.full)
		default:
			s.ledger.note(&s.ledger.tries)
		}
		if ctx.Err() != nil || r.IntN(4) == 0 {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(20+r.IntN(200)) * time.Millisecond):
		}
	}
}

// post sends once. got are the events that the answer acknowledges; full says that
// the server asked to come again. An error means that nobody knows.
func (s *sender) post(client *http.Client, format simulate.Format, arrow *simulate.Arrow, parcel []event.Event, ids []event.ID) (got []event.ID, full bool, err error) {
	path, kind := "/api/v1/events", "application/x-ndjson"
	var body []byte
	switch format {
	case simulate.FormatSingle:
		path, kind = "/api/log_event", "application/json"
		body = simulate.AppendJSON(nil, &parcel[0])
	case simulate.FormatArrow:
		kind = "application/vnd.apache.arrow.stream"
		if body, err = arrow.Encode(parcel); err != nil {
			s.fail(err)
			return nil, false, err
		}
	case simulate.FormatNDJSON:
		for i := range parcel {
			body = append(simulate.AppendJSON(body, &parcel[i]), '\n')
		}
	}
	// Not bound to the run's context: what was sent is answered, or known to be unanswered.
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.server.URL()+path, bytes.NewReader(body))
	if err != nil {
		s.fail(err)
		return nil, false, err
	}
	req.Header.Set("X-API-Key", s.tenant.Key)
	req.Header.Set("Content-Type", kind)
	resp, err := client.Do(req)
	if err != nil {
		return nil, false, err
	}
	text, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests:
		if resp.Header.Get("Retry-After") == "" {
			s.fail(fmt.Errorf("%d without Retry-After: %.300s", resp.StatusCode, text))
		}
		return nil, true, nil
	case resp.StatusCode >= http.StatusInternalServerError:
		return nil, false, fmt.Errorf("%d: %.300s", resp.StatusCode, text)
	case resp.StatusCode >= http.StatusBadRequest:
		err := fmt.Errorf("%d to a good request: %.300s", resp.StatusCode, text)
		s.fail(err)
		return nil, false, err
	}
	if format == simulate.FormatSingle {
		return ids, false, nil // the status alone is the acknowledgement
	}
	if err != nil {
		return nil, false, err
	}
	answer, err := readAnswer(text)
	if err != nil {
		return nil, false, err
	}
	if answer.Rejected != 0 || answer.Accepted+answer.Duplicate != len(parcel) {
		err := fmt.Errorf("an answer about %d good events: %.300s", len(parcel), text)
		s.fail(err)
		return nil, false, err
	}
	return ids, false, nil
}

// batchAnswer is what the server says about a batch.
type batchAnswer struct {
	Accepted, Duplicate, Rejected int
	Results                       []struct {
		Index  int
		Status string
	}
}

// outcomes are what became of n records: "duplicate", "rejected", or "" of one that was taken as new.
func (a *batchAnswer) outcomes(n int) []string {
	out := make([]string, n)
	for _, r := range a.Results {
		if r.Index >= 0 && r.Index < n {
			out[r.Index] = r.Status
		}
	}
	return out
}

func readAnswer(text []byte) (a batchAnswer, err error) {
	err = json.Unmarshal(text, &a)
	return a, err
}
