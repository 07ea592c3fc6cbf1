package rest

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// userView is a person as administrators see them.
type userView struct {
	ID                 uint32            `json:"id"`
	Username           string            `json:"username"`
	Email              string            `json:"email"`
	DisplayName        string            `json:"display_name"`
	Role               authsvc.Role      `json:"role"`
	State              authsvc.UserState `json:"state"`
	MFAPolicy          authsvc.MFAPolicy `json:"mfa_policy"`
	SecondFactor       bool              `json:"second_factor"`
	MustChangePassword bool              `json:"must_change_password"`
	Created            time.Time         `json:"created"`
	LastLogin          *time.Time        `json:"last_login"`
	LastLoginAddress   string            `json:"last_login_address,omitempty"`
	Memberships        []membershipView  `json:"memberships"`
	Password           string            `json:"temporary_password,omitempty"` // shown once, where one was made
}

// membershipView is a role in a company.
type membershipView struct {
	CompanyID uint32       `json:"company_id"`
	Company   string       `json:"company"`
	Role      authsvc.Role `json:"role"`
	Since     time.Time    `json:"since"`
}

func viewUser(u *authsvc.User) userView {
	v := userView{
		ID: u.ID, Username: u.Username, Email: u.Email, DisplayName: u.DisplayName, Role: u.Role, State: u.State(), MFAPolicy: u.MFAPolicy,
		SecondFactor: u.SecondFactor(), MustChangePassword: u.MustChangePassword, Created: u.Created, LastLogin: optional(u.LastLogin),
		LastLoginAddress: u.LastLoginIP, Memberships: []membershipView{},
	}
	for _, m := range u.Memberships {
		v.Memberships = append(v.Memberships, viewMembership(&m))
	}
	return v
}

func viewMembership(m *authsvc.Membership) membershipView {
	return membershipView{m.CompanyID, m.CompanyName, m.Role, m.Since}
}

// companyMemberView is a person with their role in the company that was asked for.
type companyMemberView struct {
	UserID      uint32            `json:"user_id"`
	Username    string            `json:"username"`
	Email       string            `json:"email"`
	DisplayName string            `json:"display_name"`
	State       authsvc.UserState `json:"state"`
	Role        authsvc.Role      `json:"role"`
	Since       time.Time         `json:"since"`
}

// optional is a time that JSON shows as null where there is none.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// list is one page of anything.
type list[T any] struct {
	Rows  []T    `json:"rows"`
	Next  string `json:"next_cursor,omitempty"`
	Total *int64 `json:"total,omitempty"` // where it was asked for
}

func listOf[T, V any](rows []T, view func(*T) V, next string) list[V] {
	l := list[V]{Rows: make([]V, len(rows)), Next: next}
	for i := range rows {
		l.Rows[i] = view(&rows[i])
	}
	return l
}

// withTotal adds the number of all rows where the page asked for it.
func (l list[T]) withTotal(page authsvc.Page, total int64) list[T] {
	if page.Total {
		l.Total = &total
	}
	return l
}

// grantBody is a role in a company that is to be given.
type grantBody struct {
	CompanyID uint32 `json:"company_id"`
	Role      string `json:"role"`
}

func grants(bodies []grantBody) ([]authsvc.Grant, error) {
	out := make([]authsvc.Grant, len(bodies))
	for i, b := range bodies {
		role, err := authsvc.ParseCompanyRole(b.Role)
		if err != nil {
			return nil, err
		}
		out[i] = authsvc.Grant{CompanyID: b.CompanyID, Role: role}
	}
	return out, nil
}

// newUserBody is a person to be made.
type newUserBody struct {
	Username    string      `json:"username"`
	Email       string      `json:"email"`
	DisplayName string      `json:"display_name,omitempty"`
	Role        string      `json:"role,omitempty"`
	MFAPolicy   string      `json:"mfa_policy,omitempty"`
	Password    string      `json:"password,omitempty"`
	Memberships []grantBody `json:"memberships,omitempty"`
}

// userBody is what is to be changed of a person; what is not given stays. Whoever changes their own username or e-mail, and signed in some time
// ago, confirms it with Password and Code.
type userBody struct {
	Username    *string `json:"username,omitempty"`
	Email       *string `json:"email,omitempty"`
	DisplayName *string `json:"display_name,omitempty"`
	Role        *string `json:"role,omitempty"`
	MFAPolicy   *string `json:"mfa_policy,omitempty"`
	Password    string  `json:"password,omitempty"`
	Code        string  `json:"code,omitempty"`
}

