package ingest

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"gatehouse/event"
	"gatehouse/spool"
)

// kills is how often the kill tests kill; $GATEHOUSE_KILLS overrides it.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("GATEHOUSE_KILLS")); err == nil && n > 0 {
		return n
	}
	return 4
}

// The engine is killed at random moments while blocks go in.
func TestWriterSurvivesEngineKills(t *testing.T) {
	e := startTestEngine(t, t.TempDir())
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	conn := testStore(t, e)
	s := testSpool(t, t.TempDir())
	w, _ := runWriter(t, conn, s, WriterOptions{BlockRows: 2000, BlockDelay: 50 * time.Millisecond})
	r := rand.New(rand.NewPCG(12, uint64(time.Now().UnixNano())))
	want := map[event.ID]event.Event{}
	for range kills() {
		end := time.Now().Add(time.Duration(500+r.IntN(1500)) * time.Millisecond)
		for time.Now().Before(end) {
			events := drawEvents(r, 1000, 400_000)
			remember(want, events)
			appendEvents(t, s, events)
			time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
		}
		for e.Pid() <= 0 || !e.Ready() { // it may be dead yet of the kill before; 0 would be our own process group
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		if pid := e.Pid(); pid > 0 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	flush(t, w)
	// With nothing left to write, a flush does not wait for the engine that was killed last.
	for end := time.Now().Add(time.Minute); conn.Ping(t.Context()) != nil && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	checkStore(t, conn, want)
	t.Logf("%d events, %d engine restarts, %+v", len(want), e.Restarts(), w.Stats())
}

// The process with the writer is killed at random moments, with its engine or without.
func TestWriterSurvivesItsOwnKills(t *testing.T) {
	if os.Getenv("GATEHOUSE_TEST_WRITER") != "" {
		writerProcess(t)
		return
	}
	dir := t.TempDir()
	// A process of its own holds the engine, so that it can be killed with the writer.
	r := rand.New(rand.NewPCG(13, uint64(time.Now().UnixNano())))
	want := map[event.ID]event.Event{}
	testEngine(t) // skip where there is none
	for i := range kills() {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriterSurvivesItsOwnKills$", "-test.count=1")
		cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_WRITER="+dir, fmt.Sprintf("GATEHOUSE_TEST_SEED=%d", i))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It tells which seeds' events are durable in the queue.
		kill := time.AfterFunc(time.Hour, func() {})
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			seed, ok := strings.CutPrefix(lines.Text(), "durable ")
			if !ok {
				continue
			}
			n, err := strconv.ParseUint(seed, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if len(want) == 0 || n%1000 == 0 {
				kill.Stop()
				kill = time.AfterFunc(time.Duration(300+r.IntN(2500))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
			remember(want, seedEvents(n))
		}
		kill.Stop()
		_ = cmd.Wait() // it was killed
	}
	o := writerParts(t, dir)
	flush(t, o.w)
	// Events whose line the kill cut off may be there as well; each once.
	rows, err := o.conn.Query(t.Context(), "SELECT id FROM events")
	if err != nil {
		t.Fatal(err)
	}
	got, total := map[event.ID]bool{}, 0
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		got[event.ID([]byte(id))] = true
		total++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if total != len(got) {
		t.Errorf("%d rows of %d events", total, len(got))
	}
	for id := range want {
		if !got[id] {
			t.Fatalf("a durable event is missing")
		}
	}
	for id := range got {
		want[id] = event.Event{}
	}
	checkStore(t, o.conn, want)
	t.Logf("%d events, %+v", len(got), o.w.Stats())
	o.close()
}

func seedEvents(n uint64) []event.Event {
	return drawEvents(rand.New(rand.NewPCG(n, 14)), 500, 300_000)
}

type parts struct {
	conn  clickhouse.Conn
	w     *Writer
	s     *spool.Spool
	close func()
}

// writerParts puts a server's ingestion together in dir.
func writerParts(t *testing.T, dir string) parts {
	t.Helper()
	e := startTestEngine(t, dir+"/engine")
	conn := storeNamed(t, e, "kills")
	s, err := spool.Open(dir+"/spool", spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, stop := runWriter(t, conn, s, WriterOptions{Dir: dir + "/writer", BlockRows: 2000, BlockDelay: 20 * time.Millisecond})
	return parts{conn, w, s, func() {
		stop()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}}
}

// writerProcess appends until it is killed.
func writerProcess(t *testing.T) {
	o := writerParts(t, os.Getenv("GATEHOUSE_TEST_WRITER"))
	seed, err := strconv.ParseUint(os.Getenv("GATEHOUSE_TEST_SEED"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for n := seed * 1000; ; n++ {
		events := seedEvents(n)
		records := make([][]byte, len(events))
		for i := range events {
			records[i] = events[i].AppendBinary(nil)
		}
		if _, err := o.s.Append(context.Background(), records...); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("durable %d\n", n)
		time.Sleep(40 * time.Millisecond) // about as fast as it goes in, so that kills meet every stage
	}
}
