package authsvc

import (
	"context"
	"maps"
	"strconv"

	"gatehouse/event"
)

// changePeople runs fn in a transaction that changes people, what they may do, settings or the error log, or by change companies and keys. The lock of the audit trail lets these through
// one at a time; behind it, it is made sure that the actor still is what they were when the request came in. Two
// administrators who take each other's rights at the same moment can therefore not both succeed.
func (s *Store) changePeople(ctx context.Context, actor *Actor, fn func(*auditedTx) error) error {
	return s.update(ctx, actor, func(tx *auditedTx) error {
		if err := s.stillStands(ctx, tx); err != nil {
			return err
		}
		return fn(tx)
	})
}

func (s *Store) stillStands(ctx context.Context, tx *auditedTx) error {
	if tx.actor.Kind != ActorPerson {
		return nil
	}
	now := &Actor{Kind: ActorPerson, ID: tx.actor.ID, Members: map[uint32]Role{}}
	active, err := s.loadActor(ctx, tx, now, Claim{SecondFactor: true})
	if err != nil {
		return err
	}
	if !active {
		return signInFirst()
	}
	if now.Epoch != tx.actor.Epoch || now.Role != tx.actor.Role || !maps.Equal(now.Members, tx.actor.Members) {
		return event.Errorf(event.CodeConflict, "your own account was changed at the same moment: try again")
	}
	return nil
}

// userRecord is a person as the audit trail shows them.
type userRecord struct {
	Username     string    `json:"username"`
	Email        string    `json:"email"`
	DisplayName  string    `json:"display_name,omitempty"`
	Role         Role      `json:"role"`
	MFAPolicy    MFAPolicy `json:"mfa_policy"`
	State        UserState `json:"state"`
	MustChange   bool      `json:"must_change_password"`
	SecondFactor bool      `json:"second_factor"`
}

func (u *User) record() *userRecord {
	return &userRecord{u.Username, u.Email, u.DisplayName, u.Role, u.MFAPolicy, u.State(), u.MustChangePassword, u.SecondFactor()}
}

// target is the beginning of an entry about a person. Administrators of a company read it when the person is a User and belongs to that company
// alone; what is done to somebody of several is for GlobalAdmins, as it would tell of the others, and so is what is done to an Admin or GlobalAdmin, who stands above
// those administrators. u holds all memberships.
func (u *User) target(action string) Entry {
	e := Entry{Action: action, TargetKind: "user", TargetID: strconv.FormatUint(uint64(u.ID), 10), TargetName: u.Username}
	if u.Role == RoleUser && len(u.Memberships) == 1 {
		e.Company = u.Memberships[0].CompanyID
	}
	return e
}

// entry is what the audit trail says of an act that left the person as they are.
func (u *User) entry(action string, before *User) Entry {
	e := u.target(action)
	e.After = u.record()
	if before != nil {
		e.Before = before.record()
		if before.Role != RoleUser {
			e.Company = 0 // what is told of somebody above a company is not for the company
		}
	}
	return e
}
