package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/golang-migrate/migrate/v4/source"

	"gatehouse/internal/reldb"
)

// column is what a migration file says of a column, in words that are the same for every dialect.
type column struct {
	kind     string // id, int or text
	size     int    // of a text, in characters as the dialect counts them; 0: without an end
	null     bool
	fallback string // DEFAULT
}

// tables is what a dialect's files make, read from their text: for the dialect that cannot run here as for the others.
type tables struct {
	columns map[string]column // by table.column
	indexes []string          // "table unique? (columns)", sorted
	foreign []string          // "table (columns) REFERENCES …", sorted
	carried map[string]int    // index → how many of its columns are carried behind the key: SQL Server's INCLUDE
}

var (
	createsTable = regexp.MustCompile(`(?s)^CREATE TABLE (\w+) \((.*)\)[^)]*$`)
	alterAdd     = regexp.MustCompile(`(?s)^ALTER TABLE (\w+) ADD (.*)$`)
	createIndex  = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX \w+ ON (\w+) (\([^)]*)\)(?: INCLUDE \(([^)]*)\))?$`)
	constraint   = regexp.MustCompile(`^CONSTRAINT \w+ (PRIMARY KEY|UNIQUE|FOREIGN KEY|CHECK) ?(\(.*)$`)
	inlineIndex  = regexp.MustCompile(`^INDEX \w+ (\([^)]*\))$`)
	columnLine   = regexp.MustCompile(`^(?:COLUMN )?(\w+) +(\w+)(?: ?\((\w+)\))?(.*)$`)
	defaultText  = regexp.MustCompile(`DEFAULT ('[^']*'|\d+)`)
	sqlComments  = regexp.MustCompile(`--[^\n]*`)
)

func readTables(t *testing.T, d reldb.Dialect) tables {
	t.Helper()
	out := tables{columns: map[string]column{}, carried: map[string]int{}}
	versions, err := relationalVersions(relationalFiles, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		text, err := migrationText(d, v.number, source.Up)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range statements(text) {
			statement = strings.Join(strings.Fields(sqlComments.ReplaceAllString(statement, "")), " ")
			switch {
			case strings.HasPrefix(statement, "INSERT "), strings.HasPrefix(statement, "UPDATE "):
			case createsTable.MatchString(statement):
				m := createsTable.FindStringSubmatch(statement)
				out.parts(t, m[1], m[2])
			case alterAdd.MatchString(statement):
				m := alterAdd.FindStringSubmatch(statement)
				out.parts(t, m[1], strings.ReplaceAll(m[2], ", ADD COLUMN ", ", "))
			case createIndex.MatchString(statement):
				m := createIndex.FindStringSubmatch(statement)
				index := fmt.Sprintf("%s %s%s", m[2], m[1], m[3])
				if m[4] != "" {
					index += ", " + m[4]
				}
				index += ")"
				out.indexes = append(out.indexes, index)
				if m[4] != "" {
					out.carried[index] = strings.Count(m[4], ",") + 1
				}
			default:
				t.Errorf("%s: not understood: %s", d, statement)
			}
		}
	}
	slices.Sort(out.indexes)
	slices.Sort(out.foreign)
	return out
}

// parts reads the columns and constraints between the parentheses of a CREATE TABLE.
func (out *tables) parts(t *testing.T, table, list string) {
	t.Helper()
	depth, begin := 0, 0
	var parts []string
	for i, c := range list {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, list[begin:i])
			begin = i + 1
		}
	}
	for _, part := range append(parts, list[begin:]) {
		part = strings.TrimSpace(part)
		if m := constraint.FindStringSubmatch(part); m != nil {
			switch m[1] {
			case "PRIMARY KEY", "UNIQUE":
				out.indexes = append(out.indexes, table+" UNIQUE "+m[2])
			case "FOREIGN KEY":
				out.foreign = append(out.foreign, table+" "+m[2])
			}
			continue
		}
		if m := inlineIndex.FindStringSubmatch(part); m != nil {
			out.indexes = append(out.indexes, table+" "+m[1])
			continue
		}
		m := columnLine.FindStringSubmatch(part)
		if m == nil {
			t.Errorf("%s: not understood: %s", table, part)
			continue
		}
		c := column{null: !strings.Contains(m[4], "NOT NULL") && !strings.Contains(m[4], "PRIMARY KEY")}
		if d := defaultText.FindStringSubmatch(m[4]); d != nil {
			c.fallback = d[1]
		}
		switch m[2] {
		case "INTEGER", "INT", "BIGINT", "SMALLINT":
			c.kind = strings.Replace(m[2], "INTEGER", "INT", 1)
			if strings.Contains(part, "IDENTITY") || strings.Contains(part, "AUTO") {
				c.kind = "id"
			}
		case "VARCHAR", "CHAR", "NVARCHAR", "NCHAR":
			c.kind = "text"
			c.size, _ = strconv.Atoi(m[3]) // MAX is 0
		case "TEXT", "MEDIUMTEXT":
			c.kind = "text"
		default:
			t.Errorf("%s: a type that is not in the subset: %s", table, part)
		}
		if strings.Contains(part, "PRIMARY KEY") {
			out.indexes = append(out.indexes, table+" UNIQUE ("+m[1]+")")
		}
		out.columns[table+"."+m[1]] = c
	}
}

