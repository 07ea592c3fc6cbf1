package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/authsvc/token"
	"gatehouse/event"
)

const (
	// DefaultOverlap is how long the old secret of a key still works after an exchange, so that its agents can be changed one after
	// the other.
	DefaultOverlap = 24 * time.Hour
	// MaxOverlap bounds it: an exchange that never ends is none.
	MaxOverlap = 90 * 24 * time.Hour
	// maxNote is the longest note of a key, in characters; the column holds no more.
	maxNote = 1000
)

// NewKey is what an operator chooses for a key.
type NewKey struct {
	Site     string // default: "Site" and the key's visible prefix
	Note     string
	Scopes   Scopes
	Networks []netip.Prefix // none: usable from anywhere
	Expires  time.Time      // zero: never
}

// KeyChange is what to change of a key; what is nil stays.
type KeyChange struct {
	Site     *string
	Note     *string
	Scopes   *Scopes
	Networks *[]netip.Prefix // an empty list lifts the limit
	Expires  *time.Time      // the zero time: never
}

const (
	insertKey = `INSERT INTO api_keys (company_id, description, note, key_prefix, key_hash, scopes, networks, created_at, expires_at, revision)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateKey = `UPDATE api_keys SET revision = ?, description = ?, note = ?, scopes = ?, networks = ?, expires_at = ? WHERE id = ? AND revoked_at IS NULL`
	// In one statement the right-hand sides are those from before, except in MySQL, which goes from left to right: so the old ones are
	// taken first.
	rotateKey = `UPDATE api_keys SET revision = ?, old_key_prefix = key_prefix, old_key_hash = key_hash, old_key_until = ?,
    key_prefix = ?, key_hash = ?, rotated_at = ? WHERE id = ? AND revoked_at IS NULL`
	// COALESCE keeps the first time: disabling twice must not look like one that happened today.
	disableKey = `UPDATE api_keys SET revision = ?, disabled_at = COALESCE(disabled_at, ?) WHERE id = ? AND revoked_at IS NULL`
	enableKey  = `UPDATE api_keys SET revision = ?, disabled_at = NULL WHERE id = ? AND revoked_at IS NULL`
	revokeKey  = `UPDATE api_keys SET revision = ?, revoked_at = ? WHERE id = ? AND revoked_at IS NULL`
)

// CreateKey adds a key to a company. The key in the result is the only copy there will ever be.
func (s *Store) CreateKey(ctx context.Context, actor *Actor, companyID uint32, spec NewKey) (Key, string, error) {
	if err := actor.Require(PermManageKeys, companyID); err != nil {
		return Key{}, "", err
	}
	if err := mayGrant(actor, spec.Scopes); err != nil {
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
	secret, err := token.APIKey.New(s.rand)
	if err != nil {
		return Key{}, "", err
	}
	prefix := token.APIKey.Prefix(secret)
	if strings.TrimSpace(spec.Site) == "" {
		spec.Site = "Site " + prefix
	}
	now := s.now()
	if err := spec.check(now); err != nil {
		return Key{}, "", err
	}
	id, err := tx.Insert(ctx, insertKey, companyID, spec.Site, spec.Note, prefix, token.HashText(secret), spec.Scopes.String(),
		networksText(spec.Networks), millis(now), optionalMillis(spec.Expires), tx.revision)
	if err != nil {
		return Key{}, "", err
	}
	k, err := s.scanKey(tx.QueryRow(ctx, selectKey+` WHERE k.id = ?`, id).Scan)
	if err != nil {
		return Key{}, "", err
	}
	return k, secret, tx.record(ctx, k.entry("key.create", nil))
}

// check holds what an operator chose against the rules, and cleans it.
func (n *NewKey) check(now time.Time) (err error) {
	if n.Scopes == 0 || n.Scopes&^KeyScopes != 0 {
		return event.FieldError("scopes", "of a key must be at least one of %s", strings.Join(KeyScopes.Names(), ", "))
	}
	if !n.Expires.IsZero() && !n.Expires.After(now) {
		return event.FieldError("expires", "%s is in the past; to stop a key now, disable or revoke it", n.Expires.UTC().Format(time.RFC3339))
	}
	if n.Site, _, err = cleanName("site", n.Site); err != nil {
		return err
	}
	if n.Note, err = cleanNote(n.Note); err != nil {
		return err
	}
	n.Networks, err = cleanNetworks(n.Networks)
	return err
}

// cleanNote checks a free text: like a name, but it may have lines.
func cleanNote(note string) (string, error) {
	if !utf8.ValidString(note) {
		return "", event.FieldError("note", "is not valid UTF-8")
	}
	note = strings.TrimSpace(strings.ReplaceAll(note, "\r\n", "\n"))
	for _, r := range note {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return "", event.FieldError("note", "contains the character %U, which cannot be shown", r)
		}
	}
	if clip(note, maxNote) != note {
		return "", event.FieldError("note", "is longer than %d characters", maxNote)
	}
	return note, nil
}

// mayGrant holds that nobody gives a key what they do not have at the moment: a person's token that is limited to some scopes must
// not make itself a key with others.
func mayGrant(actor *Actor, scopes Scopes) error {
	if missing := scopes & KeyScopes &^ actor.Scopes; missing != 0 {
		return event.Errorf(event.CodeForbidden, "this token cannot give a key the scope %s, which it does not have itself", missing)
	}
	return nil
}

// UpdateKey changes a key of a company. The new settings count at once for both secrets of a key that is being exchanged.
func (s *Store) UpdateKey(ctx context.Context, actor *Actor, companyID, keyID uint32, change KeyChange) (Key, error) {
	return s.changeKey(ctx, actor, "key.change", companyID, keyID, func(tx changeTx, old *Key) (int64, error) {
		next := NewKey{Site: old.Site, Note: old.Note, Scopes: old.Scopes, Networks: old.Networks}
		set(&next.Site, change.Site)
		set(&next.Note, change.Note)
		set(&next.Scopes, change.Scopes)
		set(&next.Networks, change.Networks)
		// An end that has passed may stay: then the rest can be changed without a new life for the key.
		set(&next.Expires, change.Expires)
		if err := mayGrant(actor, next.Scopes&^old.Scopes); err != nil {
			return 0, err
		}
		if err := next.check(tx.now); err != nil {
			return 0, err
		}
		expires := old.Expires
		if change.Expires != nil {
			expires = next.Expires
		}
		return tx.Exec(ctx, updateKey, tx.revision, next.Site, next.Note, next.Scopes.String(), networksText(next.Networks), optionalMillis(expires), keyID)
	})
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// RotateKey gives a key a new secret, which is returned and kept nowhere. The old one works for overlap longer (0: not at all, at most
// MaxOverlap); one that was still working from an exchange before ends now.
func (s *Store) RotateKey(ctx context.Context, actor *Actor, companyID, keyID uint32, overlap time.Duration) (Key, string, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Key{}, "", event.FieldError("overlap", "must be between 0 and %d days", MaxOverlap/(24*time.Hour))
	}
	var secret string
	k, err := s.changeKey(ctx, actor, "key.rotate", companyID, keyID, func(tx changeTx, old *Key) (_ int64, err error) {
		if err := mayGrant(actor, old.Scopes); err != nil {
			return 0, err
		}
		if secret, err = token.APIKey.New(s.rand); err != nil {
			return 0, err
		}
		return tx.Exec(ctx, rotateKey, tx.revision, millis(tx.now.Add(overlap)), token.APIKey.Prefix(secret), token.HashText(secret), millis(tx.now), keyID)
	})
	if err != nil {
		return Key{}, "", err
	}
	return k, secret, nil
}

// SetKeyDisabled stops a key for a while, or lets it work again.
func (s *Store) SetKeyDisabled(ctx context.Context, actor *Actor, companyID, keyID uint32, disabled bool) error {
	action := "key.enable"
	if disabled {
		action = "key.disable"
	}
	_, err := s.changeKey(ctx, actor, action, companyID, keyID, func(tx changeTx, _ *Key) (int64, error) {
		if disabled {
			return tx.Exec(ctx, disableKey, tx.revision, millis(tx.now), keyID)
		}
		return tx.Exec(ctx, enableKey, tx.revision, keyID)
	})
	return err
}

// RevokeKey ends a key for good: from then on it is as if it had never been. Its events and their site's name stay.
func (s *Store) RevokeKey(ctx context.Context, actor *Actor, companyID, keyID uint32) error {
	_, err := s.changeKey(ctx, actor, "key.revoke", companyID, keyID, func(tx changeTx, _ *Key) (int64, error) {
		return tx.Exec(ctx, revokeKey, tx.revision, millis(tx.now), keyID)
	})
	return err
}

// changeKey runs exec, which changes the row of one key of a company that is not revoked, and records it.
func (s *Store) changeKey(ctx context.Context, actor *Actor, action string, companyID, keyID uint32, exec func(changeTx, *Key) (int64, error)) (Key, error) {
	if err := actor.Require(PermManageKeys, companyID); err != nil {
		return Key{}, err
	}
	var k Key
	err := s.change(ctx, actor, func(tx changeTx) error {
		old, err := s.scanKey(tx.QueryRow(ctx, selectKey+` WHERE k.id = ? AND k.company_id = ?`, keyID, companyID).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return noKey(keyID)
		}
		if err != nil {
			return err
		}
		n, err := exec(tx, &old)
		if err != nil {
			return err
		}
		if n == 0 {
			return noKey(keyID)
		}
		if k, err = s.scanKey(tx.QueryRow(ctx, selectKey+` WHERE k.id = ?`, keyID).Scan); err != nil {
			return err
		}
		return tx.record(ctx, k.entry(action, &old))
	})
	if err != nil {
		return Key{}, fail(err, strings.Replace(action, ".", " ", 1))
	}
	return k, nil
}
