package refusal_test

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/refusal"
)

// TestOnceASecond: of each kind there is a line a second, whatever the others do, and none is left out uncounted.
func TestOnceASecond(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	var out bytes.Buffer
	l := refusal.New(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now })
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/users?token=hunter2", nil)
	for range 100 {
		l.Request(r, "forbidden", "not yours")
		l.Request(r, "unauthorized", "sign in")
	}
	now = now.Add(time.Second)
	l.Request(r, "forbidden", "not yours")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "refusal=forbidden method=GET path=/api/v1/users reason=\"not yours\" others_since_the_last=0") ||
		!strings.Contains(lines[1], "refusal=unauthorized") || !strings.Contains(lines[2], "refusal=forbidden") || !strings.Contains(lines[2], "others_since_the_last=99") {
		t.Errorf("the log says:\n%s", out.String())
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Error("a parameter is in the log")
	}
	now = now.Add(-time.Hour) // a clock that is set back must not silence it
	l.Request(r, "forbidden", "not yours")
	if strings.Count(out.String(), "\n") != 4 {
		t.Errorf("the log says:\n%s", out.String())
	}
}
