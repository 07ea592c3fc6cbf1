// Package token makes and checks the secrets that stand for somebody: opaque ones (API keys, personal access tokens, refresh
// tokens), of which only a hash is kept, and signed access tokens, which say by themselves whom they stand for.
//
// It knows no database. Whether a token still counts, because its person may have been disabled since, is for its caller.
package token
