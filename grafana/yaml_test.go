package grafana

import (
	"fmt"
	"strings"
	"testing"
)

// parseYAML reads the part of YAML that the provisioning files keep to: maps,
// lists and one-line values, nested by spaces, with comments on lines of their own. Everything
// else is an error, so that nothing in the files can be misread. Maps are
// map[string]any, lists []any, values string. (No YAML library is among the
// module's dependencies, and two short files are no reason for one.)
func parseYAML(text string) (any, error) {
	var lines []yamlLine
	for i, raw := range strings.Split(text, "\n") {
		body := strings.TrimLeft(raw, " ")
		if body == "" || body[0] == '#' {
			continue
		}
		if strings.ContainsAny(raw, "\t\r") || strings.HasSuffix(raw, " ") {
			return nil, fmt.Errorf("line %d: a tab, or space at the end", i+1)
		}
		lines = append(lines, yamlLine{i + 1, len(raw) - len(body), body})
	}
	p := &yamlParser{lines: lines}
	if len(lines) == 0 || lines[0].indent != 0 {
		return nil, fmt.Errorf("empty, or does not begin at the margin")
	}
	v, err := p.block(0)
	if err == nil && p.at < len(p.lines) {
		err = fmt.Errorf("line %d: belongs to nothing", p.lines[p.at].number)
	}
	return v, err
}

type yamlLine struct {
	number, indent int
	body           string
}

type yamlParser struct {
	lines []yamlLine
	at    int
}

// block reads the lines at one indentation: all of a list, or all of a map.
func (p *yamlParser) block(indent int) (any, error) {
	if strings.HasPrefix(p.lines[p.at].body, "- ") {
		return p.list(indent)
	}
	out := map[string]any{}
	for p.at < len(p.lines) && p.lines[p.at].indent == indent && !strings.HasPrefix(p.lines[p.at].body, "- ") {
		l := p.lines[p.at]
		key, value, ok := strings.Cut(l.body, ":")
		if _, twice := out[key]; !ok || twice || key == "" || strings.ContainsAny(key, " \"'{}[],&*#") {
			return nil, fmt.Errorf("line %d: not a key and a value, or a key that is there already", l.number)
		}
		p.at++
		if value != "" {
			if value[0] != ' ' {
				return nil, fmt.Errorf("line %d: no space after the colon", l.number)
			}
			v, err := scalar(l.number, value[1:])
			if err != nil {
				return nil, err
			}
			out[key] = v
			continue
		}
		if p.at == len(p.lines) || p.lines[p.at].indent <= indent {
			return nil, fmt.Errorf("line %d: %s has no value", l.number, key)
		}
		v, err := p.block(p.lines[p.at].indent)
		if err != nil {
			return nil, err
		}
		out[key] = v
	}
	return out, p.deeper(indent)
}

func (p *yamlParser) list(indent int) (any, error) {
	out := []any{}
	for p.at < len(p.lines) && p.lines[p.at].indent == indent && strings.HasPrefix(p.lines[p.at].body, "- ") {
		l := &p.lines[p.at]
		rest := l.body[2:]
		key, _, isMap := strings.Cut(rest, ":")
		if isMap && !strings.ContainsAny(key, " $/") && !strings.HasPrefix(rest[len(key):], "://") {
			l.indent, l.body = indent+2, rest // the first line of a map
			v, err := p.block(indent + 2)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
			continue
		}
		v, err := scalar(l.number, rest)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		p.at++
	}
	return out, p.deeper(indent)
}

// deeper refuses a line that is indented more than what it follows.
func (p *yamlParser) deeper(indent int) error {
	if p.at < len(p.lines) && p.lines[p.at].indent > indent {
		return fmt.Errorf("line %d: indented too far", p.lines[p.at].number)
	}
	return nil
}

func scalar(line int, s string) (string, error) {
	if s == "" || strings.ContainsAny(s[:1], " \"'[{&*!|>%@`-?") || strings.Contains(s, " #") || strings.Contains(s, ": ") || strings.HasSuffix(s, ":") {
		return "", fmt.Errorf("line %d: %q is more YAML than this reads", line, s)
	}
	return s, nil
}

func TestParseYAML(t *testing.T) {
	t.Parallel()
	got, err := parseYAML("# c\na: 1\nb:\n  - x: $Y\n    z:\n      - http://h\n      # c\n  - x: 2\nc:\n  d: e f\n")
	if want := "map[a:1 b:[map[x:$Y z:[http://h]] map[x:2]] c:map[d:e f]]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
	for _, bad := range []string{"", "a", "a: 1\na: 2\n", "a:\nb: 1\n", "a: 1\n  b: 2\n", "a: [1]\n", "a: \"x\"\n", "a:1\n", "a: 1 # c\n", " a: 1\n", "a: 1\n\tb: 2\n", "a: 1\n- b\n", "a: b: c\n"} {
		if v, err := parseYAML(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, v)
		}
	}
}
