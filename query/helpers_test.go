package query

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	_ "time/tzdata" // the tests' zones must not depend on the machine

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
	"gatehouse/internal/enginetest"
	"gatehouse/schema"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// testNow is the injected clock: after every event of the tests.
var testNow = time.Date(2025, 11, 20, 12, 34, 56, 789e6, time.UTC)

// shared is one database with the real schema for all tests of the package. Each case
// takes a company of its own, so that thousands run side by side.
var shared struct {
	once    sync.Once
	options clickhouse.Options
	conn    driver.Conn
	err     error
	company atomic.Uint32
}

func openShared(o *clickhouse.Options) (driver.Conn, error) {
	name := enginetest.Database()
	migrations, err := schema.NewClickHouse(o, schema.Layout{Database: name})
	if err != nil {
		return nil, err
	}
	if _, _, err := migrations.Up(context.Background()); err != nil {
		return nil, err
	}
	o.Auth.Database = name
	shared.options = *o
	return clickhouse.Open(o)
}

// testConn is a connection to the package's database.
func testConn(t testing.TB) driver.Conn {
	t.Helper()
	e := enginetest.Shared(t)
	shared.once.Do(func() { shared.conn, shared.err = openShared(e.Options()) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.conn
}

// testReports are reports on the package's engine with the clock at testNow.
func testReports(t testing.TB) *Reports {
	t.Helper()
	return New(testConn(t), Options{Now: func() time.Time { return testNow }})
}

// newCompany is a company that no other case uses.
func newCompany(zone string) Company {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	id := shared.company.Add(1)
	return Company{ID: id, Name: fmt.Sprintf("company-%d", id), Location: loc, MaxSession: 24 * time.Hour}
}

// insertEvents stores events as the writer does.
func insertEvents(t interface{ Fatal(...any) }, conn driver.Conn, events []event.Event) {
	if len(events) == 0 {
		return
	}
	batch, err := conn.PrepareBatch(context.Background(), `INSERT INTO events (company_id, site_id, time, lag_ms, type, account,
		user, user_name, computer, computer_name, domain, sid, logon_id, linked_logon_id, logon_type, elevated,
		local_ip, public_ip, source_ip, source_host, status, sub_status, event_id, record_id, content_hash, channel, provider, agent, retry)`)
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		e := &events[i]
		err := batch.Append(e.CompanyID, e.SiteID, time.UnixMilli(e.Time).UTC(), e.Received-e.Time, e.Type.String(), e.Account.String(),
			event.Fold(e.User), e.User, event.Fold(e.Computer), e.Computer, e.Domain, e.SID, e.LogonID, e.LinkedLogonID, e.LogonType, e.Elevated,
			ip6(e.LocalIP), ip6(e.PublicIP), ip6(e.SourceIP), e.SourceHost, e.Status, e.SubStatus, e.EventID, e.RecordID, e.ContentHash,
			e.Channel, e.Provider, e.Agent, e.Retry)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
}

func ip6(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return netip.IPv6Unspecified()
	}
	return netip.AddrFrom16(a.As16())
}
