package reldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// applicationName is how a server's list of connections shows those of this program.
const applicationName = "gatehouse"

// openPool makes a DB of a server's pool of connections, and connects once to see that the address is right.
func openPool(ctx context.Context, t Target, pool *sql.DB) (*DB, error) {
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(maxConns)
	// A connection does not outlive this, so that a failover or a changed DNS name is followed.
	pool.SetConnMaxLifetime(30 * time.Minute)
	db := &DB{dialect: t.Dialect, name: t.Name(), schema: t.Database, read: pool, write: pool}
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s does not answer: %w", t.Name(), err), db.Close())
	}
	return db, nil
}

func openPostgres(ctx context.Context, t Target) (*DB, error) {
	cfg, err := pgx.ParseConfig(t.URL.String())
	if err != nil {
		// pgx redacts the password in its parse errors only in forms that it recognises, so its text is not passed on.
		return nil, fmt.Errorf("database address: PostgreSQL does not accept it (check sslmode and the other parameters of %s)", t.Name())
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = applicationName
	}
	return openPool(ctx, t, stdlib.OpenDB(*cfg))
}
