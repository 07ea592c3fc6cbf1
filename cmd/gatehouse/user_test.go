package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/internal/reldb/reldbtest"
)

// TestUserCommands walks through what operators' scripts do with people, on each database.
func TestUserCommands(t *testing.T) {
	t.Parallel()
	reldbtest.Each(t, func(t *testing.T, databaseURL string) {
		ctx := t.Context()
		sh := console{t, []string{"--data", filepath.Join(t.TempDir(), "new")}, []string{"DATABASE_URL=" + databaseURL}}
		sh.ok(nil, "company", "create", "Acme Ltd")
		sh.ok(nil, "company", "create", "Zenith")
		store := authsvc.New(reldbtest.Open(t, databaseURL))

		var u userView
		sh.ok(&u, "user", "create", "ada", "--email", "ada@example.com", "--member", "acme ltd=companyadmin", "--member", "2=User", "--json")
		if u.ID == 0 || u.Username != "ada" || u.Role != authsvc.RoleUser || u.State != authsvc.UserActive || !u.MustChangePassword || len(u.Memberships) != 2 ||
			u.Memberships[0].Company != "Acme Ltd" || u.Memberships[0].Role != authsvc.RoleCompanyAdmin || len(u.TemporaryPassword) < 20 {
			t.Errorf("%+v", u)
		}
		verify := func(login, password string) {
			t.Helper()
			c, err := store.CredentialOf(ctx, authsvc.LoginKey(login))
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := store.Passwords().Verify(ctx, c.PasswordHash, password); !ok || err != nil {
				t.Errorf("the password of %s does not fit: %v", login, err)
			}
		}
		verify("ADA@example.com", u.TemporaryPassword)
		if text := sh.ok(nil, "user", "create", "root2", "--email", "root2@example.com", "--role", "globaladmin"); !strings.Contains(text, "never again") {
			t.Errorf("%s", text)
		}
		withInput(t, sh, "plover Teapot 91\r\nrest", "user", "create", "bob", "--email", "bob@example.com", "--password-stdin", "--keep-password")
		verify("bob", "plover Teapot 91")

		var list []userView
		sh.ok(&list, "user", "list", "--json")
		if len(list) != 3 || list[0].Username != "ada" || list[1].Username != "bob" || list[1].MustChangePassword || list[0].TemporaryPassword != "" {
			t.Errorf("%+v", list)
		}
		sh.ok(&list, "user", "list", "--company", "Zenith", "--company-role", "User", "--mfa", "no", "--state", "active", "--json")
		if len(list) != 1 || list[0].Username != "ada" {
			t.Errorf("filtered: %+v", list)
		}
		sh.ok(&list, "user", "list", "--limit", "2", "--json")
		if len(list) != 2 {
			t.Errorf("limited: %+v", list)
		}
		if text := sh.ok(nil, "user", "list", "--text", "BOB"); !strings.Contains(text, "bob@example.com") || strings.Contains(text, "ada") {
			t.Errorf("%s", text)
		}
		if text := sh.ok(nil, "user", "show", "ada"); !strings.Contains(text, "in Acme Ltd") || !strings.Contains(text, "must be changed") {
			t.Errorf("%s", text)
		}

		sh.ok(&u, "user", "update", "ada", "--display-name", "Ada Lovelace", "--mfa-policy", "required", "--json")
		if u.DisplayName != "Ada Lovelace" || u.MFAPolicy != authsvc.MFARequired || u.Email != "ada@example.com" {
			t.Errorf("%+v", u)
		}
		sh.ok(&u, "user", "role", "ada", "admin", "--json")
		sh.ok(&u, "user", "member", "set", "ada", "zenith", "admin", "--json")
		if u.Role != authsvc.RoleAdmin || u.Memberships[1].Role != authsvc.RoleAdmin {
			t.Errorf("%+v", u)
		}
		sh.ok(&u, "user", "member", "remove", "ada", "Zenith", "--json")
		if len(u.Memberships) != 1 {
			t.Errorf("%+v", u)
		}
		sh.ok(&u, "user", "reset-password", "ada", "--json")
		verify("ada", u.TemporaryPassword)
		withInput(t, sh, "walnut Lagoon 17 spire", "user", "reset-password", "ada", "--password-stdin")
		verify("ada", "walnut Lagoon 17 spire")
		if _, err := store.SignInIdentity(ctx, authsvc.System(), authsvc.Identity{Issuer: "https://id.example", Subject: "s-1", Username: "eve", Email: "eve@example.com", EmailVerified: true, Values: []string{"a"}},
			authsvc.IdentityRules{SignUp: true, List: []authsvc.IdentityRule{{Value: "a", Role: authsvc.RoleUser}}}); err != nil {
			t.Fatal(err)
		}
		var identities []identityView
		sh.ok(&identities, "user", "identities", "eve", "--json")
		if len(identities) != 1 || identities[0].Issuer != "https://id.example" || identities[0].Subject != "s-1" || identities[0].Linked.IsZero() {
			t.Errorf("%+v", identities)
		}
		if text := sh.ok(nil, "user", "identities", "eve"); !strings.Contains(text, "https://id.example  s-1") {
			t.Errorf("%s", text)
		}
		if text := sh.ok(nil, "user", "unlink", "eve", fmt.Sprint(identities[0].ID)); !strings.Contains(text, "no password") {
			t.Errorf("%s", text)
		}
		if sh.ok(&identities, "user", "identities", "eve", "--json"); len(identities) != 0 {
			t.Errorf("%+v", identities)
		}
		sh.ok(nil, "user", "delete", "eve")
		sh.ok(nil, "user", "reset-mfa", "ada")
		sh.ok(&u, "user", "disable", "ada", "--json")
		if u.State != authsvc.UserDisabled {
			t.Errorf("%+v", u)
		}
		sh.ok(nil, "user", "enable", "ada")

		sh.ok(nil, "settings", "set", "registration_enabled", "true")
		if err := store.RegisterUser(ctx, &authsvc.Actor{Kind: authsvc.ActorNobody}, authsvc.Registration{Username: "eve", Email: "eve@example.com", Password: "plover Teapot 91"}); err != nil {
			t.Fatal(err)
		}
		sh.ok(&u, "user", "approve", "eve", "--member", "Zenith=User", "--json")
		if u.State != authsvc.UserActive || len(u.Memberships) != 1 {
			t.Errorf("%+v", u)
		}
		sh.ok(nil, "user", "delete", "eve")

		before, err := store.CredentialOf(ctx, "ada")
		if err != nil {
			t.Fatal(err)
		}
		if text := sh.ok(nil, "user", "sign-out", "ada", "--tokens"); !strings.Contains(text, "ada is signed out") {
			t.Errorf("%s", text)
		}
		sh.ok(nil, "user", "sign-out", "--all")
		var all map[string]bool
		if sh.ok(&all, "user", "sign-out", "--all", "--json"); !all["signed_out"] {
			t.Errorf("%v", all)
		}
		if after, err := store.CredentialOf(ctx, "ada"); err != nil || after.Epoch != before.Epoch+3 {
			t.Errorf("epoch %d after %d, %v", after.Epoch, before.Epoch, err)
		}
		sh.fails(2, []string{"not both"}, "user", "sign-out", "ada", "--all")
		sh.fails(2, []string{"want 1 arguments"}, "user", "sign-out")

		sh.fails(1, []string{"last active GlobalAdmin"}, "user", "disable", "root2")
		sh.fails(1, []string{"last active GlobalAdmin"}, "user", "role", "root2", "User")
		sh.fails(1, []string{"last active GlobalAdmin"}, "user", "delete", "root2")
		sh.fails(1, []string{"user list"}, "user", "show", "nobody at all")
		sh.fails(1, []string{`did you mean "root2"`}, "user", "show", "root3")
		sh.fails(1, []string{"another account's"}, "user", "create", "ADA", "--email", "x@example.com")
		sh.fails(2, []string{"is not the id of an identity"}, "user", "unlink", "bob", "x")
		sh.fails(1, []string{"no identity with id 77"}, "user", "unlink", "bob", "77")
		sh.fails(1, []string{"not waiting"}, "user", "approve", "bob")
		sh.fails(1, []string{"people who are Admin over all"}, "user", "member", "set", "bob", "Zenith", "Admin")
		sh.fails(2, []string{"email"}, "user", "create", "x")
		sh.fails(2, []string{"Acme=CompanyAdmin"}, "user", "create", "x", "--email", "x@example.com", "--member", "Acme")
		sh.fails(2, []string{"did you mean CompanyAdmin?"}, "user", "member", "set", "bob", "Zenith", "CompanyAdmn")
		sh.fails(2, []string{"GlobalAdmin"}, "user", "role", "bob", "root")
		sh.fails(2, []string{"nothing to change"}, "user", "update", "bob")
		sh.fails(2, []string{"--password-stdin"}, "user", "create", "x", "--email", "x@example.com", "--keep-password")
		sh.fails(2, []string{"yes or no"}, "user", "list", "--mfa", "maybe")
		sh.fails(2, []string{"did you mean member"}, "user", "membr")
		sh.ok(&list, "user", "list", "--json")
		if len(list) != 3 {
			t.Errorf("after all: %+v", list)
		}
	})
}

