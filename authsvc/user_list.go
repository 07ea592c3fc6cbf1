package authsvc

import (
	"context"
	"errors"

	"gatehouse/event"
)

// UserFilter says which people to list; the zero value lists all whom the actor may see.
type UserFilter struct {
	Text        string // in the username or e-mail, without regard to case
	Role        Role   // over all companies
	Company     uint32 // members of it
	CompanyRole Role   // with this role in Company
	State       UserState
	MFA         *bool // with or without a second factor
}

// UserList is one page of people by username.
type UserList struct {
	Users []User // with the memberships that the actor may know of
	Next  string // cursor of the next page, empty behind the last
	Total int64  // of all pages, where it was asked for
}

const (
	usersList = "users"
	// The page is found by its index alone (users_list); only the rows of the page itself are read.
	findUsers    = `SELECT u.id FROM users u`
	selectUsers  = `SELECT ` + userColumns + `, u.username_key FROM (`
	ofPage       = `) p JOIN users u ON u.id = p.id ORDER BY u.username_key`
	countOf      = `SELECT COUNT(*) FROM users u`
	hasTOTP      = `u.id IN (SELECT t.id FROM users t WHERE t.totp_secret IS NOT NULL)` // by users_totp
	hasKeyFactor = `u.id IN (SELECT w.user_id FROM webauthn_credentials w)`
)

// ListUsers lists people by username. A company of which the actor may not know is CodeNotFound; people in companies whose
// people they may not see are simply not there.
func (s *Store) ListUsers(ctx context.Context, actor *Actor, want UserFilter, page Page) (UserList, error) {
	limit, err := page.size()
	if err != nil {
		return UserList{}, err
	}
	f, err := want.filter(actor)
	if err != nil {
		return UserList{}, err
	}
	var out UserList
	if page.Total {
		if err := s.db.QueryRow(ctx, countOf+f.where(), f.args...).Scan(&out.Total); err != nil {
			return UserList{}, fail(err, "count people")
		}
	}
	after, err := page.after(usersList, 1)
	if err != nil {
		return UserList{}, err
	}
	if page.Total && out.Total == 0 {
		return out, nil // else all are looked through a second time
	}
	if after != nil {
		f.add("u.username_key > ?", after[0])
	}
	var last string
	out.Users, last, err = s.listUsers(ctx, limit, selectUsers+findUsers+f.where()+` ORDER BY u.username_key`+firstRows(s.db.Dialect(), limit+1)+ofPage, f.args...)
	if err != nil {
		return UserList{}, fail(err, "list people")
	}
	if last != "" {
		out.Next = cursorOf(usersList, last)
	}
	return out, fail(s.addMemberships(ctx, actor, out.Users), "list people")
}

func (w *UserFilter) filter(actor *Actor) (filter, error) {
	var f filter
	if err := actor.requireSomewhere(PermListPeople); err != nil {
		return f, err
	}
	switch {
	case w.Company != 0:
		if err := actor.Require(PermListPeople, w.Company); err != nil {
			return f, err
		}
		var of filter
		of.add("m.company_id = ?", w.Company)
		if w.CompanyRole != "" {
			role, err := ParseCompanyRole(string(w.CompanyRole))
			if err != nil {
				return f, err
			}
			of.add("m.role = ?", string(role))
		}
		f.add(`u.id IN (SELECT m.user_id FROM memberships m`+of.where()+`)`, of.args...)
	case w.CompanyRole != "":
		return f, event.FieldError("company_role", "needs a company")
	case !actor.Can(PermListPeople, 0):
		var of filter
		of.addWithin(actor, PermListPeople, "m.company_id")
		f.add(`u.id IN (SELECT m.user_id FROM memberships m`+of.where()+`)`, of.args...)
	}
	return f, w.addFields(&f)
}

func (w *UserFilter) addFields(f *filter) error {
	if w.Text != "" {
		f.addFolded(w.Text, "u.username_key", "u.email_key")
	}
	if w.Role != "" {
		role, err := ParseGlobalRole(string(w.Role))
		if err != nil {
			return err
		}
		column := "u.role"
		if role == RoleUser {
			// Nearly all are: an index of roles would have the database read and sort them all, where the order by name gives
			// the first page at once. No index holds an expression.
			column = "COALESCE(u.role, '')"
		}
		f.add(column+" = ?", string(role))
	}
	switch w.State {
	case "":
	case UserActive:
		f.add("u.disabled_at IS NULL AND u.approved_at IS NOT NULL")
	case UserDisabled:
		f.add("u.disabled_at IS NOT NULL")
	case UserWaiting:
		f.add("u.disabled_at IS NULL AND u.approved_at IS NULL")
	default:
		return event.FieldError("state", "must be one of %s, %s, %s", UserActive, UserDisabled, UserWaiting)
	}
	if w.MFA != nil {
		if *w.MFA {
			f.add("(" + hasTOTP + " OR " + hasKeyFactor + ")")
		} else {
			f.add("NOT " + hasTOTP + " AND NOT " + hasKeyFactor)
		}
	}
	return nil
}

// listUsers reads up to limit people; last is the key of the last one when there are more.
func (s *Store) listUsers(ctx context.Context, limit int, query string, args ...any) (list []User, last string, err error) {
	rows, err := s.db.Query(ctx, query, args...)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var key string
	for rows.Next() {
		before := key
		u, err := scanUser(rows.Scan, &key)
		if err != nil {
			return nil, "", err
		}
		if len(list) == limit {
			return list, before, nil
		}
		list = append(list, u)
	}
	return list, "", rows.Err()
}

// addMemberships fills in what the actor may know of, for all people in one statement.
func (s *Store) addMemberships(ctx context.Context, actor *Actor, list []User) error {
	ids := make([]uint32, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	all, err := s.memberships(ctx, s.db, ids)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Memberships = all[list[i].ID]
		if err := actor.see(&list[i]); err != nil && event.ErrorCode(err) != event.CodeNotFound {
			return err
		}
	}
	return nil
}
