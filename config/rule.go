package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // whether a zone is valid must not depend on what the machine has installed

	"gatehouse/internal/loopback"
	"gatehouse/internal/reldb"
)

// rule checks one value that is set. Its error follows the name of the setting in a sentence.
type rule struct {
	name   string
	arg    string
	normal func(text string) string // the one spelling of those that mean the same; nil: as it is
	check  func(value any) error
}

// parseRule reads one word of a `rule` tag.
func parseRule(text string, t reflect.Type) rule {
	name, arg, _ := strings.Cut(text, "=")
	r := rule{name: name, arg: arg}
	switch name {
	case "min", "max":
		bound, err := parseValue(t, arg)
		if err != nil {
			panic("BUG: config: rule " + text + ": " + err.Error())
		}
		limit := reflect.ValueOf(bound).Int()
		r.check = func(value any) error {
			switch v := reflect.ValueOf(value).Int(); {
			case name == "min" && v < limit:
				return fmt.Errorf("%v is too small: at least %s", value, arg)
			case name == "max" && v > limit:
				return fmt.Errorf("%v is too large: at most %s", value, arg)
			}
			return nil
		}
	case "maxlen":
		limit, err := strconv.Atoi(arg)
		if err != nil {
			panic("BUG: config: rule " + text)
		}
		r.check = func(value any) error {
			if n := len(value.(string)); n > limit {
				return fmt.Errorf("is %d bytes long: at most %d", n, limit)
			}
			return nil
		}
	case "oneof":
		r.normal, r.check = oneOf(arg)
	case "networks":
		r.check = func(value any) error {
			for _, p := range value.([]netip.Prefix) {
				if p.Bits() == 0 {
					return fmt.Errorf("%v is everybody: name the proxies' own addresses, or anybody could say who the client is", p)
				}
			}
			return nil
		}
	default:
		check := textRules[name]
		if check == nil {
			panic("BUG: config: unknown rule " + text)
		}
		r.check = func(value any) error {
			if list, ok := value.([]string); ok {
				for _, v := range list {
					if err := check(v); err != nil {
						return err
					}
				}
				return nil
			}
			return check(value.(string))
		}
	}
	return r
}

// oneOf reads "a|b,also b|c": the choices, each with further spellings of it, in any case.
func oneOf(arg string) (normal func(string) string, check func(any) error) {
	canonical := map[string]string{}
	var choices []string
	for choice := range strings.SplitSeq(arg, "|") {
		spellings := strings.Split(choice, ",")
		choices = append(choices, spellings[0])
		for _, s := range spellings {
			canonical[s] = spellings[0]
		}
	}
	normal = func(text string) string {
		if c, ok := canonical[strings.ToLower(text)]; ok {
			return c
		}
		return text
	}
	check = func(value any) error {
		if !slices.Contains(choices, value.(string)) {
			return fmt.Errorf("%q is not one of %s", value, strings.Join(choices, ", "))
		}
		return nil
	}
	return normal, check
}

