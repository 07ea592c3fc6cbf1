package reldb

import (
	"time"

	"github.com/go-sql-driver/mysql"
)

func init() { lockCheck = 50 * time.Millisecond }

// What the tests outside the package look at.
var (
	CheckMySQLVersion = checkMySQLVersion
	IsConflict        = isConflict
)

// InsertReturning is what Tx.Insert sends for an INSERT.
func (d Dialect) InsertReturning(query string) (string, bool) { return d.insertReturning(query) }

// MySQLConfig is the driver's form of an address.
func MySQLConfig(address string) (*mysql.Config, error) {
	t, err := ParseURL(address)
	if err != nil {
		return nil, err
	}
	return mysqlConfig(t)
}

// SQLServerURL is the driver's form of an address.
func SQLServerURL(address string) (string, error) {
	t, err := ParseURL(address)
	if err != nil {
		return "", err
	}
	u, err := sqlServerURL(t)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}
