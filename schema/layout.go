package schema

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"

	"gatehouse/event"
)

// Layout is what differs between the embedded engine, one server and a
// cluster. The zero Cluster means one node.
type Layout struct {
	Database string
	// Cluster names a cluster of the server's configuration. Tables are then
	// replicated and spread by company, which keeps a company's events on one shard.
	Cluster string
	// RetentionMonths is after how many months events are dropped; 0 keeps them.
	RetentionMonths int
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

func (l Layout) check() error {
	if !identifier.MatchString(l.Database) {
		return fmt.Errorf("%q cannot be a database name: use letters, digits and _", l.Database)
	}
	if l.Cluster != "" && !identifier.MatchString(l.Cluster) {
		return fmt.Errorf("%q cannot be a cluster name: use letters, digits and _", l.Cluster)
	}
	if l.RetentionMonths < 0 {
		return fmt.Errorf("a retention of %d months is not possible: use 0 to keep everything", l.RetentionMonths)
	}
	return nil
}

func quote(name string) string { return "`" + name + "`" }

// Table is the name that queries and inserts use.
func (l Layout) Table(name string) string { return quote(l.Database) + "." + quote(name) }

// Local is the table that holds the parts: the same one on a single node, the
// shard's own on a cluster.
func (l Layout) Local(name string) string { return quote(l.Database) + "." + l.localName(name) }

func (l Layout) localName(name string) string {
	if l.Cluster == "" {
		return quote(name)
	}
	return quote(name + "_local")
}

// OnCluster is the clause that runs a statement on every node of a cluster.
func (l Layout) OnCluster() string {
	if l.Cluster == "" {
		return ""
	}
	return "ON CLUSTER " + quote(l.Cluster)
}

// Engine names the table engine of a family for a table.
func (l Layout) Engine(table, family string) string {
	if l.Cluster == "" {
		return family
	}
	return fmt.Sprintf("Replicated%s('/clickhouse/tables/{uuid}/{shard}/%s', '{replica}')", family, table)
}

// historyEngine is the engine of the table that tells which migrations have run.
// It keeps them in parts, which survive a crash; the migration library's default
// (TinyLog) can be left torn. On a cluster every node has a replica of the one
// history, whatever its shard: a node that is asked later must know what ran through another.
func (l Layout) historyEngine() string {
	if l.Cluster == "" {
		return "MergeTree" // the library adds the order
	}
	return "ReplicatedMergeTree('/clickhouse/tables/{uuid}/" + clickhouseTable + "', '{shard}-{replica}') ORDER BY sequence"
}

// Distributed is the engine of the table in front of the shards. Sharding by
// company keeps every question about one company on one shard.
func (l Layout) Distributed(table string) string {
	return fmt.Sprintf("Distributed(%s, %s, %s, cityHash64(company_id))", quote(l.Cluster), quote(l.Database), l.localName(table))
}

// dedupWindow is how many of the last blocks' tokens a table remembers. The
// writer retries only blocks in flight, a handful.
const dedupWindow = 1000

// Durable are the settings of every table: an insert returns when its parts
// are on disk, a block that is sent again with its token is dropped, and
// retention drops whole parts.
func (l Layout) Durable() string {
	window := fmt.Sprintf("non_replicated_deduplication_window = %d", dedupWindow)
	if l.Cluster != "" {
		window = fmt.Sprintf("replicated_deduplication_window = %d", dedupWindow)
	}
	return window + ", fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1"
}

// EventTypes is the column type of an event's type.
func (l Layout) EventTypes() string { return enum8(event.Types()) }

// Accounts is the column type of the kind of account.
func (l Layout) Accounts() string { return enum8(event.Accounts()) }

func enum8[T interface {
	~uint8
	fmt.Stringer
}](values []T) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = fmt.Sprintf("'%s' = %d", v, uint8(v))
	}
	return "Enum8(" + strings.Join(parts, ", ") + ")"
}

func (l Layout) ttl() string {
	if l.RetentionMonths == 0 {
		return ""
	}
	return fmt.Sprintf("toDateTime(time) + toIntervalMonth(%d)", l.RetentionMonths)
}

func (l Layout) render(name, text string) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fmt.Errorf("BUG: migration %s: %w", name, err)
	}
	var out strings.Builder
	if err := t.Execute(&out, l); err != nil {
		return "", fmt.Errorf("BUG: migration %s: %w", name, err)
	}
	return out.String(), nil
}
