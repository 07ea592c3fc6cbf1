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
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// childGoMemory bounds the child's own Go heap: buffers of requests. The
// engine's memory is C memory and is bounded by its configuration.
const childGoMemory = 192 << 20

// Exit statuses of the child that its parent understands.
const (
	exitDirInUse = 75 // EX_TEMPFAIL
	exitLibrary  = 69 // EX_UNAVAILABLE
	exitDiskFull = 74 // EX_IOERR
)

// childEnv is the whole environment of the child. Without TZ the engine would
// take the machine's zone for DateTime; times are UTC here.
var childEnv = []string{"TZ=UTC"}

func clearEnv() {
	os.Clearenv()
	_ = os.Setenv("TZ", "UTC")
}

// ServeOptions are the child's: what the `engine` subcommand takes.
type ServeOptions struct {
	Dir            string
	Socket         string
	Library        string
	MemoryLimit    int64
	Threads        int
	MaxConnections int
	RowFilters     []string // database.table
	// WithParent ends the engine when its standard input ends: the parent
	// holds the other side of that pipe.
	WithParent bool
	// NoFence runs without Landlock although the kernel has it.
	NoFence bool

	fenced    bool // set on the second start, inside the fence
	allowFile bool
}

// AddFlags makes the options flags of the `engine` subcommand. They are the
// contract between Start and Main, which are always of the same binary.
func (o *ServeOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Dir, "dir", "", "data directory of the engine (required)")
	fs.StringVar(&o.Socket, "socket", "", "unix socket to serve ClickHouse's HTTP interface on (default DIR/run/engine.sock)")
	fs.StringVar(&o.Library, "library", "", "path of libchdb (default: $"+LibraryEnv+", then beside the executable, then engine/node_modules)")
	fs.Int64Var(&o.MemoryLimit, "memory", 0, "memory limit in bytes (default: the lesser of 1.2 GiB and 60% of the machine)")
	fs.IntVar(&o.Threads, "threads", 0, "threads of one query (default: number of processors)")
	fs.IntVar(&o.MaxConnections, "connections", 0, "requests that run at once; more wait (default 32)")
	fs.StringSliceVar(&o.RowFilters, "row-filter", nil, "database.table whose rows a company's session sees only its own of")
	fs.BoolVar(&o.WithParent, "with-parent", false, "end when standard input ends")
	fs.BoolVar(&o.NoFence, "no-fence", false, "run without the kernel's confinement (Landlock)")
	fs.BoolVar(&o.fenced, "fenced", false, "")
	fs.BoolVar(&o.allowFile, "test-allow-file", false, "")
	_ = fs.MarkHidden("fenced")
	_ = fs.MarkHidden("test-allow-file")
}

// ExitCode is the process status for an error of Main.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrDirInUse):
		return exitDirInUse
	case errors.Is(err, ErrLibraryMissing):
		return exitLibrary
	case errors.Is(err, ErrDiskFull):
		return exitDiskFull
	}
	return 1
}

// Main is the child: it confines itself, opens the data directory and serves
// until ctx ends, a termination signal comes, or its parent is gone. Run it in a process of
// its own, with nothing else in it: the library takes over process-wide state.
//
// It starts the executable a second time in place (execve) to get the fence
// around all threads: Landlock confines a thread and its descendants, and the
// Go runtime has several threads before main runs.
func Main(ctx context.Context, o ServeOptions) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if o.Dir == "" {
		return errors.New("--dir is required")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	o.Dir = dir
	if o.Socket == "" {
		o.Socket = filepath.Join(dir, runDirName, socketName)
	}
	if o.Library == "" {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		if o.Library, err = FindLibrary("", exe); err != nil {
			return err
		}
	}
	if err := makeDirs(o); err != nil {
		return diskError(o.Dir, err)
	}
	if !o.fenced {
		// Returns only when there is no fence to be had, or on failure.
		if err := enterFence(o, log); err != nil {
			return err
		}
	} else if err := checkFence(); err != nil {
		return err
	}
	setLimits()
	lock, err := lockDir(o.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	emptyDir(filepath.Join(o.Dir, tmpDirName))
	return serve(ctx, o, log)
}

func makeDirs(o ServeOptions) error {
	for _, d := range []string{"", dataDirName, filepath.Join(dataDirName, "tmp"), tmpDirName, logDirName, confDirName, runDirName} {
		if err := os.MkdirAll(filepath.Join(o.Dir, d), 0o700); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Join(o.Dir, runDirName), 0o700) //nolint:gosec // a directory needs its x
}

// emptyDir removes what a killed engine left of answers that it was writing.
func emptyDir(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		_ = os.RemoveAll(filepath.Join(dir, e.Name()))
	}
}

