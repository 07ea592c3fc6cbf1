package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"gatehouse/authsvc/token"
	"gatehouse/event"
)

// KeyFilter says which keys to list; the zero value lists all that are not revoked.
type KeyFilter struct {
	Company uint32     // of one company; 0: of all that the actor may see
	State   KeyState   // in this state; empty: in any but revoked
	Revoked bool       // with an empty State: revoked ones too
	Scope   Scopes     // with all of these
	Text    string     // in the site's name or the note, or at the beginning of the key
	Idle    *time.Time // not used since then, or never
}

// ListKeys lists keys by id over all companies whose keys the actor may see. next is the cursor of the following page, empty behind the
// last.
func (s *Store) ListKeys(ctx context.Context, actor *Actor, want KeyFilter, page Page) (list []Key, next string, err error) {
	const name = "keys"
	limit, err := page.size()
	if err != nil {
		return nil, "", err
	}
	after, err := page.afterID(name, maxID)
	if err != nil {
		return nil, "", err
	}
	var f filter
	if err := f.addReach(actor, PermListKeys, "k.company_id", want.Company); err != nil {
		return nil, "", err
	}
	if err := want.addTo(&f, millis(s.now())); err != nil {
		return nil, "", err
	}
	if after > 0 {
		f.add("k.id > ?", after)
	}
	list, err = s.keys(ctx, selectKey+f.where()+` ORDER BY k.id`+firstRows(s.db.Dialect(), limit+1), f.args...)
	if err != nil {
		return nil, "", fail(err, "list keys")
	}
	if len(list) > limit {
		list = list[:limit]
		next = cursorOf(name, strconv.FormatUint(uint64(list[limit-1].ID), 10))
	}
	return list, next, nil
}

func (k *KeyFilter) addTo(f *filter, now int64) error {
	switch k.State {
	case "":
		if !k.Revoked {
			f.add("k.revoked_at IS NULL")
		}
	case KeyRevoked:
		f.add("k.revoked_at IS NOT NULL")
	case KeyDisabled:
		f.add("k.revoked_at IS NULL AND k.disabled_at IS NOT NULL")
	case KeyExpired:
		f.add("k.revoked_at IS NULL AND k.disabled_at IS NULL AND k.expires_at <= ?", now)
	case KeyActive:
		f.add("k.revoked_at IS NULL AND k.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > ?)", now)
	default:
		return event.FieldError("state", "must be one of active, disabled, expired, revoked")
	}
	for _, scope := range k.Scope.Names() {
		f.add("k.scopes LIKE ?", "%"+scope+"%") // no scope's name is part of another's
	}
	if k.Text != "" {
		var any filter
		any.addAnyCase(k.Text, "k.description", "k.note")
		any.addPrefix("k.key_prefix", k.Text)
		f.add("("+strings.Join(any.terms, " OR ")+")", any.args...)
	}
	if k.Idle != nil {
		f.add("(k.last_used_at IS NULL OR k.last_used_at < ?)", millis(*k.Idle))
	}
	return nil
}