// withInput runs a command with something on standard input.
func withInput(t *testing.T, sh console, input string, args ...string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand(&cli{environ: sh.env})
	root.SetArgs(append(append([]string{}, sh.args...), args...))
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	root.SetErr(&errs)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Errorf("%q: %v", args, err)
	}
	if strings.Contains(out.String()+errs.String(), strings.TrimSpace(strings.SplitN(input, "\n", 2)[0])) {
		t.Errorf("%q shows the password", args)
	}
}

func TestReadPassword(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\nmore\n": "secret", " spaces stay \n": " spaces stay ",
		strings.Repeat("x", 1024): strings.Repeat("x", 1024), strings.Repeat("x", 1024) + "\n": strings.Repeat("x", 1024),
	} {
		if got, err := readPassword(strings.NewReader(in)); got != want || err != nil {
			t.Errorf("%.20q: %.20q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "\n", "\r\n", strings.Repeat("x", 1025), strings.Repeat("x", 5000)} {
		if got, err := readPassword(strings.NewReader(in)); err == nil {
			t.Errorf("%.20q is read as %.20q", in, got)
		}
	}
}

func TestSettingsCommands(t *testing.T) {
	t.Parallel()
	sh := console{t, []string{"--data", filepath.Join(t.TempDir(), "new")}, nil}
	sh.ok(nil, "company", "create", "Acme")
	var list []settingView
	sh.ok(&list, "settings", "list", "--json")
	if len(list) < 15 || list[0].Name != "password_min_length" || list[0].Value != "12" || list[0].Default != "12" {
		t.Errorf("%+v", list)
	}
	if text := sh.ok(nil, "settings", "set", "password_min_length", "16"); text != "16\n" {
		t.Errorf("%q", text)
	}
	if text := sh.ok(nil, "settings", "get", "password_min_length"); text != "16\n" {
		t.Errorf("%q", text)
	}
	var one settingView
	sh.ok(&one, "settings", "get", "password_min_length", "--json")
	if one.Value != "16" || one.By == "" || one.Changed.IsZero() {
		t.Errorf("%+v", one)
	}
	if text := sh.ok(nil, "settings", "list"); !strings.Contains(text, "mfa_required") {
		t.Errorf("%s", text)
	}
	sh.ok(nil, "settings", "reset", "password_min_length")
	sh.fails(1, []string{"from 8 to 128"}, "settings", "set", "password_min_length", "7")
	sh.fails(1, []string{"did you mean mfa_required?"}, "settings", "set", "mfa_requierd", "true")
	sh.fails(2, []string{"want 2 arguments"}, "settings", "set", "mfa_required")

	sh.ok(nil, "settings", "domain", "add", "Example.COM")
	sh.fails(1, []string{"already"}, "settings", "domain", "add", "example.com")
	var domains []domainView
	sh.ok(&domains, "settings", "domain", "list", "--json")
	if len(domains) != 1 || domains[0].Domain != "example.com" {
		t.Errorf("%+v", domains)
	}
	sh.ok(nil, "settings", "domain", "remove", "example.com")
	if text := sh.ok(nil, "settings", "domain", "list"); text != "" {
		t.Errorf("%q", text)
	}
}
