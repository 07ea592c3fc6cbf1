package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/ini.v1"
)

// maxFile bounds config.ini and each file that a …_FILE variable names: a wrong path must not read a disk image.
const maxFile = 1 << 20

// Problems are all mistakes found at once, so that they can be mended at once.
type Problems []string

func (p Problems) Error() string {
	if len(p) == 1 {
		return "configuration: " + p[0]
	}
	return fmt.Sprintf("configuration: %d problems:\n  - %s", len(p), strings.Join(p, "\n  - "))
}

// Default is the configuration without a file and environment.
func Default() *Config {
	cfg := &Config{}
	v := reflect.ValueOf(cfg).Elem()
	for _, sec := range sections {
		for _, s := range sec.settings {
			if s.def == "" {
				continue
			}
			if err := s.set(v, s.def); err != nil {
				panic("BUG: config: default of " + s.name() + ": " + err.Error())
			}
		}
	}
	return cfg
}

// Load reads the file, if its name is not empty, and then the environment, as os.Environ gives it. A variable that is set but
// empty counts as not set, since container files and service units often leave one so. The error is Problems.
func Load(file string, environ []string) (*Config, error) {
	l := newLoader()
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, Problems{fmt.Sprintf("cannot read the file: %v", err)}
		}
		text, err := readAll(f)
		err = errors.Join(err, f.Close())
		if err != nil {
			return nil, Problems{fmt.Sprintf("cannot read %s: %v", file, err)}
		}
		l.readFile(file, text)
	}
	l.readEnv(environ)
	l.settle()
	if len(l.problems) == 0 { // else a setting may only seem to contradict another
		l.problems = l.cfg.checkTogether()
	}
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	l.cfg.notices = append(l.cfg.notices, l.cfg.openConnections()...)
	return l.cfg, nil
}

func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(text) > maxFile {
		return nil, fmt.Errorf("it is larger than %v", Size(maxFile))
	}
	return text, err
}

// loader is one Load under way.
type loader struct {
	cfg      *Config
	values   reflect.Value       // of cfg
	from     map[*setting]source // what was set, and by what
	old      map[string]bool     // names of the former application that the file has
	problems Problems
}

// source is where a setting's value came from.
type source struct {
	file string // "" for the environment
	name string // the key in the file or the variable
}

func newLoader() *loader {
	l := &loader{cfg: Default(), from: map[*setting]source{}, old: map[string]bool{}}
	l.values = reflect.ValueOf(l.cfg).Elem()
	return l
}

func (l *loader) problem(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

func (l *loader) notice(format string, args ...any) {
	l.cfg.notices = append(l.cfg.notices, fmt.Sprintf(format, args...))
}

// iniOptions make the file mean what it says: no value goes on over several lines (but see joinContinued), a # or ; inside a
// value (as in a password) is part of it, and keys of the same name are all seen, to be told apart.
var iniOptions = ini.LoadOptions{
	Insensitive: true, IgnoreInlineComment: true, IgnoreContinuation: true, AllowShadows: true, AllowDuplicateShadowValues: true,
	PreserveSurroundedQuote: false, SkipUnrecognizableLines: false,
}

func (l *loader) readFile(name string, text []byte) {
	file, err := ini.LoadSources(iniOptions, joinContinued(text))
	if err != nil {
		l.problem("%s: %v", name, err)
		return
	}
	retired := &retiredKeys{}
	var mapped []func()
	for _, sec := range file.Sections() {
		known := findSection(sec.Name())
		if known == nil {
			if sec.Name() == strings.ToLower(ini.DefaultSection) {
				for _, key := range sec.Keys() {
					l.problem("%s: %s stands before the first [section]%s", name, key.Name(), suggestKey(key.Name()))
				}
				continue
			}
			l.problem("%s: there is no section [%s]%s", name, sec.Name(), suggest(sec.Name(), sectionNames()))
			continue
		}
		for _, key := range sec.Keys() {
			olds := oldKeysNamed(sec.Name(), key.Name())
			if s := known.find(key.Name()); s != nil {
				l.readKey(name, sec, key, s)
				continue
			}
			for _, o := range olds {
				if o.to == "" {
					retired.add(o)
					continue
				}
				// After all others: a setting under its own name goes before one under an old name.
				mapped = append(mapped, func() { l.readOld(name, sec, key, o) })
			}
			switch {
			case len(olds) > 0:
			case known.old():
				// The former application's files may hold what nobody knows any more; they are accepted as they are.
				l.notice("%s: [%s] has no setting %q, which is ignored%s", name, sec.Name(), key.Name(), suggestIn(known, key.Name()))
			default:
				l.problem("%s: [%s] has no setting %q%s", name, sec.Name(), key.Name(), suggestIn(known, key.Name()))
			}
		}
	}
	for _, read := range mapped {
		read()
	}
	for _, text := range retired.notices() {
		l.notice("%s: %s", name, text)
	}
	l.readRelative(name)
}

// readKey reads a setting under its own name.
func (l *loader) readKey(file string, sec *ini.Section, key *ini.Key, s *setting) {
	if values := key.ValueWithShadows(); len(values) > 1 {
		l.problem("%s: %s is set %d times", file, s.name(), len(values))
		return
	}
	text := strings.TrimSpace(key.Value())
	if text == "" {
		return // as generated: "url =" leaves the default
	}
	if _, isRate := l.values.FieldByIndex(s.index).Interface().(Rate); isRate {
		text = withPeriod(sec, s.key, text)
	}
	if err := s.set(l.values, text); err != nil {
		l.problem("%s: %s: %v", file, s.name(), err)
		return
	}
	l.from[s] = source{file, key.Name()}
}

// readRelative makes paths of files in the file begin at the file's own folder: where a program was started must not matter.
func (l *loader) readRelative(file string) {
	for _, s := range []*setting{findSetting("server.ssl_certfile"), findSetting("server.ssl_keyfile")} {
		field := l.values.FieldByIndex(s.index)
		if path := field.String(); path != "" && !filepath.IsAbs(path) && l.from[s].file == file {
			field.SetString(filepath.Join(filepath.Dir(file), path))
		}
	}
}

func (l *loader) readEnv(environ []string) {
	env := map[string]string{}
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok && value != "" {
			env[name] = value
		}
	}
	// Some shells and build systems set HOST to the machine's name or kind. It is taken where it can only be meant so.
	if host, ok := env["HOST"]; ok && !isListenHost(host) {
		delete(env, "HOST")
		if env["GATEHOUSE_SERVER_HOST"] == "" {
			l.notice("HOST=%s is not an address of a network interface and is ignored; if it is meant for Gatehouse, set GATEHOUSE_SERVER_HOST", host)
		}
	}
	for _, sec := range sections {
		for _, s := range sec.settings {
			from, value, err := s.lookup(env)
			if err == nil && from != "" {
				err = s.set(l.values, value)
				if err != nil && strings.Contains(value, "tcp://") {
					err = fmt.Errorf("%w (Kubernetes sets such variables for a service of this name: set enableServiceLinks: false)", err)
				}
				l.from[s] = source{name: from}
			}
			if err != nil {
				l.problem("%s: %s: %v", from, s.name(), err)
			}
		}
	}
	l.readOldEnv(env)
	l.noticeUnknown(env)
}

