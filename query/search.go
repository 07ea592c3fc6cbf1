package query

import (
	"cmp"
	"context"
	_ "embed" // the statement
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"gatehouse/event"
)

//go:embed search.sql
var searchSQL string

// The orders that may stand in the statement.
const (
	orderMark   = "/*order*/"
	orderByTime = "toDate(time) DESC, time DESC"
	orderExact  = orderByTime + ", computer DESC, user DESC, type DESC, logon_id DESC, record_id DESC, event_id DESC, content_hash DESC"
)

// SearchSpec is the event search's parameters.
var SearchSpec = &Spec{
	Name: "events",
	Params: takes(common, []string{
		"type", "account", "logon_type", "domain", "q", "ip", "logon_id", "event_id",
	}),
	DefaultLimit: DefaultSearchLimit, MaxLimit: MaxSearchLimit,
}

// EventSpec is the parameters of the look-up of one event.
var EventSpec = &Spec{Name: "event", Params: []string{"company", "tz", "time"}}

// SearchReport is one page of events, newest first.
type SearchReport struct {
	Header
	Rows       []EventRow `json:"rows"`
	NextCursor string     `json:"next_cursor,omitempty"`
}

// EventReport is one event.
type EventReport struct {
	Company string   `json:"company"`
	TZ      string   `json:"tz"`
	Event   EventRow `json:"event"`
}

// EventRow is an event with all that is known of it. What the source did not
// give is null.
type EventRow struct {
	ID            string    `json:"id"`
	Time          time.Time `json:"time"`
	Received      time.Time `json:"received"`
	Type          string    `json:"type"`
	Account       string    `json:"account"`
	User          *string   `json:"user"`
	Computer      string    `json:"computer"`
	Domain        *string   `json:"domain"`
	SID           *string   `json:"sid"`
	LogonID       *string   `json:"logon_id"` // hexadecimal, as Windows shows it
	LinkedLogonID *string   `json:"linked_logon_id"`
	LogonType     *uint8    `json:"logon_type"`
	Elevated      bool      `json:"elevated"`
	LocalIP       *string   `json:"local_ip"`
	PublicIP      *string   `json:"public_ip"`
	SourceIP      *string   `json:"source_ip"`
	SourceHost    *string   `json:"source_host"`
	Status        *string   `json:"status"`
	SubStatus     *string   `json:"sub_status"`
	Reason        *string   `json:"reason"` // of a failure, in words
	EventID       *uint16   `json:"event_id"`
	RecordID      *uint64   `json:"record_id"`
	Channel       *string   `json:"channel"`
	Provider      *string   `json:"provider"`
	AgentVersion  *string   `json:"agent_version"`
	Retry         uint16    `json:"retry"`
	SiteID        uint32    `json:"site_id"`
	Site          *string   `json:"site"`

	e event.Event // for its place in the order
}

// searchWindows are the stretches of time in which a page is looked for, the newest
// first, and what is left of the range after them. A page of a busy company is found in
// the first one, whatever the range: it reaches back over a weekend. Each costs planning,
// and a longer one reading.
var searchWindows = []time.Duration{3 * 24 * time.Hour, 24 * 24 * time.Hour, 192 * 24 * time.Hour}

// Search finds events, newest first.
func (r *Reports) Search(ctx context.Context, c Company, p Params) (*SearchReport, error) {
	report := &SearchReport{Header: r.header("events", c, p)}
	end := p.To
	var before *place
	if p.page.Key != nil {
		var err error
		if before, err = readPlace(p.page.Key); err != nil {
			return nil, err
		}
		if last := time.UnixMilli(int64(before.time) + 1); last.Before(end) { //nolint:gosec // checked to be below maxTime
			end = last
		}
	}
	sites := r.siteLabels(ctx, c)
	var rows []EventRow
	for i := 0; p.From.Before(end) && len(rows) <= p.Limit; i++ {
		part := p
		part.To = end
		if i < len(searchWindows) && end.Add(-searchWindows[i]).After(p.From) {
			part.From = end.Add(-searchWindows[i])
		}
		w := where(c).during(part).matching(p)
		if before != nil {
			w.after(before)
		}
		found, err := r.newest(ctx, c, p, w, sites, p.Limit+1-len(rows))
		if err != nil {
			return nil, err
		}
		rows, end = append(rows, found...), part.From
	}
	if len(rows) > p.Limit {
		rows = rows[:p.Limit:p.Limit]
		report.NextCursor = p.cursor(page{Key: keyOf(&rows[len(rows)-1].e)})
	}
	report.Rows = rows
	return report, nil
}

