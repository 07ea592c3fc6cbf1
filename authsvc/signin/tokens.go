package signin

import (
	"context"
	"errors"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/token"
	"gatehouse/event"
)

// TokenRequest is a try of a program to sign a person in.
type TokenRequest struct {
	Request
	Code   string         // the second factor, where the person has one
	Scopes authsvc.Scopes // what the tokens are to be limited to, 0 for all that a person may do
}

// TokenPair is what a program gets: a token for requests, and one for the next pair.
type TokenPair struct {
	Access  string
	Refresh string
	Expires time.Time // of Access
	Scopes  authsvc.Scopes
	Limit   limit.Result
}

// ErrCodeNeeded is the answer to a right password without a code, of somebody who has a second factor.
var ErrCodeNeeded = &event.Error{Code: event.CodeUnauthorized, Field: "code", Message: "send the code of your authenticator app, or a recovery code, too"}

// Tokens signs programs in for people, and tells whom a token stands for. It is safe for concurrent use.
type Tokens struct {
	service *Service
	signer  *token.Signer
}

// NewTokens makes Tokens over a Service.
func NewTokens(s *Service) (*Tokens, error) {
	signer, err := token.NewSigner(s.now, s.sealer.Keys(authsvc.PurposeAccessToken)...)
	if err != nil {
		return nil, err
	}
	return &Tokens{s, signer}, nil
}

// Issue signs a person in by password, and code where they have a second factor. Somebody who has something left to do first, such as to choose a new
// password, is CodeForbidden: that is done with a browser. The errors are those of Authenticate, ErrCodeNeeded and ErrWrongFactor.
func (t *Tokens) Issue(ctx context.Context, req TokenRequest) (TokenPair, error) {
	s := t.service
	if _, err := s.guard.Check(ctx, limitTokens, limit.Network(req.Address), s.tokens); err != nil {
		s.noteAddressLimit(ctx, req.Client, limitTokens)
		return TokenPair{}, err
	}
	result, err := s.authenticate(ctx, req.Request, forProgram)
	if err != nil {
		return TokenPair{}, err
	}
	second := false
	if result.Stage == authsvc.StageSecondFactor {
		if req.Code == "" {
			return TokenPair{}, limit.Counted(ErrCodeNeeded, result.Limit)
		}
		if _, _, result.Limit, err = s.secondFactor(ctx, result.UserID, result.Epoch, Proof{Code: req.Code}, req.Client, req.Client, forProgram); err != nil {
			return TokenPair{}, err
		}
		second = true
	}
	scopes := req.Scopes
	if scopes == 0 {
		scopes = authsvc.AllScopes
	}
	claim := authsvc.Claim{Epoch: result.Epoch, SecondFactor: second, Scopes: scopes, Address: req.Address, Agent: req.Agent, RequestID: req.RequestID}
	actor, err := s.store.ActorFor(ctx, result.UserID, claim)
	if err != nil {
		return TokenPair{}, err
	}
	if actor.Stage != authsvc.StageDone {
		return TokenPair{}, actor.Require(authsvc.PermOwnAccount, 0)
	}
	family, refresh, err := s.store.StartFamily(ctx, actor, authsvc.Family{UserID: actor.ID, Epoch: result.Epoch, Scopes: scopes, SecondFactor: second})
	if err != nil {
		return TokenPair{}, err
	}
	pair, err := t.pair(family, refresh)
	pair.Limit = result.Limit
	return pair, err
}

func (t *Tokens) pair(f authsvc.Family, refresh string) (TokenPair, error) {
	access, expires, err := t.signer.Sign(token.Access{UserID: f.UserID, Epoch: f.Epoch, Family: f.ID, Scopes: f.Scopes.String(), SecondFactor: f.SecondFactor})
	if err != nil {
		return TokenPair{}, event.Wrap(event.CodeInternal, err, "sign an access token")
	}
	return TokenPair{Access: access, Refresh: refresh, Expires: expires, Scopes: f.Scopes}, nil
}

// limitTokens is the kind of limit of requests for tokens by one address.
const limitTokens = "tokens"

// Refresh exchanges a refresh token for a new pair; see authsvc.Store.UseRefresh. The errors are authsvc.ErrToken and *limit.Exceeded.
func (t *Tokens) Refresh(ctx context.Context, refresh string, client Client) (TokenPair, error) {
	s := t.service
	limited, err := s.guard.Check(ctx, limitTokens, limit.Network(client.Address), s.tokens)
	if err != nil {
		return TokenPair{}, err
	}
	family, next, err := s.store.UseRefresh(ctx, nobody(client, ""), refresh)
	if err != nil {
		return TokenPair{}, limit.Counted(err, limited)
	}
	pair, err := t.pair(family, next)
	pair.Limit = limited
	return pair, err
}

// Actor gives the person of an access token or a personal token, as the database says at this moment, limited to the token's scopes. Every
// token that does not count (any more) is authsvc.ErrToken.
func (t *Tokens) Actor(ctx context.Context, text string, claim authsvc.Claim) (*authsvc.Actor, error) {
	s := t.service
	if token.Personal.WellFormed(text) {
		return s.store.PersonalActor(ctx, text, claim)
	}
	access, err := t.signer.Verify(text)
	if err != nil {
		return nil, authsvc.ErrToken
	}
	alive, err := s.store.FamilyLives(ctx, access.UserID, access.Family)
	if err != nil {
		return nil, err
	}
	scopes, err := authsvc.ParseScopes(access.Scopes)
	if !alive || err != nil {
		return nil, authsvc.ErrToken
	}
	claim.Epoch, claim.SecondFactor, claim.Scopes, claim.Via = access.Epoch, access.SecondFactor, scopes, authsvc.FamilyVia(access.Family)
	actor, err := s.store.ActorFor(ctx, access.UserID, claim)
	if event.ErrorCode(err) == event.CodeUnauthorized {
		return nil, authsvc.ErrToken
	}
	return actor, err
}

// End ends the sign-in that an access token came from.
func (t *Tokens) End(ctx context.Context, actor *authsvc.Actor, accessToken string) error {
	access, err := t.signer.Verify(accessToken)
	if err != nil {
		return errors.Join(authsvc.ErrToken, err)
	}
	return t.service.store.EndFamily(ctx, actor, access.Family)
}
