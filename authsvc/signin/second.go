package signin

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// challengeTime is how long a passkey may take to answer.
const challengeTime = 5 * time.Minute

// Challenge asks the passkeys of a session's person to sign something: options for the browser. The session keeps the rest, and is saved.
func (s *Service) Challenge(ctx context.Context, session *websession.Session) (json.RawMessage, error) {
	if session.UserID == 0 {
		return nil, authsvc.ErrNoSession
	}
	options, state, err := s.factor.Challenge(ctx, session.UserID)
	if err != nil {
		return nil, err
	}
	session.Challenge, session.ChallengeUntil = state, s.now().Add(challengeTime).UnixMilli()
	return options, s.sessions.Save(ctx, session)
}

// errNoFactor is the answer to a second factor that nothing waits for.
var errNoFactor = event.Errorf(event.CodeConflict, "no second factor is being waited for: sign in first")

// SecondFactor ends a sign-in that waits for the second factor. When the proof is right, the session gets a new id and its full lifetime; the
// cookie, and the device's, have to be set. A wrong one is ErrWrongFactor, however often.
//
// A session whose person set up their first second factor elsewhere since waits for it too. It goes on for as long as it had: its password was
// given when it began, so it proves no more a short while ago than it did.
func (s *Service) SecondFactor(ctx context.Context, session *websession.Session, proof Proof, client Client) (Result, error) {
	pending := session.Pending
	if session.UserID == 0 || !pending && session.SecondFactor() {
		return Result{}, errNoFactor
	}
	c, method, limited, err := s.verifyFactor(ctx, session, proof, client)
	if err != nil {
		return Result{}, err
	}
	set, err := s.settings(ctx)
	if err != nil {
		return Result{}, err
	}
	if session.Vouched() {
		c.MustChange = false // as in SignInVouched
	}
	if pending {
		err = s.sessions.SignIn(ctx, session, c.UserID, c.Epoch, false, append(slices.Clone(session.Methods), method)...)
	} else {
		err = s.FactorSetUp(ctx, session, method)
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{UserID: c.UserID, Username: c.Username, DisplayName: c.DisplayName, Epoch: c.Epoch, Stage: c.Stage(true, set.MFARequired), Limit: limited}
	if result.Device, err = s.remember(client.Device, c.UserID); err != nil {
		return Result{}, event.Wrap(event.CodeInternal, err, "sign in")
	}
	return result, nil
}

func (s *Service) verifyFactor(ctx context.Context, session *websession.Session, proof Proof, client Client) (*authsvc.Credential, string, limit.Result, error) {
	if proof.Challenge = nil; s.now().UnixMilli() < session.ChallengeUntil {
		proof.Challenge = session.Challenge
	}
	// A challenge is answered once, right or wrong: it is taken out of the session before the answer is looked at.
	if session.Challenge != nil {
		session.Challenge, session.ChallengeUntil = nil, 0
		if err := s.sessions.Save(ctx, session); err != nil {
			return nil, "", limit.Result{}, err
		}
	}
	// A wrong one came with the session as it is, a right one begins the next.
	tried := client
	tried.via = "session " + session.Ref()
	if err := s.announce(session, &client); err != nil {
		return nil, "", limit.Result{}, err
	}
	return s.secondFactor(ctx, session.UserID, session.Epoch, proof, tried, client, forBrowser)
}

// secondFactor ends a sign-in that waits for it. epoch is the person's of when the password was right: what ended their sessions since has ended this
// sign-in too. tried is who a wrong proof is told of, begins who a right one is.
func (s *Service) secondFactor(ctx context.Context, userID uint32, epoch int64, proof Proof, tried, begins Client, program bool) (_ *authsvc.Credential, method string, limited limit.Result, err error) {
	limited, err = s.guard.Check(ctx, limitFactor, idText(userID), s.limit)
	if err != nil {
		if c, cerr := s.store.CredentialOfID(ctx, userID); cerr == nil {
			s.noteLimit(ctx, person(tried, &c, authsvc.StageSecondFactor), limitFactor, idText(userID), c.Entry(""))
		}
		return nil, "", limited, err
	}
	defer func() { err = limit.Counted(err, limited) }()
	c, err := s.store.CredentialOfID(ctx, userID)
	if err != nil || c.Disabled || c.Waiting || c.Epoch != epoch {
		if err != nil && event.ErrorCode(err) != event.CodeNotFound {
			return nil, "", limited, err
		}
		return nil, "", limited, authsvc.ErrNoSession
	}
	if !c.SecondFactor() {
		return nil, "", limited, errNoFactor
	}
	use := factorUse{person(begins, &c, authsvc.StageSecondFactor), "session.sign_in", "session.sign_in", !program}
	if program {
		use.right = "session.factor"
	}
	method, err = s.checkFactor(ctx, person(tried, &c, authsvc.StageSecondFactor), &c, proof, use)
	if err != nil {
		return nil, "", limited, err
	}
	return &c, method, limited, nil
}

// factorUse is what a second factor is given for.
type factorUse struct {
	person       *authsvc.Actor // who gives a right one, in the audit trail
	right, wrong string         // the acts there
	signIn       bool           // it ends a sign-in
}

// checkFactor tells by which method a proof of the actor is right, and writes down how it ended. A wrong one, and any during a pause, is ErrWrongFactor.
func (s *Service) checkFactor(ctx context.Context, actor *authsvc.Actor, c *authsvc.Credential, proof Proof, use factorUse) (method string, err error) {
	set, err := s.settings(ctx)
	if err != nil {
		return "", err
	}
	subject := authsvc.FactorSubject(c.UserID)
	// Asked before the proof is looked at: a right recovery code would be used up for nothing.
	until, err := s.store.LockedUntil(ctx, subject)
	if err != nil {
		return "", err
	}
	wrong := error(ErrWrongFactor)
	if until.IsZero() {
		method, wrong = s.factor.Verify(ctx, actor, c.UserID, proof)
		if wrong != nil && !errors.Is(wrong, ErrWrongFactor) {
			return "", wrong
		}
	}
	success, failure := c.Entry(use.right), c.Entry(use.wrong)
	success.Detail, failure.Detail = "second factor: "+method, "wrong second factor"
	ok, err := s.store.EndAttempt(ctx, actor, authsvc.Attempt{
		Subject: subject, Lockout: lockout(set), Right: wrong == nil, Person: use.person, SignedIn: use.signIn, Success: success, Failure: failure,
	})
	if err == nil && !ok {
		err = ErrWrongFactor
	}
	return method, err
}

// FactorSetUp says that the person of a session has just set up a second factor and shown that it works, which counts as having given it. The session gets
// a new id and keeps its lifetime, and its cookie has to be set.
func (s *Service) FactorSetUp(ctx context.Context, session *websession.Session, method string) error {
	if session.UserID == 0 || session.Pending {
		return authsvc.ErrNoSession
	}
	if !slices.Contains(session.Methods, method) {
		session.Methods = append(slices.Clone(session.Methods), method)
	}
	return s.sessions.Rotate(ctx, session)
}
