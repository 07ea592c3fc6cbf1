package importer

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
)

// dataDir is where the collection of real event logs lies; the test is skipped without it.
func dataDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("GATEHOUSE_TESTDATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(filepath.Join(dir, "expected.json")); err != nil {
		if os.Getenv("CI") == "true" && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		t.Skipf("no collection of event logs: %v (set GATEHOUSE_TESTDATA)", err)
	}
	return dir
}

// memorySink keeps every event and tells duplicates by identity, as the store does.
type memorySink struct {
	byID  map[event.ID]event.Event
	order []event.Event // as sent, repeats and all
	calls int
	fail  func(call int) error
}

func newMemorySink() *memorySink { return &memorySink{byID: map[event.ID]event.Event{}} }

func (s *memorySink) Send(_ context.Context, events []event.Event) (duplicates []int, rejected []Rejection, err error) {
	s.calls++
	if s.fail != nil {
		if err := s.fail(s.calls); err != nil {
			return nil, nil, err
		}
	}
	for i, e := range events {
		s.order = append(s.order, e)
		id := e.ID()
		if _, ok := s.byID[id]; ok {
			duplicates = append(duplicates, i)
			continue
		}
		s.byID[id] = e
	}
	return duplicates, nil, nil
}

var testNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newImporter(sink Sink) *Importer {
	return &Importer{Sink: sink, CompanyID: 7, SiteID: 9, Now: func() time.Time { return testNow }}
}

type expectedFile struct {
	Records int            `json:"records"`
	Counts  map[string]int `json:"counts"`
	Other   map[string]int `json:"other_counts"`
}

type expectedData struct {
	Totals   map[string]int          `json:"totals"`
	Distinct map[string]int          `json:"totals_distinct"`
	Files    map[string]expectedFile `json:"files"`
}

func loadExpected(t testing.TB, dir string) expectedData {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var e expectedData
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e expectedData) names(dir string) []string {
	var out []string
	for name := range e.Files {
		out = append(out, filepath.Join(dir, filepath.FromSlash(name)))
	}
	return out
}

// kindOf is the key that the collection uses for what was mapped.
func kindOf(e event.Event) string {
	r := event.WindowsRecord{Provider: e.Provider, Channel: e.Channel, EventID: uint32(e.EventID)}
	return r.Key()
}

var damagedFiles = map[string]string{
	"evtxrs-sample-with-zero-data-size-event.evtx": "record 3",
	"plaso-System2.evtx":                           "cut off after 64832",
	"evtxrs-security_bad_string_cache.evtx.gz":     "checksum",
}

