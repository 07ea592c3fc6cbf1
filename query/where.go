package query

import (
	"strings"

	"gatehouse/event"
)

// whereMark is where the conditions of a request stand in a statement.
const whereMark = "/*where*/"

// conditions builds the conditions that a request's filters stand for. The
// text is made of the constants below alone; values are bound.
type conditions struct {
	args  args
	parts []string
}

// where begins the conditions of a statement with the company, which is never
// left out, and the values that statements use by name.
func where(c Company) *conditions {
	return &conditions{
		args:  args{"company": c.ID},
		parts: []string{"company_id = {company:UInt32}"},
	}
}

func (w *conditions) add(sql string, values ...any) *conditions {
	w.parts = append(w.parts, sql)
	for i := 0; i+1 < len(values); i += 2 {
		w.args[values[i].(string)] = values[i+1]
	}
	return w
}

// during adds p's range.
func (w *conditions) during(p Params) *conditions {
	return w.add("time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND time < fromUnixTimestamp64Milli({to:Int64}, 'UTC')",
		"from", p.From, "to", p.To)
}

// matching adds every filter of p that is set.
func (w *conditions) matching(p Params) *conditions {
	w.kinds(p)
	if p.User != "" {
		w.add("user = {user:String}", "user", p.User)
	}
	if p.Computer != "" {
		w.add("computer = {computer:String}", "computer", p.Computer)
	}
	if p.Domain != "" {
		w.add("lowerUTF8(domain) = {domain:String}", "domain", p.Domain)
	}
	if p.Search != "" {
		w.add("(startsWith(user, {q:String}) OR startsWith(computer, {q:String}))", "q", p.Search)
	}
	if p.Address.IsValid() {
		w.add("(source_ip = toIPv6({ip:String}) OR local_ip = toIPv6({ip:String}) OR public_ip = toIPv6({ip:String}))", "ip", p.Address)
	}
	if p.LogonID != 0 {
		w.add("logon_id = {logon_id:UInt64}", "logon_id", p.LogonID)
	}
	if p.EventID != 0 {
		w.add("event_id = {event_id:UInt16}", "event_id", p.EventID)
	}
	return w
}

// kinds adds the filters that the projection of the table can answer too.
func (w *conditions) kinds(p Params) *conditions {
	if p.Site != nil {
		w.add("site_id = {site:UInt32}", "site", *p.Site)
	}
	if len(p.Types) > 0 {
		w.add("has({types:Array(UInt8)}, toUInt8(type))", "types", codes(p.Types))
	}
	if len(p.Accounts) > 0 {
		w.add("has({accounts:Array(UInt8)}, toUInt8(account))", "accounts", codes(p.Accounts))
	}
	if len(p.LogonTypes) > 0 {
		w.add("has({logon_types:Array(UInt8)}, logon_type)", "logon_types", p.LogonTypes)
	}
	return w
}

// onlyKinds tells whether p has no filter but those of kinds.
func (p Params) onlyKinds() bool {
	return p.User == "" && p.Computer == "" && p.Domain == "" && p.Search == "" && !p.Address.IsValid() && p.LogonID == 0 && p.EventID == 0
}

func codes[T event.Type | event.Account](list []T) []uint8 {
	out := make([]uint8, len(list))
	for i, v := range list {
		out[i] = uint8(v)
	}
	return out
}

// in puts the conditions into a statement.
func (w *conditions) in(sql string) string {
	return strings.ReplaceAll(sql, whereMark, strings.Join(w.parts, "\n  AND "))
}

// pageArgs binds limit and offset of the page that p asks for. One row more
// is read than given, to know whether there is a next page.
func (w *conditions) pageArgs(p Params) *conditions {
	w.args["limit"], w.args["offset"] = p.Limit+1, p.page.Offset
	return w
}

// nextPage cuts the row that was read too many, and gives the cursor that leads to it.
func nextPage[T any](p Params, rows []T) ([]T, string) {
	if len(rows) <= p.Limit {
		return rows, ""
	}
	return rows[:p.Limit:p.Limit], p.cursor(page{Offset: p.page.Offset + p.Limit})
}
