package reldb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// mysqlMode makes MySQL and MariaDB read SQL as the others do: "…" is a name, || joins texts, the backslash is a letter like any other, a
// value that does not fit is an error instead of being cut, and 0 is an id like any other.
const mysqlMode = `'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,ONLY_FULL_GROUP_BY,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'`

// The oldest versions that keep what is promised: counters of ids that outlive a restart, CHECK rules, and changes of tables that are done
// whole or not at all when the server is killed.
const (
	oldestMySQL   = "8.0.16"
	oldestMariaDB = "10.6.0"
)

func openMySQL(ctx context.Context, t Target) (*DB, error) {
	cfg, err := mysqlConfig(t)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("database address: MySQL does not accept it (check the parameters of %s)", t.Name())
	}
	db, err := openPool(ctx, t, sql.OpenDB(connector))
	if err != nil {
		return nil, err
	}
	var version string
	if err := db.QueryRow(ctx, `SELECT VERSION()`).Scan(&version); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: read its version: %w", t.Name(), err), db.Close())
	}
	if err := checkMySQLVersion(version); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", t.Name(), err), db.Close())
	}
	return db, nil
}

// mysqlConfig is the driver's form of the address.
func mysqlConfig(t Target) (*mysql.Config, error) {
	cfg := mysql.NewConfig()
	cfg.User = t.URL.User.Username()
	cfg.Passwd, _ = t.URL.User.Password()
	cfg.DBName = t.Database
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(t.URL.Hostname(), "3306")
	if port := t.URL.Port(); port != "" {
		cfg.Addr = net.JoinHostPort(t.URL.Hostname(), port)
	}
	if t.URL.Hostname() == "" {
		cfg.Addr = net.JoinHostPort("127.0.0.1", "3306")
	}
	// Texts compare byte by byte, also those that stand in no column.
	cfg.Collation = "utf8mb4_bin"
	if err := cfg.Apply(mysql.Charset("utf8mb4", "utf8mb4_bin")); err != nil {
		return nil, err
	}
	cfg.Params = map[string]string{"sql_mode": mysqlMode}
	cfg.ClientFoundRows = true // a row that had the new values before was found, too
	cfg.MultiStatements = false
	cfg.InterpolateParams = false // values and text travel apart, so that no value can become a statement
	cfg.ConnectionAttributes = "program_name:" + applicationName
	cfg.Timeout = connectTimeout
	cfg.Logger = &mysql.NopLogger{} // what it would print is in the errors, too
	return cfg, mysqlParameters(cfg, t)
}

// mysqlParameters reads what stands behind the `?` of an address, with the names of this driver, of MySQL's tools and of PyMySQL.
func mysqlParameters(cfg *mysql.Config, t Target) error {
	verify, ca := "", ""
	for name, values := range t.URL.Query() {
		value := values[len(values)-1]
		switch strings.ToLower(name) {
		case "charset", "collation", "autocommit", "parsetime", "loc", "binary_prefix", "use_unicode":
			// Chosen by other programs for themselves. Here they are always the same.
		case "tls", "ssl-mode", "ssl_mode", "sslmode":
			verify = strings.ToLower(value)
		case "ssl_ca", "ssl-ca", "sslca":
			ca = value
		case "ssl_verify_cert", "ssl_verify_identity", "ssl_check_hostname":
			if on, err := strconv.ParseBool(value); err != nil || !on {
				verify = "skip-verify"
			} else if verify == "" {
				verify = "true"
			}
		case "unix_socket", "socket":
			cfg.Net, cfg.Addr = "unix", value
		case "connect_timeout", "timeout":
			d, err := time.ParseDuration(value)
			if seconds, serr := strconv.Atoi(value); serr == nil {
				d, err = time.Duration(seconds)*time.Second, nil
			}
			if err != nil || d <= 0 {
				return fmt.Errorf("database address: %s must be a number of seconds", name)
			}
			cfg.Timeout = d
		default:
			return fmt.Errorf("database address: a MySQL address has no parameter %q here: use tls (true, skip-verify, preferred, false), ssl_ca, unix_socket or connect_timeout", name)
		}
	}
	switch verify {
	case "":
		cfg.TLSConfig = "preferred" // encrypted where the server can, as its own tools do it
		if cfg.Net == "unix" {
			cfg.TLSConfig = "false"
		}
		if ca != "" {
			cfg.TLSConfig = "true"
		}
	case "false", "disable", "disabled":
		cfg.TLSConfig = "false"
	case "prefer", "preferred":
		cfg.TLSConfig = "preferred"
	case "skip-verify", "require", "required":
		cfg.TLSConfig = "skip-verify"
	case "true", "verify-ca", "verify_ca", "verify-full", "verify_identity":
		cfg.TLSConfig = "true"
	default:
		return errors.New("database address: tls must be true, skip-verify, preferred or false")
	}
	if ca == "" || cfg.TLSConfig != "true" {
		return nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return fmt.Errorf("database address: ssl_ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("database address: ssl_ca: %s holds no certificate in PEM form", ca)
	}
	cfg.TLSConfig, cfg.TLS = "", &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: t.URL.Hostname()}
	return nil
}

// checkMySQLVersion refuses what is too old. It reads "8.4.3", "10.11.6-MariaDB-…" and "5.5.5-10.6.1-MariaDB", as MariaDB says it to clients that
// know no other beginning.
func checkMySQLVersion(version string) error {
	name, oldest := "MySQL", oldestMySQL
	if strings.Contains(strings.ToLower(version), "mariadb") {
		name, oldest = "MariaDB", oldestMariaDB
		version = strings.TrimPrefix(version, "5.5.5-")
	}
	if versionNumber(version) < versionNumber(oldest) {
		return fmt.Errorf("%s %s is too old: Gatehouse needs %s or newer", name, version, oldest)
	}
	return nil
}

// versionNumber makes "10.6.12-anything" a number that compares as versions do. What has no number counts as 0.
func versionNumber(version string) int {
	end := strings.IndexFunc(version, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end >= 0 {
		version = version[:end]
	}
	parts := strings.SplitN(version, ".", 4)
	n := 0
	for i := range 3 {
		part := 0
		if i < len(parts) {
			part, _ = strconv.Atoi(parts[i])
		}
		n = n*1000 + part
	}
	return n
}
