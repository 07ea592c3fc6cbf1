package ingest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

// Conn is what the writer needs of a connection to ClickHouse over HTTP; driver.Conn has
// it. Unqualified table names must reach the tables of package schema.
type Conn interface {
	QueryRow(ctx context.Context, query string, args ...any) driver.Row
	Exec(ctx context.Context, query string, args ...any) error
	QueryFormat(ctx context.Context, format, query string, args ...any) (io.ReadCloser, error)
	InsertFormat(ctx context.Context, format, query string, data io.Reader) error
}

// eventStore asks and fills the tables. It holds no state of its own.
type eventStore struct {
	conn Conn
	// cluster names the cluster whose servers may run our inserts; "" is one server.
	cluster string
}

const (
	// maxDaysPerQuery keeps a statement below ClickHouse's usual limits of text and syntax tree.
	maxDaysPerQuery = 4096
	// queryTimeout ends a question to a server that no longer answers.
	queryTimeout = 2 * time.Minute
	// insertTimeout does so for an insert. What became of it is then looked up.
	insertTimeout = 5 * time.Minute
)

const (
	countDaysSQL = "SELECT company_id, toDate(time) AS day, count() FROM events WHERE (company_id, toDate(time)) IN (%s) GROUP BY company_id, day"
	dayIDsSQL    = "SELECT company_id, toDate(time) AS day, id FROM events WHERE (company_id, toDate(time)) IN (%s)"

	// wantedTimes comes first: nearly nothing that is asked for is there, and then no other column of what the primary key found is
	// read or compared. That is a fifteenth of the work.
	wantedTimes = "time GLOBAL IN (SELECT fromUnixTimestamp64Milli(ms, 'UTC') FROM wanted)"
	// wantedRows is the sort key's front as the external table `wanted` gives it, so that the primary key finds the granules.
	wantedRows = "(company_id, toDate(time), computer, time) GLOBAL IN (SELECT company_id, day, computer, fromUnixTimestamp64Milli(ms, 'UTC') FROM wanted)"
	presentSQL = "SELECT id FROM events PREWHERE " + wantedTimes + " WHERE " + wantedRows
	// Over whole days there is no need for the computer: numbers alone compare much faster, and choose nearly the same rows.
	presentInDaysSQL = "SELECT id FROM events PREWHERE " + wantedTimes + " WHERE (company_id, toDate(time)) IN (%s) AND (company_id, time) GLOBAL IN (SELECT company_id, fromUnixTimestamp64Milli(ms, 'UTC') FROM wanted)"

	tableSQL = "SELECT toString(uuid) FROM system.tables WHERE database = currentDatabase() AND name = 'events'"

	// presenceColumns and presenceRows repeat the view presence_mv of package schema; a test holds the two together.
	presenceColumns = "company_id, computer, user, logon_id, time, type, linked_logon_id, logon_type, elevated, site_id, sid, user_name, computer_name"
	presenceRows    = "((account = 'user' AND logon_type IN (2, 10, 11, 12, 255) AND type IN ('logon', 'logoff', 'lock', 'unlock', 'disconnect', 'reconnect')) OR (account = 'user' AND logon_type IN (7, 13) AND type IN ('logon', 'unlock')) OR type IN ('startup', 'shutdown', 'sleep', 'wake'))"
	repairSQL       = "INSERT INTO presence (" + presenceColumns + ") SELECT " + presenceColumns + " FROM events WHERE " + wantedRows +
		" AND " + presenceRows + " AND id GLOBAL IN (SELECT id FROM wanted)"

	// Our inserts are known by their token, a setting that ClickHouse lists with a running statement. A query id
	// would do on a server, but the embedded engine gives its statements ids of its own.
	ourInserts = "startsWith(Settings['insert_deduplication_token'], {token:String})"
)

// settings of questions and repairs. What is looked up decides what is counted: on a cluster it must
// not come from a replica that lags, and nowhere from a cache.
func (s *eventStore) settings() clickhouse.Settings {
	return clickhouse.Settings{"select_sequential_consistency": 1, "use_query_condition_cache": 0}
}

