package reldb_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gatehouse/internal/reldb"
)

// subsetRules are what a statement of the common subset must not have, and why. They are matched on the statement without its texts in
// quotes and its comments.
var subsetRules = []struct {
	never *regexp.Regexp
	why   string
}{
	{regexp.MustCompile(`(?i)\bRETURNING\b`), "RETURNING is not in MySQL and SQL Server: use Tx.Insert"},
	{regexp.MustCompile(`\|\|`), "|| is not in SQL Server: join texts in Go"},
	{regexp.MustCompile(`(?i)\bON (CONFLICT|DUPLICATE)\b`), "upserts differ: UPDATE, then INSERT"},
	{regexp.MustCompile(`(?i)\bINSERT (OR|IGNORE)\b|\bREPLACE INTO\b`), "upserts differ: UPDATE, then INSERT"},
	{regexp.MustCompile(`(?i)\b(TRUE|FALSE)\b`), "there are no booleans in SQL Server: use 0 and 1"},
	{regexp.MustCompile("`"), "names in ` are MySQL's"},
	{regexp.MustCompile(`::|(?i)\bILIKE\b|\bNULLS (FIRST|LAST)\b|\bDISTINCT ON\b`), "PostgreSQL alone"},
	{regexp.MustCompile(`(?i)\b(LENGTH|SUBSTR|INSTR|IFNULL|NOW|DATE|STRFTIME|GREATEST|LEAST|GROUP_CONCAT|STRING_AGG|JSON_EXTRACT|RANDOM|RAND) ?\(`), "this function is not everywhere, or not the same"},
	{regexp.MustCompile(`(?i)\bOFFSET \?|\bLIMIT \? ?, ?\?`), "pages go by key, not by number"},
	{regexp.MustCompile(`(?i)\bUSING ?\(|\bNATURAL JOIN\b|\bWITH RECURSIVE\b|\bFOR UPDATE\b|\bFULL JOIN\b`), "not everywhere"},
	{regexp.MustCompile(`(?i)\) ?(<|>|=|<=|>=|IN) ?\( ?\?, ?\?[^)]*\) ?(ORDER|AND|LIMIT|$)`), "SQL Server compares no pairs: write a > ? OR a = ? AND b > ?"},
	{regexp.MustCompile(`(?i)\bIN ?\( ?SELECT\b[^()]*\bLIMIT\b`), "MySQL refuses LIMIT right in IN (…): put it into a derived table"},
	{regexp.MustCompile(`(?i)\bCAST ?\([^)]* AS (TEXT|BIGINT|INTEGER)\b`), "the types of CAST differ"},
	{regexp.MustCompile(`(?i)\bUPDATE \w+ (AS )?[a-z]\w* SET\b|\bDELETE FROM \w+ (AS )?\w+ WHERE\b`), "a table that is changed has no second name everywhere"},
}

var (
	sqlVerb    = regexp.MustCompile(`(?is)^\s*(SELECT|INSERT INTO|UPDATE \w+|DELETE FROM)\b.*`)
	sqlQuoted  = regexp.MustCompile(`'[^']*'`)
	sqlComment = regexp.MustCompile(`--[^\n]*`)
)

