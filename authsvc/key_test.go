package authsvc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// keysOf lists the keys of a company.
func keysOf(t *testing.T, s *authsvc.Store, company uint32, revoked bool) []authsvc.Key {
	t.Helper()
	list, next, err := s.ListKeys(t.Context(), operator, authsvc.KeyFilter{Company: company, Revoked: revoked}, authsvc.Page{Limit: authsvc.MaxPage})
	if err != nil || next != "" {
		t.Fatalf("list keys: %q, %v", next, err)
	}
	return list
}

func TestKeys(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		one, two := mustCompany(t, s, "One"), mustCompany(t, s, "Two")

		k, secret, err := s.CreateKey(ctx, operator, one.ID, authsvc.NewKey{Site: " Head  office ", Scopes: authsvc.ScopeIngest | authsvc.ScopeSQL, Expires: clk.now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^gh_[0-9A-Za-z]{43}$`).MatchString(secret) {
			t.Errorf("key %q has another form than documented", secret)
		}
		if k.CompanyID != one.ID || k.Site != "Head office" || k.Prefix != secret[:11] || k.Scopes.String() != "ingest,sql" || k.State(clk.now()) != "active" || !k.Expires.Equal(clk.now().Add(time.Hour)) {
			t.Errorf("%+v", k)
		}
		if k.State(clk.now().Add(time.Hour)) != "expired" {
			t.Error("a key past its time is not shown as expired")
		}
		other, otherSecret := mustKey(t, s, two.ID, authsvc.ScopeRead)
		if otherSecret == secret || other.Site != "Site "+other.Prefix {
			t.Errorf("second key: %+v", other)
		}

		// The key itself must be nowhere in the database.
		rows, err := s.DB().Query(ctx, `SELECT description || key_prefix || key_hash || scopes FROM api_keys`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var all string
			if err := rows.Scan(&all); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(all, secret[11:]) || strings.Contains(all, otherSecret[11:]) {
				t.Errorf("the database holds a key: %s", all)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}

		for name, c := range map[string]struct {
			company uint32
			spec    authsvc.NewKey
			code    event.Code
		}{
			"no scopes":      {one.ID, authsvc.NewKey{}, event.CodeInvalid},
			"unknown scopes": {one.ID, authsvc.NewKey{Scopes: 128 | authsvc.ScopeRead}, event.CodeInvalid},
			"expired":        {one.ID, authsvc.NewKey{Scopes: authsvc.ScopeRead, Expires: clk.now()}, event.CodeInvalid},
			"bad site":       {one.ID, authsvc.NewKey{Scopes: authsvc.ScopeRead, Site: "a\x00b"}, event.CodeInvalid},
			"no company":     {999, authsvc.NewKey{Scopes: authsvc.ScopeRead}, event.CodeNotFound},
		} {
			if _, got, err := s.CreateKey(ctx, operator, c.company, c.spec); event.ErrorCode(err) != c.code || got != "" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}

		for _, ref := range []string{"1", k.Prefix, secret, " " + k.Prefix + "\n"} {
			if got, err := s.FindKey(ctx, operator, ref); err != nil || got.ID != k.ID {
				t.Errorf("find %q: %+v, %v", ref, got, err)
			}
		}
		if _, err := s.FindKey(ctx, operator, "gh_"+strings.Repeat("x", 43)); event.ErrorCode(err) != event.CodeNotFound || strings.Contains(err.Error(), strings.Repeat("x", 9)) {
			t.Errorf("find an unknown key: %v; want it not repeated", err)
		}

		// Another company's key is not there, in the very words used for one that never was.
		for name, change := range map[string]func(company, id uint32) error{
			"disable": func(c, id uint32) error { return s.SetKeyDisabled(ctx, operator, c, id, true) },
			"enable":  func(c, id uint32) error { return s.SetKeyDisabled(ctx, operator, c, id, false) },
			"revoke":  func(c, id uint32) error { return s.RevokeKey(ctx, operator, c, id) },
		} {
			foreign, missing := change(two.ID, k.ID), change(two.ID, 999)
			if event.ErrorCode(foreign) != event.CodeNotFound || event.ErrorCode(missing) != event.CodeNotFound {
				t.Errorf("%s: %v, %v", name, foreign, missing)
			} else if strings.ReplaceAll(foreign.Error(), "1", "N") != strings.ReplaceAll(missing.Error(), "999", "N") {
				t.Errorf("%s tells a foreign key from a missing one: %q, %q", name, foreign, missing)
			}
		}
		if list := keysOf(t, s, one.ID, true); len(list) != 1 || list[0].State(clk.now()) != "active" {
			t.Errorf("after the other company tried: %+v", list)
		}

		if err := s.SetKeyDisabled(ctx, operator, one.ID, k.ID, true); err != nil {
			t.Fatal(err)
		}
		if list := keysOf(t, s, one.ID, false); len(list) != 1 || list[0].State(clk.now()) != "disabled" {
			t.Errorf("disabled: %+v", list)
		}
		if err := s.SetKeyDisabled(ctx, operator, one.ID, k.ID, false); err != nil {
			t.Fatal(err)
		}
		if err := s.RevokeKey(ctx, operator, one.ID, k.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.SetKeyDisabled(ctx, operator, one.ID, k.ID, false); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("a revoked key could be changed: %v", err)
		}
		if list := keysOf(t, s, one.ID, false); len(list) != 0 {
			t.Errorf("list without revoked: %+v", list)
		}
		if list := keysOf(t, s, one.ID, true); len(list) != 1 || list[0].State(clk.now()) != "revoked" {
			t.Errorf("list with revoked: %+v", list)
		}
		if err := s.RevokeKey(ctx, operator, one.ID, k.ID); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("revoked twice: %v", err)
		}
	})
}

func TestKeyRandomness(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		s := open(authsvc.WithRandom(bytes.NewReader(append(make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)...))))
		c := mustCompany(t, s, "One")
		// The lowest and the highest 256-bit numbers, in base 62 computed elsewhere.
		if _, secret := mustKey(t, s, c.ID, authsvc.ScopeRead); secret != "gh_"+strings.Repeat("0", 43) {
			t.Errorf("no bits set: %s", secret)
		}
		if _, secret := mustKey(t, s, c.ID, authsvc.ScopeRead); secret != "gh_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1" {
			t.Errorf("all bits set: %s", secret)
		}
		if _, _, err := s.CreateKey(t.Context(), operator, c.ID, authsvc.NewKey{Scopes: authsvc.ScopeRead}); err == nil {
			t.Error("a key without randomness")
		}
		boom := errors.New("boom")
		if _, _, err := open(authsvc.WithRandom(iotest.ErrReader(boom))).CreateKey(t.Context(), operator, c.ID, authsvc.NewKey{Scopes: authsvc.ScopeRead}); !errors.Is(err, boom) {
			t.Errorf("%v", err)
		}
	})
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"ingest":           {"ingest"},
		"read,ingest":      {"ingest", "read"},
		"SQL, read ingest": {"ingest", "read", "sql"},
		"read,read,":       {"read"},
	} {
		got, err := authsvc.ParseScopes(in)
		if err != nil || !slices.Equal(got.Names(), want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
		if again, err := authsvc.ParseScopes(got.String()); err != nil || again != got {
			t.Errorf("%q: %q does not read back: %v", in, got, err)
		}
		text, err := json.Marshal(got)
		var names []string
		if err != nil || json.Unmarshal(text, &names) != nil || !slices.Equal(names, want) {
			t.Errorf("%q: JSON %s, %v", in, text, err)
		}
		var back authsvc.Scopes
		if err := json.Unmarshal(text, &back); err != nil || back != got {
			t.Errorf("%q: JSON %s read back as %v, %v", in, text, back, err)
		}
	}
	for in, want := range map[string]string{"": "at least one", " ,": "at least one", "reed": "did you mean read?", "ingest,admin": `no scope "admin"`} {
		if _, err := authsvc.ParseScopes(in); event.ErrorCode(err) != event.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
	for in, want := range map[string]string{
		"": "at least one of ingest, read, sql", "foo": `no scope "foo": use ingest, read, sql`, "managed": `no scope "managed": use ingest, read, sql`,
		"read,manage": "a key cannot have the scope manage: use ingest, read, sql",
	} {
		if _, err := authsvc.ParseKeyScopes(in); event.ErrorCode(err) != event.CodeInvalid || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("of a key, %q: %v", in, err)
		}
	}
	if got, err := authsvc.ParseKeyScopes("sql,ingest,read"); err != nil || got != authsvc.KeyScopes {
		t.Errorf("all that a key can have: %v, %v", got, err)
	}
	both := authsvc.ScopeIngest | authsvc.ScopeRead
	if !both.Has(authsvc.ScopeRead) || both.Has(authsvc.ScopeRead|authsvc.ScopeSQL) || both.Has(authsvc.ScopeSQL) {
		t.Error("Has")
	}
}
