package dbcopy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema"
)

func open(t *testing.T, d reldb.Dialect) *reldb.DB {
	t.Helper()
	return reldbtest.Open(t, reldbtest.New(t, d))
}

func migrated(t *testing.T, d reldb.Dialect) *reldb.DB {
	t.Helper()
	db := open(t, d)
	if _, _, err := schema.NewRelational(db).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// fillRandom puts random rows into every table of a SQLite database, of whatever its columns can hold.
func fillRandom(t *testing.T, db *reldb.DB, r *rand.Rand, rows int) {
	t.Helper()
	ctx := t.Context()
	ids := map[string][]int64{}
	parent := map[string]string{"user_id": "users", "company_id": "companies", "key_id": "api_keys"}
	text := regexp.MustCompile(`^(VARCHAR|CHAR)\((\d+)\)$`)
	value := func(table, column, kind string, notNull bool) any {
		if !notNull && r.IntN(3) == 0 {
			return nil
		}
		if p := parent[column]; p != "" && table != "audit_log" && table != "error_log" {
			return ids[p][r.IntN(len(ids[p]))]
		}
		if column == "max_session" {
			return 60 + r.Int64N(2678400-60)
		}
		if m := text.FindStringSubmatch(kind); m != nil {
			n, _ := strconv.Atoi(m[2])
			if m[1] == "CHAR" || n <= 64 { // hashes and names of the program's own
				raw := make([]byte, n/2)
				for i := range raw {
					raw[i] = byte(r.Uint32())
				}
				return hex.EncodeToString(raw)
			}
			return randomText(r, n)
		}
		switch kind {
		case "TEXT":
			return randomText(r, 1+r.IntN(5000))
		case "SMALLINT":
			return r.Int64N(2)
		case "INTEGER":
			return int64(int32(r.Uint32()))
		case "BIGINT":
			return []int64{0, -1, math.MaxInt64, math.MinInt64, r.Int64(), r.Int64N(1 << 41)}[r.IntN(6)]
		}
		t.Fatalf("%s.%s: no values known for %q", table, column, kind)
		return nil
	}
	for _, table := range schema.Tables() {
		type column struct {
			name, kind string
			notNull    bool
		}
		var columns []column
		list, err := db.Query(ctx, `SELECT name, type, "notnull" FROM pragma_table_info(?)`, table.Name)
		if err != nil {
			t.Fatal(err)
		}
		defer list.Close()
		for list.Next() {
			var c column
			if err := list.Scan(&c.name, &c.kind, &c.notNull); err != nil {
				t.Fatal(err)
			}
			if c.name != "id" || !table.Identity {
				columns = append(columns, c)
			}
		}
		if err := list.Err(); err != nil {
			t.Fatal(err)
		}
		n := rows
		if table.Name == "audit_head" {
			continue // one row, which is there
		}
		if err := db.Update(ctx, func(tx *reldb.Tx) error {
			for range n {
				var names []string
				var args []any
				for _, c := range columns {
					names = append(names, c.name)
					args = append(args, value(table.Name, c.name, c.kind, c.notNull))
				}
				// A pair that is there already is left out.
				q := "INSERT OR IGNORE INTO " + table.Name + " (" + strings.Join(names, ", ") + ") VALUES (" + reldb.Marks(len(names)) + ")"
				if _, err := tx.Exec(ctx, q, args...); err != nil {
					return fmt.Errorf("%s: %w", table.Name, err)
				}
			}
			if !table.Identity {
				return nil
			}
			// The last rows are gone again: their ids must not come back.
			if table.Name == "error_log" || table.Name == "recovery_codes" {
				if _, err := tx.Exec(ctx, "DELETE FROM "+table.Name+" WHERE id > ?", n/2); err != nil {
					return err
				}
			}
			found, err := tx.Query(ctx, "SELECT id FROM "+table.Name)
			if err != nil {
				return err
			}
			defer found.Close()
			for found.Next() {
				var id int64
				if err := found.Scan(&id); err != nil {
					return err
				}
				ids[table.Name] = append(ids[table.Name], id)
			}
			return found.Err()
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// randomText has at most n characters, with those that databases and their clients treat in their own way.
func randomText(r *rand.Rand, n int) string {
	letters := []rune("abcXYZ 0189'\"\\`;%_?$@-/*\t\n\rÄßéİıſ中文😀🏴\u200b\u0301\ufeff\x01\x7f")
	out := make([]rune, r.IntN(n+1))
	if r.IntN(10) == 0 {
		out = make([]rune, n)
	}
	for i := range out {
		out[i] = letters[r.IntN(len(letters))]
	}
	return string(out) + "" // also empty, and with spaces at its end
}

// dump is every row of every table as text, sorted: written apart from the copy's own reading, to hold it against.
func dump(t *testing.T, db *reldb.DB) []string {
	t.Helper()
	var out []string
	for _, table := range schema.Tables() {
		rows, err := db.Query(t.Context(), "SELECT * FROM "+table.Name+" WHERE 1 = ?", 1)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			var parts []string
			for i, v := range values {
				if raw, ok := v.([]byte); ok {
					v = string(raw)
				}
				parts = append(parts, fmt.Sprintf("%s=%T:%#v", columns[i], v, v))
			}
			slices.Sort(parts)
			out = append(out, table.Name+": "+strings.Join(parts, " "))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

func sameDump(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	t.Errorf("%s: %d rows, want %d", what, len(got), len(want))
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("first difference:\n%.3000s\nwant\n%.3000s", got[i], want[i])
		}
	}
}

// TestRoundTrip: from SQLite to PostgreSQL to MariaDB to SQLite, everything is as it was, and the counters of ids go on where they stood.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	ctx := t.Context()
	first := migrated(t, reldb.SQLite)
	fillRandom(t, first, rand.New(rand.NewPCG(seed, 1)), 60)
	want := dump(t, first)
	chain := []*reldb.DB{first}
	for _, d := range []reldb.Dialect{reldb.Postgres, reldb.MySQL, reldb.SQLite} {
		from, to := chain[len(chain)-1], open(t, d)
		var last Progress
		report, err := Copy(ctx, from, to, Options{PageRows: 17, Progress: func(p Progress) {
			if p.Done < last.Done {
				t.Errorf("progress went back from %+v to %+v", last, p)
			}
			last = p
		}})
		if err != nil {
			t.Fatalf("%s to %s: %v", from.Dialect(), d, err)
		}
		if last.Done != last.Total || report.Rows != int64(len(want)) || last.Total != 3*report.Rows {
			t.Errorf("to %s: progress ended at %+v; report of %d rows, want %d", d, last, report.Rows, len(want))
		}
		sameDump(t, string(from.Dialect())+" to "+string(d), dump(t, to), want)
		if err := schema.NewRelational(to).Check(ctx); err != nil {
			t.Error(err)
		}
		// A second copy finds a database with data.
		if _, err := Copy(ctx, first, to, Options{StartOver: true}); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("copy over a whole database: %v", err)
		}
		chain = append(chain, to)
	}
	for _, table := range schema.Tables() {
		if !table.Identity {
			continue
		}
		wantNext, err := nextID(ctx, first, table.Name)
		if err != nil {
			t.Fatal(err)
		}
		if wantNext != 61 {
			t.Errorf("%s: the source counts on at %d, want 61", table.Name, wantNext)
		}
	}
	for _, db := range chain {
		if err := db.Update(ctx, func(tx *reldb.Tx) error {
			for query, args := range map[string][]any{
				`INSERT INTO companies (name, name_key, created_at, revision) VALUES (?, ?, 1, 1)`:                                                         {"New", "new"},
				`INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)`:                                                                            {1, "x"},
				`INSERT INTO error_log (first_at, last_at, occurrences, level, message, fingerprint, attributes, stack) VALUES (1, 1, 1, 8, ?, ?, '', '')`: {"m", "f"},
			} {
				id, err := tx.Insert(ctx, query, args...)
				if err != nil {
					return err
				}
				if id != 61 {
					t.Errorf("%s: %s gave id %d, want 61: one that was used before, or a gap", db.Dialect(), query, id)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCutOff ends a copy again and again; it goes on each time, and ends with everything there once.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for _, d := range reldbtest.Dialects() {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(rand.Uint64(), 2))
			from := migrated(t, reldb.SQLite)
			fillRandom(t, from, r, 40)
			url := reldbtest.New(t, d)
			cuts := 0
			for {
				to := reldbtest.Open(t, url)
				ctx, cancel := context.WithCancel(t.Context())
				left := 1 + r.IntN(40)
				_, err := Copy(ctx, from, to, Options{PageRows: 7, Progress: func(p Progress) {
					if left--; left == 0 && p.Phase == Copying {
						cancel()
					}
				}})
				cancel()
				if err == nil {
					sameDump(t, string(d), dump(t, to), dump(t, from))
					break
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				cuts++
			}
			if cuts == 0 {
				t.Error("the copy was never cut off: the test shows nothing")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	from := migrated(t, reldb.SQLite)
	fillRandom(t, from, rand.New(rand.NewPCG(1, 1)), 20)
	half := func(t *testing.T) *reldb.DB {
		t.Helper()
		to := open(t, reldb.SQLite)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if _, err := Copy(ctx, from, to, Options{PageRows: 5, Progress: func(p Progress) {
			if p.Table == "users" {
				cancel()
			}
		}}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return to
	}

	if _, err := Copy(ctx, from, from, Options{}); err == nil || !strings.Contains(err.Error(), "the same database") {
		t.Errorf("onto itself: %v", err)
	}
	if _, err := Copy(ctx, open(t, reldb.SQLite), open(t, reldb.SQLite), Options{}); !errors.Is(err, schema.ErrPending) {
		t.Errorf("from a database without tables: %v", err)
	}
	used := migrated(t, reldb.SQLite)
	fillRandom(t, used, rand.New(rand.NewPCG(2, 2)), 3)
	before := dump(t, used)
	for _, startOver := range []bool{false, true} {
		if _, err := Copy(ctx, from, used, Options{StartOver: startOver}); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("onto a database in use: %v", err)
		}
	}
	sameDump(t, "a refused target", dump(t, used), before)

	to := half(t)
	if _, err := Copy(ctx, used, to, Options{}); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "--start-over") {
		t.Errorf("going on from another source: %v", err)
	}
	if _, err := Copy(ctx, used, to, Options{StartOver: true}); err != nil {
		t.Errorf("starting over: %v", err)
	}
	sameDump(t, "started over", dump(t, to), before)

	// What changed behind the copy's back is found.
	to = half(t)
	if err := from.Update(ctx, func(tx *reldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE companies SET max_session = 77 WHERE id = 1`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(ctx, from, to, Options{}); !errors.Is(err, ErrDiffer) || !strings.Contains(err.Error(), "table companies") {
		t.Errorf("a source that changed: %v", err)
	}
	if _, err := Copy(ctx, from, to, Options{StartOver: true}); err != nil {
		t.Error(err)
	}
	sameDump(t, "copied anew", dump(t, to), dump(t, from))
}

// TestSourceIsHeld: nobody writes to a SQLite source during a copy.
func TestSourceIsHeld(t *testing.T) {
	t.Parallel()
	url := reldbtest.New(t, reldb.SQLite)
	from := reldbtest.Open(t, url)
	if _, _, err := schema.NewRelational(from).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := reldbtest.Open(t, url)
	tried := false
	if _, err := Copy(t.Context(), from, open(t, reldb.SQLite), Options{Progress: func(Progress) {
		if tried {
			return
		}
		tried = true
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := other.Update(ctx, func(*reldb.Tx) error { return nil }); err == nil {
			t.Error("another process wrote to the source")
		}
	}}); err != nil {
		t.Fatal(err)
	}
	if !tried {
		t.Error("nothing was tried")
	}
}

// TestChecksum: equal sets have equal sums in any order, and any change of any value gives another.
func TestChecksum(t *testing.T) {
	t.Parallel()
	sum := func(columns []string, rows ...row) checksum {
		var s checksum
		for _, r := range rows {
			s.add(columns, r)
		}
		return s
	}
	ab := []string{"a", "b"}
	base := sum(ab, row{int64(1), "x"}, row{int64(2), "y"})
	if base != sum(ab, row{int64(2), "y"}, row{int64(1), "x"}) {
		t.Error("the order of the rows counts")
	}
	if base != sum([]string{"b", "a"}, row{"x", int64(1)}, row{"y", int64(2)}) {
		t.Error("the order of the columns counts")
	}
	for i, other := range []checksum{
		sum(ab, row{int64(1), "y"}, row{int64(2), "x"}),
		sum(ab, row{int64(1), "x"}),
		sum(ab, row{int64(1), "x"}, row{int64(2), "y"}, row{int64(2), "y"}),
		sum(ab, row{"1", "x"}, row{int64(2), "y"}),
		sum(ab, row{int64(1), nil}, row{int64(2), "y"}),
		sum(ab, row{int64(1), ""}, row{int64(2), "y"}),
		sum([]string{"a", "c"}, row{int64(1), "x"}, row{int64(2), "y"}),
	} {
		if other == base || other.String() == base.String() {
			t.Errorf("case %d has the same sum", i)
		}
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	for _, p := range []position{{}, {done: true}, {key: []any{int64(math.MaxInt64), int64(0)}}, {key: []any{"a'\"\x01ä😀"}, done: true}, {key: []any{""}}} {
		text, err := p.text()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsePosition(text)
		if err != nil || got.done != p.done || !slices.Equal(got.key, p.key) {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
	}
	for _, bad := range []string{"", "{", `{"key":[{"int":"x"}]}`, `{"key":[{"text":"unquoted"}]}`} {
		if _, err := parsePosition(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestTables holds schema.Tables against what the migrations make.
func TestTables(t *testing.T) {
	t.Parallel()
	db := migrated(t, reldb.SQLite)
	ctx := t.Context()
	var listed []string
	for _, table := range schema.Tables() {
		rows, err := db.Query(ctx, `SELECT "table" FROM pragma_foreign_key_list(?)`, table.Name)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var parent string
			if err := rows.Scan(&parent); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(listed, parent) {
				t.Errorf("%s names rows of %s, which comes later", table.Name, parent)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		listed = append(listed, table.Name)
		var key string
		if err := db.QueryRow(ctx, `SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk)`, table.Name).Scan(&key); err != nil || key != strings.Join(table.Key, ",") {
			t.Errorf("%s has the key %s, %v; listed is %v", table.Name, key, err, table.Key)
		}
		var identity, seeded bool
		if err := db.QueryRow(ctx, `SELECT sql LIKE '%AUTOINCREMENT%' FROM sqlite_master WHERE name = ?`, table.Name).Scan(&identity); err != nil || identity != table.Identity {
			t.Errorf("%s: counts its ids: %v, %v; listed is %v", table.Name, identity, err, table.Identity)
		}
		if err := db.QueryRow(ctx, `SELECT COUNT(*) > 0 FROM `+table.Name).Scan(&seeded); err != nil || seeded != table.Seeded {
			t.Errorf("%s: has rows after the migrations: %v, %v; listed is %v", table.Name, seeded, err, table.Seeded)
		}
	}
	rows, err := db.Query(ctx, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name <> 'schema_migrations'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(listed, name) {
			t.Errorf("table %s is not in schema.Tables: it would not be copied", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestLateChange: what changes in a server after its table was compared is found all the same.
func TestLateChange(t *testing.T) {
	t.Parallel()
	for _, dialect := range []reldb.Dialect{reldb.Postgres, reldb.MySQL} {
		for table, change := range map[string]string{
			"recovery_codes": `DELETE FROM recovery_codes WHERE id = (SELECT id FROM (SELECT MIN(id) AS id FROM recovery_codes) x)`,
			"revisions":      `UPDATE revisions SET revision = revision + 1`,
			"audit_head":     `UPDATE audit_head SET last_seq = last_seq + 1`,
		} {
			t.Run(string(dialect)+"/"+table, func(t *testing.T) {
				t.Parallel()
				ctx := t.Context()
				made, from, to := migrated(t, reldb.SQLite), open(t, dialect), open(t, reldb.SQLite)
				fillRandom(t, made, rand.New(rand.NewPCG(3, 3)), 3)
				if _, err := Copy(ctx, made, from, Options{}); err != nil {
					t.Fatal(err)
				}
				done := false
				_, err := Copy(ctx, from, to, Options{PageRows: 1000, Progress: func(p Progress) {
					if p.Table != "error_log" || p.Phase != Comparing || done {
						return
					}
					done = true
					if err := from.Update(ctx, func(tx *reldb.Tx) error {
						n, err := tx.Exec(ctx, change)
						if n == 0 {
							t.Error("nothing was changed: the test shows nothing")
						}
						return err
					}); err != nil {
						t.Error(err)
					}
				}})
				if !done || !errors.Is(err, ErrDiffer) || !strings.Contains(err.Error(), "table "+table) {
					t.Errorf("changed %v: %v", done, err)
				}
			})
		}
	}
}
