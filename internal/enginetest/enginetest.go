// Package enginetest gives a package's tests an embedded engine: the real one, in a process of its
// own, shared by all tests that only need a ClickHouse to talk to.
//
// A package that uses it has a TestMain that calls Main. Where the engine's library is not installed
// its tests are skipped with what to run, except under CI=true, where they fail.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spf13/pflag"

	"gatehouse/engine"
)

// Main is what a TestMain calls. It lets the test binary be the engine's child process, which
// engine.Start runs as `<executable> engine …`, and ends the shared engine after the tests.
func Main(m *testing.M) {
	Child()
	code := m.Run()
	if err := shared.close(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Child runs the engine and ends the process when that is what the test binary was started for. It
// is for a TestMain that does more than Main.
func Child() {
	if len(os.Args) < 2 || os.Args[1] != "engine" {
		return
	}
	var o engine.ServeOptions
	fs := pflag.NewFlagSet("engine", pflag.ExitOnError)
	o.AddFlags(fs)
	if err := fs.Parse(os.Args[2:]); err != nil {
		os.Exit(2)
	}
	err := engine.Main(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
	}
	os.Exit(engine.ExitCode(err))
}

type sharedEngine struct {
	once   sync.Once
	dir    string
	engine *engine.Engine
	err    error
}

var shared sharedEngine

func (s *sharedEngine) start() {
	if s.dir, s.err = os.MkdirTemp("", "gatehouse-engine-*"); s.err == nil {
		s.engine, s.err = engine.Start(context.Background(), engine.Config{Dir: s.dir, Logger: slog.New(slog.DiscardHandler)})
	}
}

func (s *sharedEngine) close() (err error) {
	if s.engine != nil {
		err = s.engine.Close()
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// Shared is the package's engine, started by the first test that asks. Tests keep apart by
// databases of their own, see [Database].
func Shared(t testing.TB) *engine.Engine {
	t.Helper()
	shared.once.Do(shared.start)
	Check(t, shared.err)
	return shared.engine
}

// Check skips the test when err says that the engine's library is not installed, and fails it on any other.
func Check(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, engine.ErrLibraryMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var databases atomic.Int64

// Database is a database's name that no other test uses. Nothing is made.
func Database() string { return fmt.Sprintf("t%d", databases.Add(1)) }