// Event finds one event by its id; p.At, when set, is its time.
func (r *Reports) Event(ctx context.Context, c Company, p Params, id event.ID) (*EventReport, error) {
	w := where(c)
	if !p.At.IsZero() {
		w.add("time = fromUnixTimestamp64Milli({time:Int64}, 'UTC')", "time", p.At)
	}
	w.add("id = unhex({id:String})", "id", id.String())
	w.args["limit"] = 1
	rows, err := r.events(ctx, c, p, w, r.siteLabels(ctx, c), orderExact)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, event.Errorf(event.CodeNotFound, "there is no such event")
	}
	return &EventReport{Company: c.Name, TZ: p.Zone().String(), Event: rows[0]}, nil
}

// newest gives the first of the events that fulfil w, newest first, and at most so many;
// the last of them only tells that there are more.
func (r *Reports) newest(ctx context.Context, c Company, p Params, w *conditions, sites map[uint32]string, limit int) ([]EventRow, error) {
	w.args["limit"] = limit
	rows, err := r.events(ctx, c, p, w, sites, orderByTime)
	if err != nil {
		return nil, err
	}
	if n := len(rows); n == limit && n > 1 && rows[n-2].e.Time == rows[n-1].e.Time {
		// The page ends within a millisecond: which of its events belong to it is for the exact order to say.
		return r.events(ctx, c, p, w, sites, orderExact)
	}
	slices.SortFunc(rows, func(a, b EventRow) int {
		if c := cmp.Compare(b.e.Time, a.e.Time); c != 0 {
			return c
		}
		return compareKeys(&b.e, &a.e)
	})
	return rows, nil
}

// compareKeys compares events of one moment by the rest of the sorting key.
func compareKeys(a, b *event.Event) int {
	return cmp.Or(
		strings.Compare(event.Fold(a.Computer), event.Fold(b.Computer)), strings.Compare(event.Fold(a.User), event.Fold(b.User)), cmp.Compare(a.Type, b.Type),
		cmp.Compare(a.LogonID, b.LogonID), cmp.Compare(a.RecordID, b.RecordID), cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.ContentHash, b.ContentHash))
}

func (r *Reports) events(ctx context.Context, c Company, p Params, w *conditions, sites map[uint32]string, order string) ([]EventRow, error) {
	var rows []EventRow
	err := r.query(ctx, strings.ReplaceAll(w.in(searchSQL), orderMark, order), w.args, func(q driver.Rows) error {
		var (
			e                           event.Event
			lag                         int64
			typ, account                uint8
			localIP, publicIP, sourceIP netip.Addr
		)
		err := q.Scan(&e.SiteID, &e.Time, &lag, &typ, &account, &e.User, &e.Computer, &e.Domain, &e.SID,
			&e.LogonID, &e.LinkedLogonID, &e.LogonType, &e.Elevated, &localIP, &publicIP, &sourceIP, &e.SourceHost, &e.Status, &e.SubStatus,
			&e.EventID, &e.RecordID, &e.ContentHash, &e.Channel, &e.Provider, &e.Agent, &e.Retry)
		if err != nil {
			return err
		}
		e.CompanyID, e.Received, e.Type, e.Account = c.ID, e.Time+lag, event.Type(typ), event.Account(account)
		e.LocalIP, e.PublicIP, e.SourceIP = addrOrNone(localIP), addrOrNone(publicIP), addrOrNone(sourceIP)
		rows = append(rows, eventRow(&e, p, sites[e.SiteID]))
		return nil
	})
	return rows, err
}

