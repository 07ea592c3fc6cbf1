// Package bench measures Gatehouse: a client as lean as can be, a real server
// with its engine as child processes, and the figures that it must reach.
//
// It starts and talks to the server as anybody would (the binary, its command
// line, its HTTP interface), so that what it measures is what users get. Only
// the yardstick, what clickhouse-go fills the same tables with on its own, uses
// the packages engine and schema directly. The package judges nothing: it prints
// each figure, its target, and whether it is reached.
package bench
