package authsvc

import (
	"slices"

	"gatehouse/event"
)

// The rules of rank. permissionTable says what a role may do; these say to whom. docs/roles.md tells them in words.

// notAbove is the one refusal for everybody whom an actor may see and not change. It does not tell whether the reason is the
// person's role or another company that they belong to.
func notAbove() error {
	return event.Errorf(event.CodeForbidden, "this account can be changed only by an administrator above it")
}

// mayChange asks whether the actor may change a person's account as a whole, which counts in every company of theirs: the
// actor must be allowed p in all of them, and the person must hold no role over all companies. u holds all memberships. Only
// GlobalAdmins change Admins and each other.
func (a *Actor) mayChange(p Permission, u *User) error {
	if a.Can(p, 0) {
		return nil
	}
	seen := *u
	if err := a.see(&seen); err != nil {
		return err
	}
	if u.Role != RoleUser || len(u.Memberships) == 0 {
		return notAbove()
	}
	allowed := 0
	for _, m := range u.Memberships {
		if a.Can(p, m.CompanyID) {
			allowed++
		}
	}
	switch {
	case allowed == len(u.Memberships):
		return nil
	case allowed == 0 && !a.canSomewhere(p):
		return a.forbidden(p)
	}
	return notAbove()
}

// mayGrant asks whether the actor may give the person this role in a company.
func (a *Actor) mayGrant(u *User, g Grant) error {
	if err := a.mayPlace(u, g); err != nil {
		return err
	}
	if !slices.Contains(companyRoles, g.Role) {
		return event.FieldError("role", "must be one of %s in a company", roleNames(companyRoles))
	}
	if g.Role == RoleAdmin && u.Role != RoleAdmin {
		return event.FieldError("role", "%s in a company is for people who are %s over all: make them one first, or choose %s", RoleAdmin, RoleAdmin, RoleCompanyAdmin)
	}
	return nil
}

// mayPlace asks whether the actor may decide on this role of the person in a company, be it to give or to take away. The person must be
// below them there, and so must the role: who is an operator where, is for GlobalAdmins to say.
func (a *Actor) mayPlace(u *User, g Grant) error {
	if err := a.Require(PermSetMembership, g.CompanyID); err != nil {
		return err
	}
	if !a.Can(PermGrantGlobal, 0) && (u.Role != RoleUser || g.Role == RoleAdmin) {
		return notAbove()
	}
	return nil
}

// canSomewhere tells whether there is a company in which the actor may do p.
func (a *Actor) canSomewhere(p Permission) bool {
	everywhere, companies := a.ReachOf(p)
	return everywhere || len(companies) > 0
}

// requireSomewhere is Require for acts whose company shows only when the database has been read.
func (a *Actor) requireSomewhere(p Permission) error {
	if a.Stage != StageDone {
		return a.stageError()
	}
	if a.canSomewhere(p) {
		return nil
	}
	return a.forbidden(p)
}
