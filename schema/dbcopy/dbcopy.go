// Package dbcopy moves everything that a relational database of Gatehouse holds into another one, of whatever kind. It goes table by table in
// portions, notes in the target how far it came, so that a copy that was cut off goes on, and compares both sides at the end.
//
// What the tables are it has from package schema; that the addresses are right and no server runs is the business of the command.
package dbcopy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

// Options say how to copy.
type Options struct {
	// StartOver empties a target that an earlier copy was writing to, instead of going on with that.
	StartOver bool
	// Progress, when not nil, is told after each portion how many rows of how many are in the target or compared. It is called from one goroutine.
	Progress func(Progress)
	// Begin, when not nil, is called before the first row of a new copy is read, and not for one that goes on: what it writes to the source is in the copy.
	Begin func(context.Context) error
	// PageRows is the size of a portion, 0 for the usual one. Each portion is one transaction in the target.
	PageRows int
}

// Progress is how far a copy has come.
type Progress struct {
	Table string
	Phase Phase
	Done  int64 // rows, over all tables and phases
	Total int64 // rows to do in all: each is copied once, and read once on each side to compare
}

// Phase is what is being done with a table.
type Phase string

// The phases.
const (
	Copying   Phase = "copying"
	Comparing Phase = "comparing"
)

// Report is what was copied.
type Report struct {
	From   string        `json:"from"` // addresses without passwords
	To     string        `json:"to"`
	Rows   int64         `json:"rows"`
	Tables []TableReport `json:"tables"`
}

// TableReport is what both sides hold of a table.
type TableReport struct {
	Table    string `json:"table"`
	Rows     int64  `json:"rows"`
	Checksum string `json:"checksum"` // over all values, whatever the order of rows; equal on both sides
}

// pageRows is the usual size of a portion: large enough that the commits do not count, small enough that little is repeated after a kill.
const pageRows = 1000

// Errors that callers tell apart.
var (
	// ErrNotEmpty means that the target holds data of its own.
	ErrNotEmpty = errors.New("the target database holds data already")
	// ErrDiffer means that both sides are not equal after the copy.
	ErrDiffer = errors.New("source and target differ")
)

// Copy copies all of from into to, which must be empty but for what migrations put there, or hold a part of the same copy. It brings the target's tables
// up to date first; the source's must be. Nothing but what Begin writes is written to the source. An error tells what to do about it; what was copied until then stays, and the
// next call goes on from there.
func Copy(ctx context.Context, from, to *reldb.DB, o Options) (Report, error) {
	report := Report{From: from.Name(), To: to.Name()}
	if from.Name() == to.Name() {
		return report, errors.New("source and target are the same database")
	}
	if o.PageRows <= 0 {
		o.PageRows = pageRows
	}
	source, target := schema.NewRelational(from), schema.NewRelational(to)
	if err := source.Check(ctx); err != nil {
		return report, fmt.Errorf("source %s: %w", from.Name(), err)
	}
	// Two copies must not write to one target, and the source's rows must not change while they are read.
	err := to.WithLock(ctx, "database copy", func(ctx context.Context) error {
		if _, _, err := target.Up(ctx); err != nil {
			return fmt.Errorf("target: %w", err)
		}
		c := &copier{from: from, to: to, o: o}
		if err := c.begin(ctx, schema.Tables()); err != nil {
			return err
		}
		return source.Hold(ctx, func(ctx context.Context) error { return c.run(ctx, &report) })
	})
	return report, err
}

// copier is one copy under way.
type copier struct {
	from, to *reldb.DB
	o        Options
	progress Progress
}

