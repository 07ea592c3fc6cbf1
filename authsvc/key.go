package authsvc

import (
	"database/sql"
	"net/netip"
	"strconv"
	"time"

	"gatehouse/authsvc/token"
	"gatehouse/event"
)

// prefixLen is how much of a key stays visible.
const prefixLen = len(token.APIKey) + 8

// Key is an API key as it is kept: everything but the key itself. One key is one site of its company; the secret of a site
// can be exchanged (RotateKey) without a change to the site.
type Key struct {
	ID        uint32 // the site id that events carry
	CompanyID uint32
	Company   string // the company's name
	Site      string // what the operator calls it
	Note      string
	Prefix    string // the visible first characters
	Scopes    Scopes
	Networks  []netip.Prefix // where it may be used from; none: from anywhere
	Created   time.Time
	Expires   time.Time // zero: never
	Disabled  time.Time // zero: it is not
	Revoked   time.Time // zero: it is not
	Rotated   time.Time // when the secret was exchanged last; zero: never
	OldPrefix string    // of the secret before, while that still works
	OldUntil  time.Time // when the secret before ends; zero: there is none

	LastUsed      time.Time // zero: never
	LastUsedIP    string
	LastUsedAgent string // what the client called itself
	AgentVersion  string // as the last event said that named one
	Events        int64  // accepted by this key, to within a few seconds
	Errors        int64  // refused records and requests of this key, to within a few seconds
}

// KeyState is the state of a key in one word.
type KeyState string

// The states. A key that is in several is in the first of these.
const (
	KeyRevoked  KeyState = "revoked"
	KeyDisabled KeyState = "disabled"
	KeyExpired  KeyState = "expired"
	KeyActive   KeyState = "active"
)

// State is the key's state at the time now.
func (k *Key) State(now time.Time) KeyState {
	switch {
	case !k.Revoked.IsZero():
		return KeyRevoked
	case !k.Disabled.IsZero():
		return KeyDisabled
	case !k.Expires.IsZero() && !k.Expires.After(now):
		return KeyExpired
	default:
		return KeyActive
	}
}

// keyRecord is a key as the audit trail shows it.
type keyRecord struct {
	Site      string    `json:"site"`
	Note      string    `json:"note,omitempty"`
	Prefix    string    `json:"prefix"`
	Scopes    Scopes    `json:"scopes"`
	Networks  []string  `json:"networks,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	Disabled  bool      `json:"disabled"`
	Revoked   bool      `json:"revoked"`
	OldPrefix string    `json:"old_prefix,omitempty"`
	OldUntil  time.Time `json:"old_until,omitzero"`
}

func (k *Key) record() *keyRecord {
	return &keyRecord{
		Site: k.Site, Note: k.Note, Prefix: k.Prefix, Scopes: k.Scopes, Networks: networkNames(k.Networks), Expires: k.Expires,
		Disabled: !k.Disabled.IsZero(), Revoked: !k.Revoked.IsZero(), OldPrefix: k.OldPrefix, OldUntil: k.OldUntil,
	}
}

// entry is what the audit trail says of an act that left the key as it is.
func (k *Key) entry(action string, before *Key) Entry {
	e := Entry{Action: action, Company: k.CompanyID, TargetKind: "key", TargetID: strconv.FormatUint(uint64(k.ID), 10), TargetName: k.Site, After: k.record()}
	if before != nil {
		e.Before = before.record()
	}
	return e
}

// noKey is the answer for a key of another company, one that never was and one that is revoked: the same for all.
func noKey(keyID uint32) error {
	return event.Errorf(event.CodeNotFound, "there is no key with id %d that could be changed", keyID)
}

const selectKey = `SELECT k.id, k.company_id, c.name, k.description, k.note, k.key_prefix, k.scopes, k.networks, k.created_at, k.expires_at,
    k.disabled_at, k.revoked_at, k.rotated_at, k.old_key_prefix, k.old_key_until, k.last_used_at, k.last_used_ip, k.last_used_agent, k.last_agent_version,
    k.event_count, k.error_count FROM api_keys k JOIN companies c ON c.id = k.company_id`

func (s *Store) scanKey(scan func(...any) error) (Key, error) {
	var k Key
	var scopes, networks string
	var created int64
	var expires, disabled, revoked, rotated, oldUntil, used *int64
	var oldPrefix, ip, agent, version sql.NullString
	err := scan(&k.ID, &k.CompanyID, &k.Company, &k.Site, &k.Note, &k.Prefix, &scopes, &networks, &created, &expires,
		&disabled, &revoked, &rotated, &oldPrefix, &oldUntil, &used, &ip, &agent, &version, &k.Events, &k.Errors)
	if err != nil {
		return Key{}, err
	}
	k.Scopes, k.Networks = storedScopes(scopes), storedNetworks(networks)
	k.Created = time.UnixMilli(created).UTC()
	k.Expires, k.Disabled, k.Revoked, k.LastUsed = optionalTime(expires), optionalTime(disabled), optionalTime(revoked), optionalTime(used)
	k.Rotated, k.LastUsedAgent, k.AgentVersion = optionalTime(rotated), agent.String, version.String
	// One that has ended is kept no longer than until the next change or cleaning, and nobody needs to see it.
	if until := optionalTime(oldUntil); until.After(s.now()) {
		k.OldPrefix, k.OldUntil = oldPrefix.String, until
	}
	if addr, err := netip.ParseAddr(ip.String); err == nil {
		k.LastUsedIP = addr.String()
	}
	return k, nil
}
