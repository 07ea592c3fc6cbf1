package soak

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/bench"
	"gatehouse/engine"
	"gatehouse/event"
	"gatehouse/simulate"
)

// long tells whether the long forms are asked for.
func long() bool { return os.Getenv("GATEHOUSE_SOAK") != "" }

var (
	buildOnce sync.Once
	exe       string
	errBuild  error
	binaryDir string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		if err := os.RemoveAll(binaryDir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// gatehouse is the binary under test: $GATEHOUSE_BIN, else built here once.
// Without the engine's library the test is skipped, or fails where everything must be there.
func gatehouse(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts and kills servers for minutes; run without -short")
	}
	buildOnce.Do(func() {
		if exe = os.Getenv("GATEHOUSE_BIN"); exe != "" {
			exe, errBuild = filepath.Abs(exe)
			return
		}
		if binaryDir, errBuild = os.MkdirTemp("", "gatehouse-soak-bin-*"); errBuild != nil {
			return
		}
		exe = filepath.Join(binaryDir, "gatehouse")
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", exe, "gatehouse/cmd/gatehouse")
		if out, err := cmd.CombinedOutput(); err != nil {
			errBuild = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if errBuild != nil {
		t.Fatal("the exe cannot be built: ", errBuild)
	}
	library, err := engine.FindLibrary("", exe)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Setenv(engine.LibraryEnv, library)
	return exe
}

// newServer starts a server on a fresh data directory with one company. The
// directory stays when the test fails.
func newServer(t *testing.T, env map[string]string) (*bench.Server, bench.Tenant) {
	t.Helper()
	exe := gatehouse(t)
	dir, err := os.MkdirTemp("", "gatehouse-soak-*")
	if err != nil {
		t.Fatal(err)
	}
	s := &bench.Server{Binary: exe, Dir: dir, Env: map[string]string{"GATEHOUSE_LOGGING_LEVEL": "warn"}}
	for k, v := range env {
		s.Env[k] = v
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the data directory stays: %s\n%s", dir, s.LogTail())
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Listen = s.Address() // the same one after each kill
	tenant, err := s.CreateCompany(t.Context(), "Soak", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	return s, tenant
}

var simDays = 20

// newSim is one company's workforce of recent weeks. The range that is asked for lies wholly in
// the past: reports that say how long ago something was then do not move with the clock.
func newSim(t *testing.T, seed uint64, users int) (sim *simulate.Simulation, from, to time.Time) {
	t.Helper()
	from = time.Now().UTC().AddDate(0, 0, -simDays-6).Truncate(24 * time.Hour)
	sim, err := simulate.New(simulate.Config{Seed: seed, Companies: 1, Zones: []string{"UTC"}, Users: users, From: from, Days: simDays, Repeat: -1})
	if err != nil {
		t.Fatal(err)
	}
	return sim, from.AddDate(0, 0, -1), from.AddDate(0, 0, simDays+3)
}

func httpClient(t *testing.T, s *bench.Server) *http.Client {
	t.Helper()
	c, err := s.Client(4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// settle waits until the spool is empty, and gives the report's count.
func settle(t *testing.T, s *bench.Server, key string, from, to time.Time, atLeast int64) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Errorf("what was acknowledged is not written: %v", err)
	}
	n, err := bench.CountEvents(ctx, httpClient(t, s), s.URL(), key, from, to)
	if err != nil || n < atLeast {
		t.Errorf("the report counts %d events, %v; at least %d were acknowledged", n, err, atLeast)
	}
	return n
}

// judge holds what the server shows against the ledger.
func judge(t *testing.T, s *bench.Server, tenant bench.Tenant, l *ledger, from, to time.Time) {
	t.Helper()
	counted := settle(t, s, tenant.Key, from, to, l.acknowledged())
	shown, err := showAll(t.Context(), httpClient(t, s), s.URL(), tenant.Key, from, to)
	if err != nil {
		t.Fatal(err)
	}
	v := l.compare(shown)
	t.Logf("%s; %d requests unanswered, %d refused for want of room, %d events acknowledged again", v, l.tries, l.full, l.again)
	if !v.ok() {
		t.Errorf("NOT every acknowledged event is there once: %s\nlost %v\ndoubled %v\nnever sent %v", v, first(v.lost), first(v.doubled), first(v.foreign))
	}
	if counted != int64(len(shown)) {
		t.Errorf("the report counts %d events, the search shows %d", counted, len(shown))
	}
	if v.acked == 0 {
		t.Error("nothing was acknowledged: the test shows nothing")
	}
}

func first(ids []event.ID) []event.ID { return ids[:min(len(ids), 5)] }

// reportParams are the parameters for which reports are compared.
func reportParams(from, to time.Time) url.Values {
	return url.Values{
		"from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)},
		"at": {from.AddDate(0, 0, simDays/2).Add(11 * time.Hour).Format(time.RFC3339)}, "limit": {"1000"},
	}
}
