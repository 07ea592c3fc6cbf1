package signin_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/signin"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
)

func TestSignIn(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		u := s.user(t, "Alice Miller", func(n *authsvc.NewUser) { n.Email = "alice@example.com"; n.DisplayName = "Alice" })
		for _, login := range []string{"Alice Miller", "alice  miller", "ＡＬＩＣＥ MILLER", "alice@example.com", " ALICE@Example.com"} {
			session, r := s.mustSignIn(t, login, good)
			if r.UserID != u.ID || r.Stage != authsvc.StageDone || r.Username != "Alice Miller" || r.DisplayName != "Alice" || r.Device == "" || session.Pending {
				t.Errorf("%q: %+v", login, r)
			}
			if a := s.actor(t, session); a.ID != u.ID || a.Stage != authsvc.StageDone {
				t.Errorf("%q: %+v", login, a)
			}
		}
		if got, err := s.store.GetUser(ctx, operator, u.ID); err != nil || !got.LastLogin.Equal(s.clk.now()) || got.LastLoginIP != "192.0.2.1" {
			t.Errorf("last sign-in: %+v, %v", got, err)
		}
		if got := s.lastEntry(t); got != "session.sign_in success person Alice Miller: " {
			t.Errorf("the trail says %q", got)
		}
		for _, login := range []string{"", "alice", "alice@example.org", "Alice Miller'--", "%", "alice@example.com\x00", strings.Repeat("x", 10_000), "\xff"} {
			if _, err := s.Authenticate(ctx, try(login, good)); !errors.Is(err, signin.ErrWrong) {
				t.Errorf("%.30q: %v", login, err)
			}
		}
		// A wrong password leaves the session that there was as it was.
		session := s.session(t)
		id := session.ID()
		if _, err := s.SignIn(ctx, session, try("alice@example.com", "wrong")); !errors.Is(err, signin.ErrWrong) || session.UserID != 0 || session.ID() != id {
			t.Errorf("wrong: %v, %+v", err, session)
		}
	})
}

// TestAnswersAlike: whatever the reason, a refused sign-in has the same answer and took the same work; only the trail tells.
func TestAnswersAlike(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		company, err := s.store.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: "Acme"})
		if err != nil {
			t.Fatal(err)
		}
		s.user(t, "active", func(n *authsvc.NewUser) {
			n.Memberships = []authsvc.Grant{{CompanyID: company.ID, Role: authsvc.RoleUser}}
		})
		disabled := s.user(t, "disabled")
		if _, err := s.store.DisableUser(ctx, operator, disabled.ID); err != nil {
			t.Fatal(err)
		}
		waiting := s.user(t, "waiting")
		s.exec(t, `UPDATE users SET approved_at = NULL WHERE id = ?`, waiting.ID)
		withFactor := s.user(t, "factor")
		s.exec(t, `UPDATE users SET totp_secret = 'sealed' WHERE id = ?`, withFactor.ID)
		s.user(t, "temporary", func(n *authsvc.NewUser) { n.KeepPassword = false })
		s.user(t, "locked")
		for range 5 {
			_, _ = s.Authenticate(ctx, try("locked", "wrong"))
		}
		old := s.user(t, "old")
		weaker, err := bcrypt.GenerateFromPassword([]byte(good), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		s.exec(t, `UPDATE users SET password_hash = ? WHERE id = ?`, string(weaker), old.ID)
		if _, _, err := s.store.ResetPassword(ctx, operator, s.user(t, "reset").ID, good); err != nil {
			t.Fatal(err)
		}
		// Old enough for the temporary passwords to be past their time, and the lock renewed.
		s.clk.add(8 * 24 * time.Hour)
		for range 5 {
			_, _ = s.Authenticate(ctx, try("locked", "wrong"))
		}
		for _, c := range []struct{ login, password, why string }{
			{"nobody", good, "nobody has this name"},
			{"nobody@example.com", good, "nobody has this name"},
			{"active", "wrong", "wrong password"},
			{"active", strings.Repeat("long", 1000), "wrong password"},
			{"active", "", "wrong password"},
			{"disabled", good, "the account is disabled"},
			{"disabled", "wrong", "wrong password"},
			{"waiting", good, "the account waits for approval"},
			{"factor", "wrong", "wrong password"},
			{"reset", good, "the temporary password is too old"},
			{"locked", good, "refused: there were too many failures shortly before"},
			{"locked", "wrong", "refused: there were too many failures shortly before"},
			{"old", "wrong", "wrong password"},
		} {
			s.work.Store(0)
			r, err := s.Authenticate(ctx, try(c.login, c.password))
			if !errors.Is(err, signin.ErrWrong) || err.Error() != signin.ErrWrong.Error() || r != (signin.Result{}) {
				t.Errorf("%s: %+v, %v", c.login, r, err)
			}
			if got := s.work.Load(); got != 1<<cost {
				t.Errorf("%s with %.10q: %d units of work, want %d", c.login, c.password, got, 1<<cost)
			}
			shown := c.login
			if c.login == "nobody" {
				shown = authsvc.TriedName(s.sealer, c.login)
			}
			if got, want := s.lastEntry(t), "session.sign_in failure nobody "+shown+": "+c.why; got != want {
				t.Errorf("the trail says %q, want %q", got, want)
			}
		}
		// Whose administrators may see it: those of the person's company.
		var of int
		if err := s.store.DB().QueryRow(ctx, `SELECT COUNT(*) FROM audit_log WHERE company_id = ? AND action = 'session.sign_in' AND target_name = 'active'`, company.ID).Scan(&of); err != nil || of != 3 {
			t.Errorf("%d entries are the company's, %v", of, err)
		}
		for _, line := range s.trail(t) {
			if strings.Contains(line, good) || strings.Contains(line, "longlong") {
				t.Errorf("a password in the trail: %s", line)
			}
		}
	})
}

