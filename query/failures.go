package query

import (
	"context"
	_ "embed" // the statement
	"net/netip"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"gatehouse/event"
)

//go:embed failures.sql
var failuresSQL string

// What failures group by, besides user and computer.
const (
	ByAddress = "address"
	ByReason  = "reason"
)

// Limits of the failures report.
const (
	// MaxBursts is how many bursts, and how many sprays, a report lists: the newest.
	// The report says so (bursts_truncated) when there were more.
	MaxBursts = 1000
	// maxAttempts is among how many failures, the newest, bursts and sprays are looked
	// for; where there were more, bursts_truncated is set too. It bounds memory: 24 bytes
	// each, and twice that while they are gathered.
	maxAttempts = 2_000_000
	// MaxFailureNames is how many different users, computers and addresses a report may
	// hold in sum. Beyond it a shorter range must be asked for.
	MaxFailureNames = 500_000
)

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
	User       *string       `json:"user,omitempty"` // "" for none, and so below
	Computer   *string       `json:"computer,omitempty"`
	Address    *string       `json:"address,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	ReasonText string        `json:"reason_text,omitempty"`
	SiteID     *uint32       `json:"site_id,omitempty"`
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
	t := newTally(p, report)
	// Of what else is asked for, the other types are the same question.
	all := p
	all.Types = nil
	w := where(c).during(p).matching(all)
	w.args["most"] = maxAttempts
	// Neither question keeps both cores busy.
	var again uint64
	parts, both := errgroup.WithContext(ctx)
	parts.Go(func() (err error) {
		again, err = r.lockoutsToldAgain(both, c, all)
		return err
	})
	parts.Go(func() error { return r.eachFailure(both, w, t.take) })
	if err := parts.Wait(); err != nil {
		return nil, err
	}
	report.Lockouts -= min(again, report.Lockouts) // more may have come meanwhile
	var sites map[uint32]string
	if report.GroupBy == BySite {
		sites = r.siteLabels(ctx, c)
	}
	report.Rows, report.NextCursor = Page(p, t.rows(sites))
	if p.page.Offset == 0 {
		t.findBursts()
	}
	return report, nil
}

// eachFailure reads the rows of failures.sql.
func (r *Reports) eachFailure(ctx context.Context, w *conditions, take func(*failed) error) error {
	return r.query(ctx, w.in(failuresSQL), w.args, func(q driver.Rows) error {
		var (
			f   failed
			typ uint8
		)
		if err := q.Scan(&typ, &f.user, &f.computer, &f.site, &f.code, &f.source, &f.local, &f.userName, &f.computerName, &f.count, &f.first, &f.last, &f.times); err != nil {
			return err
		}
		f.typ = event.Type(typ)
		return take(&f)
	})
}

// addrText is an address of the store as people write it, "" for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() || a == netip.IPv6Unspecified() {
		return ""
	}
	return a.Unmap().String()
}
