package query

import (
	"context"
	_ "embed" // the statements
	"encoding/binary"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"gatehouse/event"
)

//go:embed session_tracks.sql
var sessionTracksSQL string

//go:embed session_last_seen.sql
var sessionLastSeenSQL string

// SessionLookaround is how far outside a report's range events are read to pair
// sign-ins with sign-offs, and how long an event proves presence. What lies further
// away is not consulted: a logoff later than that ends no session.
const SessionLookaround = 31 * 24 * time.Hour

// DefaultMaxSession is how long after its last event a session counts as ended that
// nothing ends, where the company sets nothing else.
const DefaultMaxSession = 24 * time.Hour

// SessionsSpec says what the sessions report takes.
var SessionsSpec = &Spec{Name: "sessions", Params: common, DefaultLimit: DefaultLimit, MaxLimit: MaxLimit}

// SignedInSpec says what the signed-in report takes.
var SignedInSpec = &Spec{
	Name:         "signed-in",
	Params:       []string{"company", "tz", "format", "at", "site", "user", "computer", "limit", "cursor"},
	DefaultLimit: DefaultLimit, MaxLimit: MaxLimit,
}

// Session is one stretch of a person's presence at a computer.
type Session struct {
	User          string     `json:"user"`
	Computer      string     `json:"computer"`
	SiteID        uint32     `json:"site_id"`
	Site          string     `json:"site,omitempty"`
	LogonID       *string    `json:"logon_id"`        // hexadecimal, null where the source gives none
	LogonType     *uint8     `json:"logon_type"`      // null where the source gives none
	OpenedBy      string     `json:"opened_by"`       // logon, or unlock (or reconnect) where no session was open
	Elevated      bool       `json:"elevated"`        // an administrator's full token
	Start         time.Time  `json:"start"`           //
	End           *time.Time `json:"end"`             // null while open
	ActiveSeconds float64    `json:"active_seconds"`  // neither locked, disconnected nor asleep
	PausedSeconds float64    `json:"paused_seconds"`  //
	State         string     `json:"state,omitempty"` // signed-in alone: active or paused at the instant asked about
	EndReason     string     `json:"end_reason"`      // logoff, shutdown, startup, superseded, max_session, open
	EndConfidence string     `json:"end_confidence"`  // logged, inferred, open
	EventsURL     string     `json:"events_url"`      // the raw events behind it

	// The computer's shutdown or startup that ended it, where one did.
	EndedByURL string `json:"ended_by_url,omitempty"`
}

