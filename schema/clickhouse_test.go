package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/internal/enginetest"
)

// eachLayout runs fn on a fresh database, once laid out for one server and once for a
// cluster, which the rehearsal plays on the embedded engine.
func eachLayout(t *testing.T, fn func(t *testing.T, s *rehearsal, layout Layout)) {
	t.Helper()
	for name, cluster := range map[string]string{"one server": "", "cluster": "everywhere"} {
		t.Run(name, func(t *testing.T) {
			layout := Layout{Database: enginetest.Database(), Cluster: cluster}
			s := newRehearsal(t, layout)
			fn(t, s, layout)
		})
	}
}

func mustUp(t *testing.T, s *rehearsal, layout Layout) (from, to uint) {
	t.Helper()
	from, to, err := s.runner(t, layout).Up(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return from, to
}

func TestClickHouseUpDown(t *testing.T) {
	eachLayout(t, func(t *testing.T, s *rehearsal, layout Layout) {
		ctx := t.Context()
		ch := s.runner(t, layout)
		st, err := ch.Status(ctx)
		if err != nil || st.Version != 0 || st.Latest == 0 || uint(len(st.Pending)) != st.Latest || st.Newer || st.Dirty {
			t.Errorf("before: %+v, %v", st, err)
		}
		if got := s.tables(t); len(got) != 0 {
			t.Errorf("Status made tables: %q", got)
		}
		if err := ch.Check(ctx); !errors.Is(err, ErrPending) {
			t.Errorf("Check before: %v", err)
		}
		if from, to := mustUp(t, s, layout); from != 0 || to != st.Latest {
			t.Errorf("Up: %d to %d", from, to)
		}
		if err := ch.Check(ctx); err != nil {
			t.Errorf("Check after: %v", err)
		}
		up := s.tables(t)
		for _, name := range []string{"events", "presence"} {
			if !slices.Contains(up, name) {
				t.Errorf("no table %s in %q", name, up)
			}
			if layout.Cluster != "" && !slices.Contains(up, name+"_local") {
				t.Errorf("no table %s_local in %q", name, up)
			}
		}
		if from, to := mustUp(t, s, layout); from != st.Latest || to != st.Latest {
			t.Errorf("Up again: %d to %d", from, to)
		}
		if from, to, err := ch.Down(ctx, 1000); err != nil || from != st.Latest || to != 0 {
			t.Errorf("Down: %d to %d, %v", from, to, err)
		}
		if got := s.tables(t); len(got) != 1 {
			t.Errorf("after Down: %q; want the history alone", got)
		}
		mustUp(t, s, layout)
		if got := s.tables(t); !slices.Equal(got, up) {
			t.Errorf("up, down, up gave %q, first %q", got, up)
		}
		if _, _, err := ch.Down(ctx, 0); err == nil {
			t.Error("Down by 0 steps: no error")
		}
	})
}

// A migration that was cut off by a crash is run again by the next start.
func TestClickHouseCutOff(t *testing.T) {
	eachLayout(t, func(t *testing.T, s *rehearsal, layout Layout) {
		mustUp(t, s, layout)
		want := s.tables(t)
		s.exec(t, "INSERT INTO schema_migrations (version, dirty, sequence) VALUES (1, 1, toUnixTimestamp64Nano(now64(9)))")
		s.exec(t, "DROP TABLE "+layout.Local("presence_mv"))
		ch := s.runner(t, layout)
		if st, err := ch.Status(t.Context()); err != nil || !st.Dirty || len(st.Pending) == 0 {
			t.Fatalf("%+v, %v", st, err)
		}
		if err := ch.Check(t.Context()); !errors.Is(err, ErrPending) {
			t.Errorf("Check: %v", err)
		}
		mustUp(t, s, layout)
		if got := s.tables(t); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if err := ch.Check(t.Context()); err != nil {
			t.Errorf("Check after Up: %v", err)
		}
	})
}

// A store that a newer version has migrated is refused with the reason, and left as it is.
func TestClickHouseNewer(t *testing.T) {
	eachLayout(t, func(t *testing.T, s *rehearsal, layout Layout) {
		ctx := t.Context()
		mustUp(t, s, layout)
		before := s.tables(t)
		s.exec(t, "INSERT INTO schema_migrations (version, dirty, sequence) VALUES (99, 0, 9000000000000000000)")
		ch := s.runner(t, layout)
		for name, run := range map[string]func() error{
			"up":    func() error { _, _, err := ch.Up(ctx); return err },
			"down":  func() error { _, _, err := ch.Down(ctx, 1); return err },
			"check": func() error { return ch.Check(ctx) },
		} {
			err := run()
			if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), "migrate down") {
				t.Errorf("%s: %v; want ErrNewer with the versions and what to do", name, err)
			}
		}
		if st, err := ch.Status(ctx); err != nil || !st.Newer || st.Version != 99 || len(st.Pending) != 0 {
			t.Errorf("status: %+v, %v", st, err)
		}
		if got := s.tables(t); !slices.Equal(got, before) {
			t.Errorf("a refused migration changed the tables: %q", got)
		}
	})
}

