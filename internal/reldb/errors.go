package reldb

import (
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	mssql "github.com/microsoft/go-mssqldb"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// PostgreSQL's codes (SQLSTATE) of what is told apart.
const (
	pgUniqueViolation      = "23505"
	pgForeignKeyViolation  = "23503"
	pgSerializationFailure = "40001"
	pgDeadlock             = "40P01"
)

// MySQL's and MariaDB's codes.
const (
	myTableExists      = 1050
	myUnknownTable     = 1051
	myDuplicateColumn  = 1060
	myDuplicateKeyName = 1061
	myDuplicateEntry   = 1062
	myCannotDrop       = 1091 // the column or index to drop is not there
	myDeadlock         = 1213 // also a transaction that another node of a Galera cluster was faster with
	myRowIsReferenced  = 1451
	myNoReferencedRow  = 1452
	myRowIsReferenced1 = 1217 // the same two without the right to see the other table
	myNoReferencedRow1 = 1216
)

// SQL Server's codes.
const (
	msDeadlock         = 1205
	msDuplicateKey     = 2601 // of a unique index
	msUniqueConstraint = 2627
	msConstraint       = 547 // foreign keys and CHECK alike
)

// IsUnique tells whether err is a broken UNIQUE rule: the row is there already.
func IsUnique(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgUniqueViolation
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	if my, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return my.Number == myDuplicateEntry
	}
	if ms, ok := errors.AsType[mssql.Error](err); ok {
		return ms.Number == msDuplicateKey || ms.Number == msUniqueConstraint
	}
	return false
}

// IsForeignKey tells whether err is a row that names another which is not there, or the removal of one still named.
func IsForeignKey(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgForeignKeyViolation
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
	}
	if my, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch my.Number {
		case myRowIsReferenced, myNoReferencedRow, myRowIsReferenced1, myNoReferencedRow1:
			return true
		}
		return false
	}
	if ms, ok := errors.AsType[mssql.Error](err); ok {
		// "… conflicted with the FOREIGN KEY constraint …" or "… the REFERENCE constraint …"; CHECK has the same number.
		return ms.Number == msConstraint && !strings.Contains(ms.Message, "CHECK")
	}
	return false
}

// isConflict tells whether the database gave up a transaction because of others at the same time: run again, it can go through.
func isConflict(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgSerializationFailure || pg.Code == pgDeadlock
	}
	if my, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return my.Number == myDeadlock
	}
	if ms, ok := errors.AsType[mssql.Error](err); ok {
		return ms.Number == msDeadlock
	}
	return false
}

// IsRefused tells whether err is the server's own answer to a MySQL statement, which then has changed nothing. After any other error,
// such as a broken connection, the statement may have run or run still.
func IsRefused(err error) bool {
	_, ok := errors.AsType[*mysql.MySQLError](err)
	return ok
}

// IsDone tells whether err is MySQL's word for a change of tables that is there already: what is to be made exists, what is to be dropped
// does not.
func IsDone(err error) bool {
	if my, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch my.Number {
		case myTableExists, myUnknownTable, myDuplicateColumn, myDuplicateKeyName, myCannotDrop:
			return true
		}
	}
	return false
}
