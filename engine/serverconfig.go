package engine

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// Names inside the engine's directory. They stand here alone.
const (
	dataDirName   = "data" // ClickHouse's own files
	tmpDirName    = "tmp"  // spilled responses; emptied at start
	logDirName    = "log"
	logFileName   = "engine.log"
	confDirName   = "conf" // written at every start, never read back by us
	runDirName    = "run"  // the socket, mode 0700
	socketName    = "engine.sock"
	lockFileName  = "engine.lock" // flock'ed while open; holds the pid
	crashFileName = "crash.log"
	crashFileSize = 1 << 20  // beyond this, the next start begins a new one
	logSizeBytes  = 20 << 20 // the log rotates beyond this
	logFilesCount = 4
)

// serverConfig is config.xml and users.xml.
//
// Memory: the caches are small because the reports read ranges of one company
// through few granules; what ClickHouse would give them on a server (5 GiB of
// marks) would let the process grow far past its limit.
//
// Merges: two at a time suit two cores. The pool's size also sets how many
// parts may pile up, so number_of_free_entries… must stay below it: ClickHouse
// refuses to start otherwise.
//
// Durability: fsync_after_insert and fsync_part_directory make a part durable
// before its INSERT returns; min_*_to_fsync_after_merge makes merged parts so
// too, for a merge deletes the parts that it read. A part that a merge replaced
// stays for old_parts_lifetime.
type serverConfig struct {
	Dir         string
	MemoryLimit int64
	Threads     int
	Pool        int
	QueryMemory int64
	RowFilters  []filterDatabase
	LogSize     int
	LogCount    int
}

type filterDatabase struct {
	Name   string
	Tables []string
}

// rowFilterSQL shows a row to the company that the session's log_comment names,
// every row to '*', and none to a session that names neither.
const rowFilterSQL = `company_id = toUInt32OrZero(getSetting('log_comment')) OR getSetting('log_comment') = '*'`

var configTemplate = template.Must(template.New("config").Funcs(template.FuncMap{"x": xmlText}).Parse(`<clickhouse>
  <log-level>warning</log-level>
  <logger>
    <level>warning</level>
    <log>{{x .Dir}}/log/engine.log</log>
    <size>{{.LogSize}}</size>
    <count>{{.LogCount}}</count>
  </logger>
  <path>{{x .Dir}}/data/</path>
  <tmp_path>{{x .Dir}}/data/tmp/</tmp_path>
  <users_config>{{x .Dir}}/conf/users.xml</users_config>
  <timezone>UTC</timezone>
  <max_server_memory_usage>{{.MemoryLimit}}</max_server_memory_usage>
  <mark_cache_size>67108864</mark_cache_size>
  <index_mark_cache_size>16777216</index_mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <index_uncompressed_cache_size>0</index_uncompressed_cache_size>
  <primary_index_cache_size>67108864</primary_index_cache_size>
  <query_condition_cache_size>16777216</query_condition_cache_size>
  <mmap_cache_size>0</mmap_cache_size>
  <compiled_expression_cache_size>33554432</compiled_expression_cache_size>
  <background_pool_size>{{.Pool}}</background_pool_size>
  <background_merges_mutations_concurrency_ratio>1</background_merges_mutations_concurrency_ratio>
  <background_move_pool_size>1</background_move_pool_size>
  <background_fetches_pool_size>1</background_fetches_pool_size>
  <background_common_pool_size>2</background_common_pool_size>
  <background_schedule_pool_size>8</background_schedule_pool_size>
  <background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>
  <background_message_broker_schedule_pool_size>1</background_message_broker_schedule_pool_size>
  <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>
  <max_io_thread_pool_size>32</max_io_thread_pool_size>
  <max_thread_pool_size>512</max_thread_pool_size>
  <max_table_size_to_drop>0</max_table_size_to_drop>
  <max_partition_size_to_drop>0</max_partition_size_to_drop>
  <merge_tree>
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
    <min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>
    <min_compressed_bytes_to_fsync_after_merge>1</min_compressed_bytes_to_fsync_after_merge>
    <old_parts_lifetime>30</old_parts_lifetime>
    <max_bytes_to_merge_at_max_space_in_pool>21474836480</max_bytes_to_merge_at_max_space_in_pool>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
    <merge_max_block_size_bytes>4194304</merge_max_block_size_bytes>
  </merge_tree>
</clickhouse>
`))

