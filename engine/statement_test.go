package engine

import (
	"strings"
	"testing"
)

func TestParseStatement(t *testing.T) {
	for _, tc := range []struct {
		sql, keyword, format string
		insert               bool
		head, data           string
		outfile              bool
	}{
		{sql: "SELECT 1", keyword: "SELECT"},
		{sql: "  -- c\n/* a /* nested */ b */ select 1 format JSON", keyword: "SELECT", format: "JSON"},
		{sql: "SELECT 1 FORMAT CSV SETTINGS max_threads=1;", keyword: "SELECT", format: "CSV"},
		{sql: "SELECT 'a FORMAT JSON', \"format\", `x` FROM t", keyword: "SELECT"},
		{sql: "SELECT 'it''s \\' FORMAT X' FORMAT TSV", keyword: "SELECT", format: "TSV"},
		{sql: "SELECT (SELECT 1 FORMAT JSON)", keyword: "SELECT"},
		{sql: "SELECT $tag$ FORMAT JSON $tag$", keyword: "SELECT"},
		{sql: "(SELECT 1) UNION ALL (SELECT 2) FORMAT Vertical", keyword: "SELECT", format: "Vertical"},
		{sql: "SELECT 1 INTO OUTFILE 'x'", keyword: "SELECT", outfile: true},
		{sql: "SELECT 1 into /* c */ outfile 'x'", keyword: "SELECT", outfile: true},
		{sql: "SELECT 'INTO OUTFILE'", keyword: "SELECT"},
		{sql: "INSERT INTO t VALUES (1, 'FORMAT')", keyword: "INSERT", format: "Values", insert: true, head: "INSERT INTO t", data: " (1, 'FORMAT')"},
		{sql: "INSERT INTO db.t (a, b) FORMAT CSV\n1,2\n", keyword: "INSERT", format: "CSV", insert: true, head: "INSERT INTO db.t (a, b)", data: "1,2\n"},
		{sql: "INSERT INTO t FORMAT Native", keyword: "INSERT", format: "Native", insert: true, head: "INSERT INTO t", data: ""},
		{sql: "INSERT INTO t (a) SETTINGS async_insert=0 FORMAT JSONEachRow {\"a\":1}", keyword: "INSERT", format: "JSONEachRow", insert: true, head: "INSERT INTO t (a) SETTINGS async_insert=0", data: "{\"a\":1}"},
		{sql: "INSERT INTO format FORMAT TSV\n\nx", keyword: "INSERT", format: "TSV", insert: true, head: "INSERT INTO format", data: "\nx"},
		{sql: "INSERT INTO values VALUES (1)", keyword: "INSERT", format: "Values", insert: true, head: "INSERT INTO values", data: " (1)"},
		{sql: "INSERT INTO `we``ird`.`t)` (`a(`) VALUES", keyword: "INSERT", format: "Values", insert: true, head: "INSERT INTO `we``ird`.`t)` (`a(`)", data: ""},
		{sql: "INSERT INTO t SELECT 1 FORMAT JSON", keyword: "INSERT", format: "JSON"},
		{sql: "INSERT INTO t (a) (SELECT 1)", keyword: "INSERT"},
		{sql: "INSERT INTO t (SELECT 1)", keyword: "INSERT"},
		{sql: "INSERT INTO t WITH 1 AS x SELECT x", keyword: "INSERT"},
		{sql: "INSERT INTO FUNCTION file('a', 'CSV', 'x String') VALUES ('y')", keyword: "INSERT", format: "Values", insert: true, head: "INSERT INTO FUNCTION file('a', 'CSV', 'x String')", data: " ('y')"},
		{sql: "INSERT INTO t FROM INFILE 'x' FORMAT CSV", keyword: "INSERT", outfile: true},
		{sql: "INSERT INTO t", keyword: "INSERT", insert: true, head: "INSERT INTO t", data: ""},
		{sql: "", keyword: ""},
		{sql: "/* open", keyword: ""},
		{sql: "SELECT 'open", keyword: "SELECT"},
	} {
		st := parseStatement(tc.sql)
		if st.keyword != tc.keyword || st.format != tc.format || st.insertData != tc.insert || st.outfile != tc.outfile {
			t.Errorf("%q: got %+v", tc.sql, st)
			continue
		}
		if tc.insert && (tc.sql[:st.head] != tc.head || tc.sql[st.data:] != tc.data) {
			t.Errorf("%q: head %q data %q", tc.sql, tc.sql[:st.head], tc.sql[st.data:])
		}
	}
}

func FuzzParseStatement(f *testing.F) {
	for _, s := range []string{
		"SELECT 1 FORMAT JSON", "INSERT INTO a.b (c) VALUES (1)", "INSERT INTO t FORMAT CSV\n1", "/*/**/", "$a$ $a$", "'\\", "INSERT INTO",
		"INSERT INTO t (", "((((", "INSERT INTO t FORMAT", "#!x\nSELECT", "\x00SELECT",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		st := parseStatement(s)
		if st.head > len(s) || st.data > len(s) || st.head > st.data || st.head < 0 || st.output < 0 || st.output > len(s) {
			t.Fatalf("%q: %+v", s, st)
		}
		if st.insertData && st.keyword != "INSERT" {
			t.Fatalf("%q: data of a %s", s, st.keyword)
		}
		// A comment in front changes nothing but positions.
		if !strings.HasPrefix(s, "(") {
			c := parseStatement("/* FORMAT x */ " + s)
			if c.keyword != st.keyword || c.format != st.format || c.insertData != st.insertData || c.outfile != st.outfile {
				t.Fatalf("%q: %+v with a comment, %+v without", s, c, st)
			}
		}
	})
}
