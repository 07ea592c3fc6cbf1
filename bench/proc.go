package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// memory is what a process occupies, in bytes.
type memory struct {
	rss  int64 // now: its own and shared pages
	anon int64 // of that, what is not pages of files: heap and stacks
}

func (m memory) String() string {
	return fmt.Sprintf("%.0f MB (%.0f without pages of files)", float64(m.rss)/1e6, float64(m.anon)/1e6)
}

func readMemory(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		name, rest, _ := strings.Cut(sc.Text(), ":")
		var at *int64
		switch name {
		case "VmRSS":
			at = &m.rss
		case "RssAnon":
			at = &m.anon
		default:
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return m, err
		}
		*at = kb << 10
	}
	return m, nil
}

// watcher samples the memory of a server and its engine until it is stopped.
type watcher struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	server memory // when each was largest
	engine memory
}

const sampleEvery = 50 * time.Millisecond

func watch(ctx context.Context, s *Server) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel: cancel}
	server, engine := s.PID(), s.EnginePID()
	w.wg.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			for _, p := range [...]struct {
				pid int
				max *memory
			}{{server, &w.server}, {engine, &w.engine}} {
				if m, err := readMemory(p.pid); err == nil && p.pid != 0 && m.rss > p.max.rss {
					*p.max = m
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// stop ends the watch and gives the peaks.
func (w *watcher) stop() (server, engine memory) {
	w.cancel()
	w.wg.Wait()
	return w.server, w.engine
}

// cpuTime is what a process has used of the processors.
func cpuTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	const perSecond = 100 // USER_HZ is 100 wherever Linux runs
	return time.Duration(ticks) * time.Second / perSecond
}

// machine describes what the figures were measured on.
func machine() string {
	model, total := "unknown processor", int64(0)
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(text), "\n") {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int64
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kb); err == nil {
			total = kb << 10
		}
	}
	load := ""
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = ", load " + strings.Join(strings.Fields(string(text))[:1], "")
	}
	return fmt.Sprintf("%d processors (%s), %.1f GB, %s/%s, %s%s", runtime.NumCPU(), model, float64(total)/1e9, runtime.GOOS, runtime.GOARCH, runtime.Version(), load)
}