// TestRealFiles holds the import of every real file to the counts that three
// other readers agree on, event id by event id.
func TestRealFiles(t *testing.T) {
	dir := dataDir(t)
	want := loadExpected(t, dir)
	sink := newMemorySink()
	im := newImporter(sink)
	sum, err := im.Import(t.Context(), want.names(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Files) != len(want.Files) {
		t.Fatalf("%d files imported, want %d", len(sum.Files), len(want.Files))
	}
	for _, f := range sum.Files {
		rel, _ := filepath.Rel(dir, f.File)
		name := filepath.ToSlash(rel)
		w := want.Files[name]
		if f.Error != "" {
			t.Errorf("%s: %s", name, f.Error)
		}
		if f.Read != w.Records {
			t.Errorf("%s: %d records, want %d", name, f.Read, w.Records)
		}
		// The files that are known to be damaged say so, and no other does.
		sign, ok := damagedFiles[filepath.Base(f.File)]
		if !ok && f.DamageCount > 0 {
			t.Errorf("%s: damage %+v", name, f.Damaged)
		}
		if ok && (f.DamageCount == 0 || !strings.Contains(f.Damaged[0].Where+": "+f.Damaged[0].Reason, sign)) {
			t.Errorf("%s: damage %+v, want one that says %q", name, f.Damaged, sign)
		}
		if f.Rejected != 0 {
			t.Errorf("%s: %d rejected: %+v", name, f.Rejected, f.Rejections)
		}
		if f.Read != f.Accepted+f.Duplicate+f.Rejected+f.Other {
			t.Errorf("%s: counts do not add up: %+v", name, f.Counts)
		}
		all := map[string]int{}
		for k, n := range w.Counts {
			all[k] = n
		}
		for k, n := range w.Other {
			k = strings.TrimSuffix(k, "/Microsoft-Windows-Security-Auditing")
			if rest, ok := strings.CutPrefix(k, "security/"); ok { // as a collector wrote the channel
				k = "Security/" + rest
			}
			all[k] += n
		}
		if c := f.Events["Security/1100/Microsoft-Windows-Eventlog"]; c != nil && c.Other > 0 {
			t.Errorf("%s: %d stops of the event log service are not kept", name, c.Other)
		}
		for k, n := range all {
			if c := f.Events[k]; c == nil || c.Read != n {
				t.Errorf("%s %s: read %+v, want %d", name, k, c, n)
			}
		}
		for k, c := range f.Events {
			if all[k] != c.Read {
				t.Errorf("%s %s: read %d, want %d", name, k, c.Read, all[k])
			}
		}
	}
	distinct := map[string]int{}
	for _, e := range sink.byID {
		distinct[kindOf(e)]++
	}
	for k, n := range want.Distinct {
		if strings.HasSuffix(k, "Service Control Manager") {
			n = 0 // a failed service, no logon
		}
		if distinct[k] != n {
			t.Errorf("distinct %s: %d, want %d", k, distinct[k], n)
		}
	}
	// Every file once more: nothing new.
	before := len(sink.byID)
	again, err := im.Import(t.Context(), want.names(dir))
	if err != nil {
		t.Fatal(err)
	}
	if again.Totals.Accepted != 0 || len(sink.byID) != before {
		t.Errorf("the second import added events: %+v", again.Totals)
	}
	if again.Totals.Read != sum.Totals.Read || again.Totals.Duplicate != sum.Totals.Accepted+sum.Totals.Duplicate {
		t.Errorf("the second import read %+v, the first %+v", again.Totals, sum.Totals)
	}
}

// TestSalvage: asked to, the reader finds the records that no other reader reaches.
func TestSalvage(t *testing.T) {
	dir := dataDir(t)
	for name, least := range map[string]int{"evtxrs-sample-with-zero-data-size-event.evtx": 449, "plaso-System2.evtx": 280} {
		im := newImporter(newMemorySink())
		im.Salvage = true
		sum, err := im.Import(t.Context(), []string{filepath.Join(dir, "evtx", name)})
		if err != nil {
			t.Fatal(err)
		}
		if f := sum.Files[0]; f.Read < least || f.DamageCount == 0 {
			t.Errorf("%s: %d records, damage %+v; want at least %d records", name, f.Read, f.Damaged, least)
		}
	}
}

type expectedEvent struct {
	File        string            `json:"file"`
	RecordID    *uint64           `json:"record_id"`
	Time        string            `json:"time"`
	EventID     uint16            `json:"event_id"`
	Channel     string            `json:"channel"`
	Provider    string            `json:"provider"`
	Computer    string            `json:"Computer"`
	User        *string           `json:"TargetUserName"`
	Domain      *string           `json:"TargetDomainName"`
	LogonID     *string           `json:"TargetLogonId"`
	LogonType   *string           `json:"LogonType"`
	Workstation *string           `json:"WorkstationName"`
	IP          *string           `json:"IpAddress"`
	Status      *string           `json:"Status"`
	SubStatus   *string           `json:"SubStatus"`
	Data        map[string]string `json:"data"`
}

func loadEvents(t testing.TB, dir string) map[string][]expectedEvent {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "expected-events.ndjson.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]expectedEvent{}
	sc := bufio.NewScanner(gz)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e expectedEvent
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		out[e.File] = append(out[e.File], e)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// orNone is a text of the ground truth as Gatehouse keeps it.
func orNone(s *string) string {
	if s == nil || strings.TrimSpace(*s) == "-" {
		return ""
	}
	return strings.TrimSpace(*s)
}

func hexOr0(t *testing.T, s *string) uint64 {
	t.Helper()
	v := orNone(s)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRealEvents compares every listed event of every file, field by field and
// in order, with the ground truth.
func TestRealEvents(t *testing.T) {
	dir := dataDir(t)
	listed := map[uint16]bool{4624: true, 4625: true, 4634: true, 4647: true, 4778: true, 4779: true, 4800: true, 4801: true}
	total := 0
	for file, events := range loadEvents(t, dir) {
		sink := newMemorySink()
		im := newImporter(sink)
		im.Batch = 1 // keeps the order of the file
		sum, err := im.Import(t.Context(), []string{filepath.Join(dir, filepath.FromSlash(file))})
		if err != nil {
			t.Fatal(err)
		}
		var got []event.Event
		for _, e := range sink.order {
			if listed[e.EventID] {
				got = append(got, e)
			}
		}
		if len(got) != len(events) {
			t.Errorf("%s: %d events, want %d (%+v)", file, len(got), len(events), sum.Files[0].Counts)
			continue
		}
		for i, w := range events {
			compareEvent(t, file, got[i], w)
			total++
		}
	}
	t.Logf("%d events compared", total)
}

func compareEvent(t *testing.T, file string, g event.Event, w expectedEvent) {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, w.Time)
	if err != nil {
		t.Fatal(err)
	}
	user, domain, logonID, ip, host := w.User, w.Domain, w.LogonID, w.IP, w.Workstation
	if w.EventID == 4778 || w.EventID == 4779 {
		pick := func(k string) *string { s := w.Data[k]; return &s }
		user, domain, logonID, ip, host = pick("AccountName"), pick("AccountDomain"), pick("LogonID"), pick("ClientAddress"), pick("ClientName")
	}
	wantUser := orNone(user)
	sid := strings.TrimSpace(w.Data["TargetUserSid"])
	if sid == "S-1-0-0" {
		sid = ""
	}
	if wantUser == "" {
		wantUser = sid
	}
	wantType := event.LogonTypeNone
	if s := orNone(w.LogonType); s != "" {
		n, _ := strconv.ParseUint(s, 10, 8)
		wantType = uint8(n)
	}
	var wantIP netip.Addr
	if s := orNone(ip); s != "" && s != "LOCAL" {
		a, err := netip.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		wantIP = a.Unmap()
	}
	var record uint64
	if w.RecordID != nil {
		record = *w.RecordID
	}
	kind := map[uint16]event.Type{
		4624: event.Logon, 4625: event.LogonFailed, 4634: event.Logoff, 4647: event.Logoff,
		4778: event.Reconnect, 4779: event.Disconnect, 4800: event.Lock, 4801: event.Unlock,
	}[w.EventID]
	if w.EventID == 4624 && (wantType == 7 || wantType == 13) {
		kind = event.Unlock
	}
	want := event.Event{
		CompanyID: 7, SiteID: 9, Time: at.UnixMilli(), Received: testNow.UnixMilli(), Type: kind,
		User: wantUser, Computer: w.Computer, Domain: orNone(domain), SID: sid,
		LogonID: hexOr0(t, logonID), LogonType: wantType,
		SourceIP: wantIP, SourceHost: orNone(host),
		EventID: w.EventID, RecordID: record, Channel: w.Channel, Provider: w.Provider,
	}
	if w.EventID == 4625 {
		want.Status, want.SubStatus = uint32(hexOr0(t, w.Status)), uint32(hexOr0(t, w.SubStatus))
	}
	if w.EventID == 4624 {
		linked := w.Data["TargetLinkedLogonId"]
		want.LinkedLogonID = hexOr0(t, &linked)
		want.Elevated = w.Data["ElevatedToken"] == "%%1842"
	}
	want.Account = event.ClassifyAccount(want.User, want.SID, want.LogonType)
	if record == 0 {
		if g.ContentHash == 0 {
			t.Errorf("%s: an event without a record id has no content hash: %+v", file, g)
		}
		want.ContentHash = g.ContentHash
	}
	if g != want {
		t.Errorf("%s record %d:\n got %+v\nwant %+v", file, record, g, want)
	}
}
