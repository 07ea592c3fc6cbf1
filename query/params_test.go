package query

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/event"
)

var testCompany = Company{ID: 7, Name: "Acme Ltd", Location: time.UTC}

func TestTimesOfARequest(t *testing.T) {
	loc := zone(t, "Europe/London")
	now := time.Date(2025, 5, 12, 13, 14, 15, 160e6, time.UTC)
	for text, want := range map[string]string{
		"2025-05-01":                "2025-04-30T23:00:00Z",
		"2025-05-01T10:00:00Z":      "2025-05-01T10:00:00Z",
		"2025-05-01T10:00:00+02:00": "2025-05-01T08:00:00Z",
		"2025-05-01T10:00:00 02:00": "2025-05-01T08:00:00Z", // a "+" that was not escaped
		"2025-05-01T10:00:00.1239Z": "2025-05-01T10:00:00.123Z",
		"2025-05-01T10:00":          "2025-05-01T09:00:00Z",
		"2025-05-01 10:00":          "2025-05-01T09:00:00Z",
		"2025-05-01 10:00:30":       "2025-05-01T09:00:30Z",
		"1746090000":                "2025-05-01T09:00:00Z",
		"1746090000123":             "2025-05-01T09:00:00.123Z",
		"now":                       "2025-05-12T13:14:15.16Z",
		"NOW":                       "2025-05-12T13:14:15.16Z",
		"today":                     "2025-05-11T23:00:00Z",
		"yesterday":                 "2025-05-10T23:00:00Z",
		"tomorrow":                  "2025-05-12T23:00:00Z",
		"-30d":                      "2025-04-12T13:14:15.16Z",
		"now-12h":                   "2025-05-12T01:14:15.16Z",
		"-90m":                      "2025-05-12T11:44:15.16Z",
		"-2w":                       "2025-04-28T13:14:15.16Z",
		"+1d":                       "2025-05-13T13:14:15.16Z",
		"-60d":                      "2025-03-13T14:14:15.16Z", // the same time on the clock, in winter
	} {
		got, err := parseTime("from", text, now, loc)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v (%v), want %s", text, got.UTC(), err, want)
		}
	}
	for _, text := range []string{"soon", "2025-13-01", "2025-02-30", "-30", "-30y", "--3d", "-999999d", "-1.5h", "0x10", "1969-12-31", "9999-01-01", "2025-05-01T25:00:00Z", "d", "-", "-d"} {
		if got, err := parseTime("from", text, now, loc); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		} else if err.Field != "from" {
			t.Errorf("%q blames %s", text, err.Field)
		}
	}
}

func TestDefaultRangeIsWholeDays(t *testing.T) {
	c := Company{ID: 1, Location: zone(t, "America/New_York")}
	p, err := ParseParams(FirstLastSpec, c, testNow, url.Values{})
	if err != nil {
		t.Fatal(err)
	}
	if days := Days(p.From, p.To, c.Location); len(days) != DefaultDays || !p.To.Equal(testNow) || p.From.In(c.Location).Format(time.TimeOnly) != "00:00:00" {
		t.Errorf("%d days from %v to %v", len(days), p.From.In(c.Location), p.To)
	}
	// A range that ends with a day has that many days too.
	p, err = ParseParams(FirstLastSpec, c, testNow, url.Values{"to": {"2025-05-01"}})
	if err != nil {
		t.Fatal(err)
	}
	if days := Days(p.From, p.To, c.Location); len(days) != DefaultDays || days[len(days)-1].Date != "2025-04-30" {
		t.Errorf("%d days until %s", len(days), days[len(days)-1].Date)
	}
}

