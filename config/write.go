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

// WriteMarkdown writes the page that explains every setting, docs/configuration.md.
func WriteMarkdown(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprint(out, markdownHead)
	for _, sec := range sections {
		fmt.Fprintf(out, "\n## [%s]\n%s\n\n| setting | default | environment | is |\n|---|---|---|---|\n", sec.name, sec.doc)
		for _, s := range sec.settings {
			var env []string
			for _, name := range s.env {
				env = append(env, "`"+name+"`")
				if s.secret {
					env = append(env, "`"+name+"_FILE`")
				}
			}
			def := s.def
			if def != "" {
				def = "`" + def + "`"
			}
			fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", s.key, def, strings.Join(env, " "), cell(s.doc+s.allowed()))
		}
	}
	fmt.Fprint(out, markdownOld)
	for _, o := range oldKeys {
		now := "gone: " + o.gone
		if o.to != "" {
			now = "`" + findSetting(o.to).name() + "`"
		}
		fmt.Fprintf(out, "| `[%s] %s` | %s |\n", o.section, o.key, cell(now))
	}
	return out.Flush()
}

const markdownHead = `# Settings

This page is generated from the program (` + "`go test ./config -run TestDocs -update`" + `); ` + "`gatehouse config print --default`" + ` prints the same as a
config.ini to edit.

Settings come from, each going before the one above it:

1. the defaults below,
2. ` + "`config.ini`" + ` in the data directory, or the file named by ` + "`--config`" + ` or ` + "`GATEHOUSE_CONFIG`" + `,
3. the environment,
4. flags: ` + "`--listen`" + ` goes before everything that says where to listen.

` + "`gatehouse config check`" + ` tells all mistakes at once, and what was accepted but should be looked at. ` + "`gatehouse config print`" + ` prints the settings in
force, without secrets.

A variable that is set but empty counts as not set. A secret can be read from a file: set the variable with ` + "`_FILE`" + ` added to the
file's path. Sizes are written as 512KiB, 32MiB or 8GiB, times as 500ms, 30s, 5m, 24h or 7d (a bare number is seconds), yes and no as
true/false, yes/no, on/off or 1/0. Lists have commas between their values.

` + "`HOST`, `PORT` and `TIMEZONE`" + ` are read because the former application read them. Other programs use the same names: some shells set
HOST to the machine's name, so it is taken only when it is an address or localhost, and each counts only where Gatehouse's own name
(` + "`GATEHOUSE_SERVER_HOST`" + `, …) is not set. Two other names of one setting at once are an error.
`

const markdownOld = `
## The former application's config.ini
It is accepted as it is. What has a meaning here is taken over, unless the file also has it under its name here; the rest is
named once in the log at the start and by ` + "`gatehouse config check`" + `. Keys that nobody knows are ignored with a notice in the sections
that the former application had, and are errors in the others. Where it differs:

- Without trusted_proxies the former application believed everybody's X-Forwarded headers. Gatehouse believes nobody's.
- A sqlite address under an old name is the former application's own file and is not touched; Gatehouse keeps its own. DATABASE_URL in the environment is taken as it
  stands: a file with another program's tables is refused and left as it is, and sqlite:///path is the absolute /path.
- What is less safe than can be set here (few rounds of bcrypt, everybody as a trusted proxy, names of hosts as proxies) is told, and the default kept.
- The documentation's example of SECRET_KEY, or one shorter than 32 characters, is not used.
- Limits given as a number and a period (login_limit, login_period) are read together.

| key | is now |
|---|---|
`

// allowed is what the rules let through, in words, where the explanation does not say it.
func (s *setting) allowed() string {
	var bounds []string
	for _, r := range s.rules {
		switch r.name {
		case "oneof":
			var choices []string
			for choice := range strings.SplitSeq(r.arg, "|") {
				name, _, _ := strings.Cut(choice, ",")
				choices = append(choices, name)
			}
			return " One of " + strings.Join(choices, ", ") + "."
		case "min":
			bounds = append(bounds, "at least "+r.arg)
		case "max":
			bounds = append(bounds, "at most "+r.arg)
		}
	}
	if len(bounds) == 0 {
		return ""
	}
	text := strings.Join(bounds, ", ")
	return " " + strings.ToUpper(text[:1]) + text[1:] + "."
}

// cell makes text fit for a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

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
			fmt.Fprintln(out, strings.TrimRight(s.key+" = "+s.shown(v), " "))
		}
	}
	return out.Flush()
}

// Values are the settings as they are in force, by section and key, in the words of Write.
func (c *Config) Values() map[string]map[string]string {
	v := reflect.ValueOf(c).Elem()
	all := make(map[string]map[string]string, len(sections))
	for _, sec := range sections {
		all[sec.name] = make(map[string]string, len(sec.settings))
		for _, s := range sec.settings {
			all[sec.name][s.key] = s.shown(v)
		}
	}
	return all
}

// shown is a setting's value as anybody may see it.
func (s *setting) shown(v reflect.Value) string {
	value := s.format(v)
	if s.secret {
		value = Secret(value).String()
	}
	return value
}
