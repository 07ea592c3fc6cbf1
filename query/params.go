package query

import (
	"net/netip"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"gatehouse/event"
	"gatehouse/internal/nearest"
)

// Limits of parameters. A request beyond one is refused with the field's name.
const (
	// MaxRange is the longest range of one report. Beyond it a report would
	// read more than partitions are made for; ask twice.
	MaxRange = 5 * 366 * 24 * time.Hour
	// DefaultDays is how many local days, today included, a report covers when
	// neither from nor to is given.
	DefaultDays = 30
	// DefaultLimit and MaxLimit are the rows of one page of a report.
	DefaultLimit = 1000
	MaxLimit     = 100_000
	// DefaultSearchLimit and MaxSearchLimit are the events of one search page.
	DefaultSearchLimit = 100
	MaxSearchLimit     = 10_000
	// MaxListed is how many values a list parameter takes (type=a,b,c).
	MaxListed = 64
	// maxCursor is longer than any cursor that we make.
	maxCursor = 2048
)

// Params are the parameters of a report, parsed and checked. Those that a
// report does not take have their zero value.
type Params struct {
	From, To time.Time      // [From, To), whole milliseconds
	Location *time.Location // tz, default the company's
	At       time.Time      // the instant asked for, default now

	Site     *uint32 // nil: all; 0 is what came without a key, by import
	User     string  // folded, "" for all
	Computer string  // folded, "" for all
	Domain   string  // folded, "" for all
	Search   string  // q: folded beginning of a user or computer name

	Types      []event.Type    // empty: all
	Accounts   []event.Account // empty: all
	LogonTypes []uint8         // empty: all
	Address    netip.Addr      // invalid: all
	LogonID    uint64          // 0: all
	EventID    uint16          // 0: all

	// Thresholds of the failure report.
	BurstCount   int
	BurstWindow  time.Duration
	SprayUsers   int
	SilenceAfter time.Duration // coverage: no event for this long is silence

	GroupBy []string // as the report allows, never empty where it takes one
	Limit   int
	Cursor  string // opaque, see cursor.go
	Format  Format

	page page // what Cursor says, decoded by ParseParams
}

// Zone is the time zone of the answer, never nil.
func (p Params) Zone() *time.Location {
	if p.Location == nil {
		return time.UTC
	}
	return p.Location
}

// Grouped tells whether the report is to be grouped by what.
func (p Params) Grouped(what string) bool { return slices.Contains(p.GroupBy, what) }

// Format is the form of an answer.
type Format string

// The forms.
const (
	FormatJSON Format = "json"
	FormatCSV  Format = "csv"
)

// Spec says which parameters a report takes, for parsing, for the
// documentation, and for error messages.
type Spec struct {
	Name    string   // of the report, in paths and on the command line
	Params  []string // by name, see the table paramDefs; the common ones included
	GroupBy []string // the values that group_by takes
	// GroupDefault stands for an absent group_by.
	GroupDefault []string
	// GroupMany tells that group_by takes several values.
	GroupMany bool
	// GroupAlias gives other ways to write a value of group_by.
	GroupAlias   map[string]string
	DefaultLimit int
	MaxLimit     int
	// DefaultTypes stands for an absent type; empty means all types.
	DefaultTypes []event.Type
	// TypeChoice limits the values of type; empty means all.
	TypeChoice []event.Type
	// DefaultAccounts stands for an absent account.
	DefaultAccounts []event.Account
}

// common are the parameters of every report over a range. Every route takes
// company, tz and format as well.
var common = []string{"company", "tz", "format", "from", "to", "site", "user", "computer", "limit", "cursor"}

// takes makes a list of parameters out of lists.
func takes(lists ...[]string) []string { return slices.Concat(lists...) }

// Errors are all that is wrong with a request's parameters: unknown ones by
// name, then the others in the order of the documentation. It unwraps to its
// first, so that one field is always named.
type Errors []*event.Error

// Error names every field.
func (e Errors) Error() string {
	parts := make([]string, len(e))
	for i, one := range e {
		parts[i] = one.Error()
	}
	return strings.Join(parts, "; ")
}

// Unwrap gives the single errors.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, one := range e {
		out[i] = one
	}
	return out
}

// ParseParams reads and checks a request's parameters for a report. now is the
// server's clock. Errors are told all at once.
func ParseParams(spec *Spec, c Company, now time.Time, values url.Values) (Params, error) {
	in := &input{spec: spec, company: c, now: now.Truncate(time.Millisecond)}
	in.p.Location = c.Zone()
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if _, ok := paramDefs[name]; !ok || !slices.Contains(spec.Params, name) {
			in.fail(unknownParameter(name, spec.Params))
		}
	}
	for _, def := range paramOrder {
		if !slices.Contains(spec.Params, def.Name) {
			continue
		}
		if err := def.parse(in, values[def.Name]); err != nil {
			in.fail(err)
		}
	}
	if slices.Contains(spec.Params, "from") && !in.refused("tz", "from", "to") {
		if err := in.finishRange(); err != nil {
			in.fail(err)
		}
	}
	if len(in.errs) > 0 {
		return Params{}, in.errs
	}
	if err := in.finishPage(values); err != nil {
		return Params{}, err
	}
	return in.p, nil
}

// unknownParameter refuses a parameter, and names the one that may be meant.
func unknownParameter(name string, have []string) *event.Error {
	shown := name
	if len(shown) > 64 {
		shown = strings.ToValidUTF8(shown[:64], "") + "…"
	}
	if near := nearest.Names(name, have, 1); len(near) > 0 {
		return event.FieldError(shown, "is not a parameter of this report; did you mean %s?", near[0])
	}
	sorted := slices.Clone(have)
	sort.Strings(sorted)
	return event.FieldError(shown, "is not a parameter of this report; it takes %s", strings.Join(sorted, ", "))
}

// input is a request's parameters while they are read.
type input struct {
	spec    *Spec
	company Company
	now     time.Time
	p       Params
	errs    Errors

	from, to time.Time // as sent, zero where they were not
}

// refused tells whether one of these parameters was wrong.
func (in *input) refused(names ...string) bool {
	return slices.ContainsFunc(in.errs, func(e *event.Error) bool { return slices.Contains(names, e.Field) })
}

func (in *input) fail(err error) {
	in.errs = append(in.errs, asFieldError(err))
}

func asFieldError(err error) *event.Error {
	if e, ok := err.(*event.Error); ok { //nolint:errorlint // parsers give exactly this type
		return e
	}
	return event.Wrap(event.CodeInvalid, err, "the request is wrong")
}

// ofSite tells whether what came by a site is asked for.
func (p *Params) ofSite(id uint32) bool { return p.Site == nil || *p.Site == id }
