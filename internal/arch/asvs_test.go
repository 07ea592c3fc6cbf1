package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// asvs is how many requirements of levels 1 and 2 each section of ASVS 5.0.0 has, in its order; those of level 3 come last in a section.
var asvs = []struct {
	section string
	n       int
}{
	{"1.1", 2},
	{"1.2", 9},
	{"1.3", 11},
	{"1.4", 3},
	{"1.5", 2},
	{"2.1", 3},
	{"2.2", 3},
	{"2.3", 4},
	{"2.4", 1},
	{"3.2", 2},
	{"3.3", 4},
	{"3.4", 6},
	{"3.5", 5},
	{"3.7", 2},
	{"4.1", 3},
	{"4.2", 1},
	{"4.3", 2},
	{"4.4", 4},
	{"6.1", 3},
	{"6.2", 12},
	{"6.3", 4},
	{"6.4", 4},
	{"6.5", 5},
	{"6.6", 3},
	{"6.8", 4},
	{"7.1", 3},
	{"7.2", 4},
	{"7.3", 2},
	{"7.4", 5},
	{"7.5", 2},
	{"7.6", 2},
	{"8.1", 2},
	{"8.2", 3},
	{"8.3", 1},
	{"8.4", 1},
	{"9.1", 3},
	{"9.2", 4},
	{"10.1", 2},
	{"10.2", 2},
	{"10.3", 4},
	{"10.4", 11},
	{"10.5", 5},
	{"10.6", 2},
	{"10.7", 3},
	{"11.1", 2},
	{"11.2", 3},
	{"11.3", 3},
	{"11.4", 4},
	{"11.5", 1},
	{"11.6", 1},
	{"12.1", 3},
	{"12.2", 2},
	{"12.3", 4},
	{"13.1", 1},
	{"13.2", 5},
	{"13.3", 2},
	{"13.4", 5},
	{"16.1", 1},
	{"16.2", 5},
	{"16.3", 4},
	{"16.4", 3},
	{"16.5", 3},
}

var (
	asvsRow    = regexp.MustCompile(`(?m)^\| (\d+\.\d+\.\d+) \| (\d) \| [^|]+ \| ([a-z/]+) \| ([^|]*) \|$`)
	asvsLine   = regexp.MustCompile(`(?m)^\| \d`)
	asvsTest   = regexp.MustCompile("^([a-z][a-z0-9/]*): ((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)$")
	asvsFile   = regexp.MustCompile(`^[a-z.][a-z0-9_./-]*(/|\.)[a-z0-9_.-]+$`)
	asvsQuoted = regexp.MustCompile("`([^`]+)`")
)

// TestASVS holds docs/asvs.md: every requirement once and in order, each that is passed or short shown by something that exists, the counts right.
func TestASVS(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "asvs.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range asvs {
		for i := range s.n {
			want = append(want, fmt.Sprintf("%s.%d", s.section, i+1))
		}
	}
	rows := asvsRow.FindAllStringSubmatch(string(text), -1)
	if lines := asvsLine.FindAllString(string(text), -1); len(lines) != len(rows) {
		t.Errorf("%d lines begin with a number, %d of them are well-formed", len(lines), len(rows))
	}
	count := map[string]int{}
	for i, row := range rows {
		number, level, verdict, shown := row[1], row[2], row[3], row[4]
		if i >= len(want) || number != want[i] {
			t.Fatalf("requirement %s is at the place of %s", number, want[min(i, len(want)-1)])
		}
		if level != "1" && level != "2" {
			t.Errorf("%s has level %s", number, level)
		}
		if verdict != "pass" && verdict != "short" && verdict != "n/a" || len(strings.TrimSpace(shown)) < 4 {
			t.Errorf("%s: verdict %q, shown by %q", number, verdict, shown)
		}
		count[verdict]++
	}
	if len(rows) != len(want) {
		t.Errorf("%d requirements, want %d", len(rows), len(want))
	}
	if line := fmt.Sprintf("%d requirements: %d pass, %d short, %d n/a", len(want), count["pass"], count["short"], count["n/a"]); !strings.Contains(string(text), "\n"+line+"\n") {
		t.Errorf("the counts should say: %s", line)
	}
	checkNamed(t, root, string(text))
}

// checkNamed looks for every file and test that a text names in backquotes: a path, or "folder: Test".
func checkNamed(t *testing.T, root, text string) {
	t.Helper()
	tests := map[string]string{} // source of a folder's tests
	for _, quoted := range asvsQuoted.FindAllStringSubmatch(text, -1) {
		name := quoted[1]
		if m := asvsTest.FindStringSubmatch(name); m != nil {
			if _, ok := tests[m[1]]; !ok {
				tests[m[1]] = testSource(t, filepath.Join(root, m[1]))
			}
			if !strings.Contains(tests[m[1]], "\nfunc "+m[2]+"(") {
				t.Errorf("%s: there is no such test", name)
			}
			continue
		}
		if asvsFile.MatchString(name) {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s: there is no such file", name)
			}
		}
	}
}

func testSource(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(src)
	}
	return all.String()
}
