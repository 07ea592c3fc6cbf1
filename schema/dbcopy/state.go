package dbcopy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

// How far a copy came stands in the target, in a table that is there only while a copy is not done: a row for each table with the key of the last row
// that was copied, and one without a name for the source. A target with it is a copy's; one without must be empty.
const (
	stateCreate = `CREATE TABLE schema_copy (
    name     VARCHAR(64)   NOT NULL PRIMARY KEY,
    position VARCHAR(2000) NOT NULL
)`
	stateDrop   = `DROP TABLE schema_copy`
	stateAdd    = `INSERT INTO schema_copy (name, position) VALUES (?, ?)`
	stateChange = `UPDATE schema_copy SET position = ? WHERE name = ?`
	stateRead   = `SELECT name, position FROM schema_copy WHERE name = ?`
	stateClear  = `DELETE FROM schema_copy`
)

var stateThere = map[reldb.Dialect]string{
	reldb.SQLite:    `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_copy'`,
	reldb.Postgres:  `SELECT COUNT(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('schema_copy')`,
	reldb.MySQL:     `SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'schema_copy'`,
	reldb.SQLServer: `SELECT COUNT(*) FROM sys.tables WHERE object_id = OBJECT_ID('schema_copy')`,
}

// position is how far a table came.
type position struct {
	key  []any // of the last row that is in the target; nil: none is
	done bool
}

// positionJSON is a position as it is stored. Integers are kept as text, which JSON's numbers would round.
type positionJSON struct {
	Key  []keyJSON `json:"key,omitempty"`
	Done bool      `json:"done"`
}

type keyJSON struct {
	Int  string `json:"int,omitempty"`
	Text string `json:"text,omitempty"`
}

func (p position) text() (string, error) {
	out := positionJSON{Done: p.done}
	for _, v := range p.key {
		switch v := v.(type) {
		case int64:
			out.Key = append(out.Key, keyJSON{Int: strconv.FormatInt(v, 10)})
		case string:
			out.Key = append(out.Key, keyJSON{Text: strconv.QuoteToASCII(v)}) // whatever characters the target's columns can hold
		default:
			return "", fmt.Errorf("BUG: a key of %T", v)
		}
	}
	raw, err := json.Marshal(out)
	return string(raw), err
}

func parsePosition(text string) (position, error) {
	var in positionJSON
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return position{}, fmt.Errorf("state of the copy: %w", err)
	}
	p := position{done: in.Done}
	for _, k := range in.Key {
		var v any
		var err error
		if k.Int != "" {
			v, err = strconv.ParseInt(k.Int, 10, 64)
		} else {
			v, err = strconv.Unquote(k.Text)
		}
		if err != nil {
			return position{}, fmt.Errorf("state of the copy: %w", err)
		}
		p.key = append(p.key, v)
	}
	return p, nil
}

func readPosition(ctx context.Context, db *reldb.DB, t schema.Table) (position, error) {
	var name, text string
	if err := db.QueryRow(ctx, stateRead, t.Name).Scan(&name, &text); err != nil {
		return position{}, fmt.Errorf("state of the copy: %w", err)
	}
	return parsePosition(text)
}

// begin makes the target ready: with a state, and without rows that this copy has not written.
func (c *copier) begin(ctx context.Context, tables []schema.Table) error {
	var there int
	if err := c.to.QueryRow(ctx, stateThere[c.to.Dialect()]).Scan(&there); err != nil {
		return fmt.Errorf("state of the copy: %w", err)
	}
	if there == 0 {
		if err := c.checkEmpty(ctx, tables); err != nil {
			return err
		}
		if _, err := c.to.Writer().ExecContext(ctx, stateCreate); err != nil {
			return fmt.Errorf("state of the copy: %w", err)
		}
	}
	var begun int
	if err := c.to.QueryRow(ctx, `SELECT COUNT(*) FROM schema_copy`).Scan(&begun); err != nil {
		return fmt.Errorf("state of the copy: %w", err)
	}
	if begun > 0 && !c.o.StartOver {
		return c.checkSource(ctx)
	}
	// Also after a kill between the table and its rows: nothing was copied then.
	if begun == 0 {
		if err := c.checkEmpty(ctx, tables); err != nil {
			return err
		}
	}
	if c.o.Begin != nil {
		if err := c.o.Begin(ctx); err != nil {
			return err
		}
	}
	return c.to.Update(ctx, func(tx *reldb.Tx) error {
		if _, err := tx.Exec(ctx, stateClear); err != nil {
			return err
		}
		// From those that name others to those that are named.
		for i := len(tables) - 1; i >= 0; i-- {
			if _, err := tx.Exec(ctx, `DELETE FROM `+tables[i].Name); err != nil {
				return fmt.Errorf("empty %s: %w", tables[i].Name, err)
			}
		}
		start, err := position{}.text()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, stateAdd, "", c.source()); err != nil {
			return err
		}
		for _, t := range tables {
			if _, err := tx.Exec(ctx, stateAdd, t.Name, start); err != nil {
				return err
			}
		}
		return nil
	})
}

// source tells the copy's source in plain letters.
func (c *copier) source() string { return strconv.QuoteToASCII(c.from.Name()) }

// checkSource refuses to go on with the copy of another database.
func (c *copier) checkSource(ctx context.Context) error {
	var name, source string
	if err := c.to.QueryRow(ctx, stateRead, "").Scan(&name, &source); err != nil {
		return fmt.Errorf("state of the copy: %w", err)
	}
	if source != c.source() {
		return fmt.Errorf("%w: a part of a copy of %s, not of %s: name that source, or empty the target with --start-over", ErrNotEmpty, source, c.source())
	}
	return nil
}

// checkEmpty refuses a target in which anybody has worked. What the migrations put there does not count: it changes only together with the rest.
func (c *copier) checkEmpty(ctx context.Context, tables []schema.Table) error {
	for _, t := range tables {
		if t.Seeded {
			continue
		}
		n, err := count(ctx, c.to, t.Name)
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%w: %d rows in %s of %s. Name a new database, which then gets its tables by itself", ErrNotEmpty, n, t.Name, c.to.Name())
		}
	}
	return nil
}

// end takes the state away: the target is whole.
func (c *copier) end(ctx context.Context) error {
	if _, err := c.to.Writer().ExecContext(ctx, stateDrop); err != nil {
		return errors.Join(errors.New("everything was copied, but the copy's state could not be taken away"), err)
	}
	return nil
}
