package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// Membership is what a person is in one company.
type Membership struct {
	UserID      uint32
	CompanyID   uint32
	CompanyName string
	Role        Role
	Since       time.Time
}

// Grant is a role in a company that is to be given.
type Grant struct {
	CompanyID uint32
	Role      Role // Admin, CompanyAdmin or User
}

const (
	selectMemberships = `SELECT m.user_id, m.company_id, c.name, m.role, m.created_at FROM memberships m JOIN companies c ON c.id = m.company_id WHERE m.user_id IN (`
	orderMemberships  = `) ORDER BY m.user_id, m.company_id`
	insertMembership  = `INSERT INTO memberships (user_id, company_id, role, created_at) VALUES (?, ?, ?, ?)`
	updateMembership  = `UPDATE memberships SET role = ? WHERE user_id = ? AND company_id = ?`
	deleteMembership  = `DELETE FROM memberships WHERE user_id = ? AND company_id = ?`
	countMemberships  = `SELECT COUNT(*) FROM memberships WHERE user_id = ?`
)

// maxMemberships bounds what each request of a person reads. Who must reach more companies than this is a GlobalAdmin.
const maxMemberships = 2000

// querier is what reads: the database, or a transaction.
type querier interface {
	rowQuerier
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// memberships reads those of several people in one statement, by person.
func (s *Store) memberships(ctx context.Context, q querier, users []uint32) (_ map[uint32][]Membership, err error) {
	out := make(map[uint32][]Membership, len(users))
	if len(users) == 0 {
		return out, nil
	}
	args := make([]any, len(users))
	for i, id := range users {
		args[i] = id
	}
	rows, err := q.Query(ctx, selectMemberships+reldb.Marks(len(args))+orderMemberships, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var m Membership
		var since int64
		if err := rows.Scan(&m.UserID, &m.CompanyID, &m.CompanyName, &m.Role, &since); err != nil {
			return nil, err
		}
		m.Since = time.UnixMilli(since).UTC()
		out[m.UserID] = append(out[m.UserID], m)
	}
	return out, rows.Err()
}

// SetMembership gives a person a role in a company, or another one than they have. The person must be known to the actor, who
// must stand above them in that company; nobody can give more than they hold. Whoever may do more by it signs in again.
func (s *Store) SetMembership(ctx context.Context, actor *Actor, userID uint32, grant Grant) (User, error) {
	if err := actor.Require(PermSetMembership, grant.CompanyID); err != nil {
		return User{}, err
	}
	var u User
	err := s.changePeople(ctx, actor, func(tx *auditedTx) (err error) {
		if u, err = s.user(ctx, tx, userID); err != nil {
			return err
		}
		seen := u
		if err := actor.see(&seen); err != nil {
			return err
		}
		if err := actor.mayGrant(&u, grant); err != nil {
			return err
		}
		if err := s.giveMembership(ctx, tx, &u, grant); err != nil {
			return err
		}
		if u, err = s.user(ctx, tx, userID); err != nil {
			return err
		}
		return actor.see(&u)
	})
	if err != nil {
		return User{}, fail(err, "set membership")
	}
	return u, nil
}

// giveMembership is setMembership for somebody who may be signed in. Where they may do more by it, their sessions end: an id that somebody
// else saw or planted before must not be worth more than it was. With less a session goes on, as roles are asked for each time.
func (s *Store) giveMembership(ctx context.Context, tx *auditedTx, u *User, grant Grant) error {
	if err := s.setMembership(ctx, tx, u, grant); err != nil {
		return err
	}
	if old, had := u.member(grant.CompanyID); u.Role == RoleGlobalAdmin || had && !grant.Role.Outranks(old.Role) {
		return nil
	}
	return tx.endSessions(ctx, u.ID, false)
}

// setMembership writes a grant that has been allowed, for a person with the memberships that u says.
func (s *Store) setMembership(ctx context.Context, tx *auditedTx, u *User, grant Grant) error {
	company, err := s.company(ctx, tx, grant.CompanyID)
	if err != nil {
		return err
	}
	entry := membershipEntry("membership.set", u, company.ID)
	entry.After = &membershipRecord{Company: company.Name, Role: grant.Role}
	if old, had := u.member(grant.CompanyID); had {
		entry.Before = old.record()
		if old.Role == grant.Role {
			return nil // nothing changes, so nothing is recorded
		}
		if _, err := tx.Exec(ctx, updateMembership, string(grant.Role), u.ID, grant.CompanyID); err != nil {
			return err
		}
		return tx.record(ctx, entry)
	}
	var n int
	if err := tx.QueryRow(ctx, countMemberships, u.ID).Scan(&n); err != nil {
		return err
	}
	if n >= maxMemberships {
		return event.Errorf(event.CodeConflict, "this person belongs to %d companies, which is the most: who must reach more is a GlobalAdmin", n)
	}
	if _, err := tx.Exec(ctx, insertMembership, u.ID, grant.CompanyID, string(grant.Role), millis(tx.now)); err != nil {
		if reldb.IsForeignKey(err) {
			return noUser(u.ID)
		}
		return err
	}
	return tx.record(ctx, entry)
}

// RemoveMembership takes a person out of a company. Their account stays, and so do their other memberships.
func (s *Store) RemoveMembership(ctx context.Context, actor *Actor, userID, companyID uint32) error {
	if err := actor.Require(PermSetMembership, companyID); err != nil {
		return err
	}
	return fail(s.changePeople(ctx, actor, func(tx *auditedTx) error {
		u, err := s.user(ctx, tx, userID)
		if err != nil {
			return err
		}
		old, had := u.member(companyID)
		if err := actor.see(&u); err != nil {
			return err
		}
		if !had {
			return event.Errorf(event.CodeNotFound, "this person does not belong to the company")
		}
		if err := actor.mayPlace(&u, Grant{companyID, old.Role}); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, deleteMembership, userID, companyID); err != nil {
			return err
		}
		entry := membershipEntry("membership.remove", &u, companyID)
		entry.Before = old.record()
		return tx.record(ctx, entry)
	}), "remove membership")
}

// endAssignments makes somebody a User where they were assigned as operator: an assignment means nothing once its holder is none, and must not
// come back with a later promotion.
func endAssignments(ctx context.Context, tx *auditedTx, u *User) error {
	for i := range u.Memberships {
		m := &u.Memberships[i]
		if m.Role != RoleAdmin {
			continue
		}
		if _, err := tx.Exec(ctx, updateMembership, string(RoleUser), u.ID, m.CompanyID); err != nil {
			return err
		}
		entry := membershipEntry("membership.set", u, m.CompanyID)
		entry.Before, entry.After, entry.Detail = m.record(), &membershipRecord{m.CompanyName, RoleUser}, "with the role over all companies"
		if err := tx.record(ctx, entry); err != nil {
			return err
		}
	}
	return nil
}

func (u *User) member(companyID uint32) (Membership, bool) {
	for _, m := range u.Memberships {
		if m.CompanyID == companyID {
			return m, true
		}
	}
	return Membership{}, false
}

// membershipRecord is a membership as the audit trail shows it.
type membershipRecord struct {
	Company string `json:"company"`
	Role    Role   `json:"role"`
}

func (m *Membership) record() *membershipRecord {
	return &membershipRecord{Company: m.CompanyName, Role: m.Role}
}

func membershipEntry(action string, u *User, companyID uint32) Entry {
	e := u.target(action)
	e.Company = companyID
	return e
}