// checkSubset tells what is wrong with a statement, or with a part of one that is put together while the program runs.
func checkSubset(statement string, whole bool) []string {
	var problems []string
	bare := sqlComment.ReplaceAllString(sqlQuoted.ReplaceAllString(statement, "''"), "")
	flat := strings.Join(strings.Fields(bare), " ")
	for _, r := range subsetRules {
		if found := r.never.FindString(flat); found != "" {
			problems = append(problems, strconv.Quote(found)+": "+r.why)
		}
	}
	if likes := strings.Count(strings.ToUpper(flat), " LIKE "); likes > strings.Count(strings.ToUpper(flat), " ESCAPE ") && whole {
		problems = append(problems, "LIKE without ESCAPE")
	}
	rendered := reldb.SQLServer.Rebind(bare)
	if strings.Contains(rendered, "?") {
		problems = append(problems, "a mark that is not bound")
	}
	upper := strings.ToUpper(strings.Join(strings.Fields(rendered), " "))
	if regexp.MustCompile(`\bLIMIT\b`).MatchString(upper) {
		problems = append(problems, "a LIMIT that SQL Server does not know")
	}
	if strings.Count(upper, "FETCH NEXT") != strings.Count(upper, "ROWS ONLY") {
		problems = append(problems, "a LIMIT without a number")
	}
	if whole {
		if strings.Count(upper, "FETCH NEXT") > strings.Count(upper, "ORDER BY ") {
			problems = append(problems, "LIMIT without ORDER BY")
		}
		if strings.Count(upper, "(") != strings.Count(upper, ")") {
			problems = append(problems, "parentheses that do not match")
		}
		if fields := regexp.MustCompile(`(?i)^INSERT INTO \w+ \(([^)]*)\) VALUES \((.*)\)$`).FindStringSubmatch(flat); fields != nil && !strings.Contains(fields[2], "(") {
			if n, m := strings.Count(fields[1], ","), strings.Count(fields[2], ","); n != m {
				problems = append(problems, "columns and values of different number")
			}
		}
	}
	return problems
}

// packageStrings finds the SQL in a package's sources: constants and texts in the code, put together as far as that is fixed.
func packageStrings(t *testing.T, dir string) map[string]bool {
	t.Helper()
	fset := token.NewFileSet()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	consts := map[string]ast.Expr{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Logf("%s is being worked on: %v", name, err)
			continue
		}
		parsed = append(parsed, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, id := range spec.Names {
					if i < len(spec.Values) {
						consts[id.Name] = spec.Values[i]
					}
				}
			}
			return true
		})
	}
	var fold func(e ast.Expr, depth int) (string, bool)
	fold = func(e ast.Expr, depth int) (string, bool) {
		switch e := e.(type) {
		case *ast.BasicLit:
			if e.Kind == token.STRING {
				s, err := strconv.Unquote(e.Value)
				return s, err == nil
			}
		case *ast.ParenExpr:
			return fold(e.X, depth)
		case *ast.BinaryExpr:
			if e.Op == token.ADD {
				a, wholeA := fold(e.X, depth)
				b, wholeB := fold(e.Y, depth)
				return a + b, wholeA && wholeB
			}
		case *ast.Ident:
			if value, ok := consts[e.Name]; ok && depth < 10 {
				return fold(value, depth+1)
			}
		case *ast.CallExpr:
			if sel, ok := e.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Marks" {
				return "?", true
			}
		}
		return " ", false
	}
	out := map[string]bool{} // and whether it is whole
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			switch e := e.(type) {
			case *ast.BinaryExpr:
				if s, whole := fold(e, 0); e.Op == token.ADD && sqlVerb.MatchString(s) {
					out[s] = whole
					return false
				}
			case *ast.BasicLit:
				if s, whole := fold(e, 0); e.Kind == token.STRING && whole {
					if sqlVerb.MatchString(s) {
						out[s] = strings.TrimSpace(s) == s
					} else if strings.Contains(s, "= ?") || strings.Contains(s, "LIMIT ?") || strings.Contains(s, "ORDER BY ") {
						out[s] = false
					}
				}
			}
			return true
		})
	}
	return out
}

