package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gatehouse/authsvc/token"
	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// PersonalToken is a personal access token as its owner sees it: everything but the token.
type PersonalToken struct {
	ID       uint32
	Name     string
	Prefix   string
	Scopes   Scopes
	Created  time.Time
	Expires  time.Time
	LastUsed time.Time // zero: never; to within a minute
	Address  string    // from where it was last used
}

// personalRecord is a token as the audit trail shows it.
type personalRecord struct {
	Name    string    `json:"name"`
	Prefix  string    `json:"prefix"`
	Scopes  Scopes    `json:"scopes"`
	Expires time.Time `json:"expires"`
}

// NewPersonalToken is what a person chooses for a token.
type NewPersonalToken struct {
	Name    string
	Scopes  Scopes    // at most the person's own
	Expires time.Time // required
}

// maxPersonalTokens is how many tokens that count a person may have.
const maxPersonalTokens = 50

// noteTokenUse is how often the use of a token is written: once a request would be a write per report.
const noteTokenUse = time.Minute

const (
	insertPersonal = `INSERT INTO personal_tokens (user_id, name, token_prefix, token_hash, scopes, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)`
	listPersonal   = `SELECT id, name, token_prefix, scopes, created_at, expires_at, last_used_at, last_used_ip FROM personal_tokens
    WHERE user_id = ? AND revoked_at IS NULL ORDER BY id`
	countPersonal  = `SELECT COUNT(*) FROM personal_tokens WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ?`
	selectPersonal = `SELECT name, token_prefix, scopes, expires_at FROM personal_tokens WHERE user_id = ? AND id = ? AND revoked_at IS NULL`
	revokePersonal = `UPDATE personal_tokens SET revoked_at = ? WHERE user_id = ? AND id = ? AND revoked_at IS NULL`
	findPersonal   = `SELECT id, user_id, scopes, expires_at, last_used_at FROM personal_tokens WHERE token_hash = ? AND revoked_at IS NULL`
	notePersonal   = `UPDATE personal_tokens SET last_used_at = ?, last_used_ip = ? WHERE id = ?`
)

// CreatePersonalToken makes a token for the actor. The token in the result is the only copy there will ever be.
func (s *Store) CreatePersonalToken(ctx context.Context, actor *Actor, n NewPersonalToken) (PersonalToken, string, error) {
	if err := actor.personalTokens(); err != nil {
		return PersonalToken{}, "", err
	}
	name, _, err := cleanName("name", n.Name)
	if err != nil {
		return PersonalToken{}, "", err
	}
	if n.Scopes == 0 || !actor.Scopes.Has(n.Scopes) {
		return PersonalToken{}, "", event.FieldError("scopes", "must be at least one of %s", actor.Scopes)
	}
	settings, err := s.GetSettings(ctx)
	if err != nil {
		return PersonalToken{}, "", err
	}
	now := s.now()
	if !n.Expires.After(now) || n.Expires.After(now.AddDate(0, 0, settings.TokenMaxDays)) {
		return PersonalToken{}, "", event.FieldError("expires", "must lie in the next %d days", settings.TokenMaxDays)
	}
	secret, err := token.Personal.New(s.rand)
	if err != nil {
		return PersonalToken{}, "", fail(err, "make a token")
	}
	t := PersonalToken{Name: name, Prefix: token.Personal.Prefix(secret), Scopes: n.Scopes, Created: now.Truncate(time.Millisecond).UTC(), Expires: n.Expires.UTC()}
	// A reset at this moment ends all tokens: none may come after it by the right of before.
	err = s.changePeople(ctx, actor, func(tx *auditedTx) error {
		// Somebody for whom an identity provider vouches may lack here what a token needs: none is made that would be refused.
		by := &Actor{Kind: ActorPerson, ID: actor.ID, Members: map[uint32]Role{}}
		if _, err := s.loadActor(ctx, tx, by, Claim{personal: true}); err != nil {
			return err
		}
		if by.Stage != StageDone {
			return by.stageError()
		}
		var have int
		if err := tx.QueryRow(ctx, countPersonal, actor.ID, millis(now)).Scan(&have); err != nil {
			return err
		}
		if have >= maxPersonalTokens {
			return event.Errorf(event.CodeConflict, "you have %d tokens: revoke one first", have)
		}
		id, err := tx.Insert(ctx, insertPersonal, actor.ID, name, t.Prefix, token.HashText(secret), n.Scopes.String(), millis(now), millis(n.Expires))
		if err != nil {
			return err
		}
		t.ID = uint32(id) //nolint:gosec // ids are INTEGER columns that count up from 1
		e := actor.ownEntry("token.create", numbered(t.ID, name))
		e.After = personalRecord{name, t.Prefix, n.Scopes, t.Expires}
		return tx.record(ctx, e)
	})
	if err != nil {
		return PersonalToken{}, "", fail(err, "make a token")
	}
	return t, secret, nil
}

