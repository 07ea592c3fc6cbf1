package authsvc

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"unicode"

	"gatehouse/event"
)

// Identity is who an OpenID Connect provider says that somebody is. Issuer and Subject name the person for ever; all else may change.
type Identity struct {
	Issuer        string
	Subject       string
	Username      string // a proposal; may be empty or taken
	DisplayName   string
	Email         string
	EmailVerified bool     // the provider has made sure that the person reads this mailbox
	Values        []string // of the claim that gives roles, such as groups
	Companies     []string // of the claim that names companies
}

const (
	selectIdentity  = `SELECT user_id, issuer, subject FROM user_identities WHERE identity_hash = ?`
	insertIdentity  = `INSERT INTO user_identities (user_id, issuer, subject, identity_hash, created_at) VALUES (?, ?, ?, ?, ?)`
	countIdentities = `SELECT COUNT(*) FROM user_identities WHERE user_id = ?`
	userOfEmail     = `SELECT id FROM users WHERE email_key = ?`
	setGlobalRole   = `UPDATE users SET role = ? WHERE id = ?`
)

// noPassword stands where a hash would: nothing that anybody types has it, and checking against it takes as long as against a hash.
const noPassword = "!"

// The columns of an identity.
const (
	maxIssuer  = 400
	maxSubject = 255
)

// ErrNoAccount is the answer to somebody whom the provider knows and we do not let in; why stands in the audit trail.
var ErrNoAccount = event.Errorf(event.CodeForbidden, "the identity provider knows you, but there is no account for you here: ask an administrator")

// hash is by what an identity is found: the pair is too long for an index in some databases.
func (id *Identity) hash() string {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(id.Issuer)))
	_, _ = h.Write(append(append(n[:], id.Issuer...), id.Subject...)) // never fails
	return hex.EncodeToString(h.Sum(nil))
}

// SignInIdentity finds the account of somebody for whom a provider vouches, and brings its roles to what rules make of the claims. It gives
// the account's id; whether it may sign in, which it may not while it is disabled, is for the caller to ask.
//
// Somebody who comes for the first time gets the account that has their e-mail, if the provider has verified it, no identity is linked to the account
// yet and the account holds no role over all companies that the claims do not give too. Else they get a new account, where rules allow it
// and give them a role. Who gets none is ErrNoAccount. by is where the request came from; the trail says that Gatehouse acted by itself.
func (s *Store) SignInIdentity(ctx context.Context, by *Actor, id Identity, rules IdentityRules) (userID uint32, err error) {
	if id.Issuer == "" || id.Subject == "" || clip(id.Issuer, maxIssuer) != id.Issuer || clip(id.Subject, maxSubject) != id.Subject {
		return 0, event.Errorf(event.CodeUnauthorized, "the identity provider names you in a way that cannot be kept")
	}
	self := System()
	self.Address, self.Agent, self.RequestID, self.Via = by.Address, by.Agent, by.RequestID, "oidc "+id.Issuer
	refused := false
	err = s.update(ctx, self, func(tx *auditedTx) error {
		refused = false
		u, why, err := s.personOf(ctx, tx, &id, rules)
		if err != nil {
			return err
		}
		if refused = why != ""; refused {
			tx.actor = by
			return tx.record(ctx, Entry{Action: "session.sign_in", Outcome: Denied, TargetKind: "user", TargetName: id.Email, Detail: "by oidc: " + why})
		}
		if userID = u.ID; u.State() != UserActive {
			return nil
		}
		return s.followClaims(ctx, tx, &u, &id, rules)
	})
	if err != nil {
		return 0, fail(err, "sign in with an identity provider")
	}
	if refused {
		return 0, ErrNoAccount
	}
	return userID, nil
}

