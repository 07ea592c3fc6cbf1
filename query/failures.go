package query

import (
	"cmp"
	"context"
	_ "embed" // the statements
	"net/netip"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"gatehouse/event"
)

//go:embed failures_summary.sql
var failuresSummarySQL string

//go:embed failures_rows.sql
var failuresRowsSQL string

//go:embed failures_bursts.sql
var failuresBurstsSQL string

// What failures group by, besides user and computer.
const (
	ByAddress = "address"
	ByReason  = "reason"
)

// MaxBursts is how many bursts, and how many sprays, a report lists: the newest.
// The report says so (bursts_truncated) when there were more.
const MaxBursts = 1000

// FailuresSpec is the failures report's parameters.
var FailuresSpec = &Spec{
	Name:         "failures",
	Params:       takes(common, []string{"group_by", "type", "account", "logon_type", "ip", "burst_count", "burst_window", "spray_users"}),
	GroupBy:      []string{ByUser, ByComputer, ByAddress, ByReason, BySite},
	GroupDefault: []string{ByUser},
	TypeChoice:   []event.Type{event.LogonFailed, event.CredentialFailed}, DefaultTypes: []event.Type{event.LogonFailed},
	DefaultAccounts: []event.Account{event.AccountUser, event.AccountNone},
}

// FailuresReport says what failed, for whom, from where and why.
type FailuresReport struct {
	Header
	GroupBy          string `json:"group_by"`
	Failures         uint64 `json:"failures"` // of the whole range, not of the page
	Users            uint64 `json:"users"`
	Computers        uint64 `json:"computers"`
	LogonFailed      uint64 `json:"logon_failed"`
	CredentialFailed uint64 `json:"credential_failed"`
	Lockouts         uint64 `json:"lockouts"`

	Thresholds Thresholds   `json:"thresholds"`
	Rows       []FailureRow `json:"rows"`
	// Bursts and sprays come with the first page alone.
	Bursts          []Burst `json:"bursts"`
	Sprays          []Spray `json:"sprays"`
	BurstsTruncated bool    `json:"bursts_truncated"`
	NextCursor      string  `json:"next_cursor,omitempty"`
}

// Thresholds are what made a burst or a spray.
type Thresholds struct {
	BurstCount    int     `json:"burst_count"`
	WindowSeconds float64 `json:"burst_window_seconds"`
	SprayUsers    int     `json:"spray_users"`
}

// FailureRow is the failures of one user, computer, address, reason or site.
type FailureRow struct {
	User       string        `json:"user,omitempty"`
	Computer   string        `json:"computer,omitempty"`
	Address    *string       `json:"address,omitempty"` // "" for none
	Reason     string        `json:"reason,omitempty"`
	ReasonText string        `json:"reason_text,omitempty"`
	SiteID     uint32        `json:"site_id,omitempty"`
	Site       string        `json:"site,omitempty"`
	Failures   uint64        `json:"failures"`
	Users      uint64        `json:"users"`
	Computers  uint64        `json:"computers"`
	Addresses  uint64        `json:"addresses"`
	First      time.Time     `json:"first"`
	Last       time.Time     `json:"last"`
	Reasons    []ReasonCount `json:"reasons"` // the most frequent first
}

// ReasonCount is how often a reason was given.
type ReasonCount struct {
	Reason   string   `json:"reason"`
	Text     string   `json:"text"`
	Codes    []string `json:"codes"` // as recorded
	Failures uint64   `json:"failures"`
}

// Burst is many failures of one user, or from one address, in a short time.
type Burst struct {
	Kind      string    `json:"kind"` // user or address
	User      string    `json:"user,omitempty"`
	Address   string    `json:"address,omitempty"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Failures  uint64    `json:"failures"`
	Users     uint64    `json:"users"`
	Computers uint64    `json:"computers"`
	Addresses uint64    `json:"addresses"`
}

// Spray is failures at many users from one address in a short time.
type Spray struct {
	Address  string    `json:"address"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Failures int       `json:"failures"`
	Users    uint64    `json:"users"`
}

// Failures reports failed sign-ins.
func (r *Reports) Failures(ctx context.Context, c Company, p Params) (*FailuresReport, error) {
	report := &FailuresReport{
		Header: r.header("failures", c, p), GroupBy: p.GroupBy[0], Bursts: []Burst{}, Sprays: []Spray{},
		Thresholds: Thresholds{BurstCount: p.BurstCount, WindowSeconds: p.BurstWindow.Seconds(), SprayUsers: p.SprayUsers},
	}
	if len(p.Types) == 0 { // type=all
		p.Types = FailuresSpec.TypeChoice
	}
	// Each fills its own part, and each reads so little that it keeps one core busy.
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return r.failureSummary(ctx, c, p, report) })
	parts.Go(func() error { return r.failureRows(ctx, c, p, report) })
	if p.page.Offset == 0 {
		parts.Go(func() error { return r.failureBursts(ctx, c, p, report) })
	}
	if err := parts.Wait(); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *Reports) failureSummary(ctx context.Context, c Company, p Params, report *FailuresReport) error {
	types := p.Types
	p.Types = nil
	w := where(c).during(p).matching(p)
	w.args["types"] = codes(types)
	return r.query(ctx, w.in(failuresSummarySQL), w.args, func(q driver.Rows) error {
		return q.Scan(&report.Failures, &report.Users, &report.Computers, &report.LogonFailed, &report.CredentialFailed, &report.Lockouts)
	})
}

