package query

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/event"
)

// paramDef is one parameter: how it is read, and how it is documented.
type paramDef struct {
	Name        string
	Description string
	// schema is its JSON Schema for the documentation of a report.
	schema func(s *Spec) schemaObject
	// list tells that it may be repeated or hold several values with commas.
	list  bool
	parse func(in *input, values []string) error
}

// paramDefs are all parameters by name; paramOrder is their order in the
// documentation, and in which they are read.
var (
	paramOrder = makeParams()
	paramDefs  = func() map[string]*paramDef {
		m := make(map[string]*paramDef, len(paramOrder))
		for _, d := range paramOrder {
			m[d.Name] = d
		}
		return m
	}()
)

func makeParams() []*paramDef {
	return []*paramDef{
		{
			Name: "company", Description: "The caller's own company, by name or number. It may be left out; any other is not found.",
			schema: textSchema, parse: one("company", (*input).setCompany),
		},
		{
			Name: "tz", Description: "The time zone (IANA name) of days, hours and of the times in the answer. Default: the company's.",
			schema: textSchema, parse: one("tz", (*input).setZone),
		},
		{
			Name: "from", Description: "Where the range begins (part of it): RFC 3339, a date (its local midnight), now, today, yesterday, or a distance such as -30d. Default: the local midnight with which the last " + strconv.Itoa(DefaultDays) + " days begin.",
			schema: textSchema, parse: parseBound("from", func(in *input) *time.Time { return &in.from }),
		},
		{
			Name: "to", Description: "Where the range ends (not part of it), in the same forms. A date means the midnight with which it begins: from=2025-05-01&to=2025-06-01 is May. Default: now.",
			schema: textSchema, parse: parseBound("to", func(in *input) *time.Time { return &in.to }),
		},
		{
			Name: "at", Description: "The instant asked about, in the forms of from. Default: now.",
			schema: textSchema, parse: parseAt,
		},
		{
			Name: "time", Description: "When the event happened, as the search gives it: it makes the look-up fast. Without it the whole history is looked through.",
			schema: textSchema, parse: parseAt,
		},
		{
			Name: "site", Description: "Only what came by this site (API key), by its number. 0: what was imported from files without one.",
			schema: intSchema(0, 1<<32-1), parse: one("site", func(in *input, s string) error {
				in.p.Site = new(uint32)
				return readUint(s, "site", 0, 1<<32-1, in.p.Site)
			}),
		},
		{
			Name: "user", Description: "Only this user, without domain and without regard to case.",
			schema: textSchema, parse: one("user", func(in *input, s string) error { return readName(s, "user", &in.p.User) }),
		},
		{
			Name: "computer", Description: "Only this computer, without regard to case.",
			schema: textSchema, parse: one("computer", func(in *input, s string) error { return readName(s, "computer", &in.p.Computer) }),
		},
		{
			Name: "domain", Description: "Only accounts of this domain, without regard to case.",
			schema: textSchema, parse: one("domain", func(in *input, s string) error { return readName(s, "domain", &in.p.Domain) }),
		},
		{
			Name: "q", Description: "Only events whose user's or computer's name begins with this, without regard to case.",
			schema: textSchema, parse: one("q", func(in *input, s string) error { return readName(s, "q", &in.p.Search) }),
		},
		{
			Name: "type", Description: "Only these types of event; all means every type.", list: true,
			schema: func(s *Spec) schemaObject {
				return listSchemaDefault(append([]string{"all"}, typeNames(s)...), s.DefaultTypes)
			}, parse: parseTypes,
		},
		{
			Name: "account", Description: "Only these kinds of account; all means every kind.", list: true,
			schema: func(s *Spec) schemaObject {
				return listSchemaDefault(append([]string{"all"}, accountNames()...), s.DefaultAccounts)
			}, parse: parseAccounts,
		},
		{
			Name: "logon_type", Description: "Only these Windows logon types (2 interactive, 3 network, 10 remote interactive, …; none: events without one).", list: true,
			schema: func(*Spec) schemaObject {
				return schemaObject{"type": "array", "items": schemaObject{"type": "string"}}
			}, parse: parseLogonTypes,
		},
		{
			Name: "ip", Description: "Only events with this IP address, as source, local or public address.",
			schema: textSchema, parse: one("ip", (*input).setAddress),
		},
		{
			Name: "logon_id", Description: "Only this logon id, decimal or hexadecimal with 0x.",
			schema: textSchema, parse: one("logon_id", func(in *input, s string) error { return readUint(s, "logon_id", 1, 1<<64-1, &in.p.LogonID) }),
		},
		{
			Name: "event_id", Description: "Only this Windows event id.",
			schema: intSchema(1, 1<<16-1), parse: one("event_id", func(in *input, s string) error { return readUint(s, "event_id", 1, 1<<16-1, &in.p.EventID) }),
		},
		{
			Name: "group_by", Description: "What one row stands for.", list: true,
			schema: func(s *Spec) schemaObject {
				if s.GroupMany {
					schema := listSchema(s.GroupBy)
					schema["default"] = s.GroupDefault
					return schema
				}
				return schemaObject{"type": "string", "enum": s.GroupBy, "default": s.GroupDefault[0]}
			}, parse: parseGroupBy,
		},
		{
			Name: "burst_count", Description: "How many failures within burst_window make a burst.",
			schema: intSchema(MinBurstCount, MaxBurstCount),
			parse:  parseIntDefault("burst_count", MinBurstCount, MaxBurstCount, DefaultBurstCount, func(p *Params, n int) { p.BurstCount = n }),
		},
		{
			Name: "burst_window", Description: "Within how many seconds failures make a burst or a spray.",
			schema: intSchema(1, int64(MaxBurstWindow/time.Second)),
			parse: parseIntDefault("burst_window", 1, int(MaxBurstWindow/time.Second), int(DefaultBurstWindow/time.Second),
				func(p *Params, n int) { p.BurstWindow = time.Duration(n) * time.Second }),
		},
		{
			Name: "spray_users", Description: "How many users that fail from one address within burst_window make a password spray.",
			schema: intSchema(MinSprayUsers, MaxSprayUsers),
			parse:  parseIntDefault("spray_users", MinSprayUsers, MaxSprayUsers, DefaultSprayUsers, func(p *Params, n int) { p.SprayUsers = n }),
		},
		{
			Name: "silence_after", Description: "After how many hours without an event a computer counts as silent.",
			schema: intSchema(1, int64(MaxSilenceAfter/time.Hour)),
			parse: parseIntDefault("silence_after", 1, int(MaxSilenceAfter/time.Hour), int(DefaultSilenceAfter/time.Hour),
				func(p *Params, n int) { p.SilenceAfter = time.Duration(n) * time.Hour }),
		},
		{
			Name: "limit", Description: "How many rows at most; next_cursor leads to the rest.",
			schema: func(s *Spec) schemaObject { return intSchemaDefault(1, int64(s.maxLimit()), int64(s.defaultLimit())) },
			parse: func(in *input, v []string) error {
				return parseIntDefault("limit", 1, in.spec.maxLimit(), in.spec.defaultLimit(), func(p *Params, n int) { p.Limit = n })(in, v)
			},
		},
		{
			Name: "cursor", Description: "The next_cursor of the page before, with the same other parameters.",
			schema: textSchema, parse: one("cursor", func(in *input, s string) error {
				if len(s) > maxCursor {
					return errCursor
				}
				in.p.Cursor = s
				return nil
			}),
		},
		{
			Name: "format", Description: "The form of the answer: json (default) or csv.",
			schema: func(*Spec) schemaObject {
				return schemaObject{"type": "string", "enum": []string{"json", "csv"}, "default": "json"}
			},
			parse: func(in *input, v []string) error {
				in.p.Format = FormatJSON
				return one("format", func(in *input, s string) error {
					switch f := Format(strings.ToLower(s)); f {
					case FormatJSON, FormatCSV:
						in.p.Format = f
						return nil
					}
					return event.FieldError("format", "%q is neither json nor csv", clip(s))
				})(in, v)
			},
		},
	}
}

