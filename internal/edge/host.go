package edge

import (
	"net/netip"
	"strconv"
	"strings"

	"gatehouse/internal/loopback"
)

// Hosts are names that we answer to: logons.example.org, *.example.org for all names below it, addresses. None means all.
// localhost and loopback addresses are always among them: whoever can use them is on this machine.
type Hosts []string

// Allow tells whether host, with or without a port, is one of them.
func (h Hosts) Allow(host string) bool {
	if loopback.Is(host) {
		return true
	}
	name, _ := splitHost(host)
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if addr, err := netip.ParseAddr(name); err == nil {
		name = addr.Unmap().String()
	}
	for _, allowed := range h {
		allowed = strings.ToLower(strings.Trim(allowed, "[]"))
		if below, ok := strings.CutPrefix(allowed, "*"); ok {
			if len(name) > len(below) && strings.HasSuffix(name, below) {
				return true
			}
		} else if name == allowed {
			return true
		}
	}
	return false
}

// allow is Allow where no names mean all.
func (h Hosts) allow(host string) bool { return len(h) == 0 || h.Allow(host) }

// splitHost takes the port from a valid host, and the brackets from an address.
func splitHost(host string) (name, port string) {
	if strings.HasPrefix(host, "[") {
		name, port, _ = strings.Cut(host[1:], "]")
		return name, strings.TrimPrefix(port, ":")
	}
	if i := strings.IndexByte(host, ':'); i >= 0 && i == strings.LastIndexByte(host, ':') {
		return host[:i], host[i+1:]
	}
	return host, ""
}

// validHost tells whether s is a name or an address with or without a port, or empty, as HTTP/1.0 has it. Everything else could
// only confuse who builds an address or a page from it.
func validHost(s string) bool {
	if len(s) > 255 {
		return false
	}
	if strings.HasPrefix(s, "[") {
		address, rest, ok := strings.Cut(s[1:], "]")
		if addr, err := netip.ParseAddr(address); !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return false
		}
		return rest == "" || rest[0] == ':' && validPort(rest[1:])
	}
	name, port, has := strings.Cut(s, ":")
	if has && (!validPort(port) || name == "") {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && c != '-' && c != '_' && (c != '.' || i == 0 || name[i-1] == '.') {
			return false
		}
	}
	return true
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '+' && s[0] != '0'
}
