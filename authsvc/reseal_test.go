package authsvc_test

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// TestReseal: after it, the newest key opens everything that could be opened before, and what is left is told.
func TestReseal(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		old, both, onlyNew := newSealer(t, keyA), newSealer(t, keyB, keyA), newSealer(t, keyB)
		seal := func(sealer *authsvc.Sealer, purpose authsvc.Purpose, row string) string {
			t.Helper()
			sealed, err := sealer.Seal(purpose, row, []byte("secret of "+row))
			if err != nil {
				t.Fatal(err)
			}
			return sealed
		}
		const people = 3
		var rows []string
		for i := range people {
			p := personIn(t, s, authsvc.RoleUser, nil)
			rows = append(rows, fmt.Sprint(p.ID))
			exec(t, s, `UPDATE users SET totp_secret = ?, totp_pending = ? WHERE id = ?`, seal([]*authsvc.Sealer{old, both, old}[i], authsvc.PurposeTOTP, rows[i]), seal(old, authsvc.PurposeTOTP, rows[i]), p.ID)
		}
		exec(t, s, `UPDATE users SET totp_pending = ? WHERE id = ?`, seal(newSealer(t, strings.Repeat("c", 32)), authsvc.PurposeTOTP, rows[2]), rows[2])
		const sessions = 501 // more than a page
		for i := range sessions {
			hash := fmt.Sprintf("%064d", i)
			exec(t, s, `INSERT INTO web_sessions (id_hash, data, created_at, last_seen_at, expires_at) VALUES (?, ?, 0, 0, 0)`, hash, seal(old, authsvc.PurposeSession, hash))
		}
		list, err := s.Reseal(ctx, operator, both)
		want := "[{authenticator apps 2 3 0 0} {authenticator apps that are being set up 2 2 0 1} {sessions in the database 501 501 0 0}]"
		if err != nil || fmt.Sprint(list) != want {
			t.Errorf("%v, %v, want %s", list, err, want)
		}
		for _, row := range rows {
			var sealed string
			if err := s.DB().QueryRow(ctx, `SELECT totp_secret FROM users WHERE id = ?`, row).Scan(&sealed); err != nil {
				t.Fatal(err)
			}
			if plain, err := onlyNew.Open(authsvc.PurposeTOTP, row, sealed); err != nil || string(plain) != "secret of "+row {
				t.Errorf("person %s: %q, %v", row, plain, err)
			}
		}
		if list, err = s.Reseal(ctx, operator, both); err != nil || list[0].Renewed+list[1].Renewed+list[2].Renewed != 0 {
			t.Errorf("once more: %v, %v", list, err)
		}
		if trail, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{Action: "secret.reseal"}, authsvc.Page{}); err != nil || len(trail) != 2 || strings.Contains(string(trail[1].After), "secret of") {
			t.Errorf("%+v, %v", trail, err)
		}
		if _, err := s.Reseal(ctx, personIn(t, s, authsvc.RoleAdmin, nil), both); event.ErrorCode(err) != event.CodeForbidden {
			t.Errorf("an Admin: %v", err)
		}
	})
}
