// Package reldbtest gives tests a fresh database of every kind that can run here, so that one contract test runs over each of
// them. SQLite is always there. PostgreSQL is the real server at $GATEHOUSE_TEST_POSTGRES, else at 127.0.0.1:5432, MySQL or MariaDB
// that at $GATEHOUSE_TEST_MYSQL, else at 127.0.0.1:3306; a test without one is skipped with the reason, except under CI=true, where its absence is a failure.
// SQL Server is not among them: it has never been run.
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

const (
	defaultPostgres = "postgresql://postgres@127.0.0.1:5432/postgres?sslmode=disable"
	defaultMySQL    = "mysql://root@127.0.0.1:3306/mysql"
)

// Dialects are those that tests run over.
func Dialects() []reldb.Dialect { return []reldb.Dialect{reldb.SQLite, reldb.Postgres, reldb.MySQL} }

// Each runs fn as a subtest for each of Dialects, with the address of an empty database of its own.
func Each(t *testing.T, fn func(t *testing.T, databaseURL string)) {
	t.Helper()
	for _, d := range Dialects() {
		t.Run(string(d), func(t *testing.T) { fn(t, New(t, d)) })
	}
}

// New makes an empty database of a kind, which is gone when the test ends, and gives its address.
func New(t *testing.T, d reldb.Dialect) string {
	t.Helper()
	switch d {
	case reldb.SQLite:
		return reldb.SQLiteURL(filepath.Join(t.TempDir(), "with space %41#?.db"))
	case reldb.Postgres:
		return Postgres(t)
	case reldb.MySQL:
		return MySQL(t)
	default:
		t.Fatalf("no test database for %s: add one here", d)
		return ""
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
	return onServer(t, "PostgreSQL", "GATEHOUSE_TEST_POSTGRES", defaultPostgres, ` WITH (FORCE)`)
}

// MySQL creates a database on the MySQL or MariaDB test server and drops it when the test ends.
func MySQL(t *testing.T) string {
	t.Helper()
	return onServer(t, "MySQL or MariaDB", "GATEHOUSE_TEST_MYSQL", defaultMySQL, "")
}

func onServer(t *testing.T, kind, variable, server, dropOptions string) string {
	t.Helper()
	if own := os.Getenv(variable); own != "" {
		server = own
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	admin, err := reldb.Open(t.Context(), server)
	if err != nil {
		if opErr, ok := errors.AsType[*net.OpError](err); ok && os.Getenv("CI") != "true" {
			t.Skipf("no %s for tests at %s (%v): start one or set %s", kind, u.Host, opErr, variable)
		}
		t.Fatalf("%s for tests at %s: %v", kind, u.Host, err)
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
		if _, err := admin.Writer().ExecContext(ctx, `DROP DATABASE `+name+dropOptions); err != nil {
			t.Errorf("drop test database %s: %v", name, err)
		}
		if err := admin.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	u.Path = "/" + name
	return u.String()
}
