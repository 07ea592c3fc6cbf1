package authsvc

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gatehouse/internal/reldb"
)

// usage counts the use of one key since it was last written. Its own lock, since it is taken for every request: keys do not
// wait for each other.
type usage struct {
	mu     sync.Mutex
	last   time.Time
	ip     netip.Addr
	events int64
	errors int64
}

// used is what one flush writes for one key.
type used struct {
	last           time.Time
	ip             netip.Addr
	events, errors int64
}

// Record notes one request of a site: where it came from, how many events it brought that were accepted, and how many
// records (or the request itself) were refused. Nothing is written now; see Flush.
func (r *Resolver) Record(siteID uint32, from netip.Addr, events, errors int) {
	entry := r.snap.Load().sites[siteID]
	if entry == nil {
		return // the key was there when the request began and its database has been replaced since
	}
	now := r.store.now()
	u := entry.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.After(u.last) {
		u.last = now
	}
	if from.IsValid() {
		u.ip = from.Unmap()
	}
	u.events += int64(events)
	u.errors += int64(errors)
}

func (u *usage) take() (used, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last.IsZero() {
		return used{}, false
	}
	taken := used{u.last, u.ip, u.events, u.errors}
	u.last, u.ip, u.events, u.errors = time.Time{}, netip.Addr{}, 0, 0
	return taken, true
}

// giveBack undoes take after a failed write.
func (u *usage) giveBack(t used) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last.Before(t.last) {
		u.last = t.last
	}
	if !u.ip.IsValid() {
		u.ip = t.ip
	}
	u.events += t.events
	u.errors += t.errors
}

// Several servers write the same row: counts add up, and the later time wins with its address.
const addUsage = `UPDATE api_keys SET event_count = event_count + ?, error_count = error_count + ?,
    last_used_ip = CASE WHEN ? >= COALESCE(last_used_at, 0) THEN COALESCE(?, last_used_ip) ELSE last_used_ip END,
    last_used_at = CASE WHEN ? >= COALESCE(last_used_at, 0) THEN ? ELSE last_used_at END
WHERE id = ?`

// Flush writes the counts of all keys used since the last flush in one transaction. When it fails they stay in memory.
func (r *Resolver) Flush(ctx context.Context) error {
	sites := r.snap.Load().sites
	taken := map[uint32]used{}
	for id, entry := range sites {
		if t, any := entry.usage.take(); any {
			taken[id] = t
		}
	}
	if len(taken) == 0 {
		return nil
	}
	err := r.store.db.Update(ctx, func(tx *reldb.Tx) error {
		// In one order everywhere: two servers that lock the same rows crosswise would end in a deadlock.
		for _, id := range slices.Sorted(maps.Keys(taken)) {
			t := taken[id]
			var ip *string
			if t.ip.IsValid() {
				text := t.ip.WithZone("").String()
				ip = &text
			}
			at := millis(t.last)
			if _, err := tx.Exec(ctx, addUsage, t.events, t.errors, at, ip, at, at, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for id, t := range taken {
			sites[id].usage.giveBack(t)
		}
	}
	return err
}
