package authsvc

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"time"
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
	EmailVerified bool      // the provider has made sure that the person reads this mailbox
	SecondFactor  bool      // the provider has asked for more than one factor, as far as it is believed
	SignedIn      time.Time // when the provider last had the person prove who they are; zero: it does not tell
	Values        []string  // of the claim that gives roles, such as groups
	Companies     []string  // of the claim that names companies
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

// ErrLinkFirst is the answer to somebody whom the provider knows by an e-mail that an account here has. That e-mail was written by whoever made the
// account, so it says nothing of who that is. Nobody else sees this answer: the provider vouches that the mailbox is theirs.
var ErrLinkFirst = event.Errorf(event.CodeConflict, "there is an account with your e-mail here, which is not linked with the identity provider: sign in to it as you did until now, and link it on your account page")

// SignInIdentity finds the account of somebody for whom a provider vouches, and brings its roles to what rules make of the claims. It gives
// the account's id; whether it may sign in, which it may not while it is disabled, is for the caller to ask.
//
// Somebody who comes for the first time gets a new account, where rules allow it and give them a role. Nobody is given an account that is
// there already: LinkIdentity links one, from within. Who gets none is ErrNoAccount or ErrLinkFirst. by is where the request came from; the trail says
// that Gatehouse acted by itself.
func (s *Store) SignInIdentity(ctx context.Context, by *Actor, id Identity, rules IdentityRules) (userID uint32, err error) {
	if err := id.check(); err != nil {
		return 0, err
	}
	self := System()
	self.Address, self.Agent, self.RequestID, self.Via = by.Address, by.Agent, by.RequestID, "oidc "+id.Issuer
	var none *noEntry
	err = s.update(ctx, self, func(tx *auditedTx) error {
		var u User
		var err error
		if u, none, err = s.personOf(ctx, tx, &id, rules); err != nil {
			return err
		}
		if none != nil {
			tx.actor = by
			return tx.record(ctx, Entry{Action: "session.sign_in", Outcome: Denied, TargetKind: "user", TargetName: id.Email, Detail: "by oidc: " + none.why})
		}
		if userID = u.ID; u.State() != UserActive {
			return nil
		}
		return s.followClaims(ctx, tx, &u, &id, rules)
	})
	if err != nil {
		return 0, fail(err, "sign in with an identity provider")
	}
	if none != nil {
		return 0, none.answer
	}
	return userID, nil
}

// check refuses an identity that could not be kept as it is.
func (id *Identity) check() error {
	if id.Issuer == "" || id.Subject == "" || clip(id.Issuer, maxIssuer) != id.Issuer || clip(id.Subject, maxSubject) != id.Subject {
		return event.Errorf(event.CodeUnauthorized, "the identity provider names you in a way that cannot be kept")
	}
	return nil
}

// noEntry is that an identity has no account: what the person is told, and why, for the audit trail.
type noEntry struct {
	answer error
	why    string
}

// personOf finds or makes the account of an identity.
func (s *Store) personOf(ctx context.Context, tx *auditedTx, id *Identity, rules IdentityRules) (u User, none *noEntry, err error) {
	userID, err := holderOf(ctx, tx, id)
	if err != nil {
		return User{}, nil, err
	}
	if userID != 0 {
		u, err = s.user(ctx, tx, userID)
		return u, nil, err
	}
	_, emailKey, badEmail := cleanEmail(id.Email)
	if badEmail != nil || !id.EmailVerified {
		return User{}, &noEntry{ErrNoAccount, "unknown there until now, and the provider names no verified e-mail"}, nil
	}
	err = tx.QueryRow(ctx, userOfEmail, emailKey).Scan(&userID)
	switch {
	case err == nil:
		none, err = s.whyNotLinked(ctx, tx, userID)
		return User{}, none, err
	case !errors.Is(err, sql.ErrNoRows):
		return User{}, nil, err
	}
	role, _, matched := rules.apply(id)
	switch {
	case !rules.SignUp:
		return User{}, &noEntry{ErrNoAccount, "there is no account, and none is made ([oidc] allow_sign_up)"}, nil
	case !matched:
		return User{}, &noEntry{ErrNoAccount, "there is no account, and the mappings give no role"}, nil
	}
	u, err = s.signUp(ctx, tx, id, role)
	return u, nil, err
}

// holderOf is whose an identity is, 0 for nobody's.
func holderOf(ctx context.Context, tx *auditedTx, id *Identity) (userID uint32, err error) {
	var issuer, subject string
	err = tx.QueryRow(ctx, selectIdentity, id.hash()).Scan(&userID, &issuer, &subject)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil
	case err == nil && (issuer != id.Issuer || subject != id.Subject):
		return 0, errors.New("BUG: two identities with one hash")
	}
	return userID, err
}

// whyNotLinked says to somebody with a verified e-mail what becomes of the account that has it. One to which they could not sign in anyway is answered as if
// there were none.
func (s *Store) whyNotLinked(ctx context.Context, tx *auditedTx, userID uint32) (*noEntry, error) {
	u, err := s.user(ctx, tx, userID)
	if err != nil {
		return nil, err
	}
	var linked int
	if err := tx.QueryRow(ctx, countIdentities, userID).Scan(&linked); err != nil {
		return nil, err
	}
	switch {
	case linked > 0:
		return &noEntry{ErrNoAccount, "the account with this e-mail is another identity's"}, nil
	case u.State() != UserActive:
		return &noEntry{ErrNoAccount, "the account with this e-mail is " + string(u.State())}, nil
	}
	return &noEntry{ErrLinkFirst, "the account with this e-mail is not linked: its owner does that"}, nil
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
