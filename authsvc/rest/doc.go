// Package rest is the HTTP side of accounts: who is asking (session cookie, token or API key), the routes under /api/v1 by which people
// sign in and administrators manage people, companies and keys, and the protection of all that: CSRF, rate limits, strict bodies.
//
// Every route is one line of a table that names the permission it needs; the router, the OpenAPI document and the test of who
// gets what are made from it. What a rule is stands in authsvc; nothing here decides for itself who may do what.
package rest
