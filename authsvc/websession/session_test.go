package websession_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"gatehouse/authsvc"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
	"gatehouse/internal/redistest"
	"gatehouse/internal/reldb"
	"gatehouse/internal/reldb/reldbtest"
	"gatehouse/schema"
)

const (
	idle     = 30 * time.Minute
	absolute = 12 * time.Hour
)

var (
	operator = authsvc.Local("test")
	home     = netip.MustParseAddr("192.0.2.1")
	away     = netip.MustParseAddr("2001:db8::9")
)

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

// place is where sessions are kept in a test.
type place struct {
	clk   *clock
	store *authsvc.Store
	rows  websession.Rows
}

func (p *place) manager(t testing.TB, keys ...string) *websession.Manager {
	t.Helper()
	if len(keys) == 0 {
		keys = []string{strings.Repeat("k", 32)}
	}
	sealer, err := authsvc.NewSealer(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return websession.NewManager(p.rows, sealer, func() (time.Duration, time.Duration) { return idle, absolute }, websession.WithClock(p.clk.now))
}

func (p *place) user(t testing.TB, name string) authsvc.User {
	t.Helper()
	u, _, err := p.store.CreateUser(context.Background(), operator, authsvc.NewUser{
		Username: name, Email: name + "@example.com", Password: "rather-long-and-odd-7", KeepPassword: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// eachPlace runs the contract over every database and Redis.
func eachPlace(t *testing.T, fn func(t *testing.T, p *place)) {
	t.Helper()
	t.Parallel()
	open := func(t *testing.T, databaseURL string) *place {
		if _, _, err := schema.NewRelational(reldbtest.Open(t, databaseURL)).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := &place{clk: &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
		p.store = authsvc.New(reldbtest.Open(t, databaseURL), authsvc.WithPasswordCost(bcrypt.MinCost), authsvc.WithClock(p.clk.now))
		p.rows = p.store
		return p
	}
	reldbtest.Each(t, func(t *testing.T, databaseURL string) { fn(t, open(t, databaseURL)) })
	t.Run("redis", func(t *testing.T) {
		client, prefix := redistest.Open(t)
		p := open(t, reldbtest.New(t, reldb.SQLite))
		p.rows = websession.NewRedis(client, prefix, p.store, p.clk.now)
		fn(t, p)
	})
}

func mustNew(t *testing.T, m *websession.Manager) *websession.Session {
	t.Helper()
	s, err := m.New(home, "Browser/1.0")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signedIn(t *testing.T, m *websession.Manager, u authsvc.User) *websession.Session {
	t.Helper()
	s := mustNew(t, m)
	if err := m.SignIn(t.Context(), s, u.ID, u.Epoch, false, websession.MethodPassword); err != nil {
		t.Fatal(err)
	}
	return s
}

func gone(t *testing.T, m *websession.Manager, id, what string) {
	t.Helper()
	if _, err := m.Get(t.Context(), id, home); !errors.Is(err, authsvc.ErrNoSession) || event.ErrorCode(err) != event.CodeUnauthorized {
		t.Errorf("%s: %v, want no session", what, err)
	}
}

func there(t *testing.T, m *websession.Manager, id, what string) *websession.Session {
	t.Helper()
	s, err := m.Get(t.Context(), id, home)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return s
}

func TestLife(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		ctx, m := t.Context(), p.manager(t)
		alice, bob := p.user(t, "alice"), p.user(t, "bob")

		// A guest: nothing is stored before it is saved.
		s := mustNew(t, m)
		gone(t, m, s.ID(), "not saved")
		s.Values = map[string]string{websession.NextPage: "/reports", "draft": "of a guest"}
		if err := m.Save(ctx, s); err != nil || !s.Stored() {
			t.Fatal(err)
		}
		guest := s.ID()
		if got := there(t, m, guest, "a guest's"); got.UserID != 0 || got.Values["draft"] != "of a guest" || string(got.CSRF) != string(s.CSRF) || got.Agent != "Browser/1.0" || got.Address != home {
			t.Errorf("read again: %+v", got)
		}

		// Fixation: the id from before the sign-in is worth nothing after it, and what the guest left is not the person's.
		csrf := string(s.CSRF)
		if err := m.SignIn(ctx, s, alice.ID, alice.Epoch, true, websession.MethodPassword); err != nil {
			t.Fatal(err)
		}
		gone(t, m, guest, "the id from before the sign-in")
		got := there(t, m, s.ID(), "after the sign-in")
		if got.UserID != alice.ID || !got.Pending || got.SecondFactor() || string(got.CSRF) == csrf || got.Values["draft"] != "" || got.Values[websession.NextPage] != "/reports" {
			t.Errorf("after the sign-in: %+v", got)
		}
		pending := got.ID()
		if err := m.SignIn(ctx, got, alice.ID, alice.Epoch, false, websession.MethodPassword, websession.MethodTOTP); err != nil {
			t.Fatal(err)
		}
		gone(t, m, pending, "the id from before the second factor")
		if now := there(t, m, got.ID(), "with both factors"); now.Pending || !now.SecondFactor() {
			t.Errorf("with both factors: %+v", now)
		}
		// A stale copy of a session that has moved on cannot bring it back.
		if err := m.Save(ctx, s); !errors.Is(err, authsvc.ErrNoSession) {
			t.Errorf("save of a session that was exchanged: %v", err)
		}
		gone(t, m, s.ID(), "brought back")

		// Lists and ends are the person's own.
		second, other := signedIn(t, m, alice), signedIn(t, m, bob)
		list, _, err := m.List(ctx, alice.ID, authsvc.Page{})
		if err != nil || len(list) != 2 || !slices.ContainsFunc(list, func(i websession.Info) bool {
			return i.Ref == got.Ref() && i.Agent == "Browser/1.0" && i.Address == "192.0.2.1"
		}) {
			t.Errorf("list: %+v, %v", list, err)
		}
		one, next, err := m.List(ctx, alice.ID, authsvc.Page{Limit: 1})
		if err != nil || len(one) != 1 || one[0] != list[0] || next == "" {
			t.Errorf("first page: %+v, %q, %v", one, next, err)
		}
		if one, next, err = m.List(ctx, alice.ID, authsvc.Page{Limit: 1, Cursor: next}); err != nil || len(one) != 1 || one[0] != list[1] || next != "" {
			t.Errorf("last page: %+v, %q, %v", one, next, err)
		}
		for _, i := range list {
			if strings.Contains(got.ID(), i.Ref) {
				t.Error("the list gives the id away")
			}
		}
		for _, ref := range []string{other.Ref(), "", "0", got.Hash(), strings.Repeat("0", 16)} {
			if err := m.EndByRef(ctx, alice.ID, ref, func() error { t.Error("something ends"); return nil }); event.ErrorCode(err) != event.CodeNotFound {
				t.Errorf("end of %q, which is not hers: %v", ref, err)
			}
		}
		if err := m.EndByRef(ctx, alice.ID, second.Ref(), func() error { return nil }); err != nil {
			t.Error(err)
		}
		gone(t, m, second.ID(), "ended by its ref")
		third := signedIn(t, m, alice)
		if err := m.EndAll(ctx, alice.ID, third); err != nil {
			t.Error(err)
		}
		gone(t, m, got.ID(), "ended with all others")
		there(t, m, third.ID(), "the one that was kept")
		there(t, m, other.ID(), "another person's")
		if err := m.EndAll(ctx, alice.ID, nil); err != nil {
			t.Error(err)
		}
		gone(t, m, third.ID(), "ended with all")
		if err := m.End(ctx, other); err != nil {
			t.Error(err)
		}
		gone(t, m, other.ID(), "signed out")
		if err := m.End(ctx, other); err != nil {
			t.Errorf("signed out twice: %v", err)
		}
		if err := m.Save(ctx, other); !errors.Is(err, authsvc.ErrNoSession) {
			t.Errorf("saved after the sign-out: %v", err)
		}
		if list, _, err := m.List(ctx, bob.ID, authsvc.Page{}); err != nil || len(list) != 0 {
			t.Errorf("after the sign-out: %+v, %v", list, err)
		}
	})
}

// TestEndsAtOnce: what changes a person's rights to sign in ends their sessions with it.
func TestEndsAtOnce(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		ctx, m := t.Context(), p.manager(t)
		for name, act := range map[string]func(authsvc.User) error{
			"disabled":       func(u authsvc.User) error { _, err := p.store.DisableUser(ctx, operator, u.ID); return err },
			"password reset": func(u authsvc.User) error { _, _, err := p.store.ResetPassword(ctx, operator, u.ID, ""); return err },
			"factors reset":  func(u authsvc.User) error { _, err := p.store.ResetMFA(ctx, operator, u.ID); return err },
			"signed out":     func(u authsvc.User) error { _, err := p.store.SignOutUser(ctx, operator, u.ID, false); return err },
			"everybody":      func(authsvc.User) error { return p.store.SignOutEverybody(ctx, operator, false) },
			"deleted":        func(u authsvc.User) error { return p.store.DeleteUser(ctx, operator, u.ID) },
			"another role": func(u authsvc.User) error {
				role := authsvc.RoleAdmin
				_, err := p.store.UpdateUser(ctx, operator, u.ID, authsvc.UserChange{Role: &role})
				return err
			},
			"more in a company": func(u authsvc.User) error {
				company, err := p.store.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: "Acme"})
				if err != nil {
					return err
				}
				_, err = p.store.SetMembership(ctx, operator, u.ID, authsvc.Grant{CompanyID: company.ID, Role: authsvc.RoleUser})
				return err
			},
			"off and on soon": func(u authsvc.User) error {
				_, err := p.store.DisableUser(ctx, operator, u.ID)
				_, err2 := p.store.EnableUser(ctx, operator, u.ID)
				return errors.Join(err, err2)
			},
		} {
			u := p.user(t, strings.ReplaceAll(name, " ", "-"))
			s := signedIn(t, m, u)
			there(t, m, s.ID(), name)
			if err := act(u); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			gone(t, m, s.ID(), name)
			if list, _, err := m.List(ctx, u.ID, authsvc.Page{}); err != nil || len(list) != 0 {
				t.Errorf("%s: the list shows %+v, %v", name, list, err)
			}
			// A sign-in that began before it, and ends after it, is too late.
			late := mustNew(t, m)
			if err := m.SignIn(ctx, late, u.ID, u.Epoch, false, websession.MethodPassword); err == nil {
				gone(t, m, late.ID(), name+", signed in with the old epoch")
			}
		}
	})
}

