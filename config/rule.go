package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // whether a zone is valid must not depend on what the machine has installed

	"gatehouse/internal/reldb"
)

// rule checks one value that is set. Its error follows the name of the setting in a sentence.
type rule struct {
	name  string
	check func(value any) error
}

// parseRule reads one word of a `rule` tag.
func parseRule(text string, t reflect.Type) rule {
	name, arg, _ := strings.Cut(text, "=")
	r := rule{name: name}
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
		choices := strings.Split(arg, "|")
		r.check = func(value any) error {
			if !slices.Contains(choices, value.(string)) {
				return fmt.Errorf("%q is not one of %s", value, strings.Join(choices, ", "))
			}
			return nil
		}
	default:
		check := textRules[name]
		if check == nil {
			panic("BUG: config: unknown rule " + text)
		}
		r.check = func(value any) error { return check(value.(string)) }
	}
	return r
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
	"identifier": func(s string) error {
		if !identifier.MatchString(s) {
			return fmt.Errorf("%q must be letters, digits and _ and not begin with a digit", s)
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
	if c.ClickHouse.Cluster != "" && c.ClickHouse.URL == "" {
		problems = append(problems, "[clickhouse] cluster needs url: the embedded engine has no cluster")
	}
	if c.Spool.SegmentSize > c.Spool.MaxBytes/2 {
		problems = append(problems, fmt.Sprintf("[spool] segment_size %v is more than half of max_bytes %v: the queue could never be cleared while it takes events", c.Spool.SegmentSize, c.Spool.MaxBytes))
	}
	if int64(c.Ingest.MaxBytes) > int64(c.Spool.MaxBytes) {
		problems = append(problems, fmt.Sprintf("[ingest] max_bytes %v is more than [spool] max_bytes %v: such a request would never fit", c.Ingest.MaxBytes, c.Spool.MaxBytes))
	}
	return problems
}
