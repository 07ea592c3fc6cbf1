package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"

	"gatehouse/event"
)

// IdentityRule gives whoever has Value among the values of a claim a role: GlobalAdmin or Admin over all companies, Admin, CompanyAdmin or User
// in the company that is named, else in those that the provider's other claim names.
type IdentityRule struct {
	Value   string
	Role    Role
	Company string // by name; empty: see above
}

// IdentityRules say what a provider's claims give. What they can give, they also take away at the next sign-in: a role over all
// companies that one of them gives, and memberships in companies that they name, or in all where a claim names the companies. What they
// cannot give is left to administrators.
type IdentityRules struct {
	List []IdentityRule
	// CompanyClaim says that a claim names companies.
	CompanyClaim bool
	// SignUp makes an account for somebody unknown to whom a rule gives something.
	SignUp bool
}

// Check fails for rules that could never do what they say; the errors are for whoever wrote the configuration.
func (r *IdentityRules) Check() error {
	for i := range r.List {
		rule := &r.List[i]
		role, err := parseRole(string(rule.Role), roles)
		if err != nil {
			return err
		}
		rule.Role = role
		switch {
		case rule.Value == "":
			return event.FieldError("mappings", "a mapping to %s names no value", role)
		case role == RoleGlobalAdmin && rule.Company != "":
			return event.FieldError("mappings", "%s is held over all companies: write %s=%s without @%s", role, rule.Value, role, rule.Company)
		case role == RoleCompanyAdmin && rule.Company == "" && !r.CompanyClaim:
			return event.FieldError("mappings", "%s is held in a company: write %s=%s@COMPANY, or set company_claim", role, rule.Value, role)
		}
	}
	return nil
}

// apply is what the claims give: a role over all companies, and roles in companies by the key of their name. matched: some rule applied.
func (r *IdentityRules) apply(id *Identity) (role Role, in map[string]Role, matched bool) {
	role, in = RoleUser, map[string]Role{}
	for _, rule := range r.List {
		if !slices.Contains(id.Values, rule.Value) {
			continue
		}
		matched = true
		if slices.Contains(globalRoles, rule.Role) && rule.Role.Outranks(role) {
			role = rule.Role
		}
		companies := []string{rule.Company}
		if rule.Company == "" {
			companies = id.Companies
		}
		for _, name := range companies {
			key := nameKey(clip(name, maxName))
			if slices.Contains(companyRoles, rule.Role) && rule.Role.Outranks(in[key]) {
				in[key] = rule.Role
			}
		}
	}
	return role, in, matched
}

// role is what becomes of a role over all companies when the claims give another.
func (r *IdentityRules) role(have, given Role) Role {
	gives := slices.ContainsFunc(r.List, func(rule IdentityRule) bool { return rule.Role == have })
	if given.Outranks(have) || gives {
		return given
	}
	return have
}

// governs tells whether memberships in a company are for the claims to give and take.
func (r *IdentityRules) governs(companyKey string) bool {
	return slices.ContainsFunc(r.List, func(rule IdentityRule) bool {
		if rule.Company == "" {
			return r.CompanyClaim && rule.Role != RoleGlobalAdmin
		}
		return nameKey(rule.Company) == companyKey
	})
}

// followClaims brings a person's roles to what the claims give, each change recorded.
func (s *Store) followClaims(ctx context.Context, tx *auditedTx, u *User, id *Identity, rules IdentityRules) error {
	if len(rules.List) == 0 {
		return nil
	}
	given, in, _ := rules.apply(id)
	if next := rules.role(u.Role, given); next != u.Role {
		if err := s.followRole(ctx, tx, u, next); err != nil {
			return err
		}
	}
	for _, m := range u.Memberships {
		key := nameKey(m.CompanyName)
		if _, stays := in[key]; stays || !rules.governs(key) {
			continue
		}
		if _, err := tx.Exec(ctx, deleteMembership, u.ID, m.CompanyID); err != nil {
			return err
		}
		entry := membershipEntry("membership.remove", u, m.CompanyID)
		entry.Before = m.record()
		if err := tx.record(ctx, entry); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(in)) {
		company, err := scanCompany(tx.QueryRow(ctx, selectCompany+` WHERE name_key = ?`, key).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			continue // the provider may know of companies that are not here
		}
		if err != nil {
			return err
		}
		if err := s.giveMembership(ctx, tx, u, Grant{company.ID, in[key]}); err != nil {
			return err
		}
	}
	return nil
}

// followRole gives a person another role over all companies, which ends their sessions and programs, and with a higher one their personal tokens. The last GlobalAdmin stays one.
func (s *Store) followRole(ctx context.Context, tx *auditedTx, u *User, role Role) error {
	before := *u
	err := s.changeRole(ctx, tx, u, role)
	if event.ErrorCode(err) == event.CodeConflict {
		e := u.entry("user.change", nil)
		e.Outcome, e.Detail = Denied, "the claims give "+string(role)+", but this is the last active "+string(RoleGlobalAdmin)
		return tx.record(ctx, e)
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, setGlobalRole, string(role), u.ID); err != nil {
		return err
	}
	// Read again: with the role, assignments as operator may have ended.
	if *u, err = s.user(ctx, tx, u.ID); err != nil {
		return err
	}
	e := u.entry("user.change", &before)
	e.Detail = "by the claims of the identity provider"
	return tx.record(ctx, e)
}
