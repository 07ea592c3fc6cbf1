// Package ingest takes events in and brings them to ClickHouse.
//
// The intake half ([Intake]) is HTTP: it tells whose key a request carries, decodes
// JSON, NDJSON and Arrow into events, refuses what is wrong record by record, and
// answers 2xx only after the spool has the rest on disk. It leaves to others who
// owns a key ([Resolver]), how much a tenant may send ([Limiter]), and where records
// are kept ([Appender]). The writer half takes them from the spool to ClickHouse.
//
// What the intake remembers of earlier events ([Recent]) only makes answers better:
// that the same event never counts twice is the writer's promise.
package ingest
