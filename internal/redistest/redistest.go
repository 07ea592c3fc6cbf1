// Package redistest gives tests a corner of a real Redis: the one at $GATEHOUSE_TEST_REDIS, else at 127.0.0.1:6379. A test without one is
// skipped with the reason, except under CI=true, where its absence is a failure.
package redistest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const defaultRedis = "redis://127.0.0.1:6379/0"

// Open connects to Redis. Keys that begin with prefix are the test's own, and removed when it ends.
func Open(t *testing.T) (client *redis.Client, prefix string) {
	t.Helper()
	address := os.Getenv("GATEHOUSE_TEST_REDIS")
	if address == "" {
		address = defaultRedis
	}
	options, err := redis.ParseURL(address)
	if err != nil {
		t.Fatalf("GATEHOUSE_TEST_REDIS: %v", err)
	}
	client = redis.NewClient(options)
	if err := client.Ping(t.Context()).Err(); err != nil {
		_ = client.Close()
		if os.Getenv("CI") != "true" {
			t.Skipf("no Redis for tests at %s (%v): start one or set GATEHOUSE_TEST_REDIS", options.Addr, err)
		}
		t.Fatalf("Redis for tests at %s: %v", options.Addr, err)
	}
	random := make([]byte, 6)
	_, _ = rand.Read(random) // never fails
	prefix = "{gatehouse-test-" + hex.EncodeToString(random) + "}:"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := client.Del(ctx, keys.Val()).Err(); err != nil {
				t.Errorf("remove test keys: %v", err)
			}
		}
		if err := keys.Err(); err != nil {
			t.Errorf("list test keys: %v", err)
		}
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return client, prefix
}
