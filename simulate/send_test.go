package simulate_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"gatehouse/event"
	"gatehouse/simulate"
)

// receiver is a server that takes events, refuses some requests and breaks off others.
type receiver struct {
	mu       sync.Mutex
	requests int
	rows     int // rows of all requests that were answered 2xx
	byKey    map[string]int
}

func (s *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	switch s.requests % 7 {
	case 3:
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case 5:
		panic(http.ErrAbortHandler)
	}
	n := 0
	switch r.Header.Get("Content-Type") {
	case "application/json":
		n = 1
	case "application/x-ndjson":
		for sc := bufio.NewScanner(bytes.NewReader(body)); sc.Scan(); n++ {
			if !json.Valid(sc.Bytes()) {
				http.Error(w, "not JSON: "+sc.Text(), http.StatusBadRequest)
				return
			}
		}
	case "application/vnd.apache.arrow.stream":
		rd, err := ipc.NewReader(bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		defer rd.Release()
		for rd.Next() {
			n += int(rd.Record().NumRows())
		}
	}
	s.rows += n
	s.byKey[r.Header.Get("X-API-Key")] += n
	if r.URL.Path == "/api/log_event" {
		w.WriteHeader(http.StatusCreated)
		return
	}
	_, _ = fmt.Fprintf(w, `{"accepted":%d,"duplicate":0,"rejected":0}`, n)
}

func TestHTTPSendsEverythingThroughTrouble(t *testing.T) {
	for _, format := range []simulate.Format{simulate.FormatSingle, simulate.FormatNDJSON, simulate.FormatArrow} {
		t.Run(string(format), func(t *testing.T) {
			rec := &receiver{byKey: map[string]int{}}
			srv := httptest.NewServer(rec)
			defer srv.Close()
			s := newSim(t, simulate.Config{Seed: 9, Companies: 3, Users: 2, Days: 1})
			want := map[string]int{}
			for e := range s.Events {
				want[fmt.Sprint("key", e.CompanyID)]++
			}
			sink := &simulate.HTTP{URL: srv.URL, Format: format, Key: func(_ context.Context, c simulate.Company) (string, error) {
				return fmt.Sprint("key", c.Index+1), nil
			}}
			out, err := s.Run(t.Context(), sink, simulate.Options{Batch: 20, Connections: 16})
			if err != nil {
				t.Fatal(err)
			}
			if out.Accepted != out.Events || int64(rec.rows) != out.Events {
				t.Errorf("%d events, %d accepted, %d received", out.Events, out.Accepted, rec.rows)
			}
			for k, n := range want {
				if rec.byKey[k] != n {
					t.Errorf("%s: %d received, want %d", k, rec.byKey[k], n)
				}
			}
		})
	}
}

// TestHTTPGivesUp: what time does not heal ends a run, and each wait is told until then. A server that has answered is waited for.
func TestHTTPGivesUp(t *testing.T) {
	strange := httptest.NewTLSServer(http.NotFoundHandler())
	strange.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer strange.Close()
	nobody := httptest.NewServer(http.NotFoundHandler())
	nobody.Close()
	answers := 0
	goes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if answers++; answers%2 == 1 {
			panic(http.ErrAbortHandler)
		}
		if answers == 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer goes.Close()
	for _, c := range []struct {
		name, url string
		patience  time.Duration
		waits     bool
		want      string // of the error, "" for none
	}{
		{"a certificate of nobody", strange.URL, time.Hour, false, "certificate"},
		{"nobody there", nobody.URL, 500 * time.Millisecond, true, "nothing answers at " + nobody.URL},
		{"an answer once", goes.URL, 500 * time.Millisecond, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			waits := 0
			sink := &simulate.HTTP{
				URL: c.url, Format: simulate.FormatSingle, Patience: c.patience, Waiting: func(string, time.Duration) { waits++ },
				Key: func(context.Context, simulate.Company) (string, error) { return "x", nil },
			}
			got, err := sink.Send(t.Context(), simulate.Company{}, make([]event.Event, 1))
			if c.want == "" && (err != nil || got.Accepted != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v, %v", got, err)
			}
			if (waits > 0) != c.waits {
				t.Errorf("waited %d times", waits)
			}
		})
	}
}

