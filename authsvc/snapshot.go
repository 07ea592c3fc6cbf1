package authsvc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// snapshot is all companies and keys at one revision. It never changes once it is published; only the counters
// behind usage do, and those are carried from one snapshot to the next.
type snapshot struct {
	revision  int64
	companies map[uint32]*Company
	keys      map[[32]byte]credential // those that may be used or are disabled
	sites     map[uint32]*site        // also revoked ones, whose names reports still want
}

// credential is one secret of a site, which has two while it is being exchanged.
type credential struct {
	site  *site
	until int64 // Unix milliseconds when this secret ends before its site does, 0: it does not
}

type site struct {
	id        uint32
	companyID uint32
	name      string
	scopes    Scopes
	networks  []netip.Prefix
	disabled  bool
	expires   int64 // Unix milliseconds, 0: never
	hashes    [][32]byte
	usage     *usage
}

// principal is whom the site's key speaks for. The company is looked up anew, so that its changes need not touch its keys.
func (n *snapshot) principal(s *site) (Principal, bool) {
	c := n.companies[s.companyID]
	if c == nil {
		return Principal{}, false
	}
	return Principal{
		CompanyID: c.ID, CompanyName: c.Name, SiteID: s.id, SiteName: s.name, Scopes: s.scopes,
		Timezone: c.Timezone, Location: c.Location, MaxSession: c.MaxSession,
	}, c.Disabled.IsZero()
}

const (
	changedCompanies = selectCompany + ` WHERE revision > ?`
	changedSites     = `SELECT id, company_id, description, key_hash, old_key_hash, old_key_until, scopes, networks, expires_at,
    CASE WHEN disabled_at IS NULL THEN 0 ELSE 1 END, CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END FROM api_keys WHERE revision > ?`
)

// load reads what has changed since old, or everything without an old one. Rows may be newer than revision, never older, as the
// revision was read before them; the next look reads those once more. Companies come first: a key is never older than
// its company, so each key finds its own, except for one added between the two reads, which the next look completes.
func (s *Store) load(ctx context.Context, revision int64, old *snapshot) (*snapshot, error) {
	next := &snapshot{revision: revision, companies: map[uint32]*Company{}, keys: map[[32]byte]credential{}, sites: map[uint32]*site{}}
	since := int64(-1)
	// A revision that went back is that of a restored backup, which may lack rows that are in memory.
	if old != nil && old.revision < revision {
		since = old.revision
		next.companies, next.keys, next.sites = maps.Clone(old.companies), maps.Clone(old.keys), maps.Clone(old.sites)
	}
	companies, err := s.queryCompanies(ctx, changedCompanies, since)
	if err != nil {
		return nil, fmt.Errorf("read companies: %w", err)
	}
	for _, c := range companies {
		next.companies[c.ID] = &c
	}
	if err := s.loadSites(ctx, since, next, old); err != nil {
		return nil, fmt.Errorf("read API keys: %w", err)
	}
	return next, nil
}

func (s *Store) loadSites(ctx context.Context, since int64, next, old *snapshot) (err error) {
	rows, err := s.db.Query(ctx, changedSites, since)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var hash, scopes, networks string
		var oldHash *string
		var oldUntil, expires *int64
		var revoked bool
		entry := &site{}
		if err := rows.Scan(&entry.id, &entry.companyID, &entry.name, &hash, &oldHash, &oldUntil, &scopes, &networks, &expires, &entry.disabled, &revoked); err != nil {
			return err
		}
		entry.scopes, entry.networks = storedScopes(scopes), storedNetworks(networks)
		if expires != nil {
			entry.expires = *expires
		}
		entry.usage = &usage{}
		if old != nil && old.sites[entry.id] != nil {
			entry.usage = old.sites[entry.id].usage
		}
		if before := next.sites[entry.id]; before != nil {
			for _, sum := range before.hashes {
				delete(next.keys, sum)
			}
		}
		next.sites[entry.id] = entry
		if revoked {
			continue
		}
		if oldHash != nil && oldUntil != nil {
			next.accept(entry, *oldHash, *oldUntil)
		}
		next.accept(entry, hash, 0)
	}
	return rows.Err()
}

// accept makes a hash stand for a site. No key has a hash that cannot be read, so nothing can be accepted by it.
func (n *snapshot) accept(s *site, hash string, until int64) {
	var sum [32]byte
	if len(hash) != hex.EncodedLen(len(sum)) {
		return
	}
	if _, err := hex.Decode(sum[:], []byte(hash)); err != nil {
		return
	}
	s.hashes = append(s.hashes, sum)
	n.keys[sum] = credential{s, until}
}

// list gives all companies by id.
func (n *snapshot) list() []Company {
	out := make([]Company, 0, len(n.companies))
	for _, id := range slices.Sorted(maps.Keys(n.companies)) {
		out = append(out, *n.companies[id])
	}
	return out
}