// personalTokens asks whether the actor may make and revoke tokens: a person who is signed in, not one of their tokens, which could otherwise
// outlive itself.
func (a *Actor) personalTokens() error {
	if a.Kind != ActorPerson && a.Stage == StageDone {
		return event.Errorf(event.CodeForbidden, "personal tokens belong to people: neither keys nor commands have any")
	}
	if a.token {
		return event.Errorf(event.CodeForbidden, "tokens are made and revoked by people who are signed in, not with a personal token")
	}
	return a.Require(PermOwnAccount, 0)
}

// PersonalTokens lists the actor's tokens that were not revoked, by id.
func (s *Store) PersonalTokens(ctx context.Context, actor *Actor) (list []PersonalToken, err error) {
	if err := actor.Require(PermOwnAccount, 0); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, listPersonal, actor.ID)
	if err != nil {
		return nil, fail(err, "list tokens")
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var t PersonalToken
		var scopes string
		var created, expires int64
		var used *int64
		var ip sql.NullString
		if err := rows.Scan(&t.ID, &t.Name, &t.Prefix, &scopes, &created, &expires, &used, &ip); err != nil {
			return nil, fail(err, "list tokens")
		}
		t.Scopes, t.Address = storedScopes(scopes), ip.String
		t.Created, t.Expires, t.LastUsed = time.UnixMilli(created).UTC(), time.UnixMilli(expires).UTC(), optionalTime(used)
		list = append(list, t)
	}
	return list, fail(rows.Err(), "list tokens")
}

// RevokePersonalToken ends a token of the actor at once. One that is not theirs, or was revoked, is CodeNotFound.
func (s *Store) RevokePersonalToken(ctx context.Context, actor *Actor, tokenID uint32) error {
	if err := actor.personalTokens(); err != nil {
		return err
	}
	return fail(s.update(ctx, actor, func(tx *auditedTx) error {
		var was personalRecord
		var scopes string
		var expires int64
		err := tx.QueryRow(ctx, selectPersonal, actor.ID, tokenID).Scan(&was.Name, &was.Prefix, &scopes, &expires)
		if errors.Is(err, sql.ErrNoRows) {
			return event.Errorf(event.CodeNotFound, "you have no token with id %d", tokenID)
		}
		if err != nil {
			return err
		}
		was.Scopes, was.Expires = storedScopes(scopes), time.UnixMilli(expires).UTC()
		if _, err := tx.Exec(ctx, revokePersonal, millis(tx.now), actor.ID, tokenID); err != nil {
			return err
		}
		e := actor.ownEntry("token.revoke", numbered(tokenID, was.Name))
		e.Before = was
		return tx.record(ctx, e)
	}), "revoke a token")
}

// PersonalActor gives the person of a personal token, limited to its scopes, and notes its use. Whatever is wrong with it, or with the
// person, is ErrToken. Somebody who has something left to do first, such as to set up a second factor that is required by now, is told that: a
// token is no way to do it.
func (s *Store) PersonalActor(ctx context.Context, secret string, claim Claim) (*Actor, error) {
	if !token.Personal.WellFormed(secret) {
		return nil, ErrToken
	}
	var id, userID uint32
	var scopes string
	var expires int64
	var used *int64
	err := s.db.QueryRow(ctx, findPersonal, token.HashText(secret)).Scan(&id, &userID, &scopes, &expires, &used)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrToken
	}
	if err != nil {
		return nil, fail(err, "check a token")
	}
	now := s.now()
	if expires <= millis(now) {
		return nil, ErrToken
	}
	claim.Epoch, claim.personal, claim.Scopes, claim.Via = 0, true, storedScopes(scopes), "token "+token.Personal.Prefix(secret)
	actor, err := s.ActorFor(ctx, userID, claim)
	if event.ErrorCode(err) == event.CodeUnauthorized {
		return nil, ErrToken
	}
	if err != nil {
		return nil, err
	}
	if actor.Stage != StageDone {
		return nil, actor.stageError()
	}
	if used == nil || millis(now)-*used >= noteTokenUse.Milliseconds() {
		err = s.db.Update(ctx, func(tx *reldb.Tx) error {
			_, err := tx.Exec(ctx, notePersonal, millis(now), addressText(claim.Address), id)
			return err
		})
	}
	return actor, fail(err, "note the use of a token")
}