func TestWrongParameters(t *testing.T) {
	for _, c := range []struct {
		spec  *Spec
		query string
		field string
		words string
	}{
		{FrequencySpec, "form=2025-05-01", "form", "did you mean from?"},
		{FrequencySpec, "groupby=day", "groupby", "did you mean group_by?"},
		{FrequencySpec, "sparkle=1", "sparkle", "it takes account"},
		{TotalsSpec, "group_by=day", "group_by", "not a parameter"},
		{FrequencySpec, "from=2025-05-02&to=2025-05-01", "to", "after from"},
		{FrequencySpec, "from=2025-05-01&to=2025-05-01", "to", "after from"},
		{FrequencySpec, "from=tomorrow", "from", "future"},
		{FrequencySpec, "from=2001-01-01&to=2025-01-01", "from", "lies more than 1830 days before to"},
		{FrequencySpec, "from=2025-05-01&from=2025-05-02", "from", "2 times"},
		{FrequencySpec, "group_by=week", "group_by", "takes hour, day"},
		{FrequencySpec, "group_by=day,hour", "group_by", "takes one of"},
		{TimeSpentSpec, "group_by=user,weekday", "group_by", "weekday"},
		{FrequencySpec, "limit=0", "limit", "1 to 100000"},
		{FrequencySpec, "limit=1e3", "limit", "whole number"},
		{SearchSpec, "limit=10001", "limit", "10000"},
		{FrequencySpec, "site=-1", "site", "whole number"},
		{FrequencySpec, "site=4294967296", "site", "whole number"},
		{FrequencySpec, "tz=Mars/Olympus", "tz", "IANA"},
		{FrequencySpec, "tz=../../etc/passwd", "tz", "IANA"},
		{FrequencySpec, "tz=Local", "tz", "IANA"},
		{FrequencySpec, "type=sleepwalk", "type", "sleepwalk"},
		{FailuresSpec, "type=logon", "type", "logon_failed, credential_failed"},
		{FrequencySpec, "account=robot", "account", "managed_service"},
		{FrequencySpec, "logon_type=255", "logon_type", "0 to 254"},
		{SearchSpec, "ip=10.0.0", "ip", "not an IP address"},
		{SearchSpec, "ip=::", "ip", "no address"},
		{SearchSpec, "event_id=70000", "event_id", "65535"},
		{SearchSpec, "user=%ff", "user", "UTF-8"},
		{SearchSpec, "user=" + strings.Repeat("x", 600), "user", "512"},
		{SearchSpec, "format=xml", "format", "json nor csv"},
		{SearchSpec, "cursor=zzz", "cursor", "begin again"},
		{SearchSpec, "cursor=" + strings.Repeat("z", 3000), "cursor", "begin again"},
		{FailuresSpec, "burst_count=1", "burst_count", "2 to"},
		{FailuresSpec, "burst_window=90000", "burst_window", "86400"},
		{SignedInSpec, "at=soon", "at", "not a time"},
		{SignedInSpec, "at=tomorrow", "at", "lies in the future"},
		{SignedInSpec, "from=today", "from", "not a parameter"},
	} {
		v, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseParams(c.spec, testCompany, testNow, v)
		var one *event.Error
		if !errors.As(err, &one) || one.Field != c.field || !strings.Contains(one.Message, c.words) || event.ErrorCode(err) != event.CodeInvalid {
			t.Errorf("%s?%s: %v; want %s … %s", c.spec.Name, c.query, err, c.field, c.words)
		}
	}
}

func TestAllWrongParametersAreTold(t *testing.T) {
	_, err := ParseParams(FrequencySpec, testCompany, testNow, url.Values{"limit": {"x"}, "tz": {"x"}, "sparkle": {"x"}, "type": {"x"}})
	var all Errors
	if !errors.As(err, &all) || len(all) != 4 {
		t.Errorf("%v", err)
	}
	for query, fields := range map[string][]string{
		"tz=x&from=soon&to=later":                              {"tz", "from", "to"},
		"tz=x&from=2025-05-02&to=2025-05-01":                   {"tz"}, // which days those are is not known
		"limit=x&from=2025-05-02&to=2025-05-01":                {"limit", "to"},
		"from=soon&to=2025-05-01&group_by=week":                {"from", "group_by"},
		"sparkle=1&from=2001-01-01&to=2025-01-01&burst_count=": {"burst_count", "sparkle", "from"},
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseParams(FrequencySpec, testCompany, testNow, v)
		var told []string
		if errors.As(err, &all) {
			for _, e := range all {
				told = append(told, e.Field)
			}
		}
		if !slices.Equal(told, fields) {
			t.Errorf("%s: told of %v, want %v (%v)", query, told, fields, err)
		}
	}
}

