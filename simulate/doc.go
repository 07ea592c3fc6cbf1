// Package simulate makes up the logon events of a believable workforce:
// companies in their own time zones, people on shifts who lock, unlock, work
// remotely, forget to log off and mistype their passwords, laptops that crash,
// servers, services, a password spray, and agents that deliver late or twice.
//
// The same configuration gives the same events, byte for byte. Events are made
// a day at a time as they are asked for, so that memory follows the number of
// people and not the number of events. The package leaves to others what
// becomes of the events: it can write them to a file or send them to a server,
// or hand them to Go code.
package simulate
