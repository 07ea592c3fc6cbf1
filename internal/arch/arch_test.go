// Package arch holds the architecture by a test: which folder may import which.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "gatehouse"

// folder is one row of the design's table.
type folder struct {
	// may lists the folders of ours that it may import. Everything under internal/ is free to all.
	may []string
	// thirdParty, when not nil, lists all that it may import from elsewhere besides the standard library.
	thirdParty []string
	// never lists packages that would mean that it does another folder's work: handlers know no SQL, stores know no net/http.
	never []string
}

var (
	everything = []string{"*"}
	nothing    = []string{}
)

// table is the design's, folder by folder. A folder that is not here fails the test: whoever adds one says here what it may
// import.
var table = map[string]folder{
	"cmd/gatehouse": {may: everything},
	"cmd/winagent":  {may: []string{"agent"}},
	"event":         {may: nothing, thirdParty: nothing, never: []string{"database/sql"}},
	// x/sys asks how much room the disk has, which the standard library cannot on every system.
	"spool":   {may: nothing, thirdParty: []string{"golang.org/x/sys"}, never: []string{"net/http", "database/sql"}},
	"ingest":  {may: []string{"event", "spool"}, never: []string{"database/sql"}},
	"query":   {may: []string{"event"}},
	"authsvc": {may: []string{"event", "authsvc/password"}, never: []string{"net/http", "html/template"}},
	// Of accounts and access, the store alone knows SQL and rest alone knows HTTP.
	"authsvc/password":   {may: []string{"event"}, never: []string{"database/sql", "net/http", "html/template"}},
	"authsvc/limit":      {may: []string{"event"}, never: []string{"database/sql", "net/http", "html/template"}},
	"authsvc/websession": {may: []string{"authsvc", "event"}, never: []string{"database/sql", "net/http", "html/template"}},
	"authsvc/signin":     {may: []string{"authsvc", "authsvc/limit", "authsvc/password", "authsvc/websession", "event"}, never: []string{"database/sql", "net/http", "html/template"}},
	// Speaks with the identity provider, as a client.
	"authsvc/oidc": {may: []string{"authsvc", "event"}, never: []string{"database/sql", "html/template"}},
	"authsvc/rest": {may: []string{"authsvc", "authsvc/limit", "authsvc/password", "authsvc/signin", "authsvc/websession", "event"}, never: []string{"database/sql", "html/template"}},
	// The event store's tables list the event types by number, which package event owns.
	"schema":     {may: []string{"event"}, never: []string{"net/http"}},
	"engine":     {may: nothing, never: []string{"database/sql"}},
	"dashboards": {may: []string{"authsvc", "authsvc/limit", "authsvc/rest", "authsvc/signin", "authsvc/websession", "query", "event"}, never: []string{"database/sql", "github.com/ClickHouse/clickhouse-go/v2"}},
	"grafana":    {may: nothing},
	"agent":      {may: []string{"event", "spool"}, never: []string{"database/sql"}},
	"config":     {may: nothing, never: []string{"database/sql", "net/http"}},
	// It makes events and sends them as any client does.
	"simulate": {may: []string{"event"}, never: []string{"database/sql"}},
	// These two look at the whole from outside, as clients do; the bench also fills the event store by itself, to know its limit.
	"bench":    {may: []string{"engine", "event", "schema", "simulate"}},
	"soak":     {may: []string{"bench", "event", "simulate", "spool"}},
	"internal": {may: nothing},
	// It starts the engine for tests, which are not looked at here.
	"internal/enginetest": {may: []string{"engine"}},
}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	Module     *struct{ Path string }
}

