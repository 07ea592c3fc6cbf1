package reldb

import (
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Dialect names a kind of database. Its text is the folder of its migrations too.
type Dialect string

// The dialects that addresses may name. Open tells which of them this build can use.
const (
	SQLite    Dialect = "sqlite"
	Postgres  Dialect = "postgres"
	MySQL     Dialect = "mysql"
	SQLServer Dialect = "sqlserver"
)

// Supported are the dialects that this build can open, in the order in which docs name them.
func Supported() []Dialect { return []Dialect{SQLite, Postgres} }

// Rebind turns the `?` placeholders of a statement into those of the dialect. Text in quotes and comments stays as it is.
func (d Dialect) Rebind(query string) string {
	var mark string
	switch d {
	case Postgres:
		mark = "$"
	case SQLServer:
		mark = "@p"
	default:
		return query
	}
	if !strings.Contains(query, "?") {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for i := 0; i < len(query); i++ {
		switch c := query[i]; {
		case c == '?':
			n++
			b.WriteString(mark)
			b.WriteString(strconv.Itoa(n))
		case c == '\'' || c == '"':
			end := i + 1 + closing(query[i+1:], string(c))
			b.WriteString(query[i:end])
			i = end - 1
		case c == '-' && strings.HasPrefix(query[i:], "--"):
			end := i + closing(query[i:], "\n")
			b.WriteString(query[i:end])
			i = end - 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// closing is the length of s up to and including mark, or all of s without one. A doubled quote ends one text and
// begins the next, which comes to the same.
func closing(s, mark string) int {
	if i := strings.Index(s, mark); i >= 0 {
		return i + len(mark)
	}
	return len(s)
}

func (d Dialect) insertReturning() bool { return d == SQLite || d == Postgres }

// PostgreSQL's class 23 codes of the two rules that callers tell apart.
const (
	pgUniqueViolation     = "23505"
	pgForeignKeyViolation = "23503"
)

// IsUnique tells whether err is a broken UNIQUE rule: the row is there already.
func IsUnique(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgUniqueViolation
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}

// IsForeignKey tells whether err is a row that names another which is not there, or the removal of one still named.
func IsForeignKey(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgForeignKeyViolation
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
	}
	return false
}
