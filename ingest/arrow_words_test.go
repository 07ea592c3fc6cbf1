package ingest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"gatehouse/event"
)

// oddWords are values of text fields as they come, good and bad.
var oddWords = map[string][]string{
	"EventType": {"Logon", " Sign-In ", "LOG_OFF", "boot", "Dance", "", "\x01", strings.Repeat("x", 40)},
	"LocalIP":   {"10.0.0.1", " 10.0.0.2 ", "2001:db8::7", "::ffff:10.1.2.3", "fe80::1%eth0", "-", "LOCAL", "1.2.3", "", "999.1.1.1"},
	"name":      {"ann", " bob ", "CORP\\carl", "jörg ", "-", "", "pc$", "a\x00b", "\x7f", strings.Repeat("é", event.MaxName/2), strings.Repeat("é", event.MaxName/2+1), "SYSTEM", "王小明", "dwm-1", "\u00a0"},
}

// A dictionary's words are read once and mean to every row what the text would mean in JSON, whether it is good, needs trimming or
// is refused, and with the same words to the client. The reference is the NDJSON route.
func TestArrowWordsAreWhatJSONSays(t *testing.T) {
	// In the order in which JSON's fields are looked at: of several wrong ones the first is told.
	columns := []string{"EventType", "UserName", "ComputerName", "LocalIP", "PublicIP", "Domain", "SID", "LogonID", "SourceIP", "SourceHost", "Channel", "Provider", "AgentVersion"}
	indexes := []arrow.DataType{arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint64}
	taken, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		rows := rapid.IntRange(1, 300).Draw(rt, "rows")
		bad := rapid.Float64Range(0, 0.2).Draw(rt, "odd ones")
		plain := rapid.Bool().Draw(rt, "without a dictionary")
		var fields []arrow.Field
		for _, name := range columns {
			var typ arrow.DataType = &arrow.DictionaryType{IndexType: indexes[r.IntN(len(indexes))], ValueType: arrow.BinaryTypes.String}
			if plain {
				typ = arrow.BinaryTypes.String
			}
			fields = append(fields, arrow.Field{Name: name, Type: typ, Nullable: true})
		}
		fields = append(fields, arrow.Field{Name: "Timestamp", Type: arrow.FixedWidthTypes.Timestamp_ms})
		schema := arrow.NewSchema(fields, nil)
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		defer b.Release()
		var lines strings.Builder
		for row := range rows {
			object := map[string]any{"Timestamp": 1748174400000 + int64(row)}
			for i, name := range columns {
				word, null := "", r.IntN(10) == 0
				switch odd := r.Float64() < bad; {
				case name == "EventType" && !odd:
					word = "Lock"
				case name == "LogonID":
					word = []string{"7", "0x1f", "-", "seven"}[max(0, r.IntN(40)-36)]
				case name == "EventType":
					word = oddWords[name][r.IntN(len(oddWords[name]))]
				case strings.HasSuffix(name, "IP") && odd:
					word = oddWords["LocalIP"][r.IntN(len(oddWords["LocalIP"]))]
				case strings.HasSuffix(name, "IP"):
					word = fmt.Sprintf("10.0.0.%d", r.IntN(100))
				case odd:
					word = oddWords["name"][r.IntN(len(oddWords["name"]))]
				default:
					word = fmt.Sprint(name, r.IntN(100))
				}
				if null {
					b.Field(i).AppendNull()
					continue
				}
				object[name] = word
				var err error
				if d, ok := b.Field(i).(*array.BinaryDictionaryBuilder); ok {
					err = d.AppendString(word)
				} else {
					b.Field(i).(*array.StringBuilder).Append(word)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			b.Field(len(columns)).(*array.TimestampBuilder).Append(arrow.Timestamp(1748174400000 + int64(row)))
			text, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(text, '\n'))
		}
		rec := b.NewRecord()
		defer rec.Release()
		stream := writeArrow(t, schema, nil, rec)

		one, two := newServer(t), newServer(t)
		want := one.do(t, http.MethodPost, PathEvents, lines.String(), "X-API-Key", "acme", "Content-Type", "application/x-ndjson")
		got := two.do(t, http.MethodPost, PathEvents, string(stream), "X-API-Key", "acme", "Content-Type", "application/vnd.apache.arrow.stream")
		if got.status != want.status || firstReasons(t, got) != firstReasons(t, want) {
			rt.Fatalf("as Arrow %d %.2000s\nas JSON %d %.2000s", got.status, firstReasons(t, got), want.status, firstReasons(t, want))
		}
		a, j := two.spool.events(t), one.spool.events(t)
		if !slices.Equal(a, j) {
			for i := range min(len(a), len(j)) {
				if a[i] != j[i] {
					rt.Fatalf("event %d is as Arrow\n%+v\nas JSON\n%+v", i, a[i], j[i])
				}
			}
			rt.Fatalf("%d events as Arrow, %d as JSON", len(a), len(j))
		}
		taken += len(a)
		refused += rows - len(a)
	})
	if taken == 0 || refused == 0 {
		t.Errorf("%d taken, %d refused: the test tests half", taken, refused)
	}
}

// firstReasons is an answer with what was said of each record.
func firstReasons(t *testing.T, a answer) string {
	t.Helper()
	var r struct {
		Accepted, Duplicate, Rejected int
		Results                       []struct {
			Index                  int
			Status, Field, Message string
		}
	}
	if err := json.Unmarshal([]byte(a.text), &r); err != nil {
		t.Fatalf("%v: %s", err, a.text)
	}
	return fmt.Sprintf("%+v", r)
}
