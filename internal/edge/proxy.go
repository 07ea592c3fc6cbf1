package edge

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Proxies says who may tell us of the client, and what.
type Proxies struct {
	Trusted []netip.Prefix // addresses of the proxies
	Hops    int            // how many stand between the client and us at most
	// Which headers they set. One that the proxies pass on as the client sent it must be off.
	For, Proto, Host, Port, Prefix bool
}

func (p *Proxies) trusts(a netip.Addr) bool {
	for _, n := range p.Trusted {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// forwarding is what a request says of the proxies that it came by.
type forwarding struct {
	any                                     bool
	id, forwardedFor, proto, host, port, at []string
}

// takeForwarding takes the headers about forwarding away from h: behind the edge nobody can believe them by mistake.
func takeForwarding(h http.Header) (f forwarding) {
	for name, values := range h {
		switch name {
		case "X-Request-Id":
			f.id = values
			delete(h, name)
			continue
		case "Via": // nobody behind us goes by it, but it tells of a proxy
			f.any = true
			continue
		case "X-Forwarded-For":
			f.forwardedFor = values
		case "X-Forwarded-Proto":
			f.proto = values
		case "X-Forwarded-Host":
			f.host = values
		case "X-Forwarded-Port":
			f.port = values
		case "X-Forwarded-Prefix":
			f.at = values
		case "Forwarded", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip", "X-Original-Url", "X-Original-Host", "X-Rewrite-Url":
		default:
			if !strings.HasPrefix(name, "X-Forwarded") {
				continue
			}
		}
		f.any = true
		delete(h, name)
	}
	return f
}

// read takes over what the trusted proxy at info.Peer says.
func (p *Proxies) read(f *forwarding, info *Info) {
	info.Trusted = true
	if len(f.id) == 1 && validID(f.id[0]) {
		info.RequestID = f.id[0]
	}
	steps := 1
	if p.For {
		steps = p.client(f.forwardedFor, info)
	}
	if v := strings.ToLower(valueAt(f.proto, steps)); p.Proto {
		switch v {
		case "http", "ws":
			info.Scheme, info.Plain = "http", true
		case "https", "wss":
			info.Scheme = "https"
		}
	}
	if v := valueAt(f.host, steps); p.Host && v != "" && validHost(v) {
		info.Host = v
	}
	if v := valueAt(f.port, steps); p.Port && v != "" {
		info.Host = withPort(info.Host, info.Scheme, v)
	}
	if v := valueAt(f.at, steps); p.Prefix && validPrefix(v) {
		info.Prefix = strings.TrimRight(v, "/")
	}
}

// client walks from our end of X-Forwarded-For towards the client: each entry was written by the proxy on our side of it, so it
// is believed as long as that one is trusted. It tells by how many proxies it went.
//
// What stands further left than Hops, or left of the first address that is no trusted proxy, anybody may have written.
func (p *Proxies) client(values []string, info *Info) (steps int) {
	list := entries{values: values}
	for steps = 0; steps < p.Hops; steps++ {
		entry, ok := list.last()
		if !ok {
			break
		}
		addr, port, ok := parseEntry(entry)
		if !ok {
			break // the proxy did not know the client, or does not do what we take it to: it is the last that is certain
		}
		info.Addr, info.port = addr, port
		if !p.trusts(addr) {
			return steps + 1
		}
	}
	return max(1, steps)
}

// entries reads the members of a comma-separated header from the end, without a copy: a client may send thousands.
type entries struct {
	values []string
	rest   string
	begun  bool
}

func (e *entries) last() (string, bool) {
	if !e.begun {
		if len(e.values) == 0 {
			return "", false
		}
		e.rest, e.values, e.begun = e.values[len(e.values)-1], e.values[:len(e.values)-1], true
	}
	i := strings.LastIndexByte(e.rest, ',')
	entry := strings.Trim(e.rest[i+1:], " \t")
	if i < 0 {
		e.begun = false
	} else {
		e.rest = e.rest[:i]
	}
	return entry, true
}

// valueAt is the member that the steps-th proxy from our end wrote. Where proxies replace the header instead of adding to it,
// there are fewer, and the first is the outermost one's.
func valueAt(values []string, steps int) string {
	list := entries{values: values}
	value := ""
	for range steps {
		v, ok := list.last()
		if !ok {
			break
		}
		value = v
	}
	return value
}

// parseEntry reads an address as proxies write it: alone, or with a port, IPv6 with or without brackets.
func parseEntry(s string) (addr netip.Addr, port uint16, ok bool) {
	if len(s) < 2 || len(s) > 64 {
		return addr, 0, false
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		addr, port = ap.Addr(), ap.Port()
	} else {
		if s[0] == '[' && s[len(s)-1] == ']' {
			s = s[1 : len(s)-1]
			if !strings.Contains(s, ":") {
				return netip.Addr{}, 0, false
			}
		}
		if addr, err = netip.ParseAddr(s); err != nil {
			return netip.Addr{}, 0, false
		}
	}
	addr = addr.Unmap().WithZone("")
	return addr, port, !addr.IsUnspecified()
}

// validID tells whether a proxy's request id may go into logs and pages.
func validID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		if !isAlnum(c) && c != '-' && c != '_' && c != '.' && c != ':' {
			return false
		}
	}
	return true
}

// validPrefix tells whether v is the path of a folder.
func validPrefix(v string) bool {
	if len(v) < 2 || len(v) > 200 || v[0] != '/' || strings.Contains(v, "//") || strings.Contains(v, "..") {
		return false
	}
	for _, c := range []byte(v) {
		if !isAlnum(c) && c != '-' && c != '_' && c != '.' && c != '/' && c != '~' {
			return false
		}
	}
	return true
}

// withPort is host with that port, or with none where scheme has it anyway. A port that is none changes nothing.
func withPort(host, scheme, port string) string {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return host
	}
	name, has := splitHost(host)
	switch {
	case has != "":
		return host // the name came with a port, which is nearer to what the client typed
	case n == 443 && scheme == "https", n == 80 && scheme == "http":
		return host
	case strings.Contains(name, ":"):
		return "[" + name + "]:" + strconv.FormatUint(n, 10)
	}
	return net.JoinHostPort(name, strconv.FormatUint(n, 10))
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
