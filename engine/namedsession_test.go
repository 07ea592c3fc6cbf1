//go:build linux || darwin

package engine

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// Each request of a session is cancelled when its client goes away, and has its own database and settings on top of those
// that the session has: a company's session too, though it may change nothing itself.
func TestSessionsOfCompanies(t *testing.T) {
	e := startEngine(t, Config{RowFilters: []RowFilter{{"default", "ev"}}}, true)
	for _, q := range []string{
		"CREATE TABLE ev (company_id UInt32) ENGINE = MergeTree ORDER BY company_id", "INSERT INTO ev SELECT number % 4 FROM numbers(1000)",
		"CREATE DATABASE other", "CREATE TABLE other.here (a UInt8) ENGINE = MergeTree ORDER BY a",
	} {
		if r := post(t, e, q, nil); r.status != 200 {
			t.Fatalf("%s: %s", q, r.body)
		}
	}
	for _, company := range []string{"", "2"} {
		with := func(more ...string) url.Values {
			v := url.Values{"session_id": {"s"}}
			for i := 0; i+1 < len(more); i += 2 {
				v.Set(more[i], more[i+1])
			}
			return v
		}
		var header []string
		if company != "" {
			header = []string{CompanyHeader, company}
		}
		ask := func(q, want string, v url.Values) {
			t.Helper()
			if r := post(t, e, q, v, header...); r.body != want {
				t.Errorf("company %q: %s %v: %q, want %q", company, q, v, r.body, want)
			}
		}
		const state = "SELECT currentDatabase(), getSetting('max_block_size'), getSetting('join_use_nulls')"
		ask(state, "default\t1000\tfalse\n", with("max_block_size", "1000"))
		ask(state, "other\t1000\tfalse\n", with("database", "other"))
		ask("SELECT count() FROM here", "0\n", with())
		ask(state, "other\t2000\ttrue\n", with("max_block_size", "2000", "join_use_nulls", "1"))
		ask(state, "default\t2000\ttrue\n", with("database", "default"))
		ask("SELECT count() FROM ev", map[string]string{"": "1000\n", "2": "250\n"}[company], with())

		// The next statement would go on for hours. When its client goes away it is killed, and the session is free again.
		// (The library lists a killed statement until its connection's next one.)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/?"+with("query_id", "victim"+company, "query", "SELECT sum(number) FROM numbers(1000000000000)").Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if company != "" {
			req.Header.Set(CompanyHeader, company)
		}
		if res, err := httpClient(e).Do(req); err == nil {
			t.Errorf("company %q: %s", company, res.Status)
			_ = res.Body.Close()
		}
		cancel()
		waitFor(t, "the statement's end", func() bool {
			return post(t, e, "SELECT count() FROM system.processes WHERE query LIKE '%numbers(1000000000000)%' AND NOT is_cancelled AND query NOT LIKE '%processes%'", nil).body == "0\n"
		})
		waitFor(t, "the session to be free", func() bool {
			return post(t, e, "SELECT 5", with(), header...).status == http.StatusOK
		})
	}
}
