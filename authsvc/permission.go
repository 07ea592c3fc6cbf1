package authsvc

// Permission is one thing that can be allowed.
type Permission string

// The permissions. permissionTable says who has them.
const (
	PermReadReports    Permission = "reports.read"
	PermExport         Permission = "reports.export"
	PermSQL            Permission = "sql.query"
	PermDownloadAgent  Permission = "agent.download"
	PermListCompanies  Permission = "companies.list"
	PermCreateCompany  Permission = "companies.create"
	PermChangeCompany  Permission = "companies.change"
	PermListPeople     Permission = "people.list"
	PermCreatePerson   Permission = "people.create"
	PermChangePerson   Permission = "people.change"
	PermDeletePerson   Permission = "people.delete"
	PermGrantGlobal    Permission = "people.grant_global_role"
	PermSetMembership  Permission = "memberships.set"
	PermEndSessions    Permission = "sessions.end_all"
	PermListKeys       Permission = "keys.list"
	PermManageKeys     Permission = "keys.manage"
	PermReadSettings   Permission = "settings.read"
	PermChangeSettings Permission = "settings.change"
	PermReadAudit      Permission = "audit.read"
	PermVerifyAudit    Permission = "audit.verify"
	PermReadErrors     Permission = "errors.read"
	PermClearErrors    Permission = "errors.clear"
	PermOwnAccount     Permission = "account.own"
)

// Reach is how far a permission goes.
type Reach uint8

// The reaches, in their order.
const (
	Never      Reach = iota
	Companies        // in the companies where the role is held
	Everywhere       // in all companies, and in what belongs to none
)

// String is how docs/roles.md writes it.
func (r Reach) String() string { return [...]string{"–", "in their companies", "everywhere"}[r] }

// permissionRow is one line of the table: what a permission allows, the scope that a token needs for it, and how far it goes for each
// role.
type permissionRow struct {
	Permission Permission
	Allows     string
	Scope      Scopes

	GlobalAdmin, Admin, CompanyAdmin, User Reach
}

// permissionTable is who may do what. Every route, page and command asks it and nothing else; docs/roles.md is rendered
// from it. That nobody changes themselves upward, or somebody who is not below them, is a rule over all of it: see outranks.
var permissionTable = []permissionRow{
	//                                                                                                    GlobalAdmin Admin      CompanyAdmin User
	{PermReadReports, "read reports, events and who is signed in", ScopeRead, Everywhere, Companies, Companies, Companies},
	{PermExport, "take reports and events out as files", ScopeRead, Everywhere, Companies, Companies, Companies},
	{PermSQL, "ask in SQL", ScopeSQL, Everywhere, Companies, Companies, Never},
	{PermDownloadAgent, "download the agent", ScopeRead, Everywhere, Companies, Companies, Never},
	{PermListCompanies, "see companies and their settings", ScopeRead, Everywhere, Companies, Companies, Companies},
	{PermCreateCompany, "create companies", ScopeManage, Everywhere, Never, Never, Never},
	{PermChangeCompany, "rename, change, disable and enable companies", ScopeManage, Everywhere, Never, Never, Never},
	{PermListPeople, "see people and their roles", ScopeManage, Everywhere, Companies, Companies, Never},
	{PermCreatePerson, "create people", ScopeManage, Everywhere, Companies, Companies, Never},
	{PermChangePerson, "change, approve, disable and enable people below them, end their sessions, reset their password and second factor, unlink their identities", ScopeManage, Everywhere, Companies, Companies, Never},
	{PermDeletePerson, "delete people", ScopeManage, Everywhere, Never, Never, Never},
	{PermGrantGlobal, "make people GlobalAdmin or Admin, and take that away", ScopeManage, Everywhere, Never, Never, Never},
	{PermSetMembership, "give people a role in a company, and take it away", ScopeManage, Everywhere, Companies, Companies, Never},
	{PermEndSessions, "end everybody's sessions and tokens", ScopeManage, Everywhere, Never, Never, Never},
	{PermListKeys, "see API keys and their use", ScopeManage, Everywhere, Companies, Companies, Never},
	{PermManageKeys, "create, change, exchange, disable and revoke API keys", ScopeManage, Everywhere, Companies, Companies, Never},
	{PermReadSettings, "see the settings", ScopeManage, Everywhere, Never, Never, Never},
	{PermChangeSettings, "change the settings", ScopeManage, Everywhere, Never, Never, Never},
	{PermReadAudit, "read the audit trail", ScopeManage, Everywhere, Companies, Companies, Never},
	{PermVerifyAudit, "check the audit trail as a whole", ScopeManage, Everywhere, Never, Never, Never},
	{PermReadErrors, "read the error log", ScopeManage, Everywhere, Never, Never, Never},
	{PermClearErrors, "clear the error log", ScopeManage, Everywhere, Never, Never, Never},
	{PermOwnAccount, "change their own password, second factor, sessions and tokens", ScopeManage, Everywhere, Everywhere, Everywhere, Everywhere},
}

// reach looks the table up.
func (r *permissionRow) reach(role Role) Reach {
	switch role {
	case RoleGlobalAdmin:
		return r.GlobalAdmin
	case RoleAdmin:
		return r.Admin
	case RoleCompanyAdmin:
		return r.CompanyAdmin
	case RoleUser:
		return r.User
	}
	return Never
}

func rowOf(p Permission) *permissionRow {
	for i := range permissionTable {
		if permissionTable[i].Permission == p {
			return &permissionTable[i]
		}
	}
	panic("BUG: permission " + string(p) + " is not in the table")
}

// Permissions lists all, in the order of the table.
func Permissions() []Permission {
	list := make([]Permission, len(permissionTable))
	for i := range permissionTable {
		list[i] = permissionTable[i].Permission
	}
	return list
}
