package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/event"
	"gatehouse/ingest"
	"gatehouse/ingest/importer"
)

// local is the way of a command to the data directory's server: the running
// one's control socket, or that of a server which the command itself starts, without
// a public listener, and ends. Commands are the same code either way.
type local struct {
	http *http.Client
	link *link // nil: asked for no longer than the server lives
}

// controlBase stands for the socket in URLs.
const controlBase = "http://gatehouse"

// openLocal finds the running server, or starts one for the command.
func (c *cli) openLocal(ctx context.Context, stderr io.Writer) (*local, error) {
	l := &link{connect: func() (*running, *server, error) { return c.connect(ctx, stderr) }}
	if err := l.renew(nil); err != nil {
		return nil, err
	}
	return &local{http: &http.Client{Transport: l}, link: l}, nil
}

// connect gives the server that has the data directory, or starts one.
func (c *cli) connect(ctx context.Context, stderr io.Writer) (r *running, s *server, err error) {
	o, err := c.serverOptions(slog.LevelWarn, stderr)
	if err != nil {
		return nil, nil, err
	}
	err = whenFree(ctx, stderr, func() (err error) {
		if r = findRunning(ctx, o.dataDir); r != nil {
			return nil
		}
		s, err = startServer(ctx, o)
		return err
	})
	return r, s, err
}

// link carries requests to the server of the moment. A server that belongs to another command
// ends with it; then the link finds, or starts, the next one and sends the request again: all that
// commands ask for may be asked twice.
type link struct {
	connect func() (*running, *server, error)

	mu   sync.Mutex
	to   *http.Transport
	may  bool    // the server may end before we do, in order
	mine *server // started by us
}

// RoundTrip is [http.RoundTripper].
func (l *link) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		l.mu.Lock()
		to, may := l.to, l.may
		l.mu.Unlock()
		resp, err := to.RoundTrip(req)
		if err == nil || !may || req.Context().Err() != nil || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
			return resp, err
		}
		if rerr := l.renew(to); rerr != nil {
			return nil, errors.Join(rerr, err)
		}
		req = req.Clone(req.Context())
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// renew connects in place of a transport that does not work any more.
func (l *link) renew(old *http.Transport) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.to != old {
		return nil // another request was faster
	}
	r, s, err := l.connect()
	switch {
	case err != nil:
		return err
	case s != nil:
		l.to, l.may, l.mine = controlTransport(s.controlAt), false, s
	default:
		l.to, l.may = r.transport, r.ofCommand
	}
	if old != nil {
		old.CloseIdleConnections()
	}
	return nil
}

// Close ends the server that was started for the command.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to.CloseIdleConnections()
	if l.mine == nil {
		return nil
	}
	return l.mine.Close()
}

// Get asks for a path and gives the answer's body, or the server's words as an error.
func (l *local) Get(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
	return l.do(ctx, http.MethodGet, path, q)
}

func (l *local) do(ctx context.Context, method, path string, q url.Values) (io.ReadCloser, error) {
	target := controlBase + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set(headerAccount, localActor().Name)
	resp, err := l.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the server does not answer: %w", err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }() // only the message matters now
	var answer struct {
		Message string `json:"message"`
		Field   string `json:"field"`
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(raw, &answer) != nil || answer.Message == "" {
		return nil, fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if answer.Field != "" && !strings.HasPrefix(answer.Message, answer.Field) {
		return nil, fmt.Errorf("%s: %s", answer.Field, answer.Message)
	}
	return nil, errors.New(answer.Message)
}

// flushAnswer is how long the server may take to answer beyond what it is asked to wait.
const flushAnswer = 10 * time.Second

// flush waits until what was sent can be counted, for no longer than wait.
func (l *local) flush(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait+flushAnswer)
	defer cancel()
	body, err := l.do(ctx, http.MethodPost, pathFlush, url.Values{"wait": {wait.String()}})
	if err != nil {
		return err
	}
	return body.Close()
}

// Close ends the server that was started for the command.
func (l *local) Close() error {
	l.http.CloseIdleConnections()
	if l.link == nil {
		return nil
	}
	return l.link.Close()
}

// freshness bounds how long a report waits for the events that were taken before it.
const freshness = 5 * time.Second

// openReports is whom "gatehouse report" asks. What was acknowledged before is counted,
// unless the event store is too far behind for a person to wait.
func (c *cli) openReports(ctx context.Context, stderr io.Writer) (fetcher, error) {
	if err := c.mustExist(true); err != nil {
		return nil, err
	}
	l, err := c.openLocal(ctx, stderr)
	if err != nil {
		return nil, err
	}
	if err := l.flush(ctx, freshness); err != nil {
		_, _ = fmt.Fprintln(stderr, "gatehouse: the newest events are not in this report yet")
	}
	return l, nil
}

// serverSink sends an import's events to the server.
type serverSink struct{ client *ingest.Client }

// Send gives the events to the server, which has them on disk when it returns.
func (s serverSink) Send(ctx context.Context, events []event.Event) (duplicates []int, rejected []importer.Rejection, err error) {
	duplicates, refused, err := s.client.Send(ctx, events)
	for _, r := range refused {
		rejected = append(rejected, importer.Rejection{Index: r.Index, Field: r.Field, Reason: r.Reason})
	}
	return duplicates, rejected, err
}

// openImport is the target of "gatehouse import".
func (c *cli) openImport(ctx context.Context, cmd *cobra.Command, company string) (*importTarget, error) {
	store, err := c.openStore(ctx)
	if err != nil {
		return nil, err
	}
	owner, err := store.FindCompany(ctx, company)
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	l, err := c.openLocal(ctx, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	client := ingest.NewClient(l.http, controlBase, fmt.Sprint(owner.ID), "")
	target := &importTarget{
		sink: serverSink{client}, companyID: owner.ID, location: owner.Location,
	}
	patience := flushLimit
	target.close = func(ctx context.Context) error { return errors.Join(l.flush(ctx, patience), l.Close()) }
	// Once nothing waits in the spool any more, the store knows what it has.
	if err = l.flush(ctx, importPatience); err == nil {
		target.store, err = client.Store(ctx)
	}
	if err != nil {
		patience = importPatience
		target.inexact = func() string { return "the event store did not answer when the import began" }
		return target, nil
	}
	client.Exact()
	target.stateDir, target.stored = filepath.Join(c.dataDir, dirImport), client.Stored
	target.inexact = func() string {
		if client.IsExact() {
			return ""
		}
		return "the event store ceased to answer"
	}
	return target, nil
}

// importPatience is how long an import waits at its beginning for the event store, and at its end again if that
// was in vain. Without it the import goes on, but cannot tell what is there already.
const importPatience = 15 * time.Second
