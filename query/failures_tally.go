package query

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"gatehouse/event"
)

// failed is a row of failures.sql: failures that differ in their time alone.
type failed struct {
	typ                    event.Type
	user, computer         string // folded, user "" for none
	userName, computerName string
	site, code             uint32
	source, local          netip.Addr
	count                  uint64
	first, last            int64
	times                  []int64 // the newest of them
}

// address is where an attempt came from: the source, or the computer's own address
// when it was made at the computer itself. It is invalid when neither is known.
func (f *failed) address() netip.Addr {
	a := f.source.Unmap()
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() {
		a = f.local.Unmap()
	}
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// tally adds up a report's failures.
type tally struct {
	p      Params
	types  []event.Type // that are failures here
	report *FailuresReport
	groups map[failureGroup]*failureSum

	users, computers map[string]uint32 // by name, numbered from 1; 0 is none
	addresses        map[netip.Addr]uint32
	userNames        []string // shown, by number
	addressOf        []netip.Addr

	attempts []attempt
	dropped  bool // older attempts than those in attempts
}

// failureGroup names a row; what it is not grouped by is zero.
type failureGroup struct {
	name   uint32 // of a user, computer or address
	reason string
	site   uint32
}

type failureSum struct {
	failed                      // of one of its rows: what the group is by is the same in all
	shown                       string
	users, computers, addresses set
	codes                       map[uint32]uint64
}

func newTally(p Params, report *FailuresReport) *tally {
	t := &tally{
		p: p, types: p.Types, report: report, groups: map[failureGroup]*failureSum{},
		users: map[string]uint32{}, computers: map[string]uint32{}, addresses: map[netip.Addr]uint32{},
		userNames: []string{""}, addressOf: []netip.Addr{{}},
	}
	if len(t.types) == 0 { // type=all
		t.types = FailuresSpec.TypeChoice
	}
	return t
}

// take adds a row. It refuses when there are more names than may be held.
func (t *tally) take(f *failed) error {
	switch f.typ {
	case event.LogonFailed:
		t.report.LogonFailed += f.count
	case event.CredentialFailed:
		t.report.CredentialFailed += f.count
	default:
		t.report.Lockouts += f.count
	}
	if !slices.Contains(t.types, f.typ) {
		return nil
	}
	user, computer, address := uint32(0), number(t.computers, f.computer), uint32(0)
	if f.user != "" {
		if user = number(t.users, f.user); int(user) == len(t.userNames) {
			t.userNames = append(t.userNames, "")
		}
		t.userNames[user] = max(t.userNames[user], f.userName)
	}
	if a := f.address(); a.IsValid() {
		if address = number(t.addresses, a); int(address) == len(t.addressOf) {
			t.addressOf = append(t.addressOf, a)
		}
	}
	if len(t.users)+len(t.computers)+len(t.addresses) > MaxFailureNames {
		return event.FieldError("from", "the range holds failures of more than %d different users, computers and addresses; ask for a shorter one", MaxFailureNames)
	}
	t.report.Failures += f.count
	t.report.Users, t.report.Computers = uint64(len(t.users)), uint64(len(t.computers))

	g, shown := t.group(f, user, computer, address)
	sum := t.groups[g]
	if sum == nil {
		sum = &failureSum{failed: *f, codes: map[uint32]uint64{}}
		sum.count, sum.times = 0, nil
		t.groups[g] = sum
	}
	sum.shown = max(sum.shown, shown)
	sum.count += f.count
	sum.first, sum.last = min(sum.first, f.first), max(sum.last, f.last)
	sum.codes[f.code] += f.count
	sum.users.add(user)
	sum.computers.add(computer)
	sum.addresses.add(address)
	if t.p.page.Offset == 0 {
		t.keep(f, user, computer, address)
	}
	return nil
}

// group is the row that a failure belongs to, and the name that the row may show.
func (t *tally) group(f *failed, user, computer, address uint32) (failureGroup, string) {
	switch t.report.GroupBy {
	case ByUser:
		return failureGroup{name: user}, f.userName
	case ByComputer:
		return failureGroup{name: computer}, f.computerName
	case ByAddress:
		return failureGroup{name: address}, ""
	case ByReason:
		return failureGroup{reason: reasonOf(f.code).Key}, ""
	}
	return failureGroup{site: f.site}, ""
}

// keep notes when the failures were, for bursts. Of too many, the newest stay.
func (t *tally) keep(f *failed, user, computer, address uint32) {
	t.dropped = t.dropped || f.count > uint64(len(f.times))
	for _, at := range f.times {
		t.attempts = append(t.attempts, attempt{at, user, computer, address})
	}
	if len(t.attempts) >= 2*maxAttempts {
		slices.SortFunc(t.attempts, func(a, b attempt) int { return cmp.Compare(b.time, a.time) })
		t.attempts, t.dropped = t.attempts[:maxAttempts], true
	}
}

// rows are all rows, the most failures first.
func (t *tally) rows(sites map[uint32]string) []FailureRow {
	by := t.report.GroupBy
	order := func(s *failureSum) string {
		switch by {
		case ByUser:
			return s.user
		case ByComputer:
			return s.computer
		case ByReason:
			return reasonOf(s.code).Key
		}
		return ""
	}
	sums := slices.SortedFunc(maps.Values(t.groups), func(a, b *failureSum) int {
		c := cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(order(a), order(b)))
		if c == 0 && by == ByAddress {
			c = a.address().Compare(b.address())
		}
		if c == 0 && by == BySite {
			c = cmp.Compare(a.site, b.site)
		}
		return c
	})
	rows := make([]FailureRow, len(sums))
	for i, s := range sums {
		row := FailureRow{
			Failures: s.count, Users: s.users.size(), Computers: s.computers.size(), Addresses: s.addresses.size(),
			First: *t.p.local(s.first), Last: *t.p.local(s.last), Reasons: countReasons(s.codes),
		}
		switch by {
		case ByUser:
			row.User = &s.shown
		case ByComputer:
			row.Computer = &s.shown
		case ByAddress:
			text := addrText(s.address())
			row.Address = &text
		case ByReason:
			reason := reasonOf(s.code)
			row.Reason, row.ReasonText = reason.Key, reason.Text
		case BySite:
			row.SiteID, row.Site = &s.site, sites[s.site]
		}
		rows[i] = row
	}
	return rows
}

