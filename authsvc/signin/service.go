package signin

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/password"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

// Config is what a Service is made of. All of it is needed, but for Provider, Rules, Now and Random.
type Config struct {
	Store    *authsvc.Store // with its password hasher
	Sessions *websession.Manager
	Guard    *limit.Guard
	Limit    limit.Rate // tries of one address, and for one account
	Tokens   limit.Rate // requests for tokens of one address
	Factor   SecondFactor
	Sealer   *authsvc.Sealer
	Settings func(context.Context) (authsvc.Settings, error)
	Log      *slog.Logger

	Provider Provider              // nil: people sign in with passwords alone
	Rules    authsvc.IdentityRules // what the provider's claims give

	Now    func() time.Time // nil: the clock
	Random io.Reader        // nil: crypto/rand
}

// Service signs people in and out. It is safe for concurrent use.
type Service struct {
	store     *authsvc.Store
	sessions  *websession.Manager
	passwords *password.Hasher
	guard     *limit.Guard
	limit     limit.Rate
	tokens    limit.Rate
	factor    SecondFactor
	sealer    *authsvc.Sealer
	settings  func(context.Context) (authsvc.Settings, error)
	log       *slog.Logger
	provider  Provider
	rules     authsvc.IdentityRules
	now       func() time.Time
	rand      io.Reader
}

