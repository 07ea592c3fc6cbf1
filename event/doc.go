// Package event holds the logon event: its canonical form, its identity, how
// clients' fields and Windows records become one, and the error type that
// every layer of Gatehouse speaks.
//
// It knows nothing of HTTP, of files or of a store, and imports the standard
// library alone, so that the server, the importer and the endpoint agent all
// mean the same thing by "the same event".
package event
