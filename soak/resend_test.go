package soak

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gatehouse/event"
	"gatehouse/simulate"
)

// Everything is sent again: in other batches, other formats, another order,
// by file, after a restart. No report changes by a byte.
func TestSoakResend(t *testing.T) {
	users := 10
	if long() {
		users = 1500
	}
	s, tenant := newServer(t, nil)
	sim, from, to := newSim(t, 41, users)
	var events []event.Event
	for e := range sim.Company(0) {
		events = append(events, *e)
	}
	client := httpClient(t, s)
	send := func(format simulate.Format, events []event.Event, batch int) (total simulate.Result) {
		t.Helper()
		sink := &simulate.HTTP{URL: s.URL(), Format: format, Client: client, Key: func(context.Context, simulate.Company) (string, error) { return tenant.Key, nil }}
		for part := range slices.Chunk(events, batch) {
			r, err := sink.Send(t.Context(), simulate.Company{}, part)
			if err != nil {
				t.Fatal(err)
			}
			total.Accepted += r.Accepted
			total.Duplicate += r.Duplicate
			total.Rejected += r.Rejected
		}
		return total
	}
	if r := send(simulate.FormatNDJSON, events, 1000); r.Accepted != int64(len(events)) {
		t.Fatalf("%d events, %+v", len(events), r)
	}
	settle(t, s, tenant.Key, from, to, int64(len(events)))
	want, err := takeSnapshot(t.Context(), client, s.URL(), tenant.Key, reportParams(from, to))
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 6 {
		t.Fatalf("only %d reports", len(want))
	}
	check := func(how string) {
		t.Helper()
		settle(t, s, tenant.Key, from, to, int64(len(events)))
		got, err := takeSnapshot(t.Context(), client, s.URL(), tenant.Key, reportParams(from, to))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range want.differences(got) {
			t.Errorf("%s: %s", how, d)
		}
	}
	check("asked twice")

	t.Logf("the same events as Arrow, backwards: %+v", func() simulate.Result {
		back := slices.Clone(events)
		slices.Reverse(back)
		return send(simulate.FormatArrow, back, 777)
	}())
	check("sent again as Arrow, backwards")

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	client = httpClient(t, s)
	some := events[:min(len(events), 3000)]
	t.Logf("one by one after a restart: %+v", send(simulate.FormatSingle, some, len(some)))
	check("sent again one by one, after a restart")

	file := filepath.Join(t.TempDir(), "again.ndjson")
	var text []byte
	for i := range events {
		text = append(simulate.AppendJSON(text, &events[i]), '\n')
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CLI(t.Context(), "import", "--company", tenant.Name, "--json", file); err != nil {
		t.Error(err)
	}
	check("imported from a file")

	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	client = httpClient(t, s)
	t.Logf("in other batches after a kill: %+v", send(simulate.FormatNDJSON, events, 313))
	check("sent again after a kill")
}
