package schema

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/internal/enginetest"
)

// rehearsal stands between the migrations and the embedded engine. It notes every statement as
// it was sent and, for a cluster, plays one of a single node: it takes out what needs
// ZooKeeper and other nodes, and hands on the rest. So the code that runs is that for a real
// cluster, and what it sends can be looked at.
type rehearsal struct {
	options *clickhouse.Options
	conn    driver.Conn // past the rehearsal
	layout  Layout

	mu   sync.Mutex
	sent []string
}

func newRehearsal(t *testing.T, layout Layout) *rehearsal {
	t.Helper()
	e := enginetest.Shared(t)
	s := &rehearsal{options: e.Options(), layout: layout}
	next := s.options.TransportFunc
	s.options.TransportFunc = func(tr *http.Transport) (http.RoundTripper, error) {
		rt, err := next(tr)
		return roundTrip(func(r *http.Request) (*http.Response, error) { return s.send(rt, r) }), err
	}
	var err error
	if s.conn, err = clickhouse.Open(e.Options()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip is [http.RoundTripper].
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What differs between a cluster and one node.
var (
	onCluster   = regexp.MustCompile("ON CLUSTER `?[a-z]+`?")
	replicated  = regexp.MustCompile(`Replicated(\w*MergeTree)\('([^']*)', '([^']*)'\)`)
	distributed = regexp.MustCompile("Distributed\\(`(\\w+)`, `(\\w+)`, `(\\w+)`, (.+?\\))\\)")
)

func (s *rehearsal) send(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	text := string(body)
	s.mu.Lock()
	s.sent = append(s.sent, text)
	s.mu.Unlock()
	if s.layout.Cluster != "" {
		text = onCluster.ReplaceAllString(text, "")
		text = replicated.ReplaceAllString(text, "$1")
		text = distributed.ReplaceAllString(text, "Merge(`$2`, '^$3$$')")
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	return next.RoundTrip(r)
}

func (s *rehearsal) runner(t *testing.T, layout Layout) *ClickHouse {
	t.Helper()
	ch, err := NewClickHouse(s.options, layout)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func (s *rehearsal) exec(t *testing.T, statement string) {
	t.Helper()
	statement = strings.Replace(statement, " schema_migrations ", " "+quote(s.layout.Database)+".schema_migrations ", 1)
	if err := s.conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// tables lists what is in the database, in order.
func (s *rehearsal) tables(t *testing.T) (names []string) {
	t.Helper()
	err := s.conn.QueryRow(t.Context(), "SELECT arraySort(groupArray(name)) FROM system.tables WHERE database = ?", s.layout.Database).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// ddl gives the statements that change tables, each once.
func (s *rehearsal) ddl() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	verb := regexp.MustCompile(`(?s)^(\s|--[^\n]*\n)*(CREATE|ALTER|DROP|RENAME|TRUNCATE|ATTACH|DETACH|EXCHANGE)\s`)
	for _, text := range s.sent {
		if verb.MatchString(text) && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// everything runs all that the package can send.
func everything(t *testing.T, cluster string) (*rehearsal, Layout) {
	t.Helper()
	layout := Layout{Database: enginetest.Database(), Cluster: cluster}
	s := newRehearsal(t, layout)
	for _, months := range []int{0, 12, 0} {
		layout.RetentionMonths = months
		mustUp(t, s, layout)
	}
	if _, _, err := s.runner(t, layout).Down(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	return s, layout
}

var (
	createTable = regexp.MustCompile("(?s)CREATE TABLE (?:IF NOT EXISTS )?(?:`\\w+`\\.)?`?(\\w+)`?.*?(?i:ENGINE) ?= ?(\\w+)")
	createView  = regexp.MustCompile("(?s)CREATE MATERIALIZED VIEW IF NOT EXISTS `\\w+`\\.`(\\w+)` .*? TO `\\w+`\\.`(\\w+)` AS\\s.*FROM `\\w+`\\.`(\\w+)`")
)

// Whatever runs on a cluster says so to every node, and leaves no table that one node alone knows.
func TestClusterStatements(t *testing.T) {
	s, layout := everything(t, "everywhere")
	locals, fronts, paths := map[string]bool{}, map[string]string{}, map[string]string{}
	statements := s.ddl()
	for _, text := range statements {
		if n := strings.Count(text, "ON CLUSTER"); n != 1 {
			t.Errorf("ON CLUSTER stands %d times in: %s", n, text)
		}
		if err := explain(t.Context(), s.conn, text); err != nil {
			t.Errorf("the engine's parser: %v\n%s", err, text)
		}
		if m := createView.FindStringSubmatch(text); m != nil {
			if !strings.HasSuffix(m[2], "_local") || !strings.HasSuffix(m[3], "_local") {
				t.Errorf("the view %s goes from %s to %s: each shard has its own", m[1], m[3], m[2])
			}
			continue
		}
		m := createTable.FindStringSubmatch(text)
		if m == nil {
			if strings.Contains(text, "CREATE") && !strings.Contains(text, "CREATE DATABASE") {
				t.Errorf("not understood: %s", text)
			}
			continue
		}
		name, engine := m[1], m[2]
		switch {
		case engine == "Distributed":
			d := distributed.FindStringSubmatch(text)
			if d == nil {
				t.Fatalf("not understood: %s", text)
			}
			if d[1] != layout.Cluster || d[2] != layout.Database || d[3] != name+"_local" {
				t.Errorf("%s is in front of %s.%s of the cluster %s", name, d[2], d[3], d[1])
			}
			// Every question is about one company: it must be answered by one shard.
			if d[4] != "cityHash64(company_id)" {
				t.Errorf("%s is spread by %s", name, d[4])
			}
			fronts[d[3]] = name
		case strings.HasPrefix(engine, "Replicated"):
			r := replicated.FindStringSubmatch(text)
			if r == nil {
				t.Fatalf("not understood: %s", text)
			}
			if other := paths[r[2]]; other != "" && other != name {
				t.Errorf("%s and %s share the path %s", name, other, r[2])
			}
			paths[r[2]] = name
			if !strings.Contains(r[2], "{uuid}") {
				t.Errorf("%s: a table that is dropped and made again would find its old self at %s", name, r[2])
			}
			if name == clickhouseTable {
				// One history for all shards: every node is a replica of its own.
				if strings.Contains(r[2], "{shard}") || !strings.Contains(r[3], "{shard}") || !strings.Contains(r[3], "{replica}") {
					t.Errorf("%s: path %s, replica %s", name, r[2], r[3])
				}
				continue
			}
			if !strings.Contains(r[2], "{shard}") || r[3] != "{replica}" {
				t.Errorf("%s: path %s, replica %s", name, r[2], r[3])
			}
			if !strings.Contains(text, " replicated_deduplication_window") || strings.Contains(text, "non_replicated") {
				t.Errorf("%s does not remember the tokens of blocks", name)
			}
			locals[name] = true
		default:
			t.Errorf("%s is a table of one node: %s", name, engine)
		}
	}
	if len(locals) < 2 || paths["/clickhouse/tables/{uuid}/"+clickhouseTable] == "" {
		t.Errorf("tables %v at %v: the test looks at the wrong thing", locals, paths)
	}
	for name := range locals {
		if fronts[name] == "" {
			t.Errorf("nothing is in front of %s: reports could not read it", name)
		}
	}
	for _, verb := range []string{"CREATE DATABASE", "MODIFY TTL", "REMOVE TTL", "DROP TABLE"} {
		if !slices.ContainsFunc(statements, func(s string) bool { return strings.Contains(s, verb) }) {
			t.Errorf("no %s among the %d statements", verb, len(statements))
		}
	}
}

func TestSingleStatements(t *testing.T) {
	s, _ := everything(t, "")
	for _, text := range s.ddl() {
		if err := explain(t.Context(), s.conn, text); err != nil {
			t.Errorf("the engine's parser: %v\n%s", err, text)
		}
		for _, word := range []string{"CLUSTER", "Replicated", "Distributed", "_local", "{"} {
			if strings.Contains(text, word) {
				t.Errorf("%s on one server: %s", word, text)
			}
		}
	}
	if explain(t.Context(), s.conn, "CREATE TABLE a ON KLUSTER b (c UInt8) ENGINE = Memory") == nil {
		t.Error("the parser takes everything: the test shows nothing")
	}
}
