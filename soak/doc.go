// Package soak tries to make Gatehouse lose or double an event: it kills the
// server and its engine at random moments under load, takes ClickHouse away,
// sends everything again, and sends and stores garbage. Afterwards it compares what
// the API shows with what a client that kept every acknowledgement knows.
//
// It works on the real binary through its command line and its HTTP interface. Its
// tests have a short form that every test run takes, and a long one behind
// GATEHOUSE_SOAK=1 (`make soak`). Most of the damaged requests, ten million of them in the long
// form, go to the handlers without a network; $GATEHOUSE_SOAK_FUZZ and $GATEHOUSE_SOAK_MINUTES
// set other numbers of tries and limits of time.
package soak
