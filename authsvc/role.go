package authsvc

import (
	"slices"
	"strings"

	"gatehouse/event"
)

// Role is what a person is, over all companies (GlobalAdmin, Admin or User) or in one (Admin, CompanyAdmin or User).
type Role string

// The roles, from the one that may most.
const (
	// RoleGlobalAdmin may do everything in every company. It is held over all, never in one.
	RoleGlobalAdmin Role = "GlobalAdmin"
	// RoleAdmin is an operator: they manage people and keys of the companies assigned to them. In a company it can be held
	// only by who has it over all.
	RoleAdmin Role = "Admin"
	// RoleCompanyAdmin manages one company's people and keys. It is held in a company, never over all.
	RoleCompanyAdmin Role = "CompanyAdmin"
	// RoleUser reads the reports and events of the companies they belong to.
	RoleUser Role = "User"
)

// roles lists all, from the one that may most: its place is its rank.
var roles = []Role{RoleGlobalAdmin, RoleAdmin, RoleCompanyAdmin, RoleUser}

// globalRoles and companyRoles are those that can be held over all, and in a company.
var (
	globalRoles  = []Role{RoleGlobalAdmin, RoleAdmin, RoleUser}
	companyRoles = []Role{RoleAdmin, RoleCompanyAdmin, RoleUser}
)

// Outranks tells whether r stands above other.
func (r Role) Outranks(other Role) bool {
	a, b := slices.Index(roles, r), slices.Index(roles, other)
	return a >= 0 && (b < 0 || a < b)
}

// ParseGlobalRole reads a role over all companies, without regard to case; a wrong one is a field error.
func ParseGlobalRole(text string) (Role, error) { return parseRole(text, globalRoles) }

// ParseCompanyRole reads a role in a company, without regard to case; a wrong one is a field error.
func ParseCompanyRole(text string) (Role, error) { return parseRole(text, companyRoles) }

func parseRole(text string, allowed []Role) (Role, error) {
	names := make([]string, len(allowed))
	for i, r := range allowed {
		if strings.EqualFold(text, string(r)) {
			return r, nil
		}
		names[i] = string(r)
	}
	return "", event.FieldError("role", "must be one of %s%s", joinNames(names), didYouMean(text, names))
}

// roleNames lists roles in an error.
func roleNames(list []Role) string {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = string(r)
	}
	return joinNames(names)
}
