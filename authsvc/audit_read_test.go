package authsvc_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// TestListAudit: every filter gives exactly what a plain reading of all entries gives.
func TestListAudit(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		one, two := mustCompany(t, s, "One"), mustCompany(t, s, "Two")
		actors := []*authsvc.Actor{
			{Kind: authsvc.ActorPerson, ID: 1, Name: "Alice", Address: netip.MustParseAddr("192.0.2.1"), RequestID: "r-1", Via: "session ab"},
			{Kind: authsvc.ActorPerson, ID: 2, Name: "bob 100%", Address: netip.MustParseAddr("2001:db8::1")},
			{Kind: authsvc.ActorKey, ID: 1, Name: "Site_1", RequestID: "r-2"},
			{Kind: authsvc.ActorNobody, Name: "[x]!"},
		}
		for i, a := range actors {
			for j, action := range []string{"key.create", "key.change", "keyring.open", "session.sign_in"} {
				e := authsvc.Entry{
					Action: action, Outcome: []authsvc.Outcome{authsvc.Succeeded, authsvc.Failed, authsvc.Denied}[(i+j)%3], Company: []uint32{0, one.ID, two.ID}[(i*j)%3],
					TargetKind: []string{"key", "user"}[j%2], TargetID: fmt.Sprint(j), TargetName: fmt.Sprintf("Target_%d!", i), Detail: strings.Repeat("é", i),
				}
				if err := s.Record(ctx, a, e); err != nil {
					t.Fatal(err)
				}
				clk.add(time.Minute)
			}
		}
		all, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{}, authsvc.Page{Limit: authsvc.MaxPage})
		if err != nil || len(all) != 18 || all[0].Seq != 18 {
			t.Fatalf("%d entries, %v", len(all), err)
		}
		has := func(text string, in ...string) bool {
			return slices.ContainsFunc(in, func(x string) bool { return strings.Contains(strings.ToLower(x), strings.ToLower(text)) })
		}
		start := time.Date(2026, 3, 1, 12, 3, 0, 0, time.UTC)
		for name, c := range map[string]struct {
			want authsvc.AuditFilter
			keep func(*authsvc.AuditRecord) bool
		}{
			"action":       {authsvc.AuditFilter{Action: "key.create"}, func(r *authsvc.AuditRecord) bool { return r.Action == "key.create" }},
			"kind":         {authsvc.AuditFilter{Action: "Key"}, func(r *authsvc.AuditRecord) bool { return strings.HasPrefix(r.Action, "key.") }},
			"outcome":      {authsvc.AuditFilter{Outcome: authsvc.Denied}, func(r *authsvc.AuditRecord) bool { return r.Outcome == "denied" }},
			"person":       {authsvc.AuditFilter{ActorID: 1}, func(r *authsvc.AuditRecord) bool { return r.ActorID == 1 && r.ActorKind == "person" }},
			"key":          {authsvc.AuditFilter{ActorID: 1, ActorKind: authsvc.ActorKey}, func(r *authsvc.AuditRecord) bool { return r.ActorID == 1 && r.ActorKind == "key" }},
			"actor":        {authsvc.AuditFilter{Actor: "ALI"}, func(r *authsvc.AuditRecord) bool { return r.ActorName == "Alice" }},
			"actor %":      {authsvc.AuditFilter{Actor: "0%"}, func(r *authsvc.AuditRecord) bool { return r.ActorName == "bob 100%" }},
			"actor [":      {authsvc.AuditFilter{Actor: "[x]!"}, func(r *authsvc.AuditRecord) bool { return r.ActorName == "[x]!" }},
			"company":      {authsvc.AuditFilter{Company: one.ID}, func(r *authsvc.AuditRecord) bool { return r.Company == one.ID }},
			"target":       {authsvc.AuditFilter{TargetKind: "user", TargetID: "3"}, func(r *authsvc.AuditRecord) bool { return r.TargetKind == "user" && r.TargetID == "3" }},
			"address":      {authsvc.AuditFilter{Address: netip.MustParseAddr("::ffff:192.0.2.1")}, func(r *authsvc.AuditRecord) bool { return r.Address == "192.0.2.1" }},
			"request":      {authsvc.AuditFilter{RequestID: "r-2"}, func(r *authsvc.AuditRecord) bool { return r.RequestID == "r-2" }},
			"text":         {authsvc.AuditFilter{Text: "t_1!"}, func(r *authsvc.AuditRecord) bool { return has("t_1!", r.ActorName, r.TargetName, r.Detail) }},
			"text é":       {authsvc.AuditFilter{Text: "éé"}, func(r *authsvc.AuditRecord) bool { return has("éé", r.Detail) }},
			"text session": {authsvc.AuditFilter{Text: "SESSION"}, func(r *authsvc.AuditRecord) bool { return has("session", r.Via) }},
			"injection":    {authsvc.AuditFilter{Text: `' OR 1=1 --`, Actor: `\`, RequestID: "\x00"}, func(*authsvc.AuditRecord) bool { return false }},
			"from":         {authsvc.AuditFilter{From: start}, func(r *authsvc.AuditRecord) bool { return !r.At.Before(start) }},
			"to":           {authsvc.AuditFilter{To: start}, func(r *authsvc.AuditRecord) bool { return r.At.Before(start) }},
			"two": {authsvc.AuditFilter{From: start, Outcome: authsvc.Failed, Text: "target"}, func(r *authsvc.AuditRecord) bool {
				return !r.At.Before(start) && r.Outcome == "failure" && has("target", r.TargetName)
			}},
		} {
			var want, got []int64
			for i := range all {
				if c.keep(&all[i]) {
					want = append(want, all[i].Seq)
				}
			}
			for page := (authsvc.Page{Limit: 2}); ; {
				list, next, err := s.ListAudit(ctx, operator, c.want, page)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				for _, r := range list {
					got = append(got, r.Seq)
				}
				if page.Cursor = next; next == "" {
					break
				}
			}
			if !slices.Equal(got, want) || len(want) == 0 && name != "injection" {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		for name, want := range map[string]authsvc.AuditFilter{"outcome": {Outcome: "good"}, "kind": {ActorKind: "cat"}} {
			if _, _, err := s.ListAudit(ctx, operator, want, authsvc.Page{}); event.ErrorCode(err) != event.CodeInvalid {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestAuditReach: nobody reads more of the trail than their role says.
func TestAuditReach(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		one, two, three := mustCompany(t, s, "One"), mustCompany(t, s, "Two"), mustCompany(t, s, "Three")
		person := func(role authsvc.Role, members map[uint32]authsvc.Role) *authsvc.Actor {
			return personIn(t, s, role, members)
		}
		for name, c := range map[string]struct {
			actor     *authsvc.Actor
			companies []uint32 // 0 is what concerns none
			code      event.Code
			foreign   event.Code // of asking for company three
		}{
			"GlobalAdmin":   {person(authsvc.RoleGlobalAdmin, nil), []uint32{one.ID, two.ID, three.ID}, "", ""},
			"Admin":         {person(authsvc.RoleAdmin, map[uint32]authsvc.Role{one.ID: authsvc.RoleAdmin, two.ID: authsvc.RoleUser}), []uint32{one.ID}, "", event.CodeNotFound},
			"Admin of none": {person(authsvc.RoleAdmin, nil), nil, "", event.CodeNotFound},
			"CompanyAdmin":  {person(authsvc.RoleUser, map[uint32]authsvc.Role{two.ID: authsvc.RoleCompanyAdmin}), []uint32{two.ID}, "", event.CodeNotFound},
			"former Admin":  {person(authsvc.RoleUser, map[uint32]authsvc.Role{one.ID: authsvc.RoleAdmin}), nil, event.CodeForbidden, event.CodeNotFound},
			"User":          {person(authsvc.RoleUser, map[uint32]authsvc.Role{three.ID: authsvc.RoleUser}), nil, event.CodeForbidden, event.CodeForbidden},
			"nobody":        {&authsvc.Actor{Kind: authsvc.ActorNobody}, nil, event.CodeUnauthorized, event.CodeUnauthorized},
			"key":           {&authsvc.Actor{Kind: authsvc.ActorKey, Company: one.ID, Stage: authsvc.StageDone, Scopes: authsvc.KeyScopes}, nil, event.CodeForbidden, event.CodeNotFound},
		} {
			list, _, err := s.ListAudit(ctx, c.actor, authsvc.AuditFilter{Action: "company.create"}, authsvc.Page{})
			if event.ErrorCode(err) != c.code {
				t.Errorf("%s: %v, want %q", name, err, c.code)
			}
			var got []uint32
			for _, r := range list {
				got = append(got, r.Company)
			}
			slices.Sort(got)
			if !slices.Equal(got, c.companies) {
				t.Errorf("%s reads of companies %v, want %v", name, got, c.companies)
			}
			if list, _, err := s.ListAudit(ctx, c.actor, authsvc.AuditFilter{Company: three.ID}, authsvc.Page{}); event.ErrorCode(err) != c.foreign || err != nil && list != nil {
				t.Errorf("%s asks for another company: %v, want %q", name, err, c.foreign)
			}
			if _, err := s.VerifyAudit(ctx, c.actor); (err == nil) != (name == "GlobalAdmin") {
				t.Errorf("%s verifies: %v", name, err)
			}
			if _, err := s.AuditHead(ctx, c.actor); (err == nil) != (name == "GlobalAdmin") {
				t.Errorf("%s reads the head: %v", name, err)
			}
			if _, _, err := s.PurgeAudit(ctx, c.actor, time.Unix(0, 0)); (err == nil) != (name == "GlobalAdmin") {
				t.Errorf("%s purges: %v", name, err)
			}
		}
	})
}

// TestAuditOfThoseAbove: an administrator of a company reads what its Users do with their accounts and what is done to them, and nothing of that about
// those who stand above them, though they belong to the company alone.
func TestAuditOfThoseAbove(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		acme := mustCompany(t, s, "Acme")
		reader := as(t, s, mustPerson(t, s, "reader", authsvc.RoleUser, grant(acme, authsvc.RoleCompanyAdmin)))
		for name, c := range map[string]struct {
			global, there authsvc.Role
			want          []string
		}{
			"user":    {authsvc.RoleUser, authsvc.RoleUser, []string{"password.change", "session.end", "token.create", "user.change", "user.create", "membership.set"}},
			"admin":   {authsvc.RoleAdmin, authsvc.RoleAdmin, []string{"membership.set"}},
			"visitor": {authsvc.RoleAdmin, authsvc.RoleUser, []string{"membership.set"}},
			"boss":    {authsvc.RoleGlobalAdmin, authsvc.RoleUser, []string{"membership.set"}},
		} {
			u := mustPerson(t, s, name, c.global, grant(acme, c.there))
			a := as(t, s, u)
			if _, _, err := s.CreatePersonalToken(ctx, a, authsvc.NewPersonalToken{Name: "x", Scopes: authsvc.ScopeRead, Expires: time.Now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			shown := "Somebody"
			if _, err := s.UpdateUser(ctx, operator, u.ID, authsvc.UserChange{DisplayName: &shown}); err != nil {
				t.Fatal(err)
			}
			who, err := s.CredentialOfID(ctx, u.ID)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.EndOwnSessions(ctx, a, &who, false); err != nil {
				t.Fatal(err)
			}
			if _, err := s.ChangeOwnPassword(ctx, as(t, s, u), &who, "$2a$04$another"); err != nil {
				t.Fatal(err)
			}
			if name == "visitor" { // whose end as an operator is not for the company either
				role := authsvc.RoleUser
				if _, err := s.UpdateUser(ctx, operator, u.ID, authsvc.UserChange{Role: &role}); err != nil {
					t.Fatal(err)
				}
			}
			list, _, err := s.ListAudit(ctx, reader, authsvc.AuditFilter{TargetKind: "user", TargetID: fmt.Sprint(u.ID)}, authsvc.Page{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range list {
				got = append(got, r.Action)
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("of %s: %q, want %q", name, got, c.want)
			}
		}
	})
}

var people int64

// personIn is a person with a role over all and roles in companies, as the database has them.
func personIn(t *testing.T, s *authsvc.Store, role authsvc.Role, members map[uint32]authsvc.Role) *authsvc.Actor {
	t.Helper()
	ctx := t.Context()
	name := fmt.Sprintf("person %d", atomic.AddInt64(&people, 1))
	var id int64
	if err := s.DB().Update(ctx, func(tx *reldb.Tx) (err error) {
		if id, err = tx.Insert(ctx, `INSERT INTO users (username, username_key, email, email_key, password_hash, role, created_at) VALUES (?, ?, ?, ?, '', ?, 0)`, name, name, name, name, string(role)); err != nil {
			return err
		}
		for company, in := range members {
			if _, err := tx.Exec(ctx, `INSERT INTO memberships (user_id, company_id, role, created_at) VALUES (?, ?, ?, 0)`, id, company, string(in)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return &authsvc.Actor{Kind: authsvc.ActorPerson, ID: uint32(id), Name: name, Stage: authsvc.StageDone, Role: role, Members: members, Scopes: authsvc.AllScopes}
}
