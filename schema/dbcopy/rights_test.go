package dbcopy

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema"
)

// mysqlRights are those that docs/databases.md says to give.
const mysqlRights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES"

// TestMySQLRights: with the documented rights and no others, everything works: migrations both ways, locks, and a copy in both directions.
func TestMySQLRights(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/databases.md")
	if err != nil || !strings.Contains(string(doc), "GRANT "+mysqlRights+" ON gatehouse.*") {
		t.Fatalf("docs/databases.md does not name these rights, %v", err)
	}
	ctx := t.Context()
	address := reldbtest.MySQL(t)
	admin := reldbtest.Open(t, address)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.Trim(u.Path, "/")
	name := strings.Replace(database, "gatehouse_test_", "gh_", 1)
	const password = "a'b\\c d@%" // not a secret: the user lives as long as the test
	for _, statement := range []string{
		fmt.Sprintf(`CREATE USER %s@'%%' IDENTIFIED BY '%s'`, name, strings.ReplaceAll(password, "'", "''")),
		fmt.Sprintf(`GRANT %s ON %s.* TO %s@'%%'`, mysqlRights, database, name),
	} {
		if _, err := admin.Writer().ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := admin.Writer().Exec(fmt.Sprintf(`DROP USER %s@'%%'`, name)); err != nil {
			t.Error(err)
		}
	})
	u.User = url.UserPassword(name, password)
	db := reldbtest.Open(t, u.String())
	r := schema.NewRelational(db)
	if _, _, err := r.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Down(ctx, 100); err != nil {
		t.Fatal(err)
	}
	first, last := migrated(t, reldb.SQLite), open(t, reldb.SQLite)
	if _, err := Copy(ctx, first, db, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(ctx, db, last, Options{}); err != nil {
		t.Fatal(err)
	}
	sameDump(t, "there and back", dump(t, last), dump(t, first))
}
