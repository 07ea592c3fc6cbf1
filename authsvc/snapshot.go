package authsvc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
)

// snapshot is all companies and keys at one revision. It never changes once it is published; only the counters
// behind usage do, and those are carried from one snapshot to the next.
type snapshot struct {
	revision  int64
	companies map[uint32]*Company
	order     []*Company // by id
	keys      map[[32]byte]*site
	sites     map[uint32]*site // also revoked ones, whose names reports still want
}

type site struct {
	principal Principal
	disabled  bool
	expires   int64 // Unix milliseconds, 0: never
	usage     *usage
}

const selectSites = `SELECT id, company_id, description, key_hash, scopes, expires_at,
    CASE WHEN disabled_at IS NULL THEN 0 ELSE 1 END, CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END FROM api_keys`

// load reads everything. Companies come first: a key is never older than its company, so each key read finds its own, except
// for one added between the two reads, which the next look brings in.
func (s *Store) load(ctx context.Context, revision int64, old *snapshot) (*snapshot, error) {
	companies, err := s.companies(ctx)
	if err != nil {
		return nil, fmt.Errorf("read companies: %w", err)
	}
	next := &snapshot{
		revision:  revision,
		companies: make(map[uint32]*Company, len(companies)),
		order:     make([]*Company, 0, len(companies)),
		keys:      map[[32]byte]*site{},
		sites:     map[uint32]*site{},
	}
	for _, c := range companies {
		next.companies[c.ID] = &c
		next.order = append(next.order, &c)
	}
	if err := s.loadSites(ctx, next, old); err != nil {
		return nil, fmt.Errorf("read API keys: %w", err)
	}
	return next, nil
}

func (s *Store) loadSites(ctx context.Context, next, old *snapshot) (err error) {
	rows, err := s.db.Query(ctx, selectSites)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p Principal
		var hash, scopes string
		var expires *int64
		var disabled, revoked bool
		if err := rows.Scan(&p.SiteID, &p.CompanyID, &p.SiteName, &hash, &scopes, &expires, &disabled, &revoked); err != nil {
			return err
		}
		company := next.companies[p.CompanyID]
		if company == nil {
			continue
		}
		p.CompanyName, p.Timezone, p.Location, p.MaxSession = company.Name, company.Timezone, company.Location, company.MaxSession
		p.Scopes = storedScopes(scopes)
		entry := &site{principal: p, disabled: disabled || !company.Disabled.IsZero()}
		if expires != nil {
			entry.expires = *expires
		}
		if old != nil && old.sites[p.SiteID] != nil {
			entry.usage = old.sites[p.SiteID].usage
		} else {
			entry.usage = &usage{}
		}
		next.sites[p.SiteID] = entry
		if revoked {
			continue
		}
		var sum [32]byte
		if n, err := hex.Decode(sum[:], []byte(hash)); err != nil || n != len(sum) {
			continue // no key has this hash, so nothing can be accepted by it
		}
		next.keys[sum] = entry
	}
	return rows.Err()
}
