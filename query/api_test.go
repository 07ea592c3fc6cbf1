package query

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

// testAPI serves two companies with the same people and computers, apart from one
// name in each. The key is the company's name.
type testAPI struct {
	t      *testing.T
	api    *API
	one    Company
	other  Company
	events []event.Event // of one
	log    bytes.Buffer

	exports exports  // of who reads one
	others  Exporter // of who reads other; nil: they may take nothing out
}

// exports keeps what was taken out.
type exports struct {
	list []Export
	may  error
	down error
}

func (e *exports) MayExport() error { return e.may }

func (e *exports) Exported(_ context.Context, x Export) error {
	if e.down == nil {
		e.list = append(e.list, x)
	}
	return e.down
}

func newTestAPI(t *testing.T) *testAPI {
	t.Helper()
	a := &testAPI{t: t, one: newCompany("Europe/London"), other: newCompany("Europe/London")}
	for i, c := range []Company{a.one, a.other} {
		secret := fmt.Sprintf("secret-of-%d", c.ID)
		events := workday(c, secret)
		insertEvents(t, testConn(t), events)
		if i == 0 {
			a.events = events
		}
	}
	auth := func(_ context.Context, req *http.Request) (Caller, error) {
		switch req.Header.Get("X-API-Key") {
		case "":
			return Caller{}, event.Errorf(event.CodeUnauthorized, "No API key provided")
		case a.one.Name:
			return Caller{a.one, &a.exports}, nil
		case a.other.Name:
			return Caller{a.other, a.others}, nil
		case "ingest":
			return Caller{}, event.Errorf(event.CodeForbidden, "this API key may not read")
		}
		return Caller{}, event.Errorf(event.CodeUnauthorized, "Invalid API key")
	}
	reports := New(testConn(t), Options{
		Now: func() time.Time { return testNow },
		SiteNames: func(_ context.Context, company uint32) (map[uint32]string, error) {
			return map[uint32]string{1: fmt.Sprintf("site-of-%d", company)}, nil
		},
	})
	api, err := NewAPI(reports, auth, APIOptions{Log: slog.New(slog.NewTextHandler(&a.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	a.api = api
	return a
}

// workday is a few events of two people, with failures that make a burst and a spray.
func workday(c Company, secret string) []event.Event {
	day := time.Date(2025, 11, 18, 8, 0, 0, 0, time.UTC)
	var out []event.Event
	add := func(minute int, typ event.Type, user, computer string, change func(*event.Event)) {
		e := event.Event{
			CompanyID: c.ID, SiteID: 1, Time: day.Add(time.Duration(minute) * time.Minute).UnixMilli(), Type: typ, User: user, Computer: computer,
			LogonType: event.LogonTypeInteractive, LogonID: 0x51, EventID: 4624, RecordID: uint64(1000 + len(out)*2), Channel: "Security", Account: event.AccountUser,
			LocalIP: netip.MustParseAddr("10.0.0.7"), Domain: "CORP",
		}
		if typ.OfComputer() {
			e.User, e.LogonID, e.Account, e.LogonType = "", 0, event.AccountNone, event.LogonTypeNone
		}
		e.Received = e.Time + 1500
		if change != nil {
			change(&e)
		}
		out = append(out, e)
	}
	add(-30, event.Startup, "", "PC-1", nil)
	add(0, event.Logon, "Ann", "PC-1", nil)
	add(60, event.Lock, "Ann", "PC-1", nil)
	add(75, event.Unlock, "Ann", "PC-1", nil)
	add(480, event.Logoff, "Ann", "PC-1", nil)
	add(30, event.Logon, "bob", secret, func(e *event.Event) { e.SiteID = 0 })
	for i := range 6 {
		add(100+i, event.LogonFailed, fmt.Sprintf("user%d", i), "SRV", func(e *event.Event) {
			e.Status, e.SubStatus, e.SourceIP, e.LogonType, e.LogonID = 0xC000006D, 0xC000006A, netip.MustParseAddr("203.0.113.9"), 3, 0
		})
	}
	add(200, event.Logon, "=cmd|'/c calc'!A1", "PC-1", func(e *event.Event) { e.LogonID = 0x99 })
	return out
}

func (a *testAPI) get(target, key string) *httptest.ResponseRecorder {
	a.t.Helper()
	req := httptest.NewRequestWithContext(a.t.Context(), http.MethodGet, target, http.NoBody)
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	w := httptest.NewRecorder()
	a.api.ServeHTTP(w, req)
	return w
}

// paths are every path of the API as it can be asked.
func (a *testAPI) paths() []string {
	out := []string{}
	for _, rt := range a.api.Routes() {
		switch rt.Path {
		case OpenAPIPath, ReportsPath + "{name}":
		default:
			out = append(out, strings.ReplaceAll(rt.Path, "{id}", a.events[0].ID().String()))
		}
	}
	return out
}

// Guest, wrong key, wrong scope, another tenant, the right caller: on every route.
func TestEveryRouteAndCaller(t *testing.T) {
	a := newTestAPI(t)
	for _, path := range a.paths() {
		for _, c := range []struct {
			who, key, query string
			status          int
		}{
			{"guest", "", "", 401},
			{"wrong key", "nonsense", "", 401},
			{"a key that may not read", "ingest", "", 403},
			{"the company", a.one.Name, "", 200},
			{"the company by name", a.one.Name, "?company=" + strings.ToUpper(a.one.Name), 200},
			{"the company by number", a.one.Name, fmt.Sprintf("?company=%d", a.one.ID), 200},
			{"asking for another company", a.one.Name, "?company=" + a.other.Name, 404},
			{"asking for another company's number", a.one.Name, fmt.Sprintf("?company=%d", a.other.ID), 404},
			{"asking for no company", a.one.Name, "?company=no-such", 404},
			{"unknown parameter", a.one.Name, "?sparkle=1", 400},
			{"broken query", a.one.Name, "?tz=%zz", 400},
			{"long query", a.one.Name, "?tz=" + strings.Repeat("x", maxQuery), 413},
		} {
			w := a.get(path+c.query, c.key)
			if w.Code != c.status {
				t.Errorf("%s as %s: %d, want %d: %s", path, c.who, w.Code, c.status, w.Body)
			}
			var body map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Errorf("%s as %s: %v in %s", path, c.who, err, w.Body)
			}
			if c.status != 200 && (body["status"] != "error" || body["message"] == "" || body["request_id"] != w.Header().Get("X-Request-Id") || body["request_id"] == "") {
				t.Errorf("%s as %s: %s", path, c.who, w.Body)
			}
		}
		if own, none := a.get(path+"?company="+a.other.Name, a.one.Name), a.get(path+"?company=no-such", a.one.Name); without(own.Body.String()) != without(none.Body.String()) {
			t.Errorf("%s tells whether another company exists: %s, %s", path, own.Body, none.Body)
		}
	}
}

// without is an error without what differs in every answer.
func without(body string) string {
	before, _, _ := strings.Cut(body, `"request_id"`)
	return before
}

// What one company is told never holds anything of the other.
func TestCompaniesSeeOnlyTheirOwn(t *testing.T) {
	a := newTestAPI(t)
	a.others = &exports{}
	for _, path := range a.paths() {
		query := "?from=2025-11-01&to=2025-11-20"
		switch {
		case strings.HasSuffix(path, "signed-in"):
			query = "?at=2025-11-18T09:00:00Z"
		case path == ListPath: // nothing in it is of a company
			continue
		}
		if strings.Contains(path, EventsPath+"/") {
			if w := a.get(path, a.other.Name); w.Code != 404 {
				t.Errorf("%s as another company: %d %s", path, w.Code, w.Body)
			}
			continue
		}
		for _, format := range []string{"", "&format=csv"} {
			for _, caller := range []struct{ me, them Company }{{a.one, a.other}, {a.other, a.one}} {
				w := a.get(path+query+format, caller.me.Name)
				body := w.Body.String()
				for _, theirs := range []string{fmt.Sprintf("secret-of-%d", caller.them.ID), fmt.Sprintf("site-of-%d", caller.them.ID), caller.them.Name} {
					if w.Code != 200 || strings.Contains(body, theirs) {
						t.Errorf("%s as %s: %d, holds %q: %s", path+format, caller.me.Name, w.Code, theirs, body)
					}
				}
			}
		}
	}
}

func TestReportsByHand(t *testing.T) {
	a := newTestAPI(t)
	const query = "?from=2025-11-18&to=2025-11-19"
	for path, wants := range map[string][]string{
		"reports/totals" + query: {
			`"events":13`, `"active_users":3`, `"sign_ins":3`, `"sign_offs":1`, `"failures":6`, `"first_event":"2025-11-18T07:30:00Z"`, `{"type":"logon_failed","events":6}`,
		},
		"reports/failures" + query + "&group_by=address": {
			`"failures":6`, `"address":"203.0.113.9"`, `"reason":"wrong_password"`, `"codes":["0xC000006A"]`, `"sprays":[{"address":"203.0.113.9"`, `"users":6`, `"kind":"address"`,
		},
		"reports/failures" + query + "&group_by=reason":         {`"reason":"wrong_password","reason_text":"wrong password","failures":6`},
		"reports/frequency" + query + "&group_by=hour&limit=24": {`"hour":8,"seconds":3600,"events":2}`, `"hour":3,"seconds":3600,"events":0}`},
		"reports/frequency" + query + "&group_by=site":          {fmt.Sprintf(`"site_id":1,"site":"site-of-%d","events":2`, a.one.ID), `"site_id":0,"site":"Import","events":1`},
		"reports/time-spent" + query + "&group_by=site&site=0":  {`"rows":[{"site_id":0,"site":"Import","users":1`},
		"events" + query + "&site=0":                            {`"user":"bob"`},
		"reports/first-last" + query:                            {`"day":"2025-11-18","user":"Ann","first_logon":"2025-11-18T08:00:00Z","last_logon":"2025-11-18T08:00:00Z","last_logoff":"2025-11-18T16:00:00Z"`},
		"reports/coverage" + query:                              {`"computer":"PC-1"`, `"lag_median_seconds":1.5`, `"no_logoffs"`},
		"events" + query + "&type=logon_failed&limit=2":         {`"next_cursor":"`, `"reason":"wrong password"`, `"status":"0xC000006D"`, `"user":"user5"`, `"source_ip":"203.0.113.9"`},
		"events" + query + "&type=startup":                      {`"user":null`, `"logon_id":null`, `"logon_type":null`, `"source_ip":null`},
		"reports/time-spent" + query:                            {`"user":"Ann"`},
		"reports/sessions" + query:                              {`"end_reason":"logoff"`},
		"reports/signed-in?at=2025-11-18T09:00:00Z":             {`"user":"Ann"`},
	} {
		w := a.get("/api/v1/"+path, a.one.Name)
		for _, want := range wants {
			if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: %d lacks %s in\n%s", path, w.Code, want, w.Body)
			}
		}
	}
	for _, path := range a.paths() { // no rows are a list
		if !strings.Contains(path, EventsPath+"/") && !strings.HasSuffix(path, "signed-in") && path != ListPath {
			if w := a.get(path+"?from=2001-01-01&to=2001-01-02", a.one.Name); strings.Contains(w.Body.String(), `"rows":null`) || !strings.Contains(w.Body.String(), `"rows":[`) {
				t.Errorf("%s: %s", path, w.Body)
			}
		}
	}
}

func TestCSV(t *testing.T) {
	a := newTestAPI(t)
	w := a.get("/api/v1/events?from=2025-11-18&to=2025-11-19&type=logon&limit=2&format=csv", a.one.Name)
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/csv") || w.Header().Get("X-Next-Cursor") == "" {
		t.Errorf("headers %v", w.Header())
	}
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%v %v", err, rows)
	}
	user := -1
	for i, name := range rows[0] {
		if name == "user" {
			user = i
		}
	}
	if user < 0 || rows[1][user] != "'=cmd|'/c calc'!A1" {
		t.Errorf("a name that is a formula came out as it is: %v", rows[1])
	}
	for _, path := range a.paths() {
		if strings.Contains(path, EventsPath+"/") {
			if w := a.get(path+"?format=csv", a.one.Name); w.Code != 400 {
				t.Errorf("one event as CSV: %d", w.Code)
			}
			continue
		}
		w := a.get(path+"?format=csv", a.one.Name)
		rows, err := csv.NewReader(w.Body).ReadAll()
		if w.Code != 200 || err != nil || len(rows) == 0 {
			t.Errorf("%s: %d %v %v", path, w.Code, err, rows)
		}
	}
}

