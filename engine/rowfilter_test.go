//go:build linux || darwin

package engine

import (
	"net/url"
	"strings"
	"testing"
)

func TestRowFilters(t *testing.T) {
	e := startEngine(t, Config{RowFilters: []RowFilter{{"default", "ev"}, {"default", "ev_sum"}}}, true)
	for _, q := range []string{
		"CREATE TABLE ev (company_id UInt32, v UInt64, PROJECTION p (SELECT company_id, sum(v), count() GROUP BY company_id)) ENGINE = MergeTree ORDER BY (company_id, v)",
		"CREATE TABLE ev_sum (company_id UInt32, s SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY company_id",
		"CREATE MATERIALIZED VIEW ev_mv TO ev_sum AS SELECT company_id, sum(v) AS s FROM ev GROUP BY company_id",
		"CREATE VIEW ev_view AS SELECT company_id, v FROM ev",
		"INSERT INTO ev SELECT number % 4 + 1, number FROM numbers(1000)",
	} {
		if r := post(t, e, q, nil); r.status != 200 {
			t.Fatalf("%s: %s", q, r.body)
		}
	}
	for _, q := range []string{
		"SELECT count(), uniqExact(company_id) FROM ev", "SELECT count(), uniqExact(company_id) FROM ev_view",
		"SELECT count(), uniqExact(company_id) FROM merge('default', '^ev$')", "SELECT count(), uniqExact(company_id) FROM (SELECT * FROM ev)",
	} {
		if r := post(t, e, q, nil); r.body != "1000\t4\n" {
			t.Errorf("trusted %s: %s", q, r.body)
		}
		if r := post(t, e, q, nil, CompanyHeader, "2"); r.body != "250\t1\n" {
			t.Errorf("company 2 %s: %s", q, r.body)
		}
		if r := post(t, e, q, nil, CompanyHeader, "77"); r.body != "0\t0\n" {
			t.Errorf("company 77 %s: %s", q, r.body)
		}
	}
	if r := post(t, e, "SELECT sum(s), count() FROM ev_sum FINAL", nil, CompanyHeader, "2"); !strings.HasSuffix(r.body, "\t1\n") {
		t.Errorf("view's target: %s", r.body)
	}
	for _, q := range []string{
		"SELECT count() FROM ev SETTINGS log_comment = '*'", "SELECT * FROM (SELECT * FROM ev SETTINGS log_comment = '*')", "WITH q AS (SELECT * FROM ev settings/**/log_comment='*') SELECT * FROM q",
		"SELECT * FROM view(SELECT * FROM ev SETTINGS `log\\x5fcomment` = '*')", "SELECT (SELECT count() FROM ev SETTINGS log_comment = '*')", "SELECT 1 WHERE 1 IN (SELECT v FROM ev SETTINGS log_comment = '*')",
		"SELECT v FROM ev SETTINGS log_comment = '*' UNION ALL SELECT 1", "SELECT * FROM viewIfPermitted(SELECT v FROM ev SETTINGS log_comment = '*' ELSE null('v UInt64'))", "SELECT * FROM (EXPLAIN SELECT * FROM ev SETTINGS log_comment = '*')",
		"EXPLAIN SELECT * FROM ev SETTINGS log_comment = '*'", "SET log_comment = '*'", "INSERT INTO ev VALUES (2, 1)", "CREATE TABLE x (a Int8) ENGINE = Memory",
		"DROP TABLE ev", "KILL QUERY WHERE 1", "SELECT 1; SELECT 2", "SELECT 1 INTO OUTFILE 'x'", "ALTER TABLE ev DELETE WHERE 1", "SYSTEM FLUSH LOGS",
	} {
		if r := post(t, e, q, nil, CompanyHeader, "2"); r.status == 200 {
			t.Errorf("company 2 may %s: %s", q, r.body)
		}
	}
	// The word alone does no harm.
	if r := post(t, e, "SELECT 'no SETTINGS here' AS settings, count() FROM ev -- SETTINGS log_comment = '*'", nil, CompanyHeader, "2"); r.body != "no SETTINGS here\t250\n" {
		t.Errorf("the word settings: %s", r.body)
	}
	for name, value := range map[string]string{"log_comment": "*", "readonly": "0", "additional_table_filters": "{}", "max_threads": "x"} {
		if r := post(t, e, "SELECT count() FROM ev", url.Values{name: {value}}, CompanyHeader, "2"); r.status == 200 {
			t.Errorf("company 2 may set %s=%s: %s", name, value, r.body)
		}
	}
	if r := post(t, e, "SELECT count() FROM ev", url.Values{"max_execution_time": {"5"}, "session_timezone": {"Asia/Tokyo"}}, CompanyHeader, "2"); r.body != "250\n" {
		t.Errorf("allowed settings: %s", r.body)
	}
	for _, bad := range []string{"*", "-1", "2'", "99999999999"} {
		if r := post(t, e, "SELECT count() FROM ev", nil, CompanyHeader, bad); r.status == 200 {
			t.Errorf("company %q: %s", bad, r.body)
		}
	}
	if r := post(t, sharedEngine(t), "SELECT 1", nil, CompanyHeader, "2"); r.status != 403 {
		t.Errorf("a company's session without row filters: %d %s", r.status, r.body)
	}
}
