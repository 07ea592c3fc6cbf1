// Package signin is how people come in: it puts passwords, second factors, limits, lockouts and sessions together over authsvc.Store.
//
// Whatever is wrong (the name, the password, the account), the answer is the same, and takes the same work. The package knows no SQL and no net/http: what
// a request looks like is for authsvc/rest.
package signin
