package schema

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
)

// TestRelationalDialectsEqual holds the dialects' lists equal: the same steps by number and name, each with its way back.
func TestRelationalDialectsEqual(t *testing.T) {
	t.Parallel()
	lists := map[reldb.Dialect][]string{}
	for _, d := range reldb.Supported() { // also those that cannot run here
		entries, err := fs.ReadDir(relationalFiles, string(d))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			lists[d] = append(lists[d], e.Name())
		}
		versions, err := relationalVersions(relationalFiles, d)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range versions {
			if int(v.number) != i+1 {
				t.Errorf("%s: migration %d is numbered %d: numbers count up from 1", d, i+1, v.number)
			}
			for _, direction := range []string{"up", "down"} {
				if name := fmt.Sprintf("%06d_%s.%s.sql", v.number, v.name, direction); !slices.Contains(lists[d], name) {
					t.Errorf("%s lacks %s", d, name)
				}
			}
		}
		if len(lists[d]) != 2*len(versions) {
			t.Errorf("%s has %d files for %d migrations", d, len(lists[d]), len(versions))
		}
	}
	for d, list := range lists {
		if want := lists[reldb.SQLite]; !slices.Equal(list, want) {
			t.Errorf("%s has %q, sqlite has %q", d, list, want)
		}
	}
}

// columnsOf lists table, column and whether it may be null, in one order for every dialect.
func columnsOf(t *testing.T, db *reldb.DB) []string {
	t.Helper()
	query := map[reldb.Dialect]string{
		reldb.SQLite: `SELECT m.name, c.name, c."notnull" = 0 AND c.pk = 0 FROM sqlite_master m JOIN pragma_table_info(m.name) c
			WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`,
		reldb.Postgres: `SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns WHERE table_schema = 'public'`,
		reldb.MySQL:    `SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns WHERE table_schema = DATABASE()`,
	}[db.Dialect()]
	rows, err := db.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var table, column string
		var null bool
		if err := rows.Scan(&table, &column, &null); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s.%s null=%v", table, column, null))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func TestRelationalUpDown(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	columns := map[reldb.Dialect][]string{}
	t.Cleanup(func() {
		for d, c := range columns {
			if columns[reldb.SQLite] == nil {
				break // -run chose another
			}
			if !slices.Equal(c, columns[reldb.SQLite]) {
				t.Errorf("%s has columns\n%s\nbut sqlite has\n%s", d, strings.Join(c, "\n"), strings.Join(columns[reldb.SQLite], "\n"))
			}
		}
	})
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		db := reldbtest.Open(t, databaseURL)
		r := NewRelational(db)
		r.now = func() time.Time { return time.UnixMilli(1_748_183_400_123) }

		st, err := r.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Version != 0 || st.Latest == 0 || uint(len(st.Pending)) != st.Latest || st.Newer || !st.AppliedAt.IsZero() {
			t.Errorf("empty database: %+v", st)
		}
		if got := columnsOf(t, db); len(got) != 0 {
			t.Errorf("Status changed the database: %q", got)
		}
		if err := r.Check(ctx); !errors.Is(err, ErrPending) {
			t.Errorf("Check of an empty database: %v", err)
		}
		if from, to, err := r.Down(ctx, 1); from != 0 || to != 0 || err != nil {
			t.Errorf("Down of an empty database: %d to %d, %v", from, to, err)
		}

		from, to, err := r.Up(ctx)
		if err != nil || from != 0 || to != st.Latest {
			t.Fatalf("Up: %d to %d, %v", from, to, err)
		}
		if err := r.Check(ctx); err != nil {
			t.Errorf("Check after Up: %v", err)
		}
		up := columnsOf(t, db)
		mu.Lock()
		columns[db.Dialect()] = up
		mu.Unlock()
		if from, to, err := r.Up(ctx); err != nil || from != st.Latest || to != st.Latest {
			t.Errorf("second Up: %d to %d, %v", from, to, err)
		}
		if st, err := r.Status(ctx); err != nil || len(st.Pending) != 0 || st.AppliedAt.UnixMilli() != 1_748_183_400_123 {
			t.Errorf("status after Up: %+v, %v", st, err)
		}

		// Each step down and up again must give the same tables: a down file that forgets something fails the up.
		for step := range st.Latest {
			if from, to, err := r.Down(ctx, 1); err != nil || from != st.Latest-step || to != st.Latest-step-1 {
				t.Fatalf("Down: %d to %d, %v", from, to, err)
			}
		}
		if got := columnsOf(t, db); len(got) != 3 {
			t.Errorf("tables left after all steps down: %q; want the history alone", got)
		}
		if _, to, err := r.Up(ctx); err != nil || to != st.Latest {
			t.Fatalf("Up again: %d, %v", to, err)
		}
		if got := columnsOf(t, db); !slices.Equal(got, up) {
			t.Errorf("up, down, up gave %q, first %q", got, up)
		}
		if from, to, err := r.Down(ctx, 1000); err != nil || from != st.Latest || to != 0 {
			t.Errorf("Down by more steps than there are: %d to %d, %v", from, to, err)
		}
		if _, _, err := r.Down(ctx, 0); err == nil {
			t.Error("Down by 0 steps: no error")
		}
		var rows int
		if err := db.QueryRow(ctx, `SELECT COUNT(*) FROM schema_migrations`).Scan(&rows); err != nil || rows != 4*int(st.Latest) {
			t.Errorf("history has %d rows, %v; want one for each step", rows, err)
		}
	})
}