func (s *eventStore) query(ctx context.Context, width int, query string, fn func(row []byte), opts ...clickhouse.QueryOption) (err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, append(opts, clickhouse.WithSettings(s.settings()))...)
	rows, err := s.conn.QueryFormat(ctx, "RowBinary", query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	r := bufio.NewReaderSize(rows, 64<<10)
	row := make([]byte, width)
	for {
		if _, err := io.ReadFull(r, row); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("the answer broke off: %w", err)
		}
		fn(row)
	}
}

func (s *eventStore) table(ctx context.Context) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := s.conn.QueryRow(ctx, tableSQL).Scan(&name); err != nil {
		return "", fmt.Errorf("look up the table of events: %w", err)
	}
	return name, nil
}

func dayList(days []companyDay) string {
	var b strings.Builder
	for i, k := range days {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		b.WriteString(strconv.FormatUint(uint64(k.company), 10))
		b.WriteString(",'")
		b.WriteString(time.Unix(int64(k.day)*86400, 0).UTC().Format(time.DateOnly))
		b.WriteString("')")
	}
	return b.String()
}

func eachChunk(days []companyDay, fn func([]companyDay) error) error {
	for len(days) > 0 {
		n := min(len(days), maxDaysPerQuery)
		if err := fn(days[:n]); err != nil {
			return err
		}
		days = days[n:]
	}
	return nil
}

func rowDay(row []byte) companyDay {
	return companyDay{company: binary.LittleEndian.Uint32(row), day: binary.LittleEndian.Uint16(row[4:])}
}

func (s *eventStore) countDays(ctx context.Context, days []companyDay) (map[companyDay]int, error) {
	out := make(map[companyDay]int, len(days))
	err := eachChunk(days, func(days []companyDay) error {
		return s.query(ctx, 4+2+8, fmt.Sprintf(countDaysSQL, dayList(days)), func(row []byte) {
			out[rowDay(row)] += int(binary.LittleEndian.Uint64(row[6:])) //nolint:gosec // a count of rows
		})
	})
	return out, err
}

func (s *eventStore) eachID(ctx context.Context, days []companyDay, fn func(companyDay, event.ID)) error {
	return eachChunk(days, func(days []companyDay) error {
		return s.query(ctx, 4+2+16, fmt.Sprintf(dayIDsSQL, dayList(days)), func(row []byte) {
			fn(rowDay(row), event.ID(row[6:]))
		})
	})
}