// New makes a Service.
func New(c Config) *Service {
	s := &Service{
		store: c.Store, sessions: c.Sessions, passwords: c.Store.Passwords(), guard: c.Guard, limit: c.Limit, tokens: c.Tokens, factor: c.Factor, sealer: c.Sealer,
		settings: c.Settings, log: c.Log, provider: c.Provider, rules: c.Rules, now: c.Now, rand: c.Random,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	return s
}

// Sessions is what keeps the sessions.
func (s *Service) Sessions() *websession.Manager { return s.sessions }

// Client is where a request came from.
type Client struct {
	Address   netip.Addr
	Agent     string // User-Agent, shortened
	RequestID string
	Device    string // value of the device cookie, empty for none

	via string // what a sign-in begins, for the audit trail: a session by its ref
}

// Request is a try to sign in.
type Request struct {
	Login    string // username or e-mail
	Password string
	Client
}

// Result is a try that was right so far.
type Result struct {
	UserID      uint32
	Username    string
	DisplayName string
	Epoch       int64
	Stage       authsvc.Stage // what comes next
	// Device is the new value of the device cookie (for DeviceLifetime; HttpOnly, Secure and SameSite as the session's), empty to leave it.
	Device string
	Limit  limit.Result // of the address, for the headers
}

// The kinds of limits.
const (
	limitAddress = "sign_in_address"
	limitAccount = "sign_in_account"
	limitFactor  = "second_factor"
	limitChange  = "password_change"
)

// ErrWrong is the one answer to every try that did not succeed: a wrong password, nobody of that name, an account that is disabled, waits for
// approval, pauses after failures or was tried too often, a temporary password that is too old. Which of them it was stands in the audit trail.
var ErrWrong = event.Errorf(event.CodeUnauthorized, "the name or the password is wrong; after several wrong tries further ones are refused for a while")

// lockout is the policy as the settings have it.
func lockout(set authsvc.Settings) authsvc.LockoutPolicy {
	p := authsvc.DefaultLockout()
	if set.LockoutFailures > 0 {
		p.Free = set.LockoutFailures
	}
	if set.LockoutLongest > 0 {
		p.Max = set.LockoutLongest
		p.First = min(p.First, p.Max)
	}
	return p
}

// Authenticate checks a name and a password, and nothing more: Result.Stage says what is missing. It makes no session; SignIn does.
//
// The errors are ErrWrong, *limit.Exceeded for too many tries of one address, and CodeUnavailable when the machine is too busy.
func (s *Service) Authenticate(ctx context.Context, req Request) (Result, error) {
	return s.authenticate(ctx, req, forBrowser)
}

// what a sign-in is for. Of a program, somebody else records that it has signed in: there is more to ask after password and code.
const (
	forBrowser = false
	forProgram = true
)

func (s *Service) authenticate(ctx context.Context, req Request, program bool) (Result, error) {
	limited, err := s.guard.Check(ctx, limitAddress, limit.Network(req.Address), s.limit)
	if err != nil {
		s.noteAddressLimit(ctx, req.Client, limitAddress)
		return Result{}, err
	}
	result, err := s.checkPassword(ctx, req, limited, program)
	return result, limit.Counted(err, limited)
}

func (s *Service) checkPassword(ctx context.Context, req Request, limited limit.Result, program bool) (Result, error) {
	key := authsvc.LoginKey(req.Login)
	set, err := s.settings(ctx)
	if err != nil {
		return Result{}, err
	}
	c, err := s.store.CredentialOf(ctx, key)
	if err != nil && event.ErrorCode(err) != event.CodeNotFound {
		return Result{}, err
	}
	// Nobody: c is empty, and everything below is done as for somebody.
	d := s.readDevice(req.Device)
	network := limit.Network(req.Address)
	account, subject := key, authsvc.AccountSubject(c.UserID)
	switch {
	case d.knows(c.UserID):
		// The owner's own browser counts by itself, so that others cannot use up its tries.
		account, subject = key+"\x00"+d.name(), authsvc.DeviceSubject(c.UserID, d.name())
	case c.LastAddress.IsValid() && limit.Network(c.LastAddress) == network:
		// So do their programs, and new browsers, at the place of the last sign-in.
		account, subject = key+"\x00network "+network, authsvc.NetworkSubject(c.UserID, c.Epoch, network)
	case c.UserID == 0:
		subject = authsvc.LoginSubject(s.sealer.MAC(authsvc.PurposeLimit, key))
	}
	// By the name as it was typed: were it by the person, trying a name and an e-mail would tell whether they are the same one's.
	_, refused := s.guard.Check(ctx, limitAccount, account, s.limit)
	if refused != nil {
		e := c.Entry("")
		if c.UserID == 0 {
			e.TargetName = authsvc.TriedName(s.sealer, req.Login)
		}
		s.noteLimit(ctx, nobody(req.Client, e.TargetName), limitAccount, account, e)
	}
	right, err := s.passwords.Verify(ctx, c.PasswordHash, req.Password)
	if err != nil {
		return Result{}, err
	}
	// Only somebody's name has a device and a network that count by themselves. Were a name that is used up elsewhere refused in other words or in no time, a try
	// from the right network would tell whether it is somebody's. So what this limit refuses is as wrong as a password can be, the right one too.
	if refused != nil {
		return Result{}, ErrWrong
	}
	return s.afterPassword(ctx, req, program, limited, set, &c, subject, right)
}

// afterPassword decides whether the password counts, and writes down how it ended.
func (s *Service) afterPassword(ctx context.Context, req Request, program bool, limited limit.Result, set authsvc.Settings, c *authsvc.Credential, subject authsvc.LockoutSubject, right bool) (Result, error) {
	stage := c.Stage(false, set.MFARequired)
	failure := c.Entry("session.sign_in")
	failure.Detail = s.whyNot(set, c, right)
	if c.UserID == 0 {
		failure.TargetName = authsvc.TriedName(s.sealer, req.Login)
	}
	success := c.Entry("session.sign_in")
	signedIn := stage != authsvc.StageSecondFactor && !program
	switch {
	case stage == authsvc.StageSecondFactor:
		success.Action, success.Detail = "session.password", "the password was right; the second factor is asked for"
	case program:
		success.Action, success.Detail = "session.password", "the password was right; a program asks for tokens"
	}
	ok, err := s.store.EndAttempt(ctx, nobody(req.Client, failure.TargetName), authsvc.Attempt{
		Subject: subject, Lockout: lockout(set), Right: failure.Detail == "", Person: person(req.Client, c, stage),
		SignedIn: signedIn, Success: success, Failure: failure,
	})
	if err != nil {
		return Result{}, err
	}
	if !ok {
		return Result{}, ErrWrong
	}
	s.rehash(ctx, c, req.Password)
	result := Result{UserID: c.UserID, Username: c.Username, DisplayName: c.DisplayName, Epoch: c.Epoch, Stage: stage, Limit: limited}
	if stage != authsvc.StageSecondFactor {
		if result.Device, err = s.remember(req.Device, c.UserID); err != nil {
			return Result{}, event.Wrap(event.CodeInternal, err, "sign in")
		}
	}
	return result, nil
}

// limitNoted is how often the trail tells that a limit refuses tries.
const limitNoted = time.Minute

// noteLimit records that a limit refuses tries to sign in: the first in a minute stands for all of them, or whoever tries could fill the trail. That it cannot
// be recorded changes nothing for who is refused.
func (s *Service) noteLimit(ctx context.Context, actor *authsvc.Actor, kind, value string, e authsvc.Entry) {
	if !s.guard.First(ctx, kind+"_noted", value, limitNoted) {
		return
	}
	e.Action, e.Outcome, e.Detail = "session.sign_in", authsvc.Denied, "refused by the limit "+kind+"; this stands for all such tries within a minute"
	if err := s.store.Record(ctx, actor, e); err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "a refused sign-in was not recorded", slog.Any("error", err))
	}
}

