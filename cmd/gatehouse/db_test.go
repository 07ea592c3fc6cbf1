package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema/dbcopy"
)

// TestDBCopy moves a data directory's database into every kind of database, and works on there.
func TestDBCopy(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	old := console{t, []string{"--data", dir}, nil}
	old.ok(nil, "company", "create", "Acme", "--timezone", "Europe/London")
	before := old.ok(nil, "company", "list", "--json")
	reldbtest.Each(t, func(t *testing.T, target string) {
		file := filepath.Join(t.TempDir(), "address")
		if err := os.WriteFile(file, []byte(target+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		sh := console{t, []string{"--data", dir}, nil}
		var report dbcopy.Report
		sh.ok(&report, "db", "copy", "--to", "@"+file, "--json")
		if report.Rows == 0 || len(report.Tables) < 10 {
			t.Errorf("%+v", report)
		}
		moved := console{t, []string{"--data", dir}, []string{"DATABASE_URL=" + target}}
		for _, side := range []console{sh, moved} {
			var list []authsvc.AuditRecord
			side.ok(&list, "audit", "list", "--action", "db.copy", "--json")
			if len(list) == 0 || !strings.HasPrefix(list[0].Detail, "to ") || side.ok(nil, "audit", "verify") == "" {
				t.Errorf("the copy is not in the trail: %+v", list)
			}
		}
		if after := moved.ok(nil, "company", "list", "--json"); after != before {
			t.Errorf("%s, want %s", after, before)
		}
		moved.ok(nil, "company", "create", "Beta")
		sh.fails(exitFailed, []string{"holds data already"}, "db", "copy", "--to", target)
		// And back into a new file, as a table for people.
		back := reldb.SQLiteURL(filepath.Join(t.TempDir(), "back.db"))
		if text := moved.ok(nil, "db", "copy", "--to", back); !strings.Contains(text, "companies") || !strings.Contains(text, "found equal") {
			t.Errorf("%s", text)
		}
	})
	old.fails(exitUsage, []string{`"to" not set`}, "db", "copy")
	old.fails(exitUsage, []string{"--to: database address", "unknown scheme"}, "db", "copy", "--to", "oracle://u:hunter2@h/d")
	old.fails(exitUsage, []string{"--to: open"}, "db", "copy", "--to", "@"+filepath.Join(dir, "nosuch"))
	old.fails(exitFailed, []string{"--from", "no such file"}, "db", "copy", "--from", "sqlite:///nosuch/x.db", "--to", reldb.SQLiteURL(filepath.Join(dir, "new.db")))
	old.fails(exitFailed, []string{"the same database"}, "db", "copy", "--to", reldb.SQLiteURL(filepath.Join(dir, fileDatabase)))
}
