package query

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"gatehouse/event"
)

// Many session reports at once on a pool of few connections wait for each other's connections, never for each
// other's ends: a report that held one while it waited for a second would stop all of them.
func TestSessionsOnFewConnections(t *testing.T) {
	testConn(t)
	o := shared.options
	o.MaxOpenConns, o.MaxIdleConns = 2, 2
	// An answer of many small blocks, which keeps its connection until its rows are read, as a large one does.
	o.BlockBufferSize, o.Settings = 1, clickhouse.Settings{"max_block_size": 10}
	conn, err := clickhouse.Open(&o)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // only read from
	c := newCompany("UTC")
	var events []event.Event
	for i := range 400 {
		at := testNow.Add(-48*time.Hour + time.Duration(i)*time.Minute).UnixMilli()
		events = append(events, event.Event{
			CompanyID: c.ID, Time: at, Received: at, User: fmt.Sprintf("user%03d", i/2), Computer: "pc", Account: event.AccountUser, LogonType: 2,
			Type: []event.Type{event.Logon, event.Logoff}[i%2],
		})
	}
	insertEvents(t, conn, events)
	reports := New(conn, Options{Now: func() time.Time { return testNow }})
	p := Params{From: testNow.Add(-72 * time.Hour), To: testNow, Location: time.UTC, Limit: 1000}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			report, err := reports.Sessions(ctx, c, p)
			if err != nil {
				t.Error(err)
			} else if len(report.Rows) != 200 {
				t.Errorf("%d sessions, want 200", len(report.Rows))
			}
		})
	}
	wg.Wait()
	t.Logf("10 reports took %s", time.Since(start).Round(time.Millisecond))
}
