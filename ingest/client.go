package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gatehouse/event"
)

// Client sends events to a running server's internal route, over the socket that
// only trusted local programs can open. It may be used concurrently.
type Client struct {
	http *http.Client
	url  string
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
	return &Client{http: c, url: base + PathInternalEvents + "?" + q.Encode(), pause: sleep}
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
	Message   string `json:"message"`
	Accepted  int    `json:"accepted"`
	Duplicate int    `json:"duplicate"`
	Rejected  int    `json:"rejected"`
	Results   []struct {
		Index   int    `json:"index"`
		Status  string `json:"status"`
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"results"`
}

// Send sends events. Without an error each of them is durable, known already or
// rejected, and the three numbers add up to len(events). After an error some may be
// stored; sending them again counts nothing twice. It waits for a server that is busy.
func (c *Client) Send(ctx context.Context, events []event.Event) (accepted, duplicate int, rejected []ClientRejection, err error) {
	var text []byte
	for start := 0; start < len(events); {
		n := 0
		text, n = appendFrames(text[:0], events[start:])
		part := events[start : start+n]
		out, err := c.post(ctx, text)
		if err != nil {
			return accepted, duplicate, rejected, err
		}
		if out.Accepted+out.Duplicate+out.Rejected != len(part) {
			return accepted, duplicate, rejected, fmt.Errorf("ingest: the server answered for %d of %d events", out.Accepted+out.Duplicate+out.Rejected, len(part))
		}
		accepted += out.Accepted
		duplicate += out.Duplicate
		for _, r := range out.Results {
			if r.Status == "rejected" {
				rejected = append(rejected, ClientRejection{start + r.Index, r.Field, r.Message})
			}
		}
		start += n
	}
	return accepted, duplicate, rejected, nil
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
		out, after, err := c.postOnce(ctx, text)
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

// postOnce gives a positive duration after which the request should be tried again, if it should.
func (c *Client) postOnce(ctx context.Context, text []byte) (out *batchResult, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(text))
	if err != nil {
		return nil, 0, fmt.Errorf("ingest: %w", err)
	}
	req.Header.Set("Content-Type", ContentTypeFrames)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("ingest: the server did not answer: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxClientAnswer))
	if err != nil {
		return nil, 0, fmt.Errorf("ingest: the server's answer broke off: %w", err)
	}
	out = new(batchResult)
	bad := json.Unmarshal(answer, out)
	if resp.StatusCode == http.StatusOK {
		if bad != nil {
			return nil, 0, fmt.Errorf("ingest: the server's answer is not what it should be: %w", bad)
		}
		return out, 0, nil
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		after = time.Duration(s) * time.Second
	}
	if bad != nil || out.Message == "" {
		out.Message = resp.Status
	}
	return nil, after, event.Errorf(codeOf(resp.StatusCode), "the server refused the events: %s", out.Message)
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
