//go:build linux || darwin

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/pflag"
)

// TestMain lets the test binary be the engine: Start runs it with `engine …`,
// so these tests exercise real processes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		var o ServeOptions
		fs := pflag.NewFlagSet("engine", pflag.ExitOnError)
		o.AddFlags(fs)
		if err := fs.Parse(os.Args[2:]); err != nil {
			os.Exit(2)
		}
		err := Main(context.Background(), o)
		if err != nil {
			fmt.Fprintln(os.Stderr, "engine:", err)
		}
		os.Exit(ExitCode(err))
	}
	code := m.Run()
	if shared != nil {
		if err := shared.Close(); err != nil && code == 0 {
			code = 1
		}
		_ = os.RemoveAll(shared.cfg.Dir)
	}
	os.Exit(code)
}

// shared is one engine for the tests that only need one to talk to.
var shared *Engine

func sharedEngine(t testing.TB) *Engine {
	t.Helper()
	if shared == nil {
		dir, err := os.MkdirTemp("", "gh-engine-*")
		if err != nil {
			t.Fatal(err)
		}
		shared = startEngine(t, Config{Dir: dir}, false)
	}
	return shared
}

func startEngine(t testing.TB, cfg Config, closeAtEnd bool) *Engine {
	t.Helper()
	needLibrary(t)
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
		if !closeAtEnd {
			cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
		}
	}
	e, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if closeAtEnd {
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return e
}

// needLibrary skips a test where libchdb is not installed. CI must have it.
func needLibrary(t testing.TB) {
	t.Helper()
	if _, err := FindLibrary("", ""); errors.Is(err, ErrLibraryMissing) {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func openClient(t testing.TB, o *clickhouse.Options) driver.Conn {
	t.Helper()
	c, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func mustExec(t testing.TB, c driver.Conn, q string, args ...any) {
	t.Helper()
	if err := c.Exec(context.Background(), q, args...); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