// noteAddressLimit is noteLimit for a limit of the client's address.
func (s *Service) noteAddressLimit(ctx context.Context, client Client, kind string) {
	network := limit.Network(client.Address)
	s.noteLimit(ctx, nobody(client, ""), kind, network, authsvc.Entry{TargetKind: "address", TargetName: network})
}

// whyNot is why a password does not count, for the audit trail; empty: it does.
func (s *Service) whyNot(set authsvc.Settings, c *authsvc.Credential, right bool) string {
	switch {
	case c.UserID == 0:
		return "nobody has this name"
	case !right:
		return "wrong password"
	case c.Disabled:
		return "the account is disabled"
	case c.Waiting:
		return "the account waits for approval"
	case c.MustChange && !c.PasswordChanged.IsZero() && set.TemporaryPasswordDays > 0 &&
		s.now().Sub(c.PasswordChanged) > time.Duration(set.TemporaryPasswordDays)*24*time.Hour:
		return "the temporary password is too old"
	}
	return ""
}

// rehash brings the stored hash to today's cost while the password is at hand. It is no reason to refuse a sign-in that was right.
func (s *Service) rehash(ctx context.Context, c *authsvc.Credential, plain string) {
	if !s.passwords.Stale(c.PasswordHash) {
		return
	}
	hash, err := s.passwords.Hash(ctx, plain)
	if err == nil {
		if err = s.store.Rehash(ctx, c.UserID, c.PasswordHash, hash); err == nil {
			c.PasswordHash = hash
		}
	}
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "a password's hash was not renewed", slog.Uint64("user", uint64(c.UserID)), slog.Any("error", err))
	}
}

// SignIn is Authenticate, after which the session is the person's, under a new id. Its cookie, and the device's, have to be set.
func (s *Service) SignIn(ctx context.Context, session *websession.Session, req Request) (Result, error) {
	if err := s.announce(session, &req.Client); err != nil {
		return Result{}, err
	}
	result, err := s.Authenticate(ctx, req)
	if err != nil {
		return Result{}, err
	}
	session.Agent, session.Address = req.Agent, req.Address
	if err := s.sessions.SignIn(ctx, session, result.UserID, result.Epoch, result.Stage == authsvc.StageSecondFactor, websession.MethodPassword); err != nil {
		return Result{}, err
	}
	return result, nil
}

