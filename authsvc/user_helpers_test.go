package authsvc_test

import (
	"context"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// goodPassword is one that the default policy takes.
const goodPassword = "plover-Teapot-91-quartz"

// tester is what a plain test and one run of a property have in common.
type tester interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// mustPerson makes a person as an operator would, with a password that need not be changed.
func mustPerson(t tester, s *authsvc.Store, name string, role authsvc.Role, grants ...authsvc.Grant) authsvc.User {
	t.Helper()
	u, temporary, err := s.CreateUser(t.Context(), operator, authsvc.NewUser{
		Username: name, Email: name + "@example.com", Role: role, Password: goodPassword, KeepPassword: true, Memberships: grants,
	})
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	if temporary != "" {
		t.Fatalf("%s got a temporary password besides their own", name)
	}
	return u
}

// as is the actor of a request by a person who has signed in fully.
func as(t tester, s *authsvc.Store, u authsvc.User) *authsvc.Actor {
	t.Helper()
	a, err := s.ActorFor(t.Context(), u.ID, authsvc.Claim{SecondFactor: true, Scopes: authsvc.AllScopes, Via: "session 1"})
	if err != nil {
		t.Fatalf("actor for %s: %v", u.Username, err)
	}
	return a
}

func grant(c authsvc.Company, role authsvc.Role) authsvc.Grant {
	return authsvc.Grant{CompanyID: c.ID, Role: role}
}

// wantCode fails unless err has the code; "" stands for success.
func wantCode(t testing.TB, what string, err error, code event.Code) {
	t.Helper()
	if event.ErrorCode(err) != code {
		t.Errorf("%s: %v, want code %q", what, err, code)
	}
}

// trailText is the whole audit trail as text, to look for what must or must not be in it.
func trailText(t testing.TB, s *authsvc.Store) string {
	t.Helper()
	rows, err := s.DB().Query(t.Context(), `SELECT action, outcome, actor_name, company_id, target_name, before_json, after_json, detail FROM audit_log ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
	var b strings.Builder
	for rows.Next() {
		var parts [8]string
		if err := rows.Scan(&parts[0], &parts[1], &parts[2], &parts[3], &parts[4], &parts[5], &parts[6], &parts[7]); err != nil {
			t.Fatal(err)
		}
		b.WriteString(strings.Join(parts[:], " | ") + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
