//go:build linux

package engine

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// control is what a statement does in an engine without the fence.
type control int

const (
	works    control = iota // it answers 200
	connects                // it reaches the port, where nobody speaks to it
	fails                   // it needs what is not installed or configured
)

func drain(c chan struct{}) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}

// What the kernel refuses to the engine even for trusted SQL. The statement
// check for INTO OUTFILE is switched off here, so that the fence alone answers.
func TestFence(t *testing.T) {
	needLibrary(t)
	abi := landlockABI()
	if abi < abiNetwork {
		// Nothing to test without a kernel that can: CI machines differ in that.
		t.Skipf("the kernel's Landlock is of ABI %d; the fence needs %d", abi, abiNetwork)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	reached := make(chan struct{}, 100)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			select {
			case reached <- struct{}{}:
			default:
			}
			_ = c.Close()
		}
	}()
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.csv")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(outside, "out")
	t.Setenv("GATEHOUSE_TEST_SECRET", "environment")
	type statement struct {
		text     string
		unfenced control
		says     string // what refuses it inside
	}
	addr := ln.Addr().String()
	statements := func(target string) []statement {
		const (
			denied   = "Permission denied"
			noSocket = "Poco::IOException: I/O error"
		)
		return []statement{
			{"SELECT file('/etc/passwd')", works, denied},
			{"SELECT file('" + secret + "')", works, denied},
			{"SELECT * FROM file('/etc/passwd', 'LineAsString', 'a String')", works, denied},
			{"SELECT * FROM file('" + secret + "')", works, denied},
			{"SELECT * FROM file('/proc/" + strconv.Itoa(os.Getpid()) + "/environ', 'LineAsString', 'a String')", works, denied},
			{"SELECT 1 INTO OUTFILE '" + target + "1'", works, denied},
			{"SELECT 1 INTO OUTFILE '" + target + "2' FORMAT JSON", works, denied},
			{"INSERT INTO FUNCTION file('" + target + "3', 'CSV', 'a String') VALUES ('x')", works, denied},
			{"SELECT * FROM url('http://" + addr + "/', 'CSV', 'a String')", connects, noSocket},
			{"INSERT INTO FUNCTION url('http://" + addr + "/', 'CSV', 'a String') VALUES ('x')", connects, denied},
			{"SELECT * FROM remote('" + addr + "', 'system.one')", connects, noSocket},
			{"SELECT * FROM mysql('" + addr + "', 'd', 't', 'u', 'p')", connects, "Can't connect to server on '127.0.0.1' (13)"},
			{"SELECT * FROM s3('http://" + addr + "/bucket/k.csv', 'CSV', 'a String')", connects, denied},
			{"SELECT * FROM sqlite('" + secret + "', 't')", fails, "unable to open database file"},
			{"SELECT * FROM executable('id', 'LineAsString', 'a String')", fails, "does not exist inside user scripts folder"},
			{"SELECT * FROM file('/proc/self/environ', 'LineAsString', 'a String')", works, denied},
			{"SELECT * FROM file('/proc/" + strconv.Itoa(os.Getpid()) + "/cmdline', 'LineAsString', 'a String')", works, denied},
			{"SELECT * FROM outside", works, denied},
			{"INSERT INTO outside VALUES ('x')", works, denied},
			{"BACKUP DATABASE default TO File('" + target + "4')", fails, "'backups.allowed_path' configuration parameter is not set"},
		}
	}
	const outsideTable = "CREATE TABLE outside (a String) ENGINE = File(CSV, '%s')"
	var openLog, log syncBuffer
	open := startEngine(t, Config{Logger: slog.New(slog.NewTextHandler(&openLog, nil)), extraArgs: []string{"--test-allow-file", "--no-fence"}}, true)
	if open.Fence() != FenceNone || !strings.Contains(openLog.String(), "level=WARN msg=\"THE ENGINE RUNS UNFENCED") {
		t.Errorf("an engine without a fence: %q, and the log says %s", open.Fence(), openLog.String())
	}
	post(t, open, fmt.Sprintf(outsideTable, filepath.Join(outside, "control.csv")), nil)
	if err := os.WriteFile(filepath.Join(outside, "control.csv"), []byte("control\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range statements(filepath.Join(outside, "control")) {
		if s.unfenced == fails {
			continue
		}
		if r := post(t, open, s.text, url.Values{"http_max_tries": {"1"}, "connections_with_failover_max_tries": {"1"}}); s.unfenced == works && r.status != 200 {
			t.Errorf("%s fails without the fence too, so it tests nothing: %s", s.text, r.body)
		}
		if s.unfenced == connects {
			select {
			case <-reached:
			default:
				t.Errorf("%s reaches nothing without the fence either, so it tests nothing", s.text)
			}
			drain(reached)
		}
	}
	if text, err := os.ReadFile(filepath.Join(outside, "control1")); err != nil || string(text) != "1\n" {
		t.Errorf("what an engine without a fence writes: %q %v", text, err)
	}

	e := startEngine(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), extraArgs: []string{"--test-allow-file"}}, true)
	if e.Fence() != FenceFull || strings.Contains(log.String(), "level=WARN") {
		t.Errorf("an engine with a fence: %q, and the log says %s", e.Fence(), log.String())
	}
	post(t, e, fmt.Sprintf(outsideTable, secret), nil)
	for _, s := range statements(target) {
		switch r := post(t, e, s.text, nil); {
		case r.status == 200:
			t.Errorf("%s: the fence has a hole: %s", s.text, r.body)
		case !strings.Contains(r.body, s.says):
			t.Errorf("%s: it is something else that refuses: %s", s.text, r.body)
		}
	}
	select {
	case <-reached:
		t.Error("the engine reached a TCP port")
	default:
	}
	if left, err := filepath.Glob(target + "*"); err != nil || len(left) > 0 {
		t.Errorf("the engine wrote outside of its directory: %v %v", left, err)
	}
	// The process itself: empty environment, no new privileges, no core files.
	pid := strconv.Itoa(e.Pid())
	env, err := os.ReadFile("/proc/" + pid + "/environ")
	if err != nil || strings.Trim(string(env), "\x00") != "TZ=UTC" {
		t.Errorf("environment %q %v", env, err)
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil || !strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Errorf("no_new_privs is not set: %v", err)
	}
	limits, err := os.ReadFile("/proc/" + pid + "/limits")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0") {
		t.Errorf("core files are allowed: %v", err)
	}
	// Every thread is inside, those that the Go runtime had at start too.
	tasks, err := filepath.Glob("/proc/" + pid + "/task/*/status")
	if err != nil || len(tasks) < 5 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, f := range tasks {
		b, err := os.ReadFile(f)
		if err == nil && !strings.Contains(string(b), "NoNewPrivs:\t1") {
			t.Errorf("%s is outside of the fence", f)
		}
	}
	// And it still works.
	post(t, e, "CREATE TABLE inside (a UInt64) ENGINE = MergeTree ORDER BY a", nil)
	if r := post(t, e, "INSERT INTO inside SELECT number FROM numbers(1000)", nil); r.status != 200 {
		t.Error(r.body)
	}
	if r := post(t, e, "SELECT count() FROM inside", url.Values{}); r.body != "1000\n" {
		t.Error(r.body)
	}
}

// Without the hook, INTO OUTFILE does not reach the engine: inside of its own
// directory the fence would let it write.
func TestOutfileRefused(t *testing.T) {
	e := sharedEngine(t)
	for _, q := range []string{"SELECT 1 INTO OUTFILE 'x'", "SELECT 1 INTO/**/OUTFILE 'x' FORMAT CSV", "INSERT INTO t FROM INFILE 'x' FORMAT CSV"} {
		if r := post(t, e, q, nil); r.header.Get("X-ClickHouse-Exception-Code") != "358" {
			t.Errorf("%s: %d %s", q, r.status, r.body)
		}
	}
}

func TestFencedFlagAlone(t *testing.T) {
	if err := checkFence(); err == nil {
		t.Error("a process outside of the fence passes for one inside")
	}
}