// SignInVouched signs in somebody for whom the identity provider has vouched, by what id says of their sign-in there. That is one factor, unless the
// provider is believed to have asked for another. Who has a second factor here, or must have one, is asked for it else. A person who is gone, disabled or not yet approved
// is ErrWrong.
func (s *Service) SignInVouched(ctx context.Context, session *websession.Session, userID uint32, id *authsvc.Identity, client Client) (Result, error) {
	set, err := s.settings(ctx)
	if err != nil {
		return Result{}, err
	}
	c, err := s.store.CredentialOfID(ctx, userID)
	if err != nil {
		if event.ErrorCode(err) == event.CodeNotFound {
			return Result{}, ErrWrong
		}
		return Result{}, err
	}
	// Whoever vouches has seen to passwords: an old temporary one of ours does not matter, nor does changing it.
	c.MustChange = false
	failure, success := c.Entry("session.sign_in"), c.Entry("session.sign_in")
	failure.Detail, success.Detail = s.whyNot(set, &c, true), "by "+websession.MethodOIDC
	stage, methods := c.Stage(id.SecondFactor, set.MFARequired), []string{websession.MethodOIDC}
	if id.SecondFactor {
		methods, success.Detail = append(methods, websession.MethodOIDCMFA), success.Detail+", which asked for a second factor"
	}
	if failure.Detail != "" {
		failure.Outcome = authsvc.Denied
		if err := s.store.Record(ctx, nobody(client, c.Username), failure); err != nil {
			return Result{}, err
		}
		return Result{}, ErrWrong
	}
	if err := s.announce(session, &client); err != nil {
		return Result{}, err
	}
	actor, pending := person(client, &c, stage), stage == authsvc.StageSecondFactor
	if pending {
		success.Action, success.Detail = "session.provider", success.Detail+"; the second factor is asked for"
		err = s.store.Record(ctx, actor, success)
	} else {
		err = s.store.NoteSignIn(ctx, actor, success)
	}
	if err != nil {
		return Result{}, err
	}
	session.Agent, session.Address, session.Proved = client.Agent, client.Address, 0
	if !id.SignedIn.IsZero() {
		session.Proved = id.SignedIn.UnixMilli()
	}
	if err := s.sessions.SignIn(ctx, session, c.UserID, c.Epoch, pending, methods...); err != nil {
		return Result{}, err
	}
	result := Result{UserID: c.UserID, Username: c.Username, DisplayName: c.DisplayName, Epoch: c.Epoch, Stage: stage}
	if pending {
		return result, nil
	}
	if result.Device, err = s.remember(client.Device, c.UserID); err != nil {
		return Result{}, event.Wrap(event.CodeInternal, err, "sign in")
	}
	return result, nil
}

// announce has the entry of a sign-in name the session that it begins. The entry is there before the session is: none begins without one.
func (s *Service) announce(session *websession.Session, client *Client) error {
	ref, err := s.sessions.Announce(session)
	client.via = "session " + ref
	return err
}

func nobody(client Client, name string) *authsvc.Actor {
	return &authsvc.Actor{Kind: authsvc.ActorNobody, Name: name, Address: client.Address, Agent: client.Agent, RequestID: client.RequestID}
}

func person(client Client, c *authsvc.Credential, stage authsvc.Stage) *authsvc.Actor {
	return &authsvc.Actor{
		Kind: authsvc.ActorPerson, ID: c.UserID, Name: c.Username, Stage: stage, Scopes: authsvc.AllScopes,
		Address: client.Address, Agent: client.Agent, RequestID: client.RequestID, Via: client.via,
	}
}

// Purge removes sessions and counts of failures that are over. Once an hour is enough.
func (s *Service) Purge(ctx context.Context) error {
	set, err := s.settings(ctx)
	if err != nil {
		return err
	}
	_, sessions := s.sessions.Purge(ctx)
	_, lockouts := s.store.PurgeLockouts(ctx, lockout(set))
	return errors.Join(sessions, lockouts)
}

func idText(userID uint32) string { return strconv.FormatUint(uint64(userID), 10) }
