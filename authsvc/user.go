package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"gatehouse/event"
	"gatehouse/internal/nearest"
)

// MFAPolicy says whether a person must have a second factor.
type MFAPolicy string

// The policies. Who has a second factor is always asked for it; the policy says who must set one up.
const (
	MFAInherit     MFAPolicy = "inherit" // as the setting mfa_required says
	MFARequired    MFAPolicy = "required"
	MFANotRequired MFAPolicy = "not_required"
)

var mfaPolicies = []MFAPolicy{MFAInherit, MFARequired, MFANotRequired}

// ParseMFAPolicy reads a policy; a wrong one is a field error.
func ParseMFAPolicy(text string) (MFAPolicy, error) {
	names := make([]string, len(mfaPolicies))
	for i, p := range mfaPolicies {
		if text == string(p) {
			return p, nil
		}
		names[i] = string(p)
	}
	return "", event.FieldError("mfa_policy", "must be one of %s%s", joinNames(names), didYouMean(text, names))
}

// UserState is whether a person can sign in.
type UserState string

// The states.
const (
	UserActive   UserState = "active"
	UserDisabled UserState = "disabled"
	UserWaiting  UserState = "waiting" // registered, not yet approved
)

// User is a person's account: all of it that may be shown.
type User struct {
	ID                 uint32
	Username           string
	Email              string
	DisplayName        string // empty: the username serves
	Role               Role   // over all companies
	MFAPolicy          MFAPolicy
	Password           bool // there is one; who signs in with an identity provider may have none
	MustChangePassword bool
	TOTP               bool // an authenticator app is set up
	Passkeys           int
	Created            time.Time
	Approved           time.Time // zero: registered and waiting
	Disabled           time.Time // zero: not disabled
	PasswordChanged    time.Time // zero: never since the account was made
	LastLogin          time.Time // zero: never
	LastLoginIP        string
	Epoch              int64 // sessions and tokens made in an earlier one have ended

	// Memberships are those that whoever asked may know of, by company. Only lists and GetUser fill it.
	Memberships []Membership
}

// State tells whether the person can sign in.
func (u *User) State() UserState {
	switch {
	case !u.Disabled.IsZero():
		return UserDisabled
	case u.Approved.IsZero():
		return UserWaiting
	}
	return UserActive
}

// SecondFactor tells whether the person has one.
func (u *User) SecondFactor() bool { return u.TOTP || u.Passkeys > 0 }

// userColumns are what scanUser reads, of users AS u.
const userColumns = `u.id, u.username, u.email, u.display_name, u.role, u.mfa_policy, u.must_change_password, u.created_at, u.approved_at, u.disabled_at,
    u.password_changed_at, u.last_login_at, u.last_login_ip, u.epoch, CASE WHEN u.totp_secret IS NULL THEN 0 ELSE 1 END,
    (SELECT COUNT(*) FROM webauthn_credentials w WHERE w.user_id = u.id), CASE WHEN u.password_hash = '` + noPassword + `' THEN 0 ELSE 1 END`

const (
	selectUser        = `SELECT ` + userColumns + ` FROM users u WHERE u.id = ?`
	selectUserByName  = `SELECT ` + userColumns + ` FROM users u WHERE u.username_key = ?`
	selectUserByEmail = `SELECT ` + userColumns + ` FROM users u WHERE u.email_key = ?`
)

// scanUser reads userColumns, then whatever else the statement selects.
func scanUser(scan func(...any) error, more ...any) (User, error) {
	var u User
	var created int64
	var approved, disabled, changed, login *int64
	var ip sql.NullString
	err := scan(append([]any{
		&u.ID, &u.Username, &u.Email, &u.DisplayName, &u.Role, &u.MFAPolicy, &u.MustChangePassword, &created, &approved, &disabled,
		&changed, &login, &ip, &u.Epoch, &u.TOTP, &u.Passkeys, &u.Password,
	}, more...)...)
	if err != nil {
		return User{}, err
	}
	u.Created = time.UnixMilli(created).UTC()
	u.Approved, u.Disabled, u.PasswordChanged, u.LastLogin = optionalTime(approved), optionalTime(disabled), optionalTime(changed), optionalTime(login)
	u.LastLoginIP = ip.String
	return u, nil
}

// noUser is the answer for a person who is not there and for one of whom the actor may not know: the same for both.
func noUser(userID uint32) *event.Error {
	return event.Errorf(event.CodeNotFound, "there is no person with id %d", userID)
}