// TestExports: rows go out as a file only to who may take them, and not before it is noted.
func TestExports(t *testing.T) {
	a := newTestAPI(t)
	const path = "/api/v1/events?from=2025-11-18&to=2025-11-19&type=logon&limit=2"
	a.get(path, a.one.Name)
	if len(a.exports.list) != 0 {
		t.Errorf("an answer in JSON counts as a file: %+v", a.exports.list)
	}
	a.get(path+"&format=csv", a.one.Name)
	a.get("/api/v1/reports/signed-in?at=2025-11-18T09:00:00Z&format=csv", a.one.Name)
	if len(a.exports.list) != 2 {
		t.Fatalf("%+v", a.exports.list)
	}
	events, instant := a.exports.list[0], a.exports.list[1]
	if events.Report != "events" || events.Rows != 2 || events.To.Sub(events.From) != 24*time.Hour || !events.At.IsZero() || events.Params.Encode() != "limit=2&type=logon" {
		t.Errorf("%+v", events)
	}
	if instant.Report != "signed-in" || !instant.At.Equal(time.Date(2025, 11, 18, 9, 0, 0, 0, time.UTC)) || instant.Rows != 2 {
		t.Errorf("%+v", instant)
	}
	if w := a.get(path+"&format=csv", a.other.Name); w.Code != http.StatusForbidden {
		t.Errorf("without the right: %d", w.Code)
	}
	a.exports.may = event.Errorf(event.CodeForbidden, "no files")
	if w := a.get(path+"&format=csv", a.one.Name); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "no files") {
		t.Errorf("refused: %d %s", w.Code, w.Body)
	}
	a.exports.may, a.exports.down = nil, event.Errorf(event.CodeUnavailable, "the trail is away")
	if w := a.get(path+"&format=csv", a.one.Name); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "ann") {
		t.Errorf("what cannot be noted: %d %s", w.Code, w.Body)
	}
}

