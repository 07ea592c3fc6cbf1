package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/simulate"
)

// TestSimulateSaysHowToRepeat: the days of a simulation without --from end today, so the
// summary gives what makes the same ones tomorrow.
func TestSimulateSaysHowToRepeat(t *testing.T) {
	sim, err := simulate.New(simulate.Config{Seed: 7, Companies: 1, Users: 1, Days: 2})
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now().UTC().AddDate(0, 0, -2).Format(time.DateOnly)
	for asJSON, want := range map[bool]string{false: "--seed 7 --from " + from + " --days 3\n", true: `"from":"` + from + `"`} {
		var b bytes.Buffer
		if err := printSimulated(&b, sim.Config(), &simulate.Outcome{}, asJSON, false); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("want %q in %s", want, b.String())
		}
	}
}

// TestSimulateRefuses: a number that was given is meant, also 0; and a server that is not there is told also with --quiet.
func TestSimulateRefuses(t *testing.T) {
	t.Parallel()
	sh := console{t, []string{"--data", t.TempDir()}, nil}
	for _, flag := range []string{"--companies", "--users", "--days", "--events", "--batch", "--connections"} {
		for _, n := range []string{"0", "-1"} {
			sh.fails(2, []string{flag + " " + n + ": want at least 1"}, "simulate", "--out", "-", flag, n)
		}
	}
	strange := httptest.NewUnstartedServer(http.NotFoundHandler())
	strange.Config.ErrorLog = log.New(io.Discard, "", 0)
	strange.StartTLS()
	defer strange.Close()
	sh.fails(1, []string{"certificate"}, "simulate", "--url", strange.URL, "--key", "x", "--quiet", "--users", "1", "--days", "1")
}
