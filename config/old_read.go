package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/ini.v1"
)

// ratePeriods end the names of keys that gave the span of a limit by itself: login_limit = 10, login_period = 60.
var ratePeriods = []string{"_period", "_window"}

// oldKeysNamed are what a key meant. One may have become several settings.
func oldKeysNamed(section, key string) []oldKey {
	var found []oldKey
	for _, o := range oldKeys {
		if o.section == section && o.key == key {
			found = append(found, o)
		}
	}
	for _, end := range ratePeriods {
		if base, ok := strings.CutSuffix(key, end); ok && section == "rate_limiting" && findSection(section).find(base+"_limit") != nil {
			found = append(found, oldKey{section: section, key: key, to: section + "." + base + "_limit", beside: base + "_limit", read: oldPeriod(base)})
		}
	}
	return found
}

// readOld takes over a key of the former application, where its setting is not set under its own name.
func (l *loader) readOld(file string, sec *ini.Section, key *ini.Key, o oldKey) {
	l.old[o.section+"."+o.key] = true
	// Python's reader of such files writes % as %%.
	text := strings.ReplaceAll(strings.TrimSpace(key.Value()), "%%", "%")
	if text == "" || strings.EqualFold(text, "none") || o.beside != "" && sec.HasKey(o.beside) {
		return
	}
	s := findSetting(o.to)
	if from, ok := l.from[s]; ok {
		l.notice("%s: [%s] %s is ignored, since %s is set by %s", file, sec.Name(), o.key, s.name(), from.name)
		return
	}
	why := ""
	var err error
	if o.read != nil {
		text, why, err = o.read(text)
	}
	if err == nil && text != "" {
		if err = s.set(l.values, text); err == nil {
			l.from[s] = source{file, o.key}
		}
	}
	switch {
	case err != nil && o.looser:
		l.notice("%s: [%s] %s: %v; it is ignored, and %s stays %s", file, sec.Name(), o.key, err, s.name(), s.def)
	case err != nil:
		l.problem("%s: [%s] %s: %v", file, sec.Name(), o.key, err)
	}
	if why != "" {
		l.notice("%s: [%s] %s %s", file, sec.Name(), o.key, why)
	}
}

// readOldEnv reads the variables of the former application that are not merely other names of settings.
func (l *loader) readOldEnv(env map[string]string) {
	level := findSetting("logging.level")
	text, ok := env["APP_DEBUG"]
	if from, set := l.from[level]; !ok || set && from.file == "" {
		return
	}
	text, _, err := oldDebug(text)
	if err != nil {
		l.problem("APP_DEBUG: %v", err)
	} else if text != "" {
		l.cfg.Logging.Level = text
		l.from[level] = source{name: "APP_DEBUG"}
	}
}

// Where the former application kept its certificate unless told otherwise, and made one when there was none.
const (
	oldCertFile = "instance/certs/cert.pem"
	oldKeyFile  = "instance/certs/key.pem"
)

func (l *loader) settleOld() {
	idle, absolute := findSetting("session.idle_timeout"), findSetting("session.absolute_timeout")
	_, absoluteSet := l.from[absolute]
	if s := &l.cfg.Session; strings.EqualFold(l.from[idle].name, "permanent_session_lifetime") && !absoluteSet && s.IdleTimeout > s.AbsoluteTimeout {
		s.AbsoluteTimeout = s.IdleTimeout
	}
	if (l.old["proxy.trusted_proxies"] || l.old["proxy.proxy_count"]) && len(l.cfg.Proxy.Trusted) == 0 {
		l.notice("[proxy] trusted_proxies is empty: the former application then believed everybody's X-Forwarded headers, Gatehouse believes nobody's. " +
			"Behind a proxy, name its addresses, or every client seems to come from there")
	}
	cert := findSetting("server.ssl_certfile")
	srv := &l.cfg.Server
	if file := l.from[cert].file; file != "" && srv.CertFile == filepath.Join(filepath.Dir(file), oldCertFile) && srv.KeyFile == filepath.Join(filepath.Dir(file), oldKeyFile) &&
		missing(srv.CertFile) && missing(srv.KeyFile) {
		l.notice("%s: ssl_certfile and ssl_keyfile are not there; a self-signed certificate in the data directory is used, as the former application made one", file)
		srv.CertFile, srv.KeyFile = "", ""
	}
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, os.ErrNotExist)
}

// oldSecret takes over a secret that is one.
func oldSecret(text string) (value, why string, err error) {
	if weakSecret(text) != nil {
		return "", "is too short or the documentation's example, and is ignored: a secret of its own is made", nil
	}
	return text, "", nil
}

func oldDebug(text string) (value, why string, err error) {
	on, err := parseBool(text)
	if err != nil || !on {
		return "", "", err
	}
	return "debug", "", nil
}

