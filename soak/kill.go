package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"gatehouse/bench"
)

// killer ends a server and its engine at random moments.
type killer struct {
	server *bench.Server
	r      *rand.Rand
	logf   func(format string, args ...any)
}

// work is how long the server is left in peace before a kill, at most.
const work = 2500 * time.Millisecond

// server kills the server and starts it again; one time in four it kills the new one
// while it is still starting, once.
func (k *killer) killServer(ctx context.Context) error {
	if err := k.wait(ctx, work); err != nil {
		return err
	}
	if err := k.server.Kill(); err != nil {
		return err
	}
	if k.r.IntN(4) == 0 {
		if err := k.server.Launch(); err != nil {
			return err
		}
		if err := k.wait(ctx, 1500*time.Millisecond); err != nil {
			return err
		}
		if err := k.server.Kill(); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := k.server.Start(ctx); err != nil {
		return fmt.Errorf("after a kill: %w", err)
	}
	k.logf("server killed; ready again after %s", time.Since(begin).Round(time.Millisecond))
	return nil
}

// engine kills the engine, which the server must start again by itself.
func (k *killer) killEngine(ctx context.Context) error {
	if err := k.wait(ctx, work); err != nil {
		return err
	}
	var pid int
	for limit := time.Now().Add(30 * time.Second); pid == 0; {
		if pid = k.server.EnginePID(); pid == 0 {
			if time.Now().After(limit) {
				return errors.New("the server has no engine: it was not started again within 30 s")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	k.logf("engine killed")
	return nil
}

func (k *killer) wait(ctx context.Context, most time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(k.r.Int64N(int64(most)))):
		return nil
	}
}
