// Package query answers questions about stored events: reports and event
// search, as typed rows, as HTTP under /api/v1, and as the OpenAPI document
// that describes it.
//
// The way of every request is the same: parameters are parsed and checked
// ([ParseParams]), bound to SQL that stands in this package, and come back as
// typed rows. The company is an explicit first argument of every report; SQL
// never takes it from anywhere else. No value of a request ever becomes part
// of an SQL text.
//
// Left to others: who the caller is (an [Authenticator] is injected), the
// tables (schema), what runs the SQL (engine or a ClickHouse server), and how
// a table is printed (cmd/gatehouse).
package query
