package reldb

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestForeignSQLite: the file of another program is refused, and not a byte of it changes.
func TestForeignSQLite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "database.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.ExecContext(t.Context(), `CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE companies (id INTEGER); INSERT INTO companies VALUES (7)`); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), SQLiteURL(path))
	if err == nil || !strings.Contains(err.Error(), "another program's (tables companies, users, ") || !strings.Contains(err.Error(), "leave DATABASE_URL out") {
		t.Errorf("%v", err)
	}
	after, err := os.ReadFile(path)
	if files, _ := filepath.Glob(path + "*"); err != nil || !bytes.Equal(before, after) || len(files) != 1 {
		t.Errorf("the file has changed, or has companions: %v, %v", files, err)
	}
	// An empty file, as mktemp makes one, is taken.
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), SQLiteURL(empty))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
