package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Rate is a number of times in a span of time. The zero Rate is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// String is the form that ParseRate reads back.
func (r Rate) String() string {
	if r.Count == 0 {
		return "0"
	}
	return strconv.Itoa(r.Count) + "/" + formatDuration(r.Per)
}

const (
	maxRateCount = 1_000_000_000
	maxRatePer   = 31 * 24 * time.Hour
)

// ParseRate reads a limit: 10/1m, 10/60, 60/minute, "60 per minute", "5 per 300 second"; 0, none and off are no limit. A
// number alone has no span: Per is 0 and the caller must know one.
func ParseRate(s string) (Rate, error) {
	wrong := fmt.Errorf("%q is not a limit: write for instance 10/1m (10 a minute), 5/300s, or 0 for none", s)
	text := strings.ToLower(strings.TrimSpace(s))
	if text == "none" || text == "off" {
		return Rate{}, nil
	}
	count, per, ok := strings.Cut(text, "/")
	if !ok {
		count, per, ok = strings.Cut(text, " per ")
	}
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if err != nil || n < 0 {
		return Rate{}, wrong
	}
	if n > maxRateCount {
		return Rate{}, fmt.Errorf("%q: at most %d, or 0 for no limit", s, maxRateCount)
	}
	if !ok || n == 0 {
		return Rate{Count: n}, nil
	}
	span, err := parseSpan(per)
	if err != nil {
		return Rate{}, wrong
	}
	if span < time.Second || span > maxRatePer {
		return Rate{}, fmt.Errorf("%q: the time must be from 1s to 31d", s)
	}
	return Rate{n, span}, nil
}

var spanNames = map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "month": 30 * 24 * time.Hour}

// parseSpan reads a span as ParseDuration does, and in words: minute, "300 second", "5 minutes".
func parseSpan(s string) (time.Duration, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 || len(fields) > 2 {
		return 0, fmt.Errorf("%q is not a time span", s)
	}
	unit, ok := spanNames[strings.TrimSuffix(fields[len(fields)-1], "s")]
	if !ok {
		return ParseDuration(s)
	}
	if len(fields) == 1 {
		return unit, nil
	}
	n, err := strconv.ParseUint(fields[0], 10, 31)
	if err != nil || time.Duration(n) > maxRatePer/unit {
		return 0, fmt.Errorf("%q is not a time span", s)
	}
	return time.Duration(n) * unit, nil
}

const day = 24 * time.Hour

// ParseDuration reads a span of time: 500ms, 30s, 5m, 24h, 365d, or a bare number of seconds.
func ParseDuration(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	number, isDays := strings.CutSuffix(strings.ToLower(text), "d")
	n, err := strconv.ParseInt(number, 10, 32)
	switch {
	case err != nil || isDays && (n > 36500 || n < -36500):
		return 0, fmt.Errorf("%q is not a time span: write for instance 500ms, 30s, 5m, 24h or 7d", s)
	case isDays:
		return time.Duration(n) * day, nil
	default:
		return time.Duration(n) * time.Second, nil // as in most other programs
	}
}

// formatDuration is what people write: time.Duration says 24h0m0s for 24h.
func formatDuration(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Mapping gives whoever has Value among the values of a claim the role Role, in the company named Company or, where
// that is empty, in the one that another claim names. Which roles there are is not config's to know.
type Mapping struct{ Value, Role, Company string }

// String is the form that parseMappings reads back.
func (m Mapping) String() string {
	if m.Company == "" {
		return m.Value + "=" + m.Role
	}
	return m.Value + "=" + m.Role + "@" + m.Company
}

// parseMappings reads VALUE=Role@Company; … The last = counts, since names of groups in a directory hold some.
func parseMappings(text string) ([]Mapping, error) {
	var out []Mapping
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		i := strings.LastIndexByte(part, '=')
		// A company's name may hold an = as well; what stands before an @ does not end in one.
		if at := strings.LastIndexByte(part, '@'); at >= 0 && at < i {
			if j := strings.LastIndexByte(part[:at], '='); j >= 0 {
				i = j
			}
		}
		if i < 0 {
			return nil, fmt.Errorf("%q is not VALUE=Role or VALUE=Role@Company", part)
		}
		role, company, _ := strings.Cut(part[i+1:], "@")
		m := Mapping{strings.TrimSpace(part[:i]), strings.TrimSpace(role), strings.TrimSpace(company)}
		if m.Value == "" || !identifier.MatchString(m.Role) {
			return nil, fmt.Errorf("%q is not VALUE=Role or VALUE=Role@Company", part)
		}
		out = append(out, m)
	}
	return out, nil
}

// parseList reads values with commas between them.
func parseList(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// parseNetworks reads addresses and networks with commas or spaces between them; an address is a network of one.
func parseNetworks(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, part := range strings.FieldsFunc(text, isBetween) {
		p, err := netip.ParsePrefix(part)
		if err != nil {
			addr, addrErr := netip.ParseAddr(part)
			err = cmp.Or(addrErr, zoned(addr))
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address such as 10.0.0.7 nor a network such as 172.18.0.0/16", part)
		}
		if p.Masked() != p {
			return nil, fmt.Errorf("%q has bits beyond its /%d: is it %s or %s/%d?", part, p.Bits(), p.Masked(), p.Addr(), p.Addr().BitLen())
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("%q: write an IPv4 address in the IPv4 form", part)
		}
		out = append(out, p)
	}
	return out, nil
}

// isBetween tells what may stand between the networks of a list.
func isBetween(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == ';' }

// zoned refuses fe80::1%eth0: whether an address is the proxy's must not depend on an interface's name.
func zoned(a netip.Addr) error {
	if a.Zone() != "" {
		return errors.New("has a zone")
	}
	return nil
}
