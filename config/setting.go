package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// setting is one field of Config as the rest of the package sees it.
type setting struct {
	section, key string
	env          []string // the names in the environment, the usual one first
	def          string
	doc          string
	rules        []rule
	index        []int // of the field in Config
	secret       bool
}

// name is how messages call the setting.
func (s *setting) name() string { return "[" + s.section + "] " + s.key }

// section is one section of config.ini.
type section struct {
	name, doc string
	settings  []*setting
}

// sections is the whole table, in the order of the fields.
var sections = describe(reflect.TypeFor[Config]())

// describe reads the tags. A mistake in them is one in this package, so it panics at start, where any test sees it.
func describe(t reflect.Type) []section {
	var out []section
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		sec := section{name: f.Tag.Get("section"), doc: f.Tag.Get("doc")}
		for j := range f.Type.NumField() {
			field := f.Type.Field(j)
			s := &setting{
				section: sec.name, key: field.Tag.Get("key"), def: field.Tag.Get("default"), doc: field.Tag.Get("doc"),
				index: []int{i, j}, secret: field.Type == reflect.TypeFor[Secret](),
			}
			usual := "GATEHOUSE_" + strings.ToUpper(s.section+"_"+s.key)
			s.env = append(strings.Fields(field.Tag.Get("env")), usual)
			for r := range strings.FieldsSeq(field.Tag.Get("rule")) {
				s.rules = append(s.rules, parseRule(r, field.Type))
			}
			if s.key == "" || s.doc == "" {
				panic("BUG: config: field " + field.Name + " lacks a key or an explanation")
			}
			if err := s.set(reflect.New(t).Elem(), s.def); s.def != "" && err != nil {
				panic("BUG: config: default of " + s.name() + ": " + err.Error())
			}
			sec.settings = append(sec.settings, s)
		}
		out = append(out, sec)
	}
	return out
}

// set reads text into the setting's field of a Config. An empty text is the type's zero, which for texts means "not set": rules
// are for values that are.
func (s *setting) set(cfg reflect.Value, text string) error {
	text = strings.TrimSpace(text)
	field := cfg.FieldByIndex(s.index)
	value, err := parseValue(field.Type(), text)
	if err != nil {
		return err
	}
	if text != "" {
		for _, r := range s.rules {
			if r.normal != nil {
				value = r.normal(text)
			}
			if err := r.check(value); err != nil {
				return err
			}
		}
	}
	if r, ok := value.(Rate); ok && r.Count > 0 && r.Per == 0 {
		value = Rate{r.Count, s.period()}
	}
	field.Set(reflect.ValueOf(value).Convert(field.Type()))
	return nil
}

// period is the span of a limit that is written as a number alone: that of the default, which such a number stands for.
func (s *setting) period() time.Duration {
	def, err := ParseRate(s.def)
	if err != nil || def.Per == 0 {
		return time.Minute
	}
	return def.Per
}

func parseValue(t reflect.Type, text string) (any, error) {
	switch t {
	case reflect.TypeFor[string](), reflect.TypeFor[Secret]():
		if strings.ContainsAny(text, "\x00\r\n") {
			return nil, errors.New("must be one line")
		}
		return text, nil
	case reflect.TypeFor[int]():
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return n, nil
	case reflect.TypeFor[bool]():
		return parseBool(text)
	case reflect.TypeFor[time.Duration]():
		return ParseDuration(text)
	case reflect.TypeFor[Rate]():
		return ParseRate(text)
	case reflect.TypeFor[[]string]():
		return parseList(text), nil
	case reflect.TypeFor[[]netip.Prefix]():
		return parseNetworks(text)
	case reflect.TypeFor[[]Mapping]():
		return parseMappings(text)
	case reflect.TypeFor[Size]():
		return ParseSize(text)
	}
	panic("BUG: config: no reader for " + t.String())
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

// format is the value of the setting in cfg as config.ini would have it.
func (s *setting) format(cfg reflect.Value) string {
	switch v := cfg.FieldByIndex(s.index).Interface().(type) {
	case time.Duration:
		return formatDuration(v)
	case Secret:
		return v.Reveal()
	case []string:
		return strings.Join(v, ", ")
	case []netip.Prefix:
		return join(v, ", ")
	case []Mapping:
		return join(v, "; ")
	default:
		return fmt.Sprint(v)
	}
}

func join[T fmt.Stringer](list []T, between string) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.String()
	}
	return strings.Join(texts, between)
}