// TestRowsAreBound: who can write where sessions are kept gives none to another person, and makes none count again or longer.
func TestRowsAreBound(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		ctx, m := t.Context(), p.manager(t)
		alice, bob := p.user(t, "alice"), p.user(t, "bob")
		for what, change := range map[string]func(*authsvc.SessionRow){
			"another's":   func(r *authsvc.SessionRow) { r.UserID, r.Epoch = bob.ID, bob.Epoch },
			"made later":  func(r *authsvc.SessionRow) { r.Created = r.Created.Add(time.Minute) },
			"a guest's":   func(r *authsvc.SessionRow) { r.UserID, r.Epoch = 0, 0 },
			"not changed": func(*authsvc.SessionRow) {},
		} {
			s := signedIn(t, m, alice)
			row, err := p.rows.Session(ctx, s.Hash())
			if err != nil {
				t.Fatal(err)
			}
			change(&row)
			if err := p.rows.PutSession(ctx, row.IDHash, row); err != nil {
				t.Fatal(err)
			}
			if what == "not changed" {
				there(t, m, s.ID(), what)
				continue
			}
			gone(t, m, s.ID(), what)
		}
		s := signedIn(t, m, alice)
		row, err := p.rows.Session(ctx, s.Hash())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.store.SignOutUser(ctx, operator, alice.ID, false); err != nil {
			t.Fatal(err)
		}
		if row.Epoch, err = p.store.UserEpoch(ctx, alice.ID); err != nil {
			t.Fatal(err)
		}
		if err := p.rows.PutSession(ctx, row.IDHash, row); err != nil {
			t.Fatal(err)
		}
		gone(t, m, s.ID(), "brought to the epoch of now")
	})
}

