package engine

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who has no library hears what helps on that platform: `make setup` fetches what package.json locks, and nothing else.
func TestMissingLibrarySaysWhatHelps(t *testing.T) {
	text, err := os.ReadFile("package.json")
	if err != nil {
		t.Fatal(err)
	}
	var locked struct {
		Packages map[string]string `json:"optionalDependencies"`
	}
	if err := json.Unmarshal(text, &locked); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir()) // where there is none
	for _, platform := range []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "freebsd/amd64"} {
		pkg, _ := libraryPackage(platform)
		_, fetched := locked.Packages[pkg]
		if fetched != (platform == lockedPlatform) {
			t.Errorf("%s: %q is locked: %t", platform, pkg, fetched)
		}
		_, err := findLibrary(platform, filepath.Join(t.TempDir(), "gatehouse"))
		if !errors.Is(err, ErrLibraryMissing) {
			t.Fatalf("%s: %v", platform, err)
		}
		if setup := strings.Contains(err.Error(), "make setup"); setup != fetched {
			t.Errorf("%s: %v", platform, err)
		}
		if outside := strings.Contains(err.Error(), "CLICKHOUSE_URL"); outside == fetched {
			t.Errorf("%s: %v", platform, err)
		}
	}
	// One that is put beside the executable is used all the same.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libchdb.so"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if path, err := findLibrary("linux/arm64", filepath.Join(dir, "gatehouse")); err != nil || path != filepath.Join(dir, "libchdb.so") {
		t.Errorf("%q %v", path, err)
	}
}