// A retention that was changed in the settings holds from the next start on, for
// events that are there as well.
func TestClickHouseRetention(t *testing.T) {
	eachLayout(t, func(t *testing.T, s *rehearsal, layout Layout) {
		months := func(n int) {
			t.Helper()
			layout.RetentionMonths = n
			mustUp(t, s, layout)
			for _, table := range []string{"events", "presence"} {
				var ddl string
				local := strings.Trim(layout.localName(table), "`")
				if err := s.conn.QueryRow(t.Context(), "SELECT create_table_query FROM system.tables WHERE database = ? AND name = ?", layout.Database, local).Scan(&ddl); err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf(" TTL toDateTime(time) + toIntervalMonth(%d) ", n)
				if n > 0 && !strings.Contains(ddl, want) || n == 0 && strings.Contains(ddl, " TTL ") {
					t.Errorf("%d months: %s: %s", n, table, ddl)
				}
			}
		}
		added := 0
		add := func(age int) {
			t.Helper()
			added++ // no two alike: the second would be dropped as the first one's repetition
			s.exec(t, fmt.Sprintf("INSERT INTO %s (company_id, time, type, user, computer) VALUES (1, now() - INTERVAL %d MONTH, 'startup', 'age %[2]d', 'pc %d')", layout.Local("events"), age, added))
		}
		// left tells the ages of the events in a table once the retention has done its work.
		left := func(table string, want ...string) {
			t.Helper()
			var got []string
			for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				s.exec(t, "OPTIMIZE TABLE "+layout.Local(table)+" FINAL")
				if err := s.conn.QueryRow(t.Context(), "SELECT arraySort(groupUniqArray(user)) FROM "+layout.Table(table)).Scan(&got); err != nil {
					t.Fatal(err)
				}
				if slices.Equal(got, want) {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("%s of %d months holds %q, want %q", table, layout.RetentionMonths, got, want)
				}
			}
		}
		months(0)
		add(1)
		add(20)
		left("events", "age 1", "age 20")
		months(12)
		left("events", "age 1")
		left("presence", "age 1")
		months(24)
		add(20)
		left("events", "age 1", "age 20")
		months(12)
		left("events", "age 1")
		months(0)
		add(90)
		left("events", "age 1", "age 90")
	})
}

func TestLayoutRefused(t *testing.T) {
	t.Parallel()
	for _, l := range []Layout{{}, {Database: "a-b"}, {Database: "a`b"}, {Database: "a", Cluster: "b;c"}, {Database: "a", RetentionMonths: -1}} {
		if _, err := NewClickHouse(&clickhouse.Options{}, l); err == nil {
			t.Errorf("%+v: no error", l)
		}
	}
}

// explain tells what the engine's parser says of a statement.
func explain(ctx context.Context, conn driver.Conn, statement string) error {
	rows, err := conn.Query(ctx, "EXPLAIN AST "+statement)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}
