package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tools/fuzz.sh fuzzes all targets or fails: one that does not compile must not be passed over, nor a module without any.
func TestFuzzScript(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	script, err := os.ReadFile(filepath.Join("..", "..", "tools", "fuzz.sh"))
	if err != nil {
		t.Fatal(err)
	}
	const target = "package x\n\nimport \"testing\"\n\nfunc FuzzX(f *testing.F) { f.Fuzz(func(*testing.T, int) {}) }\n"
	for _, c := range []struct {
		name  string
		tests map[string]string // by package
		whole bool
	}{
		{"one target", map[string]string{"a": target}, true},
		{"one that does not compile", map[string]string{"a": target, "b": target + "func"}, false},
		{"none", nil, false},
	} {
		dir := t.TempDir()
		files := map[string]string{"go.mod": "module example\n\ngo 1.24\n", "x.go": "package x\n", "tools/fuzz.sh": string(script)}
		for name, text := range c.tests {
			files[name+"/x_test.go"] = text
		}
		for name, text := range files {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), bash, filepath.Join(dir, "tools", "fuzz.sh"))
		cmd.Env = append(os.Environ(), "FUZZTIME=1x", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if (err == nil) != c.whole {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		if c.whole && !strings.Contains(string(out), "== example/a FuzzX") {
			t.Errorf("%s: it was not fuzzed:\n%s", c.name, out)
		}
	}
}
