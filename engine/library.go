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
// next to bin/, and below the working directory. On other platforms than lockedPlatform there is
// none to install; one that is put there is used.
//
// A path given by name must exist: falling through to another library would
// run a version that nobody asked for.
func FindLibrary(explicit, executable string) (string, error) {
	if explicit == "" {
		explicit = os.Getenv(LibraryEnv)
	}
	if explicit != "" {
		if !isFile(explicit) {
			help := "run `make setup` (or `npm ci --prefix engine`) and name the file that it fetches, or name none: it is found then"
			if runtime.GOOS+"/"+runtime.GOARCH != lockedPlatform {
				help = "name one that is there, or set CLICKHOUSE_URL to use a ClickHouse server"
			}
			return "", fmt.Errorf("%w at %s, which $%s or the settings name: %s", ErrLibraryMissing, explicit, LibraryEnv, help)
		}
		return filepath.Abs(explicit)
	}
	return findLibrary(runtime.GOOS+"/"+runtime.GOARCH, executable)
}

// findLibrary is the search, on a platform such as linux/amd64.
func findLibrary(platform, executable string) (string, error) {
	pkg, file := libraryPackage(platform)
	if pkg == "" {
		return "", fmt.Errorf("%w: there is none for %s; set CLICKHOUSE_URL to use a ClickHouse server", ErrLibraryMissing, platform)
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
	if platform != lockedPlatform {
		// package.json locks no library for it, so that no command fetches one.
		return "", fmt.Errorf("%w: set CLICKHOUSE_URL to use a ClickHouse server. The embedded ClickHouse was tried on %s alone; the npm package %s has the library for %s, untried: name its file in $%s to try it",
			ErrLibraryMissing, lockedPlatform, pkg, platform, LibraryEnv)
	}
	return "", fmt.Errorf("%w: run `make setup` (or `npm ci --prefix engine`), or name the file in $%s; looked at %s",
		ErrLibraryMissing, LibraryEnv, strings.Join(tried, ", "))
}

func isFile(p string) bool {
	st, err := os.Stat(p) //nolint:gosec // the operator names the library
	return err == nil && st.Mode().IsRegular()
}

// lockedPlatform is the one whose library package.json locks and `make setup` fetches.
const lockedPlatform = "linux/amd64"

// libraryPackage names the npm package that holds the library for a platform.
func libraryPackage(platform string) (pkg, file string) {
	switch platform {
	case lockedPlatform:
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
