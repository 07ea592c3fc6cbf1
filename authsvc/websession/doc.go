// Package websession keeps the sessions of people who use a browser: what a cookie stands for, from the first page until the sign-out.
//
// The cookie holds a random id and nothing else; its hash finds the session in the relational database or in Redis, so that a copy of
// either is worth nothing. Manager has the rules (how ids are made and exchanged, when a session is over, what is sealed), the Rows under it
// keep them. The package knows no net/http: cookies are for authsvc/rest, and who may sign in is for authsvc/signin.
package websession