type approvalBody struct {
	Memberships []grantBody `json:"memberships,omitempty"`
}

type passwordBody struct {
	Password string `json:"password,omitempty"` // empty: a temporary one is made and shown once
}

type roleBody struct {
	Role string `json:"role"`
}

var userRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/users", does: "List people", answer: list[userView]{},
		params: append([]param{
			{"q", "string", "In the username or e-mail."},
			{"role", "string", "Over all companies: GlobalAdmin, Admin or User."},
			{"company", "integer", "Members of this company."},
			{"company_role", "string", "With this role in it."},
			{"state", "string", "active, disabled or waiting."},
			{"second_factor", "boolean", "With or without one."},
			{"total", "boolean", "Count all rows."},
		}, pageParams...),
		run: listUsers,
	},
	{
		method: http.MethodPost, path: "/api/v1/users", does: "Create a person", body: newUserBody{}, answer: userView{}, status: http.StatusCreated,
		run: createUser,
	},
	{method: http.MethodGet, path: "/api/v1/users/{user}", does: "One person", answer: userView{}, run: onUser(func(c *call, id uint32) (authsvc.User, error) {
		return c.api.store.GetUser(c.ctx, c.actor, id)
	})},
	{method: http.MethodPatch, path: "/api/v1/users/{user}", does: "Change a person", body: userBody{}, answer: userView{}, run: onUser(changeUser)},
	{method: http.MethodDelete, path: "/api/v1/users/{user}", does: "Delete a person; what they did stays in the audit trail", run: func(c *call) (any, error) {
		id, err := c.id("user")
		if err != nil {
			return nil, err
		}
		return nil, c.api.store.DeleteUser(c.ctx, c.actor, id)
	}},
	{method: http.MethodPost, path: "/api/v1/users/{user}/approve", does: "Approve somebody who registered", body: approvalBody{}, answer: userView{}, run: onUser(approveUser)},
	{method: http.MethodPost, path: "/api/v1/users/{user}/disable", does: "Disable a person: their sessions and programs end at once, and personal tokens stop until the person is enabled again", answer: userView{}, run: onUser(func(c *call, id uint32) (authsvc.User, error) {
		return c.api.store.DisableUser(c.ctx, c.actor, id)
	})},
	{method: http.MethodPost, path: "/api/v1/users/{user}/enable", does: "Let a disabled person sign in again", answer: userView{}, run: onUser(func(c *call, id uint32) (authsvc.User, error) {
		return c.api.store.EnableUser(c.ctx, c.actor, id)
	})},
	{method: http.MethodPost, path: "/api/v1/users/{user}/reset-password", does: "Give a person a password that they must change", body: passwordBody{}, answer: userView{}, run: resetPassword},
	{method: http.MethodPost, path: "/api/v1/users/{user}/reset-mfa", does: "Take away a person's second factors, so that they set up new ones", answer: userView{}, run: onUser(func(c *call, id uint32) (authsvc.User, error) {
		return c.api.store.ResetMFA(c.ctx, c.actor, id)
	})},
	{method: http.MethodGet, path: "/api/v1/users/{user}/sessions", does: "A person's sessions", answer: list[websession.Info]{}, params: pageParams, run: sessionsOf},
	{
		method: http.MethodDelete, path: "/api/v1/users/{user}/sessions", body: everywhereBody{}, run: endSessionsOf,
		does: "End all sessions of a person, sign out their programs and, with tokens, revoke their personal access tokens",
	},
	{
		method: http.MethodPost, path: "/api/v1/sessions/end-all", perm: authsvc.PermEndSessions, body: everywhereBody{}, run: endEverybody,
		does: "End the sessions of all people, your own too, sign out all programs and, with tokens, revoke all personal access tokens",
	},
	{
		method: http.MethodGet, path: "/api/v1/users/{user}/memberships", does: "A person's roles in companies", answer: list[membershipView]{},
		params: append([]param{{"role", "string", "Admin, CompanyAdmin or User."}}, pageParams...), run: membershipsOf,
	},
	{
		method: http.MethodGet, path: "/api/v1/companies/{company}/members", perm: authsvc.PermListPeople, does: "The people of a company, with their roles in it", answer: list[companyMemberView]{},
		params: append([]param{
			{"q", "string", "In the username or e-mail."},
			{"role", "string", "In the company: Admin, CompanyAdmin or User."},
			{"state", "string", "active, disabled or waiting."},
			{"total", "boolean", "Count all rows."},
		}, pageParams...), run: membersOf,
	},
	{method: http.MethodPut, path: "/api/v1/users/{user}/memberships/{company}", perm: authsvc.PermSetMembership, does: "Give a person a role in a company", body: roleBody{}, answer: userView{}, run: setMembership},
	{method: http.MethodDelete, path: "/api/v1/users/{user}/memberships/{company}", perm: authsvc.PermSetMembership, does: "Take a person out of a company", run: removeMembership},
}

