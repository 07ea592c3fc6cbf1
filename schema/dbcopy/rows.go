package dbcopy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

// row is the values of a row in the order of the columns: nil, int64 or string, whatever the database's own types.
type row []any

// pages reads a table in the order of its key, which is the database's own order: where texts stand differs, and does not matter.
type pages struct {
	db      *reldb.DB
	table   schema.Table
	size    int
	after   []any // the key of the last row that was read
	columns []string
	key     []int // the key's columns in columns
}

func newPages(db *reldb.DB, t schema.Table, after []any, size int) *pages {
	return &pages{db: db, table: t, size: size, after: after}
}

// query is the next page's statement with its values.
func (p *pages) query() (string, []any) {
	var b strings.Builder
	var args []any
	b.WriteString("SELECT * FROM " + p.table.Name)
	for i := range p.after {
		// a > ? OR a = ? AND b > ?: not every database compares pairs.
		if i == 0 {
			b.WriteString(" WHERE ")
		} else {
			b.WriteString(" OR ")
		}
		for j := range i {
			b.WriteString(p.table.Key[j] + " = ? AND ")
			args = append(args, p.after[j])
		}
		b.WriteString(p.table.Key[i] + " > ?")
		args = append(args, p.after[i])
	}
	b.WriteString(" ORDER BY " + strings.Join(p.table.Key, ", ") + " LIMIT ?")
	return b.String(), append(args, p.size)
}

// next reads a page. A page that is not full is the last one.
func (p *pages) next(ctx context.Context) (_ []row, err error) {
	query, args := p.query()
	rows, err := p.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells what matters
	if p.columns, err = rows.Columns(); err != nil {
		return nil, err
	}
	p.key = p.key[:0]
	for _, name := range p.table.Key {
		i := slices.Index(p.columns, name)
		if i < 0 {
			return nil, fmt.Errorf("BUG: the table has no column %s of its key", name)
		}
		p.key = append(p.key, i)
	}
	var out []row
	for rows.Next() {
		r, into := make(row, len(p.columns)), make([]any, len(p.columns))
		for i := range r {
			into[i] = &r[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i := range r {
			if r[i], err = canonical(r[i]); err != nil {
				return nil, fmt.Errorf("column %s: %w", p.columns[i], err)
			}
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(out) > 0 {
		last := out[len(out)-1]
		p.after = make([]any, len(p.key))
		for i, c := range p.key {
			p.after[i] = last[c]
		}
	}
	return out, nil
}

// canonical is the one form of a value over all drivers. Gatehouse's tables hold whole numbers and texts alone.
func canonical(v any) (any, error) {
	switch v := v.(type) {
	case nil, int64, string:
		return v, nil
	case []byte:
		return string(v), nil
	case int32:
		return int64(v), nil
	case int16:
		return int64(v), nil
	default:
		return nil, fmt.Errorf("BUG: a value of type %T", v)
	}
}

// checksum is over a set of rows: their number, and the sum of the rows' SHA-256 as numbers of 256 bits, for which their order does not matter.
type checksum struct {
	rows int64
	sum  [4]uint64
}

// add takes a row in. Columns count by their names, since databases may list them in another order.
func (s *checksum) add(columns []string, r row) {
	order := make([]int, len(columns))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(columns[a], columns[b]) })
	h := sha256.New()
	part := func(kind byte, text string) {
		var head [9]byte
		head[0] = kind
		binary.BigEndian.PutUint64(head[1:], uint64(len(text)))
		_, _ = h.Write(head[:]) // never fails
		_, _ = h.Write([]byte(text))
	}
	for _, i := range order {
		part('c', columns[i])
		switch v := r[i].(type) {
		case int64:
			part('i', strconv.FormatInt(v, 10))
		case string:
			part('s', v)
		default:
			part('n', "")
		}
	}
	digest := h.Sum(nil)
	var carry uint64
	for i := range s.sum {
		s.sum[i], carry = bits.Add64(s.sum[i], binary.LittleEndian.Uint64(digest[8*i:]), carry)
	}
	s.rows++
}

// String is the sum in hex.
func (s checksum) String() string {
	var b [32]byte
	for i, n := range s.sum {
		binary.LittleEndian.PutUint64(b[8*i:], n)
	}
	return hex.EncodeToString(b[:])
}

// statementBytes bounds what one INSERT carries, far below what servers take in one message.
const statementBytes = 1 << 20

// write puts a page into the target and notes how far the copy is, both or neither.
func (c *copier) write(ctx context.Context, t schema.Table, columns []string, rows []row, at position) error {
	text, err := at.text()
	if err != nil {
		return err
	}
	return c.to.Update(ctx, func(tx *reldb.Tx) error {
		// SQL Server takes ids from outside only where it was told so, for one table at a time.
		own := t.Identity && c.to.Dialect() == reldb.SQLServer
		if own {
			if _, err := tx.Exec(ctx, `SET IDENTITY_INSERT `+t.Name+` ON`); err != nil {
				return err
			}
		}
		for rest := rows; len(rest) > 0; {
			n := batch(rest, len(columns))
			if err := insert(ctx, tx, t.Name, columns, rest[:n]); err != nil {
				return fmt.Errorf("write the rows from key %v on: %w", keyOf(t, columns, rest[0]), err)
			}
			rest = rest[n:]
		}
		if own {
			if _, err := tx.Exec(ctx, `SET IDENTITY_INSERT `+t.Name+` OFF`); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, stateChange, text, t.Name)
		return err
	})
}

// batch is how many of the rows go into one statement, at least one.
func batch(rows []row, columns int) int {
	most := min(len(rows), max(1, reldb.MaxMarks/columns))
	size := 0
	for i, r := range rows[:most] {
		for _, v := range r {
			if text, ok := v.(string); ok {
				size += len(text)
			}
		}
		if size > statementBytes {
			return max(1, i)
		}
	}
	return most
}

func insert(ctx context.Context, tx *reldb.Tx, table string, columns []string, rows []row) error {
	one := "(" + reldb.Marks(len(columns)) + ")"
	query := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES " + one + strings.Repeat(", "+one, len(rows)-1)
	args := make([]any, 0, len(rows)*len(columns))
	for _, r := range rows {
		args = append(args, r...)
	}
	_, err := tx.Exec(ctx, query, args...)
	return err
}

func keyOf(t schema.Table, columns []string, r row) []any {
	var key []any
	for _, name := range t.Key {
		key = append(key, r[slices.Index(columns, name)])
	}
	return key
}