// reasonCodes lists every known code beside the one that stands for its
// reason, so that the database groups by reason and knows no words.
var reasonCodes, reasonStands = func() (list, stands []uint32) {
	first := map[string]uint32{}
	for _, table := range []map[uint32]Reason{ntReasons, kerberosReasons} {
		for code, reason := range table {
			if old, ok := first[reason.Key]; !ok || code < old {
				first[reason.Key] = code
			}
		}
	}
	for _, table := range []map[uint32]Reason{ntReasons, kerberosReasons} {
		for code := range table {
			list = append(list, code)
		}
	}
	slices.Sort(list)
	for _, code := range list {
		stands = append(stands, first[reasonOf(code).Key])
	}
	return list, stands
}()

func (r *Reports) failureRows(ctx context.Context, c Company, p Params, report *FailuresReport) error {
	w := where(c).during(p).matching(p).pageArgs(p)
	w.args["by"], w.args["codes"], w.args["code_keys"] = report.GroupBy, reasonCodes, reasonStands
	sites := map[uint32]string(nil)
	if report.GroupBy == BySite {
		sites = r.siteLabels(ctx, c)
	}
	var rows []FailureRow
	err := r.query(ctx, w.in(failuresRowsSQL), w.args, func(q driver.Rows) error {
		var (
			row         FailureRow
			name, shown string
			ip          netip.Addr
			code        uint32
			counts      map[uint32]uint64
			first, last int64
		)
		if err := q.Scan(&name, &ip, &code, &row.SiteID, &shown, &row.Failures, &row.Users, &row.Computers, &row.Addresses, &counts, &first, &last); err != nil {
			return err
		}
		row.First, row.Last, row.Reasons = *p.local(first), *p.local(last), countReasons(counts)
		switch report.GroupBy {
		case ByUser:
			row.User = shown
		case ByComputer:
			row.Computer = shown
		case ByAddress:
			text := addrText(ip)
			row.Address = &text
		case ByReason:
			reason := reasonOf(code)
			row.Reason, row.ReasonText = reason.Key, reason.Text
		case BySite:
			row.Site = sites[row.SiteID]
		}
		rows = append(rows, row)
		return nil
	})
	report.Rows, report.NextCursor = nextPage(p, rows)
	return err
}

// countReasons adds up codes that mean the same.
func countReasons(counts map[uint32]uint64) []ReasonCount {
	byKey := map[string]*ReasonCount{}
	list := make([]uint32, 0, len(counts))
	for code := range counts {
		list = append(list, code)
	}
	slices.Sort(list)
	out := []ReasonCount{}
	for _, code := range list {
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
	for _, rc := range byKey {
		out = append(out, *rc)
	}
	slices.SortFunc(out, func(a, b ReasonCount) int {
		return cmp.Or(cmp.Compare(b.Failures, a.Failures), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// failureBursts finds bursts and sprays, the newest first.
func (r *Reports) failureBursts(ctx context.Context, c Company, p Params, report *FailuresReport) error {
	w := where(c).during(p).matching(p)
	window := p.BurstWindow.Milliseconds()
	w.args["count"], w.args["window"], w.args["users"] = p.BurstCount, window, p.SprayUsers
	err := r.query(ctx, w.in(failuresBurstsSQL), w.args, func(q driver.Rows) error {
		var (
			ofUser      uint8
			name, shown string
			ip          netip.Addr
			a           attempts
		)
		if err := q.Scan(&ofUser, &name, &ip, &shown, &a.times, &a.users, &a.computers, &a.addresses); err != nil {
			return err
		}
		address := addrText(ip)
		for _, s := range a.bursts(p.BurstCount, window) {
			b := Burst{
				Kind: ByAddress, User: shown, Address: address, First: *p.local(a.times[s.first]), Last: *p.local(a.times[s.last]),
				Failures: uint64(s.last - s.first + 1), //nolint:gosec // at least 1
				Users:    distinctNames(a.users, s), Computers: distinctNames(a.computers, s), Addresses: distinctNames(a.addresses, s),
			}
			if ofUser == 1 {
				b.Kind = ByUser
			}
			report.Bursts = append(report.Bursts, b)
		}
		if ofUser == 1 {
			return nil
		}
		named := a.named()
		for _, s := range named.sprays(p.SprayUsers, window) {
			report.Sprays = append(report.Sprays, Spray{
				Address: address, First: *p.local(named.times[s.first]), Last: *p.local(named.times[s.last]),
				Failures: s.last - s.first + 1, Users: distinctNames(named.users, s),
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(report.Bursts, func(a, b Burst) int { return b.First.Compare(a.First) })
	slices.SortStableFunc(report.Sprays, func(a, b Spray) int { return b.First.Compare(a.First) })
	if len(report.Bursts) > MaxBursts {
		report.Bursts, report.BurstsTruncated = report.Bursts[:MaxBursts], true
	}
	if len(report.Sprays) > MaxBursts {
		report.Sprays, report.BurstsTruncated = report.Sprays[:MaxBursts], true
	}
	return nil
}

// addrText is an address of the store as people write it, "" for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() || a == netip.IPv6Unspecified() {
		return ""
	}
	return a.Unmap().String()
}
