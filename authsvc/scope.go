package authsvc

import (
	"encoding/json"
	"slices"
	"strings"

	"gatehouse/event"
	"gatehouse/internal/nearest"
)

// Scopes is the set of things that a key may do.
type Scopes uint8

// The scopes. A key may hold several.
const (
	ScopeIngest Scopes = 1 << iota // send events
	ScopeRead                      // read reports and events
	ScopeSQL                       // ask in SQL, over the ClickHouse HTTP interface and Arrow Flight
	// ScopeManage is for tokens of people, who change with it what their role lets them change. A key cannot hold it.
	ScopeManage
)

// AllScopes is what a person holds who signed in with a browser.
const AllScopes = ScopeIngest | ScopeRead | ScopeSQL | ScopeManage

// KeyScopes are those that a key can hold.
const KeyScopes = ScopeIngest | ScopeRead | ScopeSQL

var scopeNames = []string{"ingest", "read", "sql", "manage"} // by bit

// ParseScopes reads a list such as "ingest,read".
func ParseScopes(list string) (Scopes, error) { return parseScopes(list, AllScopes) }

// ParseKeyScopes reads a list of what a key can hold.
func ParseKeyScopes(list string) (Scopes, error) { return parseScopes(list, KeyScopes) }

// parseScopes reads a list of scopes that are among some.
func parseScopes(list string, among Scopes) (Scopes, error) {
	var set Scopes
	names := among.Names()
	for name := range strings.FieldsFuncSeq(strings.ToLower(list), func(r rune) bool { return r == ',' || r == ' ' }) {
		i := slices.Index(scopeNames, name)
		if i < 0 {
			hint := ""
			if near := nearest.Names(name, names, 1); len(near) > 0 {
				hint = "; did you mean " + near[0] + "?"
			}
			return 0, event.FieldError("scopes", "there is no scope %q: use %s%s", name, strings.Join(names, ", "), hint)
		}
		if !among.Has(1 << i) {
			return 0, event.FieldError("scopes", "a key cannot have the scope %s: use %s", name, strings.Join(names, ", "))
		}
		set |= 1 << i
	}
	if set == 0 {
		return 0, event.FieldError("scopes", "must name at least one of %s", strings.Join(names, ", "))
	}
	return set, nil
}

// storedScopes reads the column. A name that is not known gives nothing: one odd row must not keep every other key from
// being read, and a key never gets more than what is certain.
func storedScopes(column string) Scopes {
	var set Scopes
	for name := range strings.SplitSeq(column, ",") {
		if i := slices.Index(scopeNames, name); i >= 0 {
			set |= 1 << i
		}
	}
	return set
}

// Has tells whether s holds all of want.
func (s Scopes) Has(want Scopes) bool { return s&want == want }

// Names lists the scopes in s in a fixed order.
func (s Scopes) Names() []string {
	names := []string{}
	for i, name := range scopeNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String is what ParseScopes reads.
func (s Scopes) String() string { return strings.Join(s.Names(), ",") }

// MarshalJSON writes an array of names.
func (s Scopes) MarshalJSON() ([]byte, error) { return json.Marshal(s.Names()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Scopes) UnmarshalJSON(text []byte) error {
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return err
	}
	set, err := ParseScopes(strings.Join(names, ","))
	if err != nil {
		return err
	}
	*s = set
	return nil
}
