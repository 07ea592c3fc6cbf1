package ingest

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPatience: whenever a request comes, it has appendPatience, and at most a turn more.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p patience
		for _, pause := range []time.Duration{0, patienceTurn - 1, 1, 3 * time.Second, patienceTurn, time.Hour} {
			time.Sleep(pause)
			synctest.Wait()
			ctx, begin := p.context(), time.Now()
			if err := ctx.Err(); err != nil {
				t.Fatalf("after a pause of %s the context has ended already: %v", pause, err)
			}
			go func() {
				<-ctx.Done()
				if d := time.Since(begin); d < appendPatience || d > appendPatience+patienceTurn {
					t.Errorf("after a pause of %s the context lasted %s", pause, d)
				}
			}()
		}
		time.Sleep(2 * time.Minute)
	})
}