// TestCommonStatements renders every statement of the store for SQL Server, which cannot run here, and looks for what it or another one of the databases
// would refuse. See the package comment for the subset.
func TestCommonStatements(t *testing.T) {
	t.Parallel()
	found := 0
	root := filepath.Join("..", "..", "authsvc")
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() == "testdata" {
			return err
		}
		for statement, whole := range packageStrings(t, path) {
			// The rest comes while the program runs.
			whole = whole && !strings.HasSuffix(strings.TrimSpace(statement), "(")
			found++
			for _, problem := range checkSubset(statement, whole) {
				t.Errorf("%s: %s\nin %s", path, problem, statement)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if found < 30 {
		t.Errorf("%d statements found: the test looks at the wrong thing", found)
	}
	t.Logf("%d statements", found)
}

// TestSubsetRules makes sure that the check finds what it is for, and nothing else.
func TestSubsetRules(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		`SELECT a FROM t WHERE b = ? AND (a > ? OR a = ? AND c > ?) ORDER BY a, c LIMIT ?`,
		`INSERT INTO t (a, b) VALUES (?, 'x || y LIMIT ?')`,
		`DELETE FROM t WHERE id IN (SELECT id FROM (SELECT id FROM t ORDER BY id LIMIT ?) x)`,
		`SELECT COUNT(*) FROM t WHERE name LIKE ? ESCAPE '!' -- RETURNING`,
		`UPDATE t SET a = a + 1 WHERE b IN (?, ?)`,
	} {
		if got := checkSubset(good, true); len(got) != 0 {
			t.Errorf("%s: %q", good, got)
		}
	}
	for _, bad := range []string{
		`INSERT INTO t (a) VALUES (?) RETURNING id`, `SELECT a || b FROM t`, `INSERT INTO t (a) VALUES (?) ON CONFLICT DO NOTHING`, `SELECT a FROM t LIMIT ?`,
		`SELECT a FROM t ORDER BY a LIMIT ? OFFSET ?`, `SELECT a FROM t WHERE (a, b) > (?, ?) ORDER BY a`, `UPDATE t SET a = TRUE`, `SELECT a FROM t WHERE a LIKE ?`,
		`DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY id LIMIT ?)`, `INSERT INTO t (a, b) VALUES (?)`, `SELECT LENGTH(a) FROM t`, `SELECT (a FROM t`,
		`SELECT a::text FROM t`, `SELECT CAST(? AS BIGINT)`, `UPDATE t x SET a = 1`, "SELECT `a` FROM t",
	} {
		if got := checkSubset(bad, true); len(got) == 0 {
			t.Errorf("%s: no problem found", bad)
		}
	}
}

// TestSQLServerStatements holds what reldb itself makes of statements for SQL Server.
func TestSQLServerStatements(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`SELECT a FROM t WHERE b = ? ORDER BY a LIMIT ?`:                   `SELECT a FROM t WHERE b = @p1 ORDER BY a OFFSET 0 ROWS FETCH NEXT @p2 ROWS ONLY`,
		`SELECT a FROM (SELECT a FROM t ORDER BY a limit 5) x WHERE a= ?`:  `SELECT a FROM (SELECT a FROM t ORDER BY a OFFSET 0 ROWS FETCH NEXT 5 ROWS ONLY) x WHERE a= @p1`,
		`SELECT rate_limit, "LIMIT ?" FROM t WHERE a = 'LIMIT ?' -- LIMIT`: `SELECT rate_limit, "LIMIT ?" FROM t WHERE a = 'LIMIT ?' -- LIMIT`,
	} {
		if got := reldb.SQLServer.Rebind(in); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", in, got, want)
		}
		if got := reldb.Postgres.Rebind(in); strings.Contains(got, "FETCH") {
			t.Errorf("PostgreSQL: %s", got)
		}
	}
	got, ok := reldb.SQLServer.InsertReturning(`INSERT INTO t (a, b) VALUES (?, ?)`)
	if !ok || got != `INSERT INTO t (a, b) OUTPUT INSERTED.id VALUES (?, ?)` {
		t.Errorf("%q, %v", got, ok)
	}
	if got, ok := reldb.MySQL.InsertReturning(`INSERT INTO t (a) VALUES (?)`); ok || got != `INSERT INTO t (a) VALUES (?)` {
		t.Errorf("%q, %v", got, ok)
	}
}
