package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"gatehouse/engine"
	"gatehouse/event"
	"gatehouse/schema"
)

// columns is one block of events by column, as clickhouse-go takes them fastest.
type columns struct {
	company, site, status, subStatus                          []uint32
	time, lag                                                 []int64
	kind, account                                             []int8
	logonID, linked, record, content                          []uint64
	logonType                                                 []uint8
	elevated                                                  []bool
	localIP, publicIP, sourceIP                               []netip.Addr
	eventID, retry                                            []uint16
	user, userName, computer, computerName, domain, sid, host []string
	channel, provider, agent                                  []string
}

// limitInsert names the columns in the order in which columns.append gives them.
const limitInsert = `INSERT INTO events (company_id, site_id, time, lag_ms, type, account, user, user_name, computer, computer_name,
	domain, sid, logon_id, linked_logon_id, logon_type, elevated, local_ip, public_ip, source_ip, source_host, status, sub_status,
	event_id, record_id, content_hash, channel, provider, agent, retry)`

func makeColumns(events []event.Event) *columns {
	c := &columns{}
	addr := func(a netip.Addr) netip.Addr {
		if !a.IsValid() {
			return netip.IPv6Unspecified()
		}
		return netip.AddrFrom16(a.As16())
	}
	for i := range events {
		e := &events[i]
		c.company, c.site = append(c.company, e.CompanyID), append(c.site, e.SiteID)
		c.time, c.lag = append(c.time, e.Time), append(c.lag, e.Received-e.Time)
		c.kind, c.account = append(c.kind, int8(e.Type)), append(c.account, int8(e.Account)) //nolint:gosec // small enumerations
		c.user, c.userName = append(c.user, event.Fold(e.User)), append(c.userName, e.User)
		c.computer, c.computerName = append(c.computer, event.Fold(e.Computer)), append(c.computerName, e.Computer)
		c.domain, c.sid, c.host = append(c.domain, e.Domain), append(c.sid, e.SID), append(c.host, e.SourceHost)
		c.logonID, c.linked = append(c.logonID, e.LogonID), append(c.linked, e.LinkedLogonID)
		c.logonType, c.elevated = append(c.logonType, e.LogonType), append(c.elevated, e.Elevated)
		c.localIP, c.publicIP, c.sourceIP = append(c.localIP, addr(e.LocalIP)), append(c.publicIP, addr(e.PublicIP)), append(c.sourceIP, addr(e.SourceIP))
		c.status, c.subStatus = append(c.status, e.Status), append(c.subStatus, e.SubStatus)
		c.eventID, c.record, c.content = append(c.eventID, e.EventID), append(c.record, e.RecordID), append(c.content, e.ContentHash)
		c.channel, c.provider, c.agent = append(c.channel, e.Channel), append(c.provider, e.Provider), append(c.agent, e.Agent)
		c.retry = append(c.retry, e.Retry)
	}
	return c
}

func (c *columns) append(b driver.Batch) error {
	for i, v := range []any{
		c.company, c.site, c.time, c.lag, c.kind, c.account, c.user, c.userName, c.computer, c.computerName,
		c.domain, c.sid, c.logonID, c.linked, c.logonType, c.elevated, c.localIP, c.publicIP, c.sourceIP, c.host, c.status, c.subStatus,
		c.eventID, c.record, c.content, c.channel, c.provider, c.agent, c.retry,
	} {
		if err := b.Column(i).Append(v); err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return nil
}

// limitBlock is the rows of one insert, the same as the server's own blocks.
const limitBlock = 100_000

// engineLimit is how many rows a second clickhouse-go puts into the very tables
// that the server fills, in an engine and data directory of its own, with
// rows that lie ready in memory; the better of one writer and two.
func (r *Runner) engineLimit(ctx context.Context, l *load) (best float64, err error) {
	var blocks []*columns
	for part := range slices.Chunk(l.events, limitBlock) {
		blocks = append(blocks, makeColumns(part))
	}
	for writers := 1; writers <= 2; writers++ {
		took, err := r.fillAlone(ctx, blocks, len(l.events), writers)
		if err != nil {
			return 0, fmt.Errorf("engine_limit with %d writers: %w", writers, err)
		}
		rate := float64(len(l.events)) / took.Seconds()
		r.Board.Note("engine_limit, %d writers: %s rows/s", writers, number(rate))
		best = max(best, rate)
	}
	return best, nil
}

func (r *Runner) fillAlone(ctx context.Context, blocks []*columns, rows, writers int) (took time.Duration, err error) {
	dir, remove, err := r.tempDir("limit")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	e, err := engine.Start(ctx, engine.Config{Dir: filepath.Join(dir, "engine"), Executable: r.Binary, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	const database = "gatehouse"
	m, err := schema.NewClickHouse(e.Options(), schema.Layout{Database: database})
	if err != nil {
		return 0, err
	}
	if _, _, err := m.Up(ctx); err != nil {
		return 0, err
	}
	o := e.Options()
	o.Auth.Database = database
	conn, err := clickhouse.Open(o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	work := make(chan *columns, len(blocks))
	for _, b := range blocks {
		work <- b
	}
	close(work)
	begin := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for range writers {
		g.Go(func() error {
			for c := range work {
				batch, err := conn.PrepareBatch(gctx, limitInsert)
				if err != nil {
					return err
				}
				if err := c.append(batch); err != nil {
					return errors.Join(err, batch.Abort())
				}
				if err := batch.Send(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	took = time.Since(begin)
	var n uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM events").Scan(&n); err != nil {
		return 0, err
	}
	if n != uint64(rows) { //nolint:gosec // not negative
		return 0, fmt.Errorf("%d rows are there, want %d", n, rows)
	}
	return took, nil
}