func TestRelationalNewer(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		db := reldbtest.Open(t, databaseURL)
		r := NewRelational(db)
		if _, _, err := r.Up(ctx); err != nil {
			t.Fatal(err)
		}
		before := columnsOf(t, db)
		if err := db.Update(ctx, func(tx *reldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO schema_migrations (seq, version, applied_at) VALUES (1000, 99, 0)`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for name, run := range map[string]func() error{
			"up":    func() error { _, _, err := r.Up(ctx); return err },
			"down":  func() error { _, _, err := r.Down(ctx, 1); return err },
			"check": func() error { return r.Check(ctx) },
		} {
			err := run()
			if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), "migrate down") {
				t.Errorf("%s: %v; want ErrNewer with the versions and what to do", name, err)
			}
		}
		if st, err := r.Status(ctx); err != nil || !st.Newer || st.Version != 99 || len(st.Pending) != 0 {
			t.Errorf("status: %+v, %v", st, err)
		}
		if got := columnsOf(t, db); !slices.Equal(got, before) {
			t.Errorf("a refused migration changed the tables: %q", got)
		}
	})
}

// TestRelationalConcurrent starts several processes' worth of migrations at once: every one must end well, and each step
// must have run once.
func TestRelationalConcurrent(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		var wg sync.WaitGroup
		for range 5 {
			db := reldbtest.Open(t, databaseURL)
			wg.Go(func() {
				if _, to, err := NewRelational(db).Up(t.Context()); err != nil || to == 0 {
					t.Errorf("Up: version %d, %v", to, err)
				}
			})
		}
		wg.Wait()
		db := reldbtest.Open(t, databaseURL)
		st, err := NewRelational(db).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var rows uint
		if err := db.QueryRow(t.Context(), `SELECT COUNT(*) FROM schema_migrations`).Scan(&rows); err != nil || rows != st.Latest {
			t.Errorf("%d steps ran, %v; want %d", rows, err, st.Latest)
		}
	})
}

// TestRelationalFailureLeavesNothing: an interrupted or failing migration is as if it had not begun. MySQL keeps the migrations before it.
func TestRelationalFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		db := reldbtest.Open(t, databaseURL)
		// The last migration makes users: its failing proves that those before it are taken back with it.
		if err := db.Update(ctx, func(tx *reldb.Tx) error {
			_, err := tx.Exec(ctx, `CREATE TABLE users (a INTEGER)`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		r := NewRelational(db)
		if _, _, err := r.Up(ctx); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("Up over a foreign table: %v", err)
		}
		if db.Dialect() == reldb.MySQL {
			if st, err := r.Status(ctx); err != nil || st.Version != 1 || st.Dirty {
				t.Errorf("after a failed migration: %+v, %v; want version 1, done whole", st, err)
			}
		} else if got := columnsOf(t, db); len(got) != 1 {
			t.Errorf("a failed migration left %q", got)
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if _, _, err := r.Up(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("Up when canceled: %v", err)
		}
		if err := db.Update(ctx, func(tx *reldb.Tx) error {
			_, err := tx.Exec(ctx, `DROP TABLE users`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Up(ctx); err != nil {
			t.Errorf("Up after the cause is gone: %v", err)
		}
	})
}

func TestRelationalNumbersFail(t *testing.T) {
	t.Parallel()
	if _, err := relationalVersions(relationalFiles, reldb.Dialect("nosuch")); err == nil {
		t.Error("no error for a dialect without migrations")
	}
}