// user reads a person with all of their memberships, whoever asks.
func (s *Store) user(ctx context.Context, q querier, userID uint32) (User, error) {
	u, err := scanUser(q.QueryRow(ctx, selectUser, userID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, noUser(userID)
	}
	if err != nil {
		return User{}, err
	}
	all, err := s.memberships(ctx, q, []uint32{userID})
	u.Memberships = all[userID]
	return u, err
}

// GetUser reads a person whom the actor may know: themselves, or somebody in a company where they may see people. Anybody else
// is CodeNotFound.
func (s *Store) GetUser(ctx context.Context, actor *Actor, userID uint32) (User, error) {
	if actor.Stage != StageDone {
		return User{}, actor.stageError()
	}
	u, err := s.user(ctx, s.db, userID)
	if err == nil {
		err = actor.see(&u)
	}
	if err != nil {
		return User{}, fail(err, "read person")
	}
	return u, nil
}

// see fails when the actor may not know of the person, else takes out of u what they may not know.
func (a *Actor) see(u *User) error {
	if a.Stage != StageDone {
		return a.stageError()
	}
	if a.is(u.ID) && a.Can(PermOwnAccount, 0) || a.Can(PermListPeople, 0) {
		return nil
	}
	visible := u.Memberships[:0:0]
	for _, m := range u.Memberships {
		if a.Can(PermListPeople, m.CompanyID) {
			visible = append(visible, m)
		}
	}
	if len(visible) == 0 {
		return hidden(noUser(u.ID))
	}
	u.Memberships = visible
	return nil
}

// is tells whether the actor is the person.
func (a *Actor) is(userID uint32) bool { return a.Kind == ActorPerson && a.ID == userID }

// FindUser finds a person whom the actor may know by username, e-mail or id. What is digits alone is an id, also where somebody from before that
// was so has it as their username. The error of a GlobalAdmin lists names that come near.
func (s *Store) FindUser(ctx context.Context, actor *Actor, ref string) (User, error) {
	u, err := s.findUser(ctx, actor, ref)
	return u, fail(err, "find person")
}

func (s *Store) findUser(ctx context.Context, actor *Actor, ref string) (User, error) {
	if actor.Stage != StageDone {
		return User{}, actor.stageError()
	}
	key := nameKey(withoutNUL(ref))
	query, by := loginQuery(key), any(key)
	if id, ok := idOf(key); ok {
		query, by = selectUser, id
	}
	u, err := scanUser(s.db.QueryRow(ctx, query, by).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, s.noUserNamed(ctx, actor, ref)
	}
	if err != nil {
		return User{}, err
	}
	all, err := s.memberships(ctx, s.db, []uint32{u.ID})
	if err != nil {
		return User{}, err
	}
	u.Memberships = all[u.ID]
	if actor.see(&u) != nil {
		return User{}, s.noUserNamed(ctx, actor, ref)
	}
	return u, nil
}

// loginQuery finds a person by what they call themselves: usernames have no @, e-mails always have one.
func loginQuery(key string) string {
	if isEmail(key) {
		return selectUserByEmail
	}
	return selectUserByName
}

// suggestUsers bounds the names that are compared with one that was not found.
const suggestUsers = 200

// The first letter is mostly right.
const namesLike = `SELECT username FROM users WHERE username_key LIKE ? ESCAPE '!' ORDER BY username_key`

// texts reads a statement's one column.
func (s *Store) texts(ctx context.Context, query string, args ...any) (list []string, err error) {
	rows, err := s.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}

func (s *Store) noUserNamed(ctx context.Context, actor *Actor, ref string) error {
	hint := "; `gatehouse user list` shows all"
	if actor.Role != RoleGlobalAdmin {
		hint = ""
	} else if first := []rune(nameKey(withoutNUL(ref))); len(first) > 0 {
		names, err := s.texts(ctx, namesLike+firstRows(s.db.Dialect(), suggestUsers), likeEscaper.Replace(string(first[:1]))+"%")
		if err != nil {
			return err
		}
		if near := nearest.Names(ref, names, 3); len(near) > 0 {
			hint = "; did you mean " + quoteList(near) + "?"
		}
	}
	return &event.Error{Code: event.CodeNotFound, Field: "user", Message: "there is no person " + strconv.Quote(clip(ref, maxName)) + hint}
}