func TestTemporaryPassword(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		u := s.user(t, "alice")
		_, temporary, err := s.store.ResetPassword(ctx, operator, u.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		s.clk.add(7*24*time.Hour - time.Minute)
		session, r := s.mustSignIn(t, "alice", temporary)
		if r.Stage != authsvc.StageChangePassword || s.actor(t, session).Stage != authsvc.StageChangePassword {
			t.Errorf("with a temporary password: %+v", r)
		}
		s.clk.add(2 * time.Minute)
		if _, err := s.Authenticate(ctx, try("alice", temporary)); !errors.Is(err, signin.ErrWrong) {
			t.Errorf("after seven days: %v", err)
		}
		if _, err := s.store.SetSetting(ctx, operator, "temporary_password_days", "8"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Authenticate(ctx, try("alice", temporary)); err != nil {
			t.Errorf("when eight are allowed: %v", err)
		}
		// The first administrator may come late: nobody else could let them in.
		if _, err := s.store.Bootstrap(ctx, ""); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFirstAdministrator(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		if _, err := s.store.Bootstrap(ctx, ""); err != nil {
			t.Fatal(err)
		}
		s.clk.add(100 * 24 * time.Hour)
		session, r := s.mustSignIn(t, "superadmin@example.com", "adminsuper")
		if r.Stage != authsvc.StageChangePassword {
			t.Fatalf("%+v", r)
		}
		admin := s.actor(t, session)
		if _, err := s.store.CreateCompany(ctx, admin, authsvc.CompanySettings{Name: "Acme"}); event.ErrorCode(err) != event.CodeForbidden {
			t.Errorf("before the password is changed: %v", err)
		}
		for _, bad := range []string{"adminsuper", "adminsuper2026", "superadmin", "Superadmin1!"} {
			if err := s.ChangePassword(ctx, admin, session, "adminsuper", bad); event.ErrorCode(err) != event.CodeInvalid {
				t.Errorf("to %q: %v", bad, err)
			}
		}
		if err := s.ChangePassword(ctx, admin, session, "adminsuper", good); err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.CreateCompany(ctx, s.actor(t, session), authsvc.CompanySettings{Name: "Acme"}); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}

// TestRehash: a hash of the old form or of another cost is made anew at the first right sign-in, and only then.
func TestRehash(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		u := s.user(t, "alice")
		hash := func() (h string) {
			if err := s.store.DB().QueryRow(ctx, `SELECT password_hash FROM users WHERE id = ?`, u.ID).Scan(&h); err != nil {
				t.Fatal(err)
			}
			return h
		}
		plain, err := bcrypt.GenerateFromPassword([]byte(good), cost)
		if err != nil {
			t.Fatal(err)
		}
		s.exec(t, `UPDATE users SET password_hash = ? WHERE id = ?`, string(plain), u.ID)
		_, _ = s.Authenticate(ctx, try("alice", "wrong"))
		if hash() != string(plain) {
			t.Error("a wrong password changed the hash")
		}
		session, _ := s.mustSignIn(t, "alice", good)
		renewed := hash()
		if renewed == string(plain) || s.store.Passwords().Stale(renewed) {
			t.Errorf("not renewed: %s", renewed)
		}
		s.actor(t, session) // the renewal ends no session
		s.mustSignIn(t, "alice", good)
		if hash() != renewed {
			t.Error("renewed without need")
		}
	})
}

func TestRateLimits(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		s := start(t, databaseURL, clk, options{rate: limit.Rate{Count: 10, Per: time.Minute}})
		s.user(t, "alice")
		_, first := s.mustSignIn(t, "alice", good)
		if first.Limit.Limit != 10 || first.Limit.Remaining != 9 {
			t.Errorf("figures for the headers: %+v", first.Limit)
		}
		clk.add(time.Hour)
		// entries: what it leaves in the trail. The first in a minute stands for all that the limit refuses.
		refused := func(r signin.Request, what string, entries int) {
			t.Helper()
			s.work.Store(0)
			before := len(s.trail(t))
			_, err := s.Authenticate(ctx, r)
			e, ok := errors.AsType[*limit.Exceeded](err)
			if !ok || e.Result.Retry <= 0 || event.ErrorCode(err) != event.CodeRateLimited {
				t.Errorf("%s: %v", what, err)
			}
			if s.work.Load() != 0 || len(s.trail(t)) != before+entries {
				t.Errorf("%s took work", what)
			}
		}
		// One address, many names.
		for i := range 10 {
			if _, err := s.Authenticate(ctx, try(fmt.Sprint("nobody", i), "wrong")); !errors.Is(err, signin.ErrWrong) {
				t.Fatal(err)
			}
		}
		refused(try("nobody", "wrong"), "the eleventh of one address", 1)
		refused(try("alice", good), "also with the right password", 0)
		// One IPv6 customer has one network, whatever address of it they use.
		elsewhere := func(i int) signin.Request {
			r := try("alice", "wrong")
			r.Address = netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::1", i))
			return r
		}
		for i := range 10 {
			if _, err := s.Authenticate(ctx, elsewhere(i)); !errors.Is(err, signin.ErrWrong) {
				t.Fatal(err)
			}
		}
		// The eleventh for one account takes the work of a wrong one and is answered as one, whatever the password.
		s.work.Store(0)
		before := len(s.trail(t))
		for i, password := range []string{"wrong", good} {
			r := elsewhere(98 + i)
			r.Password = password
			if _, err := s.Authenticate(ctx, r); !errors.Is(err, signin.ErrWrong) {
				t.Errorf("too often for one account, with %q: %v", password, err)
			}
		}
		if n := len(s.trail(t)) - before; n != 1 || s.work.Load() == 0 {
			t.Errorf("%d entries for what the account's limit refuses, after work of %d", n, s.work.Load())
		}
		wrong := s.work.Load() / 2
		// The owner on their own browser is let in all the same, at any address that has tries left.
		mine := from(first.Device, try("alice", good))
		mine.Address = netip.MustParseAddr("198.51.100.7")
		if _, err := s.Authenticate(ctx, mine); err != nil {
			t.Errorf("the owner: %v", err)
		}
		// From the network of the last sign-in, which counts by itself for a name that is somebody's, the answer is the same as for a name that is nobody's.
		clk.add(time.Hour)
		for _, name := range []string{"alice", "nobody"} {
			for i := range 10 {
				r := elsewhere(i)
				r.Login = name
				_, _ = s.Authenticate(ctx, r) // wrong, or a pause
			}
			r := try(name, "wrong")
			r.Address = mine.Address
			s.work.Store(0)
			if _, err := s.Authenticate(ctx, r); !errors.Is(err, signin.ErrWrong) || s.work.Load() != wrong {
				t.Errorf("%s is used up elsewhere: %v, work %d, want %d", name, err, s.work.Load(), wrong)
			}
		}
		// Nobody else keeps the owner out there.
		if _, err := s.Authenticate(ctx, from("", mine)); err != nil {
			t.Errorf("the owner at the place of the last sign-in: %v", err)
		}
	})
}

