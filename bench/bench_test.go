package bench_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/bench"
	"gatehouse/engine"
)

// The measurement works from end to end, with so few events that its figures
// mean nothing. Each of them is printed, with a value.
func TestQuickBench(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers; run without -short")
	}
	exe := os.Getenv("GATEHOUSE_BIN")
	if exe == "" {
		exe = filepath.Join(t.TempDir(), "gatehouse")
		if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", exe, "gatehouse/cmd/gatehouse").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	library, err := engine.FindLibrary("", exe)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Setenv(engine.LibraryEnv, library)
	var out strings.Builder
	board := bench.NewBoard(&out)
	r := bench.NewRunner(exe, board)
	r.LargeEvents = bench.LargeEvents
	r.Quick()
	// The paths of sockets must stay short, which those of test directories are not.
	dir, err := os.MkdirTemp("", "gh-bench-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r.WorkDir = dir
	if err := r.Run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	got := map[string]bench.Figure{}
	for _, f := range board.Figures() {
		got[f.Name] = f
	}
	for _, name := range []string{
		"ingest_single", "ingest_single_p99", "ingest_single_tls", "ingest_single_tls_p99", "engine_limit", "ingest_batch", "ingest_ratio", "ingest_arrow",
		"rss_server", "rss_engine", "bytes_per_event", "report_time_spent", "report_frequency", "report_failures", "search_page",
		"report_time_spent_growth", "report_frequency_growth", "report_failures_growth", "search_page_growth",
		"signin_latency", "signin_unknown", "list_users", "list_companies", "list_keys", "list_audit", "list_slowest",
	} {
		if f, ok := got[name]; !ok || f.Value <= 0 {
			t.Errorf("%s: %v", name, f)
		}
		if !strings.Contains(out.String(), "\nbench "+name+" ") {
			t.Errorf("no line for %s", name)
		}
	}
	// A person who waits must see when the machine has to be quiet: before each part, and of reports behind the filling.
	lines := out.String()
	for _, want := range []string{"# MEASURING single", "\nbench ingest_single ", "# MEASURING batch", "\nbench engine_limit ", "# filling the store", "# filled with", "# MEASURING reports", "# report_time_spent of", "may be used again", "# filling the store", "# filled with", "# MEASURING reports", "bench report_time_spent_"} {
		_, rest, ok := strings.Cut(lines, want)
		if !ok {
			t.Errorf("no %q where it should be, in\n%s", want, out.String())
			break
		}
		lines = rest
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("left behind: %s", f.Name())
	}
}