// textRules are the rules about texts. Those about addresses never repeat the value: it may hold a password.
var textRules = map[string]func(string) error{
	"hostport": func(s string) error {
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return fmt.Errorf("%q is not HOST:PORT", s)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return fmt.Errorf("%q has no valid port: a number from 0 to 65535", s)
		}
		return nil
	},
	"database": func(s string) error {
		_, err := reldb.ParseURL(s)
		return err
	},
	"httpurl": func(s string) error {
		u, err := url.Parse(s)
		if err != nil {
			return errors.New("is not a valid address (is a special character in the password not %-escaped?)")
		}
		if u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("must begin with http:// or https://: Gatehouse speaks to ClickHouse over HTTP (port 8123 or 8443, not 9000)")
		}
		if u.Hostname() == "" {
			return errors.New("has no host")
		}
		return nil
	},
	"redis": func(s string) error {
		u, err := url.Parse(s)
		if err != nil {
			return errors.New("is not a valid address (is a special character in the password not %-escaped?)")
		}
		if u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix" {
			return errors.New("must begin with redis://, rediss:// (TLS) or unix://")
		}
		if u.Scheme != "unix" && u.Hostname() == "" {
			return errors.New("has no host")
		}
		if db := strings.Trim(u.Path, "/"); u.Scheme != "unix" && db != "" {
			if _, err := strconv.ParseUint(db, 10, 16); err != nil {
				return errors.New("must end in the number of a database, such as /0")
			}
		}
		return nil
	},
	"url": func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
			return fmt.Errorf("%q is not an address that begins with https://", s)
		}
		if u.User != nil || u.Fragment != "" {
			return errors.New("must have neither a user nor a #fragment")
		}
		return nil
	},
	"issuer": func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return fmt.Errorf("%q is not the address of an identity provider: https://HOST or https://HOST/PATH", s)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && (err != nil || !addr.IsLoopback())) {
			return fmt.Errorf("%q must begin with https:// (http:// is for a provider on this machine)", s)
		}
		return nil
	},
	"hostname": func(s string) error {
		name := strings.TrimPrefix(s, "*.")
		if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && name == s {
			return nil
		}
		if len(name) > 253 || !hostname.MatchString(name) {
			return fmt.Errorf("%q is not a name such as logons.example.org or *.example.org (without https:// and port)", s)
		}
		return nil
	},
	"secret": weakSecret,
	"identifier": func(s string) error {
		if !identifier.MatchString(s) {
			return fmt.Errorf("%q must be letters, digits and _ and not begin with a digit", s)
		}
		return nil
	},
	"cookie": func(s string) error {
		if !cookieName.MatchString(s) || strings.HasPrefix(s, "__") {
			return fmt.Errorf("%q must be at most 63 letters, digits, _ and -, and not begin with __ or -: what browsers need before a cookie's name is added", s)
		}
		return nil
	},
	"zone": func(s string) error {
		if _, err := time.LoadLocation(s); err != nil || strings.EqualFold(s, "local") {
			return fmt.Errorf("%q is not an IANA time zone such as Europe/London", s)
		}
		return nil
	},
}

// minSecret is the least length of a secret: 128 bits when written in hex.
const minSecret = 32

// weakSecret tells what is wrong with a secret, or with one of several with commas between.
func weakSecret(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if len(part) < minSecret {
			return fmt.Errorf("is %d characters long: at least %d; make one with openssl rand -hex 32", len(part), minSecret)
		}
		if isPlaceholder(part) {
			return errors.New("is the example from a documentation, which everybody knows: make one with openssl rand -hex 32")
		}
	}
	return nil
}

// isPlaceholder tells a secret that was copied from somebody's documentation.
func isPlaceholder(s string) bool {
	s = strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
	for _, known := range []string{"yoursecret", "changeme", "changethis"} {
		if strings.Contains(s, known) {
			return true
		}
	}
	return false
}

var hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`)

var cookieName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$`)

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// checkTogether holds the rules about several settings at once.
func (c *Config) checkTogether() []string {
	var problems []string
	if (c.Server.CertFile == "") != (c.Server.KeyFile == "") {
		problems = append(problems, "[server] ssl_certfile and ssl_keyfile belong together: set both, or neither for a self-signed certificate")
	}
	if !c.Server.TLS && c.Server.CertFile != "" {
		problems = append(problems, "[server] tls is off although ssl_certfile is set: remove one of them")
	}
	if p := c.Server.HTTPRedirectPort; p != 0 && !c.Server.TLS {
		problems = append(problems, "[server] http_redirect_port needs tls: there is no HTTPS to send anybody to")
	} else if p != 0 && strconv.Itoa(p) == c.Server.port() {
		problems = append(problems, "[server] http_redirect_port is the port that HTTPS is on: use another, usually 80")
	}
	if c.Session.IdleTimeout > c.Session.AbsoluteTimeout {
		problems = append(problems, fmt.Sprintf("[session] idle_timeout %v is longer than absolute_timeout %v", formatDuration(c.Session.IdleTimeout), formatDuration(c.Session.AbsoluteTimeout)))
	}
	if c.Session.CookieSameSite == "none" && c.Session.CookieSecure == "false" {
		problems = append(problems, "[session] cookie_samesite none needs cookie_secure: browsers drop such a cookie otherwise")
	}
	if c.Session.Store == "redis" && c.Cache.RedisURL == "" {
		problems = append(problems, "[session] store redis needs [cache] redis_url")
	}
	if (c.OIDC.Issuer == "") != (c.OIDC.ClientID == "") {
		problems = append(problems, "[oidc] issuer and client_id belong together: set both, or neither")
	}
	if c.OIDC.Issuer != "" && !slices.Contains(c.OIDC.Scopes, "openid") {
		problems = append(problems, "[oidc] scopes lacks openid, without which the provider tells nobody's identity")
	}
	if c.OIDC.Issuer != "" && c.Session.CookieSameSite == "strict" {
		problems = append(problems, "[session] cookie_samesite strict does not go with [oidc]: browsers would come back from the provider without their session; use lax")
	}
	if c.ClickHouse.Cluster != "" && c.ClickHouse.URL == "" {
		problems = append(problems, "[clickhouse] cluster needs url: the embedded engine has no cluster")
	}
	if c.Spool.SegmentSize > c.Spool.MaxBytes/2 {
		problems = append(problems, fmt.Sprintf("[spool] segment_size %v is more than half of max_bytes %v: the queue could never be cleared while it takes events", c.Spool.SegmentSize, c.Spool.MaxBytes))
	}
	if most := c.largestRequest(); c.Ingest.MaxBytes > most {
		problems = append(problems, fmt.Sprintf("[ingest] max_bytes %v, of up to %d events, is more than the queue takes at once, which is a quarter of [spool] max_bytes %v and never more than 64MiB: lower max_bytes to %v, or raise the other",
			c.Ingest.MaxBytes, c.Ingest.MaxRecords, c.Spool.MaxBytes, max(most, 0)))
	}
	return problems
}

// openConnections tells of connections to other machines that somebody on the way could read or answer in place of the other side. They are
// not refused: the network between may be trusted, and the former application's settings have such.
func (c *Config) openConnections() (notices []string) {
	const reads = "somebody on the way to %s can read and change what is sent: "
	if t, err := reldb.ParseURL(c.Database.URL.Reveal()); err == nil {
		if ok, parameters := t.Protected(); !ok {
			notices = append(notices, fmt.Sprintf("[database] url: "+reads+"add %s (docs/databases.md)", cmp.Or(t.URL.Hostname(), "the database"), parameters))
		}
	}
	if u, err := url.Parse(c.ClickHouse.URL.Reveal()); err == nil && u.Scheme == "http" && !loopback.Is(u.Host) {
		notices = append(notices, fmt.Sprintf("[clickhouse] url: "+reads+"use https", u.Hostname()))
	}
	if u, err := url.Parse(c.Cache.RedisURL.Reveal()); err == nil && u.Scheme == "redis" && u.Host != "" && !loopback.Is(u.Host) {
		notices = append(notices, fmt.Sprintf("[cache] redis_url: "+reads+"use rediss", u.Hostname()))
	}
	return notices
}

// largestRequest is the size of body whose events surely fit into the queue together, as the events of one request must: package
// spool takes 64 MiB or a quarter of its bound at once. An event there can be a little longer than its shortest JSON; a test
// of package ingest sends such.
func (c *Config) largestRequest() Size {
	const perEvent = 64
	most := min(64<<20, c.Spool.MaxBytes/4) - Size(c.Ingest.MaxRecords)*perEvent
	return most / (64 << 10) * (64 << 10)
}