func (s *Spec) defaultLimit() int {
	if s.DefaultLimit > 0 {
		return s.DefaultLimit
	}
	return DefaultLimit
}

func (s *Spec) maxLimit() int {
	if s.MaxLimit > 0 {
		return s.MaxLimit
	}
	return MaxLimit
}

// one reads a parameter that has one value; an empty one counts as absent.
func one(name string, set func(*input, string) error) func(*input, []string) error {
	return func(in *input, values []string) error {
		switch {
		case len(values) == 0:
			return nil
		case len(values) > 1:
			return event.FieldError(name, "is given %d times; give it once", len(values))
		}
		if s := strings.TrimSpace(values[0]); s != "" {
			return set(in, s)
		}
		return nil
	}
}

// splitList gives the values of a list parameter, in lower case.
func splitList(name string, values []string) ([]string, error) {
	var out []string
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			s = strings.ToLower(strings.TrimSpace(s))
			if s == "" || slices.Contains(out, s) {
				continue
			}
			if len(out) == MaxListed {
				return nil, event.FieldError(name, "has more than %d values", MaxListed)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// errCompany is the one answer for companies that do not exist and companies
// of others.
var errCompany = &event.Error{Code: event.CodeNotFound, Field: "company", Message: "there is no such company"}

func (in *input) setCompany(s string) error {
	if event.Fold(s) == event.Fold(in.company.Name) || s == strconv.FormatUint(uint64(in.company.ID), 10) {
		return nil
	}
	return errCompany
}

func (in *input) setZone(s string) error {
	loc, err := loadZone(s)
	if err != nil {
		return event.FieldError("tz", "%q is not a time zone; send an IANA name such as Europe/London or UTC", clip(s))
	}
	in.p.Location = loc
	return nil
}

func (in *input) setAddress(s string) error {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return event.FieldError("ip", "%q is not an IP address", clip(s))
	}
	if in.p.Address = a.Unmap().WithZone(""); in.p.Address == netip.IPv6Unspecified() {
		return event.FieldError("ip", "%q stands for no address", clip(s))
	}
	return nil
}

// zoneNameLetters are what IANA names are made of. time.LoadLocation refuses
// "..", and we refuse what else is no name, because it opens files.
const zoneNameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/"

func loadZone(name string) (*time.Location, error) {
	if name == "Local" || len(name) > 64 || strings.Trim(name, zoneNameLetters) != "" {
		return nil, event.FieldError("tz", "is not a time zone")
	}
	return time.LoadLocation(name)
}

// parseBound reads an end of the range. tz stands before it in paramOrder.
func parseBound(name string, to func(*input) *time.Time) func(*input, []string) error {
	return one(name, func(in *input, s string) error {
		t, err := parseTime(name, s, in.now, in.p.Zone())
		if err != nil {
			return err
		}
		*to(in) = t
		return nil
	})
}

func parseAt(in *input, values []string) error {
	name := "at"
	if !slices.Contains(in.spec.Params, "at") {
		name = "time"
	} else {
		in.p.At = in.now
	}
	return one(name, func(in *input, s string) error {
		t, err := parseTime(name, s, in.now, in.p.Zone())
		switch {
		case err != nil:
			return err
		case name == "at" && t.After(in.now.Add(clockSlack)):
			return event.FieldError("at", "lies in the future (%s; here it is %s)", t.In(in.p.Zone()).Format(time.RFC3339), in.now.In(in.p.Zone()).Format(time.RFC3339))
		case name == "at" && t.After(in.now):
			t = in.now
		}
		in.p.At = t
		return nil
	})(in, values)
}

// clockSlack is how far ahead of ours the clock of somebody may be who asks who is
// signed in at this moment. Beyond it there is no answer: what will be is not known.
const clockSlack = 5 * time.Minute

func readName(s, field string, to *string) error {
	if len(s) > event.MaxName {
		return event.FieldError(field, "is longer than %d bytes", event.MaxName)
	}
	if !utf8.ValidString(s) {
		return event.FieldError(field, "is not valid UTF-8")
	}
	*to = event.Fold(s)
	return nil
}

func readUint[T uint16 | uint32 | uint64](s, field string, low, high uint64, to *T) error {
	digits, base := s, 10
	if rest, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		digits, base = rest, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil || n < low || n > high {
		return event.FieldError(field, "%q is not a whole number from %d to %d", clip(s), low, high)
	}
	*to = T(n)
	return nil
}

func parseIntDefault(field string, low, high, def int, set func(*Params, int)) func(*input, []string) error {
	return func(in *input, values []string) error {
		set(&in.p, def)
		return one(field, func(in *input, s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < low || n > high {
				return event.FieldError(field, "%q is not a whole number from %d to %d", clip(s), low, high)
			}
			set(&in.p, n)
			return nil
		})(in, values)
	}
}

func typeNames(s *Spec) []string {
	choice := s.TypeChoice
	if len(choice) == 0 {
		choice = event.Types()
	}
	out := make([]string, len(choice))
	for i, t := range choice {
		out[i] = t.String()
	}
	return out
}

func accountNames() []string {
	var out []string
	for _, a := range event.Accounts() {
		out = append(out, a.String())
	}
	return out
}

func parseTypes(in *input, values []string) error {
	in.p.Types = slices.Clone(in.spec.DefaultTypes)
	list, err := splitList("type", values)
	if err != nil || len(list) == 0 {
		return err
	}
	in.p.Types = nil
	if slices.Contains(list, "all") {
		in.p.Types = slices.Clone(in.spec.TypeChoice)
		return nil
	}
	for _, s := range list {
		t, ok := event.ParseType(s)
		if !ok || (len(in.spec.TypeChoice) > 0 && !slices.Contains(in.spec.TypeChoice, t)) {
			return event.FieldError("type", "%q is not a type this report takes; it takes %s", clip(s), strings.Join(typeNames(in.spec), ", "))
		}
		if !slices.Contains(in.p.Types, t) {
			in.p.Types = append(in.p.Types, t)
		}
	}
	return nil
}

func parseAccounts(in *input, values []string) error {
	in.p.Accounts = slices.Clone(in.spec.DefaultAccounts)
	list, err := splitList("account", values)
	if err != nil || len(list) == 0 {
		return err
	}
	in.p.Accounts = nil
	if slices.Contains(list, "all") {
		return nil
	}
	names := accountNames()
	for _, s := range list {
		i := slices.Index(names, s)
		if i < 0 {
			return event.FieldError("account", "%q is not a kind of account; the kinds are all, %s", clip(s), strings.Join(names, ", "))
		}
		in.p.Accounts = append(in.p.Accounts, event.Accounts()[i])
	}
	return nil
}

func parseLogonTypes(in *input, values []string) error {
	list, err := splitList("logon_type", values)
	if err != nil {
		return err
	}
	for _, s := range list {
		n := uint64(event.LogonTypeNone)
		if s != "none" {
			var err error
			if n, err = strconv.ParseUint(s, 10, 8); err != nil || n >= uint64(event.LogonTypeNone) {
				return event.FieldError("logon_type", "%q is neither a logon type (0 to 254) nor none", clip(s))
			}
		}
		in.p.LogonTypes = append(in.p.LogonTypes, uint8(n))
	}
	return nil
}

func parseGroupBy(in *input, values []string) error {
	in.p.GroupBy = slices.Clone(in.spec.GroupDefault)
	list, err := splitList("group_by", values)
	if err != nil || len(list) == 0 {
		return err
	}
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], "-", "_")
	}
	if one, ok := in.spec.GroupAlias[strings.Join(list, ",")]; ok {
		list = []string{one}
	}
	if !in.spec.GroupMany && len(list) > 1 {
		return event.FieldError("group_by", "takes one of %s", strings.Join(in.spec.GroupBy, ", "))
	}
	for _, s := range list {
		if !slices.Contains(in.spec.GroupBy, s) {
			return event.FieldError("group_by", "%q is not something this report groups by; it takes %s", clip(s), strings.Join(in.spec.GroupBy, ", "))
		}
	}
	in.p.GroupBy = list
	return nil
}
