package reldb

import (
	"strconv"
	"strings"
)

// Dialect names a kind of database. Its text is the folder of its migrations too.
type Dialect string

// The dialects. MySQL is MariaDB as well.
const (
	SQLite    Dialect = "sqlite"
	Postgres  Dialect = "postgres"
	MySQL     Dialect = "mysql"
	SQLServer Dialect = "sqlserver"
)

// Supported are the dialects that this build can open, in the order in which docs name them.
func Supported() []Dialect { return []Dialect{SQLite, Postgres, MySQL, SQLServer} }

// Rebind turns a statement of the common subset into one of the dialect: the `?` placeholders and, for SQL Server, `LIMIT ?` or
// `LIMIT n`, which becomes OFFSET 0 ROWS FETCH NEXT … ROWS ONLY. Text in quotes and comments stays as it is.
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
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	limit := false // a LIMIT was turned into a FETCH, whose number comes next
	for i := 0; i < len(query); i++ {
		switch c := query[i]; {
		case c == '?':
			n++
			b.WriteString(mark)
			b.WriteString(strconv.Itoa(n))
			if limit {
				b.WriteString(fetchEnd)
				limit = false
			}
		case c == '\'' || c == '"':
			end := i + 1 + closing(query[i+1:], string(c))
			b.WriteString(query[i:end])
			i = end - 1
		case c == '-' && strings.HasPrefix(query[i:], "--"):
			end := i + closing(query[i:], "\n")
			b.WriteString(query[i:end])
			i = end - 1
		case isWord(c):
			end := i + 1
			for end < len(query) && isWord(query[end]) {
				end++
			}
			word := query[i:end]
			i = end - 1
			switch {
			case d == SQLServer && strings.EqualFold(word, "LIMIT"):
				b.WriteString(fetchBegin)
				limit = true
			case limit:
				b.WriteString(word)
				b.WriteString(fetchEnd)
				limit = false
			default:
				b.WriteString(word)
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

const (
	fetchBegin = "OFFSET 0 ROWS FETCH NEXT"
	fetchEnd   = " ROWS ONLY"
)

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// closing is the length of s up to and including mark, or all of s without one. A doubled quote ends one text and
// begins the next, which comes to the same.
func closing(s, mark string) int {
	if i := strings.Index(s, mark); i >= 0 {
		return i + len(mark)
	}
	return len(s)
}

// MaxMarks is the most values to put in one IN list or one INSERT of several rows: SQL Server takes 2,100 in a statement, and a
// statement may have others besides. Go through longer lists with slices.Chunk.
const MaxMarks = 1000

// Marks is n placeholders for an IN list: "?, ?, ?". It panics below 1, because an empty list is an error in most databases: the
// caller has nothing to ask for then.
func Marks(n int) string {
	if n < 1 {
		panic("BUG: a list without values in a statement")
	}
	return strings.Repeat("?, ", n-1) + "?"
}
