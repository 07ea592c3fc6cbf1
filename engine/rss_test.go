//go:build linux || darwin

package engine

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// rss is the resident memory of a process, 0 where it cannot be read.
func rss(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// watchRSS samples the engine's anonymous memory until the process ends; the returned
// function tells the peak so far. File pages (the library itself) are not counted:
// the kernel drops them when it needs the memory.
func watchRSS(e *Engine) func() int64 {
	var peak atomic.Int64
	pid := e.Pid()
	go func() {
		for {
			n := rss(pid)
			if n == 0 {
				return
			}
			if n > peak.Load() {
				peak.Store(n)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return peak.Load
}