// TestBurst: of many tries at one moment, over two servers, no more than the free ones count as tries; and the right password among them
// comes too late.
func TestBurst(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, clk := t.Context(), newClock()
		servers := []*server{start(t, databaseURL, clk, options{}), start(t, databaseURL, clk, options{})}
		servers[0].user(t, "alice")
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				if _, err := servers[i%2].Authenticate(ctx, try("alice", fmt.Sprint("guess ", i))); !errors.Is(err, signin.ErrWrong) {
					t.Errorf("guess %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		wrong, refused := 0, 0
		for _, line := range servers[0].trail(t) {
			switch {
			case strings.HasSuffix(line, "wrong password"):
				wrong++
			case strings.HasSuffix(line, "failures shortly before"):
				refused++
			}
		}
		if wrong != 5 || refused != 25 {
			t.Errorf("%d tries counted and %d were refused, want 5 and 25", wrong, refused)
		}
		if _, err := servers[1].Authenticate(ctx, try("alice", good)); !errors.Is(err, signin.ErrWrong) {
			t.Errorf("the right one during the pause: %v", err)
		}
		clk.add(30 * time.Second)
		if _, err := servers[1].Authenticate(ctx, try("alice", good)); err != nil {
			t.Errorf("the right one after the pause: %v", err)
		}
	})
}

