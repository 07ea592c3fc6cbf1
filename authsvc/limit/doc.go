// Package limit counts how often somebody does something, and says when it is too often: token buckets in memory, or in Redis when several
// servers count together.
//
// Buckets are named by keyed hashes, so that neither memory nor Redis shows whose they are. The package knows no HTTP; what it answers has all that
// the headers X-RateLimit-* and Retry-After say.
package limit
