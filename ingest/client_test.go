package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
	"gatehouse/spool"
)

// overSocket serves s on a unix socket and gives a client of it.
func overSocket(t *testing.T, h http.Handler) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	if err := srv.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	c := NewClient(&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}, "http://gatehouse", "7", "70")
	return c
}

func someEvents(n int) []event.Event {
	out := make([]event.Event, n)
	for i := range out {
		out[i] = event.Event{CompanyID: 7, SiteID: 70, Type: event.Logon, Time: 1748174400000 + int64(i), User: fmt.Sprint("u", i), Computer: "pc", LogonType: event.LogonTypeNone, Received: testNow.UnixMilli()}
		if err := out[i].Normalize(testNow); err != nil {
			panic(err)
		}
	}
	return out
}

func TestClient(t *testing.T) {
	s := newServer(t, func(o *Options) {
		o.Limits.BatchEvents, o.Limits.BatchBytes, o.Recent = 50_000, 32<<20, NewRecent(200_000)
	})
	c := overSocket(t, s.http)
	events := someEvents(25_000) // more than one request
	events[12_345].Computer = "\x01"
	events[20_000] = events[1]
	duplicates, rejected, err := c.Send(t.Context(), events)
	if err != nil || !slices.Equal(duplicates, []int{20_000}) || len(rejected) != 1 {
		t.Fatalf("duplicates %v, rejected %v, %v", duplicates, rejected, err)
	}
	if want := (ClientRejection{12_345, "ComputerName", "holds a control character"}); rejected[0] != want {
		t.Errorf("rejected %+v, want %+v", rejected[0], want)
	}
	if got := s.spool.events(t); got[0] != events[0] || len(got) != len(events)-2 {
		t.Errorf("stored %+v, sent %+v", got[0], events[0])
	}
	if duplicates, rejected, err = c.Send(t.Context(), events[:100]); len(duplicates) != 100 || duplicates[99] != 99 || len(rejected) != 0 || err != nil {
		t.Errorf("again: duplicates %v, rejected %v, %v", duplicates, rejected, err)
	}
	if duplicates, rejected, err = c.Send(t.Context(), nil); len(duplicates)+len(rejected) != 0 || err != nil {
		t.Errorf("nothing: %v %v %v", duplicates, rejected, err)
	}
}

// What an operator lets agents send at once does not bound imports, and however
// long the names are, no request is larger than the route takes.
func TestClientAndOperatorsLimits(t *testing.T) {
	s := newServer(t, func(o *Options) {
		o.Limits.BatchEvents, o.Limits.BatchBytes, o.Recent = 100, 64<<10, NewRecent(200_000)
	})
	c := overSocket(t, s.http)
	events := someEvents(25_000)
	long := strings.Repeat("x", event.MaxName)
	for i := range events[:12_000] {
		e := &events[i]
		e.Domain, e.SID, e.SourceHost, e.Channel, e.Provider, e.Agent = long, long, long, long, long, long
	}
	duplicates, rejected, err := c.Send(t.Context(), events)
	if err != nil || len(duplicates)+len(rejected) != 0 {
		t.Fatalf("%d duplicate, %d rejected, %v", len(duplicates), len(rejected), err)
	}
	if got := s.spool.events(t); len(got) != len(events) || got[11_999] != events[11_999] || got[24_999] != events[24_999] {
		t.Errorf("%d events are stored, of %d", len(got), len(events))
	}
	if a := s.post(t, PathEvents, lines(0, 101), "Content-Type", "application/x-ndjson"); a.status != 413 {
		t.Errorf("the public route took 101 records of at most 100: %d %s", a.status, a.text)
	}
}

func TestClientWaits(t *testing.T) {
	s := newServer(t)
	c := overSocket(t, s.http)
	s.spool.fail(spool.ErrFull)
	var waits []time.Duration
	c.pause = func(_ context.Context, d time.Duration) error {
		if waits = append(waits, d); len(waits) == 3 {
			s.spool.fail(nil)
		}
		return nil
	}
	if duplicates, rejected, err := c.Send(t.Context(), someEvents(3)); err != nil || len(duplicates)+len(rejected) != 0 || len(waits) != 3 || waits[0] != 10*time.Second {
		t.Errorf("duplicates %v, rejected %v, %v, waits %v", duplicates, rejected, err, waits)
	}
	s.spool.fail(spool.ErrFull)
	waits = make([]time.Duration, 3, 100)
	if _, _, err := c.Send(t.Context(), someEvents(9)); event.ErrorCode(err) != event.CodeUnavailable || len(waits) != 33 {
		t.Errorf("a server that stays full: %v after %d waits", err, len(waits)-3)
	}
	stop := errors.New("stop")
	c.pause = func(context.Context, time.Duration) error { return stop }
	if _, _, err := c.Send(t.Context(), someEvents(9)); !errors.Is(err, stop) {
		t.Errorf("a wait that is broken off: %v", err)
	}
}

func TestClientErrors(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"another count": func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, []byte(`{"accepted":1}`)) },
		"no result": func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, 200, []byte(`{"accepted":1,"duplicate":1}`))
		},
		"no JSON":   func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, []byte(`<html>`)) },
		"a refusal": func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 403, []byte(`{"message":"no"}`)) },
		"a page":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
	} {
		if _, _, err := overSocket(t, h).Send(t.Context(), someEvents(2)); err == nil {
			t.Errorf("%s: no error", name)
		} else if name == "a refusal" && (event.ErrorCode(err) != event.CodeForbidden || !strings.Contains(err.Error(), "no")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := NewClient(http.DefaultClient, "http://127.0.0.1:1", "7", "70")
	if _, _, err := c.Send(t.Context(), someEvents(1)); err == nil {
		t.Error("no server: no error")
	}
}