// isSelf tells whether a person asks about themselves.
func (c *call) isSelf(userID uint32) bool {
	return c.actor.Kind == authsvc.ActorPerson && c.actor.ID == userID
}

// onUser makes a route of an act on one person that gives the person as they are after it.
func onUser(act func(*call, uint32) (authsvc.User, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		id, err := c.id("user")
		if err != nil {
			return nil, err
		}
		u, err := act(c, id)
		if err != nil {
			return nil, err
		}
		return viewUser(&u), nil
	}
}

func listUsers(c *call) (any, error) {
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	want := authsvc.UserFilter{Text: c.text("q"), State: authsvc.UserState(c.text("state"))}
	if text := c.text("role"); text != "" {
		if want.Role, err = authsvc.ParseGlobalRole(text); err != nil {
			return nil, err
		}
	}
	if text := c.text("company_role"); text != "" {
		if want.CompanyRole, err = authsvc.ParseCompanyRole(text); err != nil {
			return nil, err
		}
	}
	if want.Company, err = c.companyParam(); err != nil {
		return nil, err
	}
	if c.text("second_factor") != "" {
		with, err := c.flag("second_factor", false)
		if err != nil {
			return nil, err
		}
		want.MFA = &with
	}
	found, err := c.api.store.ListUsers(c.ctx, c.actor, want, page)
	if err != nil {
		return nil, err
	}
	return listOf(found.Users, viewUser, found.Next).withTotal(page, found.Total), nil
}

// companyParam is the company of the query, 0 for none. One that cannot be is answered like one that is not there.
func (c *call) companyParam() (uint32, error) {
	text := c.text("company")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, event.FieldError("company", "must be the id of a company")
	}
	return uint32(n), nil
}

func createUser(c *call) (any, error) {
	var b newUserBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	n := authsvc.NewUser{Username: b.Username, Email: b.Email, DisplayName: b.DisplayName, Password: b.Password}
	var err error
	if b.Role != "" {
		if n.Role, err = authsvc.ParseGlobalRole(b.Role); err != nil {
			return nil, err
		}
	}
	if b.MFAPolicy != "" {
		if n.MFAPolicy, err = authsvc.ParseMFAPolicy(b.MFAPolicy); err != nil {
			return nil, err
		}
	}
	if n.Memberships, err = grants(b.Memberships); err != nil {
		return nil, err
	}
	u, made, err := c.api.store.CreateUser(c.ctx, c.actor, n)
	if err != nil {
		return nil, err
	}
	view := viewUser(&u)
	view.Password = made
	return view, nil
}

func changeUser(c *call, id uint32) (authsvc.User, error) {
	var b userBody
	if err := c.body(&b); err != nil {
		return authsvc.User{}, err
	}
	change := authsvc.UserChange{Username: b.Username, Email: b.Email, DisplayName: b.DisplayName}
	if b.Role != nil {
		role, err := authsvc.ParseGlobalRole(*b.Role)
		if err != nil {
			return authsvc.User{}, err
		}
		change.Role = &role
	}
	if b.MFAPolicy != nil {
		policy, err := authsvc.ParseMFAPolicy(*b.MFAPolicy)
		if err != nil {
			return authsvc.User{}, err
		}
		change.MFAPolicy = &policy
	}
	// By these one signs in and is found again: a session left open must not be enough to take an account over.
	if c.isSelf(id) && (b.Username != nil || b.Email != nil) {
		if err := c.recent(confirmBody{b.Password, b.Code}); err != nil {
			return authsvc.User{}, err
		}
	}
	return c.api.store.UpdateUser(c.ctx, c.actor, id, change)
}

