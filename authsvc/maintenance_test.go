package authsvc_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb"
)

// TestMaintenance: what has outlived its use goes, what has not stays, and the trail is whole after it.
func TestMaintenance(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		c := mustCompany(t, s, "One")
		k, _ := mustKey(t, s, c.ID, authsvc.ScopeRead)
		person := personIn(t, s, authsvc.RoleUser, nil)
		if _, _, err := s.RotateKey(ctx, operator, c.ID, k.ID, time.Hour); err != nil {
			t.Fatal(err)
		}
		clk.add(500 * 24 * time.Hour)
		for name, value := range map[string]string{"audit_retention_days": "30", "error_log_retention_days": "10"} {
			if _, err := s.SetSetting(ctx, operator, name, value); err != nil {
				t.Fatal(err)
			}
		}
		now := clk.now().UnixMilli()
		day, hour := int64(24*time.Hour/time.Millisecond), int64(time.Hour/time.Millisecond)
		rows := map[string]string{
			"web_sessions":   `INSERT INTO web_sessions (id_hash, user_id, data, created_at, last_seen_at, expires_at) VALUES (?, ?, '', 0, 0, ?)`,
			"refresh_tokens": `INSERT INTO refresh_tokens (token_hash, user_id, epoch, family, created_at, expires_at) VALUES (?, ?, 1, 'f', 0, ?)`,
		}
		if err := s.DB().Update(ctx, func(tx *reldb.Tx) error {
			run := func(query string, args ...any) error { _, err := tx.Exec(ctx, query, args...); return err }
			for _, query := range rows {
				for i, expires := range []int64{now - 1, now, now + hour} {
					if err := run(query, fmt.Sprintf("%064d", i), person.ID, expires); err != nil {
						return err
					}
				}
			}
			for i, seen := range []int64{now - 8*day, now - 6*day} {
				if err := run(`INSERT INTO lockouts (subject, failures, locked_until, updated_at) VALUES (?, 1, 0, ?)`, fmt.Sprint(i), seen); err != nil {
					return err
				}
			}
			for _, d := range []int64{now/day - 401, now/day - 400, now / day} {
				if err := run(`INSERT INTO key_days (key_id, day, event_count, error_count) VALUES (?, ?, 1, 0)`, k.ID, d); err != nil {
					return err
				}
			}
			for _, last := range []int64{now - 11*day, now - 9*day} {
				if err := run(`INSERT INTO error_log (first_at, last_at, occurrences, level, message, fingerprint, attributes, stack) VALUES (0, ?, 1, 8, '', '', '{}', '')`, last); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		done, trail, err := s.RunMaintenance(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := (authsvc.Maintained{AuditEntries: 3, Sessions: 1, RefreshTokens: 1, Lockouts: 1, KeyDays: 1, ErrorRecords: 1}); done != want {
			t.Errorf("%+v, want %+v", done, want)
		}
		for table, want := range map[string]int{"web_sessions": 2, "refresh_tokens": 2, "lockouts": 1, "key_days": 2, "error_log": 1, "audit_log": 3} {
			var n int
			if err := s.DB().QueryRow(ctx, `SELECT COUNT(*) FROM `+table).Scan(&n); err != nil || n != want {
				t.Errorf("%s has %d rows, want %d: %v", table, n, want, err)
			}
		}
		var old int
		if err := s.DB().QueryRow(ctx, `SELECT COUNT(*) FROM api_keys WHERE old_key_hash IS NOT NULL`).Scan(&old); err != nil || old != 0 {
			t.Errorf("an old secret that has ended is still there: %d, %v", old, err)
		}
		// What it tells of the trail is what a check asks for.
		if len(trail.Purges) != 1 {
			t.Fatalf("%+v", trail)
		}
		known := trail.Purges[0]
		known.Removal = true
		for _, anchor := range []authsvc.AuditAnchor{known, trail.Head.Last} {
			if check, err := s.VerifyAudit(ctx, operator, anchor); err != nil || check.Broken != nil {
				t.Errorf("%s: %+v, %v", anchor, check.Broken, err)
			}
		}
		if done, _, err := s.RunMaintenance(ctx); err != nil || done != (authsvc.Maintained{}) {
			t.Errorf("once more: %+v, %v", done, err)
		}
	})
}
