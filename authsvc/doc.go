// Package authsvc holds who may do what: companies (the tenants), their API keys (each one a site), and the console's users.
//
// Store reads and writes the relational database. Resolver answers "whose key is this?" from memory, for every
// request, and keeps count of the keys' use. The package knows SQL and no net/http, no events and no ClickHouse; the
// tables are made by package schema. Every method that touches what belongs to a company takes that company first.
package authsvc
