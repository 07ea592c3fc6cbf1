package main

import (
	"bytes"
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