// wanted is the external table of rows to look for.
func wanted(b *writeBlock, rows []uint32, ids bool) (*ext.Table, error) {
	t, err := ext.NewTable("wanted", ext.Column("company_id", "UInt32"), ext.Column("day", "Date"),
		ext.Column("computer", "String"), ext.Column("ms", "Int64"))
	if err == nil && ids {
		err = ext.Column("id", "FixedString(16)")(t)
	}
	if err != nil {
		return nil, err
	}
	computers, days, raw := make([]string, len(rows)), make([]time.Time, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		computers[i] = b.dict.text[b.dict.fold[b.names[nameComputer][r]]]
		days[i] = time.Unix(int64(b.day(r))*86400, 0).UTC()
		raw[i] = string(b.ids[r][:])
	}
	values := []any{gather([]uint32(nil), b.company, rows), days, computers, gather([]int64(nil), b.time, rows)}
	if ids {
		values = append(values, raw)
	}
	for i, v := range values {
		if _, err := t.Block().Columns[i].Append(v); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// present calls fn with the ids of rows that are in the table events, and perhaps with some that were not asked for.
func (s *eventStore) present(ctx context.Context, b *writeBlock, rows []uint32, fn func(event.ID)) error {
	return s.lookUp(ctx, b, rows, presentSQL, fn)
}

// presentInDays does the same by going through all of days, which the rows must be in.
func (s *eventStore) presentInDays(ctx context.Context, b *writeBlock, rows []uint32, days []companyDay, fn func(event.ID)) error {
	return eachChunk(days, func(days []companyDay) error {
		return s.lookUp(ctx, b, rows, fmt.Sprintf(presentInDaysSQL, dayList(days)), fn)
	})
}

func (s *eventStore) lookUp(ctx context.Context, b *writeBlock, rows []uint32, query string, fn func(event.ID)) error {
	if len(rows) == 0 {
		return nil
	}
	t, err := wanted(b, rows, false)
	if err != nil {
		return err
	}
	err = s.query(ctx, 16, query, func(row []byte) { fn(event.ID(row)) }, clickhouse.WithExternalTable(t))
	if err != nil {
		return fmt.Errorf("look up events: %w", err)
	}
	return nil
}

// repair makes sure that what the view derives of rows, which are in events, is in presence. What is there twice
// counts once there, so it need not know whether anything was missing.
func (s *eventStore) repair(ctx context.Context, b *writeBlock, rows []uint32) error {
	var mine []uint32
	for _, r := range rows {
		if isPresence(b, r) {
			mine = append(mine, r)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	t, err := wanted(b, mine, true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	set := s.settings()
	// Deduplication must not drop it on the strength of an insert that was interrupted.
	set["insert_deduplicate"] = 0
	set["max_partitions_per_insert_block"] = 0
	if s.cluster != "" {
		set["distributed_foreground_insert"] = 1
		set["parallel_distributed_insert_select"] = 0 // the external table is here alone
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithExternalTable(t), clickhouse.WithSettings(set))
	if err := s.conn.Exec(ctx, repairSQL); err != nil {
		return fmt.Errorf("restore presence: %w", err)
	}
	return nil
}

// isPresence tells whether the row may concern the table presence. The SQL decides; this only saves asking.
func isPresence(b *writeBlock, row uint32) bool {
	switch event.Type(b.kind[row]) {
	case event.Logon, event.Logoff, event.Lock, event.Unlock, event.Disconnect, event.Reconnect,
		event.Startup, event.Shutdown, event.Sleep, event.Wake:
		return true
	default:
		return false
	}
}

// insert puts rows into events under the token: ClickHouse remembers it, and drops a second insert of the same.
func (s *eventStore) insert(ctx context.Context, e *blockEncoder, b *writeBlock, rows []uint32, token string) error {
	e.start(b, rows)
	defer e.stop()
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	set := clickhouse.Settings{
		"insert_deduplication_token":                         token,
		"insert_deduplicate":                                 1,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
		"async_insert":                                       0,
		"max_partitions_per_insert_block":                    0, // an import brings years at once
		"materialized_views_ignore_errors":                   0,
	}
	if s.cluster != "" {
		set["distributed_foreground_insert"] = 1
		set["insert_quorum"] = "auto"
		set["insert_quorum_parallel"] = 0
	}
	return s.conn.InsertFormat(clickhouse.Context(ctx, clickhouse.WithSettings(set)), "Native", insertEventsSQL, e)
}

// processes is where running statements are listed.
func (s *eventStore) processes() string {
	if s.cluster == "" {
		return "system.processes"
	}
	return "clusterAllReplicas(`" + s.cluster + "`, system.processes)"
}

// quiesce ends every running insert whose token begins with prefix, and returns when none is left.
func (s *eventStore) quiesce(ctx context.Context, prefix string) error {
	kill := "KILL QUERY WHERE " + ourInserts + " ASYNC"
	if s.cluster != "" {
		kill = "KILL QUERY ON CLUSTER `" + s.cluster + "` WHERE " + ourInserts + " ASYNC"
	}
	params := clickhouse.WithParameters(clickhouse.Parameters{"token": prefix})
	for killed := false; ; {
		n, err := s.running(clickhouse.Context(ctx, params))
		if err != nil {
			return fmt.Errorf("look for running inserts: %w", err)
		}
		if n == 0 {
			return nil
		}
		if !killed {
			if err := s.conn.Exec(clickhouse.Context(ctx, params), kill); err != nil {
				return fmt.Errorf("end a running insert: %w", err)
			}
			killed = true
		}
		if err := sleep(ctx, quiesceInterval); err != nil {
			return err
		}
	}
}

// quiesceInterval is how often a dying insert is looked for.
const quiesceInterval = 20 * time.Millisecond

func (s *eventStore) running(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var n uint64
	err := s.conn.QueryRow(ctx, "SELECT count() FROM "+s.processes()+" WHERE "+ourInserts).Scan(&n)
	return n, err
}
