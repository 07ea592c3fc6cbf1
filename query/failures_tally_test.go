package query

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

func testTally(by string) (*tally, *FailuresReport) {
	report := &FailuresReport{GroupBy: by}
	return newTally(Params{BurstCount: 2, BurstWindow: time.Minute, SprayUsers: 2, Types: []event.Type{event.LogonFailed}}, report), report
}

// Of more failures than are kept, the newest are looked at, and the report says so.
func TestBurstsAmongTheNewest(t *testing.T) {
	tally, report := testTally(ByUser)
	const each = maxAttempts / 4
	for i := range 9 { // the later the user, the later their failures
		f := failed{typ: event.LogonFailed, user: fmt.Sprint("user", i), userName: fmt.Sprint("User", i), computer: "pc", count: each}
		f.first, f.last = int64(i)*1e12, int64(i)*1e12+each-1
		for n := range int64(each) {
			f.times = append(f.times, f.last-n)
		}
		if err := tally.take(&f); err != nil {
			t.Fatal(err)
		}
	}
	tally.findBursts()
	if len(tally.attempts) > 2*maxAttempts || !report.BurstsTruncated || report.Failures != 9*each {
		t.Errorf("%d attempts kept, truncated %t, %d failures", len(tally.attempts), report.BurstsTruncated, report.Failures)
	}
	if len(report.Bursts) != 4 || report.Bursts[0].User != "User8" || report.Bursts[3].User != "User5" || report.Bursts[3].Failures != each {
		t.Errorf("%+v", report.Bursts)
	}
	if rows := tally.rows(nil); len(rows) != 9 || rows[0].Failures != each {
		t.Errorf("%d rows", len(rows))
	}
}

// More names than memory is for are refused, with what to do.
func TestTooManyNames(t *testing.T) {
	tally, _ := testTally(ByReason)
	var err error
	for i := 0; err == nil && i <= MaxFailureNames; i++ {
		err = tally.take(&failed{typ: event.LogonFailed, user: fmt.Sprint(i), computer: "pc", count: 1, times: []int64{1}})
	}
	if event.ErrorCode(err) != event.CodeInvalid || !strings.Contains(err.Error(), "shorter") {
		t.Error(err)
	}
	if len(tally.users) > MaxFailureNames {
		t.Errorf("%d users", len(tally.users))
	}
}

// More rows of time spent than memory is for are refused, with what to do.
func TestTooManyTimeGroups(t *testing.T) {
	spent := &timeSpent{p: Params{GroupBy: []string{"user"}}, days: []Day{{Start: 0, End: 100}}, groups: map[timeGroup]*timeSum{}}
	var err error
	for i := 0; err == nil && i <= MaxTimeGroups+1; i++ {
		err = spent.take(&span{user: fmt.Sprint(i), start: 1, until: 2})
	}
	var refused *event.Error
	if !errors.As(err, &refused) || refused.Code != event.CodeInvalid || refused.Field != "group_by" || !strings.Contains(refused.Message, "shorter") {
		t.Error(err)
	}
	if len(spent.groups) > MaxTimeGroups+1 {
		t.Errorf("%d groups", len(spent.groups))
	}
}

// What a report refuses while it reads its rows is told as it is.
func TestRefusedWhileReading(t *testing.T) {
	r := testReports(t)
	refusal := event.FieldError("from", "too much")
	err := r.query(t.Context(), "SELECT 1", args{}, func(driver.Rows) error { return refusal })
	if !errors.Is(err, refusal) || event.ErrorCode(err) != event.CodeInvalid {
		t.Error(err)
	}
}

// A set holds what a map would, small or large.
func TestSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s set
		want := map[uint32]bool{}
		for range r.IntN(100) {
			n := r.Uint32N(40)
			s.add(n)
			if n != 0 {
				want[n] = true
			}
			if s.size() != uint64(len(want)) {
				t.Fatalf("%d in the set, want %d", s.size(), len(want))
			}
		}
	}
}