// noticeUnknown tells of variables that are named as settings are, and are none. Those that Kubernetes sets for a service are not meant.
func (l *loader) noticeUnknown(env map[string]string) {
	var names, prefixes []string
	for _, sec := range sections {
		prefixes = append(prefixes, "GATEHOUSE_"+strings.ToUpper(sec.name)+"_")
		for _, s := range sec.settings {
			names = append(names, s.env...)
			for _, name := range s.env {
				if s.secret {
					names = append(names, name+"_FILE")
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		like := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		if slices.Contains(names, name) || !slices.ContainsFunc(prefixes, like) || ofService.MatchString(name) || strings.Contains(env[name], "://") {
			continue
		}
		l.notice("%s is no setting, and is ignored%s", name, didYouMean(name, names))
	}
}

// ofService are names of the variables by which Kubernetes tells where a service is; the others' values are addresses.
var ofService = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

func isListenHost(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// settle draws the conclusions from where values came from.
func (l *loader) settle() {
	// HOST or PORT in the environment go before listen in the file, as the environment does everywhere.
	listen, host, port := findSetting("server.listen"), findSetting("server.host"), findSetting("server.port")
	fromEnv := func(s *setting) bool { f, ok := l.from[s]; return ok && f.file == "" }
	if srv := &l.cfg.Server; srv.Listen != "" && !fromEnv(listen) && (fromEnv(host) || fromEnv(port)) {
		h, p, err := net.SplitHostPort(srv.Listen)
		if n, convErr := strconv.Atoi(p); err == nil && convErr == nil {
			if !fromEnv(host) {
				srv.Host = h
			}
			if !fromEnv(port) {
				srv.Port = n
			}
			srv.Listen = ""
		}
	}
	l.settleOld()
}

// shared are variables that other programs read and set too. Beside Gatehouse's own name they do not count.
var shared = []string{"HOST", "PORT", "TIMEZONE"}

// lookup finds the setting in the environment. A secret may stand in a file instead, named by NAME_FILE, so that it shows
// neither in process lists nor in container descriptions.
func (s *setting) lookup(env map[string]string) (from, value string, err error) {
	for _, name := range slices.Backward(s.env) { // the own name first
		if v, ok := env[name]; ok {
			if from != "" && slices.Contains(shared, name) {
				continue
			}
			if from != "" {
				return from, "", fmt.Errorf("is set by %s too: use one of them", name)
			}
			from, value = name, v
		}
		path, ok := env[name+"_FILE"]
		if !ok || !s.secret {
			continue
		}
		if from != "" {
			return name + "_FILE", "", fmt.Errorf("is set by %s too: use one of them", from)
		}
		from = name + "_FILE"
		f, err := os.Open(path)
		if err != nil {
			return from, "", err
		}
		text, err := readAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return from, "", err
		}
		value = strings.TrimSpace(string(text))
		if value == "" {
			return from, "", fmt.Errorf("%s is empty", path)
		}
	}
	return from, value, nil
}

// Address is where to listen.
func (s Server) Address() string {
	if s.Listen != "" {
		return s.Listen
	}
	return net.JoinHostPort(strings.Trim(s.Host, "[]"), strconv.Itoa(s.Port))
}

// port is the port of Address.
func (s Server) port() string {
	_, port, _ := net.SplitHostPort(s.Address())
	return port
}

func findSection(name string) *section {
	for i := range sections {
		if sections[i].name == name {
			return &sections[i]
		}
	}
	return nil
}

func (s *section) find(key string) *setting {
	i := slices.IndexFunc(s.settings, func(s *setting) bool { return s.key == key })
	if i < 0 {
		return nil
	}
	return s.settings[i]
}

// findSetting finds a setting of ours by "section.key".
func findSetting(name string) *setting {
	sec, key, _ := strings.Cut(name, ".")
	if s := findSection(sec); s != nil {
		if found := s.find(key); found != nil {
			return found
		}
	}
	panic("BUG: config: there is no setting " + name)
}
