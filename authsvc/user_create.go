package authsvc

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"gatehouse/event"
)

// NewUser is what an administrator chooses for a person.
type NewUser struct {
	Username    string
	Email       string
	DisplayName string
	Role        Role      // over all companies; empty: User
	MFAPolicy   MFAPolicy // empty: inherit
	Password    string    // empty: a temporary one is made
	// KeepPassword spares the person to change a password that is given here at their first sign-in. A temporary one must always be changed. It is for the
	// command line alone: what an administrator gave somebody else, two people know.
	KeepPassword bool
	Memberships  []Grant
}

// insertPerson is the one way in which people come in.
const insertPerson = `INSERT INTO users (username, username_key, email, email_key, display_name, password_hash, role, mfa_policy, must_change_password,
    created_at, approved_at, password_changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// newPerson is a person whose fields have been checked.
type newPerson struct {
	username, usernameKey string
	email, emailKey       string
	display               string
	role                  Role
	policy                MFAPolicy
	hash                  string
	mustChange            bool
	waiting               bool
}

// clean checks what an account is made of, but for the password.
func (n *NewUser) clean() (p newPerson, err error) {
	if p.username, p.usernameKey, err = cleanUsername(n.Username); err != nil {
		return p, err
	}
	if p.email, p.emailKey, err = cleanEmail(n.Email); err != nil {
		return p, err
	}
	if p.display, err = cleanDisplayName(n.DisplayName); err != nil {
		return p, err
	}
	p.role, p.policy = RoleUser, MFAInherit
	if n.Role != "" {
		if p.role, err = ParseGlobalRole(string(n.Role)); err != nil {
			return p, err
		}
	}
	if n.MFAPolicy != "" {
		if p.policy, err = ParseMFAPolicy(string(n.MFAPolicy)); err != nil {
			return p, err
		}
	}
	return p, nil
}

func cleanDisplayName(name string) (string, error) {
	if strings.TrimSpace(name) == "" {
		return "", nil
	}
	clean, _, err := cleanName("display_name", name)
	return clean, err
}

// CreateUser makes an account, with its memberships. The password in the result is a temporary one that was made here: it is the
// only copy, and empty where the caller gave one. Whoever may create people in every company that is named may do this; people of no
// company, and those with a role over all, are made by GlobalAdmins alone.
func (s *Store) CreateUser(ctx context.Context, actor *Actor, n NewUser) (User, string, error) {
	person, err := n.clean()
	if err != nil {
		return User{}, "", err
	}
	if err := actor.mayCreate(&person, n.Memberships); err != nil {
		return User{}, "", err
	}
	if n.KeepPassword && actor.Kind != ActorLocal {
		return User{}, "", event.Errorf(event.CodeForbidden, "a password that somebody else has given must be changed; only the command line on the server makes one that need not be")
	}
	temporary := ""
	if n.Password == "" {
		if temporary, err = s.temporaryPassword(); err != nil {
			return User{}, "", fail(err, "create person")
		}
	}
	others := []string{person.username, person.email, person.display}
	for _, g := range n.Memberships[:min(len(n.Memberships), MaxNamedCompanies)] {
		company, err := s.Company(ctx, g.CompanyID)
		if err != nil {
			return User{}, "", err
		}
		others = append(others, company.Name)
	}
	if person.hash, err = s.newHash(ctx, n.Password, temporary, others...); err != nil {
		return User{}, "", err
	}
	person.mustChange = temporary != "" || !n.KeepPassword
	var u User
	err = s.changePeople(ctx, actor, func(tx *auditedTx) (err error) {
		u, err = s.createPerson(ctx, tx, "user.create", &person, n.Memberships)
		return err
	})
	if err != nil {
		return User{}, "", fail(err, "create person")
	}
	return u, temporary, nil
}

func (a *Actor) mayCreate(p *newPerson, grants []Grant) error {
	if len(grants) == 0 {
		if err := a.requireSomewhere(PermCreatePerson); err != nil {
			return err
		}
		if !a.Can(PermCreatePerson, 0) {
			return event.FieldError("memberships", "must name at least one of your companies")
		}
	}
	if len(grants) > maxMemberships {
		return event.FieldError("memberships", "are more than %d", maxMemberships)
	}
	if p.role != RoleUser {
		if err := a.Require(PermGrantGlobal, 0); err != nil {
			return err
		}
	}
	if err := a.mayExempt(p.policy); err != nil {
		return err
	}
	u := User{Role: p.role}
	for i, g := range grants {
		if err := a.Require(PermCreatePerson, g.CompanyID); err != nil {
			return err
		}
		if err := a.mayGrant(&u, g); err != nil {
			return err
		}
		if slices.ContainsFunc(grants[:i], func(other Grant) bool { return other.CompanyID == g.CompanyID }) {
			return event.FieldError("memberships", "name company %d twice", g.CompanyID)
		}
	}
	return nil
}

// mayExempt asks whether the actor may set a policy: to spare somebody what the settings ask of all is for who may change the settings.
func (a *Actor) mayExempt(policy MFAPolicy) error {
	if policy == MFANotRequired {
		return a.Require(PermChangeSettings, 0)
	}
	return nil
}

// createPerson writes a person who has been checked, and what the trail says of it.
func (s *Store) createPerson(ctx context.Context, tx *auditedTx, action string, p *newPerson, grants []Grant) (User, error) {
	now := millis(tx.now)
	var approved *int64
	if !p.waiting {
		approved = &now
	}
	if err := s.nameFree(ctx, tx, p.usernameKey, p.emailKey, 0); err != nil {
		return User{}, err
	}
	id, err := tx.Insert(ctx, insertPerson, p.username, p.usernameKey, p.email, p.emailKey, p.display, p.hash, string(p.role), string(p.policy),
		smallint(p.mustChange), now, approved, now)
	if err != nil {
		return User{}, err
	}
	u, err := s.user(ctx, tx, uint32(id)) //nolint:gosec // ids are INTEGER columns that count up from 1
	if err != nil {
		return User{}, err
	}
	entry := u.entry(action, nil)
	if u.Role == RoleUser && len(grants) == 1 {
		entry.Company = grants[0].CompanyID
	}
	if err := tx.record(ctx, entry); err != nil {
		return User{}, err
	}
	for _, g := range grants {
		if err := s.setMembership(ctx, tx, &u, g); err != nil {
			return User{}, err
		}
	}
	return s.user(ctx, tx, u.ID)
}

const (
	usernameTaken = `SELECT COUNT(*) FROM users WHERE username_key = ? AND id <> ?`
	emailTaken    = `SELECT COUNT(*) FROM users WHERE email_key = ? AND id <> ?`
)

// nameFree makes sure that no other account has the username or e-mail: in some databases a transaction is over after a broken rule. All who write them
// hold the lock of the audit trail, so that nobody can come between.
func (s *Store) nameFree(ctx context.Context, tx *auditedTx, usernameKey, emailKey string, except uint32) error {
	var n int
	if err := tx.QueryRow(ctx, usernameTaken, usernameKey, except).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return taken("username")
	}
	if err := tx.QueryRow(ctx, emailTaken, emailKey, except).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return taken("email")
	}
	return nil
}

// taken is the answer for a name of another account. Names are unique over all companies, so it cannot be hidden that one is taken; whose
// it is, is not told.
func taken(field string) error {
	return &event.Error{Code: event.CodeConflict, Field: field, Message: "is another account's: choose a different one"}
}

// smallint is a truth as the tables hold it.
func smallint(b bool) int {
	if b {
		return 1
	}
	return 0
}

// MaxNamedCompanies bounds the companies of a person whose names may not be their password: an operator may have thousands.
const MaxNamedCompanies = 20

// newHash is what is stored of a password: of the given one, which is held to the policy, else of the temporary one. It takes a quarter of
// a second, so it must not run within a transaction.
func (s *Store) newHash(ctx context.Context, given, temporary string, personal ...string) (string, error) {
	if given == "" {
		return s.passwords.Hash(ctx, temporary)
	}
	settings, err := s.GetSettings(ctx)
	if err != nil {
		return "", err
	}
	if err := settings.PasswordPolicy().Check(given, personal...); err != nil {
		return "", err
	}
	return s.passwords.Hash(ctx, given)
}

// Temporary passwords are read out on the telephone and typed: no letters or digits that look alike. Five groups of five give 144 bits, far more than
// can be tried.
const (
	temporaryLetters = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	temporaryGroups  = 5
	temporaryGroup   = 5
)

func (s *Store) temporaryPassword() (string, error) {
	// Of a byte, only values below a whole number of alphabets count, so that all letters are equally likely.
	const limit = 256 - 256%len(temporaryLetters)
	groups := make([]string, temporaryGroups)
	var b [1]byte
	for i := range groups {
		var group strings.Builder
		for group.Len() < temporaryGroup {
			if _, err := io.ReadFull(s.rand, b[:]); err != nil {
				return "", fmt.Errorf("no randomness for a temporary password: %w", err)
			}
			if int(b[0]) < limit {
				group.WriteByte(temporaryLetters[int(b[0])%len(temporaryLetters)])
			}
		}
		groups[i] = group.String()
	}
	return strings.Join(groups, "-"), nil
}
