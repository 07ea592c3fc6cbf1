package reldb_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
)

// handoverDB has the one table that a handover needs, as package schema makes it.
func handoverDB(t *testing.T, databaseURL string) *reldb.DB {
	t.Helper()
	db := reldbtest.Open(t, databaseURL)
	if _, err := db.Writer().ExecContext(t.Context(), `CREATE TABLE schema_migrations (a INTEGER)`); err != nil { // else its file is another program's
		t.Fatal(err)
	}
	if _, err := db.Writer().ExecContext(t.Context(), `CREATE TABLE revisions (topic VARCHAR(32) NOT NULL PRIMARY KEY, revision BIGINT NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	return db
}

// A holder is told when the one before it did not say that all is settled, however often that happens.
func TestHandover(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		one := handoverDB(t, databaseURL)
		two := reldbtest.Open(t, databaseURL)
		boom := errors.New("boom")
		for i, c := range []struct {
			settle    bool
			result    error
			abandoned bool
		}{
			{true, nil, false}, {true, boom, false}, {false, nil, false}, {false, boom, true}, {true, nil, true}, {true, nil, false}, {false, boom, false}, {true, boom, true}, {true, nil, false},
		} {
			db := one
			if i%2 == 1 {
				db = two
			}
			err := db.WithHandover(t.Context(), "work", func(ctx context.Context, h *reldb.Handover) error {
				if h.Abandoned() != c.abandoned {
					t.Errorf("turn %d: abandoned is %v", i, h.Abandoned())
				}
				if err := h.Check(ctx); err != nil {
					t.Errorf("turn %d: %v", i, err)
				}
				if c.settle {
					h.Settled()
				}
				return c.result
			})
			if !errors.Is(err, c.result) {
				t.Errorf("turn %d: %v, want %v", i, err, c.result)
			}
			// Another lock knows nothing of it.
			if err := db.WithHandover(t.Context(), "other", func(_ context.Context, h *reldb.Handover) error {
				if h.Settled(); h.Abandoned() {
					t.Errorf("turn %d: the other lock is abandoned", i)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		// A turn ends well though its context has ended.
		ctx, cancel := context.WithCancel(t.Context())
		if err := one.WithHandover(ctx, "work", func(ctx context.Context, h *reldb.Handover) error {
			cancel()
			h.Settled()
			if err := h.Check(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("check after the end: %v", err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := two.WithHandover(t.Context(), "work", func(_ context.Context, h *reldb.Handover) error {
			if h.Abandoned() {
				t.Error("abandoned, though it was settled")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// killLocks ends the sessions that hold a lock, as a server does when it restarts or a connection breaks.
func killLocks(t *testing.T, db *reldb.DB) {
	t.Helper()
	find, kill := `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, `SELECT pg_terminate_backend(?)`
	if db.Dialect() == reldb.MySQL {
		find, kill = `SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()`, `KILL ?`
	}
	rows, err := db.Query(t.Context(), find)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(ids) == 0 {
		t.Fatalf("%d sessions, %v", len(ids), err)
	}
	for _, id := range ids {
		if _, err := db.Writer().ExecContext(t.Context(), db.Dialect().Rebind(kill), id); err != nil {
			t.Fatal(err)
		}
	}
}

// When the server ends the session of a lock, another has it at once and is told; who held it hears of it within LockNotice, at the
// latest when it asks, and can settle nothing any more.
func TestLostLock(t *testing.T) {
	t.Parallel()
	for _, d := range []reldb.Dialect{reldb.Postgres, reldb.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			databaseURL := reldbtest.New(t, d)
			one := handoverDB(t, databaseURL)
			two := reldbtest.Open(t, databaseURL)
			err := one.WithHandover(t.Context(), "work", func(ctx context.Context, h *reldb.Handover) error {
				killLocks(t, two)
				if err := two.WithHandover(t.Context(), "work", func(_ context.Context, next *reldb.Handover) error {
					if !next.Abandoned() {
						t.Error("the next holder is not told")
					}
					if err := h.Check(ctx); err == nil {
						t.Error("whose lock is another's was told that it is held")
					}
					next.Settled()
					return nil
				}); err != nil {
					t.Error(err)
				}
				h.Settled()
				select {
				case <-ctx.Done():
				case <-time.After(time.Minute):
					t.Error("the context goes on without the lock")
				}
				return nil
			})
			if err == nil {
				t.Error("the loss is not told")
			}
			if err := one.WithHandover(t.Context(), "work", func(_ context.Context, h *reldb.Handover) error {
				if h.Abandoned() {
					t.Error("abandoned, though the last holder had settled all")
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}
