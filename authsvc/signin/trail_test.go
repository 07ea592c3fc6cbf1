package signin_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/authsvc/limit"
	"gatehouse/authsvc/signin"
	"gatehouse/event"
)

// via is by which session or tokens the newest entry of an action came.
func (s *server) via(t testing.TB, action string) string {
	t.Helper()
	list, _, err := s.store.ListAudit(t.Context(), operator, authsvc.AuditFilter{Action: action}, authsvc.Page{Limit: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %+v, %v", action, list, err)
	}
	return list[0].Via
}

// TestSignInNamesSession: the entry of a sign-in names what it began, so that what was done in it can be found.
func TestSignInNamesSession(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		s, f, tokens := withFactors(t, databaseURL, newClock())
		ada := s.user(t, "ada")
		session, _ := s.mustSignIn(t, "ada", good)
		if got := s.via(t, "session.sign_in"); got != "session "+session.Ref() {
			t.Errorf("by password: %q, the session is %s", got, session.Ref())
		}
		pair, err := tokens.Issue(ctx, signin.TokenRequest{Request: try("ada", good)})
		if err != nil {
			t.Fatal(err)
		}
		by, err := tokens.Actor(ctx, pair.Access, authsvc.Claim{})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.via(t, "session.sign_in"); got != by.Via || !strings.HasPrefix(got, "tokens ") {
			t.Errorf("a program: %q, want %q", got, by.Via)
		}
		app, _ := addApp(t, s, f, s.actor(t, session))
		pending, _ := s.mustSignIn(t, "ada", good)
		first := pending.Ref()
		if got := s.via(t, "session.password"); got != "session "+first {
			t.Errorf("the password before the code: %q, the session is %s", got, first)
		}
		if _, err := s.SecondFactor(ctx, pending, signin.Proof{Code: "000000"}, client); !errors.Is(err, signin.ErrWrongFactor) {
			t.Fatal(err)
		}
		if got := s.via(t, "session.sign_in"); got != "session "+first {
			t.Errorf("a wrong code: %q, the session is %s", got, first)
		}
		if _, err := s.SecondFactor(ctx, pending, signin.Proof{Code: now(t, s, app)}, client); err != nil {
			t.Fatal(err)
		}
		if got := s.via(t, "session.sign_in"); got != "session "+pending.Ref() || pending.Ref() == first {
			t.Errorf("the second factor: %q, the session is %s", got, pending.Ref())
		}
		if _, err := tokens.Issue(ctx, signin.TokenRequest{Request: try("ada", good), Code: now(t, s, app)}); err != nil {
			t.Fatal(err)
		}
		list := s.trail(t)
		if got := list[len(list)-2]; got != "session.factor success person ada: second factor: totp" {
			t.Errorf("a program's code: %q", got)
		}
		if got, err := s.store.GetUser(ctx, operator, ada.ID); err != nil || !got.LastLogin.Equal(s.clk.now()) {
			t.Errorf("last sign-in: %+v, %v", got, err)
		}
	})
}

// TestNoSignInRecorded: who is not signed in at the end is not in the trail as one who is.
func TestNoSignInRecorded(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		s, _, tokens := withFactors(t, databaseURL, newClock())
		s.user(t, "new", func(n *authsvc.NewUser) { n.KeepPassword = false })
		if _, err := tokens.Issue(t.Context(), signin.TokenRequest{Request: try("new", good)}); event.ErrorCode(err) != event.CodeForbidden {
			t.Fatal(err)
		}
		if list := s.trail(t); slices.ContainsFunc(list, func(line string) bool { return strings.HasPrefix(line, "session.sign_in success") }) ||
			s.lastEntry(t) != "session.password success person new: the password was right; a program asks for tokens" {
			t.Errorf("%q", list)
		}
	})
}

