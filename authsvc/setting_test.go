package authsvc_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

func TestSettings(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		got, err := s.GetSettings(ctx)
		if err != nil || got.PasswordMinLength != 12 || !got.PasswordCheckCommon || got.PasswordRequireDigit || got.MFARequired || got.RegistrationEnabled ||
			got.LockoutFailures != 5 || got.LockoutLongest != 15*time.Minute || got.ErrorLogLevel != slog.LevelWarn || got.AuditRetentionDays != 0 || got.SessionIdle != 0 {
			t.Errorf("defaults: %+v, %v", got, err)
		}
		for _, c := range []struct{ name, value, want string }{
			{"password_min_length", " 16 ", "16"},
			{"password_require_mixed", "YES", "true"},
			{"password_check_common", "off", "false"},
			{"mfa_required", "1", "true"},
			{"session_idle", "90m", "1h30m0s"},
			{"session_idle", "0", "0s"},
			{"audit_retention_days", "0", "0"},
			{"audit_retention_days", "400", "400"},
			{"error_log_level", "warning", "WARN"},
			{"error_log_level", "debug", "DEBUG"},
			{"error_log_filters", "ingest=error ,engine= info,", "ingest=ERROR, engine=INFO"},
		} {
			set, err := s.SetSetting(ctx, operator, c.name, c.value)
			if err != nil || set.Value != c.want || set.By != "test" {
				t.Errorf("%s = %q: %+v, %v", c.name, c.value, set, err)
			}
			// What is stored reads as itself.
			if again, err := s.SetSetting(ctx, operator, c.name, set.Value); err != nil || again.Value != set.Value {
				t.Errorf("%s = %q: %+v, %v", c.name, set.Value, again, err)
			}
		}
		got, err = s.GetSettings(ctx)
		if err != nil || got.PasswordMinLength != 16 || !got.PasswordRequireMixed || got.PasswordCheckCommon || !got.MFARequired || got.SessionIdle != 0 ||
			got.AuditRetentionDays != 400 || got.ErrorLogLevel != slog.LevelDebug || len(got.ErrorLogFilters) != 2 || got.ErrorLogFilters["ingest"] != slog.LevelError {
			t.Errorf("as set: %+v, %v", got, err)
		}
		for _, c := range []struct{ name, value string }{
			{"password_min_length", "7"},
			{"password_min_length", "129"},
			{"password_min_length", "x"},
			{"password_min_length", ""},
			{"mfa_required", "maybe"},
			{"session_idle", "30s"},
			{"session_idle", "-1m"},
			{"session_idle", "1000h"},
			{"session_idle", "90.5s"},
			{"audit_retention_days", "29"},
			{"error_log_level", "loud"},
			{"error_log_filters", "ingest"},
			{"error_log_filters", "=ERROR"},
			{"error_log_filters", "a=INFO, a=WARN"},
			{"error_log_filters", strings.Repeat("a", 101) + "=INFO"},
			{"error_log_filters", strings.Repeat("a=INFO,", 300)},
			{"error_log_filters", "\xff=INFO"},
		} {
			_, err := s.SetSetting(ctx, operator, c.name, c.value)
			if e, ok := errors.AsType[*event.Error](err); !ok || e.Code != event.CodeInvalid || e.Field != c.name {
				t.Errorf("%s = %.20q: %v", c.name, c.value, err)
			}
		}
		if _, err := s.SetSetting(ctx, operator, "mfa_require", "true"); event.ErrorCode(err) != event.CodeNotFound || !strings.Contains(err.Error(), "did you mean mfa_required?") {
			t.Errorf("a mistyped name: %v", err)
		}
		if set, err := s.ResetSetting(ctx, operator, "password_min_length"); err != nil || set.Value != "12" || !set.Changed.IsZero() {
			t.Errorf("reset: %+v, %v", set, err)
		}
		// A row of another version, and a value that this one does not take, harm nothing.
		exec(t, s, `INSERT INTO settings (name, value, updated_at) VALUES ('of_tomorrow', 'x', 1)`)
		exec(t, s, `UPDATE settings SET value = 'x' WHERE name = 'mfa_required'`)
		if got, err := s.GetSettings(ctx); err != nil || got.MFARequired {
			t.Errorf("with odd rows: %+v, %v", got, err)
		}
		list, err := s.ListSettings(ctx, operator)
		if err != nil || len(list) < 15 || list[0].Name != "password_min_length" || list[0].Doc == "" {
			t.Errorf("list: %+v, %v", list, err)
		}
		for _, row := range list {
			if row.Name == "of_tomorrow" {
				t.Error("a setting that is not in the table is listed")
			}
		}
		if log := trailText(t, s); strings.Count(log, "setting.change") != 10 || !strings.Contains(log, `password_min_length | {"value":"12"} | {"value":"16"}`) {
			t.Errorf("the trail tells of %d changes, want 10, with before and after:\n%s", strings.Count(log, "setting.change"), log)
		}
		for _, role := range []authsvc.Role{authsvc.RoleAdmin, authsvc.RoleUser} {
			a := as(t, s, mustPerson(t, s, string(role), role))
			_, err := s.SetSetting(ctx, a, "mfa_required", "false")
			wantCode(t, "set by "+string(role), err, event.CodeForbidden)
			_, err = s.ResetSetting(ctx, a, "mfa_required")
			wantCode(t, "reset by "+string(role), err, event.CodeForbidden)
			_, err = s.ListSettings(ctx, a)
			wantCode(t, "list by "+string(role), err, event.CodeForbidden)
			_, err = s.AddDomain(ctx, a, "example.com")
			wantCode(t, "domain by "+string(role), err, event.CodeForbidden)
		}
	})
}