func TestVouched(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		u := s.user(t, "alice", func(n *authsvc.NewUser) { n.KeepPassword = false })
		for _, c := range []struct {
			second bool
			trail  string
		}{{false, ""}, {true, ", which asked for a second factor"}} {
			session := s.session(t)
			r, err := s.SignInVouched(ctx, session, u.ID, &authsvc.Identity{SecondFactor: c.second}, client)
			if err != nil || r.Stage != authsvc.StageDone || r.Device == "" || session.UserID != u.ID || session.SecondFactor() != c.second || session.Pending {
				t.Errorf("%+v, %v", r, err)
			}
			if got := s.lastEntry(t); got != "session.sign_in success person alice: by oidc"+c.trail {
				t.Errorf("the trail says %q", got)
			}
			if got := s.actor(t, session).Stage; got != authsvc.StageDone {
				t.Errorf("the session is at stage %d", got)
			}
		}
		if _, err := s.store.DisableUser(ctx, operator, u.ID); err != nil {
			t.Fatal(err)
		}
		for _, id := range []uint32{u.ID, 999} {
			if _, err := s.SignInVouched(ctx, s.session(t), id, &authsvc.Identity{}, client); !errors.Is(err, signin.ErrWrong) {
				t.Errorf("person %d: %v", id, err)
			}
		}
	})
}

// TestVouchedSecondFactor asks people for their own second factor, unless the provider has asked for one.
func TestVouchedSecondFactor(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		u := s.user(t, "alice", func(n *authsvc.NewUser) { n.KeepPassword = false })
		if _, err := s.store.SetSetting(ctx, operator, "mfa_required", "true"); err != nil {
			t.Fatal(err)
		}
		at := func(second bool) (*websession.Session, authsvc.Stage) {
			t.Helper()
			session := s.session(t)
			r, err := s.SignInVouched(ctx, session, u.ID, &authsvc.Identity{SecondFactor: second}, client)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.actor(t, session).Stage; got != r.Stage && !session.Pending {
				t.Errorf("told stage %d, and the session is at %d", r.Stage, got)
			}
			return session, r.Stage
		}
		if _, stage := at(false); stage != authsvc.StageSetUpFactor {
			t.Errorf("required and none there: stage %d", stage)
		}
		if _, stage := at(true); stage != authsvc.StageDone {
			t.Errorf("required and given at the provider: stage %d", stage)
		}
		s.exec(t, `UPDATE users SET totp_secret = 'x' WHERE id = ?`, u.ID)
		if _, stage := at(true); stage != authsvc.StageDone {
			t.Errorf("set up here and given at the provider: stage %d", stage)
		}
		session, stage := at(false)
		if stage != authsvc.StageSecondFactor || !session.Pending {
			t.Fatalf("set up here: stage %d", stage)
		}
		if got := s.lastEntry(t); got != "session.provider success person alice: by oidc; the second factor is asked for" {
			t.Errorf("the trail says %q", got)
		}
		if _, err := s.SecondFactor(ctx, session, signin.Proof{Code: "wrong"}, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Errorf("a wrong code: %v", err)
		}
		s.factor.code = "123456"
		r, err := s.SecondFactor(ctx, session, signin.Proof{Code: "123456"}, client)
		if err != nil || r.Stage != authsvc.StageDone || r.Device == "" || !session.Vouched() || !session.SecondFactor() {
			t.Errorf("the right code: %+v, %v", r, err)
		}
		if got := s.actor(t, session).Stage; got != authsvc.StageDone {
			t.Errorf("then the session is at stage %d", got)
		}
	})
}
