package logctx_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"gatehouse/internal/logctx"
)

func TestFields(t *testing.T) {
	t.Parallel()
	if f := logctx.From(context.Background()); f != (logctx.Fields{}) || f.Attrs() != nil {
		t.Errorf("of a bare context: %+v", f)
	}
	logctx.SetCaller(context.Background(), 7, "alice", "session ab") // nothing to tell it to
	other := logctx.With(t.Context(), logctx.Fields{RequestID: "r0"})
	request := logctx.With(other, logctx.Fields{RequestID: "r1", Address: netip.MustParseAddr("::ffff:192.0.2.1")})
	within, cancel := context.WithCancel(request)
	defer cancel()
	logctx.SetCaller(within, 7, "alice", "session ab")
	// Whoever had the context before the caller was known knows them too.
	for _, ctx := range []context.Context{request, within} {
		if got := fmt.Sprint(logctx.From(ctx).Attrs()); got != "[request_id=r1 user_id=7 via=session ab address=192.0.2.1]" {
			t.Error(got)
		}
	}
	if f := logctx.From(other); f.UserID != 0 || f.User != "" {
		t.Errorf("another request took the person of this one: %+v", f)
	}
}

// TestHandler: a record says of its request what it does not say itself, once.
func TestHandler(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(logctx.Handler(slog.NewTextHandler(&out, nil))).With(slog.String("logger", "test"))
	ctx := logctx.With(t.Context(), logctx.Fields{RequestID: "r1", UserID: 7})
	for want, say := range map[string]func(){
		`msg=plain logger=test a=1`:                         func() { log.Info("plain", slog.Int("a", 1)) },
		`msg=known logger=test a=1 request_id=r1 user_id=7`: func() { log.InfoContext(ctx, "known", slog.Int("a", 1)) },
		`msg=own logger=test request_id=r2 user_id=7`:       func() { log.InfoContext(ctx, "own", slog.String("request_id", "r2")) },
		`msg=group logger=test g.a=1 g.request_id=r1`:       func() { log.WithGroup("g").InfoContext(ctx, "group", slog.Int("a", 1)) },
		`msg=last logger=test request_id=r1 user_id=7`:      func() { log.InfoContext(ctx, "last") },
	} {
		out.Reset()
		say()
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s, want %s", out.String(), want)
		}
	}
	if log.Enabled(ctx, slog.LevelDebug) {
		t.Error("it says more than the handler behind it")
	}
}
