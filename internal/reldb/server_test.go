package reldb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/microsoft/go-mssqldb/msdsn"

	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
)

// endOthers ends every other connection to the database, as a restart of the server or an administrator would.
var endOthers = map[reldb.Dialect]func(ctx context.Context, db *reldb.DB) error{
	reldb.Postgres: func(ctx context.Context, db *reldb.DB) error {
		_, err := db.Writer().ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		return err
	},
	reldb.MySQL: func(ctx context.Context, db *reldb.DB) error {
		rows, err := db.Query(ctx, `SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()`)
		if err != nil {
			return err
		}
		defer rows.Close()
		var ids []int64
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		for _, id := range ids {
			// One that has ended by itself meanwhile is no concern.
			if _, err := db.Writer().ExecContext(ctx, fmt.Sprintf(`KILL %d`, id)); err != nil && !strings.Contains(err.Error(), "Unknown thread") {
				return err
			}
		}
		return rows.Err()
	},
}

// TestWithLockLost: when the connection that holds a lock ends, whoever worked under it is told, and another can have the lock.
func TestWithLockLost(t *testing.T) {
	t.Parallel()
	for d, end := range endOthers {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			url := reldbtest.New(t, d)
			holder, other := reldbtest.Open(t, url), reldbtest.Open(t, url)
			held := make(chan struct{})
			ended := make(chan error, 1)
			go func() {
				ended <- holder.WithLock(t.Context(), "work", func(ctx context.Context) error {
					close(held)
					<-ctx.Done()
					return ctx.Err()
				})
			}()
			<-held
			if err := end(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			// The one who lost it learns of it by the context, and the error says why.
			if err := <-ended; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the connection that held the lock work is gone") {
				t.Errorf("%v", err)
			}
			if err := other.WithLock(t.Context(), "work", func(context.Context) error { return nil }); err != nil {
				t.Errorf("the lock that was lost cannot be had: %v", err)
			}
			// The pool has recovered.
			if err := holder.WithLock(t.Context(), "work", func(context.Context) error { return nil }); err != nil {
				t.Errorf("after the loss: %v", err)
			}
		})
	}
}

