package schema

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-migrate/migrate/v4/source"

	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
)

// stepwise gives a fresh database that commits each change of tables by itself.
func stepwise(t *testing.T) (*reldb.DB, *Relational) {
	t.Helper()
	db := reldbtest.Open(t, reldbtest.MySQL(t))
	return db, NewRelational(db)
}

// TestStepwiseEveryStatement kills each migration at each of its statements, both ways: once after the server did it but before that could be noted, once
// before it did. The next run must come to the same tables.
func TestStepwiseEveryStatement(t *testing.T) {
	t.Parallel()
	db, r := stepwise(t)
	ctx := t.Context()
	versions, err := r.versions()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Up(ctx); err != nil {
		t.Fatal(err)
	}
	want := columnsOf(t, db)
	if _, _, err := r.Down(ctx, len(versions)); err != nil {
		t.Fatal(err)
	}
	for parity := range 2 {
		walk := func(version uint, direction source.Direction) {
			text, err := migrationText(reldb.MySQL, version, direction)
			if err != nil {
				t.Fatal(err)
			}
			d := &stepwiseDriver{ctx: ctx, db: db, now: time.Now}
			target := int(version)
			if direction == source.Down {
				target--
			}
			if err := d.SetVersion(target, true); err != nil {
				t.Fatal(err)
			}
			for i, statement := range statements(text) {
				if verb := firstWord(statement); verb == "INSERT" || verb == "UPDATE" {
					if err := d.change(statement); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if err := d.move(i, true); err != nil {
					t.Fatal(err)
				}
				if i%2 == parity {
					if err := d.exec(statement); err != nil {
						t.Fatalf("%s: %v", statement, err)
					}
				}
				// The next process knows only what stands in the database.
				p, err := readProgress(ctx, db)
				if err != nil || p == nil || p.done != i || !p.begun || p.version != version || p.direction != direction {
					t.Fatalf("statement %d of %d: %+v, %v", i, version, p, err)
				}
				if st, err := r.Status(ctx); err != nil || !st.Dirty {
					t.Fatalf("%+v, %v; want it marked as cut off", st, err)
				}
				if err := r.Check(ctx); !errors.Is(err, ErrPending) {
					t.Fatalf("Check in the middle of a migration: %v", err)
				}
				d.at = p
				if err := d.define(statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
			if err := errors.Join(d.finish(), d.Unlock()); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range versions {
			walk(v.number, source.Up)
		}
		if got := columnsOf(t, db); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		for _, v := range slices.Backward(versions) {
			walk(v.number, source.Down)
		}
		if got := columnsOf(t, db); len(got) != 3 {
			t.Errorf("left: %q; want the history alone", got)
		}
	}
}

// TestStepwiseCancelled cuts a migration off wherever the time runs out, again and again until it is through.
func TestStepwiseCancelled(t *testing.T) {
	t.Parallel()
	db, r := stepwise(t)
	latest, err := r.latest()
	if err != nil {
		t.Fatal(err)
	}
	for round := 0; ; round++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+7*round)*time.Millisecond)
		_, to, err := r.Up(ctx)
		cancel()
		if err == nil {
			if to != latest {
				t.Errorf("at version %d without an error", to)
			}
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
	var heads, rows int
	if err := db.QueryRow(t.Context(), `SELECT COUNT(*) FROM audit_head`).Scan(&heads); err != nil || heads != 1 {
		t.Errorf("%d heads of the audit trail, %v; want 1", heads, err)
	}
	if err := db.QueryRow(t.Context(), `SELECT COUNT(*) FROM schema_migrations`).Scan(&rows); err != nil || rows != int(latest) {
		t.Errorf("%d steps in the history, %v; want %d", rows, err, latest)
	}
	other, second := stepwise(t)
	if _, _, err := second.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := columnsOf(t, db), columnsOf(t, other); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestStepwiseForeignTable: a table of somebody else's is not taken for the migration's own, and the migration goes on when it is gone.
func TestStepwiseForeignTable(t *testing.T) {
	t.Parallel()
	db, r := stepwise(t)
	ctx := t.Context()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.Writer().ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE recovery_codes (a INTEGER)`)
	for range 2 { // the second one goes on at the statement, and fails there again
		_, _, err := r.Up(ctx)
		if err == nil || !strings.Contains(err.Error(), "of migration 3 (up) failed") || !strings.Contains(err.Error(), "already exists") {
			t.Fatalf("%v", err)
		}
		if st, err := r.Status(ctx); err != nil || !st.Dirty || st.Version != 2 {
			t.Errorf("%+v, %v", st, err)
		}
	}
	exec(`DROP TABLE recovery_codes`)
	// Down finishes the way up first.
	if from, to, err := r.Down(ctx, 1); err != nil || from != 2 || to != 2 {
		t.Errorf("down: %d to %d, %v", from, to, err)
	}
	if _, _, err := r.Up(ctx); err != nil {
		t.Error(err)
	}
	if err := r.Check(ctx); err != nil {
		t.Error(err)
	}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"":                              nil,
		" \n-- nothing; at all\n":       nil,
		"A; B":                          {"A", "B"},
		"A;\n-- it's; so\nB 'x;''y';\n": {"A", "-- it's; so\nB 'x;''y'"},
		"A \"x;\" `y;`;;C":              {"A \"x;\" `y;`", "C"},
		"A 'open; B":                    {"A 'open; B"},
	} {
		if got := statements(in); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := firstWord("-- a\n-- b\n\nupdate x"); got != "UPDATE" {
		t.Errorf("%q", got)
	}
}

// FuzzStatements: cutting loses nothing but semicolons and space, and nothing is cut twice.
func FuzzStatements(f *testing.F) {
	for _, s := range []string{"A;B", "'a;b';c", "-- x;\ny;", "\"`';"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bare := func(s string) string {
			return strings.Map(func(r rune) rune {
				if strings.ContainsRune("; \n\t\r\v\f\u0085\u00a0\u2003\u2028", r) {
					return -1
				}
				return r
			}, s)
		}
		list := statements(s)
		if !strings.HasPrefix(bare(s), bare(strings.Join(list, ""))) {
			t.Errorf("%q became %q", s, list)
		}
	})
}