// Weekday by hour is one grouping, however it is written.
func TestGroupingsAreReadKindly(t *testing.T) {
	for _, text := range []string{"weekday_hour", "weekday", "Weekday,Hour", "weekday-hour"} {
		p, err := ParseParams(FrequencySpec, testCompany, testNow, url.Values{"group_by": {text}})
		if err != nil || !slices.Equal(p.GroupBy, []string{ByWeekdayHour}) {
			t.Errorf("%q: %v %v", text, p.GroupBy, err)
		}
	}
	if p, err := ParseParams(FrequencySpec, testCompany, testNow, url.Values{"group_by": {"weekday", "hour"}}); err != nil || p.GroupBy[0] != ByWeekdayHour {
		t.Errorf("repeated: %v %v", p.GroupBy, err)
	}
}

// A clock a little ahead of ours asks about this moment.
func TestAtOfAnotherClock(t *testing.T) {
	p, err := ParseParams(SignedInSpec, testCompany, testNow, url.Values{"at": {testNow.Add(time.Minute).Format(time.RFC3339)}})
	if err != nil || !p.At.Equal(testNow.Truncate(time.Millisecond)) {
		t.Errorf("%v %v", p.At, err)
	}
}

func TestOtherCompaniesDoNotExist(t *testing.T) {
	for _, own := range []string{"", "Acme Ltd", "ACME LTD", "7"} {
		if _, err := ParseParams(TotalsSpec, testCompany, testNow, url.Values{"company": {own}}); err != nil {
			t.Errorf("%q: %v", own, err)
		}
	}
	var texts []string
	for _, other := range []string{"Zenith", "8", "no such company at all", "07"} {
		_, err := ParseParams(TotalsSpec, testCompany, testNow, url.Values{"company": {other}})
		if event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("%q: %v", other, err)
		}
		texts = append(texts, err.Error())
	}
	for _, s := range texts {
		if s != texts[0] {
			t.Errorf("the answers differ: %q", texts)
		}
	}
}

