package schema

import "strings"

// statements cuts a migration's text at its semicolons, except for those in quotes and comments. Comments stay with the statement that
// they stand before; a rest of nothing but comments is no statement.
func statements(text string) []string {
	var out []string
	begin, empty := 0, true
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '-' && strings.HasPrefix(text[i:], "--"):
			i += until(text[i:], "\n")
		case c == '\'' || c == '"' || c == '`':
			empty = false
			i += 1 + until(text[i+1:], string(c))
		case c == ';':
			if !empty {
				out = append(out, strings.TrimSpace(text[begin:i]))
			}
			i++
			begin, empty = i, true
		default:
			if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
				empty = false
			}
			i++
		}
	}
	if !empty {
		out = append(out, strings.TrimSpace(text[begin:]))
	}
	return out
}

// until is the length of s up to and including mark, or all of s without one.
func until(s, mark string) int {
	if i := strings.Index(s, mark); i >= 0 {
		return i + len(mark)
	}
	return len(s)
}

// firstWord is the statement's verb in capitals.
func firstWord(statement string) string {
	for strings.HasPrefix(statement, "--") {
		statement = strings.TrimSpace(statement[until(statement, "\n"):])
	}
	word, _, _ := strings.Cut(statement, " ")
	return strings.ToUpper(strings.TrimSpace(word))
}
