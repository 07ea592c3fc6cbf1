package spool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// killChild is set in the process that TestKill kills; its working directory is the spool.
const killChild = "GATEHOUSE_SPOOL_KILL_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(killChild) != "" {
		if err := appendForEver("."); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

var killOptions = Options{MaxBytes: 8 << 20, SegmentSize: 256 << 10}

// appendForEver appends from several goroutines and tells each acknowledgement on standard output, while a
// consumer reads and trims, until the process is killed.
func appendForEver(dir string) error {
	s, err := Open(dir, killOptions)
	if err != nil {
		return err
	}
	fmt.Println("open")
	var serial atomic.Uint64
	serial.Store(rand.Uint64() >> 1)
	go func() {
		r := s.NewReader(0)
		for {
			recs, err := r.Read(context.Background(), Limit{Records: 500})
			if err != nil {
				fmt.Println("error", err)
				return
			}
			// It stays behind, so that there is something to find after the kill.
			if p := recs[len(recs)-1].Pos; p > 4000 {
				if err := s.Trim(p - 4000); err != nil {
					fmt.Println("error", err)
				}
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for {
				recs := make([][]byte, 1+i*i)
				for j := range recs {
					recs[j] = testRecord(serial.Add(1), 20+j%300)
				}
				last, err := s.Append(context.Background(), recs...)
				if errors.Is(err, ErrFull) {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil {
					fmt.Println("error", err)
					return
				}
				var line []byte
				for j, r := range recs {
					line = fmt.Appendf(line, "ack %d %x\n", last-Position(len(recs)-1-j), r[:8])
				}
				_, _ = os.Stdout.Write(line) // a broken pipe ends the process
			}
		})
	}
	wg.Wait()
	return nil
}

// TestKill kills a process that appends, many times in the same directory: every record that it had
// acknowledged, and not trimmed, is there at the position it said, and no record is there that it did not make.
func TestKill(t *testing.T) {
	rounds, deadline := 40, time.Now().Add(10*time.Second)
	if testing.Short() {
		rounds = 5
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	acked := map[Position][]byte{}
	highest := Position(0)
	for round := 0; round < rounds && time.Now().Before(deadline); round++ {
		out := runAndKill(t, exe, dir, time.Duration(rand.IntN(200))*time.Millisecond)
		for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
			var pos Position
			var head []byte
			line := sc.Text()
			if bytes.HasPrefix(sc.Bytes(), []byte("error")) {
				t.Fatalf("round %d: %s", round, line)
			}
			if n, _ := fmt.Sscanf(line, "ack %d %x", &pos, &head); n != 2 || len(head) != 8 {
				continue // the last line, cut by the kill, or "open"
			}
			if old, ok := acked[pos]; ok {
				t.Fatalf("round %d: position %d given twice: %x and %x", round, pos, old, head)
			}
			acked[pos] = head
			highest = max(highest, pos)
		}
		s, err := Open(dir, killOptions)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if st := s.Stats(); st.DamagedParts != 0 || s.Last() < highest || st.DiskBytes > killOptions.MaxBytes {
			t.Fatalf("round %d: %+v, highest acknowledged %d", round, st, highest)
		}
		got := readAll(t, s)
		for pos := range acked {
			if pos < s.First() {
				delete(acked, pos)
			} else if !bytes.HasPrefix(got[pos], acked[pos]) {
				t.Fatalf("round %d: acknowledged record %d: have %x, want %x", round, pos, got[pos], acked[pos])
			}
		}
		for pos, rec := range got {
			if want := testRecord(leU64(rec), len(rec)); !bytes.Equal(rec, want) {
				t.Fatalf("round %d: record %d is none that was appended", round, pos)
			}
		}
		if len(acked) == 0 {
			t.Logf("round %d: killed before the first acknowledgement", round)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if highest < 1000 {
		t.Fatalf("only %d records in all rounds", highest)
	}
	t.Logf("%d positions given", highest)
}

// runAndKill runs the child, kills it after the given time from its start, and returns what it said.
func runAndKill(t *testing.T, exe, dir string, after time.Duration) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^$")
	cmd.Env, cmd.Dir = append(os.Environ(), killChild+"=1"), dir
	var out bytes.Buffer
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1)
	if _, err := pipe.Read(first); err != nil { // it has opened the spool
		t.Fatalf("child: %v, %v", err, cmd.Wait())
	}
	out.Write(first)
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if _, err := out.ReadFrom(pipe); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	return out.Bytes()
}
