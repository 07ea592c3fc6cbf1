//go:build linux || darwin

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxSocketPath is what fits into a socket address on every system. A longer
// data directory gets its socket in a directory of its own below TMPDIR.
const maxSocketPath = 100

// probeInterval is how often a starting child is asked whether it answers.
const probeInterval = 20 * time.Millisecond

// Engine is a running embedded ClickHouse: a child process under supervision.
type Engine struct {
	cfg    Config
	socket string
	tmpDir string // of the socket, when it did not fit into Dir

	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	ready chan struct{} // closed while the child answers; replaced when it dies
	pid   int
	up    bool
	fence Fence // of the child that answers, or answered last

	restarts atomic.Int64
	closed   atomic.Bool
}

// Start runs the engine on cfg.Dir and returns when it answers. It fails with
// ErrLibraryMissing, ErrDirInUse, ErrDiskFull, or what the child said last.
// From then on a child that dies is started again until Close; ctx bounds only
// the start.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Library, err = FindLibrary(cfg.Library, cfg.Executable); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, diskError(cfg.Dir, err)
	}
	e := &Engine{cfg: cfg, ready: make(chan struct{}), done: make(chan struct{})}
	if err := e.placeSocket(); err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	first := make(chan error, 1)
	go e.supervise(life, first)
	select {
	case err = <-first:
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", ErrNotReady, ctx.Err())
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) placeSocket() error {
	e.socket = filepath.Join(e.cfg.Dir, runDirName, socketName)
	if len(e.socket) <= maxSocketPath {
		return nil
	}
	dir, err := os.MkdirTemp("", "gatehouse-engine-*")
	if err != nil {
		return err
	}
	e.tmpDir, e.socket = dir, filepath.Join(dir, socketName)
	return nil
}

func (e *Engine) args() []string {
	args := []string{
		"engine", "--with-parent", "--dir=" + e.cfg.Dir, "--socket=" + e.socket, "--library=" + e.cfg.Library,
		"--memory=" + strconv.FormatInt(e.cfg.MemoryLimit, 10), "--threads=" + strconv.Itoa(e.cfg.Threads),
		"--connections=" + strconv.Itoa(e.cfg.MaxConnections),
	}
	for _, f := range e.cfg.RowFilters {
		args = append(args, "--row-filter="+f.Database+"."+f.Table)
	}
	return append(args, e.cfg.extraArgs...)
}

// supervise runs children one after the other. The outcome of the first start
// goes to first: an error there ends the supervision.
func (e *Engine) supervise(ctx context.Context, first chan<- error) {
	defer close(e.done)
	// The kernel ends the child when the thread that started it ends, so that
	// thread must not be one that the runtime may retire.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	backoff, patience := restartBackoffMin, e.cfg.startTimeout
	answered := false
	for {
		began, served := time.Now(), false
		err := e.runChild(ctx, patience, func() {
			served = true
			if !answered {
				answered = true
				first <- nil
			}
		})
		if ctx.Err() != nil {
			return
		}
		if !answered {
			first <- err
			return
		}
		if errors.Is(err, errStartTimeout) {
			// Perhaps it only had more to open than anybody thought: the next one gets longer.
			patience = min(2*patience, startTimeoutFactor*e.cfg.startTimeout)
		}
		if served && time.Since(began) > restartHealthy {
			backoff = restartBackoffMin
		}
		e.restarts.Add(1)
		e.cfg.Logger.Error("engine died, starting it again", slog.Any("error", err),
			slog.Int64("restarts", e.restarts.Load()), slog.Duration("after", backoff))
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, restartBackoffMax)
		if served {
			backoff = min(backoff, restartBackoffServed)
		}
	}
}

// errStartTimeout says that a child was ended because it did not begin to answer.
var errStartTimeout = errors.New("the engine did not answer in time after its start")

