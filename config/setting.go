package config

import (
	"fmt"
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
			if err := r.check(value); err != nil {
				return err
			}
		}
	}
	field.Set(reflect.ValueOf(value).Convert(field.Type()))
	return nil
}

func parseValue(t reflect.Type, text string) (any, error) {
	switch t {
	case reflect.TypeFor[string](), reflect.TypeFor[Secret]():
		if strings.ContainsAny(text, "\x00\r\n") {
			return nil, fmt.Errorf("must be one line")
		}
		return text, nil
	case reflect.TypeFor[int]():
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return n, nil
	case reflect.TypeFor[bool]():
		switch strings.ToLower(text) {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
		return nil, fmt.Errorf("%q is neither true nor false", text)
	case reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			// A bare number is seconds, as in most other programs.
			if n, err := strconv.ParseInt(text, 10, 32); err == nil {
				return time.Duration(n) * time.Second, nil
			}
			return nil, fmt.Errorf("%q is not a time span: write for instance 500ms, 30s, 5m or 24h", text)
		}
		return d, nil
	case reflect.TypeFor[Size]():
		return ParseSize(text)
	}
	panic("BUG: config: no reader for " + t.String())
}

// format is the value of the setting in cfg as config.ini would have it.
func (s *setting) format(cfg reflect.Value) string {
	switch v := cfg.FieldByIndex(s.index).Interface().(type) {
	case time.Duration:
		// time.Duration says 24h0m0s; what people write is 24h.
		text := v.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	case Secret:
		return v.Reveal()
	default:
		return fmt.Sprint(v)
	}
}
