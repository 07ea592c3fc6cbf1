// Package engine runs the embedded ClickHouse: the library libchdb in a child
// process of the same binary, behind the ClickHouse HTTP interface on a unix
// socket. The rest of Gatehouse talks to it through clickhouse-go, as it would
// to a ClickHouse server, and does not know that the server is a child.
//
// Two halves live here. [Start] is the parent's: it starts the child, waits
// until it answers, starts it again when it dies, and ends it on Close. [Main]
// is the child's: it fences itself in, loads the library, owns the data
// directory and serves HTTP until its parent goes away.
//
// A request gets a session of its own: opening one costs about as much as one
// SET, and no database, setting or temporary table of an earlier request can
// leak into it. Results and inserts are streamed, so neither side holds a
// whole result in memory; formats that cannot be written in pieces go by way
// of a file (see formats.go).
//
// The child holds no secrets: its environment is empty, it reaches no network,
// and the kernel (Landlock) confines it to its data directory and library.
// Trust in a request rests on the socket's mode (0600 in a directory of 0700).
//
// Left to others: which statements a tenant may run (query), the tables
// (schema), and connecting to an outside server when one is configured (the
// server's wiring: it then never calls Start).
package engine
