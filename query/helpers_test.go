package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	_ "time/tzdata" // the tests' zones must not depend on the machine

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/pflag"

	"gatehouse/engine"
	"gatehouse/event"
	"gatehouse/schema"
)

// TestMain lets the test binary be the engine's child process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		var o engine.ServeOptions
		fs := pflag.NewFlagSet("engine", pflag.ExitOnError)
		o.AddFlags(fs)
		if err := fs.Parse(os.Args[2:]); err != nil {
			os.Exit(2)
		}
		err := engine.Main(context.Background(), o)
		if err != nil {
			fmt.Fprintln(os.Stderr, "engine:", err)
		}
		os.Exit(engine.ExitCode(err))
	}
	code := m.Run()
	if err := shared.close(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// testDatabase is where the tests' tables are.
const testDatabase = "gatehouse"

// testNow is the injected clock: after every event of the tests.
var testNow = time.Date(2025, 11, 20, 12, 34, 56, 789e6, time.UTC)

// testStore is one engine with the real schema for all tests of the package.
// Each case takes a company of its own, so that thousands run side by side.
type testStore struct {
	once    sync.Once
	err     error
	dir     string
	engine  *engine.Engine
	conn    driver.Conn
	company atomic.Uint32
}

var shared testStore

func (s *testStore) start() {
	s.err = func() error {
		if _, err := engine.FindLibrary("", ""); err != nil {
			return err
		}
		ctx := context.Background()
		dir, err := os.MkdirTemp("", "gatehouse-query-*")
		if err != nil {
			return err
		}
		s.dir = dir
		s.engine, err = engine.Start(ctx, engine.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		o := s.engine.Options()
		migrations, err := schema.NewClickHouse(o, schema.Layout{Database: testDatabase})
		if err != nil {
			return err
		}
		if _, _, err := migrations.Up(ctx); err != nil {
			return err
		}
		o.Auth.Database = testDatabase
		s.conn, err = clickhouse.Open(o)
		return err
	}()
}

func (s *testStore) close() error {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	if s.engine != nil {
		if err := s.engine.Close(); err != nil {
			return err
		}
	}
	if s.dir != "" {
		return os.RemoveAll(s.dir)
	}
	return nil
}

// testConn is a connection to the package's engine. Without the engine's
// library the test is skipped, except in CI.
func testConn(t testing.TB) driver.Conn {
	t.Helper()
	shared.once.Do(shared.start)
	if errors.Is(shared.err, engine.ErrLibraryMissing) && os.Getenv("CI") != "true" {
		t.Skip(shared.err)
	}
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