func TestTimeouts(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		ctx, m := t.Context(), p.manager(t)
		u := p.user(t, "alice")
		idleOne := signedIn(t, m, u)
		p.clk.add(idle - time.Second)
		there(t, m, idleOne.ID(), "just before the idle timeout")
		p.clk.add(idle - time.Second)
		there(t, m, idleOne.ID(), "used meanwhile")
		p.clk.add(idle)
		gone(t, m, idleOne.ID(), "idle")

		busy := signedIn(t, m, u)
		end := p.clk.now().Add(absolute)
		for p.clk.now().Add(10 * time.Minute).Before(end) {
			p.clk.add(10 * time.Minute)
			s := there(t, m, busy.ID(), "in use")
			if s.Expires.After(end) {
				t.Fatalf("promised until %s, after the absolute end %s", s.Expires, end)
			}
		}
		// Exchanging the id does not make it longer.
		s := there(t, m, busy.ID(), "in use")
		if err := m.Rotate(ctx, s); err != nil {
			t.Fatal(err)
		}
		there(t, m, s.ID(), "under a new id")
		p.clk.add(10 * time.Minute)
		gone(t, m, s.ID(), "after the absolute timeout")

		half := mustNew(t, m)
		if err := m.SignIn(ctx, half, u.ID, u.Epoch, true, websession.MethodPassword); err != nil {
			t.Fatal(err)
		}
		for range 9 {
			p.clk.add(time.Minute)
			there(t, m, half.ID(), "waiting for the second factor")
		}
		p.clk.add(time.Minute)
		gone(t, m, half.ID(), "ten minutes without the second factor")

		// The last use is written once a minute, and when the address changes.
		s = signedIn(t, m, u)
		seen := func() websession.Info {
			list, _, err := m.List(ctx, u.ID, authsvc.Page{})
			if err != nil || len(list) == 0 {
				t.Fatalf("%+v, %v", list, err)
			}
			return list[slices.IndexFunc(list, func(i websession.Info) bool { return i.Ref == s.Ref() })]
		}
		first := seen().LastSeen
		p.clk.add(50 * time.Second)
		there(t, m, s.ID(), "within a minute")
		if got := seen().LastSeen; !got.Equal(first) {
			t.Errorf("written after 50 s: %s", got)
		}
		p.clk.add(10 * time.Second)
		there(t, m, s.ID(), "after a minute")
		if got := seen().LastSeen; !got.Equal(p.clk.now()) {
			t.Errorf("last seen %s, want %s", got, p.clk.now())
		}
		p.clk.add(time.Second)
		if _, err := m.Get(ctx, s.ID(), away); err != nil || seen().Address != away.String() {
			t.Errorf("from elsewhere: %+v, %v", seen(), err)
		}

		p.clk.add(absolute)
		if _, err := m.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		if err := p.store.DB().QueryRow(ctx, `SELECT COUNT(*) FROM web_sessions`).Scan(new(int)); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := p.store.DB().QueryRow(ctx, `SELECT COUNT(*) FROM web_sessions`).Scan(&left); err != nil || left != 0 {
			t.Errorf("after the purge %d are left, %v", left, err)
		}
	})
}

