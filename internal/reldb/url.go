package reldb

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// Target is a parsed database address.
type Target struct {
	Dialect  Dialect
	Path     string   // of a SQLite file
	URL      *url.URL // of a server
	Database string   // its name on the server

	instance string // of SQL Server, "" for the default one
}

// schemes maps what operators write in DATABASE_URL, with the names that other tools use for the same database.
var schemes = map[string]Dialect{
	"sqlite":     SQLite,
	"sqlite3":    SQLite,
	"postgresql": Postgres,
	"postgres":   Postgres,
	"mysql":      MySQL,
	"mariadb":    MySQL,
	"sqlserver":  SQLServer,
	"mssql":      SQLServer,
}

// examples are shown where an address lacks something.
var examples = map[Dialect]string{ //nolint:gosec // patterns to follow, with no password in them
	SQLite:    "sqlite:///var/lib/gatehouse/gatehouse.db",
	Postgres:  "postgresql://user:password@host:5432/gatehouse",
	MySQL:     "mysql://user:password@host:3306/gatehouse",
	SQLServer: "sqlserver://user:password@host:1433/gatehouse",
}

// ParseURL reads a database address, as this and other programs write it:
//
//	sqlite:///path/to/file.db
//	postgresql://user:password@host:5432/database?sslmode=verify-full    also postgres:// and postgresql+psycopg2://
//	mysql://user:password@host:3306/database?tls=true                    also mariadb:// and mysql+pymysql://
//	sqlserver://user:password@host:1433/database?encrypt=true            also mssql+pyodbc://; with ?database=… the path is the instance
//
// Its errors never repeat the address, because it may hold a password.
func ParseURL(raw string) (Target, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok {
		return Target{}, fmt.Errorf("database address: want scheme://…, for instance %s or %s", examples[SQLite], examples[Postgres])
	}
	// "postgresql+psycopg://" and the like: the part after + names another language's driver.
	base, _, _ := strings.Cut(strings.ToLower(scheme), "+")
	dialect, ok := schemes[base]
	if !ok {
		return Target{}, fmt.Errorf("database address: unknown scheme %q: want sqlite, postgresql, mysql or sqlserver", base)
	}
	if dialect == SQLite {
		return parseSQLite(rest)
	}
	u, err := url.Parse(base + "://" + rest)
	if err != nil {
		return Target{}, fmt.Errorf("database address: not a valid %s address (is a special character in the password not %%-escaped?)", base)
	}
	t := Target{Dialect: dialect, URL: u, Database: strings.Trim(u.Path, "/")}
	switch dialect {
	case Postgres:
		u.Scheme = "postgres"
	case SQLServer:
		for name, values := range u.Query() {
			if strings.EqualFold(name, "database") {
				t.instance, t.Database = t.Database, values[0]
			}
		}
	}
	if t.Database == "" {
		return Target{}, fmt.Errorf("database address: name the database: %s", examples[dialect])
	}
	return t, nil
}

func parseSQLite(rest string) (Target, error) {
	// sqlite:///relative or sqlite:////absolute in some tools, sqlite:///absolute in others. Here what
	// follows "sqlite://" is the path as it stands, so three slashes are an absolute path.
	path, _, _ := strings.Cut(rest, "?")
	unescaped, err := url.PathUnescape(path)
	if err != nil {
		return Target{}, errors.New("database address: the path has a broken %-escape")
	}
	if unescaped == "" || strings.HasSuffix(unescaped, "/") || strings.ContainsRune(unescaped, 0) {
		return Target{}, errors.New("database address: sqlite:// needs the path of a file")
	}
	return Target{Dialect: SQLite, Path: filepath.Clean(unescaped)}, nil
}

// SQLiteURL is the address of the SQLite file at path.
func SQLiteURL(path string) string {
	return "sqlite://" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
}

// Name is the target without its password and parameters.
func (t Target) Name() string {
	if t.Dialect == SQLite {
		return "sqlite://" + t.Path
	}
	u := url.URL{Scheme: string(t.Dialect), Host: t.URL.Host, Path: "/" + t.Database}
	if t.Dialect == Postgres {
		u.Scheme, u.Path = "postgresql", t.URL.Path
	}
	if t.URL.User != nil {
		u.User = url.User(t.URL.User.Username())
	}
	return u.String()
}
