package authsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatehouse/internal/reldb"
)

const (
	// maintenanceFirst lets a server that has just started do its work first; maintenanceEvery is what comes after.
	maintenanceFirst = 5 * time.Minute
	maintenanceEvery = 24 * time.Hour
	// maintenanceLimit bounds one round; what is left is done by the next.
	maintenanceLimit = time.Hour
	// maintenanceLock is held by the server that cleans.
	maintenanceLock = "maintenance"
	// keptLockouts is how long failed sign-ins are remembered after the last of them, much longer than any wait that follows from them.
	keptLockouts = 7 * 24 * time.Hour
	// keyRange is how many keys' days are looked at in one statement.
	keyRange = 1000
)

// Maintained tells what RunMaintenance removed.
type Maintained struct {
	AuditEntries, Sessions, RefreshTokens, Lockouts, KeyDays, ErrorRecords int64
}

// KeptTrail is how the audit trail stood when RunMaintenance was done.
type KeptTrail struct {
	Purges []AuditAnchor // the entries that tell of its removals of older ones
	Head   AuditHead
}

const (
	deleteSessions  = `DELETE FROM web_sessions WHERE expires_at < ?`
	deleteRefresh   = `DELETE FROM refresh_tokens WHERE expires_at < ?`
	deleteLockouts  = `DELETE FROM lockouts WHERE updated_at < ? AND locked_until < ?`
	deleteOldErrors = `DELETE FROM error_log WHERE last_at < ?`
	deleteKeyDays   = `DELETE FROM key_days WHERE key_id >= ? AND key_id < ? AND day < ?`
	selectLastKey   = `SELECT COALESCE(MAX(key_id), 0) FROM key_days`
	// An old secret that has ended is of no use to anybody but a thief of the database.
	forgetOldKeys = `UPDATE api_keys SET old_key_prefix = NULL, old_key_hash = NULL, old_key_until = NULL WHERE old_key_until < ?`
)

// RunMaintenance removes what has outlived its use: entries of the audit trail and of the error log by the settings, sessions and
// refresh tokens that have ended, failed sign-ins, the daily counts of keys after 400 days. Several servers may call it at once: one
// after the other does it. What fails does not keep the rest from being done.
func (s *Store) RunMaintenance(ctx context.Context) (done Maintained, trail KeptTrail, err error) {
	err = s.db.WithLock(ctx, maintenanceLock, func(ctx context.Context) error {
		var errs []error
		now := s.now()
		settings, err := s.GetSettings(ctx)
		if err != nil {
			return err // without them it is not known what to keep
		}
		if days := settings.AuditRetentionDays; days > 0 {
			done.AuditEntries, trail.Purges, err = s.PurgeAudit(ctx, System(), now.Add(-time.Duration(days)*24*time.Hour))
			errs = append(errs, err)
		}
		remove := func(count *int64, query string, args ...any) {
			err := s.db.Update(ctx, func(tx *reldb.Tx) error {
				n, err := tx.Exec(ctx, query, args...)
				*count += n
				return err
			})
			if err != nil {
				errs = append(errs, fmt.Errorf("%.40s…: %w", query, err))
			}
		}
		at := millis(now)
		remove(&done.Sessions, deleteSessions, at)
		remove(&done.RefreshTokens, deleteRefresh, at)
		remove(&done.Lockouts, deleteLockouts, millis(now.Add(-keptLockouts)), at)
		remove(&done.ErrorRecords, deleteOldErrors, millis(now.AddDate(0, 0, -settings.ErrorLogRetentionDays)))
		remove(new(int64), forgetOldKeys, at)
		var last int64
		if err := s.db.QueryRow(ctx, selectLastKey).Scan(&last); err != nil {
			return errors.Join(append(errs, err)...)
		}
		for first := int64(0); first <= last && ctx.Err() == nil; first += keyRange {
			remove(&done.KeyDays, deleteKeyDays, first, first+keyRange, dayOf(now)-keptDays)
		}
		trail.Head, err = s.AuditHead(ctx, System())
		return errors.Join(append(errs, err, ctx.Err())...)
	})
	return done, trail, fail(err, "clean the database")
}

// KeepMaintained runs RunMaintenance soon after the start and then every day, until ctx ends.
func (s *Store) KeepMaintained(ctx context.Context, log *slog.Logger) {
	next := time.NewTimer(maintenanceFirst)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		limited, cancel := context.WithTimeout(ctx, maintenanceLimit)
		done, trail, err := s.RunMaintenance(limited)
		cancel()
		trail.log(log)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("the database could not be cleaned; it is tried again tomorrow", slog.Any("error", err))
		default:
			log.Info("the database was cleaned", slog.Int64("audit_entries", done.AuditEntries), slog.Int64("sessions", done.Sessions),
				slog.Int64("lockouts", done.Lockouts), slog.Int64("error_records", done.ErrorRecords))
		}
		next.Reset(maintenanceEvery)
	}
}

// log tells what the audit trail is held against later, in a log that is shipped elsewhere: where it ends, and that removals were ours.
func (m *KeptTrail) log(log *slog.Logger) {
	for _, entry := range m.Purges {
		log.Info("old entries of the audit trail were removed; verify it with --purged and this", slog.String("purged", entry.String()))
	}
	if m.Head.Last.Seq > 0 {
		log.Info("the audit trail goes up to here; verify it with --anchor and this", slog.String("anchor", m.Head.Last.String()))
	}
}