func (s *Store) keys(ctx context.Context, query string, args ...any) (list []Key, err error) {
	rows, err := s.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		k, err := s.scanKey(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, rows.Err()
}

// GetKey reads one key, of whichever company. One that the actor may not see is CodeNotFound, as one that is not there.
func (s *Store) GetKey(ctx context.Context, actor *Actor, keyID uint32) (Key, error) {
	if actor.Stage != StageDone {
		return Key{}, actor.Require(PermListKeys, 0)
	}
	k, err := s.scanKey(s.db.QueryRow(ctx, selectKey+` WHERE k.id = ?`, keyID).Scan)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !actor.Knows(k.CompanyID) {
		return Key{}, event.Errorf(event.CodeNotFound, "there is no key with id %d", keyID)
	}
	if err != nil {
		return Key{}, fail(err, "read key")
	}
	if err := actor.Require(PermListKeys, k.CompanyID); err != nil {
		return Key{}, err
	}
	return k, nil
}

// FindKey finds a key as an operator names it: by id, by its visible prefix, or by the whole key. During an exchange the old secret
// names its key as well. Keys that the actor may not see are not found.
func (s *Store) FindKey(ctx context.Context, actor *Actor, ref string) (Key, error) {
	ref = strings.TrimSpace(ref)
	var f filter
	if err := f.addReach(actor, PermListKeys, "k.company_id", 0); err != nil {
		return Key{}, err
	}
	switch id, err := strconv.ParseUint(ref, 10, 31); {
	case err == nil:
		f.add("k.id = ?", int64(id))
	case token.APIKey.WellFormed(ref):
		hash := token.HashText(ref)
		f.add("(k.key_hash = ? OR k.old_key_hash = ? AND k.old_key_until > ?)", hash, hash, millis(s.now()))
	default:
		f.add("(k.key_prefix = ? OR k.old_key_prefix = ? AND k.old_key_until > ?)", ref, ref, millis(s.now()))
	}
	list, err := s.keys(ctx, selectKey+f.where()+` ORDER BY k.id`, f.args...)
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

const selectSiteNames = `SELECT id, description FROM api_keys WHERE company_id = ?`

// SiteNames are the names of all sites of a company by id, also of those whose keys are revoked, for reports of that company: whoever asks
// has decided that its reports may be read.
func (s *Store) SiteNames(ctx context.Context, companyID uint32) (names map[uint32]string, err error) {
	rows, err := s.db.Query(ctx, selectSiteNames, companyID)
	if err != nil {
		return nil, fail(err, "read the names of sites")
	}
	defer func() { err = fail(errors.Join(err, rows.Close()), "read the names of sites") }()
	names = map[uint32]string{}
	for rows.Next() {
		var id uint32
		var site string
		if err := rows.Scan(&id, &site); err != nil {
			return nil, err
		}
		names[id] = site
	}
	return names, rows.Err()
}

// dayMillis is the length of a day in the tables' unit; days are counted in UTC from 1970-01-01.
const dayMillis = int64(24 * time.Hour / time.Millisecond)

// keptDays is how long the counts of days are kept, see RunMaintenance; so no range is longer.
const keptDays = 400

// KeyDay is what a key brought in one day, in UTC.
type KeyDay struct {
	Day    time.Time // its beginning
	Events int64     // accepted
	Errors int64     // refused records and requests
}

const selectKeyDays = `SELECT day, event_count, error_count FROM key_days WHERE key_id = ? AND day BETWEEN ? AND ?`

// KeyDays tells what a key of a company brought each day in UTC from the day of from to that of to, both included and at most 400 days,
// to within a few seconds. Days without use are there with zeros.
func (s *Store) KeyDays(ctx context.Context, actor *Actor, companyID, keyID uint32, from, to time.Time) (days []KeyDay, err error) {
	if err := actor.Require(PermListKeys, companyID); err != nil {
		return nil, err
	}
	first, last := dayOf(from), dayOf(to)
	if last < first || last-first >= keptDays {
		return nil, event.FieldError("to", "must be in the %d days after from", keptDays)
	}
	var owner uint32
	err = s.db.QueryRow(ctx, `SELECT company_id FROM api_keys WHERE id = ?`, keyID).Scan(&owner)
	if errors.Is(err, sql.ErrNoRows) || err == nil && owner != companyID {
		return nil, event.Errorf(event.CodeNotFound, "there is no key with id %d", keyID)
	}
	if err != nil {
		return nil, fail(err, "read the days of a key")
	}
	for d := first; d <= last; d++ {
		days = append(days, KeyDay{Day: time.UnixMilli(d * dayMillis).UTC()})
	}
	rows, err := s.db.Query(ctx, selectKeyDays, keyID, first, last)
	if err != nil {
		return nil, fail(err, "read the days of a key")
	}
	defer func() { err = fail(errors.Join(err, rows.Close()), "read the days of a key") }()
	for rows.Next() {
		var day, events, failures int64
		if err := rows.Scan(&day, &events, &failures); err != nil {
			return nil, err
		}
		days[day-first].Events, days[day-first].Errors = events, failures
	}
	return days, rows.Err()
}

// dayOf is the number of the day in UTC that t lies in.
func dayOf(t time.Time) int64 {
	ms := t.UnixMilli()
	day := ms / dayMillis
	if ms%dayMillis < 0 {
		day--
	}
	return day
}