// TestLockNames: locks with long names, and those of two databases of one server, do not get into each other's way.
func TestLockNames(t *testing.T) {
	t.Parallel()
	for _, d := range reldbtest.Dialects() {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			one, two := reldbtest.Open(t, reldbtest.New(t, d)), reldbtest.Open(t, reldbtest.New(t, d))
			name := strings.Repeat("long name ", 10)
			if err := one.WithLock(t.Context(), name+"1", func(ctx context.Context) error {
				return one.WithLock(ctx, name+"2", func(ctx context.Context) error {
					return two.WithLock(ctx, name+"1", func(context.Context) error { return nil })
				})
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUpdateConflict has two transactions wait for each other. The database ends one of them; Update runs it again, and both are done once.
func TestUpdateConflict(t *testing.T) {
	t.Parallel()
	for _, d := range []reldb.Dialect{reldb.Postgres, reldb.MySQL} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			db := reldbtest.Open(t, reldbtest.New(t, d))
			if err := db.Update(ctx, func(tx *reldb.Tx) error {
				for _, q := range []string{`CREATE TABLE n (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)`, `INSERT INTO n (id, n) VALUES (1, 0), (2, 0)`} {
					if _, err := tx.Exec(ctx, q); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			var first sync.WaitGroup // both hold one row before either asks for the other
			first.Add(2)
			runs := make([]int, 2)
			var wg sync.WaitGroup
			for i, order := range [][]int{{1, 2}, {2, 1}} {
				wg.Go(func() {
					if err := db.Update(ctx, func(tx *reldb.Tx) error {
						runs[i]++
						for j, id := range order {
							if _, err := tx.Exec(ctx, `UPDATE n SET n = n + 1 WHERE id = ?`, id); err != nil {
								return fmt.Errorf("wrapped: %w", err)
							}
							if j == 0 && runs[i] == 1 {
								first.Done()
								first.Wait()
							}
						}
						return nil
					}); err != nil {
						t.Errorf("transaction %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			if runs[0]+runs[1] < 3 {
				t.Errorf("runs %v: there was no conflict, and the test shows nothing", runs)
			}
			var sum int
			if err := db.QueryRow(ctx, `SELECT SUM(n) FROM n`).Scan(&sum); err != nil || sum != 4 {
				t.Errorf("%d changes, %v; want 4", sum, err)
			}
		})
	}
}

// TestCommonSubset runs what the package comment promises to mean the same everywhere.
func TestCommonSubset(t *testing.T) {
	t.Parallel()
	create := map[reldb.Dialect]string{
		reldb.SQLite:   `CREATE TABLE s (id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(40) NOT NULL, on_off SMALLINT NOT NULL)`,
		reldb.Postgres: `CREATE TABLE s (id INTEGER GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name VARCHAR(40) NOT NULL, on_off SMALLINT NOT NULL)`,
		reldb.MySQL:    `CREATE TABLE s (id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL, on_off SMALLINT NOT NULL) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
	}
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		db := reldbtest.Open(t, databaseURL)
		exec := func(q string, args ...any) int64 {
			t.Helper()
			var n int64
			if err := db.Update(ctx, func(tx *reldb.Tx) (err error) { n, err = tx.Exec(ctx, q, args...); return err }); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			return n
		}
		exec(create[db.Dialect()])
		names := []string{"a", "A", "ä", "a%b", "a_b", `a\b`, "it's", `"q"`, "😀"}
		for i, name := range names {
			if err := db.Update(ctx, func(tx *reldb.Tx) error {
				id, err := tx.Insert(ctx, `INSERT INTO s (name, on_off) VALUES (?, ?)`, name, i%2)
				if id != int64(i)+1 {
					t.Errorf("%q: id %d", name, id)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		// Rows that had the value before count as matched.
		if n := exec(`UPDATE s SET on_off = ?`, 1); n != int64(len(names)) {
			t.Errorf("%d rows matched", n)
		}
		if n := exec(`UPDATE s SET on_off = ?`, 1); n != int64(len(names)) {
			t.Errorf("%d rows matched when they had the value already", n)
		}
		list := func(q string, args ...any) []string {
			t.Helper()
			rows, err := db.Query(ctx, q, args...)
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			defer rows.Close()
			var out []string
			for rows.Next() {
				var s string
				if err := rows.Scan(&s); err != nil {
					t.Fatal(err)
				}
				out = append(out, s)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return out
		}
		for _, c := range []struct {
			q    string
			args []any
			want []string
		}{
			{`SELECT name FROM s WHERE name = ?`, []any{"a"}, []string{"a"}},
			{`SELECT name FROM s ORDER BY id LIMIT ?`, []any{2}, []string{"a", "A"}},
			{`SELECT name FROM s ORDER BY id LIMIT 2`, nil, []string{"a", "A"}},
			{`SELECT name FROM s WHERE id IN (` + reldb.Marks(3) + `) ORDER BY id`, []any{1, 3, 99}, []string{"a", "ä"}},
			{`SELECT name FROM s WHERE name LIKE ? ESCAPE '!' ORDER BY id`, []any{"a!%%"}, []string{"a%b"}},
			{`SELECT name FROM s WHERE name LIKE ? ESCAPE '!' ORDER BY id`, []any{"a!_%"}, []string{"a_b"}},
			{`SELECT name FROM s WHERE name = 'a\b'`, nil, []string{`a\b`}},
			{`SELECT name FROM s WHERE name = 'it''s'`, nil, []string{"it's"}},
			{`SELECT "name" FROM s WHERE name = '"q"'`, nil, []string{`"q"`}},
			{`SELECT name FROM s WHERE name = ?`, []any{"😀"}, []string{"😀"}},
			{`SELECT name FROM s WHERE on_off = 1 AND id < 3 ORDER BY name`, nil, []string{"A", "a"}},
		} {
			if db.Dialect() == reldb.Postgres && strings.Contains(c.q, "ORDER BY name") {
				continue // in the order that the database was made with
			}
			if got := list(c.q, c.args...); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.q, got, c.want)
			}
		}
		if n := exec(`DELETE FROM s WHERE id IN (SELECT id FROM (SELECT id FROM s WHERE on_off = 1 ORDER BY id LIMIT ?) x)`, 4); n != 4 {
			t.Errorf("%d rows deleted, want 4", n)
		}
		err := db.Update(ctx, func(tx *reldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO s (name, on_off) VALUES (?, 0)`, strings.Repeat("x", 41))
			return err
		})
		if db.Dialect() != reldb.SQLite && err == nil {
			t.Error("a text that is too long was cut")
		}
	})
}

func TestMarks(t *testing.T) {
	t.Parallel()
	if got := reldb.Marks(1) + "|" + reldb.Marks(3); got != "?|?, ?, ?" {
		t.Error(got)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic for an empty list")
		}
	}()
	reldb.Marks(0)
}

func TestMySQLVersion(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"8.0.16": true, "8.4.3-0ubuntu1": true, "9.1.0": true, "10.6.12-MariaDB-log": true, "11.4.2-MariaDB": true, "5.5.5-10.11.6-MariaDB-0+deb12u1": true,
		"8.0.15": false, "5.7.44": false, "10.5.29-MariaDB": false, "5.5.5-10.3.2-MariaDB": false, "": false, "x": false,
	} {
		if err := reldb.CheckMySQLVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		} else if err != nil && !strings.Contains(err.Error(), "or newer") {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestMySQLConfig(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"mysql://u:p%40ss@h/d":                                "tcp h:3306 u p@ss d preferred",
		"mariadb://u@[::1]:3307/d?tls=true":                   "tcp [::1]:3307 u  d true",
		"mysql+pymysql://u:p@h/d?charset=utf8mb4":             "tcp h:3306 u p d preferred",
		"mysql://u:p@h/d?ssl-mode=REQUIRED":                   "tcp h:3306 u p d skip-verify",
		"mysql://u:p@h/d?tls=false&connect_timeout=3":         "tcp h:3306 u p d false",
		"mysql://u@localhost/d?unix_socket=/run/mysqld.sock":  "unix /run/mysqld.sock u  d false",
		"mysql+mysqldb:///d":                                  "tcp 127.0.0.1:3306   d preferred",
		"mysql://u:p@h/d?ssl_verify_cert=true&autocommit=yes": "tcp h:3306 u p d true",
	} {
		cfg, err := reldb.MySQLConfig(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := strings.Join([]string{cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName, cfg.TLSConfig}, " "); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
		if !cfg.ClientFoundRows || cfg.MultiStatements || cfg.InterpolateParams || cfg.ParseTime || cfg.Collation != "utf8mb4_bin" {
			t.Errorf("%s: %+v", in, cfg)
		}
		if _, err := mysql.NewConnector(cfg); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	for in, want := range map[string]string{
		"mysql://u:hunter2@h/d?multiStatements=true": `no parameter "multiStatements"`,
		"mysql://u:hunter2@h/d?tls=maybe":            "tls must be",
		"mysql://u:hunter2@h/d?connect_timeout=soon": "number of seconds",
		"mysql://u:hunter2@h/d?ssl_ca=/nosuch.pem":   "no such file",
		"mysql://u:hunter2@h/d?ssl_ca=" + ca:         "holds no certificate",
	} {
		_, err := reldb.MySQLConfig(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// TestSQLServerURL holds the driver's reading of the addresses against what they mean. No server is needed for that.
func TestSQLServerURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"sqlserver://u:p%40ss@h:1434/d?encrypt=true":                                                         "h  1434 u p@ss d 1 true",
		"sqlserver://u:p@h/inst?database=d&encrypt=strict":                                                   "h inst 0 u p d 4 true",
		"mssql+pyodbc://u:p@h/d?driver=ODBC+Driver+18+for+SQL+Server&Encrypt=yes&TrustServerCertificate=yes": "h  0 u p d 1 false",
		"mssql+pyodbc://u:p@h/d?driver=ODBC+Driver+17+for+SQL+Server&TrustServerCertificate=no":              "h  0 u p d 1 true",
	} {
		address, err := reldb.SQLServerURL(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		cfg, err := msdsn.Parse(address)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		verified := cfg.TLSConfig != nil && !cfg.TLSConfig.InsecureSkipVerify
		got := fmt.Sprintf("%s %s %d %s %s %s %d %v", cfg.Host, cfg.Instance, cfg.Port, cfg.User, cfg.Password, cfg.Database, cfg.Encryption, verified)
		if got != want || cfg.AppName != "gatehouse" {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	if address, err := reldb.SQLServerURL("sqlserver://u:p@h/d"); err != nil || !strings.Contains(address, "encrypt=true") {
		t.Errorf("not encrypted: %s, %v", address, err)
	}
	if _, err := reldb.SQLServerURL("mssql+pyodbc://u:hunter2@h/d?odbc_connect=DRIVER"); err == nil || !strings.Contains(err.Error(), "odbc_connect") {
		t.Errorf("%v", err)
	}
}

// TestPasswordNotTold: a server that refuses, or is not there, does not bring the password into the error.
func TestPasswordNotTold(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"postgresql://postgres:hunter2@127.0.0.1:1/d", "mysql://root:hunter2@127.0.0.1:1/d", "sqlserver://sa:hunter2@127.0.0.1:1/d",
		"mysql://nosuch:hunter2@127.0.0.1:3306/d", "postgresql://nosuch:hunter2@127.0.0.1:5432/d",
		"sqlserver://sa:hunter2@h/d?encrypt=maybe", "postgresql://u:hunter2@h/d?sslmode=maybe",
	} {
		_, err := reldb.Open(t.Context(), in)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// TestProtected: what is not on this machine is protected only by a certificate that is checked.
func TestProtected(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"sqlite:///tmp/x.db":                                           "",
		"postgresql://u@localhost/d":                                   "",
		"postgresql://u@[::1]:5432/d?sslmode=prefer":                   "",
		"postgresql:///d?host=/run/postgresql":                         "",
		"postgresql://u@db/d":                                          "sslmode=verify-full",
		"postgresql://u@db/d?sslmode=require":                          "sslmode=verify-full",
		"postgresql://u@db/d?sslmode=verify-full":                      "",
		"postgresql://u@db/d?sslmode=verify-ca":                        "",
		"postgresql://u@localhost,db/d":                                "sslmode=verify-full",
		"mysql://u@127.0.0.1/d":                                        "",
		"mysql://u@localhost/d?unix_socket=/x.sock":                    "",
		"mysql://u@db/d":                                               "tls=true",
		"mysql://u@db/d?ssl-mode=REQUIRED":                             "tls=true",
		"mysql://u@db/d?ssl-mode=VERIFY_IDENTITY":                      "",
		"sqlserver://u@db/d":                                           "encrypt=true&TrustServerCertificate=false",
		"sqlserver://u@db/d?encrypt=no":                                "encrypt=true&TrustServerCertificate=false",
		"sqlserver://u@localhost/d":                                    "",
		"sqlserver://u@db/d?encrypt=true&TrustServerCertificate=false": "",
		"sqlserver://u@db/d?encrypt=strict":                            "",
	} {
		target, err := reldb.ParseURL(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if ok, parameters := target.Protected(); ok != (want == "") || !ok && parameters != want {
			t.Errorf("%s: protected: %v, parameters %q", address, ok, parameters)
		}
	}
}
