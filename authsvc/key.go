package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"gatehouse/authsvc/token"
	"gatehouse/event"
)

// prefixLen is how much of a key stays visible.
const prefixLen = len(token.APIKey) + 8

// Key is an API key as it is kept: everything but the key itself. One key is one site of its company.
type Key struct {
	ID         uint32 // the site id that events carry
	CompanyID  uint32
	Site       string // what the operator calls it
	Prefix     string // the visible first characters
	Scopes     Scopes
	Created    time.Time
	Expires    time.Time // zero: never
	Disabled   time.Time // zero: it is not
	Revoked    time.Time // zero: it is not
	LastUsed   time.Time // zero: never
	LastUsedIP string
	Events     int64 // accepted by this key, to within a few seconds
	Errors     int64 // refused records and requests of this key, to within a few seconds
}

// State is the key's state in one word, at the time now.
func (k *Key) State(now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Disabled.IsZero():
		return "disabled"
	case !k.Expires.IsZero() && !k.Expires.After(now):
		return "expired"
	default:
		return "active"
	}
}

// NewKey is what an operator chooses for a key.
type NewKey struct {
	Site    string // default: "Site" and the key's visible prefix
	Scopes  Scopes
	Expires time.Time // zero: never
}

const (
	insertKey = `INSERT INTO api_keys (company_id, description, key_prefix, key_hash, scopes, created_at, expires_at, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	selectKey = `SELECT id, company_id, description, key_prefix, scopes, created_at, expires_at, disabled_at, revoked_at,
    last_used_at, last_used_ip, event_count, error_count FROM api_keys`
	// COALESCE keeps the first time: disabling twice must not look like one that happened today.
	disableKey = `UPDATE api_keys SET revision = ?, disabled_at = COALESCE(disabled_at, ?) WHERE company_id = ? AND id = ? AND revoked_at IS NULL`
	enableKey  = `UPDATE api_keys SET revision = ?, disabled_at = NULL WHERE company_id = ? AND id = ? AND revoked_at IS NULL`
	revokeKey  = `UPDATE api_keys SET revision = ?, revoked_at = ? WHERE company_id = ? AND id = ? AND revoked_at IS NULL`
)

// CreateKey adds a key to a company. The key in the result is the only copy there will ever be.
func (s *Store) CreateKey(ctx context.Context, actor *Actor, companyID uint32, spec NewKey) (Key, string, error) {
	if err := actor.Require(PermManageKeys, companyID); err != nil {
		return Key{}, "", err
	}
	var k Key
	var secret string
	err := s.change(ctx, actor, func(tx changeTx) (err error) {
		if _, err := s.company(ctx, tx, companyID); err != nil {
			return err
		}
		k, secret, err = s.createKey(ctx, tx, companyID, spec)
		return err
	})
	if err != nil {
		return Key{}, "", fail(err, "create key")
	}
	return k, secret, nil
}

func (s *Store) createKey(ctx context.Context, tx changeTx, companyID uint32, spec NewKey) (Key, string, error) {
	if spec.Scopes == 0 || spec.Scopes&^KeyScopes != 0 {
		return Key{}, "", event.FieldError("scopes", "of a key must be at least one of %s", strings.Join(KeyScopes.Names(), ", "))
	}
	now := s.now()
	if !spec.Expires.IsZero() && !spec.Expires.After(now) {
		return Key{}, "", event.FieldError("expires", "%s is in the past", spec.Expires.UTC().Format(time.RFC3339))
	}
	secret, err := token.APIKey.New(s.rand)
	if err != nil {
		return Key{}, "", err
	}
	prefix := token.APIKey.Prefix(secret)
	site := spec.Site
	if strings.TrimSpace(site) == "" {
		site = "Site " + prefix
	}
	if site, _, err = cleanName("site", site); err != nil {
		return Key{}, "", err
	}
	id, err := tx.Insert(ctx, insertKey, companyID, site, prefix, token.HashText(secret), spec.Scopes.String(), millis(now), optionalMillis(spec.Expires), tx.revision)
	if err != nil {
		return Key{}, "", err
	}
	k, err := scanKey(tx.QueryRow(ctx, selectKey+` WHERE id = ?`, id).Scan)
	if err != nil {
		return Key{}, "", err
	}
	return k, secret, tx.record(ctx, k.entry("key.create", nil))
}

// keyRecord is a key as the audit trail shows it.
type keyRecord struct {
	Site     string    `json:"site"`
	Prefix   string    `json:"prefix"`
	Scopes   Scopes    `json:"scopes"`
	Expires  time.Time `json:"expires,omitzero"`
	Disabled bool      `json:"disabled"`
	Revoked  bool      `json:"revoked"`
}

func (k *Key) record() *keyRecord {
	return &keyRecord{Site: k.Site, Prefix: k.Prefix, Scopes: k.Scopes, Expires: k.Expires, Disabled: !k.Disabled.IsZero(), Revoked: !k.Revoked.IsZero()}
}

// entry is what the audit trail says of an act that left the key as it is.
func (k *Key) entry(action string, before *Key) Entry {
	e := Entry{Action: action, Company: k.CompanyID, TargetKind: "key", TargetID: strconv.FormatUint(uint64(k.ID), 10), TargetName: k.Site, After: k.record()}
	if before != nil {
		e.Before = before.record()
	}
	return e
}

// Keys lists the keys of a company by id; revoked ones only when asked for.
func (s *Store) Keys(ctx context.Context, companyID uint32, withRevoked bool) ([]Key, error) {
	query := selectKey + ` WHERE company_id = ?`
	if !withRevoked {
		query += ` AND revoked_at IS NULL`
	}
	list, err := s.keys(ctx, query+` ORDER BY id`, companyID)
	return list, fail(err, "list keys")
}

func (s *Store) keys(ctx context.Context, query string, args ...any) (list []Key, err error) {
	rows, err := s.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		k, err := scanKey(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, rows.Err()
}

// FindKey finds a key of any company as an operator names it: by id, by its visible prefix, or by the whole key. It is for
// operators alone.
func (s *Store) FindKey(ctx context.Context, ref string) (Key, error) {
	ref = strings.TrimSpace(ref)
	var list []Key
	var err error
	switch id, parseErr := strconv.ParseUint(ref, 10, 31); {
	case parseErr == nil:
		list, err = s.keys(ctx, selectKey+` WHERE id = ?`, int64(id))
	case token.APIKey.WellFormed(ref):
		list, err = s.keys(ctx, selectKey+` WHERE key_hash = ?`, token.HashText(ref))
	default:
		list, err = s.keys(ctx, selectKey+` WHERE key_prefix = ?`, ref)
	}
	if err != nil {
		return Key{}, fail(err, "find key")
	}
	if len(list) > 1 {
		return Key{}, event.Errorf(event.CodeConflict, "%d keys begin with %s: name one by its id", len(list), ref)
	}
	if len(list) == 0 {
		if len(ref) > prefixLen {
			ref = ref[:prefixLen] + "…" // it may be most of a key
		}
		return Key{}, event.Errorf(event.CodeNotFound, "there is no key %q; name it by the id or prefix that `gatehouse key list` shows", ref)
	}
	return list[0], nil
}

// SetKeyDisabled stops a key for a while, or lets it work again.
func (s *Store) SetKeyDisabled(ctx context.Context, actor *Actor, companyID, keyID uint32, disabled bool) error {
	if disabled {
		return s.changeKey(ctx, actor, "key.disable", companyID, keyID, disableKey, millis(s.now()), companyID, keyID)
	}
	return s.changeKey(ctx, actor, "key.enable", companyID, keyID, enableKey, companyID, keyID)
}

// RevokeKey ends a key for good: from then on it is as if it had never been. Its events and their site's name stay.
func (s *Store) RevokeKey(ctx context.Context, actor *Actor, companyID, keyID uint32) error {
	return s.changeKey(ctx, actor, "key.revoke", companyID, keyID, revokeKey, millis(s.now()), companyID, keyID)
}

func (s *Store) changeKey(ctx context.Context, actor *Actor, action string, companyID, keyID uint32, query string, args ...any) error {
	if err := actor.Require(PermManageKeys, companyID); err != nil {
		return err
	}
	return fail(s.change(ctx, actor, func(tx changeTx) error {
		old, err := scanKey(tx.QueryRow(ctx, selectKey+` WHERE id = ? AND company_id = ?`, keyID, companyID).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return noKey(keyID)
		}
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, query, append([]any{tx.revision}, args...)...)
		if err != nil {
			return err
		}
		if n == 0 {
			return noKey(keyID)
		}
		k, err := scanKey(tx.QueryRow(ctx, selectKey+` WHERE id = ?`, keyID).Scan)
		if err != nil {
			return err
		}
		return tx.record(ctx, k.entry(action, &old))
	}), strings.Replace(action, ".", " ", 1))
}

// noKey is the answer for a key of another company, one that never was and one that is revoked: the same for all.
func noKey(keyID uint32) error {
	return event.Errorf(event.CodeNotFound, "there is no key with id %d that could be changed", keyID)
}

func scanKey(scan func(...any) error) (Key, error) {
	var k Key
	var scopes string
	var created int64
	var expires, disabled, revoked, used *int64
	var ip sql.NullString
	err := scan(&k.ID, &k.CompanyID, &k.Site, &k.Prefix, &scopes, &created, &expires, &disabled, &revoked, &used, &ip, &k.Events, &k.Errors)
	if err != nil {
		return Key{}, err
	}
	k.Scopes = storedScopes(scopes)
	k.Created = time.UnixMilli(created).UTC()
	k.Expires, k.Disabled, k.Revoked, k.LastUsed = optionalTime(expires), optionalTime(disabled), optionalTime(revoked), optionalTime(used)
	if addr, err := netip.ParseAddr(ip.String); err == nil {
		k.LastUsedIP = addr.String()
	}
	return k, nil
}