// An answer that cannot be written is an error, not an empty 200.
func TestAnswersThatCannotBeWritten(t *testing.T) {
	a := newTestAPI(t)
	type row struct {
		Figure any `json:"figure"`
	}
	for _, format := range []string{"json", "csv"} {
		h := a.api.handle(&route{
			path: "/x", spec: ListSpec, csv: true,
			run: func(context.Context, *Reports, Company, Params, *http.Request) (any, error) {
				return &struct {
					Rows []row `json:"rows"`
				}{[]row{{func() {}}}}, nil
			},
		})
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x?format="+format, http.NoBody)
		req.Header.Set("X-API-Key", a.one.Name)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"code":"internal"`) {
			t.Errorf("%s: %d %s", format, w.Code, w.Body)
		}
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "ann": "ann", "=1+1": "'=1+1", "+44": "'+44", "-x": "'-x", "@sum": "'@sum", "\tx": "'\tx", "a=1": "a=1", "'x": "'x",
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q is %q", in, got)
		}
	}
}

// The list names every report that is served, with the parameters that it takes.
func TestListOfReports(t *testing.T) {
	a := newTestAPI(t)
	var list ListReport
	if err := json.Unmarshal(a.get(ListPath, a.one.Name).Body.Bytes(), &list); err != nil || len(list.Rows) != len(ListReports()) {
		t.Fatalf("%d reports: %v", len(list.Rows), err)
	}
	for _, row := range list.Rows {
		if w := a.get(row.Path, a.one.Name); w.Code != 200 || !strings.Contains(w.Body.String(), `"report":"`+row.Name+`"`) {
			t.Errorf("%s leads to %d %s", row.Name, w.Code, w.Body)
		}
		if row.Summary == "" || row.Description == "" {
			t.Errorf("%s is described poorly", row.Name)
		}
		for _, by := range row.GroupBy {
			if w := a.get(row.Path+"?group_by="+by, a.one.Name); w.Code != 200 {
				t.Errorf("%s by %s: %d", row.Name, by, w.Code)
			}
		}
		for _, p := range row.Parameters {
			if p.Description == "" {
				t.Errorf("%s: %s is described poorly", row.Name, p.Name)
			}
			for _, value := range p.Values {
				if w := a.get(row.Path+"?"+p.Name+"="+value, a.one.Name); w.Code != 200 {
					t.Errorf("%s?%s=%s: %d", row.Name, p.Name, value, w.Code)
				}
			}
			if several := a.get(row.Path+"?"+p.Name+"="+strings.Join(p.Values, ","), a.one.Name).Code == 200; len(p.Values) > 1 && several != p.Several {
				t.Errorf("%s: %s takes several: %t, listed as %t", row.Name, p.Name, several, p.Several)
			}
		}
	}
}

// What nothing serves is told in the API's form under /api/, and plainly elsewhere.
func TestUnknownPaths(t *testing.T) {
	api, err := NewAPI(New(nil, Options{}), nil, APIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	takes := func(*http.Request) []string { return []string{"GET", "HEAD"} }
	for _, c := range []struct {
		handler http.Handler
		path    string
		status  int
		json    bool
	}{
		{api.NotFound(), "/api/v1/nothing", 404, true},
		{api.NotFound(), "/api/", 404, true},
		{api.NotFound(), "/api", 404, true},
		{api.NotFound(), "/apiary", 404, false},
		{api.NotFound(), "/nothing", 404, false},
		{api.MethodNotAllowed(takes), "/api/v1/events", 405, true},
		{api.MethodNotAllowed(takes), "/healthz", 405, false},
	} {
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodDelete, c.path, http.NoBody))
		var body map[string]any
		err := json.Unmarshal(w.Body.Bytes(), &body)
		if w.Code != c.status || (err == nil) != c.json {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
		if c.json && (body["status"] != "error" || body["request_id"] == "" || body["request_id"] != w.Header().Get("X-Request-Id")) {
			t.Errorf("%s: %s", c.path, w.Body)
		}
		if c.status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow is %q", c.path, w.Header().Get("Allow"))
		}
	}
}

func TestUnknownReport(t *testing.T) {
	a := newTestAPI(t)
	if w := a.get("/api/v1/reports/frequncy", a.one.Name); w.Code != 404 || !strings.Contains(w.Body.String(), "did you mean frequency?") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := a.get("/api/v1/reports/frequncy", ""); w.Code != 401 {
		t.Errorf("a guest is told what reports there are: %d", w.Code)
	}
	if w := a.get("/api/v1/events/xyz", a.one.Name); w.Code != 400 || !strings.Contains(w.Body.String(), `"field":"id"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// With the store away, callers are told to come again, and nothing of the cause.
func TestStoreAway(t *testing.T) {
	a := newTestAPI(t)
	a.api.reports.conn = brokenConn{a.api.reports.conn}
	w := a.get("/api/v1/reports/frequency", a.one.Name)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "socket") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if !strings.Contains(a.log.String(), "socket is gone") || !strings.Contains(a.log.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("the log says %s", &a.log)
	}
}

// brokenConn is a connection to a store that is away.
type brokenConn struct{ driver.Conn }

func (brokenConn) Query(context.Context, string, ...any) (driver.Rows, error) { return nil, errSocket }

type rows = driver.Rows

var errSocket = errors.New("the socket is gone")

// Bound values arrive as they are, whatever they hold.
func TestBoundValues(t *testing.T) {
	r := testReports(t)
	for _, s := range []string{"", "plain", "o'brien", `back\slash`, "tab\tnew\nline\r", "nul\x00", `\N`, "NULL", "{x:String}", "Zoë 😀", "a\\'b", "%41+&="} {
		a := args{"s": s, "list": []string{s, "x", s}, "n": []int64{-1, 2}}
		var got string
		var list []string
		var n []int64
		err := r.query(t.Context(), "SELECT {s:String}, {list:Array(String)}, {n:Array(Int64)}", a, func(q rows) error { return q.Scan(&got, &list, &n) })
		if err != nil || got != s || len(list) != 3 || list[0] != s || list[2] != s || len(n) != 2 || n[0] != -1 {
			t.Errorf("%q came back as %q %q %v (%v)", s, got, list, n, err)
		}
	}
	if _, err := (args{"x": struct{}{}}).bind(); err == nil {
		t.Error("a value without a text form was bound")
	}
}

func TestQueryErrors(t *testing.T) {
	r := testReports(t)
	err := r.query(t.Context(), "SELECT throwIf(1)", args{"x": 1}, func(rows) error { return nil })
	if event.ErrorCode(err) != event.CodeInternal || event.ErrorMessage(err) != "internal error" {
		t.Errorf("%v", err)
	}
	slow := New(testConn(t), Options{Timeout: 50 * time.Millisecond})
	err = slow.query(t.Context(), "SELECT sleepEachRow(0.05) FROM numbers(100)", args{"x": 1}, func(rows) error { return nil })
	if event.ErrorCode(err) != event.CodeUnavailable || !strings.Contains(err.Error(), "shorter range") {
		t.Errorf("%v", err)
	}
}
