package authsvc

import (
	"context"
	"errors"
	"net/netip"

	"gatehouse/event"
)

// Claim is what a request by a person came with, besides who they are: what its session or token says.
type Claim struct {
	Epoch        int64 // the epoch in which the session or token was made; 0: it has none, being looked up each time
	SecondFactor bool  // the second factor was given, or who vouches for the person is believed to have asked for one
	Vouched      bool  // another vouches for the person, so that a password of ours that must be changed is not asked about
	// VouchedFactor: who vouches for the person is believed to have asked for a second factor. That alone stands for one that is required and not
	// set up here; one that was given here and is gone since does not.
	VouchedFactor bool
	Scopes        Scopes
	Address       netip.Addr
	Agent         string
	RequestID     string
	Via           string // which session or token, by a name that is no secret

	personal bool // a personal token, which stands for whatever second factor its person has at this moment, and for none where they have none
}

// One statement, since every request waits for it: a row for the person, then one for each membership, with company 0 for the former.
const selectActor = `SELECT u.username, u.role, u.epoch, u.must_change_password, u.mfa_policy,
    CASE WHEN u.disabled_at IS NULL AND u.approved_at IS NOT NULL THEN 1 ELSE 0 END,
    CASE WHEN u.totp_secret IS NULL THEN 0 ELSE 1 END, (SELECT COUNT(*) FROM webauthn_credentials w WHERE w.user_id = u.id),
    (SELECT s.value FROM settings s WHERE s.name = '` + settingMFARequired + `'), 0
FROM users u WHERE u.id = ?
UNION ALL SELECT '', m.role, 0, 0, '', 0, 0, 0, '', m.company_id FROM memberships m WHERE m.user_id = ?`

// ActorFor makes the actor of a request by a person who has proved who they are, as the database says at this moment. A person who is
// gone, disabled or not yet approved, and a session or token of an earlier epoch, are CodeUnauthorized, all with the same text. The
// stage of the actor says what they have yet to do before anything else.
func (s *Store) ActorFor(ctx context.Context, userID uint32, claim Claim) (*Actor, error) {
	a := &Actor{
		Kind: ActorPerson, ID: userID, Scopes: claim.Scopes, Members: map[uint32]Role{},
		Address: claim.Address, Agent: claim.Agent, RequestID: claim.RequestID, Via: claim.Via, token: claim.personal,
	}
	active, err := s.loadActor(ctx, s.db, a, claim)
	if err != nil {
		return nil, fail(err, "read who is asking")
	}
	if !active || claim.Epoch != 0 && claim.Epoch != a.Epoch {
		return nil, signInFirst()
	}
	return a, nil
}

// loadActor fills in what the database says of a.ID, and tells whether that person may sign in at all.
func (s *Store) loadActor(ctx context.Context, q querier, a *Actor, claim Claim) (active bool, err error) {
	rows, err := q.Query(ctx, selectActor, a.ID, a.ID)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name string
		var role Role
		var epoch int64
		var mustChange, isActive, totp bool
		var policy MFAPolicy
		var passkeys int
		var setting *string
		var company uint32
		if err := rows.Scan(&name, &role, &epoch, &mustChange, &policy, &isActive, &totp, &passkeys, &setting, &company); err != nil {
			return false, err
		}
		if company != 0 {
			a.Members[company] = role
			continue
		}
		a.Name, a.Role, a.Epoch, active = name, role, epoch, isActive
		hasFactor := totp || passkeys > 0
		a.Stage = stageOf(mustChange && !claim.Vouched, hasFactor, mfaRequired(policy, setting), claim.SecondFactor || claim.personal, claim.VouchedFactor)
	}
	return active, rows.Err()
}

// mfaRequired tells whether a person must have a second factor; setting is as it is stored, nil for its default.
func mfaRequired(policy MFAPolicy, setting *string) bool {
	if policy == MFAInherit {
		return setting != nil && *setting == settingTrue
	}
	return policy != MFANotRequired
}

// stageOf is the first step that is missing. Who has a second factor gives it before all else, so that a password alone changes nothing. given: one was
// given, here or elsewhere; vouched: an identity provider has asked for one.
func stageOf(mustChange, hasFactor, required, given, vouched bool) Stage {
	switch {
	case hasFactor && !given:
		return StageSecondFactor
	case mustChange:
		return StageChangePassword
	case required && !hasFactor && !vouched:
		return StageSetUpFactor
	}
	return StageDone
}

func signInFirst() error { return event.Errorf(event.CodeUnauthorized, "sign in first") }
