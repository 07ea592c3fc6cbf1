package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/config"
	"gatehouse/internal/reldb"
)

// A port that cannot be had is told before anything is started or made.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dir := t.TempDir()
	_, err = startServer(t.Context(), serverOptions{
		dataDir: dir, databaseURL: reldb.SQLiteURL(filepath.Join(dir, "gatehouse.db")), listen: l.Addr().String(),
		cfg: config.Default(), log: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"engine", "gatehouse.db"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made: %v", name, err)
		}
	}
}
