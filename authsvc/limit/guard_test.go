package limit_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc/limit"
)

// TestRefusalsAreLogged: a limit that is exceeded shows in the log, without the value that is counted and without filling it.
func TestRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	clk := &clock{t: time.Unix(1_800_000_000, 0)}
	var out bytes.Buffer
	g := limit.NewGuard(limit.NewMemory(clk.now), []byte("secret"), slog.New(slog.NewTextHandler(&out, nil))).WithClock(clk.now)
	check := func(times int) {
		for range times {
			_, _ = g.Check(t.Context(), "sign_in_account", "ada@example.com", limit.Rate{Count: 1, Per: time.Hour}) // the log is looked at
		}
	}
	check(1)
	if out.Len() > 0 {
		t.Fatalf("logged without a refusal: %s", out.String())
	}
	check(100)
	clk.t = clk.t.Add(time.Second)
	check(1)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "limit=sign_in_account") || !strings.Contains(lines[1], "others_since_the_last=99") || strings.Contains(out.String(), "ada") {
		t.Errorf("the log says:\n%s", out.String())
	}
}
