package authsvc

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/reldb"
)

const (
	// maxAgent is how much of a client's name is kept; the column holds no more.
	maxAgent = 100
	// flushChunk is how many keys are written in one transaction: others who want to write wait no longer than for these.
	flushChunk = 500
)

// usage counts the use of one key since it was last written. Its own lock, since it is taken for every request: keys do not
// wait for each other.
type usage struct {
	mu   sync.Mutex
	used used
}

// used is what one flush writes for one key.
type used struct {
	last    time.Time // zero: nothing was let in
	ip      netip.Addr
	agent   string
	version string
	days    []usedDay // by day, the latest last; usually there is one
}

type usedDay struct{ day, events, errors int64 }

func (u *used) add(day, events, errors int64) {
	for i := len(u.days) - 1; i >= 0; i-- {
		if u.days[i].day == day {
			u.days[i].events += events
			u.days[i].errors += errors
			return
		}
	}
	u.days = append(u.days, usedDay{day, events, errors})
}

func (u *used) sum() (events, errors int64) {
	for _, d := range u.days {
		events += d.events
		errors += d.errors
	}
	return events, errors
}

// Record notes one request of a site: where it came from, what its client calls itself, which version of an agent its events name (empty: none),
// how many events it brought that were accepted, and how many records (or the request itself) were refused. Nothing is written now; see Flush.
func (r *Resolver) Record(siteID uint32, from netip.Addr, agent, version string, events, errors int) {
	entry := r.snap.Load().sites[siteID]
	if entry == nil {
		return // the key was there when the request began and its database has been replaced since
	}
	now := r.store.now()
	u := entry.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.After(u.used.last) {
		u.used.last = now
	}
	if from.IsValid() {
		u.used.ip = from.Unmap()
	}
	keepName(&u.used.agent, agent)
	keepName(&u.used.version, version)
	u.used.add(dayOf(now), int64(events), int64(errors))
}

// keepName puts a client's name in place of the last one, in memory of its own: the request's may be used again.
func keepName(kept *string, name string) {
	if len(name) > maxAgent {
		name = name[:maxAgent]
	}
	if name != "" && name != *kept {
		*kept = strings.Clone(name)
	}
}

// recordRefused notes a request with the right key from a network where that may not be used. It is no use of the key.
func (r *Resolver) recordRefused(u *usage) {
	now := r.store.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.used.add(dayOf(now), 0, 1)
}

// take moves what was counted out of u.
func (u *usage) take() (used, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.used
	u.used = used{}
	return taken, !taken.last.IsZero() || len(taken.days) > 0
}

// giveBack undoes take after a failed write.
func (u *usage) giveBack(t used) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used.last.Before(t.last) {
		u.used.last = t.last
	}
	if !u.used.ip.IsValid() {
		u.used.ip = t.ip
	}
	if u.used.agent == "" {
		u.used.agent = t.agent
	}
	if u.used.version == "" {
		u.used.version = t.version
	}
	for _, d := range t.days {
		u.used.add(d.day, d.events, d.errors)
	}
}

const (
	// Several servers write the same row: counts add up, and the later time wins with its address and client.
	addUsage = `UPDATE api_keys SET event_count = event_count + ?, error_count = error_count + ?,
    last_used_ip = CASE WHEN ? >= COALESCE(last_used_at, 0) THEN COALESCE(?, last_used_ip) ELSE last_used_ip END,
    last_used_agent = CASE WHEN ? >= COALESCE(last_used_at, 0) THEN COALESCE(?, last_used_agent) ELSE last_used_agent END,
    last_agent_version = CASE WHEN ? >= COALESCE(last_used_at, 0) THEN COALESCE(?, last_agent_version) ELSE COALESCE(last_agent_version, ?) END,
    last_used_at = CASE WHEN ? >= COALESCE(last_used_at, 0) THEN ? ELSE last_used_at END
WHERE id = ?`
	addRefused = `UPDATE api_keys SET error_count = error_count + ? WHERE id = ?`
	addDay     = `UPDATE key_days SET event_count = event_count + ?, error_count = error_count + ? WHERE key_id = ? AND day = ?`
	insertDay  = `INSERT INTO key_days (key_id, day, event_count, error_count) VALUES (?, ?, ?, ?)`
)

// Flush writes the counts of all keys used since the last flush. When it fails, what was not written stays in memory.
func (r *Resolver) Flush(ctx context.Context) error {
	sites := r.snap.Load().sites
	taken := map[uint32]used{}
	for id, entry := range sites {
		if t, any := entry.usage.take(); any {
			taken[id] = t
		}
	}
	// In one order everywhere: two servers that lock the same rows crosswise would end in a deadlock.
	ids := slices.Sorted(maps.Keys(taken))
	for len(ids) > 0 {
		chunk := ids[:min(flushChunk, len(ids))]
		if err := r.store.db.Update(ctx, func(tx *reldb.Tx) error {
			for _, id := range chunk {
				if err := writeUsage(ctx, tx, id, taken[id]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			for _, id := range ids {
				sites[id].usage.giveBack(taken[id])
			}
			return err
		}
		ids = ids[len(chunk):]
	}
	return nil
}

// writeUsage adds what was counted of one key. The key's row comes first: its lock lets one server at a time see whether the day
// has a row yet.
func writeUsage(ctx context.Context, tx *reldb.Tx, id uint32, t used) error {
	events, errors := t.sum()
	var n int64
	var err error
	if t.last.IsZero() {
		n, err = tx.Exec(ctx, addRefused, errors, id)
	} else {
		var ip, agent, version *string
		if t.ip.IsValid() {
			text := t.ip.WithZone("").String()
			ip = &text
		}
		if t.agent != "" {
			text := clip(t.agent, maxAgent)
			agent = &text
		}
		if t.version != "" {
			text := clip(t.version, maxAgent)
			version = &text
		}
		at := millis(t.last)
		n, err = tx.Exec(ctx, addUsage, events, errors, at, ip, at, agent, at, version, version, at, at, id)
	}
	if err != nil || n == 0 {
		return err // without a row the database has been replaced since: there is nothing to count for
	}
	for _, d := range t.days {
		if d.events == 0 && d.errors == 0 {
			continue
		}
		n, err := tx.Exec(ctx, addDay, d.events, d.errors, id, d.day)
		if err == nil && n == 0 {
			_, err = tx.Exec(ctx, insertDay, id, d.day, d.events, d.errors)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
