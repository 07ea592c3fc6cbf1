package query

import (
	"cmp"
	"context"
	_ "embed" // the statement
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

//go:embed sids_alone.sql
var sidsAloneSQL string

//go:embed sid_names.sql
var sidNamesSQL string

const (
	// toldAgainWithin is how near a logon or logoff with a person's name is to the record
	// that tells the same with the SID alone: Winlogon writes its own when a profile is
	// loaded or let go.
	toldAgainWithin = 30 * time.Second
	// MaxSIDRecords is how many records that name by their SID alone people who have a
	// name, a report of sessions may hold: 16 bytes each. Beyond it a shorter range must
	// be asked for.
	MaxSIDRecords = 4_000_000
)

// sidAt is a SID in the records of one computer.
type sidAt struct{ computer, sid string } // folded

// sidPerson is whom it stands for.
type sidPerson struct{ user, shown string } // the first folded

// namesOfSIDs gives the names of those SIDs that stand alone in records of the time that
// sessions look at. SIDs that nothing gives a name are not in it: they are people of that name.
func (r *Reports) namesOfSIDs(ctx context.Context, a args) (map[sidAt]sidPerson, error) {
	// Most companies have none. Those of the others are at one place in the table, and their names are not.
	var alone uint8
	err := r.query(ctx, sidsAloneSQL, a.only("company", "lo", "hi", "computer"), func(row driver.Rows) error { return row.Scan(&alone) })
	if err != nil || alone == 0 {
		return nil, err
	}
	var out map[sidAt]sidPerson
	err = r.query(ctx, sidNamesSQL, a.only("company", "lo", "hi", "computer"), func(row driver.Rows) error {
		var at sidAt
		var person sidPerson
		if err := row.Scan(&at.computer, &at.sid, &person.user, &person.shown); err != nil {
			return err
		}
		if out == nil {
			out = map[sidAt]sidPerson{}
		}
		out[at] = person
		return nil
	})
	return out, err
}

// visit is one person at one computer.
type visit struct{ user, computer string }

func (v visit) compare(w visit) int {
	return cmp.Or(cmp.Compare(v.user, w.user), cmp.Compare(v.computer, w.computer))
}

// sidTracks are the tracks of people's SIDs, to be walked with the people's own: in the
// order in which people come, each once.
type sidTracks struct {
	of    map[visit][]track
	order []visit // of those still to come
}

// tracksOfSIDs reads the tracks of SIDs that have names, of one user alone unless that is "".
func (r *Reports) tracksOfSIDs(ctx context.Context, a args, user string, people map[sidAt]sidPerson) (*sidTracks, error) {
	out := &sidTracks{of: map[visit][]track{}}
	a = a.only("company", "lo", "hi", "computer")
	var sids []string
	for at, person := range people {
		if user == "" || person.user == user {
			sids = append(sids, at.sid)
		}
	}
	whose := "user LIKE 's-1-%'"
	switch {
	case len(sids) == 0:
		return out, nil
	case user != "":
		whose, a["sids"] = "user IN {sids:Array(String)}", sids
	}
	records := 0
	err := r.eachTrack(ctx, whose, a, func(sid, computer string, t *track) error {
		person, ok := people[sidAt{computer, sid}]
		if !ok || (user != "" && person.user != user) {
			return nil
		}
		if records += len(t.marks); records > MaxSIDRecords {
			return event.FieldError("from", "the range holds more than %d records that name people by their SID alone; ask for a shorter one, or for one user or computer", MaxSIDRecords)
		}
		t.userName, t.sid = person.shown, sid
		v := visit{person.user, computer}
		out.of[v] = append(out.of[v], *t)
		return nil
	})
	for v := range out.of {
		out.order = append(out.order, v)
	}
	slices.SortFunc(out.order, visit.compare)
	return out, err
}

// before calls fn with those that come before v, none of which has tracks of their own.
func (s *sidTracks) before(v visit, fn func(visit) error) error {
	for len(s.order) > 0 && s.order[0].compare(v) < 0 {
		if err := fn(s.order[0]); err != nil {
			return err
		}
	}
	return nil
}

// take gives v's tracks.
func (s *sidTracks) take(v visit) []track {
	tracks := s.of[v]
	if tracks != nil {
		delete(s.of, v)
		s.order = s.order[1:]
	}
	return tracks
}

// againTimes are the instants of logons and logoffs with a name, in order.
type againTimes struct{ logons, logoffs []int64 }

func namedTimes(tracks []track) (out againTimes) {
	for _, t := range tracks {
		for _, m := range t.marks {
			switch m.rank() {
			case rankLogon:
				out.logons = append(out.logons, m.time())
			case rankLogoff:
				out.logoffs = append(out.logoffs, m.time())
			}
		}
	}
	slices.Sort(out.logons)
	slices.Sort(out.logoffs)
	return out
}

// told tells whether m, a record with a SID alone, tells what one of these does.
func (a *againTimes) told(m mark) bool {
	times := a.logons
	switch m.rank() {
	case rankLogon:
	case rankLogoff:
		times = a.logoffs
	default:
		return false
	}
	near := toldAgainWithin.Milliseconds()
	i, _ := slices.BinarySearch(times, m.time()-near)
	return i < len(times) && times[i] <= m.time()+near
}