// runChild starts one child, calls answered when it serves, and returns why it
// ended. One that does not serve within patience is killed: whatever it hangs on,
// it holds the data directory, and the next one may fare better.
func (e *Engine) runChild(ctx context.Context, patience time.Duration, answered func()) error {
	cmd := exec.Command(e.cfg.Executable, e.args()...) //nolint:gosec,noctx // our own binary; its end is ours to time, see below
	cmd.Env = childEnv
	cmd.Dir = e.cfg.Dir
	cmd.SysProcAttr = childAttr()
	tail := &lastWords{}
	cmd.Stderr = tail
	cmd.Stdout = io.Discard
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer func() { _ = stdin.Close() }()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", e.cfg.Executable, err)
	}
	exited := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		exited <- cmd.Wait()
		close(ended)
	}()
	e.setPid(cmd.Process.Pid)
	defer e.setDown()

	probing, stopProbe := context.WithCancel(ctx)
	defer stopProbe()
	up := make(chan Fence, 1)
	go e.probe(probing, cmd.Process.Pid, up)
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case fence := <-up:
			late.Stop()
			e.setUp(fence)
			e.cfg.Logger.Info("engine ready", slog.Int("pid", cmd.Process.Pid), slog.String("socket", e.socket), slog.String("fence", string(fence)))
			fence.warn(e.cfg.Logger)
			up = nil
			answered()
		case err := <-exited:
			return childError(e.cfg.Dir, err, tail)
		case <-late.C:
			_ = cmd.Process.Kill() // it has acknowledged nothing
			<-ended
			return fmt.Errorf("%w, %s; its last words: %s; its log: %s", errStartTimeout, patience, tail, logFile(e.cfg.Dir))
		case <-ctx.Done():
			_ = stdin.Close() // asks it to end
			select {
			case <-ended:
			case <-time.After(stopTimeout):
				_ = cmd.Process.Kill()
				<-ended
			}
			return ctx.Err()
		}
	}
}

// probe tells up, once, that the child answers a query, and its fence. An answer of another
// process, which has the directory and so the socket, does not count.
func (e *Engine) probe(ctx context.Context, pid int, up chan<- Fence) {
	client := &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dialSocket(ctx) },
		DisableKeepAlives: true,
	}}
	target := "http://engine/?query=" + url.QueryEscape("SELECT 1")
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return
		}
		if res, err := client.Do(req); err == nil {
			b, _ := io.ReadAll(io.LimitReader(res.Body, 16))
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK && string(b) == "1\n" &&
				res.Header.Get(pidHeader) == strconv.Itoa(pid) {
				up <- Fence(res.Header.Get(fenceHeader))
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(probeInterval):
		}
	}
}

// childError turns the child's end into an error that says what to do.
func childError(dir string, err error, tail *lastWords) error {
	text := tail.String()
	last := tail.last()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	// Gatehouse's own binary ends with ExitCode's status. The words count for a main that
	// wraps Main and ends with a status of its own, and for the library, which ends as it likes.
	switch {
	case code == exitDirInUse, strings.Contains(last, ErrDirInUse.Error()):
		return dirInUse(dir)
	case code == exitLibrary, strings.Contains(last, ErrLibraryMissing.Error()):
		return fmt.Errorf("%w: %s", ErrLibraryMissing, last)
	case code == exitDiskFull, strings.Contains(last, ErrDiskFull.Error()), isDiskFull(text):
		return fmt.Errorf("%w: %s: free some space; the engine starts again by itself", ErrDiskFull, dir)
	}
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("engine process ended: %w; its last words: %s; its log: %s", err, text, logFile(dir))
}

func logFile(dir string) string { return filepath.Join(dir, logDirName, logFileName) }

func isDiskFull(text string) bool {
	return strings.Contains(text, "No space left on device") || strings.Contains(text, "NOT_ENOUGH_SPACE")
}

func (e *Engine) setPid(pid int) {
	e.mu.Lock()
	e.pid = pid
	e.mu.Unlock()
}

func (e *Engine) setUp(fence Fence) {
	e.mu.Lock()
	e.up, e.fence = true, fence
	close(e.ready)
	e.mu.Unlock()
}

func (e *Engine) setDown() {
	e.mu.Lock()
	e.pid = 0
	if e.up {
		e.up = false
		e.ready = make(chan struct{})
	}
	e.mu.Unlock()
}

// Ready reports whether the engine answers.
func (e *Engine) Ready() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.up
}

// Fence is how far the child that answers is confined, or the last one that did.
func (e *Engine) Fence() Fence {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fence
}

// Pid is the child's process id, 0 while there is none.
func (e *Engine) Pid() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pid
}

// Restarts counts how often the child died and was started again.
func (e *Engine) Restarts() int { return int(e.restarts.Load()) }

// Socket is the path of the engine's HTTP interface.
func (e *Engine) Socket() string { return e.socket }

// Close ends the child: statements get a few seconds, then they are cut off.
func (e *Engine) Close() error {
	if e.closed.Swap(true) {
		<-e.done
		return nil
	}
	e.cancel()
	<-e.done
	if e.tmpDir != "" {
		return os.RemoveAll(e.tmpDir)
	}
	return nil
}
