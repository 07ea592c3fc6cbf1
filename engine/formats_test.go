//go:build linux || darwin

package engine

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
)

// A streamed result must be byte for byte what the engine writes in one piece.
func TestStreamedFormatsEqualWhole(t *testing.T) {
	e := sharedEngine(t)
	const q = "SELECT number AS n, concat('a\n\"', toString(number)) AS `na\"me\nx`, number % 3 = 0 ? NULL : number / 7 AS f, [number, 1] AS arr FROM numbers(20000)"
	for name, kind := range formatJoins {
		if kind == joinWhole || kind == joinArrow || name == "null" || name == "lineasstring" || name == "rawblob" || name == "native" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			small := url.Values{"default_format": {name}, "max_block_size": {"1000"}}
			whole := url.Values{"default_format": {name}, "max_block_size": {"100000"}}
			got, want := post(t, e, q, small), post(t, e, q, whole)
			if got.status != 200 || want.status != 200 {
				t.Fatalf("status %d: %.200s", got.status, got.body)
			}
			if got.body != want.body {
				t.Fatalf("streamed %d bytes, in one piece %d bytes; first difference at %d", len(got.body), len(want.body), difference(got.body, want.body))
			}
			if got.header.Get("X-ClickHouse-Format") != name {
				t.Errorf("X-ClickHouse-Format %q", got.header.Get("X-ClickHouse-Format"))
			}
		})
	}
}

func difference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func TestArrowStreamIsOneStream(t *testing.T) {
	e := sharedEngine(t)
	for _, dictionary := range []string{"0", "1"} {
		r := post(t, e, "SELECT number, toString(number) AS s, toLowCardinality(toString(number % 5000)) AS l FROM numbers(20000)",
			url.Values{
				"default_format": {"ArrowStream"}, "max_block_size": {"1000"},
				"output_format_arrow_low_cardinality_as_dictionary": {dictionary},
			})
		if r.status != 200 {
			t.Fatal(r.body)
		}
		src := bytes.NewReader([]byte(r.body))
		rd, err := ipc.NewReader(src)
		if err != nil {
			t.Fatal(err)
		}
		var rows, batches, sum int64
		for rd.Next() {
			rec := rd.Record()
			batches++
			rows += rec.NumRows()
			col, ok := rec.Column(0).(*array.Uint64)
			if !ok {
				t.Fatalf("column 0 is %T", rec.Column(0))
			}
			for i := range col.Len() {
				sum += int64(col.Value(i))
			}
		}
		if err := rd.Err(); err != nil {
			t.Fatal(err)
		}
		rd.Release()
		if rest, err := io.ReadAll(src); err != nil || len(rest) != 0 {
			t.Fatalf("%d bytes after the end of the stream (%v)", len(rest), err)
		}
		if rows != 20000 || sum != 20000*19999/2 || batches < 10 {
			t.Fatalf("dictionary=%s: %d rows in %d batches, sum %d", dictionary, rows, batches, sum)
		}
	}
}

func TestWholeFormats(t *testing.T) {
	e := sharedEngine(t)
	for _, f := range []string{"JSON", "JSONCompact", "Parquet", "Arrow", "Pretty", "XML", "Vertical", "Markdown", "ORC", "JSONColumns"} {
		r := post(t, e, "SELECT number FROM numbers(100000) FORMAT "+f, url.Values{"max_block_size": {"1000"}})
		if r.status != 200 || len(r.body) < 500 {
			t.Errorf("%s: %d, %d bytes: %.100s", f, r.status, len(r.body), r.body)
		}
		if f == "JSON" && !bytes.Contains([]byte(r.body), []byte(`"rows": 100000`)) {
			t.Error("JSON is not one document")
		}
		if f == "Parquet" && bytes.Count([]byte(r.body), []byte("PAR1")) != 2 {
			t.Error("Parquet is not one file")
		}
	}
}

// A result that goes by way of a file: every place where the clause has to fit in.
func TestFileFormatPlaces(t *testing.T) {
	e := sharedEngine(t)
	for _, q := range []string{
		"SELECT 1 AS x", "SELECT 1 AS x;", "SELECT 1 AS x -- comment", "SELECT 1 AS x /* c */ ; -- d", "SELECT 1 AS x FORMAT JSONCompact", "SELECT 1 AS x FORMAT JSONCompact;",
		"SELECT 1 AS x FORMAT JSONCompact SETTINGS max_threads = 1", "SELECT 1 AS x SETTINGS max_threads = 1 FORMAT JSONCompact", "SELECT 1 AS x SETTINGS max_threads = 1",
		"(SELECT 1 AS x)", "SELECT 1 AS x LIMIT 1 UNION ALL SELECT 1 WHERE 0", "WITH 1 AS x SELECT x", "SELECT x FROM (SELECT {p:UInt8} AS x)", "FROM (SELECT 1 AS x) SELECT x",
	} {
		r := post(t, e, q, url.Values{"default_format": {"JSONCompact"}, "param_p": {"1"}})
		if r.status != 200 || !strings.Contains(r.body, "[1]") || !strings.Contains(r.body, `"name": "x"`) || !strings.Contains(r.body, `"rows": 1`) {
			t.Errorf("%s: %d %s", q, r.status, r.body)
		}
	}
	r := post(t, e, "SELECT throwIf(number = 5) FROM numbers(10) FORMAT JSON", nil)
	if r.header.Get("X-ClickHouse-Exception-Code") != "395" || !strings.HasPrefix(r.body, "Code: 395. DB::Exception: ") {
		t.Errorf("%d %s", r.status, r.body)
	}
	left, err := os.ReadDir(filepath.Join(e.cfg.Dir, tmpDirName))
	if err != nil || len(left) != 0 {
		t.Errorf("%d files left, %v", len(left), err)
	}
}

func TestEmptyNativeNamesItsColumns(t *testing.T) {
	r := post(t, sharedEngine(t), "SELECT 1 AS a, 'x' AS b WHERE {p:UInt8} = 2;", url.Values{"default_format": {"Native"}, "param_p": {"1"}})
	if want := "\x02\x00\x01a\x05UInt8\x01b\x06String"; r.body != want {
		t.Fatalf("got %q", r.body)
	}
}

func FuzzJoiner(f *testing.F) {
	f.Add(byte(joinArrow), []byte("\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Add(byte(joinCSV2), []byte("\"a\n\"\"b\"\n\"c\"\n1\n"))
	f.Add(byte(joinBinary2), []byte{1, 1, 'a', 5, 'U', 'I', 'n', 't', '8', 7})
	msg := binary.LittleEndian.AppendUint32([]byte{0xff, 0xff, 0xff, 0xff}, 16)
	f.Add(byte(joinArrow), append(msg, 8, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		j := joiner{kind: joinKind(kind) % (joinArrow + 1)}
		var n int
		for range 3 {
			parts, _ := j.piece(b)
			for _, p := range parts {
				n += len(p)
			}
		}
		if n+len(j.tail()) > 3*len(b)+8 {
			t.Fatalf("%d bytes out of %d", n, 3*len(b))
		}
	})
}
