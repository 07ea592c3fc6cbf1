//go:build linux || darwin

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func TestRestartAfterKill(t *testing.T) {
	e := startEngine(t, Config{}, true)
	c := openClient(t, e.Options())
	mustExec(t, c, "CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a")
	mustExec(t, c, "INSERT INTO kept VALUES (1), (2)")
	for i := range 3 {
		pid := e.Pid()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "a new engine", func() bool { return e.Ready() && e.Pid() != pid && e.Pid() != 0 })
		if e.Restarts() != i+1 {
			t.Errorf("%d restarts counted, want %d", e.Restarts(), i+1)
		}
		var n uint64
		// The first statement after a death may find a dead pooled connection.
		var err error
		for range 3 {
			if err = c.QueryRow(context.Background(), "SELECT count() FROM kept").Scan(&n); err == nil {
				break
			}
		}
		if err != nil || n != 2 {
			t.Fatalf("%d rows, %v", n, err)
		}
	}
}

// A child that hangs at its start is killed, at the first start with an error
// and at a restart for another try.
func TestHangingStart(t *testing.T) {
	t.Parallel()
	needLibrary(t)
	dir := t.TempDir()
	hang := filepath.Join(dir, "hang")
	// The child's environment holds no PATH.
	script := filepath.Join(dir, "gatehouse")
	text := fmt.Sprintf("#!/bin/sh\nif [ -e '%s' ]; then /bin/rm '%s'; exec /bin/sleep 1000; fi\nexec '%s' \"$@\"\n", hang, hang, os.Args[0])
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	arm := func() {
		if err := os.WriteFile(hang, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Dir: filepath.Join(dir, "e"), Executable: script, startTimeout: 500 * time.Millisecond}
	arm()
	if e, err := Start(context.Background(), cfg); !errors.Is(err, errStartTimeout) {
		if err == nil {
			_ = e.Close()
		}
		t.Fatalf("a hanging first start: %v", err)
	}
	cfg.startTimeout = 4 * time.Second
	e, err := Start(context.Background(), cfg)
	for errors.Is(err, errStartTimeout) { // a busy machine is not what is tested
		e, err = Start(context.Background(), cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	pid := e.Pid()
	arm()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the one after the hanging one", func() bool { return e.Restarts() >= 2 && e.Ready() })
	if _, err := os.Stat(hang); err == nil {
		t.Error("no start has hung: the test shows nothing")
	}
}

// A crash inside of the process leaves its reason in the parent's log and in
// the engine's.
func TestCrashTellsWhy(t *testing.T) {
	var log syncBuffer
	e := startEngine(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, true)
	pid := e.Pid()
	if err := syscall.Kill(pid, syscall.SIGSEGV); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a new engine", func() bool { return e.Ready() && e.Pid() != pid })
	if !strings.Contains(log.String(), "SIGSEGV") {
		t.Errorf("the parent's log: %s", log.String())
	}
	b, err := os.ReadFile(filepath.Join(e.cfg.Dir, logDirName, crashFileName))
	if err != nil || !strings.Contains(string(b), "SIGSEGV") {
		t.Errorf("the crash report: %.200s %v", b, err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A full disk fails the insert with its reason, and the engine goes on: what
// was stored can be read, and inserts work again once there is space.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := exec.CommandContext(context.Background(), "mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", dir).Run(); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "umount", "-l", dir).Run() })
	e := startEngine(t, Config{Dir: filepath.Join(dir, "e")}, true)
	post(t, e, "CREATE TABLE full (x UInt64, s String CODEC(NONE)) ENGINE = MergeTree ORDER BY x", nil)
	stored := 0
	for range 20 {
		r := post(t, e, "INSERT INTO full SELECT number, randomString(100) FROM numbers(50000)", nil)
		if r.status == 200 {
			stored += 50000
			continue
		}
		if r.header.Get("X-ClickHouse-Exception-Code") != "243" || !strings.Contains(r.body, "not enough space") {
			t.Errorf("%d %s", r.status, r.body)
		}
		break
	}
	if r := post(t, e, "SELECT count() FROM full", nil); r.body != fmt.Sprintln(stored) || stored == 1000000 || e.Restarts() != 0 {
		t.Fatalf("%s rows, stored %d, %d restarts", r.body, stored, e.Restarts())
	}
	post(t, e, "TRUNCATE TABLE full", nil)
	waitFor(t, "space", func() bool {
		return post(t, e, "INSERT INTO full SELECT number, 'x' FROM numbers(10)", nil).status == 200
	})
}

// A dial while the engine is down waits for it instead of failing.
func TestDialWaitsForRestart(t *testing.T) {
	e := startEngine(t, Config{}, true)
	pid := e.Pid()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the death to be noticed", func() bool { return !e.Ready() })
	if r := post(t, e, "SELECT 1", nil); r.body != "1\n" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.DialContext(ctx, "", ""); err == nil {
		t.Error("a cancelled dial succeeded")
	}
}

func TestDirInUse(t *testing.T) {
	t.Parallel() // it waits for most of its time
	e := startEngine(t, Config{}, true)
	_, err := Start(context.Background(), Config{Dir: e.cfg.Dir})
	if !errors.Is(err, ErrDirInUse) || !strings.Contains(err.Error(), e.cfg.Dir) || !strings.Contains(err.Error(), fmt.Sprint(e.Pid())) {
		t.Fatalf("got %v", err)
	}
	if r := post(t, e, "SELECT 1", nil); r.body != "1\n" {
		t.Fatalf("the first engine suffered: %s", r.body)
	}
}

func TestLibraryMissing(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.so")
	t.Setenv(LibraryEnv, none)
	_, err := Start(context.Background(), Config{Dir: t.TempDir()})
	for _, want := range []string{none, LibraryEnv, "npm ci --prefix engine", "make setup"} {
		if !errors.Is(err, ErrLibraryMissing) || !strings.Contains(err.Error(), want) {
			t.Errorf("a named library that is not there: %v; want %s", err, want)
		}
	}
	t.Setenv(LibraryEnv, "")
	t.Chdir(t.TempDir())
	_, err = FindLibrary("", filepath.Join(t.TempDir(), "bin", "gatehouse"))
	if !errors.Is(err, ErrLibraryMissing) || !strings.Contains(err.Error(), "npm ci --prefix engine") || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("got %v", err)
	}
}

func TestFindLibraryOrder(t *testing.T) {
	root := t.TempDir()
	exe := filepath.Join(root, "bin", "gatehouse")
	put := func(p ...string) string {
		f := filepath.Join(append([]string{root}, p...)...)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	pkg, file := libraryPackage(runtime.GOOS + "/" + runtime.GOARCH)
	if pkg == "" {
		t.Skip("no library for this platform")
	}
	t.Setenv(LibraryEnv, "")
	want := put("engine", "node_modules", pkg, file)
	if got, err := FindLibrary("", exe); err != nil || got != want {
		t.Errorf("source tree: %s %v", got, err)
	}
	want = put("bin", "lib", file)
	if got, err := FindLibrary("", exe); err != nil || got != want {
		t.Errorf("beside the executable: %s %v", got, err)
	}
	want = put("elsewhere", "x.so")
	t.Setenv(LibraryEnv, want)
	if got, err := FindLibrary("", exe); err != nil || got != want {
		t.Errorf("environment: %s %v", got, err)
	}
}

// A data directory that is no directory, and a library that is none, end the
// start with the child's words instead of a restart loop.
func TestStartFailures(t *testing.T) {
	needLibrary(t)
	f := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(f, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(context.Background(), Config{Dir: f}); err == nil {
		t.Error("started in a file")
	}
	if _, err := Start(context.Background(), Config{Dir: t.TempDir(), Library: f}); err == nil || !strings.Contains(err.Error(), "load engine library") {
		t.Errorf("bad library: %v", err)
	}
}

// What a child's end means, by its status or, when main has its own, by its words.
func TestChildErrors(t *testing.T) {
	exit := func(code int) error {
		err := exec.CommandContext(context.Background(), "sh", "-c", fmt.Sprint("exit ", code)).Run()
		if err == nil {
			t.Fatal("no error")
		}
		return err
	}
	for _, tc := range []struct {
		err   error
		words string
		want  error
	}{
		{exit(exitDirInUse), "", ErrDirInUse},
		{exit(1), "level=INFO\nerror: " + ErrDirInUse.Error() + ": /d", ErrDirInUse},
		{exit(exitDiskFull), "", ErrDiskFull},
		{exit(1), "open /d: No space left on device\nexit", ErrDiskFull},
		{exit(exitLibrary), "", ErrLibraryMissing},
	} {
		l := &lastWords{}
		_, _ = l.Write([]byte(tc.words))
		if got := childError(t.TempDir(), tc.err, l); !errors.Is(got, tc.want) {
			t.Errorf("%v %q: %v", tc.err, tc.words, got)
		}
	}
	l := &lastWords{}
	_, _ = l.Write([]byte("something else\n"))
	if got := childError("/d", exit(3), l); !strings.Contains(got.Error(), "something else") || errors.Is(got, ErrDirInUse) {
		t.Error(got)
	}
}

// A long data directory does not fit into a socket address; the engine works all the same.
func TestLongDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long directory name/", 6))
	e := startEngine(t, Config{Dir: dir}, true)
	if r := post(t, e, "SELECT 1", nil); r.body != "1\n" {
		t.Fatal(r.body)
	}
	st, err := os.Stat(e.Socket())
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", st.Mode(), err)
	}
	st, err = os.Stat(filepath.Dir(e.Socket()))
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("socket's directory: %v %v", st.Mode(), err)
	}
}

// The child goes when its parent goes, even by SIGKILL: here the parent is a
// process of its own.
func TestDiesWithParent(t *testing.T) {
	needLibrary(t)
	if dir := os.Getenv("GATEHOUSE_TEST_PARENT"); dir != "" {
		e, err := Start(context.Background(), Config{Dir: dir})
		if err != nil {
			fmt.Println("failed", err)
			return
		}
		fmt.Println("pid", e.Pid())
		select {}
	}
	lib, err := FindLibrary("", "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestDiesWithParent$")
	cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_PARENT="+dir, LibraryEnv+"="+lib)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanf(out, "pid %d\n", &pid); err != nil {
		rest, _ := io.ReadAll(out)
		t.Fatalf("%v %s", err, rest)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the child %d is not there: %v", pid, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// Once the directory can be opened again the child is gone.
	waitFor(t, "the child to end", func() bool {
		l, err := lockDir(dir)
		if err == nil {
			_ = l.Close()
		}
		return err == nil
	})
}

// Kill -9 under insert load, many times: every acknowledged block is there
// once, whether its acknowledgement was lost or not, in the table and in the
// sums of its view.
func TestKillUnderLoad(t *testing.T) {
	e := startEngine(t, Config{}, true)
	ctx := context.Background()
	o := e.Options()
	c := openClient(t, o)
	mustExec(t, c, `CREATE TABLE load (w UInt8, block UInt32, n UInt32) ENGINE = MergeTree ORDER BY (w, block)
		SETTINGS non_replicated_deduplication_window = 10000`)
	mustExec(t, c, `CREATE TABLE load_sum (w UInt8, rows SimpleAggregateFunction(sum, UInt64), s SimpleAggregateFunction(sum, UInt64))
		ENGINE = AggregatingMergeTree ORDER BY w SETTINGS non_replicated_deduplication_window = 10000`)
	mustExec(t, c, "CREATE MATERIALIZED VIEW load_mv TO load_sum AS SELECT w, count() AS rows, sum(n) AS s FROM load GROUP BY w")

	const writers, perBlock = 3, 2000
	kills := 8
	if testing.Short() {
		kills = 3
	}
	stop := make(chan struct{})
	var acked [writers]atomic.Int64
	var retries atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for block := 0; ; block++ {
				select {
				case <-stop:
					return
				default:
				}
				// The same block under the same token until it is acknowledged.
				for {
					q := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
						"insert_deduplication_token":                         fmt.Sprintf("%d-%d", w, block),
						"deduplicate_blocks_in_dependent_materialized_views": 1,
					}))
					b, err := c.PrepareBatch(q, "INSERT INTO load")
					if err == nil {
						for i := range perBlock {
							_ = b.Append(uint8(w), uint32(block), uint32(i))
						}
						err = b.Send()
					}
					if err == nil {
						acked[w].Add(1)
						break
					}
					retries.Add(1)
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	for k := range kills {
		before := acked[0].Load() + acked[1].Load() + acked[2].Load()
		waitFor(t, "inserts to go on", func() bool { return acked[0].Load()+acked[1].Load()+acked[2].Load() > before+int64(3+k%5) })
		pid := e.Pid()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		waitFor(t, "a new engine", func() bool { return e.Ready() && e.Pid() != pid })
	}
	close(stop)
	wg.Wait()
	if e.Restarts() != kills {
		t.Errorf("%d restarts, want %d", e.Restarts(), kills)
	}
	for w := range writers {
		blocks := uint64(acked[w].Load())
		var rows, distinct, mvRows, mvSum uint64
		if err := c.QueryRow(ctx, `SELECT (SELECT count() FROM load WHERE w = {w:UInt8}), (SELECT uniqExact(block, n) FROM load WHERE w = {w:UInt8}),
			(SELECT sum(rows) FROM load_sum WHERE w = {w:UInt8}), (SELECT sum(s) FROM load_sum WHERE w = {w:UInt8})`,
			clickhouse.Named("w", fmt.Sprint(w))).Scan(&rows, &distinct, &mvRows, &mvSum); err != nil {
			t.Fatal(err)
		}
		want := blocks * perBlock
		if rows != want || distinct != want || mvRows != want || mvSum != blocks*perBlock*(perBlock-1)/2 {
			t.Errorf("writer %d: %d rows, %d distinct, %d in the view with sum %d; acknowledged %d", w, rows, distinct, mvRows, mvSum, want)
		}
	}
	t.Logf("%d kills, %d blocks acknowledged, %d retries", kills, acked[0].Load()+acked[1].Load()+acked[2].Load(), retries.Load())
}