// TestNoEndWithoutEntry: a session that cannot be recorded as ended has not ended.
func TestNoEndWithoutEntry(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		s.user(t, "ada")
		one, _ := s.mustSignIn(t, "ada", good)
		two, _ := s.mustSignIn(t, "ada", good)
		by := s.actor(t, one)
		s.exec(t, `ALTER TABLE audit_log RENAME TO gone`)
		if err := s.SignOut(ctx, by, one); err == nil {
			t.Error("signed out without an entry")
		}
		if err := s.EndSession(ctx, by, two.Ref()); err == nil {
			t.Error("a session ended without an entry")
		}
		s.exec(t, `ALTER TABLE gone RENAME TO audit_log`)
		for _, session := range []string{one.ID(), two.ID()} {
			if _, err := s.Sessions().Get(ctx, session, client.Address); err != nil {
				t.Errorf("it is over: %v", err)
			}
		}
	})
}

// TestPasswordAsName: what somebody types into the wrong field does not get into the trail, which forgets nothing.
func TestPasswordAsName(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx, s := t.Context(), start(t, databaseURL, newClock(), options{})
		for login, shown := range map[string]string{
			"hunter2-and-more": "hu… (16 characters, ", "p@ssw0rd": "p@… (8 characters, ", "p@ssw0rd.1": "p@… (10 characters, ", "x": "x… (1 characters, ", "": "… (0 characters, ",
			"\xff\x00ab": "\uFFFD\uFFFD… (4 characters, ", "ada@example.com": "ada@example.com",
		} {
			if _, err := s.Authenticate(ctx, try(login, "wrong")); !errors.Is(err, signin.ErrWrong) {
				t.Fatal(err)
			}
			first := s.lastEntry(t)
			if !strings.HasPrefix(first, "session.sign_in failure nobody "+shown) || len(login) > 2 && login != "ada@example.com" && strings.Contains(first, login) {
				t.Errorf("%q: %q", login, first)
			}
			// Equal ones are known as equal.
			if _, err := s.Authenticate(ctx, try(strings.ToUpper(login), "wrong")); !errors.Is(err, signin.ErrWrong) {
				t.Fatal(err)
			}
			if again := s.lastEntry(t); strings.Contains(first, "characters") && again[strings.Index(again, "characters"):] != first[strings.Index(first, "characters"):] {
				t.Errorf("%q, then %q", first, again)
			}
		}
	})
}

// TestLimitsRecorded: that a limit refuses tries is in the trail, once a minute for each account and address, however many there are.
func TestLimitsRecorded(t *testing.T) {
	each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		s := start(t, databaseURL, newClock(), options{rate: limit.Rate{Count: 2, Per: time.Hour}, tokens: limit.Rate{Count: 2, Per: time.Hour}})
		ada := s.user(t, "ada")
		denied := func() (list []authsvc.AuditRecord) {
			t.Helper()
			list, _, err := s.store.ListAudit(ctx, operator, authsvc.AuditFilter{Outcome: authsvc.Denied}, authsvc.Page{})
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		tries := func(n int) {
			for i := range n {
				r := try("ada", "wrong")
				r.Address = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
				_, _ = s.Authenticate(ctx, r) // refused, or wrong
			}
		}
		tries(20)
		list := denied()
		if len(list) != 1 || list[0].Action != "session.sign_in" || list[0].TargetID != fmt.Sprint(ada.ID) || !strings.Contains(list[0].Detail, "sign_in_account") {
			t.Fatalf("%+v", list)
		}
		s.clk.add(61 * time.Second)
		tries(20)
		if list := denied(); len(list) != 2 {
			t.Errorf("a minute later: %+v", list)
		}
		for i := range 20 {
			_, _ = s.Authenticate(ctx, try(fmt.Sprint("nobody", i), "wrong")) // of one address
		}
		if list := denied(); len(list) != 3 || list[0].TargetKind != "address" || list[0].TargetName != "192.0.2.1" {
			t.Errorf("of one address: %+v", list)
		}
		tokens, err := signin.NewTokens(s.Service)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			_, _ = tokens.Issue(ctx, signin.TokenRequest{Request: try(fmt.Sprint("nobody", i), "wrong")})
		}
		if list := denied(); len(list) != 4 || list[0].TargetName != "192.0.2.1" || !strings.Contains(list[0].Detail, "limit tokens") {
			t.Errorf("programs of one address: %+v", list)
		}
	})
}
