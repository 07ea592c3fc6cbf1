package importer

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"gatehouse/event"
)

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func importOne(t testing.TB, im *Importer, path string) FileSummary {
	t.Helper()
	sum, err := im.Import(context.Background(), []string{path})
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Files) != 1 {
		t.Fatalf("%d files", len(sum.Files))
	}
	return sum.Files[0]
}

func gzipped(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zipped(t testing.TB, kv ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(kv); i += 2 {
		f, err := w.Create(kv[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(kv[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func utf16LE(s string) string {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

// oneLogon is one 4624 in every shape that collectors give it. All of them are
// the same event.
var oneLogon = map[string]string{
	"xml": `<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><Provider Name="Microsoft-Windows-Security-Auditing"/><EventID>4624</EventID>
<TimeCreated SystemTime="2025-05-25T13:30:00.1239999Z"/><EventRecordID>77</EventRecordID><Channel>Security</Channel><Computer>PC1</Computer><Security/></System>
<EventData><Data Name="TargetUserSid">S-1-5-21-1-2-3-1001</Data><Data Name="TargetUserName">ann</Data><Data Name="TargetDomainName">CORP</Data><Data Name="TargetLogonId">0x1d31fef</Data><Data Name="LogonType">2</Data><Data Name="IpAddress">10.1.2.3</Data></EventData></Event>`,
	"evtx_dump":    `{"Event":{"#attributes":{"xmlns":"x"},"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Security-Auditing"}},"EventID":4624,"TimeCreated":{"#attributes":{"SystemTime":"2025-05-25T13:30:00.123999Z"}},"EventRecordID":77,"Channel":"Security","Computer":"PC1","Security":null},"EventData":{"TargetUserSid":"S-1-5-21-1-2-3-1001","TargetUserName":"ann","TargetDomainName":"CORP","TargetLogonId":"0x1d31fef","LogonType":2,"IpAddress":"10.1.2.3"}}}`,
	"xmltodict":    `{"Event":{"System":{"Provider":{"@Name":"Microsoft-Windows-Security-Auditing"},"EventID":{"@Qualifiers":"","#text":"4624"},"TimeCreated":{"@SystemTime":"2025-05-25 13:30:00.123999"},"EventRecordID":"77","Channel":"Security","Computer":"PC1"},"EventData":{"Data":[{"@Name":"TargetUserSid","#text":"S-1-5-21-1-2-3-1001"},{"@Name":"TargetUserName","#text":"ann"},{"@Name":"TargetDomainName","#text":"CORP"},{"@Name":"TargetLogonId","#text":"0x1d31fef"},{"@Name":"LogonType","#text":"2"},{"@Name":"IpAddress","#text":"10.1.2.3"}]}}}`,
	"velociraptor": `{"System":{"Provider":{"Name":"Microsoft-Windows-Security-Auditing","Guid":"5"},"EventID":{"Value":4624},"TimeCreated":{"SystemTime":1748179800.1239999},"EventRecordID":77,"Channel":"Security","Computer":"PC1"},"EventData":{"TargetUserSid":"S-1-5-21-1-2-3-1001","TargetUserName":"ann","TargetDomainName":"CORP","TargetLogonId":30613487,"LogonType":2,"IpAddress":"10.1.2.3"}}`,
	"winlogbeat":   `{"@timestamp":"2025-05-25T13:30:00.123Z","host":{"name":"collector"},"winlog":{"event_id":"4624","provider_name":"Microsoft-Windows-Security-Auditing","channel":"Security","computer_name":"PC1","record_id":"77","event_data":{"TargetUserSid":"S-1-5-21-1-2-3-1001","TargetUserName":"ann","TargetDomainName":"CORP","TargetLogonId":"0x1d31fef","LogonType":"2","IpAddress":"10.1.2.3"}}}`,
	// As Winlogbeat 7 and 8 write it: fields of the Elastic Common Schema stand beside the record.
	"winlogbeat8": `{"@timestamp":"2025-05-25T13:30:00.123Z","event":{"code":"4624","kind":"event","provider":"Microsoft-Windows-Security-Auditing","action":"logged-in","outcome":"success","created":"2025-05-25T13:30:02.456Z"},"ecs":{"version":"8.0.0"},"agent":{"type":"winlogbeat","version":"8.11.1"},"user":{"name":"ann","domain":"CORP"},"host":{"name":"collector"},"log":{"level":"information"},"message":"An account was successfully logged on.","winlog":{"api":"wineventlog","event_id":"4624","provider_name":"Microsoft-Windows-Security-Auditing","channel":"Security","computer_name":"PC1","record_id":77,"event_data":{"TargetUserSid":"S-1-5-21-1-2-3-1001","TargetUserName":"ann","TargetDomainName":"CORP","TargetLogonId":"0x1d31fef","LogonType":"2","IpAddress":"10.1.2.3"}}}`,
	"winlogbeat6": `{"@timestamp":"2025-05-25T13:30:00.123Z","event_id":4624,"source_name":"Microsoft-Windows-Security-Auditing","log_name":"Security","computer_name":"PC1","record_number":"77","event_data":{"TargetUserSid":"S-1-5-21-1-2-3-1001","TargetUserName":"ann","TargetDomainName":"CORP","TargetLogonId":"0x1d31fef","LogonType":"2","IpAddress":"10.1.2.3"}}`,
	"flat":        `{"TimeCreated":"2025-05-25T13:30:00.123Z","@timestamp":"2025-05-25T13:31:11Z","EventID":4624,"SourceName":"Microsoft-Windows-Security-Auditing","Channel":"Security","Hostname":"PC1","host":"wec","RecordNumber":77,"EventType":"AUDIT_SUCCESS","TargetUserSid":"S-1-5-21-1-2-3-1001","TargetUserName":"ann","TargetDomainName":"CORP","TargetLogonId":"0x1d31fef","LogonType":"2","IpAddress":"10.1.2.3"}`,
	"csv": "EventRecordID,TimeCreated,EventID,Provider,Channel,Computer,TargetUserSid,TargetUserName,TargetDomainName,TargetLogonId,LogonType,IpAddress\r\n" +
		"77,2025-05-25 13:30:00.1239999,4624,Microsoft-Windows-Security-Auditing,Security,PC1,S-1-5-21-1-2-3-1001,ann,CORP,0x1d31fef,2,10.1.2.3\r\n",
	"evtxecmd": "RecordNumber,EventRecordId,TimeCreated,EventId,Level,Provider,Channel,ProcessId,Computer,UserName,Payload\r\n" +
		`1,77,2025-05-25 13:30:00.1239999,4624,LogAlways,Microsoft-Windows-Security-Auditing,Security,700,PC1,whoever,"{""EventData"":{""Data"":[{""@Name"":""TargetUserSid"",""#text"":""S-1-5-21-1-2-3-1001""},{""@Name"":""TargetUserName"",""#text"":""ann""},{""@Name"":""TargetDomainName"",""#text"":""CORP""},{""@Name"":""TargetLogonId"",""#text"":""0x1D31FEF""},{""@Name"":""LogonType"",""#text"":""2""},{""@Name"":""IpAddress"",""#text"":""10.1.2.3""}]}}"` + "\r\n",
	"own": `{"EventType":"Logon","UserName":"ann","Domain":"CORP","SID":"S-1-5-21-1-2-3-1001","ComputerName":"PC1","SourceIP":"10.1.2.3","Timestamp":"2025-05-25T13:30:00.123Z","LogonID":"0x1d31fef","LogonType":2,"EventID":4624,"RecordID":77,"Channel":"Security","Provider":"Microsoft-Windows-Security-Auditing"}`,
	"owncsv": "Event Type;User;Computer;Timestamp;Domain;SID;Source IP;Logon ID;Logon Type;Event ID;Record ID;Channel;Provider\n" +
		"Sign-In;ann;PC1;2025-05-25T13:30:00.123Z;CORP;S-1-5-21-1-2-3-1001;10.1.2.3;0x1d31fef;2;4624;77;Security;Microsoft-Windows-Security-Auditing\n",
}

func TestOneEventInEveryShape(t *testing.T) {
	sink := newMemorySink()
	im := newImporter(sink)
	shapes := map[string]string{}
	for name, s := range oneLogon {
		shapes[name] = s
	}
	for name, s := range oneLogon {
		shapes[name+" gz"] = gzipped(t, s)
		shapes[name+" utf16"] = utf16LE(s)
		shapes[name+" bom"] = "\ufeff" + s
		if s[0] == '{' {
			shapes[name+" array"] = "[\n" + s + "]"
			shapes[name+" pretty"] = "\n" + strings.ReplaceAll(s, ",\"", ",\n  \"") + "\n"
		}
	}
	shapes["xml many"] = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Events>" + oneLogon["xml"] + "</Events>"
	shapes["zip"] = zipped(t, "dir/a.json", oneLogon["flat"])
	var first event.Event
	for name, s := range shapes {
		before := len(sink.order)
		f := importOne(t, im, writeFile(t, "x.dat", s))
		if f.Error != "" || f.DamageCount != 0 || f.Rejected != 0 || f.Read != 1 || len(sink.order) != before+1 {
			t.Errorf("%s (%s): %+v", name, f.Format, f)
			continue
		}
		got := sink.order[before]
		if first.Type == 0 {
			first = got
		}
		if got != first {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, first)
		}
	}
	if len(sink.byID) != 1 {
		t.Errorf("%d identities, want 1", len(sink.byID))
	}
	if first.User != "ann" || first.Time != 1748179800123 || first.LogonID != 0x1d31fef || first.SourceIP.String() != "10.1.2.3" || first.Computer != "PC1" {
		t.Errorf("%+v", first)
	}
}

func own(user string, second int) string {
	return fmt.Sprintf(`{"EventType":"Logon","UserName":%q,"ComputerName":"pc","Timestamp":"2025-05-25T13:30:%02dZ"}`, user, second)
}

// TestDamagedText: what is wrong in a text file costs itself and nothing behind it.
func TestDamagedText(t *testing.T) {
	many := func(n int, line func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(line(i))
		}
		return b.String()
	}
	for _, c := range []struct {
		name, content  string
		read, rejected int
		damaged        []string // "where" of each
	}{
		{"empty lines", "\n\n" + own("a", 1) + "\r\n\r\n" + own("b", 2), 2, 0, nil},
		{"cut line", own("a", 1) + "\n" + own("b", 2)[:40] + "\n" + own("c", 3) + "\n", 2, 0, []string{"line 2"}},
		{"cut outside of a text", own("a", 1) + "\n{\"x\":{\"y\":1\n" + own("c", 3) + "\n", 2, 0, []string{"line 2"}},
		{"cut first line", own("b", 2)[:40] + "\n" + own("c", 3) + "\n" + own("d", 3), 2, 0, []string{"line 1"}},
		{"cut first line outside of a text", "{\"x\":{\"y\":1\n" + own("c", 3) + "\n" + own("d", 3), 2, 0, []string{"line 1"}},
		{"cut at the end", own("a", 1) + "\n" + own("b", 2)[:60], 1, 0, []string{"line 2"}},
		{"junk between", own("a", 1) + "\nhello, world\n" + own("b", 2) + "\n<x>\n", 2, 0, []string{"line 2", "line 4"}},
		{"bad JSON", own("a", 1) + "\n{\"EventType\": Logon}\n" + own("b", 2), 2, 0, []string{"line 2"}},
		{"not an event", own("a", 1) + "\n{\"level\":\"info\"}\n" + own("b", 2), 2, 0, []string{"line 2"}},
		{"array with a hole", "[" + own("a", 1) + ", null, 5, " + own("b", 2) + "]", 2, 0, []string{"line 1"}},
		{"pretty with a cut one", "{\n\"EventType\":\"Logon\",\n\"UserName\":\"a\",\n\"ComputerName\":\"pc\",\n\"Timestamp\":1748179800}\n{\n\"EventType\":\"Log\n" + own("b", 2) + "\n", 2, 0, []string{"line 6", "line 7"}},
		{"refused fields", own("a", 1) + "\n" + strings.Replace(own("b", 2), "2025", "2099", 1) + "\n" + strings.Replace(own("c", 3), "Logon", "Logon", 1), 3, 1, nil},
		{"no type", "{\"UserName\":\"a\",\"ComputerName\":\"b\"}\n" + own("c", 3), 2, 1, nil},
		{"line over the limit", own("a", 1) + "\n{\"x\":\"" + strings.Repeat("y", maxRecord) + "\"}\n" + own("b", 2), 2, 0, []string{"line 2"}},
		{"no provider", own("a", 1) + "\n{\"EventID\":4624,\"Hostname\":\"x\",\"TimeCreated\":\"2025-05-25T13:30:00Z\"}\n", 1, 0, []string{"line 2"}},
		{"no time", own("a", 1) + "\n{\"EventID\":4624,\"Hostname\":\"x\",\"SourceName\":\"y\"}\n", 1, 0, []string{"line 2"}},

		{"csv", "EventType,UserName,ComputerName,Timestamp\nLogon,\"a, \"\"x\"\"\",pc,1748179801\nLogon,b,pc,1748179802\n", 2, 0, nil},
		{"csv with a short row", "EventType,UserName,ComputerName,Timestamp\nLogon,a,pc\nLogon,b,pc,1748179802\n", 1, 0, []string{"line 2"}},
		{"csv with an open quote", "EventType,UserName,ComputerName,Timestamp\nLogon,\"a,pc,1748179801\nLogon,b,pc,1748179802\nLogon,c,pc,1748179802\n", 2, 0, []string{"line 2"}},
		{"csv with a quote within", "EventType,UserName,ComputerName,Timestamp\nLogon,a\"b\",pc,1748179801\nLogon,b,pc,1748179802\n", 1, 0, []string{"line 2"}},
		{"csv with bad values", "EventType,UserName,ComputerName,Timestamp\nLogon,a,pc,soon\nFly,b,pc,1748179802\nLogon,c,pc,1748179802\n", 3, 2, nil},
		{"csv with a line break", "EventType,UserName,ComputerName,Timestamp,Note\nLogon,a,pc,1748179801,\"two\nlines\"\nLogon,b,pc,1748179802,\n", 2, 0, nil},
		{"csv over the limit", "EventType,UserName,ComputerName,Timestamp,Note\nLogon,a,pc,1748179801," + strings.Repeat("x", maxRecord) + "\nLogon,b,pc,1748179802,\n", 1, 0, []string{"line 2"}},

		{"xml", "<Events>" + oneLogon["xml"] + "<Event><System>" + oneLogon["xml"] + "<Event>x</Event></Events>", 2, 0, []string{"event 2", "event 4"}},
		{"xml cut", oneLogon["xml"] + oneLogon["xml"][:300], 1, 0, []string{"event 2"}},
		{"xml over the limit", oneLogon["xml"] + "<Event>" + strings.Repeat("x", maxRecord) + "</Event>" + oneLogon["xml"], 2, 0, []string{"event 2"}},
		{"xml far apart", oneLogon["xml"] + strings.Repeat(" ", 300<<10) + oneLogon["xml"], 2, 0, nil},

		{"many", many(2500, func(i int) string { return own(fmt.Sprintf("u%d", i), i%60) + "\n" }), 2500, 0, nil},
	} {
		sink := newMemorySink()
		f := importOne(t, newImporter(sink), writeFile(t, "x", c.content))
		var where []string
		for _, d := range f.Damaged {
			where = append(where, d.Where)
		}
		if f.Error != "" || f.Read != c.read || f.Rejected != c.rejected || !reflect.DeepEqual(where, c.damaged) || len(sink.order) != c.read-c.rejected {
			t.Errorf("%s: read %d, rejected %d, sent %d, damaged %+v, error %q; want %d, %d, damage at %v",
				c.name, f.Read, f.Rejected, len(sink.order), f.Damaged, f.Error, c.read, c.rejected, c.damaged)
		}
	}
}

// TestNotImportable: files that hold nothing of ours say what they are.
func TestNotImportable(t *testing.T) {
	type file struct {
		name, file, content, want string
		begun                     bool // something of it was read
	}
	for _, c := range []file{
		{"empty", "a.evtx", "", "empty", false},
		{"zeros", "a.evtx", strings.Repeat("\x00", 70_000), "nothing in it could be read", false},
		{"blank", "a.json", " \n\n", "white space", false},
		{"picture", "a.png", "\x89PNG\r\n\x1a\n\x00\x00\x00", "no format", false},
		{"prose", "a.txt", "Dear reader,\nhello\n", "no format", false},
		{"html", "a.html", "<html><body>x</body></html>", "no Windows <Event>", true},
		{"Event Viewer's CSV", "a.csv", "Level,Date and Time,Source,Event ID,Task Category\nInformation,5/25/2025 1:30:00 PM,Microsoft-Windows-Security-Auditing,4624,Logon,\"An account\"\n", "save the log as .evtx", false},
		{"cut gzip", "a.gz", gzipped(t, strings.Repeat(own("a", 1)+"\n", 100))[:100], "unexpected EOF", true},
		{"bad gzip", "a.gz", "\x1f\x8bxxxxxxxxxxxx", "gzip", false},
		{"bad zip", "a.zip", "PK\x03\x04xxxxxxxxxx", "zip", false},
		{"empty zip", "a.zip", zipped(t), "no files", false},
		{"zip in gzip", "a.zip.gz", gzipped(t, zipped(t, "a", "b")), "unpack it first", false},
		{"gzip in gzip in gzip", "a", gzipped(t, gzipped(t, gzipped(t, gzipped(t, own("a", 1))))), "too many times", false},
		{"one bad member", "a.zip", zipped(t, "a.json", own("a", 1), "b.png", "\x89PNG\x00"), "b.png", true},
	} {
		sink := newMemorySink()
		f := importOne(t, newImporter(sink), writeFile(t, c.file, c.content))
		why, read := f.Unread, f.Unread == ""
		if read {
			why = f.Error
		}
		if !strings.Contains(why, c.want) || read != c.begun {
			t.Errorf("%s: unread %q, error %q, want one that says %q", c.name, f.Unread, f.Error, c.want)
		}
	}
	sum, err := newImporter(newMemorySink()).Import(t.Context(), []string{"/nonexistent/file.evtx", os.DevNull, writeFile(t, "a.json", own("a", 1))})
	if err != nil || sum.Unread != 2 || sum.Failed != 0 || sum.Totals.Accepted != 1 {
		t.Errorf("a missing file stops the others: %+v, %v", sum, err)
	}
}

// TestUnpackLimit: a small file cannot make the importer read without end.
func TestUnpackLimit(t *testing.T) {
	line := own("a", 1) + "\n"
	content := strings.Repeat(line, 20_000)
	for name, packed := range map[string]string{"x.gz": gzipped(t, content), "x.zip": zipped(t, "x", content)} {
		sink := newMemorySink()
		im := newImporter(sink)
		im.MaxUnpacked = int64(len(line)) * 100
		f := importOne(t, im, writeFile(t, name, packed))
		if !strings.Contains(f.Error, "limit") || f.Read < 99 || f.Read > 100 {
			t.Errorf("%s: %d records, error %q", name, f.Read, f.Error)
		}
		if f.Duplicate+f.Accepted != f.Read {
			t.Errorf("%s: what was read before the limit was not sent: %+v", name, f.Counts)
		}
	}
}

// TestDistinctLines: records without a record id are told apart by their
// content, and a repeated line is one event.
func TestDistinctLines(t *testing.T) {
	line := func(process string) string {
		return fmt.Sprintf(`{"TimeCreated":"2022-08-08T12:30:12.336Z","EventID":4672,"SourceName":"Microsoft-Windows-Security-Auditing","Channel":"Security","Hostname":"PC","SubjectUserName":"SYSTEM","SubjectLogonId":"0x3e7","PrivilegeList":%q}`, process)
	}
	sink := newMemorySink()
	f := importOne(t, newImporter(sink), writeFile(t, "a.json", line("a")+"\n"+line("b")+"\n"+line("a")+"\n"))
	if f.Accepted != 2 || f.Duplicate != 1 {
		t.Errorf("%+v", f.Counts)
	}
}

// TestLocalTimes: NXLog's local times become UTC by the collector's two clocks,
// else by the company's zone.
func TestLocalTimes(t *testing.T) {
	rec := func(more string) string {
		return `{"EventTime":"2020-10-22 04:29:53","EventID":4672,"SourceName":"Microsoft-Windows-Security-Auditing","Hostname":"PC","SubjectUserName":"ann","RecordNumber":5` + more + `}`
	}
	tokyo := time.FixedZone("JST", 9*3600)
	for _, c := range []struct {
		more, want string
		loc        *time.Location
	}{
		{`,"EventReceivedTime":"2020-10-22 04:30:40","@timestamp":"2020-10-22T08:30:41.908Z"`, "2020-10-22T08:29:53Z", tokyo},
		{`,"EventReceivedTime":"2020-10-22 04:30:40","@timestamp":"2020-10-21T22:45:41.908Z"`, "2020-10-21T22:44:53Z", tokyo},
		{`,"@timestamp":"2020-10-22T08:30:41.908Z"`, "2020-10-21T19:29:53Z", tokyo},
		{``, "2020-10-22T04:29:53Z", nil},
	} {
		sink := newMemorySink()
		im := newImporter(sink)
		im.Location = c.loc
		f := importOne(t, im, writeFile(t, "a.json", rec(c.more)))
		if len(sink.order) != 1 {
			t.Errorf("%s: %+v", c.more, f)
			continue
		}
		if got := time.UnixMilli(sink.order[0].Time).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s: %s, want %s", c.more, got, c.want)
		}
	}
}

// TestResume: an import that breaks off goes on behind what was acknowledged,
// whole files are passed over, and nothing counts twice.
func TestResume(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		b.WriteString(own(fmt.Sprintf("u%d", i), i%60) + "\n")
	}
	path := writeFile(t, "a.ndjson", b.String())
	state := t.TempDir()
	sink := newMemorySink()
	broken := errors.New("the server is gone")
	for attempt := range 30 {
		im := newImporter(sink)
		im.Batch, im.StateDir = 90, state
		base := sink.calls
		sink.fail = func(call int) error {
			if call-base > 2 {
				return broken
			}
			return nil
		}
		sum, err := im.Import(t.Context(), []string{path})
		f := sum.Files[0]
		if attempt < 5 {
			if !errors.Is(err, broken) || f.ResumedAt != attempt*180 || f.Accepted != 180 {
				t.Fatalf("attempt %d: %v, %+v", attempt, err, f)
			}
			continue
		}
		if err != nil || f.Read != 1000 || f.Accepted != 100 || f.Duplicate != 900 {
			t.Fatalf("last attempt: %v, %+v", err, f)
		}
		break
	}
	if len(sink.order) != 1000 || len(sink.byID) != 1000 {
		t.Errorf("%d events sent, %d distinct, want 1000 once", len(sink.order), len(sink.byID))
	}
	sink.fail = nil
	im := newImporter(sink)
	im.StateDir = state
	if f := importOne(t, im, path); !f.AlreadyImported || f.Accepted != 0 || f.Duplicate != 1000 || f.Events["logon"].Duplicate != 1000 || len(sink.order) != 1000 {
		t.Errorf("a whole file was not passed over: %+v", f)
	}
	im.CompanyID = 8
	if f := importOne(t, im, path); f.Accepted != 1000 || f.AlreadyImported {
		t.Errorf("another company's import was passed over: %+v", f)
	}
	im.CompanyID, im.Again = 7, true
	if f := importOne(t, im, path); f.Accepted != 0 || f.Duplicate != 1000 || f.AlreadyImported {
		t.Errorf("once more: %+v", f)
	}
	// A state that is damaged counts as none.
	im.Again = false
	names, _ := filepath.Glob(filepath.Join(state, "7-*.json"))
	if len(names) != 1 {
		t.Fatalf("states: %v", names)
	}
	if err := os.WriteFile(names[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := importOne(t, im, path); f.AlreadyImported || f.Duplicate != 1000 {
		t.Errorf("with a damaged state: %+v", f)
	}
}

// A state counts for the store that it tells of, and while that has what it tells of.
func TestStateOfAnotherStore(t *testing.T) {
	path := writeFile(t, "a.ndjson", own("a", 1)+"\n"+own("b", 2)+"\n"+own("c", 3)+"\n")
	sink := newMemorySink()
	im := newImporter(sink)
	im.StateDir, im.Store = t.TempDir(), "one, 12 months"
	im.Stored = func(_ context.Context, events []event.Event) (n int, err error) {
		for _, e := range events {
			if _, ok := sink.byID[e.ID()]; ok {
				n++
			}
		}
		return n, nil
	}
	check := func(what string, passedOver bool, accepted int) {
		t.Helper()
		if f := importOne(t, im, path); f.AlreadyImported != passedOver || f.Accepted != accepted || f.Read != 3 {
			t.Errorf("%s: %+v", what, f)
		}
	}
	check("the first time", false, 3)
	check("the second time", true, 0)
	im.Store = "one, 24 months"
	check("another retention", false, 0)
	im.Store = "two, 24 months"
	clear(sink.byID)
	check("another store", false, 3)
	check("and again", true, 0)
	for id, e := range sink.byID { // an older copy of the store
		if e.User == "c" {
			delete(sink.byID, id)
		}
	}
	check("a store that was restored", false, 1)
	check("and again", true, 0)
	// The last came by another way before the copy was made.
	clear(sink.byID)
	im.Store = "three, 24 months"
	if _, _, err := sink.Send(t.Context(), sink.order[2:3]); err != nil {
		t.Fatal(err)
	}
	kept := maps.Clone(sink.byID)
	check("where one is known", false, 2)
	sink.byID = kept
	check("the store from before", false, 2)
	check("and again", true, 0)
	im.Stored = func(context.Context, []event.Event) (int, error) { return 0, errors.New("away") }
	check("a store that does not answer", false, 0)
}

// A file is not done while records of it are refused for their time: that may change.
func TestRejectedForTheirTime(t *testing.T) {
	lines := []string{own("a", 1), strings.Replace(own("b", 2), "2025", "2027", 1), own("c", 3)}
	path := writeFile(t, "a.ndjson", strings.Join(lines, "\n")+"\n")
	sink := newMemorySink()
	keeps := false
	im := newImporter(sinkFunc(func(events []event.Event) (duplicates []int, rejected []Rejection, err error) {
		if events[0].User == "a" && !keeps {
			return nil, []Rejection{{0, "Timestamp", "is older than it should be"}}, nil
		}
		return sink.Send(t.Context(), events)
	}))
	im.StateDir, im.Batch = t.TempDir(), 1
	check := func(what string, passedOver bool, accepted, duplicate, rejected int) {
		t.Helper()
		f := importOne(t, im, path)
		if f.AlreadyImported != passedOver || f.Accepted != accepted || f.Duplicate != duplicate || f.Rejected != rejected {
			t.Errorf("%s: %+v", what, f)
		}
		if (f.StateError != "") != (rejected > 0) {
			t.Errorf("%s: the next import will do it again: %q", what, f.StateError)
		}
	}
	check("one too old and one in the future", false, 1, 0, 2)
	check("the same again", false, 0, 1, 2)
	keeps = true
	check("with a longer retention", false, 1, 1, 1)
	im.Now = func() time.Time { return testNow.AddDate(2, 0, 0) }
	check("later", false, 1, 2, 0)
	check("whole", true, 0, 3, 0)
}

func TestCancel(t *testing.T) {
	path := writeFile(t, "a.ndjson", strings.Repeat(own("a", 1)+"\n", 20_000))
	ctx, cancel := context.WithCancel(t.Context())
	sink := newMemorySink()
	sink.fail = func(int) error { cancel(); return nil }
	im := newImporter(sink)
	im.Batch = 10
	sum, err := im.Import(ctx, []string{path})
	if !errors.Is(err, context.Canceled) || len(sum.Files) != 1 || sum.Files[0].Read == 20_000 {
		t.Errorf("%v after %d records", err, sum.Totals.Read)
	}
}

func TestRejectedBySink(t *testing.T) {
	path := writeFile(t, "a.ndjson", own("a", 1)+"\n"+own("b", 2)+"\n"+own("c", 3)+"\n")
	f := importOne(t, newImporter(sinkFunc(func([]event.Event) ([]int, []Rejection, error) {
		return nil, []Rejection{{Index: 1, Field: "UserName", Reason: "is blocked"}}, nil
	})), path)
	if f.Rejected != 1 || f.Accepted != 2 || len(f.Rejections) != 1 || f.Rejections[0].First != "line 2" {
		t.Errorf("%+v", f)
	}
	for what, answer := range map[string]sinkFunc{
		"twice":            func([]event.Event) ([]int, []Rejection, error) { return []int{1, 1}, nil, nil },
		"as both":          func([]event.Event) ([]int, []Rejection, error) { return []int{1}, []Rejection{{Index: 1}}, nil },
		"that is none":     func(events []event.Event) ([]int, []Rejection, error) { return []int{len(events)}, nil, nil },
		"before the first": func([]event.Event) ([]int, []Rejection, error) { return nil, []Rejection{{Index: -1}}, nil },
	} {
		if _, err := newImporter(answer).Import(t.Context(), []string{path}); event.ErrorCode(err) != event.CodeInternal {
			t.Errorf("a sink that tells of an event %s passed: %v", what, err)
		}
	}
}

type sinkFunc func(events []event.Event) ([]int, []Rejection, error)

func (f sinkFunc) Send(_ context.Context, events []event.Event) ([]int, []Rejection, error) {
	return f(events)
}

func TestDirectoriesAndProgress(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.json", "sub/b.ndjson", "sub/c.txt", ".d.json", "e.json.gz"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		content := own(name, 1)
		if strings.HasSuffix(name, ".gz") {
			content = gzipped(t, content)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sink := newMemorySink()
	im := newImporter(sink)
	var last Progress
	im.Progress = func(p Progress) {
		if p.Done < last.Done || p.Done > p.Total {
			t.Errorf("progress from %+v to %+v", last, p)
		}
		last = p
	}
	sum, err := im.Import(t.Context(), []string{dir, filepath.Join(dir, "a.json")})
	if err != nil || len(sum.Files) != 3 || sum.Totals.Accepted != 3 {
		t.Errorf("%v, %+v", err, sum)
	}
	if last.Done != last.Total || last.Total == 0 {
		t.Errorf("ended at %+v", last)
	}
}

// FuzzText reads any text as a file: it ends, what is counted adds up, and
// what is sent is valid.
func FuzzText(f *testing.F) {
	for _, s := range oneLogon {
		f.Add([]byte(s))
		f.Add([]byte(s + "\n" + s[:len(s)/2] + "\n" + s))
		f.Add([]byte(utf16LE(s)))
	}
	f.Add([]byte("EventType,UserName,ComputerName,Timestamp\nLogon,\"a,pc,1748179801\nLogon,b,pc,1748179802\n"))
	f.Add([]byte("[" + own("a", 1) + ",{\"x\":\n\n{" + own("b", 1)))
	f.Add([]byte("<Event><Event "))
	f.Fuzz(func(t *testing.T, content []byte) {
		sink := newMemorySink()
		im := newImporter(sink)
		in := &input{im: im, now: testNow, left: 1 << 20}
		fs := newFileSummary("x")
		imp := &fileImport{run: &run{im: im, ctx: t.Context()}, fs: &fs, state: &state{}}
		err := in.stream(bytes.NewReader(content), "x", "", "", 0, imp.source)
		if flushErr := imp.flush(); flushErr != nil {
			t.Fatal(flushErr)
		}
		if fs.Read != fs.Accepted+fs.Duplicate+fs.Rejected+fs.Other || fs.Accepted+fs.Duplicate != len(sink.order) {
			t.Errorf("%+v, sent %d (%v)", fs, len(sink.order), err)
		}
		if fs.Read+fs.DamageCount > len(content)+1 {
			t.Errorf("%d bytes hold %d records and %d damages", len(content), fs.Read, fs.DamageCount)
		}
		for _, e := range sink.order {
			again := e
			if err := again.Normalize(testNow); err != nil || again != e {
				t.Errorf("not valid as sent (%v): %+v", err, e)
			}
		}
	})
}
