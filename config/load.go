package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/ini.v1"

	"gatehouse/internal/nearest"
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
	cfg := Default()
	var problems Problems
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
		problems = append(problems, cfg.readFile(file, text)...)
	}
	problems = append(problems, cfg.readEnv(environ)...)
	if len(problems) == 0 { // else a setting may only seem to contradict another
		problems = cfg.checkTogether()
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return cfg, nil
}

func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(text) > maxFile {
		return nil, fmt.Errorf("it is larger than %v", Size(maxFile))
	}
	return text, err
}

// iniOptions make the file mean what it says: no value goes on over several lines, a # or ; inside a value (as in a
// password) is part of it, and keys of the same name are all seen, to be told apart.
var iniOptions = ini.LoadOptions{
	Insensitive: true, IgnoreInlineComment: true, IgnoreContinuation: true, AllowShadows: true, AllowDuplicateShadowValues: true,
	PreserveSurroundedQuote: false, SkipUnrecognizableLines: false,
}

func (c *Config) readFile(name string, text []byte) []string {
	file, err := ini.LoadSources(iniOptions, text)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", name, err)}
	}
	var problems []string
	cfg := reflect.ValueOf(c).Elem()
	for _, sec := range file.Sections() {
		known := slices.IndexFunc(sections, func(s section) bool { return s.name == sec.Name() })
		if known < 0 {
			if sec.Name() == strings.ToLower(ini.DefaultSection) {
				for _, key := range sec.Keys() {
					problems = append(problems, fmt.Sprintf("%s: %s stands before the first [section]%s", name, key.Name(), suggestKey(key.Name())))
				}
				continue
			}
			problems = append(problems, fmt.Sprintf("%s: there is no section [%s]%s", name, sec.Name(), suggest(sec.Name(), sectionNames())))
			continue
		}
		for _, key := range sec.Keys() {
			i := slices.IndexFunc(sections[known].settings, func(s *setting) bool { return s.key == key.Name() })
			if i < 0 {
				problems = append(problems, fmt.Sprintf("%s: [%s] has no setting %q%s", name, sec.Name(), key.Name(), suggestIn(sec.Name(), key.Name())))
				continue
			}
			s := sections[known].settings[i]
			if values := key.ValueWithShadows(); len(values) > 1 {
				problems = append(problems, fmt.Sprintf("%s: %s is set %d times", name, s.name(), len(values)))
				continue
			}
			if strings.TrimSpace(key.Value()) == "" {
				continue // as generated: "url =" leaves the default
			}
			if err := s.set(cfg, key.Value()); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %s: %v", name, s.name(), err))
			}
		}
	}
	return problems
}

func (c *Config) readEnv(environ []string) []string {
	env := map[string]string{}
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok && value != "" {
			env[name] = value
		}
	}
	var problems []string
	cfg := reflect.ValueOf(c).Elem()
	for _, sec := range sections {
		for _, s := range sec.settings {
			from, value, err := s.lookup(env)
			if err == nil && from != "" {
				err = s.set(cfg, value)
				if err != nil && strings.Contains(value, "tcp://") {
					err = fmt.Errorf("%w (Kubernetes sets such variables for a service of this name: set enableServiceLinks: false)", err)
				}
			}
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %s: %v", from, s.name(), err))
			}
		}
	}
	return problems
}

// lookup finds the setting in the environment. A secret may stand in a file instead, named by NAME_FILE, so that it shows
// neither in process lists nor in container descriptions.
func (s *setting) lookup(env map[string]string) (from, value string, err error) {
	for _, name := range s.env {
		if v, ok := env[name]; ok {
			if from != "" {
				return name, "", fmt.Errorf("is set by %s too: use one of them", from)
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
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

func sectionNames() []string {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}

func suggest(want string, have []string) string {
	if near := nearest.Names(want, have, 1); len(near) > 0 {
		return "; did you mean " + near[0] + "?"
	}
	return "; there are " + strings.Join(have, ", ")
}

// suggestKey names the setting of whatever section that key may mean.
func suggestKey(key string) string {
	var keys, names []string
	for _, sec := range sections {
		for _, s := range sec.settings {
			keys, names = append(keys, s.key), append(names, s.name())
		}
	}
	if near := nearest.Names(key, keys, 1); len(near) > 0 {
		return "; did you mean " + names[slices.Index(keys, near[0])] + "?"
	}
	return ""
}

// suggestIn looks in the section first: its settings are what the writer had in mind.
func suggestIn(sectionName, key string) string {
	for _, sec := range sections {
		if sec.name != sectionName {
			continue
		}
		var keys []string
		for _, s := range sec.settings {
			keys = append(keys, s.key)
		}
		if near := nearest.Names(key, keys, 1); len(near) > 0 {
			return "; did you mean " + near[0] + "?"
		}
		if hint := suggestKey(key); hint != "" {
			return hint
		}
		return "; it has " + strings.Join(keys, ", ")
	}
	return ""
}