// findBursts puts bursts and sprays into the report, the newest first.
func (t *tally) findBursts() {
	count, users, window := t.p.BurstCount, t.p.SprayUsers, t.p.BurstWindow.Milliseconds()
	report := t.report
	if len(t.attempts) > maxAttempts {
		t.dropped = true
		slices.SortFunc(t.attempts, func(a, b attempt) int { return cmp.Compare(b.time, a.time) })
		t.attempts = t.attempts[:maxAttempts]
	}
	burst := func(kind, user, address string, list []attempt) Burst {
		return Burst{
			Kind: kind, User: user, Address: address, First: *t.p.local(list[0].time), Last: *t.p.local(list[len(list)-1].time),
			Failures: uint64(len(list)), Users: different(list, attempt.ofUser), Computers: different(list, attempt.ofComputer), Addresses: different(list, attempt.ofAddress),
		}
	}
	eachSubject(t.attempts, attempt.ofUser, func(user uint32, list []attempt) {
		for _, s := range bursts(list, count, window) {
			report.Bursts = append(report.Bursts, burst(ByUser, t.userNames[user], "", list[s.first:s.last+1]))
		}
	})
	eachSubject(t.attempts, attempt.ofAddress, func(number uint32, list []attempt) {
		address := addrText(t.addressOf[number])
		for _, s := range bursts(list, count, window) {
			report.Bursts = append(report.Bursts, burst(ByAddress, "", address, list[s.first:s.last+1]))
		}
		list = slices.DeleteFunc(slices.Clone(list), func(a attempt) bool { return a.user == 0 })
		for _, s := range sprays(list, users, window) {
			part := list[s.first : s.last+1]
			report.Sprays = append(report.Sprays, Spray{
				Address: address, First: *t.p.local(part[0].time), Last: *t.p.local(part[len(part)-1].time), Failures: len(part), Users: different(part, attempt.ofUser),
			})
		}
	})
	slices.SortFunc(report.Bursts, func(a, b Burst) int {
		return cmp.Or(b.First.Compare(a.First), cmp.Compare(b.Kind, a.Kind), cmp.Compare(a.User, b.User), cmp.Compare(a.Address, b.Address))
	})
	slices.SortFunc(report.Sprays, func(a, b Spray) int {
		return cmp.Or(b.First.Compare(a.First), cmp.Compare(a.Address, b.Address))
	})
	report.BurstsTruncated = t.dropped || len(report.Bursts) > MaxBursts || len(report.Sprays) > MaxBursts
	report.Bursts = report.Bursts[:min(len(report.Bursts), MaxBursts)]
	report.Sprays = report.Sprays[:min(len(report.Sprays), MaxBursts)]
}

// countReasons adds up codes that mean the same, the most frequent first.
func countReasons(counts map[uint32]uint64) []ReasonCount {
	byKey := map[string]*ReasonCount{}
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		reason := reasonOf(code)
		rc := byKey[reason.Key]
		if rc == nil {
			rc = &ReasonCount{Reason: reason.Key, Text: reason.Text, Codes: []string{}}
			byKey[reason.Key] = rc
		}
		if code != 0 {
			rc.Codes = append(rc.Codes, codeText(code))
		}
		rc.Failures += counts[code]
	}
	out := []ReasonCount{}
	for _, rc := range byKey {
		out = append(out, *rc)
	}
	slices.SortFunc(out, func(a, b ReasonCount) int {
		return cmp.Or(cmp.Compare(b.Failures, a.Failures), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// number gives a name its number, counted from 1 in the order of their coming.
func number[K comparable](names map[K]uint32, name K) uint32 {
	n, ok := names[name]
	if !ok {
		n = uint32(len(names)) + 1 //nolint:gosec // bounded by MaxFailureNames
		names[name] = n
	}
	return n
}

// set is a set of numbers above 0, small for few of them: most groups have few.
type set struct {
	few  []uint32
	many map[uint32]struct{}
}

// fewAreMany is from how many numbers on a set is a map.
const fewAreMany = 16

func (s *set) add(n uint32) {
	switch {
	case n == 0 || slices.Contains(s.few, n):
	case s.many != nil:
		s.many[n] = struct{}{}
	case len(s.few) < fewAreMany:
		s.few = append(s.few, n)
	default:
		s.many = map[uint32]struct{}{n: {}}
		for _, one := range s.few {
			s.many[one] = struct{}{}
		}
		s.few = nil
	}
}

func (s *set) size() uint64 { return uint64(len(s.few) + len(s.many)) }
