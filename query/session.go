package query

import (
	"context"
	_ "embed" // the statements
	"net/url"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

//go:embed session.sql
var sessionSQL string

// SessionLookaround is how far outside a report's range events are read to pair
// sign-ins with sign-offs. What lies further away is not consulted: a session whose
// logoff comes later than that counts as one without a logoff.
const SessionLookaround = 31 * 24 * time.Hour

// DefaultMaxSession bounds a session whose logoff was not logged, where the
// company sets nothing else.
const DefaultMaxSession = 24 * time.Hour

// sessionSettings keep the statement's own overhead below its work. Two halves of
// a small machine share the arrays' work (the database sees too few rows to bother a
// second thread by itself); and one of its optimizer's passes, which compares every
// condition with every other one, takes longer than a company's month.
const sessionSettings = `
SETTINGS group_by_two_level_threshold = 1, group_by_two_level_threshold_bytes = 1,
         merge_tree_min_rows_for_concurrent_read = 16384, merge_tree_min_bytes_for_concurrent_read = 1,
         optimize_and_compare_chain = 0, compile_expressions = 0`

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
	LogonID       *string    `json:"logon_id"`       // hexadecimal, null where the source gives none
	LogonType     *uint8     `json:"logon_type"`     // null where the source gives none
	OpenedBy      string     `json:"opened_by"`      // logon, or unlock where the logon itself is not held
	Elevated      bool       `json:"elevated"`       // an administrator's full token
	Start         time.Time  `json:"start"`          //
	End           *time.Time `json:"end"`            // null while open
	ActiveSeconds float64    `json:"active_seconds"` // neither locked, disconnected nor asleep
	PausedSeconds float64    `json:"paused_seconds"` //
	EndReason     string     `json:"end_reason"`     // logoff, shutdown, startup, superseded, max_session, open
	EndConfidence string     `json:"end_confidence"` // logged, inferred, open
	EventsURL     string     `json:"events_url"`     // the raw events behind it
}

// SessionsReport lists sessions in the order of their start.
type SessionsReport struct {
	Header
	Rows       []Session `json:"rows"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// sessionsTail lists sessions that touch [from, to), whole.
const sessionsTail = `
SELECT toString(user_name) AS user_name, toString(computer_name) AS computer_name, site_id, logon_id, logon_type, signed_in, elevated,
       start, until, active_ms, paused_ms, end_reason, end_confidence
FROM sessions
WHERE start < {to:Int64} AND (until > {from:Int64} OR start >= {from:Int64} OR (end_reason = 'open' AND until >= {from:Int64}))
  AND ({site:UInt32} = 0 OR site_id = {site:UInt32})
ORDER BY start, user, computer, logon_id
LIMIT {limit:UInt32} OFFSET {offset:UInt64}` + sessionSettings

// Sessions lists the sessions that touch the range, whole: they are not clipped.
func (r *Reports) Sessions(ctx context.Context, c Company, p Params) (*SessionsReport, error) {
	out := &SessionsReport{Header: r.header("sessions", c, p)}
	var err error
	out.Rows, out.NextCursor, err = r.sessionRows(ctx, c, p, r.sessionNow(p))
	return out, err
}

// SignedInReport lists who was signed in at an instant.
type SignedInReport struct {
	Header
	At         time.Time `json:"at"`
	Rows       []Session `json:"rows"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// SignedIn lists the sessions open at p.At: begun at or before it and not ended
// by then. Paused ones (locked, disconnected) are among them.
func (r *Reports) SignedIn(ctx context.Context, c Company, p Params) (*SignedInReport, error) {
	now := r.sessionNow(p)
	at := p.At
	if at.IsZero() {
		at = time.UnixMilli(now).UTC()
	}
	p.From, p.To = at, at.Add(time.Millisecond)
	out := &SignedInReport{Header: r.header("signed-in", c, p), At: at.In(p.Zone())}
	// Sessions that end exactly at the instant are over: [start, end).
	rows, next, err := r.sessionRows(ctx, c, p, now)
	if err != nil {
		return nil, err
	}
	out.NextCursor = next
	for _, s := range rows {
		if s.End == nil || s.End.After(at) {
			out.Rows = append(out.Rows, s)
		}
	}
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

func (r *Reports) sessionRows(ctx context.Context, c Company, p Params, now int64) ([]Session, string, error) {
	limit := p.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	a := sessionArgs(c, p, now)
	a["limit"], a["offset"] = limit+1, p.page.Offset
	sites := r.siteLabels(ctx, c)
	rows := make([]Session, 0, min(limit, 256))
	err := r.query(ctx, sessionSQL+sessionsTail, a, func(row driver.Rows) error {
		var s Session
		var logonID uint64
		var logonType, signedIn uint8
		var start, until, active, paused int64
		if err := row.Scan(&s.User, &s.Computer, &s.SiteID, &logonID, &logonType, &signedIn, &s.Elevated, &start, &until, &active, &paused, &s.EndReason, &s.EndConfidence); err != nil {
			return err
		}
		s.Site = sites[s.SiteID]
		if logonID != 0 {
			hex := "0x" + strconv.FormatUint(logonID, 16)
			s.LogonID = &hex
		}
		if logonType != event.LogonTypeNone {
			s.LogonType = &logonType
		}
		s.OpenedBy = "unlock"
		if signedIn == 1 {
			s.OpenedBy = "logon"
		}
		s.Start = time.UnixMilli(start).In(p.Zone())
		if s.EndReason != "open" {
			end := time.UnixMilli(until).In(p.Zone())
			s.End = &end
		}
		s.ActiveSeconds, s.PausedSeconds = seconds(active), seconds(paused)
		s.EventsURL = eventsURL(s.User, s.Computer, start, until)
		rows = append(rows, s)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(rows) <= limit {
		return rows, "", nil
	}
	return rows[:limit:limit], p.cursor(page{Offset: p.page.Offset + limit, Now: now}), nil
}

// sessionArgs binds what session.sql and its tails ask for.
func sessionArgs(c Company, p Params, now int64) args {
	maxSession := c.MaxSession
	if maxSession <= 0 {
		maxSession = DefaultMaxSession
	}
	return args{
		"company": c.ID, "user": p.User, "computer": p.Computer, "site": p.Site,
		"from": p.From, "to": p.To, "now": now, "max": maxSession.Milliseconds(),
		"lo": max(p.From.Add(-SessionLookaround).UnixMilli(), 0), "hi": p.To.Add(SessionLookaround),
	}
}

// seconds of milliseconds.
func seconds(ms int64) float64 { return float64(ms) / 1000 }

// eventsURL is the search for the events of a person at a computer in [from, to].
func eventsURL(user, computer string, from, to int64) string {
	return "/api/v1/events?" + url.Values{
		"user": {event.Fold(user)}, "computer": {event.Fold(computer)},
		"from": {time.UnixMilli(from).UTC().Format(time.RFC3339Nano)},
		"to":   {time.UnixMilli(to + 1).UTC().Format(time.RFC3339Nano)},
	}.Encode()
}
