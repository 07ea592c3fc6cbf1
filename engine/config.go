package engine

import (
	"bufio"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Limits of the engine. Each says what happens beyond it.
const (
	// maxMemoryLimit is the default ceiling of the engine's memory. A query
	// that would pass it fails with MEMORY_LIMIT_EXCEEDED (241) and may be
	// tried again; the process lives on.
	maxMemoryLimit = 1200 << 20
	// minMemoryLimit is the least that ClickHouse runs in without failing merges.
	minMemoryLimit = 384 << 20
	// memoryShare is the part of the machine's memory that the engine takes on
	// machines too small for maxMemoryLimit.
	memoryShare = 0.6

	// defaultMaxConnections is how many requests run at once. More wait for a
	// place until their client gives up.
	defaultMaxConnections = 32

	// startTimeout is how long a child may take to its first answer before it is
	// killed: the first one fails Start, a later one is started again with
	// twice the time, up to startTimeoutFactor times this. Opening a data directory with
	// thousands of parts takes seconds, not minutes.
	startTimeout       = 2 * time.Minute
	startTimeoutFactor = 8
	// stopTimeout is how long Close waits for the engine to end by itself
	// before it is killed. Killing is safe: what was acknowledged is on disk.
	stopTimeout = 15 * time.Second
	// dialWait is how long a dial waits for an engine that is being restarted.
	dialWait = 15 * time.Second

	// restartBackoffMin begins the pauses between restarts. They double while
	// the child does not come up, to restartBackoffMax at the most, and to
	// restartBackoffServed while it does but dies again soon; after
	// restartHealthy of service they begin anew.
	restartBackoffMin    = 100 * time.Millisecond
	restartBackoffServed = time.Second
	restartBackoffMax    = 10 * time.Second
	restartHealthy       = 10 * time.Second
)

// RowFilter names a table whose rows are shown by company. See Config.RowFilters.
type RowFilter struct {
	Database string
	Table    string
}

// Config is what Start needs. Only Dir is required.
type Config struct {
	// Dir is the engine's data directory; it is made if missing. One process
	// at a time may have it open.
	Dir string
	// Library is the path of libchdb; empty means FindLibrary's search.
	Library string
	// Executable is the binary that has an `engine` subcommand running Main;
	// empty means this process's own.
	Executable string
	// MemoryLimit bounds the engine's memory in bytes; 0 means the lesser of
	// 1.2 GiB and 60 % of what the machine (or its cgroup) has.
	MemoryLimit int64
	// Threads bounds the threads of one query; 0 means the number of processors.
	Threads int
	// MaxConnections bounds the requests that run at once; 0 means 32.
	MaxConnections int
	// RowFilters are the tables that requests with the X-Gatehouse-Company
	// header see only that company's rows of. Such requests are refused while
	// the list is empty. A table must have a column company_id UInt32.
	RowFilters []RowFilter
	// Logger receives the child's life and its last words; nil means slog.Default.
	Logger *slog.Logger

	// Hooks of this package's own tests.
	extraArgs    []string
	startTimeout time.Duration // 0: the constant
}

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return c, err
		}
		c.Executable = exe
	}
	if c.startTimeout == 0 {
		c.startTimeout = startTimeout
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	return c, nil
}

// defaultMemoryLimit is what the engine may take of this machine.
func defaultMemoryLimit() int64 {
	limit := int64(maxMemoryLimit)
	if total := MachineMemory(); total > 0 {
		limit = min(limit, int64(memoryShare*float64(total)))
	}
	return max(limit, minMemoryLimit)
}

// MachineMemory is the lesser of the machine's memory and the cgroup's limit,
// in bytes; 0 when neither can be read.
func MachineMemory() int64 {
	var total int64
	if f, err := os.Open("/proc/meminfo"); err == nil {
		defer func() { _ = f.Close() }()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if rest, ok := strings.CutPrefix(sc.Text(), "MemTotal:"); ok {
				kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				if err == nil {
					total = kb << 10
				}
				break
			}
		}
	}
	for _, p := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 && (total == 0 || n < total) {
			total = n
		}
	}
	return total
}

func defaultThreads() int { return max(1, runtime.NumCPU()) }