// personOf finds or makes the account of an identity; why is the reason for having none.
func (s *Store) personOf(ctx context.Context, tx *auditedTx, id *Identity, rules IdentityRules) (u User, why string, err error) {
	var userID uint32
	var issuer, subject string
	err = tx.QueryRow(ctx, selectIdentity, id.hash()).Scan(&userID, &issuer, &subject)
	switch {
	case err == nil && (issuer != id.Issuer || subject != id.Subject):
		return User{}, "", errors.New("BUG: two identities with one hash")
	case err == nil:
		u, err = s.user(ctx, tx, userID)
		return u, "", err
	case !errors.Is(err, sql.ErrNoRows):
		return User{}, "", err
	}
	_, emailKey, badEmail := cleanEmail(id.Email)
	if badEmail != nil || !id.EmailVerified {
		return User{}, "unknown there until now, and the provider names no verified e-mail", nil
	}
	err = tx.QueryRow(ctx, userOfEmail, emailKey).Scan(&userID)
	switch {
	case err == nil:
		return s.linkByEmail(ctx, tx, userID, id, rules)
	case !errors.Is(err, sql.ErrNoRows):
		return User{}, "", err
	}
	role, _, matched := rules.apply(id)
	switch {
	case !rules.SignUp:
		return User{}, "there is no account, and none is made ([oidc] allow_sign_up)", nil
	case !matched:
		return User{}, "there is no account, and the mappings give no role", nil
	}
	u, err = s.signUp(ctx, tx, id, role)
	return u, "", err
}

func (s *Store) linkByEmail(ctx context.Context, tx *auditedTx, userID uint32, id *Identity, rules IdentityRules) (u User, why string, err error) {
	if u, err = s.user(ctx, tx, userID); err != nil {
		return User{}, "", err
	}
	var linked int
	if err := tx.QueryRow(ctx, countIdentities, userID).Scan(&linked); err != nil {
		return User{}, "", err
	}
	role, _, _ := rules.apply(id)
	switch {
	case linked > 0:
		return User{}, "the account with this e-mail is another identity's", nil
	case u.State() != UserActive:
		return User{}, "the account with this e-mail is " + string(u.State()), nil
	case u.Role.Outranks(role):
		return User{}, "the account with this e-mail is " + string(u.Role) + ", which the mappings do not give", nil
	}
	return u, "", s.link(ctx, tx, &u, id)
}

func (s *Store) link(ctx context.Context, tx *auditedTx, u *User, id *Identity) error {
	if _, err := tx.Exec(ctx, insertIdentity, u.ID, id.Issuer, id.Subject, id.hash(), millis(tx.now)); err != nil {
		return err
	}
	e := u.target("identity.link")
	e.Detail = id.Issuer + " as " + id.Subject
	return tx.record(ctx, e)
}

// signUp makes the account of somebody who comes for the first time.
func (s *Store) signUp(ctx context.Context, tx *auditedTx, id *Identity, role Role) (User, error) {
	name, err := s.freeUsername(ctx, tx, id)
	if err != nil {
		return User{}, err
	}
	display := id.DisplayName
	if _, err := cleanDisplayName(display); err != nil {
		display = "" // a name that cannot be shown keeps nobody out
	}
	p, err := (&NewUser{Username: name, Email: id.Email, DisplayName: display, Role: role}).clean()
	if err != nil {
		return User{}, err
	}
	p.hash = noPassword
	u, err := s.createPerson(ctx, tx, "user.create", &p, nil)
	if err != nil {
		return User{}, err
	}
	return u, s.link(ctx, tx, &u, id)
}

// freeUsername makes a username of what the provider proposes. One that is taken gets a few letters of the identity's hash.
func (s *Store) freeUsername(ctx context.Context, tx *auditedTx, id *Identity) (string, error) {
	const room = 100
	base := "user"
	for _, proposal := range []string{id.Username, id.Email} {
		local, _, _ := strings.Cut(proposal, "@")
		local = strings.Map(func(r rune) rune {
			if r == '\uFFFD' || !unicode.IsPrint(r) {
				return -1
			}
			return r
		}, local)
		if name, _, err := cleanUsername(clip(local, room)); err == nil {
			base = name
			break
		}
	}
	hash := id.hash()
	for _, name := range []string{base, base + "-" + hash[:6], base + "-" + hash[:16]} {
		_, key, err := cleanUsername(name)
		if err != nil {
			return "", err
		}
		var n int
		if err := tx.QueryRow(ctx, usernameTaken, key, 0).Scan(&n); err != nil || n == 0 {
			return name, err
		}
	}
	return base + "-" + hash, nil
}
