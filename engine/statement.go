package engine

import "strings"

// statement is what the HTTP interface must know of a text before it runs it:
// whether it is an INSERT whose data follows, and in which format the answer
// comes. Everything else is the engine's own parser's business.
type statement struct {
	keyword string // first keyword, upper case: SELECT, INSERT, …
	format  string // FORMAT clause, if any
	// For an INSERT that takes data: where the statement ends and the data begin.
	insertData bool
	head       int // end of the statement without its FORMAT or VALUES
	data       int // begin of the data
	inline     bool
	outfile    bool // INTO OUTFILE or FROM INFILE at the top level
	// For a statement that returns rows: where INTO OUTFILE would stand, which
	// is before its FORMAT, else at its end.
	output int
}

// token is a word, a punctuation mark or a literal of SQL.
type token struct {
	kind  byte // 'w' word, 'q' quoted identifier, 's' string, 'n' number, else the mark itself
	pos   int
	end   int
	depth int
}

// lexer splits SQL as far as is needed to find clauses at the top level. It
// knows comments, the quoting rules and heredocs; it does not validate.
type lexer struct {
	s     string
	pos   int
	depth int
}

func (l *lexer) next() (token, bool) {
	s := l.s
	for l.pos < len(s) {
		c := s[l.pos]
		rest := s[l.pos:]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v' || c == 0:
			l.pos++
			continue
		case strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "#!") || strings.HasPrefix(rest, "# "):
			if i := strings.IndexByte(rest, '\n'); i >= 0 {
				l.pos += i + 1
			} else {
				l.pos = len(s)
			}
			continue
		case strings.HasPrefix(rest, "/*"):
			l.pos += blockComment(rest)
			continue
		}
		t := token{pos: l.pos, depth: l.depth}
		switch {
		case c == '\'':
			t.kind, l.pos = 's', l.pos+quoted(rest, c)
		case c == '"' || c == '`':
			t.kind, l.pos = 'q', l.pos+quoted(rest, c)
		case c == '$' && heredoc(rest) > 0:
			t.kind, l.pos = 's', l.pos+heredoc(rest)
		case isWordByte(c):
			n := 1
			for n < len(rest) && isWordByte(rest[n]) {
				n++
			}
			t.kind, l.pos = 'w', l.pos+n
			if c >= '0' && c <= '9' {
				t.kind = 'n'
			}
		default:
			switch c {
			case '(', '[', '{':
				l.depth++
			case ')', ']', '}':
				l.depth--
				t.depth = l.depth
			}
			t.kind = c
			l.pos++
		}
		t.end = l.pos
		return t, true
	}
	return token{}, false
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quoted returns the length of a quoted token, which may escape its quote with
// a backslash or by doubling it. An unterminated one runs to the end.
func quoted(s string, q byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case q:
			if i+1 < len(s) && s[i+1] == q {
				i++
				continue
			}
			return i + 1
		}
	}
	return len(s)
}

// blockComment returns the length of a comment; ClickHouse's nest.
func blockComment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// heredoc returns the length of $tag$…$tag$, or 0.
func heredoc(s string) int {
	i := 1
	for i < len(s) && isWordByte(s[i]) {
		i++
	}
	if i == len(s) || s[i] != '$' {
		return 0
	}
	tag := s[:i+1]
	if j := strings.Index(s[i+1:], tag); j >= 0 {
		return i + 1 + j + len(tag)
	}
	return 0
}

// parseStatement finds the clauses of the first statement in s.
func parseStatement(s string) statement {
	l := &lexer{s: s}
	var st statement
	t, ok := l.next()
	for ok && t.kind == '(' {
		t, ok = l.next()
	}
	if !ok || t.kind != 'w' {
		return st
	}
	word := func(t token) string {
		if t.kind != 'w' {
			return ""
		}
		return strings.ToUpper(s[t.pos:t.end])
	}
	st.keyword = word(t)
	if st.keyword == "INSERT" {
		parseInsert(l, &st, word)
		return st
	}
	parseTail(l, &st, word)
	return st
}

// parseTail looks for FORMAT and INTO OUTFILE of a statement that returns rows.
// The last FORMAT at the top level counts: an earlier one is a name.
func parseTail(l *lexer, st *statement, word func(token) string) {
	prev, prevPos := "", 0
	for t, ok := l.next(); ok; t, ok = l.next() {
		if t.kind == ';' && t.depth == 0 {
			return
		}
		w := word(t)
		if st.format == "" {
			st.output = t.end
		}
		switch {
		case prev == "FORMAT" && w != "" && t.depth == 0:
			st.format, st.output = l.s[t.pos:t.end], prevPos
			w = ""
		case prev == "INTO" && w == "OUTFILE", prev == "FROM" && w == "INFILE":
			st.outfile = true
		}
		prev, prevPos = w, t.pos
		if t.depth != 0 {
			prev = ""
		}
	}
}

// intoFile is the statement with its result going to a file.
func (st statement) intoFile(text, path, format string) string {
	into := "\nINTO OUTFILE " + quoteString(path) + " "
	if st.format == "" {
		into += "FORMAT " + format + " "
	}
	return text[:st.output] + into + text[st.output:]
}

func parseInsert(l *lexer, st *statement, word func(token) string) {
	// INSERT INTO [TABLE] [FUNCTION] name[.name] | f(…): the target goes by
	// first, for a table may be called format or values.
	t, ok := l.next()
	for ok && (word(t) == "INTO" || word(t) == "TABLE" || word(t) == "FUNCTION") {
		t, ok = l.next()
	}
	end := t.end
	for ok {
		// t is a part of the name; a dot joins the next part.
		end = t.end
		t, ok = l.next()
		if !ok || t.kind != '.' {
			break
		}
		t, ok = l.next()
	}
	prev := ""
	for ; ok; t, ok = l.next() {
		w := word(t)
		if t.depth != 0 {
			end, prev = t.end, ""
			continue
		}
		switch {
		case w == "SELECT" || w == "WITH" || w == "WATCH":
			parseTail(l, st, word)
			return
		case prev == "FROM" && w == "INFILE":
			st.outfile = true
			return
		case w == "VALUES":
			st.insertData, st.format, st.head, st.data = true, "Values", end, t.end
			st.inline = strings.TrimSpace(l.s[t.end:]) != ""
			return
		case w == "FORMAT":
			f, ok := l.next()
			if !ok || f.kind != 'w' {
				return
			}
			st.insertData, st.format, st.head, st.data = true, l.s[f.pos:f.end], end, f.end
			st.data += formatGap(l.s[f.end:])
			st.inline = st.data < len(l.s)
			return
		case t.kind == ';':
			st.insertData, st.head, st.data = true, end, t.end
			return
		case t.kind == '(':
			// A parenthesised SELECT is no column list.
			save := *l
			n, ok := l.next()
			*l = save
			if ok && (word(n) == "SELECT" || word(n) == "WITH") {
				parseTail(l, st, word)
				return
			}
		}
		end, prev = t.end, w
	}
	st.insertData, st.head, st.data = true, end, len(l.s)
}

// formatGap is what may stand between a FORMAT name and inline data: blanks,
// one semicolon, and one line end.
func formatGap(s string) int {
	i := 0
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	if i < len(s) && s[i] == ';' {
		i++
	}
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	if i < len(s) && s[i] == '\n' {
		i++
	}
	return i
}
