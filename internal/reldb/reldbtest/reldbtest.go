// Package reldbtest gives tests a fresh database of every supported kind, so that one contract test runs over each of
// them. SQLite is always there. PostgreSQL is the real server at $GATEHOUSE_TEST_POSTGRES, else at 127.0.0.1:5432; a test
// without one is skipped with the reason, except under CI=true, where its absence is a failure.
package reldbtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/internal/reldb"
)

const defaultPostgres = "postgresql://postgres@127.0.0.1:5432/postgres?sslmode=disable"

// Each runs fn as a subtest for each supported dialect, with the address of an empty database of its own.
func Each(t *testing.T, fn func(t *testing.T, databaseURL string)) {
	t.Helper()
	for _, d := range reldb.Supported() {
		t.Run(string(d), func(t *testing.T) {
			switch d {
			case reldb.SQLite:
				fn(t, reldb.SQLiteURL(filepath.Join(t.TempDir(), "with space %41#?.db")))
			case reldb.Postgres:
				fn(t, Postgres(t))
			default:
				t.Fatalf("no test database for %s: add one here", d)
			}
		})
	}
}

// Open opens a database and closes it when the test ends.
func Open(t *testing.T, databaseURL string) *reldb.DB {
	t.Helper()
	db, err := reldb.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close %s: %v", db.Name(), err)
		}
	})
	return db
}

// Postgres creates a database on the test server and drops it when the test ends.
func Postgres(t *testing.T) string {
	t.Helper()
	server := os.Getenv("GATEHOUSE_TEST_POSTGRES")
	if server == "" {
		server = defaultPostgres
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("GATEHOUSE_TEST_POSTGRES: %v", err)
	}
	admin, err := reldb.Open(t.Context(), server)
	if err != nil {
		if opErr, ok := errors.AsType[*net.OpError](err); ok && os.Getenv("CI") != "true" {
			t.Skipf("no PostgreSQL for tests at %s (%v): start one or set GATEHOUSE_TEST_POSTGRES", u.Host, opErr)
		}
		t.Fatalf("PostgreSQL for tests at %s: %v", u.Host, err)
	}
	random := make([]byte, 6)
	_, _ = rand.Read(random) // never fails
	name := "gatehouse_test_" + hex.EncodeToString(random)
	// CREATE DATABASE takes no parameters; the name is letters and digits of our own making.
	if _, err := admin.Writer().ExecContext(t.Context(), `CREATE DATABASE `+name); err != nil {
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := admin.Writer().ExecContext(ctx, `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Errorf("drop test database %s: %v", name, err)
		}
		if err := admin.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	u.Path = "/" + name
	return u.String()
}