func TestHTTPStopsAtABadKey(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"Invalid API key"}`, http.StatusUnauthorized)
	}))
	defer srv.Close()
	s := newSim(t, simulate.Config{Companies: 1, Users: 5, Days: 5})
	sink := &simulate.HTTP{URL: srv.URL, Format: simulate.FormatNDJSON, Key: func(context.Context, simulate.Company) (string, error) { return "x", nil }}
	if _, err := s.Run(t.Context(), sink, simulate.Options{}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("Invalid API key")) {
		t.Errorf("err = %v", err)
	}
}

func TestArrowHoldsTheEvents(t *testing.T) {
	s := newSim(t, simulate.Config{Seed: 6, Companies: 1, Users: 20, Days: 3})
	a := simulate.NewArrow()
	var events []event.Event
	check := func() {
		body, err := a.Encode(events)
		if err != nil {
			t.Fatal(err)
		}
		rd, err := ipc.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Release()
		if !rd.Next() || int(rd.Record().NumRows()) != len(events) {
			t.Fatalf("%v rows, want %d", rd.Record(), len(events))
		}
		rec := rd.Record()
		names := map[string]int{}
		for i, f := range rec.Schema().Fields() {
			if _, ok := event.FieldByName(f.Name); !ok {
				t.Errorf("no field %q", f.Name)
			}
			names[f.Name] = i
		}
		text := func(name string, row int) string {
			d := rec.Column(names[name]).(*array.Dictionary)
			if d.IsNull(row) {
				return ""
			}
			return d.Dictionary().(*array.String).Value(d.GetValueIndex(row))
		}
		for i := range events {
			e := &events[i]
			if got := text("UserName", i); got != e.User {
				t.Fatalf("row %d: user %q, want %q", i, got, e.User)
			}
			if got := text("LocalIP", i); got != e.LocalIP.String() {
				t.Fatalf("row %d: address %q, want %q", i, got, e.LocalIP)
			}
			if got := int64(rec.Column(names["Timestamp"]).(*array.Timestamp).Value(i)); got != e.Time {
				t.Fatalf("row %d: time %d, want %d", i, got, e.Time)
			}
			if got := rec.Column(names["RecordID"]).(*array.Uint64).Value(i); got != e.RecordID && e.RecordID != 0 {
				t.Fatalf("row %d: record %d, want %d", i, got, e.RecordID)
			}
		}
	}
	for e := range s.Events {
		events = append(events, *e)
		if len(events) == 300 { // several streams of one encoder: each must stand alone
			check()
			events = events[:0]
		}
	}
	check()
}

func TestFilesForEachCompany(t *testing.T) {
	dir := t.TempDir()
	s := newSim(t, simulate.Config{Seed: 9, Names: []string{"Acme / East", "Beta"}, Users: 4, Days: 5})
	for _, ext := range []string{"ndjson", "csv"} {
		w := simulate.NewWriter(filepath.Join(dir, "{company}."+ext), nil, s.Companies())
		out, err := s.Write(t.Context(), w, simulate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rows := 0
		for _, name := range []string{"Acme _ East", "Beta"} {
			text, err := os.ReadFile(filepath.Join(dir, name+"."+ext))
			if err != nil {
				t.Fatal(err)
			}
			if ext == "ndjson" {
				rows += bytes.Count(text, []byte("\n"))
				continue
			}
			all, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			rows += len(all) - 1
		}
		if int64(rows) != out.Events {
			t.Errorf("%s: %d rows of %d events", ext, rows, out.Events)
		}
	}
}
