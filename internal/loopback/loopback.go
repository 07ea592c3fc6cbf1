// Package loopback knows which names of hosts are the machine itself.
package loopback

import (
	"net"
	"net/netip"
	"strings"
)

// Is tells whether host, with or without a port or brackets, is a name or an address that leads to the own machine from every machine:
// localhost (RFC 6761), 127.0.0.0/8, also mapped to IPv6, and ::1.
func Is(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return name == "localhost"
}