func TestRegistration(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme := mustCompany(t, s, "Acme")
		guest := &authsvc.Actor{Kind: authsvc.ActorNobody}
		r := authsvc.Registration{Username: "ada", Email: "ada@example.com", Password: goodPassword}
		wantCode(t, "while it is closed", s.RegisterUser(ctx, guest, r), event.CodeForbidden)
		if _, err := s.SetSetting(ctx, operator, "registration_enabled", "true"); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []authsvc.Registration{
			{Username: "", Email: r.Email, Password: r.Password},
			{Username: "4", Email: r.Email, Password: r.Password},
			{Username: "ada", Email: "ada", Password: r.Password},
			{Username: "ada", Email: r.Email, Password: "short"},
			{Username: "ada", Email: r.Email},
		} {
			wantCode(t, "a wrong registration", s.RegisterUser(ctx, guest, bad), event.CodeInvalid)
		}
		wantCode(t, "registration", s.RegisterUser(ctx, guest, r), "")
		u, err := s.FindUser(ctx, operator, "ada")
		if err != nil || u.State() != authsvc.UserWaiting || u.Role != authsvc.RoleUser || len(u.Memberships) != 0 || u.MustChangePassword {
			t.Fatalf("registered: %+v, %v", u, err)
		}
		_, err = s.ActorFor(ctx, u.ID, authsvc.Claim{Scopes: authsvc.AllScopes})
		wantCode(t, "a person who waits", err, event.CodeUnauthorized)

		// The answer is the same for a name or an e-mail that is taken; the account stays as it is.
		hash := hashOf(t, s, u.ID)
		for _, again := range []authsvc.Registration{
			r, {Username: "ADA", Email: "other@example.com", Password: goodPassword}, {Username: "other", Email: "ADA@example.com", Password: goodPassword},
		} {
			wantCode(t, "a taken name", s.RegisterUser(ctx, guest, again), "")
		}
		if n := strings.Count(trailText(t, s), "user.register | failure"); n != 3 || hashOf(t, s, u.ID) != hash {
			t.Errorf("%d refusals in the trail, want 3; or the account was changed", n)
		}
		if list, err := s.ListUsers(ctx, operator, authsvc.UserFilter{State: authsvc.UserWaiting}, authsvc.Page{}); err != nil || len(list.Users) != 1 {
			t.Errorf("waiting: %+v, %v", list, err)
		}

		// Very many who wait close registration; those whom an administrator has disabled wait no longer.
		var rows []string
		for i := range 1000 {
			rows = append(rows, fmt.Sprintf("('w%d', 'w%d', 'w%d@x', 'w%d@x', '!', 'User', 1)", i, i, i, i))
		}
		exec(t, s, `INSERT INTO users (username, username_key, email, email_key, password_hash, role, created_at) VALUES `+strings.Join(rows, ", "))
		late := authsvc.Registration{Username: "late", Email: "late@example.com", Password: goodPassword}
		wantCode(t, "while a thousand wait", s.RegisterUser(ctx, guest, late), event.CodeUnavailable)
		exec(t, s, `UPDATE users SET disabled_at = 1 WHERE username_key LIKE 'w%'`)
		wantCode(t, "while a thousand are disabled", s.RegisterUser(ctx, guest, late), "")
		exec(t, s, `DELETE FROM users WHERE username_key LIKE 'w%'`)

		// Domains, however they are written.
		for _, d := range []string{"Bücher.example", " EXAMPLE.org "} {
			if _, err := s.AddDomain(ctx, operator, d); err != nil {
				t.Fatal(err)
			}
		}
		_, err = s.AddDomain(ctx, operator, "xn--bcher-kva.example")
		wantCode(t, "the same domain", err, event.CodeConflict)
		for _, bad := range []string{"", "a b", "@example.com", "*.example.com", ".", "exa_mple..com", strings.Repeat("a", 300)} {
			_, err := s.AddDomain(ctx, operator, bad)
			wantCode(t, "domain "+bad, err, event.CodeInvalid)
		}
		for email, code := range map[string]event.Code{
			"a@example.org": "", "b@EXAMPLE.ORG": "", "c@bücher.example": "", "d@xn--bcher-kva.example": "",
			"e@example.com": event.CodeInvalid, "f@evil.example.org": event.CodeInvalid, "g@example.org.evil.com": event.CodeInvalid, "h@xexample.org": event.CodeInvalid,
		} {
			wantCode(t, email, s.RegisterUser(ctx, guest, authsvc.Registration{Username: email[:1], Email: email, Password: goodPassword}), code)
		}
		if list, err := s.ListDomains(ctx, operator); err != nil || len(list) != 2 || list[0].Name != "example.org" || list[1].Name != "xn--bcher-kva.example" {
			t.Errorf("domains: %+v, %v", list, err)
		}
		wantCode(t, "remove", s.RemoveDomain(ctx, operator, "BÜCHER.example"), "")
		wantCode(t, "remove again", s.RemoveDomain(ctx, operator, "bücher.example"), event.CodeNotFound)

		chief := as(t, s, mustPerson(t, s, "chief", authsvc.RoleUser, grant(acme, authsvc.RoleCompanyAdmin)))
		_, err = s.ApproveUser(ctx, chief, u.ID, []authsvc.Grant{grant(acme, authsvc.RoleUser)})
		wantCode(t, "approval by a CompanyAdmin", err, event.CodeNotFound)
		got, err := s.ApproveUser(ctx, operator, u.ID, []authsvc.Grant{grant(acme, authsvc.RoleUser)})
		if err != nil || got.State() != authsvc.UserActive || len(got.Memberships) != 1 {
			t.Errorf("approved: %+v, %v", got, err)
		}
		if a := as(t, s, got); a.Stage != authsvc.StageDone || !a.Can(authsvc.PermReadReports, acme.ID) {
			t.Errorf("an approved person: %+v", a)
		}
		_, err = s.ApproveUser(ctx, operator, u.ID, nil)
		wantCode(t, "approval again", err, event.CodeConflict)
	})
}