func TestValuesAreRead(t *testing.T) {
	p, err := ParseParams(SearchSpec, testCompany, testNow, url.Values{
		"user": {" ANN "}, "computer": {"PC-1"}, "q": {"Zoë"}, "type": {"Logon,sign-out", "lock"}, "account": {"user,none"},
		"logon_type": {"2,none"}, "ip": {"::ffff:10.0.0.7"}, "logon_id": {"0x3E7"}, "event_id": {"4624"}, "site": {"3"}, "limit": {"5"}, "tz": {"Asia/Kolkata"}, "format": {"CSV"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.User != "ann" || p.Computer != "pc-1" || p.Search != "zoë" || len(p.Types) != 3 || p.Types[1] != event.Logoff || len(p.Accounts) != 2 ||
		p.LogonTypes[1] != event.LogonTypeNone || p.Address.String() != "10.0.0.7" || p.LogonID != 0x3e7 || p.EventID != 4624 || *p.Site != 3 ||
		p.Limit != 5 || p.Zone().String() != "Asia/Kolkata" || p.Format != FormatCSV {
		t.Errorf("%+v", p)
	}
	p, err = ParseParams(FrequencySpec, testCompany, testNow, url.Values{"type": {"all"}, "account": {"all"}})
	if err != nil || len(p.Types) != 0 || len(p.Accounts) != 0 || p.Limit != DefaultLimit || p.GroupBy[0] != ByDay {
		t.Errorf("%v %+v", err, p)
	}
}

// A cursor belongs to its report, company and parameters, and keeps the range.
func TestCursors(t *testing.T) {
	v := url.Values{"group_by": {"user"}, "limit": {"10"}}
	p, err := ParseParams(FrequencySpec, testCompany, testNow, v)
	if err != nil {
		t.Fatal(err)
	}
	v.Set("cursor", p.cursor(page{Offset: 10}))
	later := testNow.Add(time.Hour)
	v.Set("limit", "20") // may change
	next, err := ParseParams(FrequencySpec, testCompany, later, v)
	if err != nil {
		t.Fatal(err)
	}
	if next.page.Offset != 10 || !next.From.Equal(p.From) || !next.To.Equal(p.To) {
		t.Errorf("%+v", next)
	}
	refused := func(what string, spec *Spec, c Company, v url.Values) {
		t.Helper()
		if _, err := ParseParams(spec, c, later, v); !errors.Is(err, errCursor) {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := testCompany
	other.ID++
	refused("another company", FrequencySpec, other, v)
	refused("another report", FirstLastSpec, testCompany, url.Values{"cursor": v["cursor"]})
	v.Set("group_by", "computer")
	refused("other parameters", FrequencySpec, testCompany, v)
	v.Set("group_by", "user")
	for _, forged := range []page{{Offset: -1}, {Offset: math.MaxInt64}, {Offset: 1 << 62}, {Offset: maxPageOffset + 1}, {Offset: 1, Now: -1}, {Offset: 1, Now: math.MaxInt64}, {}} {
		forgedParams := p
		cursor := forgedParams.cursor(forged)
		if forged.Offset == 0 { // a range longer than any request may have
			forgedParams.From, forgedParams.To = minTime, maxTime
			cursor = forgedParams.cursor(page{})
		}
		v.Set("cursor", cursor)
		refused("forged", FrequencySpec, testCompany, v)
	}
}

// A cursor of signed-in holds an instant that may be asked about.
func TestCursorsOfAnInstant(t *testing.T) {
	for at, right := range map[int64]bool{
		testNow.UnixMilli(): true, testNow.UnixMilli() - 1: true, 1: true,
		0: true, -1: false, testNow.UnixMilli() + 1: false, math.MaxInt64: false, math.MinInt64: false, math.MaxInt64 / 2: false,
	} {
		raw, err := json.Marshal(page{Version: cursorVersion, Params: paramsHash(SignedInSpec, testCompany, url.Values{}), From: at, To: at + 1, Now: 1, Key: []string{"1", "", "", "0", ""}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseParams(SignedInSpec, testCompany, testNow, url.Values{"cursor": {base64.RawURLEncoding.EncodeToString(raw)}})
		if right != (err == nil) || (right && p.At.UnixMilli() != at) || (!right && !errors.Is(err, errCursor)) {
			t.Errorf("%d: %v %v", at, p.At, err)
		}
	}
}

// FuzzCursor goes on from edited cursors, on every report: they are refused, or page.
func FuzzCursor(f *testing.F) {
	for i, s := range []string{`{}`, `{"o":4611686018427387904}`, `{"o":1000000000}`, `{"f":9223372036854775807,"n":1}`, `{"k":["1746090000000","ann","pc","7",""]}`, `{"k":[]}`, `{"n":-1}`} {
		f.Add(s, uint8(i), uint32(0))
		f.Add(s, uint8(i), uint32(MaxLimit))
	}
	f.Fuzz(func(t *testing.T, text string, which uint8, limit uint32) {
		spec := routes[int(which)%len(routes)].spec
		pg := page{From: testNow.Add(-time.Hour).UnixMilli(), To: testNow.UnixMilli()}
		if json.Unmarshal([]byte(text), &pg) != nil {
			return
		}
		v := url.Values{}
		if spec.MaxLimit > 0 {
			v.Set("limit", strconv.Itoa(1+int(limit)%spec.MaxLimit))
		}
		pg.Version, pg.Params = cursorVersion, paramsHash(spec, testCompany, v)
		raw, err := json.Marshal(pg)
		if err != nil {
			t.Fatal(err)
		}
		v.Set("cursor", base64.RawURLEncoding.EncodeToString(raw))
		p, err := ParseParams(spec, testCompany, testNow, v)
		if err != nil {
			return
		}
		counted, _ := Page(p, make([]int, 10))
		cut, _ := nextPage(p, make([]int, 10))
		if len(counted) > 10 || len(cut) > 10 {
			t.Fatal("more rows than there are")
		}
		if w := where(testCompany).pageArgs(p); w.args["offset"].(int) < 0 || w.args["limit"].(int)+w.args["offset"].(int) < 0 {
			t.Fatalf("%s: %v", text, w.args)
		}
		if p.page.Key != nil {
			_, _ = readPlace(p.page.Key)
		}
		sessions, err := newSessionPage(p)
		if err != nil {
			return
		}
		for i := range 5000 {
			sessions.take(&span{start: int64(i % 97), user: strconv.Itoa(i)})
		}
		if held := len(sessions.all); held > 2*(sessions.limit+1)+sessionsAside {
			t.Fatalf("%s: %d sessions are held for %d", text, held, sessions.limit)
		}
		if rows, more := sessions.rows(); len(rows) > sessions.limit || (more && len(rows) == 0) {
			t.Fatalf("%s: %d rows", text, len(rows))
		}
	})
}

// A forged key of a place is refused, whatever is wrong with it.
func TestForgedPlaces(t *testing.T) {
	good := []string{"1746090000000", "pc-1", "ann", "1", "18446744073709551615", "0", "4624", "7"}
	if p, err := readPlace(good); err != nil || p.time != 1746090000000 || p.computer != "pc-1" || p.eventID != 4624 {
		t.Errorf("%+v %v", p, err)
	}
	for i, bad := range map[int][]string{
		0: {"", "-1", "x", "9999999999999999", "007"}, 1: {strings.Repeat("x", 5000)}, 2: {strings.Repeat("x", 5000)},
		3: {"256", ""}, 4: {"18446744073709551616"}, 5: {"-1"}, 6: {"65536"}, 7: {"1.0"},
	} {
		for _, value := range bad {
			key := slices.Clone(good)
			key[i] = value
			if p, err := readPlace(key); !errors.Is(err, errCursor) {
				t.Errorf("%d: %q was taken: %+v", i, value, p)
			}
		}
	}
	for _, key := range [][]string{{}, good[:7], append(slices.Clone(good), "x")} {
		if _, err := readPlace(key); !errors.Is(err, errCursor) {
			t.Errorf("%q was taken", key)
		}
	}
	r := New(nil, Options{})
	if _, err := r.Search(t.Context(), testCompany, Params{From: testNow, To: testNow.Add(1), Limit: 1, page: page{Key: []string{}}}); !errors.Is(err, errCursor) {
		t.Errorf("an empty place: %v", err)
	}
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{"", "from=-30d&to=now", "from=2025-03-30&tz=Europe/London&group_by=day", "type=all&logon_type=2,none", "cursor=eyJ2IjoxfQ", "at=now", "user=%00"} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, query string, which uint8) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		spec := routes[int(which)%len(routes)].spec
		p, err := ParseParams(spec, testCompany, testNow, v)
		if err != nil {
			if code := event.ErrorCode(err); code != event.CodeInvalid && code != event.CodeNotFound {
				t.Fatalf("%s: %v", query, err)
			}
			return
		}
		if !p.From.IsZero() && (!p.From.Before(p.To) || p.To.Sub(p.From) > MaxRange) {
			t.Fatalf("%s gives the range %v to %v", query, p.From, p.To)
		}
		if p.page.Key != nil {
			_, _ = readPlace(p.page.Key) // it refuses or takes, and never panics
		}
	})
}
