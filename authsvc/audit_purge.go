package authsvc

import (
	"context"
	"time"

	"gatehouse/event"
)

// actionPurge is how the trail tells that its oldest entries were removed.
const actionPurge = "audit.purge"

// purgeChunk is how many entries go in one transaction: meanwhile nobody else can be recorded.
const purgeChunk = 2000

// purgeRecord is what the trail tells of a removal: where it begins since. VerifyAudit holds the head against it.
type purgeRecord struct {
	Removed int64     `json:"removed"`
	Before  time.Time `json:"before"`
	First   int64     `json:"first_seq"`
	Start   string    `json:"first_hash"`
}

const (
	selectOldest = `SELECT seq, at, hash FROM audit_log WHERE seq >= ? ORDER BY seq`
	deleteOldest = `DELETE FROM audit_log WHERE seq >= ? AND seq < ?`
	moveFirst    = `UPDATE audit_head SET first_seq = ?, first_hash = ? WHERE id = 1`
)

// No entry younger than this is ever removed; the setting takes no less.
const (
	minRetentionDays  = 30
	MinAuditRetention = minRetentionDays * 24 * time.Hour
)

// PurgeAudit removes entries from before a time, from the beginning of the trail to the first that is newer, and tells how many. The
// trail keeps the hash of the last that went, so that the rest can still be verified, and entries about it, which are told: whoever logs them makes it
// possible to tell a removal by the rules from a forged one. An error leaves removed what was removed so far.
func (s *Store) PurgeAudit(ctx context.Context, actor *Actor, before time.Time) (removed int64, told []AuditAnchor, err error) {
	if err := actor.Require(PermChangeSettings, 0); err != nil {
		return 0, nil, err
	}
	if s.now().Sub(before) < MinAuditRetention {
		return 0, nil, event.FieldError("before", "must lie at least %d days back", minRetentionDays)
	}
	for {
		var n int64
		var entry AuditAnchor
		err := s.update(ctx, actor, func(tx *auditedTx) (err error) {
			n, err = s.purgeChunk(ctx, tx, before)
			entry = AuditAnchor{Seq: tx.seq, Hash: tx.hash}
			return err
		})
		if err != nil {
			return removed, told, fail(err, "remove old entries of the audit trail")
		}
		if n > 0 {
			told = append(told, entry)
		}
		removed += n
		if n < purgeChunk {
			return removed, told, nil
		}
	}
}

func (s *Store) purgeChunk(ctx context.Context, tx *auditedTx, before time.Time) (int64, error) {
	head, err := auditHead(ctx, tx)
	if err != nil {
		return 0, err
	}
	record := purgeRecord{Before: before.UTC(), First: head.First, Start: head.Start}
	rows, err := tx.Query(ctx, selectOldest+firstRows(tx.Dialect(), purgeChunk), head.First)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq, at int64
		var hash string
		if err := rows.Scan(&seq, &at, &hash); err != nil {
			return 0, err
		}
		// A gap is for VerifyAudit to find: what is behind it stays, so that it can.
		if at >= millis(before) || seq != record.First {
			break
		}
		record.First, record.Start = seq+1, hash
		record.Removed++
	}
	if err := rows.Err(); err != nil || record.Removed == 0 {
		return 0, err
	}
	if err := rows.Close(); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, deleteOldest, head.First, record.First); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, moveFirst, record.First, record.Start); err != nil {
		return 0, err
	}
	return record.Removed, tx.record(ctx, Entry{Action: actionPurge, TargetKind: "audit", After: record})
}
