package config

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"strings"
)

const writeWidth = 100

// WriteDefault writes a config.ini that explains every setting and changes none: each stands commented out with its default.
func WriteDefault(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprint(out, comment("Settings of Gatehouse. Each is shown with its default; remove the # before the name to change it. "+
		"Every setting can come from the environment too, by the name given with it, which goes before this file. "+
		"A secret can also come from a file: set the variable with _FILE added to the file's path."))
	for _, sec := range sections {
		fmt.Fprintf(out, "\n%s[%s]\n", comment(sec.doc), sec.name)
		for _, s := range sec.settings {
			fmt.Fprintf(out, "\n%s# Environment: %s\n#%s\n", comment(s.doc), strings.Join(s.env, ", "), strings.TrimRight(s.key+" = "+s.def, " "))
		}
	}
	return out.Flush()
}

func comment(text string) string {
	var b strings.Builder
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > writeWidth {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
	return b.String()
}

// Write writes the settings as they are in force, in the form of config.ini. Secrets are replaced by stars.
func (c *Config) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	v := reflect.ValueOf(c).Elem()
	for i, sec := range sections {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "[%s]\n", sec.name)
		for _, s := range sec.settings {
			value := s.format(v)
			if s.secret {
				value = Secret(value).String()
			}
			fmt.Fprintln(out, strings.TrimRight(s.key+" = "+value, " "))
		}
	}
	return out.Flush()
}
