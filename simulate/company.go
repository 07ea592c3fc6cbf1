package simulate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"gatehouse/event"
)

// account is a name that events can be about.
type account struct {
	user, domain, sid string
	sort              event.Account // when the logon type does not matter, else 0
}

// computer is a machine whose agent sends events.
type computer struct {
	name     string
	self     int32 // its own account, NAME$
	ip       netip.Addr
	public   netip.Addr // of the office it stands in
	agent    string     // its agent's version
	old      bool       // its agent sends the seven old fields only
	security uint64     // the last record id of its Security log
	system   uint64     // and of its System log
	luid     uint64     // the last logon id it gave out
	last     int64      // the last time its old agent sent, whole seconds
	offline  int64      // its agent reaches nobody until then
	seen     int32      // the last day on which it was decided whether it goes offline
}

// shift is when somebody is expected to work.
type shift struct {
	start, hours float64 // in hours from midnight
	days         uint8   // bit 0 is Sunday; 0: the place's working days
	weight       int
}

var (
	officeShifts = []shift{
		{8, 8.5, 0, 3}, {9, 8.5, 0, 5}, {7, 8, 0, 1}, {9, 5, 0, 1}, {10, 8.5, 0, 1},
	}
	roundTheClock = []shift{
		{6, 8.2, 0b0111110, 2},
		{14, 8.2, 0b0111110, 2},
		{22, 8.2, 0b0111110, 1},
		{6, 12, 0b1100001, 1},
		{18, 12, 0b1100001, 1},
		{9, 8.5, 0, 3},
	}
)

// person is one of the workforce, and what stands open in their name.
type person struct {
	account  int32
	machine  int32      // the main one
	second   int32      // -1: none
	home     netip.Addr // the public address at home
	shift    shift
	laptop   bool
	nomad    float64 // how often away from the office
	admin    bool    // two tokens, and special privileges
	remote   bool    // works on the terminal server, too
	sloppy   float64 // how often a day ends without a logoff
	stays    float64 // how often it ends with the screen locked
	stops    float64 // how often a logoff is followed by a shutdown
	awayTill int32   // on leave up to this day

	on      [2]bool   // the machines run
	crashed [2]bool   // and stopped without a word
	open    [2]uint64 // the session on each, 0: none
	rdp     uint64    // the session on the terminal server
	rdpBoot int32     // the boot of the terminal server it belongs to
}

// company is one tenant's workforce and everything about it that lasts longer
// than a day.
type company struct {
	index    int
	name     string
	loc      *time.Location
	place    place
	cfg      *Config
	seed     uint64
	pcg      *rand.PCG
	r        *rand.Rand
	domain   string
	people   []person
	accounts []account
	machines []computer

	dc, files, terminal int32   // servers
	boots               int32   // of the terminal server
	backup, stale       int32   // a service account with an old password, a leaver's
	system, gmsa        int32   // SYSTEM, and a managed service account
	window              int32   // DWM-1
	guessed             []int32 // names that a password spray tries without their existing

	at dayStream
}

