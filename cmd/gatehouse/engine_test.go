package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/engine"
)

// The engine's subcommand ends with the statuses by which the server knows why.
func TestEngineExitStatus(t *testing.T) {
	if _, err := engine.FindLibrary("", ""); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	e, err := engine.Start(t.Context(), engine.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct {
		err  error
		args []string
		env  string
	}{
		{engine.ErrDirInUse, []string{"--dir=" + dir}, ""},
		{engine.ErrLibraryMissing, []string{"--dir=" + filepath.Join(t.TempDir(), "e")}, engine.LibraryEnv + "=/nowhere/libchdb.so"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"engine"}, c.args...)...)
		cmd.Env = append(os.Environ(), c.env)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != engine.ExitCode(c.err) || !strings.Contains(string(out), c.err.Error()) {
			t.Errorf("%v, want status %d: %s", err, engine.ExitCode(c.err), out)
		}
	}
	// And the server's words are made of them.
	if _, err := engine.Start(t.Context(), engine.Config{Dir: dir}); !errors.Is(err, engine.ErrDirInUse) {
		t.Error(err)
	}
}