func diskError(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %s: %w", ErrDiskFull, dir, err)
	}
	return err
}

func serve(ctx context.Context, o ServeOptions, log *slog.Logger) error {
	debug.SetMemoryLimit(childGoMemory)
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if o.WithParent {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
			// A parent that is gone waits for nobody; a stuck statement must
			// not keep the data directory from the next engine.
			time.Sleep(stopTimeout)
			os.Exit(1)
		}()
	}
	keepCrashReports(o.Dir)
	conf, err := o.serverConfig()
	if err != nil {
		return err
	}
	configFile, err := conf.write()
	if err != nil {
		return diskError(o.Dir, err)
	}
	lib, err := openLibrary(o.Library)
	if err != nil {
		return err
	}
	restore := saveSignalHandlers()
	lib.setSignalHandlers(0)
	d, err := openDatabase(lib, filepath.Join(o.Dir, dataDirName), configFile, len(conf.RowFilters) > 0, o.connections(), log)
	restore()
	if err != nil {
		return diskError(o.Dir, fmt.Errorf("open %s: %w", o.Dir, err))
	}
	ln, err := listen(ctx, o.Socket)
	if err != nil {
		return err
	}
	tmp := filepath.Join(o.Dir, tmpDirName)
	srv := &http.Server{
		Handler:           &handler{d: d, tmp: tmp, log: log, fence: string(o.fence()), allowFile: o.allowFile},
		ReadHeaderTimeout: 30 * time.Second,
		MaxHeaderBytes:    maxStatement, // a GET carries its statement in the request line
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	log.Info("engine serves", slog.String("version", d.version), slog.String("library", lib.baseVersion()),
		slog.Int64("memory_limit", conf.MemoryLimit), slog.Int("threads", conf.Threads), slog.String("fence", string(o.fence())))
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = shutdown(srv)
	}
	d.close()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// keepCrashReports has the runtime write why it crashed into the log directory.
// What it cannot do must not keep the engine from starting.
func keepCrashReports(dir string) {
	path := filepath.Join(dir, logDirName, crashFileName)
	if st, err := os.Stat(path); err == nil && st.Size() > crashFileSize {
		_ = os.Rename(path, path+".1")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	_ = debug.SetCrashOutput(f, debug.CrashOptions{})
	_ = f.Close()
}

// shutdown lets running requests end for half of what the parent grants, then
// cuts them off.
func shutdown(srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout/2)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return srv.Close()
	}
	return nil
}

// listen makes the socket, 0600 from the start.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o177)
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	syscall.Umask(old)
	return ln, err
}

func (o ServeOptions) connections() int {
	if o.MaxConnections > 0 {
		return o.MaxConnections
	}
	return defaultMaxConnections
}

func (o ServeOptions) serverConfig() (serverConfig, error) {
	c := serverConfig{Dir: o.Dir, MemoryLimit: o.MemoryLimit, Threads: o.Threads}
	if c.MemoryLimit <= 0 {
		c.MemoryLimit = defaultMemoryLimit()
	}
	if c.Threads <= 0 {
		c.Threads = defaultThreads()
	}
	c.Pool = max(2, c.Threads)
	// One query may take most of the memory, but not what merges need to go on.
	c.QueryMemory = c.MemoryLimit * 3 / 4
	filters, err := parseFilters(o.RowFilters)
	if err != nil {
		return c, err
	}
	c.RowFilters, err = groupFilters(filters)
	return c, err
}