// seedOf mixes what a stream of random numbers is for into one number
// (splitmix64), so that neighbours share nothing.
func seedOf(parts ...uint64) uint64 {
	var h uint64
	for _, p := range parts {
		h += p + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// reseed starts the random numbers of one purpose on one day.
func (c *company) reseed(purpose, day uint64) {
	c.pcg.Seed(c.seed, seedOf(purpose, day))
}

// Purposes of random numbers; a person's is their index.
const (
	forCompany = 1<<40 + iota
	forServers
	forIncidents
	forDelivery
)

func newCompany(cfg *Config, index int) *company {
	c := &company{index: index, cfg: cfg, seed: seedOf(cfg.Seed, uint64(index))} //nolint:gosec // not negative
	c.pcg = rand.NewPCG(c.seed, forCompany)
	c.r = rand.New(c.pcg) //nolint:gosec // repeatable on purpose
	c.reseed(forCompany, 0)
	if index < len(cfg.Names) {
		c.name = cfg.Names[index]
	} else {
		c.name = companyName(cfg.Seed, index)
	}
	if len(cfg.Zones) > 0 {
		c.place = placeOf(cfg.Zones[index%len(cfg.Zones)])
	} else {
		c.place = places[index%len(places)]
	}
	loc, err := time.LoadLocation(c.place.zone)
	if err != nil { // checked by New
		loc = time.UTC
	}
	c.loc = loc
	c.domain = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(c.name))
	if len(c.domain) > 12 {
		c.domain = c.domain[:12]
	}
	c.hire()
	return c
}

// hire fills the company: its people, their machines, its servers.
func (c *company) hire() {
	n := c.cfg.Users
	if c.index < len(c.cfg.Sizes) && c.cfg.Sizes[c.index] > 0 {
		n = c.cfg.Sizes[c.index]
	}
	r := c.r
	sid := fmt.Sprintf("S-1-5-21-%d-%d-%d-", r.Uint32(), r.Uint32(), r.Uint32())
	shifts := officeShifts
	if r.IntN(4) == 0 {
		shifts = roundTheClock
	}
	weights := 0
	for _, s := range shifts {
		weights += s.weight
	}
	offices := 1 + n/60
	agents := []string{"2.1.0", "2.1.0", "2.0.3"}
	names := userNames(r, n)
	c.people = make([]person, 0, n)
	for i := range n {
		who := c.account(names[i], c.domain, fmt.Sprintf("%s%d", sid, 1100+i))
		office := r.IntN(offices)
		p := person{
			account: who, second: -1, laptop: r.Float64() < 0.55,
			admin: r.Float64() < 0.06, remote: r.Float64() < 0.2, awayTill: -1,
			sloppy: 0.02 + 0.1*r.Float64()*r.Float64(), stays: r.Float64() * r.Float64(), stops: r.Float64(),
			home: netip.AddrFrom4([4]byte{100, byte(64 + r.IntN(64)), byte(r.IntN(256)), byte(1 + r.IntN(254))}), //nolint:gosec // each below 256
		}
		if p.laptop {
			p.nomad = r.Float64() * 0.7
		}
		pick := r.IntN(weights)
		for _, s := range shifts {
			if pick -= s.weight; pick < 0 {
				p.shift = s
				break
			}
		}
		kind := "PC"
		if p.laptop {
			kind = "LT"
		}
		p.machine = c.machine(kind, office, agents[r.IntN(len(agents))], r.Float64() < c.cfg.OldAgents)
		if r.Float64() < 0.12 {
			p.second = c.machine("WS", office, agents[r.IntN(len(agents))], r.Float64() < c.cfg.OldAgents)
		}
		c.people = append(c.people, p)
	}
	c.dc = c.machine("DC", 0, "2.1.0", false)
	c.files = c.machine("FS", 0, "2.1.0", false)
	c.terminal = c.machine("TS", 0, "2.1.0", false)
	c.backup = c.account("svc_backup", c.domain, sid+"1050")
	c.stale = c.account(strings.ToLower(firstNames[r.IntN(len(firstNames))])+".leaver", c.domain, sid+"1060")
	c.gmsa = c.account("gmsa-sql$", c.domain, sid+"1070")
	c.system = c.account("SYSTEM", "NT AUTHORITY", "S-1-5-18")
	c.window = c.account("DWM-1", "Window Manager", "S-1-5-90-0-1")
	for _, name := range guessedNames {
		c.guessed = append(c.guessed, c.account(name, c.domain, ""))
	}
}

func (c *company) account(user, domain, sid string) int32 {
	a := account{user: user, domain: domain, sid: sid}
	if !strings.HasSuffix(user, "$") {
		a.sort = event.ClassifyAccount(user, sid, event.LogonTypeNone)
	}
	c.accounts = append(c.accounts, a)
	return int32(len(c.accounts) - 1) //nolint:gosec // MaxUsers
}

// machine adds a computer in an office. Its own account NAME$ follows from its name.
func (c *company) machine(kind string, office int, agent string, old bool) int32 {
	r, n := c.r, len(c.machines)
	m := computer{
		name:     fmt.Sprintf("%s-%s%04d", c.domain[:min(4, len(c.domain))], kind, n+1),
		ip:       netip.AddrFrom4([4]byte{10, byte(c.index), byte(office*4 + n/250), byte(1 + n%250)}), //nolint:gosec // wraps: private networks repeat
		public:   netip.AddrFrom4([4]byte{203, 0, 113, byte(1 + (c.index*7+office)%250)}),              //nolint:gosec // each below 256
		agent:    agent,
		old:      old,
		security: uint64(r.IntN(400_000)),         //nolint:gosec // not negative
		system:   uint64(r.IntN(40_000)),          //nolint:gosec // not negative
		luid:     uint64(0x10000 + r.IntN(1<<24)), //nolint:gosec // not negative
		seen:     -1,
	}
	m.self = c.account(m.name+"$", c.domain, "")
	c.machines = append(c.machines, m)
	return int32(n) //nolint:gosec // bounded by MaxUsers
}