func addrOrNone(a netip.Addr) netip.Addr {
	if !a.IsValid() || a == netip.IPv6Unspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

// eventRow is how an event is shown.
func eventRow(e *event.Event, p Params, site string) EventRow {
	row := EventRow{
		ID: e.ID().String(), Time: *p.local(e.Time), Received: *p.local(e.Received), Type: e.Type.String(), Account: e.Account.String(),
		User: textOrNil(e.User), Computer: e.Computer, Domain: textOrNil(e.Domain), SID: textOrNil(e.SID),
		LogonID: hexOrNil(e.LogonID), LinkedLogonID: hexOrNil(e.LinkedLogonID), Elevated: e.Elevated,
		LocalIP: addrOrNil(e.LocalIP), PublicIP: addrOrNil(e.PublicIP), SourceIP: addrOrNil(e.SourceIP), SourceHost: textOrNil(e.SourceHost),
		EventID: numberOrNil(e.EventID), RecordID: numberOrNil(e.RecordID),
		Channel: textOrNil(e.Channel), Provider: textOrNil(e.Provider), AgentVersion: textOrNil(e.Agent),
		Retry: e.Retry, SiteID: e.SiteID, Site: textOrNil(site), e: *e,
	}
	if e.LogonType != event.LogonTypeNone {
		row.LogonType = &e.LogonType
	}
	if e.Status != 0 {
		row.Status = textOrNil(codeText(e.Status))
	}
	if e.SubStatus != 0 {
		row.SubStatus = textOrNil(codeText(e.SubStatus))
	}
	if e.Type == event.LogonFailed || e.Type == event.CredentialFailed {
		row.Reason = textOrNil(ReasonFor(e.Status, e.SubStatus).Text)
	}
	return row
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func hexOrNil(n uint64) *string {
	if n == 0 {
		return nil
	}
	s := "0x" + strconv.FormatUint(n, 16)
	return &s
}

func numberOrNil[T uint16 | uint64](n T) *T {
	if n == 0 {
		return nil
	}
	return &n
}

func addrOrNil(a netip.Addr) *string {
	if !a.IsValid() {
		return nil
	}
	s := a.String()
	return &s
}

// keyOf is an event's place in the order, as a cursor carries it.
func keyOf(e *event.Event) []string {
	return []string{
		strconv.FormatInt(e.Time, 10), event.Fold(e.Computer), event.Fold(e.User), strconv.Itoa(int(e.Type)),
		strconv.FormatUint(e.LogonID, 10), strconv.FormatUint(e.RecordID, 10), strconv.Itoa(int(e.EventID)), strconv.FormatUint(e.ContentHash, 10),
	}
}

// place is an event's place in the order, read from a cursor.
type place struct {
	time                          uint64 // Unix milliseconds
	computer, user                string
	typ                           uint64
	logon, record, eventID, chash uint64
}

// readPlace reads what keyOf wrote. Anything else is no cursor of ours.
func readPlace(key []string) (*place, error) {
	const parts = 8
	if len(key) != parts || len(key[1]) > maxKeyName || len(key[2]) > maxKeyName {
		return nil, errCursor
	}
	p := &place{computer: key[1], user: key[2]}
	for _, n := range []struct {
		text string
		bits int
		to   *uint64
	}{{key[0], 63, &p.time}, {key[3], 8, &p.typ}, {key[4], 64, &p.logon}, {key[5], 64, &p.record}, {key[6], 16, &p.eventID}, {key[7], 64, &p.chash}} {
		v, err := strconv.ParseUint(n.text, 10, n.bits)
		if err != nil || strconv.FormatUint(v, 10) != n.text {
			return nil, errCursor
		}
		*n.to = v
	}
	if p.time > uint64(maxTime.UnixMilli()) {
		return nil, errCursor
	}
	return p, nil
}

// maxKeyName is the longest name in a cursor: folding can make a name longer.
const maxKeyName = 4 * event.MaxName

// after adds that events come after a place: they lie before it in time. The
// bare time stands beside the whole key so that the index is used.
func (w *conditions) after(p *place) *conditions {
	return w.add(`time <= fromUnixTimestamp64Milli({k_time:Int64}, 'UTC')
  AND (toUnixTimestamp64Milli(time), computer, user, toUInt8(type), logon_id, record_id, event_id, content_hash)
    < ({k_time:Int64}, {k_computer:String}, {k_user:String}, {k_type:UInt8}, {k_logon:UInt64}, {k_record:UInt64}, {k_event:UInt16}, {k_hash:UInt64})`,
		"k_time", p.time, "k_computer", p.computer, "k_user", p.user, "k_type", p.typ,
		"k_logon", p.logon, "k_record", p.record, "k_event", p.eventID, "k_hash", p.chash)
}
