package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"gatehouse/event"
	"gatehouse/spool"
)

// With a real spool, small enough to fill up: whoever was told 201 or 200 finds the event
// there after a reopening, and what was refused as full comes in when it is sent again.
func TestDurable(t *testing.T) {
	dir := t.TempDir()
	o := spool.Options{MaxBytes: 256 << 10}
	sp, err := spool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(o *Options) { o.Spool, o.Recent = sp, NewRecent(100_000) })
	var mu sync.Mutex
	recorded, statuses := map[string]int{}, map[int]int{}
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for n := range 400 {
				// Each event is sent by two clients.
				user := fmt.Sprintf("u%d-%d", c/2, n)
				body := fmt.Sprintf(`{"EventType":"Logon","UserName":%q,"ComputerName":"pc","Timestamp":1748174400,"SourceHost":"%0100d"}`, user, n)
				a := s.do(t, http.MethodPost, PathLogEvent, body, "X-API-Key", "acme")
				mu.Lock()
				statuses[a.status]++
				if a.status/100 == 2 {
					recorded[user]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if statuses[503] == 0 || statuses[201] == 0 || statuses[200] == 0 || statuses[201]+statuses[200]+statuses[503] != 3200 || statuses[201] != len(recorded) {
		t.Fatalf("answers %v for %d events", statuses, len(recorded))
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
	if a := s.post(t, PathLogEvent, line(1)); a.status != 503 {
		t.Errorf("a closed spool: %d", a.status)
	}
	if sp, err = spool.Open(dir, o); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	}()
	found := map[string]bool{}
	r := sp.NewReader(0)
	for {
		records, err := r.Read(t.Context(), spool.Limit{Before: sp.Last() + 1})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range records {
			var e event.Event
			if err := e.DecodeBinary(rec.Data, nil); err != nil {
				t.Fatal(err)
			}
			found[e.User] = true
		}
	}
	for user := range recorded {
		if !found[user] {
			t.Errorf("%s was recorded and is not in the spool", user)
		}
	}
	for user := range found {
		if recorded[user] == 0 {
			t.Errorf("%s is in the spool and nobody was told so", user)
		}
	}
}

// A batch goes in whole or not at all.
func TestBatchIsAllOrNothing(t *testing.T) {
	sp, err := spool.Open(t.TempDir(), spool.Options{MaxBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := newServer(t, func(o *Options) { o.Spool = sp })
	sent := 0
	for n := 0; ; n += 300 {
		before := sp.Stats().Records
		a := s.post(t, PathEvents, lines(n, n+300))
		if a.status == 200 {
			if sent += 300; sp.Stats().Records != before+300 {
				t.Fatalf("%d records after %d", sp.Stats().Records, before)
			}
			continue
		}
		if a.status != 503 || a.header.Get("Retry-After") == "" || sent == 0 {
			t.Fatalf("%d %s after %d", a.status, a.text, sent)
		}
		if sp.Stats().Records != before {
			t.Errorf("%d records after a refusal, %d before", sp.Stats().Records, before)
		}
		if a := s.post(t, PathEvents, lines(n, n+300)); a.status != 503 {
			t.Errorf("sent again: %d, though nothing of it was taken", a.status)
		}
		break
	}
	// More than the spool takes in one call is not worth trying again.
	big := newServer(t, func(o *Options) { o.Spool, o.Limits.BatchEvents = sp, 5000 })
	if a := big.post(t, PathEvents, lines(0, 4000)); a.status != 413 || a.header.Get("Retry-After") != "" {
		t.Errorf("a batch beyond the spool: %d %s", a.status, a.text)
	}
}