func (c *copier) run(ctx context.Context, report *Report) error {
	tables := schema.Tables()
	for _, t := range tables {
		n, err := count(ctx, c.from, t.Name)
		if err != nil {
			return err
		}
		c.progress.Total += 3 * n
	}
	for _, t := range tables {
		if err := c.table(ctx, t); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	for _, t := range tables {
		tr, err := c.compare(ctx, t)
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
		report.Tables = append(report.Tables, tr)
		report.Rows += tr.Rows
	}
	if err := c.unchanged(ctx, tables, report.Tables); err != nil {
		return err
	}
	return c.end(ctx)
}

// table copies what the target does not have yet of one table.
func (c *copier) table(ctx context.Context, t schema.Table) error {
	c.progress.Table, c.progress.Phase = t.Name, Copying
	at, err := readPosition(ctx, c.to, t)
	if err != nil {
		return err
	}
	if n, err := count(ctx, c.to, t.Name); err != nil {
		return err
	} else if n > 0 {
		c.advance(n) // of an earlier call
	}
	for p := newPages(c.from, t, at.key, c.o.PageRows); !at.done; {
		rows, err := p.next(ctx)
		if err != nil {
			return err
		}
		at.key, at.done = p.after, len(rows) < c.o.PageRows
		if err := c.write(ctx, t, p.columns, rows, at); err != nil {
			return err
		}
		c.advance(int64(len(rows)))
	}
	if !t.Identity {
		return nil
	}
	next, err := nextID(ctx, c.from, t.Name)
	if err != nil {
		return fmt.Errorf("read the counter of ids: %w", err)
	}
	if err := setNextID(ctx, c.to, t.Name, next); err != nil {
		return fmt.Errorf("set the counter of ids: %w", err)
	}
	return nil
}

// compare reads a table on both sides.
func (c *copier) compare(ctx context.Context, t schema.Table) (TableReport, error) {
	c.progress.Table, c.progress.Phase = t.Name, Comparing
	var sums [2]checksum
	for i, db := range []*reldb.DB{c.from, c.to} {
		var err error
		if sums[i], err = c.sum(ctx, db, t, c.advance); err != nil {
			return TableReport{}, err
		}
	}
	if sums[0] != sums[1] {
		return TableReport{}, fmt.Errorf("%w: %d rows with checksum %s in the source, %d with %s in the target. Something wrote to one of them during the copy: stop whatever uses them, and copy again with --start-over",
			ErrDiffer, sums[0].rows, sums[0], sums[1].rows, sums[1])
	}
	return TableReport{Table: t.Name, Rows: sums[0].rows, Checksum: sums[0].String()}, nil
}

// sum reads a table on one side, and tells read of the rows.
func (c *copier) sum(ctx context.Context, db *reldb.DB, t schema.Table, read func(int64)) (s checksum, err error) {
	for p, done := newPages(db, t, nil, c.o.PageRows), false; !done; {
		rows, err := p.next(ctx)
		if err != nil {
			return s, err
		}
		for _, row := range rows {
			s.add(p.columns, row)
		}
		done = len(rows) < c.o.PageRows
		read(int64(len(rows)))
	}
	return s, nil
}

// movesWithAll are the tables that every change of what people manage moves: the trail's end, and what tells servers of news.
var movesWithAll = []string{"audit_head", "revisions"}

// unchanged looks at the source once more, after the last table was compared: a server cannot be held while it is read, so that a table that had its turn
// early may have changed since. It sees rows that came or went, and every act that the audit trail tells of.
func (c *copier) unchanged(ctx context.Context, tables []schema.Table, compared []TableReport) error {
	for i, t := range tables {
		n, err := count(ctx, c.from, t.Name)
		if err != nil {
			return err
		}
		same := n == compared[i].Rows
		if same && slices.Contains(movesWithAll, t.Name) {
			s, err := c.sum(ctx, c.from, t, func(int64) {})
			if err != nil {
				return err
			}
			same = s.String() == compared[i].Checksum
		}
		if !same {
			return fmt.Errorf("table %s: %w: the source has changed since it was compared. Stop whatever uses it, and copy again with --start-over", t.Name, ErrDiffer)
		}
	}
	return nil
}

func (c *copier) advance(rows int64) {
	c.progress.Done += rows
	if c.o.Progress != nil {
		c.o.Progress(c.progress)
	}
}

func count(ctx context.Context, db *reldb.DB, table string) (int64, error) {
	var n int64
	if err := db.QueryRow(ctx, `SELECT COUNT(*) FROM `+table).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the rows of %s: %w", table, err)
	}
	return n, nil
}
