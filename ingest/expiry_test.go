package ingest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"gatehouse/event"
)

// keeping is a server whose store keeps events for so many months.
func keeping(t testing.TB, months int) *server {
	t.Helper()
	return newServer(t, func(o *Options) { o.RetentionMonths = months })
}

// An event that the store would delete at once is refused by every route, with the field and the reason; the
// youngest of that age is taken.
func TestExpiredEventsAreRefused(t *testing.T) {
	const months = 3
	edge := testNow.AddDate(0, -months, 0).UnixMilli()
	object := func(ms int64) string {
		return fmt.Sprintf(`{"EventType":"Logon","UserName":"u","ComputerName":"c","Timestamp":%d}`, ms)
	}
	var frames []byte
	for _, ms := range []int64{edge - 1, edge} {
		e := event.Event{CompanyID: 7, SiteID: 70, Type: event.Logon, User: "u", Computer: "c", Time: ms, LogonType: event.LogonTypeNone}
		frames = appendFrame(frames, &e)
	}
	for name, c := range map[string]struct{ path, body, kind string }{
		"array":  {PathEvents, "[" + object(edge-1) + "," + object(edge) + "]", "application/json"},
		"lines":  {PathEvents, object(edge-1) + "\n" + object(edge), "application/x-ndjson"},
		"arrow":  {PathEvents, string(arrowTimes(t, edge-1, edge)), "application/vnd.apache.arrow.stream"},
		"frames": {PathInternalEvents + "?company=7&site=70", string(frames), ContentTypeFrames},
	} {
		t.Run(name, func(t *testing.T) {
			s := keeping(t, months)
			a := s.post(t, c.path, c.body, "Content-Type", c.kind)
			if a.status != 200 || a.result(t) != "1 0 1 | 0:rejected:Timestamp" || !strings.Contains(a.text, "is older than the 3 months") {
				t.Fatalf("%d %s", a.status, a.text)
			}
			if got := s.spool.events(t); len(got) != 1 || got[0].Time != edge {
				t.Errorf("stored %+v", got)
			}
			if n := s.counter(t, "gatehouse_events_total", "company", "Acme", "reason", "Timestamp", "result", "rejected"); n != 1 && name != "frames" {
				t.Errorf("%v counted as rejected for the time", n)
			}
		})
	}
	s := keeping(t, months)
	a := s.post(t, PathLogEvent, object(edge-1))
	if message, _ := a.json["message"].(string); a.status != 400 || a.json["field"] != "Timestamp" || !strings.HasPrefix(message, "Timestamp is older than the 3 months") {
		t.Errorf("alone: %d %s", a.status, a.text)
	}
	if a := s.post(t, PathLogEvent, object(edge)); a.status != 201 {
		t.Errorf("the youngest of that age: %d %s", a.status, a.text)
	}
	if a := keeping(t, 0).post(t, PathLogEvent, object(1)); a.status != 201 {
		t.Errorf("an old event where all are kept for ever: %d %s", a.status, a.text)
	}
}

// The edge is where adding the months to an event's time, as ClickHouse does, begins to reach the present.
func TestExpiryIsClickHouses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(rapid.Int64Range(946684800000, 4102444800000).Draw(t, "now")).UTC()
		months := rapid.IntRange(1, 600).Draw(t, "months")
		edge := expiry(now, months)
		at := edge + rapid.OneOf(rapid.Int64Range(-2, 2), rapid.Int64Range(-4*86400000, 4*86400000)).Draw(t, "distance")
		if gone := addMonths(time.UnixMilli(at).UTC(), months).Before(now); gone != (at < edge) {
			t.Errorf("%v: %v is deleted: %v; the edge is %v", now, time.UnixMilli(at).UTC(), gone, time.UnixMilli(edge).UTC())
		}
	})
}

// addMonths is ClickHouse's: a day that the month lacks is its last one.
func addMonths(at time.Time, months int) time.Time {
	first := time.Date(at.Year(), at.Month()+time.Month(months), 1, at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
	return first.AddDate(0, 0, min(at.Day(), first.AddDate(0, 1, -1).Day())-1)
}

// arrowTimes is a stream of one logon at each time.
func arrowTimes(t testing.TB, at ...int64) []byte {
	t.Helper()
	text := arrow.BinaryTypes.String
	schema := arrow.NewSchema([]arrow.Field{{Name: "EventType", Type: text}, {Name: "UserName", Type: text}, {Name: "ComputerName", Type: text}, {Name: "Timestamp", Type: arrow.FixedWidthTypes.Timestamp_ms}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, ms := range at {
		for i, v := range []string{"Logon", "u", "c"} {
			b.Field(i).(*array.StringBuilder).Append(v)
		}
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(ms))
	}
	rec := b.NewRecord()
	defer rec.Release()
	return writeArrow(t, schema, nil, rec)
}