var usersTemplate = template.Must(template.New("users").Funcs(template.FuncMap{"x": xmlText}).Parse(`<clickhouse>
  <profiles>
    <default>
      <max_threads>{{.Threads}}</max_threads>
      <max_insert_threads>1</max_insert_threads>
      <max_memory_usage>{{.QueryMemory}}</max_memory_usage>
      <max_bytes_ratio_before_external_group_by>0.5</max_bytes_ratio_before_external_group_by>
      <max_bytes_ratio_before_external_sort>0.5</max_bytes_ratio_before_external_sort>
      <async_insert>0</async_insert>
      <use_query_cache>0</use_query_cache>
      {{- if .RowFilters}}
      <use_query_condition_cache>0</use_query_condition_cache>
      {{- end}}
      <output_format_parquet_row_group_size>200000</output_format_parquet_row_group_size>
      <output_format_parquet_row_group_size_bytes>67108864</output_format_parquet_row_group_size_bytes>
      <implicit_select>0</implicit_select>
      <http_max_tries>1</http_max_tries>
      <s3_retry_attempts>0</s3_retry_attempts>
      <log_queries>0</log_queries>
      <allow_introspection_functions>0</allow_introspection_functions>
    </default>
  </profiles>
  <users>
    <default>
      <password></password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      {{- if .RowFilters}}
      <databases>
        {{- range .RowFilters}}
        <{{.Name}}>
          {{- range .Tables}}
          <{{.}}><filter>{{x $.Filter}}</filter></{{.}}>
          {{- end}}
        </{{.Name}}>
        {{- end}}
      </databases>
      {{- end}}
    </default>
  </users>
  <quotas><default></default></quotas>
</clickhouse>
`))

// Filter is the row filter's SQL, for the template.
func (serverConfig) Filter() string { return rowFilterSQL }

func xmlText(s string) (string, error) {
	var b bytes.Buffer
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// write renders both files into dir/conf and returns config.xml's path.
func (c serverConfig) write() (string, error) {
	conf := filepath.Join(c.Dir, confDirName)
	c.LogSize, c.LogCount = logSizeBytes, logFilesCount
	var path string
	for name, t := range map[string]*template.Template{"config.xml": configTemplate, "users.xml": usersTemplate} {
		var b bytes.Buffer
		if err := t.Execute(&b, c); err != nil {
			return "", err
		}
		p := filepath.Join(conf, name)
		if err := os.WriteFile(p, b.Bytes(), 0o600); err != nil {
			return "", err
		}
		if name == "config.xml" {
			path = p
		}
	}
	return path, nil
}

// groupFilters orders row filters by database for users.xml. Names become XML
// elements there, so they are held to identifiers.
func groupFilters(filters []RowFilter) ([]filterDatabase, error) {
	var out []filterDatabase
	for _, f := range filters {
		for _, n := range []string{f.Database, f.Table} {
			if !isIdentifier(n) {
				return nil, fmt.Errorf("row filter %s.%s: %q is not a plain identifier", f.Database, f.Table, n)
			}
		}
		i := 0
		for i < len(out) && out[i].Name != f.Database {
			i++
		}
		if i == len(out) {
			out = append(out, filterDatabase{Name: f.Database})
		}
		out[i].Tables = append(out[i].Tables, f.Table)
	}
	return out, nil
}

func isIdentifier(s string) bool {
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// parseFilters reads database.table.
func parseFilters(names []string) ([]RowFilter, error) {
	var out []RowFilter
	for _, n := range names {
		db, table, ok := strings.Cut(n, ".")
		if !ok {
			return nil, fmt.Errorf("row filter %q is not database.table", n)
		}
		out = append(out, RowFilter{db, table})
	}
	return out, nil
}
