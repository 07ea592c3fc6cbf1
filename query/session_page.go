package query

import (
	"cmp"
	"slices"
	"strconv"
)

// sessionPage gathers a page of sessions that come in another order than they are shown in.
type sessionPage struct {
	limit int
	after *span // the last one of the page before, as a cursor carries it; nil on the first
	all   []*span
}

func newSessionPage(p Params) (*sessionPage, error) {
	out := &sessionPage{limit: p.Limit}
	if out.limit <= 0 {
		out.limit = DefaultLimit
	}
	if p.page.Key == nil {
		return out, nil
	}
	var err error
	out.after, err = readSessionPlace(p.page.Key)
	return out, err
}

// sessionsAside is how many sessions beyond two pages are held before those that cannot be
// on the page are dropped.
const sessionsAside = 1024

func (pg *sessionPage) take(s *span) {
	if pg.after != nil && compareSpans(s, pg.after) <= 0 {
		return
	}
	pg.all = append(pg.all, s)
	if keep := pg.limit + 1; len(pg.all) >= 2*keep+sessionsAside {
		slices.SortFunc(pg.all, compareSpans)
		clear(pg.all[keep:])
		pg.all = pg.all[:keep]
	}
}

// rows gives the page, and whether there are more after it.
func (pg *sessionPage) rows() (rows []*span, more bool) {
	slices.SortFunc(pg.all, compareSpans)
	if len(pg.all) > pg.limit {
		return pg.all[:pg.limit], true
	}
	return pg.all, false
}

// compareSpans is the order of sessions. No two are alike in all of it: a person's
// sessions at a computer, of one logon id, do not begin at one instant.
func compareSpans(a, b *span) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.user, b.user), cmp.Compare(a.computer, b.computer), cmp.Compare(a.logonID, b.logonID), cmp.Compare(a.sid, b.sid))
}

// placeOf is a session's place in the order, as a cursor carries it.
func placeOf(s *span) []string {
	return []string{strconv.FormatInt(s.start, 10), s.user, s.computer, strconv.FormatUint(s.logonID, 10), s.sid}
}

// readSessionPlace reads what placeOf wrote. Anything else is no cursor of ours.
func readSessionPlace(key []string) (*span, error) {
	const parts = 5
	if len(key) != parts || len(key[1]) > maxKeyName || len(key[2]) > maxKeyName || len(key[4]) > maxKeyName {
		return nil, errCursor
	}
	start, err := strconv.ParseInt(key[0], 10, 64)
	if err != nil {
		return nil, errCursor
	}
	id, err := strconv.ParseUint(key[3], 10, 64)
	if err != nil {
		return nil, errCursor
	}
	return &span{start: start, user: key[1], computer: key[2], logonID: id, sid: key[4]}, nil
}
