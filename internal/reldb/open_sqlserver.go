package reldb

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
)

// A transaction in which a statement failed is rolled back by SQL Server, as it would be in PostgreSQL, so that it cannot be committed in part.
const sqlServerSession = `SET XACT_ABORT ON; SET NOCOUNT OFF;`

func openSQLServer(ctx context.Context, t Target) (*DB, error) {
	u, err := sqlServerURL(t)
	if err != nil {
		return nil, err
	}
	cfg, err := msdsn.Parse(u.String())
	if err != nil {
		// The driver's text may repeat parts of the address.
		return nil, fmt.Errorf("database address: SQL Server's driver does not accept it (check encrypt, TrustServerCertificate and the other parameters of %s)", t.Name())
	}
	connector := mssql.NewConnectorConfig(cfg)
	connector.SessionInitSQL = sqlServerSession
	return openPool(ctx, t, sql.OpenDB(connector))
}

// sqlServerURL is the driver's form of the address: the database is a parameter there, the path is the server's instance. What only ODBC knows is
// left out, and its yes and no become true and false.
func sqlServerURL(t Target) (*url.URL, error) {
	u := *t.URL
	u.Scheme, u.Path, u.RawPath = "sqlserver", t.instance, ""
	q := url.Values{}
	for name, values := range t.URL.Query() {
		value := values[len(values)-1]
		switch lower := strings.ToLower(name); lower {
		case "driver", "database", "mars_connection", "autocommit":
		case "odbc_connect":
			return nil, fmt.Errorf("database address: odbc_connect is not understood: write sqlserver://user:password@host:1433/database?encrypt=true")
		case "encrypt", "trustservercertificate":
			switch strings.ToLower(value) {
			case "yes":
				value = "true"
			case "no":
				value = "false"
			}
			q.Set(lower, value)
		default:
			q.Set(name, value)
		}
	}
	// Without a word about it, the connection is encrypted as far as possible, as with the other databases: every SQL Server can, though its
	// certificate is usually its own.
	if q.Get("encrypt") == "" {
		q.Set("encrypt", "true")
		if q.Get("trustservercertificate") == "" {
			q.Set("trustservercertificate", "true")
		}
	}
	if q.Get("app name") == "" {
		q.Set("app name", applicationName)
	}
	q.Set("database", t.Database)
	u.RawQuery = q.Encode()
	return &u, nil
}