// oldDatabase takes over servers. A file was the former application's own: its tables are others, and a relative one was looked
// for in a folder that Gatehouse does not have.
func oldDatabase(text string) (value, why string, err error) {
	if strings.HasPrefix(strings.ToLower(text), "sqlite:") {
		return "", "names the former application's own file; Gatehouse keeps its own in the data directory, unless [database] url names another", nil
	}
	return text, "", nil
}

func oldStorage(text string) (value, why string, err error) {
	if strings.HasPrefix(strings.ToLower(text), "memory:") {
		return "", "", nil
	}
	return text, "", nil
}

// oldProxies keeps the proxies that can be believed. The former application took the names of hosts, everybody, and an address with the length of its network.
func oldProxies(text string) (value, why string, err error) {
	var good, bad []string
	s := findSetting("proxy.trusted")
	for _, part := range strings.FieldsFunc(text, isBetween) {
		if err := s.set(reflect.ValueOf(&Config{}).Elem(), part); err != nil {
			bad = append(bad, err.Error())
		} else {
			good = append(good, part)
		}
	}
	if len(bad) > 0 {
		why = "is taken over without what is no proxy's address, so that nobody can say they are somebody else: " + strings.Join(bad, "; ")
	}
	return strings.Join(good, ", "), why, nil
}

// oldCount reads how many values of a header were believed.
func oldCount(text string) (value, why string, err error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return "", "", fmt.Errorf("%q is not a number of proxies", text)
	}
	return strconv.FormatBool(n > 0), "", nil
}

// oldHops reads the same as a number of proxies; that it is none, oldCount tells.
func oldHops(text string) (value, why string, err error) {
	if _, _, err := oldCount(text); err != nil {
		return "", "", nil
	}
	return text, "", nil
}

// oldIngest turns a limit into events a second.
func oldIngest(text string) (value, why string, err error) {
	r, err := ParseRate(text)
	if err != nil {
		return "", "", err
	}
	if r.Count == 0 {
		return "0", "", nil
	}
	if r.Per == 0 {
		r.Per = findSetting("rate_limiting.api_limit").period()
	}
	return strconv.Itoa(max(1, int(float64(r.Count)/r.Per.Seconds()))), "", nil
}

// oldPeriod reads the span of a limit whose number is the default's.
func oldPeriod(base string) func(string) (string, string, error) {
	return func(text string) (value, why string, err error) {
		def, err := ParseRate(findSetting("rate_limiting." + base + "_limit").def)
		if err != nil || def.Count == 0 {
			return "", "", err
		}
		return strconv.Itoa(def.Count) + "/" + text, "", nil
	}
}

// withPeriod adds to a limit that is a number alone the span that stands in a key of its own.
func withPeriod(sec *ini.Section, key, text string) string {
	if _, err := strconv.ParseUint(text, 10, 63); err != nil {
		return text
	}
	for _, end := range ratePeriods {
		name := strings.TrimSuffix(key, "_limit") + end
		if sec.HasKey(name) && strings.TrimSpace(sec.Key(name).Value()) != "" {
			return text + "/" + strings.TrimSpace(sec.Key(name).Value())
		}
	}
	return text
}

// retiredKeys collects the keys of a file that are gone, so that one line tells of those with the same reason.
type retiredKeys struct {
	reasons []string
	keys    map[string][]string
}

func (r *retiredKeys) add(o oldKey) {
	if r.keys == nil {
		r.keys = map[string][]string{}
	}
	if _, ok := r.keys[o.gone]; !ok {
		r.reasons = append(r.reasons, o.gone)
	}
	r.keys[o.gone] = append(r.keys[o.gone], "["+o.section+"] "+o.key)
}

func (r *retiredKeys) notices() []string {
	var out []string
	for _, reason := range r.reasons {
		out = append(out, "no longer used: "+strings.Join(r.keys[reason], ", ")+": "+reason)
	}
	return out
}

// assignment is a line that sets a key. A colon sets one only with a space behind it, since addresses hold colons.
var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*[ \t]*(=|:([ \t]|$))`)

// joinContinued joins lines that go on in the next, indented one, as Python's reader of such files took them. Indented
// settings stay settings: people indent them below their section.
func joinContinued(text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	out := make([][]byte, 0, len(lines))
	open := false // the last line of out is a setting
	for _, line := range lines {
		trimmed := bytes.TrimSpace(line)
		switch {
		case len(trimmed) == 0 || trimmed[0] == '#' || trimmed[0] == ';' || trimmed[0] == '[':
			open = false
		case open && (line[0] == ' ' || line[0] == '\t') && !assignment.Match(trimmed):
			last := len(out) - 1
			out[last] = append(append(bytes.TrimRight(bytes.Clone(out[last]), " \t\r"), ' '), trimmed...)
			continue
		default:
			open = assignment.Match(trimmed)
		}
		out = append(out, line)
	}
	return bytes.Join(out, []byte("\n"))
}