// SessionsReport lists sessions in the order of their start.
type SessionsReport struct {
	Header
	Rows       []Session `json:"rows"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// Sessions lists the sessions that touch the range, whole: they are not clipped.
func (r *Reports) Sessions(ctx context.Context, c Company, p Params) (*SessionsReport, error) {
	out := &SessionsReport{Header: r.header("sessions", c, p)}
	all := func(*span) bool { return true }
	spans, next, err := r.pageOfSessions(ctx, c, p, r.sessionNow(p), all)
	if err != nil {
		return nil, err
	}
	sites := r.siteLabels(ctx, c)
	for _, s := range spans {
		out.Rows = append(out.Rows, s.row(c, p.Zone(), sites))
	}
	out.NextCursor = next
	return out, nil
}

// SignedInReport lists who was signed in at an instant.
type SignedInReport struct {
	Header
	At         time.Time `json:"at"`
	Rows       []Session `json:"rows"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// SignedIn lists the sessions open at p.At (zero: now): begun at or before it and not
// ended by then. Those that were paused then (locked, disconnected, asleep) are among
// them, and say so.
func (r *Reports) SignedIn(ctx context.Context, c Company, p Params) (*SignedInReport, error) {
	now := r.sessionNow(p)
	at := p.At
	if at.IsZero() {
		at = time.UnixMilli(now).UTC()
	}
	p.From, p.To = at, at.Add(time.Millisecond)
	instant := at.UnixMilli()
	out := &SignedInReport{Header: r.header("signed-in", c, p), At: at.In(p.Zone())}
	// Sessions that end exactly at the instant are over: [start, end).
	open := func(s *span) bool { return s.reason == "open" || s.until > instant }
	spans, next, err := r.pageOfSessions(ctx, c, p, now, open)
	if err != nil {
		return nil, err
	}
	sites := r.siteLabels(ctx, c)
	for _, s := range spans {
		row := s.row(c, p.Zone(), sites)
		row.State = "active"
		if s.pausedAt(instant) {
			row.State = "paused"
		}
		out.Rows = append(out.Rows, row)
	}
	out.NextCursor = next
	return out, nil
}

// sessionNow is the instant up to which open sessions have lasted: the same on
// every page of one listing.
func (r *Reports) sessionNow(p Params) int64 {
	if p.page.Now > 0 {
		return min(p.page.Now, r.now().UnixMilli())
	}
	return r.now().UnixMilli()
}

// pageOfSessions gives a page of those sessions that touch the range and that include
// takes, in the order of compareSpans. It holds no more of them than some pages.
func (r *Reports) pageOfSessions(ctx context.Context, c Company, p Params, now int64, include func(*span) bool) ([]*span, string, error) {
	pg, err := newSessionPage(p)
	if err != nil {
		return nil, "", err
	}
	err = r.eachSession(ctx, c, p, now, func(s *span) error {
		if include(s) {
			pg.take(s)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	rows, more := pg.rows()
	if !more {
		return rows, "", nil
	}
	return rows, p.cursor(page{Key: placeOf(rows[len(rows)-1]), Now: now}), nil
}

// row is the session as it is shown.
func (s *span) row(c Company, zone *time.Location, sites map[uint32]string) Session {
	active := s.activeMS()
	out := Session{
		User: s.userName, Computer: s.computerName, SiteID: s.site, Site: sites[s.site], Elevated: s.elevated,
		Start: time.UnixMilli(s.start).In(zone), ActiveSeconds: seconds(active), PausedSeconds: seconds(s.until - s.start - active),
		OpenedBy: "unlock", EndReason: s.reason, EndConfidence: s.confidence,
		EventsURL: eventsURL(c, s.start, s.until, url.Values{"user": {s.user}, "computer": {s.computer}}),
	}
	if s.reason == "shutdown" || s.reason == "startup" {
		out.EndedByURL = eventsURL(c, s.told, s.told, url.Values{"computer": {s.computer}, "type": {s.reason}})
	}
	if s.logonID != 0 {
		hex := "0x" + strconv.FormatUint(s.logonID, 16)
		out.LogonID = &hex
	}
	if s.logonType != event.LogonTypeNone {
		out.LogonType = &s.logonType
	}
	if s.signedIn {
		out.OpenedBy = "logon"
	}
	if s.reason != "open" {
		end := time.UnixMilli(s.until).In(zone)
		out.End = &end
	}
	return out
}

// eachSession gives every session that touches p's range, person by person in the
// order of their names.
func (r *Reports) eachSession(ctx context.Context, c Company, p Params, now int64, emit func(*span) error) error {
	from, to := p.From.UnixMilli(), p.To.UnixMilli()
	return r.walkSessions(ctx, c, p, now, sessionVisitor{session: func(s *span) error {
		if s.start < to && (s.until > from || s.start >= from || (s.reason == "open" && s.until >= from)) {
			return emit(s)
		}
		return nil
	}})
}

// walkSessions visits the sessions of p's range and of the time around it. It streams:
// no more than one person's events at one computer are held at a time.
func (r *Reports) walkSessions(ctx context.Context, c Company, p Params, now int64, visitor sessionVisitor) error {
	w := &walker{now: now, maxSession: maxSessionOf(c).Milliseconds(), power: map[string][]mark{}, emit: func(s *span) error {
		if !p.ofSite(s.site) {
			return nil
		}
		return visitor.session(s)
	}}
	a := sessionArgs(c, p)
	people, err := r.namesOfSIDs(ctx, a)
	if err != nil {
		return err
	}
	alone, err := r.tracksOfSIDs(ctx, a, p.User, people)
	if err != nil {
		return err
	}
	ctx, release, err := r.conns.take(ctx, min(2, r.conns.most))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	// When computers were last seen is asked beside the tracks, and needed before the first of them.
	var beside errgroup.Group
	beside.Go(func() (err error) {
		w.lastSeen, err = r.lastSeen(ctx, a)
		return err
	})
	seen := sync.OnceValue(beside.Wait)
	defer func() {
		cancel()
		_ = seen() // told already, or of no interest after another error
		release()
	}()
	if r.conns.most < 2 {
		_ = seen() // it is asked for its error below
	}
	v := &visits{visitor: visitor, walker: w, people: people, alone: alone}
	err = r.eachTrack(ctx, "({user:String} = '' OR user = {user:String} OR user = '')", a.only("company", "lo", "hi", "computer", "user"), func(user, computer string, t *track) error {
		if err := seen(); err != nil {
			return err
		}
		return v.add(user, computer, t)
	})
	if err != nil {
		return err
	}
	if err := seen(); err != nil {
		return err
	}
	return v.until(visit{user: afterAllNames})
}

// eachTrack streams the tracks that session_tracks.sql gives of those users whom a condition names.
func (r *Reports) eachTrack(ctx context.Context, whose string, a args, fn func(user, computer string, t *track) error) error {
	var user, computer string
	return r.rows(ctx, strings.ReplaceAll(sessionTracksSQL, "/*whose*/", whose), a, func(row *rowReader) error {
		var t track
		user, computer = row.text(user), row.text(computer)
		t.id = row.uint64()
		t.userName, t.computerName = row.text(user), row.text(computer)
		codes := row.numbers()
		t.marks = make([]mark, len(codes)/8)
		for i := range t.marks {
			t.marks[i].code = int64(binary.LittleEndian.Uint64(codes[8*i:])) //nolint:gosec // an Int64
		}
		tags := row.numbers()
		for i := range min(len(t.marks), len(tags)/8) {
			t.marks[i].tag = binary.LittleEndian.Uint64(tags[8*i:])
		}
		linked := row.numbers()
		t.linked = make([]linkedLogon, len(linked)/8)
		for i := range t.linked {
			t.linked[i] = linkedLogon{code: int64(binary.LittleEndian.Uint64(linked[8*i:])), id: t.id} //nolint:gosec // an Int64
		}
		ids := row.numbers()
		for i := range min(len(t.linked), len(ids)/8) {
			t.linked[i].linked = binary.LittleEndian.Uint64(ids[8*i:])
		}
		if row.err != nil {
			return nil // told by rows
		}
		return fn(user, computer, &t)
	})
}

// lastSeen tells, for each startup of a computer, when it was last seen before.
func (r *Reports) lastSeen(ctx context.Context, a args) (map[startup]int64, error) {
	before := map[startup]int64{}
	err := r.query(ctx, sessionLastSeenSQL, a.only("company", "lo", "hi", "computer"), func(row driver.Rows) error {
		var s startup
		var last int64
		if err := row.Scan(&s.computer, &s.time, &last); err != nil {
			return err
		}
		before[s] = last
		return nil
	})
	return before, err
}

// maxSessionOf bounds a company's sessions that nothing ends.
func maxSessionOf(c Company) time.Duration {
	if c.MaxSession <= 0 {
		return DefaultMaxSession
	}
	return c.MaxSession
}

// sessionArgs binds what the statements ask for.
func sessionArgs(c Company, p Params) args {
	return args{
		"company": c.ID, "user": p.User, "computer": p.Computer,
		"lo": max(p.From.Add(-SessionLookaround).UnixMilli(), 0), "hi": p.To.Add(SessionLookaround),
	}
}

// only gives the named values alone: the database refuses others.
func (a args) only(names ...string) args {
	out := make(args, len(names))
	for _, n := range names {
		out[n] = a[n]
	}
	return out
}

// seconds of milliseconds.
func seconds(ms int64) float64 { return float64(ms) / 1000 }

// eventsURL is the search for a company's events in [from, to] that match.
func eventsURL(c Company, from, to int64, match url.Values) string {
	match.Set("company", strconv.FormatUint(uint64(c.ID), 10))
	match.Set("from", time.UnixMilli(from).UTC().Format(time.RFC3339Nano))
	match.Set("to", time.UnixMilli(to+1).UTC().Format(time.RFC3339Nano))
	return "/api/v1/events?" + match.Encode()
}
