package query

import (
	"context"
	_ "embed" // the statement

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed lockouts_told_again.sql
var lockoutsToldAgainSQL string

// lockoutsToldAgain is how many of the lockouts that p chooses tell of one that another computer has told
// of within the 10 seconds before. Failures and totals take them off; frequency counts events.
func (r *Reports) lockoutsToldAgain(ctx context.Context, c Company, p Params) (n uint64, err error) {
	w := where(c).during(p).matching(p)
	err = r.query(ctx, w.in(lockoutsToldAgainSQL), w.args, func(q driver.Rows) error { return q.Scan(&n) })
	return n, err
}
