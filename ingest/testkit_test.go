package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/event"
	"gatehouse/spool"
)

// testNow is the server's clock in tests.
var testNow = time.Date(2025, 5, 25, 14, 0, 0, 0, time.UTC)

// fakeSpool keeps records in memory, or refuses.
type fakeSpool struct {
	mu      sync.Mutex
	records [][]byte
	err     error
	before  func() // called at each Append, outside of the lock
}

func (f *fakeSpool) Append(ctx context.Context, records ...[]byte) (spool.Position, error) {
	if f.before != nil {
		f.before()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return 0, f.err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	for _, r := range records {
		f.records = append(f.records, append([]byte(nil), r...))
	}
	return spool.Position(len(f.records)), nil
}

func (f *fakeSpool) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// events decodes what the spool holds.
func (f *fakeSpool) events(t testing.TB) []event.Event {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]event.Event, len(f.records))
	for i, r := range f.records {
		if err := out[i].DecodeBinary(r, nil); err != nil {
			t.Fatalf("record %d in the spool cannot be decoded: %v", i, err)
		}
	}
	return out
}

// fakeKeys knows a few keys by name.
type fakeKeys struct {
	mu   sync.Mutex
	used []usedKey
}

type usedKey struct {
	p                 Principal
	from              netip.Addr
	agent             string
	accepted, refused int
	version           string
}

var (
	berlin = must(time.LoadLocation("Europe/Berlin"))
	london = must(time.LoadLocation("Europe/London"))

	acme   = Principal{CompanyID: 7, SiteID: 70, Company: "Acme", Location: london, MayIngest: true}
	globex = Principal{CompanyID: 8, SiteID: 80, Company: "Globex", Location: berlin, MayIngest: true}
	reader = Principal{CompanyID: 7, SiteID: 71, Company: "Acme", Location: london}
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (f *fakeKeys) Resolve(_ context.Context, key string, _ netip.Addr) (Principal, error) {
	switch key {
	case "acme":
		return acme, nil
	case "globex":
		return globex, nil
	case "reader":
		return reader, nil
	case "":
		return Principal{}, event.Errorf(event.CodeUnauthorized, "No API key provided")
	case "disabled":
		return Principal{}, event.Errorf(event.CodeUnauthorized, "API key has been disabled")
	case "stale":
		return Principal{}, event.Errorf(event.CodeUnavailable, "API keys cannot be checked at the moment")
	}
	return Principal{}, event.Errorf(event.CodeUnauthorized, "Invalid API key")
}

func (f *fakeKeys) Used(p Principal, from netip.Addr, agent, version string, accepted, refused int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.used) > 100 {
		f.used = f.used[:0]
	}
	f.used = append(f.used, usedKey{p, from, agent, accepted, refused, strings.Clone(version)})
}

// server is an intake with everything fake around it.
type server struct {
	*Intake
	spool *fakeSpool
	keys  *fakeKeys
	reg   *prometheus.Registry
	http  http.Handler
}

func newServer(t testing.TB, change ...func(*Options)) *server {
	t.Helper()
	s := &server{spool: &fakeSpool{}, keys: &fakeKeys{}, reg: prometheus.NewRegistry()}
	o := Options{
		Spool: s.spool, Keys: s.keys, Recent: NewRecent(1000), Clock: func() time.Time { return testNow },
		Metrics: NewMetrics(s.reg, Gauges{}), Limits: Limits{SingleBytes: 4096, BatchBytes: 1 << 20, BatchEvents: 1000},
	}
	for _, c := range change {
		c(&o)
	}
	in, err := NewIntake(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Intake = in
	r := mux.NewRouter()
	in.Mount(r)
	in.MountInternal(r)
	s.http = in.Fast(r)
	return s
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	text   string
	json   map[string]any
}

func (s *server) do(t testing.TB, method, path, body string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, r)
	return readAnswer(t, w.Result())
}

func readAnswer(t testing.TB, resp *http.Response) answer {
	t.Helper()
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(text, &a.json); err != nil {
			t.Fatalf("the answer says that it is JSON and is not: %v: %s", err, text)
		}
	}
	return a
}

func (s *server) post(t testing.TB, path, body string, header ...string) answer {
	t.Helper()
	return s.do(t, http.MethodPost, path, body, append([]string{"X-API-Key", "acme"}, header...)...)
}

// counter reads one counter out of the registry, -1 when there is none.
func (s *server) counter(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := len(m.GetLabel())*2 == len(labels)
			for i, l := range m.GetLabel() {
				match = match && labels[2*i] == l.GetName() && labels[2*i+1] == l.GetValue()
			}
			if match {
				return m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

// says tells whether message is want; "…" at want's end stands for anything.
func says(message, want string) bool {
	if head, cut := strings.CutSuffix(want, "…"); cut {
		return strings.HasPrefix(message, head)
	}
	return message == want
}
