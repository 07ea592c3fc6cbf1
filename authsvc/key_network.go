package authsvc

import (
	"net/netip"
	"slices"
	"strings"

	"gatehouse/event"
)

// Limits of a key's networks: each is compared at each request, and the column holds no more.
const (
	maxNetworks     = 50
	maxNetworksText = 2000
)

// nowhere is a network that no address is in: what a damaged column means, since a key must never get more than what is
// certain.
var nowhere = []netip.Prefix{{}}

// ParseNetworks reads networks such as "192.0.2.0/24, 2001:db8::/32, 198.51.100.7", separated by commas or spaces; an address alone
// is a network of one. The result is in a fixed order and without repetition; none is the empty list. What is wrong is a field error.
func ParseNetworks(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for part := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
		network, err := parseNetwork(part)
		if err != nil {
			return nil, err
		}
		out = append(out, network)
	}
	return cleanNetworks(out)
}

func parseNetwork(text string) (netip.Prefix, error) {
	wrong := event.FieldError("networks", "%.60q is neither a network (192.0.2.0/24, 2001:db8::/32) nor an address", text)
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, wrong
		}
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, wrong
	}
	if network.Addr().Is4In6() {
		// ::ffff:192.0.2.0/120 is meant as 192.0.2.0/24, which is how addresses are compared.
		if network.Bits() < 96 {
			return netip.Prefix{}, wrong
		}
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	if network != network.Masked() {
		return netip.Prefix{}, event.FieldError("networks", "%s has bits set beyond its length; did you mean %s?", network, network.Masked())
	}
	return network, nil
}

// cleanNetworks puts networks in order and checks that they can be kept.
func cleanNetworks(list []netip.Prefix) ([]netip.Prefix, error) {
	out := slices.Clone(list)
	for _, n := range out {
		if !n.IsValid() || n != n.Masked() || n.Addr().Is4In6() {
			return nil, event.FieldError("networks", "%s is not a network", n)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	out = slices.Compact(out)
	if len(out) > maxNetworks || len(networksText(out)) > maxNetworksText {
		return nil, event.FieldError("networks", "must not be more than %d, or %d characters of text", maxNetworks, maxNetworksText)
	}
	return out, nil
}

// storedNetworks reads the column.
func storedNetworks(column string) []netip.Prefix {
	list, err := ParseNetworks(column)
	if err != nil {
		return nowhere
	}
	return list
}

func networkNames(list []netip.Prefix) []string {
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.String()
	}
	return names
}

func networksText(list []netip.Prefix) string { return strings.Join(networkNames(list), ",") }

// inNetworks tells whether a key with these networks may be used from an address. Without networks that is any, known or not.
func inNetworks(list []netip.Prefix, from netip.Addr) bool {
	if len(list) == 0 {
		return true
	}
	from = from.Unmap().WithZone("")
	for _, n := range list {
		if n.Contains(from) {
			return true
		}
	}
	return false
}
