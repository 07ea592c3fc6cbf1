//go:build linux

package engine

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

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
	reached := make(chan struct{}, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			reached <- struct{}{}
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
	e := startEngine(t, Config{extraArgs: []string{"--test-allow-file"}}, true)
	addr := ln.Addr().String()
	post(t, e, "CREATE TABLE outside (a String) ENGINE = File(CSV, '"+secret+"')", nil)
	for _, q := range []string{
		"SELECT file('/etc/passwd')",
		"SELECT file('" + secret + "')",
		"SELECT * FROM file('/etc/passwd', 'LineAsString', 'a String')",
		"SELECT * FROM file('" + secret + "')",
		"SELECT * FROM file('/proc/" + strconv.Itoa(os.Getpid()) + "/environ', 'LineAsString', 'a String')",
		"SELECT 1 INTO OUTFILE '" + target + "'",
		"SELECT 1 INTO OUTFILE '" + target + "' FORMAT JSON",
		"INSERT INTO FUNCTION file('" + target + "', 'CSV', 'a String') VALUES ('x')",
		"SELECT * FROM url('http://" + addr + "/', 'CSV', 'a String')",
		"INSERT INTO FUNCTION url('http://" + addr + "/', 'CSV', 'a String') VALUES ('x')",
		"SELECT * FROM remote('" + addr + "', 'system.one')",
		"SELECT * FROM mysql('" + addr + "', 'd', 't', 'u', 'p')",
		"SELECT * FROM s3('http://" + addr + "/bucket/k.csv', 'CSV', 'a String')",
		"SELECT * FROM sqlite('" + secret + "', 't')",
		"SELECT * FROM executable('id', 'LineAsString', 'a String')",
		"SELECT * FROM file('/proc/self/environ', 'LineAsString', 'a String')",
		"SELECT * FROM file('/proc/" + strconv.Itoa(os.Getpid()) + "/cmdline', 'LineAsString', 'a String')",
		"SELECT * FROM outside",
		"INSERT INTO outside VALUES ('x')",
		"BACKUP DATABASE default TO File('" + target + "')",
	} {
		if r := post(t, e, q, nil); r.status == 200 {
			t.Errorf("%s: the fence has a hole: %s", q, r.body)
		} else {
			t.Logf("%s: %.160s", q, r.body)
		}
	}
	select {
	case <-reached:
		t.Error("the engine reached a TCP port")
	default:
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("the engine wrote outside of its directory")
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