// TestImports reads every package that the module's packages need, as `go list -deps` tells it.
func TestImports(t *testing.T) {
	t.Parallel()
	lookAtSources(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps,Module", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	all := map[string]goPackage{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	ours := 0
	for _, p := range all {
		if p.Module == nil || p.Module.Path != module {
			continue
		}
		ours++
		for _, problem := range check(p, all) {
			t.Error(problem)
		}
	}
	if ours < 5 {
		t.Errorf("go list gave %d packages of ours: the test looks at the wrong thing", ours)
	}
}

// lookAtSources reads the module's folders for one reason: `go test` keeps a result until something changes that the test
// itself has looked at, and it does not see what `go list` reads.
func lookAtSources(t *testing.T) {
	t.Helper()
	root := filepath.Join("..", "..")
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"bin", "data", "node_modules"}, d.Name())) {
			return filepath.SkipDir
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func check(p goPackage, all map[string]goPackage) []string {
	name, row, ok := rowOf(p.ImportPath)
	if !ok {
		return []string{p.ImportPath + " is in no folder of the table: add it with what it may import"}
	}
	var problems []string
	for _, imported := range p.Imports {
		q := all[imported]
		switch {
		case slices.Contains(row.never, imported):
			problems = append(problems, p.ImportPath+" imports "+imported+", which is not the business of "+name)
		case q.Standard:
		case q.Module != nil && q.Module.Path == module:
			other, _, _ := rowOf(imported)
			if other != name && other != "internal" && !slices.Contains(row.may, other) && !slices.Equal(row.may, everything) {
				problems = append(problems, p.ImportPath+" imports "+imported+": "+name+" may import ["+strings.Join(row.may, " ")+"]")
			}
		case row.thirdParty != nil && (q.Module == nil || !slices.Contains(row.thirdParty, q.Module.Path)):
			problems = append(problems, p.ImportPath+" imports "+imported+": of others' packages, "+name+" may import ["+strings.Join(row.thirdParty, " ")+"]")
		}
	}
	// What comes in through others counts too where the row says that nothing may.
	if row.thirdParty != nil && len(row.thirdParty) == 0 {
		for _, dep := range p.Deps {
			if q := all[dep]; !q.Standard && (q.Module == nil || q.Module.Path != module) {
				problems = append(problems, p.ImportPath+" needs "+dep+", but "+name+" uses the standard library alone")
			}
		}
	}
	return problems
}

// rowOf finds the row of a package: that of the longest folder that it lies in.
func rowOf(importPath string) (string, folder, bool) {
	path := strings.TrimPrefix(importPath, module+"/")
	for {
		if row, ok := table[path]; ok {
			return path, row, true
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return "", folder{}, false
		}
		path = path[:i]
	}
}

// TestCheck makes sure that the check finds what it is for.
func TestCheck(t *testing.T) {
	t.Parallel()
	mod := func(path string) *struct{ Path string } { return &struct{ Path string }{path} }
	all := map[string]goPackage{
		"net/http":               {ImportPath: "net/http", Standard: true},
		"database/sql":           {ImportPath: "database/sql", Standard: true},
		"gatehouse/event":        {ImportPath: "gatehouse/event", Module: mod(module)},
		"gatehouse/authsvc":      {ImportPath: "gatehouse/authsvc", Module: mod(module)},
		"gatehouse/query":        {ImportPath: "gatehouse/query", Module: mod(module)},
		"gatehouse/internal/x":   {ImportPath: "gatehouse/internal/x", Module: mod(module)},
		"example.org/lib/sub":    {ImportPath: "example.org/lib/sub", Module: mod("example.org/lib")},
		"github.com/x/wal":       {ImportPath: "github.com/x/wal", Module: mod("github.com/x/wal")},
		"gatehouse/ingest/inner": {ImportPath: "gatehouse/ingest/inner", Module: mod(module)},
	}
	for _, c := range []struct {
		path    string
		imports []string
		deps    []string
		want    int
	}{
		{"gatehouse/ingest", []string{"gatehouse/event", "net/http", "example.org/lib/sub", "gatehouse/ingest/inner", "gatehouse/internal/x"}, nil, 0},
		{"gatehouse/ingest", []string{"gatehouse/authsvc"}, nil, 1},
		{"gatehouse/ingest/inner", []string{"gatehouse/query", "database/sql"}, nil, 2},
		{"gatehouse/authsvc", []string{"net/http", "gatehouse/query"}, nil, 2},
		{"gatehouse/event", []string{"example.org/lib/sub"}, []string{"example.org/lib/sub"}, 2},
		{"gatehouse/event", []string{"gatehouse/internal/x"}, []string{"gatehouse/internal/x", "example.org/lib/sub"}, 1},
		{"gatehouse/spool", []string{"github.com/x/wal"}, nil, 1},
		{"gatehouse/cmd/gatehouse", []string{"gatehouse/authsvc", "gatehouse/query", "database/sql"}, nil, 0},
		{"gatehouse/newfolder", nil, nil, 1},
	} {
		if got := check(goPackage{ImportPath: c.path, Imports: c.imports, Deps: c.deps}, all); len(got) != c.want {
			t.Errorf("%s with %v: %q, want %d problems", c.path, c.imports, got, c.want)
		}
	}
}
