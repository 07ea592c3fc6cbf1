package reldb_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
)

func TestRebind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, postgres, sqlserver string }{
		{"SELECT 1", "SELECT 1", "SELECT 1"},
		{"a = ? AND b = ?", "a = $1 AND b = $2", "a = @p1 AND b = @p2"},
		{"a = '?' AND b = ?", "a = '?' AND b = $1", "a = '?' AND b = @p1"},
		{"a = 'it''s ?' AND \"c?\" = ?", "a = 'it''s ?' AND \"c?\" = $1", "a = 'it''s ?' AND \"c?\" = @p1"},
		{"a -- why?\n= ?", "a -- why?\n= $1", "a -- why?\n= @p1"},
		{"a = ? -- why?", "a = $1 -- why?", "a = @p1 -- why?"},
		{"broken ' ? ", "broken ' ? ", "broken ' ? "},
	} {
		if got := reldb.Postgres.Rebind(c.in); got != c.postgres {
			t.Errorf("postgres %q: %q, want %q", c.in, got, c.postgres)
		}
		if got := reldb.SQLServer.Rebind(c.in); got != c.sqlserver {
			t.Errorf("sqlserver %q: %q, want %q", c.in, got, c.sqlserver)
		}
		if got := reldb.SQLite.Rebind(c.in); got != c.in {
			t.Errorf("sqlite %q: %q, want it unchanged", c.in, got)
		}
	}
}

func FuzzRebind(f *testing.F) {
	for _, s := range []string{"", "?", "'?'", "--?", "a ? '' ? \"\" -- ?\n?", "'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "$1234567890") {
			return
		}
		// Nothing but question marks may change, so taking the numbers back gives the original.
		got := reldb.Postgres.Rebind(s)
		back := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, strings.ReplaceAll(strings.ToValidUTF8(got, "."), "$", "?"))
		if back != strings.ToValidUTF8(s, ".") {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"sqlite:///var/lib/g.db":                          "sqlite:///var/lib/g.db",
		"sqlite://data/g.db":                              "sqlite://data/g.db",
		"sqlite:///a%20b.db?x=1":                          "sqlite:///a b.db",
		" postgres://u:secret@h:1/d?sslmode=off":          "postgresql://u@h:1/d",
		"postgresql+psycopg://u:secret@h/d":               "postgresql://u@h/d",
		"mysql://u:secret@h/d":                            "mysql://u@h/d",
		"mysql+pymysql://u:secret@h:3307/d?charset=utf8":  "mysql://u@h:3307/d",
		"mariadb://u:secret@h/d":                          "mysql://u@h/d",
		"mssql://u:secret@h/d":                            "sqlserver://u@h/d",
		"mssql+pyodbc://u:secret@h/d?driver=ODBC+17":      "sqlserver://u@h/d",
		"sqlserver://u:secret@h/inst?database=d":          "sqlserver://u@h/d",
		"postgresql+psycopg2://u:secret@h/d":              "postgresql://u@h/d",
		reldb.SQLiteURL("/a b/100%/" + "#" + "/x?y;z.db"): "sqlite:///a b/100%/#/x?y;z.db",
	} {
		target, err := reldb.ParseURL(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		} else if target.Name() != want {
			t.Errorf("%q: %q, want %q", in, target.Name(), want)
		}
	}
	for in, want := range map[string]string{
		"":                             "want scheme://",
		"/var/lib/g.db":                "want scheme://",
		"oracle://u:secret@h/d":        `unknown scheme "oracle"`,
		"sqlite://":                    "needs the path of a file",
		"sqlite:///dir/":               "needs the path of a file",
		"postgresql://u:secret@h":      "name the database",
		"mysql://u:secret@h":           "name the database: mysql://",
		"sqlserver://u:secret@h/?x=1":  "name the database: sqlserver://",
		"postgresql://u:sec%ret@h/d":   "not valid",
		"postgresql://u:se cret@h:x/d": "not a valid",
	} {
		_, err := reldb.ParseURL(in)
		if err == nil {
			t.Errorf("%q: no error", in)
			continue
		}
		if want == "not valid" {
			want = "not a valid"
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q, want %q without the password", in, err, want)
		}
	}
}

func TestSQLiteFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "g.db")
	db := reldbtest.Open(t, reldb.SQLiteURL(path))
	if err := db.Update(t.Context(), func(tx *reldb.Tx) error {
		_, err := tx.Exec(t.Context(), `CREATE TABLE x (a INTEGER)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		st, err := os.Stat(path + suffix)
		if err != nil {
			t.Error(err)
		} else if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v: others can read password hashes", st.Name(), st.Mode())
		}
	}
	// The reading pool must not be able to write past the single writer.
	if _, err := db.Query(t.Context(), `INSERT INTO x VALUES (1) RETURNING a`); err == nil {
		t.Error("the reading pool wrote")
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		var got string
		if err := db.Writer().QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %s", pragma, got, err, want)
		}
	}
}

func TestSQLiteNotADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "g.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := reldb.Open(t.Context(), reldb.SQLiteURL(path))
	if err == nil || !strings.Contains(err.Error(), "is not a SQLite database") {
		t.Errorf("%v", err)
	}
}

// TestRelativeSQLite: an address that the former application read as a relative one says so, instead of a directory at the root.
func TestRelativeSQLite(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"sqlite:///instance-of-old/database.db", "sqlite:///instance-of-old/deeper/database.db"} {
		_, err := reldb.Open(t.Context(), address)
		if err == nil || !strings.Contains(err.Error(), "in its own folder") || !strings.Contains(err.Error(), "there is no directory /instance-of-old for") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		// Two handles are two processes as far as the database is concerned.
		one, two := reldbtest.Open(t, databaseURL), reldbtest.Open(t, databaseURL)
		exec := func(db *reldb.DB, q string, args ...any) error {
			return db.Update(ctx, func(tx *reldb.Tx) error { _, err := tx.Exec(ctx, q, args...); return err })
		}
		for _, q := range []string{
			`CREATE TABLE p (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)`,
			`CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id))`,
			`INSERT INTO p (id, n) VALUES (1, 0)`,
		} {
			if err := exec(one, q); err != nil {
				t.Fatal(err)
			}
		}
		if err := exec(one, `INSERT INTO p (id, n) VALUES (?, 0)`, 1); !reldb.IsUnique(err) || reldb.IsForeignKey(err) {
			t.Errorf("second row of the same key: %v", err)
		}
		if err := exec(one, `INSERT INTO c (id, p) VALUES (1, ?)`, 9); !reldb.IsForeignKey(err) || reldb.IsUnique(err) {
			t.Errorf("row that names a missing one: %v", err)
		}
		boom := errors.New("boom")
		err := one.Update(ctx, func(tx *reldb.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE p SET n = 99`); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("error of the function: %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = one.Update(ctx, func(tx *reldb.Tx) error {
				if _, err := tx.Exec(ctx, `UPDATE p SET n = 98`); err != nil {
					t.Error(err)
				}
				panic("boom")
			})
		}()
		const writers, rounds = 8, 10
		var wg sync.WaitGroup
		for i := range writers {
			db := one
			if i%2 == 1 {
				db = two
			}
			wg.Go(func() {
				for range rounds {
					if err := exec(db, `UPDATE p SET n = n + 1 WHERE id = ?`, 1); err != nil {
						t.Errorf("concurrent writer: %v", err)
					}
				}
			})
		}
		wg.Wait()
		var n int
		if err := two.QueryRow(ctx, `SELECT n FROM p WHERE id = ?`, 1).Scan(&n); err != nil || n != writers*rounds {
			t.Errorf("n = %d, %v; want %d: a rollback or an update was lost", n, err, writers*rounds)
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if err := one.Update(canceled, func(*reldb.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	})
}

func TestWithLock(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		one, two := reldbtest.Open(t, databaseURL), reldbtest.Open(t, databaseURL)
		boom := errors.New("boom")
		if err := one.WithLock(ctx, "work", func(context.Context) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("error of the function: %v", err)
		}
		// At most one at a time, over both handles, and everybody has a turn.
		var wg sync.WaitGroup
		var inside, most, turns atomic.Int32
		for i := range 8 {
			db := one
			if i%2 == 1 {
				db = two
			}
			wg.Go(func() {
				err := db.WithLock(ctx, "work", func(ctx context.Context) error {
					most.Store(max(most.Load(), inside.Add(1)))
					defer inside.Add(-1)
					turns.Add(1)
					// Others may write while the lock is held.
					return db.Update(ctx, func(tx *reldb.Tx) error { return tx.QueryRow(ctx, `SELECT 1`).Scan(new(int)) })
				})
				if err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if most.Load() != 1 || turns.Load() != 8 {
			t.Errorf("%d held the lock at once, %d had a turn", most.Load(), turns.Load())
		}
		// Another name is another lock; the same name waits as long as its context lets it.
		err := one.WithLock(ctx, "work", func(ctx context.Context) error {
			if err := two.WithLock(ctx, "other", func(context.Context) error { return nil }); err != nil {
				t.Errorf("another lock: %v", err)
			}
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			if err := two.WithLock(short, "work", func(context.Context) error {
				t.Error("two held the lock at once")
				return nil
			}); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "timeout") {
				t.Errorf("waited beyond its time: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := two.WithLock(ctx, "work", func(context.Context) error { return nil }); err != nil {
			t.Errorf("the lock was not given back: %v", err)
		}
	})
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"sqlite:///a%20b.db?x=1", "postgres://u:hunter2@h:1/d?sslmode=off", "mysql://u:hunter2@h/d", "sqlite://", "postgresql+x://u:hunter2%@h", "://", "postgres://[::1]:5/d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := reldb.ParseURL(s)
		if err != nil {
			return
		}
		if (target.Dialect == reldb.SQLite) != (target.Path != "") || (target.Dialect == reldb.SQLite) != (target.URL == nil) {
			t.Errorf("%q: %+v", s, target)
		}
		if target.URL == nil {
			again, err := reldb.ParseURL(reldb.SQLiteURL(target.Path))
			if err != nil || again.Path != target.Path {
				t.Errorf("%q: the path %q came back as %q, %v", s, target.Path, again.Path, err)
			}
			return
		}
		if password, ok := target.URL.User.Password(); ok && len(password) > 8 && strings.Contains(target.Name(), password) {
			// It may stand elsewhere in the address by chance, but then not only as the password.
			if strings.Count(s, password) == 1 {
				t.Errorf("%q: the name %q shows the password", s, target.Name())
			}
		}
	})
}
