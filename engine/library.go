package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// LibraryEnv names the environment variable that overrides where libchdb is.
const LibraryEnv = "GATEHOUSE_ENGINE_LIBRARY"

// FindLibrary returns the absolute path of libchdb. It looks at explicit, then
// at $GATEHOUSE_ENGINE_LIBRARY, then beside the executable (lib/, as a package
// installs it), then where `npm ci --prefix engine` puts it in a source tree:
// next to bin/, and below the working directory.
//
// A path given by name must exist: falling through to another library would
// run a version that nobody asked for.
func FindLibrary(explicit, executable string) (string, error) {
	if explicit == "" {
		explicit = os.Getenv(LibraryEnv)
	}
	if explicit != "" {
		if !isFile(explicit) {
			return "", fmt.Errorf("%w at %s, which $%s or the settings name: run `make setup` (or `npm ci --prefix engine`) and name the file that it fetches, or name none: it is found then",
				ErrLibraryMissing, explicit, LibraryEnv)
		}
		return filepath.Abs(explicit)
	}
	pkg, file := libraryPackage()
	if pkg == "" {
		return "", fmt.Errorf("%w: there is none for %s/%s; set CLICKHOUSE_URL to use a ClickHouse server", ErrLibraryMissing, runtime.GOOS, runtime.GOARCH)
	}
	module := filepath.Join("engine", "node_modules", filepath.FromSlash(pkg), file)
	var tried []string
	if executable != "" {
		dir := filepath.Dir(executable)
		tried = append(tried,
			filepath.Join(dir, "lib", file),
			filepath.Join(dir, file),
			filepath.Join(dir, "..", "lib", "gatehouse", file),
			filepath.Join(dir, "..", module))
	}
	tried = append(tried, module, filepath.Join("..", module))
	for _, p := range tried {
		if isFile(p) {
			return filepath.Abs(p)
		}
	}
	return "", fmt.Errorf("%w: run `make setup` (or `npm ci --prefix engine`), or name the file in $%s; looked at %s",
		ErrLibraryMissing, LibraryEnv, strings.Join(tried, ", "))
}

func isFile(p string) bool {
	st, err := os.Stat(p) //nolint:gosec // the operator names the library
	return err == nil && st.Mode().IsRegular()
}

// libraryPackage names the npm package that holds the library for this platform.
func libraryPackage() (pkg, file string) {
	switch runtime.GOOS + "/" + runtime.GOARCH {
	case "linux/amd64":
		return "@chdb/lib-linux-x64-gnu", "libchdb.so"
	case "linux/arm64":
		return "@chdb/lib-linux-arm64-gnu", "libchdb.so"
	case "darwin/amd64":
		return "@chdb/lib-darwin-x64", "libchdb.so"
	case "darwin/arm64":
		return "@chdb/lib-darwin-arm64", "libchdb.so"
	}
	return "", ""
}
