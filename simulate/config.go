package simulate

import (
	"fmt"
	"strings"
	"time"
)

// Limits on a simulation. What lies beyond is refused by [New].
const (
	MaxCompanies = 10_000
	MaxUsers     = 1_000_000 // in one company
	MaxDays      = 40 * 366
)

// Defaults of [Config].
const (
	DefaultCompanies = 3
	DefaultUsers     = 40
	DefaultDays      = 30
	DefaultLate      = 0.02
	DefaultRepeat    = 0.01
	DefaultOldAgents = 0.15

	// EventsPerUserDay is about how many events one person's calendar day
	// gives, weekends, servers and noise included. A test holds it to the truth;
	// it is used to size a workforce for a number of events.
	EventsPerUserDay = 30.0
)

// Config says what to simulate. The zero value of a field means its default.
type Config struct {
	Seed      uint64
	Companies int      // how many
	Names     []string // the names of the first ones; the rest are made up
	Zones     []string // IANA zones, given in turn; empty: a mixture
	Users     int      // people in each company
	Sizes     []int    // people in the first companies, in place of Users; 0: Users

	From time.Time // the first day; its date in each company's zone counts
	Days int       // 0: DefaultDays, or without end when Events and Users are given

	// Until ends the simulation in the middle of what people do: nothing later
	// happens. Zero: no such end, but now when From is zero too, so that some are signed in.
	Until time.Time

	// Events ends the simulation after that many, repeated ones included. When
	// Users is 0, the workforce is sized so that the days hold about that many.
	Events int64

	// Shares from 0 to 1. Negative means none, 0 the default.
	Late      float64 // of events that arrive minutes to days after they happened
	Repeat    float64 // of events that are delivered twice
	OldAgents float64 // of computers whose agent sends the seven old fields only
}

func (c *Config) setDefaults() {
	if c.Companies == 0 {
		c.Companies = max(DefaultCompanies, len(c.Names), len(c.Sizes))
		if len(c.Names) > 0 && len(c.Sizes) == 0 {
			c.Companies = len(c.Names)
		}
	}
	if c.Days == 0 && (c.Events == 0 || c.Users == 0) {
		c.Days = DefaultDays
	}
	if c.Users == 0 {
		c.Users = DefaultUsers
		if c.Events > 0 {
			per := float64(c.Events) / (float64(c.Companies) * float64(c.Days) * EventsPerUserDay)
			c.Users = max(1, int(per*sizingMargin+0.5))
		}
	}
	if c.From.IsZero() {
		days := c.Days
		if days == 0 {
			days = DefaultDays
		}
		now := time.Now()
		c.From = now.UTC().AddDate(0, 0, -days)
		if c.Until.IsZero() {
			c.Until = now
		}
		if c.Days > 0 {
			c.Days++ // today, as far as it went
		}
	}
	for _, s := range [...]struct {
		v   *float64
		def float64
	}{{&c.Late, DefaultLate}, {&c.Repeat, DefaultRepeat}, {&c.OldAgents, DefaultOldAgents}} {
		switch {
		case *s.v == 0:
			*s.v = s.def
		case *s.v < 0:
			*s.v = 0
		}
	}
}

// sizingMargin makes a workforce sized for a number of events a little too
// large, so that the number is reached before the days end.
const sizingMargin = 1.15

func (c *Config) check() error {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if c.Companies < 1 || c.Companies > MaxCompanies {
		say("companies must be 1 to %d", MaxCompanies)
	}
	if c.Users < 1 || c.Users > MaxUsers {
		say("users must be 1 to %d a company", MaxUsers)
	}
	for i, n := range c.Sizes {
		if n < 0 || n > MaxUsers {
			say("company %d: users must be 1 to %d", i+1, MaxUsers)
		}
	}
	if c.Days < 0 || c.Days > MaxDays {
		say("days must be 1 to %d", MaxDays)
	}
	if c.Events < 0 {
		say("events must not be negative")
	}
	if c.Late > 1 || c.Repeat > 1 || c.OldAgents > 1 {
		say("shares must be 0 to 1")
	}
	for _, z := range c.Zones {
		if _, err := time.LoadLocation(z); err != nil {
			say("%q is not a time zone", z)
		}
	}
	seen := map[string]bool{}
	for _, n := range c.Names {
		if strings.TrimSpace(n) == "" {
			say("a company's name is empty")
		}
		if f := strings.ToLower(n); seen[f] {
			say("two companies are called %q", n)
		} else {
			seen[f] = true
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("simulate: %s", strings.Join(bad, "; "))
	}
	return nil
}
