package authsvc_test

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/event"
)

func TestBootstrap(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx := t.Context()
		var mu sync.Mutex
		var made []authsvc.FirstStart
		var wg sync.WaitGroup
		for range 4 {
			s := open()
			wg.Go(func() {
				first, err := s.Bootstrap(ctx, "")
				if err != nil {
					t.Errorf("bootstrap: %v", err)
				}
				if first.Secret != "" || first.AdminUsername != "" {
					mu.Lock()
					made = append(made, first)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(made) != 1 {
			t.Fatalf("%d of 4 starts at once made something: %+v", len(made), made)
		}
		first := made[0]
		if first.Company.Name != "Default" || first.AdminUsername != "superadmin" || first.AdminEmail != "superadmin@example.com" || first.AdminPassword != "adminsuper" || !first.DefaultPassword {
			t.Errorf("%+v", first)
		}
		s := open()
		p, err := newResolver(t, s).Resolve(ctx, first.Secret, netip.Addr{})
		if err != nil || p.CompanyID != first.Company.ID || p.Scopes != authsvc.ScopeIngest|authsvc.ScopeRead {
			t.Errorf("the first key: %+v, %v", p, err)
		}
		var hash, role string
		var mustChange bool
		if err := s.DB().QueryRow(ctx, `SELECT password_hash, role, must_change_password FROM users`).Scan(&hash, &role, &mustChange); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.Passwords().Verify(ctx, hash, "adminsuper"); !ok || err != nil || role != "GlobalAdmin" || !mustChange {
			t.Errorf("admin: hash %q, role %q, must change %v", hash, role, mustChange)
		}
		if again, err := s.Bootstrap(ctx, "other"); err != nil || again.Secret != "" || again.Company.ID != 0 || again.AdminUsername != "" {
			t.Errorf("second start: %+v, %v", again, err)
		}
	})
}

func TestBootstrapOwnPassword(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		for _, bad := range []string{"admin", "superadmin", strings.Repeat("x", 73), strings.Repeat("correct horse ", 10)} {
			if _, err := s.Bootstrap(ctx, bad); event.ErrorCode(err) != event.CodeInvalid || !strings.HasPrefix(err.Error(), "admin_password: ") {
				t.Errorf("password %q: %v", bad, err)
			}
		}
		// An operator made the company before the first start of the server: only the admin is missing.
		mustCompany(t, s, "Acme")
		first, err := s.Bootstrap(ctx, "correct horse battery")
		if err != nil {
			t.Fatal(err)
		}
		if first.AdminUsername == "" || first.AdminPassword != "" || first.DefaultPassword || first.Secret != "" || first.Company.ID != 0 {
			t.Errorf("%+v", first)
		}
		var hash string
		var mustChange bool
		if err := s.DB().QueryRow(ctx, `SELECT password_hash, must_change_password FROM users`).Scan(&hash, &mustChange); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.Passwords().Verify(ctx, hash, "correct horse battery"); !ok || err != nil || mustChange {
			t.Errorf("the admin has another password, or must change the one that the operator chose: %v, %v", mustChange, err)
		}
	})
}
