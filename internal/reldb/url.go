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
	Dialect Dialect
	Path    string   // of a SQLite file
	URL     *url.URL // of a server
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

// ParseURL reads a database address. Its errors never repeat the address, because it may hold a password.
func ParseURL(raw string) (Target, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok {
		return Target{}, errors.New("database address: want scheme://…, for instance sqlite:///var/lib/gatehouse/gatehouse.db or postgresql://user:password@host:5432/gatehouse")
	}
	// "postgresql+psycopg://" and the like: the part after + names another language's driver.
	base, _, _ := strings.Cut(strings.ToLower(scheme), "+")
	dialect, ok := schemes[base]
	if !ok {
		return Target{}, fmt.Errorf("database address: unknown scheme %q: want sqlite or postgresql", base)
	}
	if dialect == SQLite {
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
	u, err := url.Parse(base + "://" + rest)
	if err != nil {
		return Target{}, fmt.Errorf("database address: not a valid %s address (is a special character in the password not %%-escaped?)", base)
	}
	if dialect == Postgres {
		u.Scheme = "postgres"
		if strings.Trim(u.Path, "/") == "" {
			return Target{}, errors.New("database address: name the database: postgresql://user:password@host:5432/gatehouse")
		}
	}
	return Target{Dialect: dialect, URL: u}, nil
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
	u := url.URL{Scheme: "postgresql", Host: t.URL.Host, Path: t.URL.Path}
	if t.Dialect != Postgres {
		u.Scheme = string(t.Dialect)
	}
	if t.URL.User != nil {
		u.User = url.User(t.URL.User.Username())
	}
	return u.String()
}
