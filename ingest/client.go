package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"gatehouse/event"
)

// Client sends events to a running server's internal route, over the socket that
// only trusted local programs can open. It may be used concurrently.
type Client struct {
	http  *http.Client
	base  string
	query url.Values
	exact atomic.Bool // see Exact
	// pause waits before a busy server is tried again.
	pause func(ctx context.Context, d time.Duration) error
}

const (
	// clientBatch and clientBytes are the events and the bytes of one request at most; Send
	// splits what is more. The route takes just as much.
	clientBatch = 10_000
	clientBytes = 8 << 20
	// clientPatience is how long a server that says "try again" is tried again.
	clientPatience = 5 * time.Minute
	// maxClientAnswer bounds the answer to one request: each event of a batch refused, with long words.
	maxClientAnswer = 64 << 20
)

// ClientRejection says why one event of a Send was refused.
type ClientRejection struct {
	Index  int // in the slice that was sent
	Field  string
	Reason string
}

// NewClient makes a client that sends for a company and a site. The transport of c dials the
// socket; base is the server's address as c understands it, for example "http://gatehouse".
func NewClient(c *http.Client, base, company, site string) *Client {
	q := url.Values{"company": {company}, "site": {site}}
	return &Client{http: c, base: base, query: q, pause: sleep}
}

// Exact has Send count as accepted only what ClickHouse does not have. Without it, and from
// the first answer on that ClickHouse had no part in, that is what the server does not remember.
func (c *Client) Exact() { c.exact.Store(true) }

// IsExact tells whether what Send counted since [Client.Exact] is exact.
func (c *Client) IsExact() bool { return c.exact.Load() }

// Store gives a name for the tables that events go to and for how long they stay there.
func (c *Client) Store(ctx context.Context) (string, error) {
	var answer struct {
		Store string `json:"store"`
	}
	_, err := c.ask(ctx, http.MethodGet, PathInternalStore, nil, &answer)
	return answer.Store, err
}

// Stored tells how many of some events, no more than one request takes, are in ClickHouse.
func (c *Client) Stored(ctx context.Context, events []event.Event) (int, error) {
	var answer struct {
		Stored int `json:"stored"`
	}
	text, n := appendFrames(nil, events)
	if n < len(events) {
		return 0, event.Errorf(event.CodeTooLarge, "%d events are more than one request takes", len(events))
	}
	_, err := c.ask(ctx, http.MethodPost, PathInternalStored, text, &answer)
	return answer.Stored, err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// batchResult is the answer to a batch.
type batchResult struct {
	Accepted int        `json:"accepted"`
	Exact    bool       `json:"exact"`
	Results  []struct { // of those not accepted
		Index   int    `json:"index"`
		Status  string `json:"status"`
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"results"`
}

// Send sends events. Without an error each of them is durable or rejected; duplicates are the indexes, in rising order, of
// those that were known before. After an error some may be
// stored; sending them again counts nothing twice. It waits for a server that is busy.
func (c *Client) Send(ctx context.Context, events []event.Event) (duplicates []int, rejected []ClientRejection, err error) {
	var text []byte
	for start := 0; start < len(events); {
		n := 0
		text, n = appendFrames(text[:0], events[start:])
		before := len(duplicates) + len(rejected)
		out, err := c.post(ctx, text)
		if err != nil {
			return duplicates, rejected, err
		}
		if !out.Exact {
			c.exact.Store(false)
		}
		for _, r := range out.Results {
			switch r.Status {
			case "duplicate":
				duplicates = append(duplicates, start+r.Index)
			case "rejected":
				rejected = append(rejected, ClientRejection{start + r.Index, r.Field, r.Message})
			}
		}
		if told := out.Accepted + len(duplicates) + len(rejected) - before; told != n {
			return duplicates, rejected, fmt.Errorf("ingest: the server answered for %d of %d events", told, n)
		}
		start += n
	}
	return duplicates, rejected, nil
}

// appendFrames appends as many of events as one request takes, at least one.
func appendFrames(text []byte, events []event.Event) ([]byte, int) {
	for i := range events {
		before := len(text)
		if text = appendFrame(text, &events[i]); i == clientBatch || i > 0 && len(text) > clientBytes {
			return text[:before], i
		}
	}
	return text, len(events)
}

// post sends one request, again while the server says that it should be tried again.
func (c *Client) post(ctx context.Context, text []byte) (*batchResult, error) {
	for waited := time.Duration(0); ; {
		out := new(batchResult)
		after, err := c.ask(ctx, http.MethodPost, PathInternalEvents, text, out)
		if err == nil {
			return out, nil
		}
		if after <= 0 || waited+after > clientPatience {
			return nil, err
		}
		waited += after
		if stop := c.pause(ctx, after); stop != nil {
			return nil, errors.Join(stop, err)
		}
	}
}

// ask makes one request and reads the answer into out. It gives a positive duration after which
// the request should be tried again, if it should.
func (c *Client) ask(ctx context.Context, method, path string, text []byte, out any) (after time.Duration, err error) {
	q := maps.Clone(c.query)
	if c.exact.Load() {
		q.Set("exact", "1")
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+q.Encode(), bytes.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("ingest: %w", err)
	}
	req.Header.Set("Content-Type", ContentTypeFrames)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ingest: the server did not answer: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxClientAnswer))
	if err != nil {
		return 0, fmt.Errorf("ingest: the server's answer broke off: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(answer, out); err != nil {
			return 0, fmt.Errorf("ingest: the server's answer is not what it should be: %w", err)
		}
		return 0, nil
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		after = time.Duration(s) * time.Second
	}
	var refused struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(answer, &refused) != nil || refused.Message == "" {
		refused.Message = resp.Status
	}
	return after, event.Errorf(codeOf(resp.StatusCode), "the server refused the events: %s", refused.Message)
}

// codeOf is the code that goes with a status of the intake.
func codeOf(status int) event.Code {
	for _, c := range []event.Code{
		event.CodeInvalid, event.CodeUnauthorized, event.CodeForbidden, event.CodeNotFound,
		event.CodeTooLarge, event.CodeRateLimited, event.CodeUnavailable, event.CodeUnsupported, codeTimeout,
	} {
		if statusOf(c) == status {
			return c
		}
	}
	return event.CodeInternal
}
