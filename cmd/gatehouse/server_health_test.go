package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A store whose report connections are all at work is busy, not away: agents hear "connected".
func TestBusyStoreIsConnected(t *testing.T) {
	s := startTestServer(t)
	c := testClient(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, reportConns)
	for range reportConns {
		go func() {
			ended <- s.conn.Exec(ctx, "SELECT sleepEachRow(1) FROM numbers(30) SETTINGS max_block_size = 1")
		}()
	}
	defer func() {
		cancel()
		for range reportConns {
			if err := <-ended; err == nil {
				t.Error("a statement that keeps the store busy came to its end: the test shows nothing")
			}
		}
	}()
	for s.conn.Stats().Open < reportConns {
		time.Sleep(10 * time.Millisecond)
	}
	if code, text := call(t, c, http.MethodPost, s.url+"/api/health", "", ""); code != http.StatusOK || !strings.Contains(text, `"database":"connected"`) {
		t.Errorf("%d %s", code, text)
	}
	code, text := call(t, c, http.MethodGet, s.url+"/readyz", "", "")
	if code != http.StatusOK || !strings.Contains(text, `"status":"ready"`) || !strings.Contains(text, `"engine":"embedded","engine_fence":"`+string(s.engine.Fence())+`"`) {
		t.Errorf("%d %s", code, text)
	}
}
