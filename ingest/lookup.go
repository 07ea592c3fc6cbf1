package ingest

import (
	"context"
	"fmt"

	"gatehouse/event"
)

// Lookup tells what ClickHouse has. It only reads, keeps nothing, and may be used concurrently.
type Lookup struct{ store eventStore }

// NewLookup makes a Lookup. cluster names the ClickHouse cluster behind the tables, "" for one server.
func NewLookup(conn Conn, cluster string) *Lookup {
	return &Lookup{eventStore{conn: conn, cluster: cluster}}
}

// Table names the table of events. One that was made anew, or lies in another store, has another name.
func (l *Lookup) Table(ctx context.Context) (string, error) { return l.store.table(ctx) }

// Find calls found with the identities of those records that ClickHouse has, and perhaps with some that
// were not asked for. Records are as the spool has them; one that is no event is not found.
func (l *Lookup) Find(ctx context.Context, records [][]byte, found func(event.ID)) error {
	b := newWriteBlock()
	var days dayNumbers
	days.reset(len(records))
	for _, r := range records {
		if b.decode(r) == nil {
			row := uint32(b.len() - 1) //nolint:gosec // a request has fewer records than 2^32
			days.add(row, companyDay{b.company[row], b.day(row)})
		}
	}
	counts, err := l.store.countDays(ctx, days.keys)
	if err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	rows := make([][]uint32, len(days.keys))
	for row := range uint32(b.len()) { //nolint:gosec // as above
		rows[days.of[row]] = append(rows[days.of[row]], row)
	}
	// As the writer does: where much of a day is asked for, go through the day.
	var through []companyDay
	var dense, sparse []uint32
	for n, day := range days.keys {
		switch count := counts[day]; {
		case count == 0:
		case count <= len(rows[n])*denseDay:
			through, dense = append(through, day), append(dense, rows[n]...)
		default:
			sparse = append(sparse, rows[n]...)
		}
	}
	if err := l.store.presentInDays(ctx, b, dense, through, found); err != nil {
		return err
	}
	return l.store.present(ctx, b, sparse, found)
}