// TestKeys: an exchanged secret key keeps sessions, another one ends them, and a row that is moved or changed is nobody's.
func TestKeys(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		ctx := t.Context()
		one, two := strings.Repeat("1", 32), strings.Repeat("2", 32)
		m := p.manager(t, one)
		u, v := p.user(t, "alice"), p.user(t, "bob")
		a, b := signedIn(t, m, u), signedIn(t, m, v)
		there(t, p.manager(t, two, one), a.ID(), "with a newer key")
		gone(t, p.manager(t, two), a.ID(), "with another key")

		// Somebody who can write the database cannot put one person's data under another's session.
		row, err := p.rows.Session(ctx, b.Hash())
		if err != nil {
			t.Fatal(err)
		}
		row.IDHash, row.UserID, row.Epoch = a.Hash(), u.ID, u.Epoch
		if err := p.rows.PutSession(ctx, a.Hash(), row); err != nil {
			t.Fatal(err)
		}
		gone(t, m, a.ID(), "with another's sealed data")
		for _, data := range []string{"", "s1.", "x", row.Data[:len(row.Data)-2]} {
			row.Data = data
			if err := p.rows.PutSession(ctx, a.Hash(), row); err != nil {
				t.Fatal(err)
			}
			gone(t, m, a.ID(), fmt.Sprintf("with the data %q", data))
		}
		if strings.Contains(row.Data, a.ID()) || strings.Contains(row.IDHash, a.ID()) {
			t.Error("the row holds what the cookie holds")
		}
	})
}

// TestNonsense: no cookie but a whole id of ours is looked up at all.
func TestNonsense(t *testing.T) {
	t.Parallel()
	m := (&place{clk: &clock{t: time.Unix(1e9, 0)}, rows: noRows{t: t}}).manager(t)
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9_-]{42}`), rapid.StringMatching(`[A-Za-z0-9_-]{44}`), rapid.StringMatching(`[A-Za-z0-9+/]{41}=[+/]`)).Draw(rt, "cookie")
		if _, err := m.Get(t.Context(), id, home); !errors.Is(err, authsvc.ErrNoSession) {
			rt.Fatalf("%q: %v", id, err)
		}
	})
}

type noRows struct {
	websession.Rows
	t *testing.T
}

func (n noRows) Session(_ context.Context, hash string) (authsvc.SessionRow, error) {
	n.t.Errorf("%s was looked up", hash)
	return authsvc.SessionRow{}, authsvc.ErrNoSession
}

// TestUnique: ids do not repeat, and an id is not made without randomness.
func TestUnique(t *testing.T) {
	t.Parallel()
	p := &place{clk: &clock{t: time.Unix(1e9, 0)}}
	m := p.manager(t)
	seen := map[string]bool{}
	for range 1000 {
		s := mustNew(t, m)
		if len(s.ID()) != 43 || seen[s.ID()] || seen[string(s.CSRF)] || len(s.CSRF) != 32 {
			t.Fatalf("%q, %x", s.ID(), s.CSRF)
		}
		seen[s.ID()], seen[string(s.CSRF)] = true, true
	}
	sealer, err := authsvc.NewSealer(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	dry := websession.NewManager(nil, sealer, func() (time.Duration, time.Duration) { return idle, absolute }, websession.WithRandom(strings.NewReader("little")))
	if _, err := dry.New(home, ""); event.ErrorCode(err) != event.CodeInternal {
		t.Errorf("without randomness: %v", err)
	}
}
