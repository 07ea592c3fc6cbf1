//go:build linux || darwin

package engine

import (
	"context"
	"testing"
)

func TestClientInsertsAndSelects(t *testing.T) {
	e := sharedEngine(t)
	c := openClient(t, e.Options())
	ctx := context.Background()
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	mustExec(t, c, "CREATE OR REPLACE TABLE first (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
	b, err := c.PrepareBatch(ctx, "INSERT INTO first")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := b.Append(uint64(i), "row"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Send(); err != nil {
		t.Fatal(err)
	}
	var n, sum uint64
	if err := c.QueryRow(ctx, "SELECT count(), sum(a) FROM first WHERE b = {b:String} AND a < ?", 1000).Scan(&n, &sum); err == nil {
		t.Fatal("mixed parameters were accepted")
	}
	if err := c.QueryRow(ctx, "SELECT count(), sum(a) FROM first WHERE a < ?", 1000).Scan(&n, &sum); err != nil {
		t.Fatal(err)
	}
	if n != 1000 || sum != 499500 {
		t.Fatalf("got %d rows with sum %d", n, sum)
	}
}
