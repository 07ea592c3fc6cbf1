package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/password"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema"
)

const (
	good   = "rather-long-and-odd-7"
	better = "quite-another-thing-8"
	cost   = password.MinCost
)

var operator = authsvc.Local("test")

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// factor accepts one code once, and answers challenges with their own state.
type factor struct {
	mu   sync.Mutex
	code string
}

func (f *factor) Challenge(context.Context, uint32) (json.RawMessage, []byte, error) {
	return json.RawMessage(`{"publicKey":{}}`), []byte("state"), nil
}

func (f *factor) Verify(_ context.Context, actor *authsvc.Actor, userID uint32, p signin.Proof) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case actor.ID != userID || actor.Stage != authsvc.StageSecondFactor && actor.Stage != authsvc.StageDone:
		return "", errors.New("BUG: another actor")
	case p.Code != "" && p.Code == f.code:
		f.code = ""
		return websession.MethodTOTP, nil
	case string(p.Assertion) == `"signed state"` && string(p.Challenge) == "state":
		return websession.MethodPasskey, nil
	}
	return "", signin.ErrWrongFactor
}

// server is one process; several may share a database.
type server struct {
	sealer *authsvc.Sealer
	*signin.Service
	store  *authsvc.Store
	clk    *clock
	work   *atomic.Int64 // units of bcrypt, 2^cost each
	factor *factor
}

type options struct {
	rate   limit.Rate
	tokens limit.Rate
}

func start(t testing.TB, databaseURL string, clk *clock, o options, more ...authsvc.Option) *server {
	t.Helper()
	ctx := context.Background()
	s := &server{clk: clk, work: &atomic.Int64{}, factor: &factor{}}
	hasher, err := password.New(cost, password.WithWork(func(c int) { s.work.Add(1 << c) }), password.WithTurns(8, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if s.store, err = authsvc.Open(ctx, databaseURL, append([]authsvc.Option{authsvc.WithClock(clk.now), authsvc.WithPasswords(hasher)}, more...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if _, _, err := schema.NewRelational(s.store.DB()).Up(ctx); err != nil {
		t.Fatal(err)
	}
	sealer, err := authsvc.NewSealer(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	s.sealer = sealer
	log := slog.New(slog.DiscardHandler)
	s.Service = signin.New(signin.Config{
		Store: s.store, Factor: s.factor, Sealer: sealer, Settings: s.store.GetSettings, Log: log, Now: clk.now, Limit: o.rate, Tokens: o.tokens,
		Guard:    limit.NewGuard(limit.NewMemory(clk.now), sealer.Key(authsvc.PurposeLimit), log),
		Sessions: websession.NewManager(s.store, sealer, func() (time.Duration, time.Duration) { return time.Hour, 12 * time.Hour }, websession.WithClock(clk.now)),
	})
	return s
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// each runs fn over every database; with -short over the quickest alone, as the race detector has nothing to find in the others.
func each(t *testing.T, fn func(t *testing.T, databaseURL string)) {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		fn(t, reldbtest.New(t, reldb.SQLite))
		return
	}
	reldbtest.Each(t, fn)
}

// user makes an account. Each change is applied to what is asked for.
func (s *server) user(t testing.TB, name string, change ...func(*authsvc.NewUser)) authsvc.User {
	t.Helper()
	n := authsvc.NewUser{Username: name, Email: name + "@example.com", Password: good, KeepPassword: true}
	for _, c := range change {
		c(&n)
	}
	u, _, err := s.store.CreateUser(context.Background(), operator, n)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// exec changes the database behind the store's back.
func (s *server) exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	if _, err := s.store.DB().Writer().ExecContext(context.Background(), s.store.DB().Dialect().Rebind(statement), args...); err != nil {
		t.Fatal(err)
	}
}

func (s *server) session(t testing.TB) *websession.Session {
	t.Helper()
	session, err := s.Sessions().New(client.Address, client.Agent)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

var client = signin.Client{Address: netip.MustParseAddr("192.0.2.1"), Agent: "Browser/1.0", RequestID: "r1"}

func try(login, pass string) signin.Request {
	return signin.Request{Login: login, Password: pass, Client: client}
}

func from(device string, r signin.Request) signin.Request {
	r.Device = device
	return r
}

func (s *server) mustSignIn(t testing.TB, login, pass string) (*websession.Session, signin.Result) {
	t.Helper()
	session := s.session(t)
	r, err := s.SignIn(context.Background(), session, try(login, pass))
	if err != nil {
		t.Fatal(err)
	}
	return session, r
}

// actor is what a request with the session would be.
func (s *server) actor(t testing.TB, session *websession.Session) *authsvc.Actor {
	t.Helper()
	got, err := s.Sessions().Get(context.Background(), session.ID(), client.Address)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.store.ActorFor(context.Background(), got.UserID, authsvc.Claim{
		Epoch: got.Epoch, SecondFactor: got.SecondFactor(), Vouched: got.Vouched(), VouchedFactor: got.VouchedFactor(), Scopes: authsvc.AllScopes, Address: client.Address, Via: "session " + got.Ref(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// trail is the audit trail, oldest first, as "action outcome kind target: detail".
func (s *server) trail(t testing.TB) []string {
	t.Helper()
	rows, err := s.store.DB().Query(context.Background(), `SELECT action, outcome, actor_kind, target_name, detail FROM audit_log ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var p [5]string
		if err := rows.Scan(&p[0], &p[1], &p[2], &p[3], &p[4]); err != nil {
			t.Fatal(err)
		}
		list = append(list, p[0]+" "+p[1]+" "+p[2]+" "+p[3]+": "+p[4])
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func (s *server) lastEntry(t testing.TB) string {
	t.Helper()
	list := s.trail(t)
	return list[len(list)-1]
}
