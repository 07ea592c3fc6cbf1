package simulate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/event"
)

// Format is a way of sending events over HTTP.
type Format string

// The formats.
const (
	FormatSingle Format = "single" // one event a request, the old contract
	FormatNDJSON Format = "ndjson"
	FormatArrow  Format = "arrow"
)

// Result is what became of events that were sent.
type Result struct{ Accepted, Duplicate, Rejected int64 }

// Limits of sending.
const (
	maxAnswer   = 32 << 20         // bytes of an answer; more is not ours
	maxWait     = 30 * time.Second // between tries, whatever Retry-After says
	sendTimeout = 2 * time.Minute  // of one request
	patience    = 30 * time.Second // for the first answer
)

// HTTP sends events to a server. It repeats what was refused for want of
// room (429, 503) or broken off, until the context ends: the server counts an event once.
// A certificate that is not trusted is final, and so is a server that has not answered for half a minute from the beginning.
type HTTP struct {
	URL    string // of the server, for example https://localhost:8000
	Format Format
	// Key gives the API key under which a company's events are sent. It is
	// asked once for each company.
	Key    func(ctx context.Context, c Company) (string, error)
	Client *http.Client // nil: http.DefaultClient
	// Waiting, when not nil, hears why and how long a request waits.
	Waiting func(reason string, wait time.Duration)
	// Patience is how long to try until the server answers for the first time; 0: 30 s.
	Patience time.Duration

	answered atomic.Bool // the server did, once
	mu       sync.Mutex
	keys     map[int]string
}

func (h *HTTP) key(ctx context.Context, c Company) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k, ok := h.keys[c.Index]; ok {
		return k, nil
	}
	k, err := h.Key(ctx, c)
	if err != nil {
		return "", fmt.Errorf("simulate: no API key for %q: %w", c.Name, err)
	}
	if h.keys == nil {
		h.keys = map[int]string{}
	}
	h.keys[c.Index] = k
	return k, nil
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

var arrows = sync.Pool{New: func() any { return NewArrow() }}

// Send sends one company's events and returns when the server has them all.
func (h *HTTP) Send(ctx context.Context, c Company, events []event.Event) (Result, error) {
	key, err := h.key(ctx, c)
	if err != nil {
		return Result{}, err
	}
	if h.Format == FormatSingle {
		var sum Result
		var line []byte
		for i := range events {
			line = AppendJSON(line[:0], &events[i])
			r, err := h.post(ctx, "/api/log_event", "application/json", key, line, 1)
			sum.add(r)
			if err != nil {
				return sum, err
			}
		}
		return sum, nil
	}
	if h.Format == FormatArrow {
		a := arrows.Get().(*Arrow) //nolint:forcetypeassert // ours alone
		defer arrows.Put(a)
		body, err := a.Encode(events)
		if err != nil {
			return Result{}, err
		}
		return h.post(ctx, "/api/v1/events", "application/vnd.apache.arrow.stream", key, body, len(events))
	}
	buf := bodies.Get().(*bytes.Buffer) //nolint:forcetypeassert // ours alone
	defer bodies.Put(buf)
	buf.Reset()
	line := buf.AvailableBuffer()
	for i := range events {
		line = append(AppendJSON(line, &events[i]), '\n')
	}
	_, _ = buf.Write(line) // never fails; keeps the grown memory
	return h.post(ctx, "/api/v1/events", "application/x-ndjson", key, buf.Bytes(), len(events))
}

func (r *Result) add(o Result) {
	r.Accepted += o.Accepted
	r.Duplicate += o.Duplicate
	r.Rejected += o.Rejected
}

// post sends one body until it is answered for good.
func (h *HTTP) post(ctx context.Context, path, kind, key string, body []byte, n int) (Result, error) {
	wait := 100 * time.Millisecond
	begin := time.Now()
	for {
		res, retry, err := h.try(ctx, path, kind, key, body, n)
		if err == nil || retry < 0 || ctx.Err() != nil {
			return res, err
		}
		wait = min(max(wait, retry), maxWait)
		if tried := time.Since(begin); tried+wait > cmp.Or(h.Patience, patience) && !h.answered.Load() {
			return Result{}, fmt.Errorf("simulate: nothing answers at %s, tried for %s: %w", h.URL, tried.Round(time.Second), err)
		}
		if h.Waiting != nil {
			h.Waiting(err.Error(), wait)
		}
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// try sends one body once. retry says after how long it may be sent again,
// below 0: never.
func (h *HTTP) try(ctx context.Context, path, kind, key string, body []byte, n int) (res Result, retry time.Duration, err error) {
	limit := sendTimeout
	if !h.answered.Load() {
		limit = min(limit, cmp.Or(h.Patience, patience))
	}
	tctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(tctx, http.MethodPost, strings.TrimSuffix(h.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return Result{}, -1, fmt.Errorf("simulate: %w", err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-API-Key", key)
	client := h.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return Result{}, -1, fmt.Errorf("simulate: %w", err)
	}
	if err != nil {
		return Result{}, 0, fmt.Errorf("simulate: %w", err)
	}
	h.answered.Store(true)
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	err = errors.Join(err, resp.Body.Close())
	if err != nil {
		return Result{}, 0, fmt.Errorf("simulate: the answer broke off: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent: our own pace
		return Result{}, time.Duration(after) * time.Second, answerError(resp.StatusCode, text)
	case resp.StatusCode >= 300:
		if n == 1 && resp.StatusCode == http.StatusBadRequest {
			return Result{Rejected: 1}, -1, nil
		}
		return Result{}, -1, answerError(resp.StatusCode, text)
	}
	if path == "/api/log_event" {
		if resp.StatusCode == http.StatusOK {
			return Result{Duplicate: 1}, -1, nil
		}
		return Result{Accepted: 1}, -1, nil
	}
	var a struct {
		Accepted  int64 `json:"accepted"`
		Duplicate int64 `json:"duplicate"`
		Rejected  int64 `json:"rejected"`
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return Result{}, -1, fmt.Errorf("simulate: the answer is not understood: %w", err)
	}
	if a.Accepted+a.Duplicate+a.Rejected != int64(n) {
		return Result{}, -1, fmt.Errorf("simulate: sent %d events, the server answered for %d", n, a.Accepted+a.Duplicate+a.Rejected)
	}
	return Result{a.Accepted, a.Duplicate, a.Rejected}, -1, nil
}

// answerError tells of an answer that is not 2xx.
func answerError(status int, text []byte) error {
	const shown = 300
	if len(text) > shown {
		text = text[:shown]
	}
	return fmt.Errorf("simulate: the server answered %d: %s", status, bytes.TrimSpace(text))
}
