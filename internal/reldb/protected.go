package reldb

import (
	"crypto/tls"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/microsoft/go-mssqldb/msdsn"

	"gatehouse/internal/loopback"
)

// Protected tells whether nobody between can read or answer in the place of the database: it is on this machine, or the connection is
// encrypted and its certificate checked. parameters are what makes it so when it is not. An address that cannot be used is
// left to Open to refuse.
func (t Target) Protected() (ok bool, parameters string) {
	switch t.Dialect {
	case Postgres:
		return t.protectedPostgres(), "sslmode=verify-full"
	case MySQL:
		cfg, err := mysqlConfig(t)
		return err != nil || cfg.Net == "unix" || isHere(t.URL.Hostname()) || cfg.TLS != nil || cfg.TLSConfig == "true", "tls=true"
	case SQLServer:
		return t.protectedSQLServer(), "encrypt=true&TrustServerCertificate=false"
	default:
		return true, ""
	}
}

// protectedPostgres looks at every way that the driver would try, one after the other.
func (t Target) protectedPostgres() bool {
	cfg, err := pgx.ParseConfig(t.URL.String())
	if err != nil {
		return true
	}
	checked := func(host string, c *tls.Config) bool {
		return strings.HasPrefix(host, "/") || isHere(host) || checksCertificate(c)
	}
	for _, next := range cfg.Fallbacks {
		if !checked(next.Host, next.TLSConfig) {
			return false
		}
	}
	return checked(cfg.Host, cfg.TLSConfig)
}

func (t Target) protectedSQLServer() bool {
	u, err := sqlServerURL(t)
	if err != nil {
		return true
	}
	cfg, err := msdsn.Parse(u.String())
	return err != nil || isHere(cfg.Host) || cfg.Encryption != msdsn.EncryptionOff && cfg.Encryption != msdsn.EncryptionDisabled && checksCertificate(cfg.TLSConfig)
}

// checksCertificate tells whether a connection by c goes only to a server that can prove itself. Drivers that skip Go's own
// check to leave out the name put theirs in its place.
func checksCertificate(c *tls.Config) bool {
	return c != nil && (!c.InsecureSkipVerify || c.VerifyPeerCertificate != nil || c.VerifyConnection != nil)
}

// isHere tells whether a host is this machine, as it is for drivers when there is none.
func isHere(host string) bool { return host == "" || loopback.Is(host) }
