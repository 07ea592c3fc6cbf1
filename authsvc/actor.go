package authsvc

import (
	"maps"
	"net/netip"
	"slices"

	"gatehouse/event"
)

// ActorKind is what stands behind a request.
type ActorKind string

// The kinds of actors.
const (
	ActorPerson ActorKind = "person"
	ActorKey    ActorKind = "key"    // an API key: a site of one company
	ActorLocal  ActorKind = "local"  // a command on the server's machine, by whoever may read its data directory
	ActorSystem ActorKind = "system" // Gatehouse itself
	ActorNobody ActorKind = "nobody" // somebody who has not signed in
)

// Stage is how far a sign-in has come. Until it is StageDone nothing but the next step of it is allowed.
type Stage uint8

// The stages, in their order.
const (
	StageNobody         Stage = iota // not signed in
	StageSecondFactor                // the password was right, the second factor is missing
	StageChangePassword              // must choose a new password before anything else
	StageSetUpFactor                 // must set up a second factor before anything else
	StageDone
)

// Actor is who asks for something, and by what right. Every method that changes something takes it as a parameter: it decides
// by it, and the audit trail names it. It is made anew for each request from what the database says at that moment.
type Actor struct {
	Kind  ActorKind
	ID    uint32 // of the person or key
	Name  string // username, site, or account of the operating system
	Stage Stage
	Epoch int64 // of a person, when the actor was made

	Role    Role            // over all companies; of a person
	Members map[uint32]Role // company → role in it; of a person
	Company uint32          // of a key
	Scopes  Scopes          // what the session, token or key is limited to

	Address   netip.Addr // where the request came from
	Agent     string     // the client's User-Agent, shortened
	RequestID string
	token     bool   // came with a personal token
	Via       string // which session, token or key, by a name that is no secret, such as "session 3f9a…"
}

// Local is the actor of a command on the server's machine. name is the account that runs it.
func Local(name string) *Actor {
	return &Actor{Kind: ActorLocal, Name: name, Role: RoleGlobalAdmin, Stage: StageDone, Scopes: AllScopes, Via: "command line"}
}

// System is Gatehouse acting by itself.
func System() *Actor {
	return &Actor{Kind: ActorSystem, Name: "gatehouse", Role: RoleGlobalAdmin, Stage: StageDone, Scopes: AllScopes}
}

// RoleIn is the actor's role in a company, empty for none.
func (a *Actor) RoleIn(company uint32) Role {
	if a.Role == RoleGlobalAdmin {
		return RoleGlobalAdmin
	}
	role := a.Members[company]
	// An assignment as operator counts only while its holder is one.
	if role == RoleAdmin && a.Role != RoleAdmin {
		return RoleUser
	}
	return role
}

// Can tells whether the actor may do p in a company; company 0 stands for what belongs to no company.
func (a *Actor) Can(p Permission, company uint32) bool {
	row := rowOf(p)
	if a.Stage != StageDone || !a.Scopes.Has(row.Scope) {
		return false
	}
	if a.Kind == ActorKey {
		// A key stands for its company and reads there as a user does, or asks in SQL where its scopes say so.
		return company == a.Company && company != 0 && (row.User == Companies || p == PermSQL)
	}
	if row.reach(a.Role) == Everywhere {
		return true
	}
	return company != 0 && row.reach(a.RoleIn(company)) >= Companies
}

// Require is Can as an error: CodeUnauthorized before the sign-in is done, CodeNotFound for a company of which the actor may
// not know, so that it answers as if there were none, else CodeForbidden.
func (a *Actor) Require(p Permission, company uint32) error {
	switch {
	case a.Can(p, company):
		return nil
	case a.Stage != StageDone:
		return a.stageError()
	case company != 0 && !a.Knows(company):
		return hidden(noCompany(company))
	}
	return a.forbidden(p)
}

func (a *Actor) forbidden(p Permission) error {
	row := rowOf(p)
	if !a.Scopes.Has(row.Scope) {
		return event.Errorf(event.CodeForbidden, "this needs a token or key with the scope %s", row.Scope)
	}
	return event.Errorf(event.CodeForbidden, "your role does not allow you to %s", row.Allows)
}

func (a *Actor) stageError() error {
	switch a.Stage {
	case StageSecondFactor:
		return event.Errorf(event.CodeUnauthorized, "the second factor is missing: finish signing in")
	case StageChangePassword:
		return event.Errorf(event.CodeForbidden, "choose a new password first")
	case StageSetUpFactor:
		return event.Errorf(event.CodeForbidden, "set up a second factor first")
	case StageNobody, StageDone:
	}
	return signInFirst()
}

// Knows tells whether the actor may know that the company exists.
func (a *Actor) Knows(company uint32) bool {
	if a.Stage != StageDone || company == 0 {
		return false
	}
	return a.Role == RoleGlobalAdmin || a.Company == company || a.Members[company] != ""
}

// ReachOf lists where the actor may do p: everywhere, or in the companies given, by id.
func (a *Actor) ReachOf(p Permission) (everywhere bool, companies []uint32) {
	if a.Stage == StageDone && a.Kind != ActorKey && a.Scopes.Has(rowOf(p).Scope) && rowOf(p).reach(a.Role) == Everywhere {
		return true, nil
	}
	ids := slices.Collect(maps.Keys(a.Members))
	if a.Company != 0 {
		ids = append(ids, a.Company)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if a.Can(p, id) {
			companies = append(companies, id)
		}
	}
	return false, companies
}
