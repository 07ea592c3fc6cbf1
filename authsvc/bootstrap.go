package authsvc

import (
	"context"

	"gatehouse/event"
)

// What a first start makes. The default password is public, so it must be changed at the first sign-in.
const (
	firstCompany  = "Default"
	firstSite     = "Default site"
	adminUsername = "superadmin"
	adminEmail    = "superadmin@example.com"
	adminPassword = "adminsuper"
)

// FirstStart is what Bootstrap made, for printing once. What was there before is empty here.
type FirstStart struct {
	Company         Company
	Key             Key
	Secret          string // the API key itself, shown now and never again
	AdminUsername   string
	AdminEmail      string
	AdminPassword   string // empty when it came from the caller, who knows it
	DefaultPassword bool   // anybody who read the documentation knows the password
}

const (
	countCompanies = `SELECT COUNT(*) FROM companies`
	countUsers     = `SELECT COUNT(*) FROM users`
	// Temporary passwords stop working some days after they were made. This one does not: nobody else could let the first administrator in.
	keepFirstLogin = `UPDATE users SET password_changed_at = NULL WHERE id = ?`
)

// Bootstrap gives an empty database its first company with an API key (ingest and read) and its first administrator, with
// password, which must be good enough for the settings, or with a well-known one, which must be changed before anything else. Several processes
// may start at once: one of them makes these, the others get nothing.
func (s *Store) Bootstrap(ctx context.Context, password string) (FirstStart, error) {
	var first FirstStart
	var companies, users int
	if err := s.db.QueryRow(ctx, countCompanies).Scan(&companies); err != nil {
		return first, fail(err, "first start")
	}
	if err := s.db.QueryRow(ctx, countUsers).Scan(&users); err != nil {
		return first, fail(err, "first start")
	}
	if companies > 0 && users > 0 {
		return first, nil
	}
	admin, err := (&NewUser{Username: adminUsername, Email: adminEmail, Role: RoleGlobalAdmin}).clean()
	if err != nil {
		return first, fail(err, "first start")
	}
	if users == 0 {
		if admin.hash, err = s.newHash(ctx, password, adminPassword, adminUsername, adminEmail, firstCompany); err != nil {
			if event.ErrorCode(err) == event.CodeInvalid {
				return first, event.FieldError("admin_password", "%s", event.ErrorMessage(err))
			}
			return first, fail(err, "first start")
		}
	}
	admin.mustChange = password == ""
	err = s.change(ctx, System(), func(tx changeTx) (err error) {
		first = FirstStart{}
		// The audit trail is locked: whoever waited here sees what the other has made.
		if err := tx.QueryRow(ctx, countCompanies).Scan(&companies); err != nil {
			return err
		}
		if companies == 0 {
			if first.Company, err = s.createCompany(ctx, tx, CompanySettings{Name: firstCompany}); err != nil {
				return err
			}
			if first.Key, first.Secret, err = s.createKey(ctx, tx, first.Company.ID, NewKey{Site: firstSite, Scopes: ScopeIngest | ScopeRead}); err != nil {
				return err
			}
		}
		if err := tx.QueryRow(ctx, countUsers).Scan(&users); err != nil {
			return err
		}
		if users > 0 {
			return nil
		}
		made, err := s.createPerson(ctx, tx.auditedTx, "user.create", &admin, nil)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, keepFirstLogin, made.ID); err != nil {
			return err
		}
		first.AdminUsername, first.AdminEmail = adminUsername, adminEmail
		if first.DefaultPassword = password == ""; first.DefaultPassword {
			first.AdminPassword = adminPassword
		}
		return nil
	})
	if err != nil {
		return FirstStart{}, fail(err, "first start")
	}
	return first, nil
}
