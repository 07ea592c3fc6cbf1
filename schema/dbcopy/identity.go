package dbcopy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"gatehouse/internal/reldb"
)

// An id is never used again, also when the row with the highest one is gone. So the counter is copied, not made anew from the rows. Each of these
// queries takes the table's name and gives the last id that was given out, or none. (MySQL: see mysqlLastID.)
var lastID = map[reldb.Dialect]string{
	reldb.SQLite: `SELECT seq FROM sqlite_sequence WHERE name = ?`,
	// NULL as long as the sequence was not used.
	reldb.Postgres:  `SELECT pg_sequence_last_value(pg_get_serial_sequence(?, 'id')::regclass)`,
	reldb.SQLServer: `SELECT CAST(last_value AS BIGINT) FROM sys.identity_columns WHERE object_id = OBJECT_ID(?)`,
}

// mysqlCounter finds the counter in a table's definition, which has it unless it stands at 1. information_schema has it as well, but MySQL 8
// answers from there with what may be a day old.
var mysqlCounter = regexp.MustCompile(`\) .*\bAUTO_INCREMENT=(\d+)`)

func mysqlLastID(ctx context.Context, db *reldb.DB, table string) (sql.NullInt64, error) {
	var name, definition string
	if err := db.QueryRow(ctx, `SHOW CREATE TABLE `+table).Scan(&name, &definition); err != nil {
		return sql.NullInt64{}, err
	}
	m := mysqlCounter.FindStringSubmatch(definition)
	if m == nil {
		return sql.NullInt64{}, nil
	}
	next, err := strconv.ParseInt(m[1], 10, 64)
	return sql.NullInt64{Int64: next - 1, Valid: true}, err
}

// nextID is the id that the table's next row gets at the least.
func nextID(ctx context.Context, db *reldb.DB, table string) (int64, error) {
	var counter sql.NullInt64
	var err error
	if db.Dialect() == reldb.MySQL {
		counter, err = mysqlLastID(ctx, db, table)
	} else {
		err = db.QueryRow(ctx, lastID[db.Dialect()], table).Scan(&counter)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	var highest int64
	if err := db.QueryRow(ctx, `SELECT COALESCE(MAX(id), 0) FROM `+table).Scan(&highest); err != nil {
		return 0, err
	}
	return max(counter.Int64, highest) + 1, nil
}

// setNextID makes next the id of the table's next row.
func setNextID(ctx context.Context, db *reldb.DB, table string, next int64) error {
	if next <= 1 {
		return nil
	}
	last, following := strconv.FormatInt(next-1, 10), strconv.FormatInt(next, 10)
	switch db.Dialect() {
	case reldb.SQLite:
		return db.Update(ctx, func(tx *reldb.Tx) error {
			n, err := tx.Exec(ctx, `UPDATE sqlite_sequence SET seq = ? WHERE name = ?`, next-1, table)
			if err == nil && n == 0 {
				_, err = tx.Exec(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)`, table, next-1)
			}
			return err
		})
	case reldb.Postgres:
		// Not RESTART WITH, after which the sequence counts as unused and tells no last value to the next copy.
		_, err := db.Writer().ExecContext(ctx, `SELECT setval(pg_get_serial_sequence('`+table+`', 'id')::regclass, `+last+`)`)
		return err
	case reldb.MySQL:
		_, err := db.Writer().ExecContext(ctx, `ALTER TABLE `+table+` AUTO_INCREMENT = `+following)
		return err
	case reldb.SQLServer:
		// A table that never had a row gives the value itself to its first one, any other the one after it.
		_, err := db.Writer().ExecContext(ctx, `IF (SELECT last_value FROM sys.identity_columns WHERE object_id = OBJECT_ID('`+table+`')) IS NULL
DBCC CHECKIDENT ('`+table+`', RESEED, `+following+`) ELSE DBCC CHECKIDENT ('`+table+`', RESEED, `+last+`)`)
		return err
	default:
		return fmt.Errorf("BUG: no counters known of %s", db.Dialect())
	}
}