func approveUser(c *call, id uint32) (authsvc.User, error) {
	var b approvalBody
	if err := c.body(&b); err != nil {
		return authsvc.User{}, err
	}
	given, err := grants(b.Memberships)
	if err != nil {
		return authsvc.User{}, err
	}
	return c.api.store.ApproveUser(c.ctx, c.actor, id, given)
}

func resetPassword(c *call) (any, error) {
	id, err := c.id("user")
	if err != nil {
		return nil, err
	}
	var b passwordBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	u, made, err := c.api.store.ResetPassword(c.ctx, c.actor, id, b.Password)
	if err != nil {
		return nil, err
	}
	view := viewUser(&u)
	view.Password = made
	return view, nil
}

// counted makes a page of a list that is held whole.
func counted[T, V any](c *call, name string, rows []T, view func(*T) V) (any, error) {
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	first, last, next, err := page.Part(name, len(rows))
	if err != nil {
		return nil, err
	}
	return listOf(rows[first:last], view, next), nil
}

func membershipsOf(c *call) (any, error) {
	id, err := c.id("user")
	if err != nil {
		return nil, err
	}
	u, err := c.api.store.GetUser(c.ctx, c.actor, id)
	if err != nil {
		return nil, err
	}
	rows := u.Memberships
	if text := c.text("role"); text != "" {
		role, err := authsvc.ParseCompanyRole(text)
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(m authsvc.Membership) bool { return m.Role != role })
	}
	return counted(c, "memberships", rows, viewMembership)
}

func membersOf(c *call) (any, error) {
	company, err := c.id("company")
	if err != nil {
		return nil, err
	}
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	want := authsvc.UserFilter{Company: company, Text: c.text("q"), State: authsvc.UserState(c.text("state"))}
	if text := c.text("role"); text != "" {
		if want.CompanyRole, err = authsvc.ParseCompanyRole(text); err != nil {
			return nil, err
		}
	}
	found, err := c.api.store.ListUsers(c.ctx, c.actor, want, page)
	if err != nil {
		return nil, err
	}
	return listOf(found.Users, func(u *authsvc.User) companyMemberView {
		v := companyMemberView{UserID: u.ID, Username: u.Username, Email: u.Email, DisplayName: u.DisplayName, State: u.State()}
		for _, m := range u.Memberships {
			if m.CompanyID == company {
				v.Role, v.Since = m.Role, m.Since
			}
		}
		return v
	}, found.Next).withTotal(page, found.Total), nil
}

func sessionsOf(c *call) (any, error) {
	id, err := c.id("user")
	if err != nil {
		return nil, err
	}
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	rows, next, err := c.api.signin.SessionsOf(c.ctx, c.actor, id, page)
	if err != nil {
		return nil, err
	}
	return listOf(rows, itself, next), nil
}

func endSessionsOf(c *call) (any, error) {
	id, err := c.id("user")
	if err != nil {
		return nil, err
	}
	var b everywhereBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	if c.isSelf(id) {
		if err := c.recent(confirmBody{b.Password, b.Code}); err != nil {
			return nil, err
		}
	}
	return nil, c.api.signin.EndSessionsOf(c.ctx, c.actor, id, b.Tokens)
}

func endEverybody(c *call) (any, error) {
	var b everywhereBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	// The actor is one of all people: what a session left open must not be enough for with theirs alone, it must not be enough for with everybody's.
	if err := c.recent(confirmBody{b.Password, b.Code}); err != nil {
		return nil, err
	}
	return nil, c.api.store.SignOutEverybody(c.ctx, c.actor, b.Tokens)
}

// member gives the person and the company of a path.
func (c *call) member() (user, company uint32, err error) {
	if user, err = c.id("user"); err != nil {
		return 0, 0, err
	}
	company, err = c.id("company")
	return user, company, err
}

func setMembership(c *call) (any, error) {
	user, company, err := c.member()
	if err != nil {
		return nil, err
	}
	var b roleBody
	if err := c.body(&b); err != nil {
		return nil, err
	}
	role, err := authsvc.ParseCompanyRole(b.Role)
	if err != nil {
		return nil, err
	}
	u, err := c.api.store.SetMembership(c.ctx, c.actor, user, authsvc.Grant{CompanyID: company, Role: role})
	if err != nil {
		return nil, err
	}
	return viewUser(&u), nil
}

func removeMembership(c *call) (any, error) {
	user, company, err := c.member()
	if err != nil {
		return nil, err
	}
	return nil, c.api.store.RemoveMembership(c.ctx, c.actor, user, company)
}
