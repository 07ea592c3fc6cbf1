// Package password says which passwords are good enough, and turns them into what is stored of them.
//
// A password is stored as a bcrypt hash of a keyed hash of it, so that no length is cut off (bcrypt alone ends at 72 bytes); plain bcrypt hashes
// from before still count. The package knows no database and no HTTP.
package password