// TestRelationalFilesEqual holds the texts of the migrations against each other, over all dialects: the same columns of the same kind and
// size with the same defaults, the same indexes and the same references.
func TestRelationalFilesEqual(t *testing.T) {
	t.Parallel()
	want := readTables(t, reldb.SQLite)
	if len(want.columns) < 100 || len(want.indexes) < 20 || len(want.foreign) < 10 {
		t.Fatalf("%d columns, %d indexes, %d references were read: the test looks at the wrong thing", len(want.columns), len(want.indexes), len(want.foreign))
	}
	for _, d := range []reldb.Dialect{reldb.Postgres, reldb.MySQL, reldb.SQLServer} {
		got := readTables(t, d)
		for name, c := range want.columns {
			g, ok := got.columns[name]
			if d == reldb.SQLServer && g.size == 2*c.size {
				g.size = c.size // it counts what is beyond U+FFFF as two
			}
			if !ok {
				t.Errorf("%s lacks %s", d, name)
			} else if g != c {
				t.Errorf("%s: %s is %+v, in sqlite %+v", d, name, g, c)
			}
		}
		for name := range got.columns {
			if _, ok := want.columns[name]; !ok {
				t.Errorf("%s has %s, which sqlite has not", d, name)
			}
		}
		if !slices.Equal(got.indexes, want.indexes) {
			t.Errorf("%s has the indexes\n%s\nsqlite has\n%s", d, strings.Join(got.indexes, "\n"), strings.Join(want.indexes, "\n"))
		}
		if !slices.Equal(got.foreign, want.foreign) {
			t.Errorf("%s has the references\n%s\nsqlite has\n%s", d, strings.Join(got.foreign, "\n"), strings.Join(want.foreign, "\n"))
		}
	}
}

// TestRelationalFilesSQLServer looks at what would only show on a SQL Server: that texts compare as elsewhere, that keys fit into an index, and
// that what was added can be dropped.
func TestRelationalFilesSQLServer(t *testing.T) {
	t.Parallel()
	const clustered, other = 900, 1700 // bytes of an index's key
	read := readTables(t, reldb.SQLServer)
	for _, index := range read.indexes {
		table, list, _ := strings.Cut(index, " ")
		size := 0
		names := strings.Split(list[strings.Index(list, "(")+1:len(list)-1], ", ")
		for _, name := range names[:len(names)-read.carried[index]] {
			c, ok := read.columns[table+"."+name]
			switch {
			case !ok:
				t.Errorf("%s: no column %s", index, name)
			case c.kind != "text":
				size += 8
			case c.size == 0:
				t.Errorf("%s: a text without an end cannot be in an index", index)
			default:
				size += 2 * c.size
			}
		}
		limit := other
		if strings.Contains(index, "UNIQUE") && slices.ContainsFunc(Tables(), func(known Table) bool {
			return known.Name == table && strings.HasSuffix(index, "("+strings.Join(known.Key, ", ")+")")
		}) {
			limit = clustered
		}
		if size > limit {
			t.Errorf("%s: %d bytes do not fit into an index", index, size)
		}
	}
	versions, err := relationalVersions(relationalFiles, reldb.SQLServer)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		up, err := migrationText(reldb.SQLServer, v.number, source.Up)
		if err != nil {
			t.Fatal(err)
		}
		down, err := migrationText(reldb.SQLServer, v.number, source.Down)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(up, "\n") {
			if regexp.MustCompile(`\bN?(VARCHAR|CHAR)\b`).MatchString(sqlComments.ReplaceAllString(line, "")) && !strings.Contains(line, "COLLATE Latin1_General_100_BIN2") {
				t.Errorf("a text in the server's own order: %s", line)
			}
		}
		// A column with a default can be dropped only after that, by its name.
		for _, m := range regexp.MustCompile(`CONSTRAINT (\w+_default) DEFAULT`).FindAllStringSubmatch(up, -1) {
			if strings.Count(down, m[1]) != 1 {
				t.Errorf("version %d down does not drop %s", v.number, m[1])
			}
		}
	}
	// What every dialect drops on the way down is what it made on the way up.
	for _, d := range reldb.Supported() {
		for _, v := range versions {
			made := readDown(t, d, v.number)
			if want := readDown(t, reldb.SQLite, v.number); !slices.Equal(made, want) {
				t.Errorf("%s: version %d down drops %q, sqlite %q", d, v.number, made, want)
			}
		}
	}
}

// readDown lists the tables and columns that a migration drops.
func readDown(t *testing.T, d reldb.Dialect, version uint) []string {
	t.Helper()
	text, err := migrationText(d, version, source.Down)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, statement := range statements(text) {
		statement = strings.Join(strings.Fields(statement), " ")
		if table, ok := strings.CutPrefix(statement, "DROP TABLE "); ok {
			out = append(out, table)
		}
		if table, list, ok := strings.Cut(strings.TrimPrefix(statement, "ALTER TABLE "), " DROP COLUMN "); ok {
			for name := range strings.SplitSeq(strings.ReplaceAll(list, "DROP COLUMN ", ""), ", ") {
				out = append(out, table+"."+name)
			}
		}
	}
	slices.Sort(out)
	return out
}
