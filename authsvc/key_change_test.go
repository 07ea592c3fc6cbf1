package authsvc_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/authsvc"
	"gatehouse/event"
	"gatehouse/internal/reldb"
)

func ptr[T any](v T) *T { return &v }

func TestUpdateKey(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		one, two := mustCompany(t, s, "One"), mustCompany(t, s, "Two")
		k, secret := mustKey(t, s, one.ID, authsvc.ScopeIngest)
		r := newResolver(t, s)
		nets, err := authsvc.ParseNetworks("192.0.2.0/24 2001:db8::/32")
		if err != nil {
			t.Fatal(err)
		}
		expires := clk.now().Add(time.Hour)
		got, err := s.UpdateKey(ctx, operator, one.ID, k.ID, authsvc.KeyChange{Site: ptr(" New  name "), Note: ptr("two\nlines"), Scopes: ptr(authsvc.ScopeRead), Networks: &nets, Expires: &expires})
		if err != nil {
			t.Fatal(err)
		}
		if got.Site != "New name" || got.Note != "two\nlines" || got.Scopes != authsvc.ScopeRead || !slices.Equal(got.Networks, nets) || !got.Expires.Equal(expires) || got.Prefix != k.Prefix || got.Company != "One" {
			t.Errorf("%+v", got)
		}
		p, err := r.Resolve(ctx, secret, netip.MustParseAddr("192.0.2.9"))
		if err != nil || p.SiteName != "New name" || p.Scopes != authsvc.ScopeRead {
			t.Errorf("the change at the resolver: %+v, %v", p, err)
		}
		// What is not named stays, even an end that has passed meanwhile.
		clk.add(2 * time.Hour)
		if got, err = s.UpdateKey(ctx, operator, one.ID, k.ID, authsvc.KeyChange{Note: ptr("")}); err != nil || got.Note != "" || got.Site != "New name" || !got.Expires.Equal(expires) || len(got.Networks) != 2 {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err = s.UpdateKey(ctx, operator, one.ID, k.ID, authsvc.KeyChange{Expires: &time.Time{}, Networks: &[]netip.Prefix{}}); err != nil || !got.Expires.IsZero() || len(got.Networks) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		for name, c := range map[string]struct {
			company, key uint32
			change       authsvc.KeyChange
			code         event.Code
		}{
			"no scopes":       {one.ID, k.ID, authsvc.KeyChange{Scopes: ptr(authsvc.Scopes(0))}, event.CodeInvalid},
			"manage":          {one.ID, k.ID, authsvc.KeyChange{Scopes: ptr(authsvc.ScopeManage)}, event.CodeInvalid},
			"past":            {one.ID, k.ID, authsvc.KeyChange{Expires: ptr(clk.now())}, event.CodeInvalid},
			"empty site":      {one.ID, k.ID, authsvc.KeyChange{Site: ptr(" ")}, event.CodeInvalid},
			"long note":       {one.ID, k.ID, authsvc.KeyChange{Note: ptr(strings.Repeat("𝄞", 501))}, event.CodeInvalid},
			"bad note":        {one.ID, k.ID, authsvc.KeyChange{Note: ptr("a\u202eb")}, event.CodeInvalid},
			"bad network":     {one.ID, k.ID, authsvc.KeyChange{Networks: ptr([]netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")})}, event.CodeInvalid},
			"foreign company": {two.ID, k.ID, authsvc.KeyChange{Note: ptr("x")}, event.CodeNotFound},
			"no key":          {one.ID, 999, authsvc.KeyChange{Note: ptr("x")}, event.CodeNotFound},
		} {
			if _, err := s.UpdateKey(ctx, operator, c.company, c.key, c.change); event.ErrorCode(err) != c.code {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
		}
		list, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{Action: "key.change"}, authsvc.Page{})
		if err != nil || len(list) != 3 || !strings.Contains(string(list[2].After), `"networks":["192.0.2.0/24","2001:db8::/32"]`) || strings.Contains(string(list[2].Before), "networks") {
			t.Errorf("the audit trail: %d entries, %v", len(list), err)
		}
	})
}

// TestRotateKey: the old secret works until its end and no longer, in this process and in others, and a third makes the first end.
func TestRotateKey(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s, other := open(authsvc.WithClock(clk.now)), open(authsvc.WithClock(clk.now))
		c := mustCompany(t, s, "One")
		k, first := mustKey(t, s, c.ID, authsvc.ScopeIngest)
		here, there := newResolver(t, s), newResolver(t, other)
		works := func(r *authsvc.Resolver, secret string) bool {
			p, err := r.Resolve(ctx, secret, netip.Addr{})
			if err != nil && !errors.Is(err, authsvc.ErrInvalidKey) {
				t.Fatal(err)
			}
			return err == nil && p.SiteID == k.ID
		}
		state := func(what string, want map[string]bool) {
			t.Helper()
			for secret, want := range want {
				if works(here, secret) != want {
					t.Errorf("%s: %s… works: %v, want %v", what, secret[:11], !want, want)
				}
				within(t, revoked, what+" in another process", func() bool { return works(there, secret) == want })
			}
		}
		rotated, second, err := s.RotateKey(ctx, operator, c.ID, k.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if rotated.ID != k.ID || rotated.OldPrefix != first[:11] || rotated.Prefix != second[:11] || !rotated.OldUntil.Equal(clk.now().Add(time.Hour)) || !rotated.Rotated.Equal(clk.now()) {
			t.Errorf("%+v", rotated)
		}
		state("overlap", map[string]bool{first: true, second: true})
		for _, ref := range []string{first, second, first[:11], second[:11]} {
			if got, err := s.FindKey(ctx, operator, ref); err != nil || got.ID != k.ID {
				t.Errorf("find %.11s…: %v", ref, err)
			}
		}
		// A change of another kind leaves both working; disabling stops both.
		if _, err := s.UpdateKey(ctx, operator, c.ID, k.ID, authsvc.KeyChange{Note: ptr("x")}); err != nil {
			t.Fatal(err)
		}
		state("after a change", map[string]bool{first: true, second: true})
		_, third, err := s.RotateKey(ctx, operator, c.ID, k.ID, 2*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		state("exchanged again", map[string]bool{first: false, second: true, third: true})
		add := func(d time.Duration) {
			t.Helper()
			clk.add(d)
			eventually(t, "a look at the new time", func() bool { return here.Age() == 0 && there.Age() == 0 })
		}
		add(2*time.Hour - time.Millisecond)
		state("before the end", map[string]bool{second: true, third: true})
		add(time.Millisecond)
		state("after the end", map[string]bool{second: false, third: true})
		if got, err := s.GetKey(ctx, operator, k.ID); err != nil || got.OldPrefix != "" || !got.OldUntil.IsZero() {
			t.Errorf("after the end: %+v, %v", got, err)
		}
		if _, err := s.FindKey(ctx, operator, second); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("the old one is still found: %v", err)
		}
		_, fourth, err := s.RotateKey(ctx, operator, c.ID, k.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		state("without overlap", map[string]bool{third: false, fourth: true})
		_, fifth, err := s.RotateKey(ctx, operator, c.ID, k.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RevokeKey(ctx, operator, c.ID, k.ID); err != nil {
			t.Fatal(err)
		}
		state("revoked", map[string]bool{fourth: false, fifth: false})
		for _, bad := range []time.Duration{-1, authsvc.MaxOverlap + 1} {
			if _, _, err := s.RotateKey(ctx, operator, c.ID, k.ID, bad); event.ErrorCode(err) != event.CodeInvalid {
				t.Errorf("overlap %v: %v", bad, err)
			}
		}
		if _, got, err := s.RotateKey(ctx, operator, c.ID, k.ID, 0); event.ErrorCode(err) != event.CodeNotFound || got != "" {
			t.Errorf("a revoked key: %v", err)
		}
		list, _, err := s.ListAudit(ctx, operator, authsvc.AuditFilter{Action: "key"}, authsvc.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{first, second, third, fourth, fifth} {
			if strings.Contains(fmt.Sprintf("%+v", list), secret[11:]) {
				t.Error("the audit trail holds a key")
			}
		}
	})
}

// TestKeyScopesOfTokens: a token cannot make or take a key that may do what it may not.
func TestKeyScopesOfTokens(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		c := mustCompany(t, s, "One")
		k, _ := mustKey(t, s, c.ID, authsvc.ScopeSQL)
		boss := as(t, s, mustPerson(t, s, "boss", authsvc.RoleGlobalAdmin))
		boss.Scopes = authsvc.ScopeManage | authsvc.ScopeRead
		if _, _, err := s.CreateKey(ctx, boss, c.ID, authsvc.NewKey{Scopes: authsvc.ScopeRead | authsvc.ScopeSQL}); event.ErrorCode(err) != event.CodeForbidden {
			t.Errorf("create: %v", err)
		}
		if _, _, err := s.RotateKey(ctx, boss, c.ID, k.ID, 0); event.ErrorCode(err) != event.CodeForbidden {
			t.Errorf("rotate: %v", err)
		}
		if _, err := s.UpdateKey(ctx, boss, c.ID, k.ID, authsvc.KeyChange{Scopes: ptr(authsvc.ScopeSQL | authsvc.ScopeIngest)}); event.ErrorCode(err) != event.CodeForbidden {
			t.Errorf("widen: %v", err)
		}
		if _, err := s.UpdateKey(ctx, boss, c.ID, k.ID, authsvc.KeyChange{Scopes: ptr(authsvc.ScopeRead)}); err != nil {
			t.Errorf("change to what it has: %v", err)
		}
		if _, _, err := s.CreateKey(ctx, boss, c.ID, authsvc.NewKey{Scopes: authsvc.ScopeRead}); err != nil {
			t.Errorf("create with what it has: %v", err)
		}
	})
}

func TestKeyNetworks(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		c := mustCompany(t, s, "One")
		nets, err := authsvc.ParseNetworks("192.0.2.0/24,198.51.100.7,2001:db8::/32")
		if err != nil {
			t.Fatal(err)
		}
		k, secret, err := s.CreateKey(ctx, operator, c.ID, authsvc.NewKey{Scopes: authsvc.ScopeIngest, Networks: nets})
		if err != nil {
			t.Fatal(err)
		}
		r := newResolver(t, s)
		for from, want := range map[string]bool{
			"192.0.2.255": true, "::ffff:192.0.2.1": true, "192.0.3.0": false, "198.51.100.7": true, "198.51.100.8": false,
			"2001:db8::1": true, "2001:db8::1%eth0": true, "2001:db9::1": false, "::1": false, "": false,
		} {
			var addr netip.Addr
			if from != "" {
				addr = netip.MustParseAddr(from)
			}
			p, err := r.Resolve(ctx, secret, addr)
			if want != (err == nil) || !want && (!errors.Is(err, authsvc.ErrNetwork) || event.ErrorCode(err) != event.CodeForbidden || p.CompanyID != 0) {
				t.Errorf("%q: %+v, %v", from, p, err)
			}
			if !want && from == "::1" && event.ErrorMessage(err) != "this API key may not be used from ::1" {
				t.Errorf("the message: %q", event.ErrorMessage(err))
			}
		}
		// A wrong key from anywhere learns nothing of networks.
		if _, err := r.Resolve(ctx, "gh_"+strings.Repeat("A", 43), netip.MustParseAddr("203.0.113.1")); !errors.Is(err, authsvc.ErrInvalidKey) {
			t.Errorf("%v", err)
		}
		if err := r.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := s.GetKey(ctx, operator, k.ID); err != nil || got.Errors != 5 || !got.LastUsed.IsZero() || got.LastUsedIP != "" {
			t.Errorf("refused uses: %+v, %v", got, err)
		}
		// A column that cannot be read lets nobody in.
		if err := s.DB().Update(ctx, func(tx *reldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE api_keys SET networks = 'damaged', revision = 1000 WHERE id = ?`, k.ID)
			if err == nil {
				_, err = tx.Exec(ctx, `UPDATE revisions SET revision = 1000`)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a damaged column", func() bool {
			_, err := r.Resolve(ctx, secret, netip.MustParseAddr("192.0.2.1"))
			return errors.Is(err, authsvc.ErrNetwork)
		})
	})
}

// TestParseNetworks: what is read is what a plain comparison of bits says, and reads back the same.
func TestParseNetworks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		var plain []netip.Prefix
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			raw := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")
			if rapid.Bool().Draw(t, "six") {
				raw = rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")
			}
			addr, _ := netip.AddrFromSlice(raw)
			p := netip.PrefixFrom(addr, rapid.IntRange(0, addr.BitLen()).Draw(t, "bits")).Masked()
			if p.Addr().Is4In6() {
				continue
			}
			texts, plain = append(texts, p.String()), append(plain, p)
		}
		got, err := authsvc.ParseNetworks(strings.Join(texts, rapid.SampledFrom([]string{",", " ", ", ", "\n"}).Draw(t, "between")))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range plain {
			if !slices.Contains(got, p) {
				t.Fatalf("%v lacks %v", got, p)
			}
		}
		if len(got) > len(plain) {
			t.Fatalf("%v of %v", got, plain)
		}
	})
	for text, want := range map[string]string{
		"192.0.2.1/24": "did you mean 192.0.2.0/24?", "192.0.2.0/33": "neither a network", "x": "neither a network", "10.0.0.0/8;": "neither a network",
		"::ffff:192.0.2.0/64": "neither a network", strings.Repeat("10.0.0.1/32,", 1): "", "::ffff:192.0.2.0/120": "", "fe80::1%eth0": "",
	} {
		_, err := authsvc.ParseNetworks(text)
		if want == "" && err != nil || want != "" && (event.ErrorCode(err) != event.CodeInvalid || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprintf("10.0.0.%d", i))
	}
	if _, err := authsvc.ParseNetworks(strings.Join(many, ",")); event.ErrorCode(err) != event.CodeInvalid {
		t.Errorf("51 networks: %v", err)
	}
}

func FuzzParseNetworks(f *testing.F) {
	f.Add("192.0.2.0/24,2001:db8::/32 198.51.100.7")
	f.Add("::ffff:1.2.3.4/96")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := authsvc.ParseNetworks(text)
		if err != nil {
			if event.ErrorCode(err) != event.CodeInvalid {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		var names []string
		for _, n := range got {
			names = append(names, n.String())
		}
		again, err := authsvc.ParseNetworks(strings.Join(names, ","))
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%q: %v reads back as %v, %v", text, got, again, err)
		}
	})
}

// TestListKeys: every filter, and who may see what, against a plain look at all keys.
func TestListKeys(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))
		one, two, three := mustCompany(t, s, "One"), mustCompany(t, s, "Two"), mustCompany(t, s, "Three")
		r := newResolver(t, s)
		for i := range 24 {
			spec := authsvc.NewKey{Site: fmt.Sprintf("Site %d%%", i), Note: []string{"", "Old_one", "x"}[i%3], Scopes: authsvc.Scopes(1 + i%7)}
			if i%4 == 1 {
				spec.Expires = clk.now().Add(time.Minute)
			}
			company := []authsvc.Company{one, two, three}[i%3]
			k, _, err := s.CreateKey(ctx, operator, company.ID, spec)
			if err != nil {
				t.Fatal(err)
			}
			switch i % 5 {
			case 1:
				err = s.SetKeyDisabled(ctx, operator, company.ID, k.ID, true)
			case 2:
				err = s.RevokeKey(ctx, operator, company.ID, k.ID)
			case 3:
				r.Record(k.ID, netip.Addr{}, "", "", 1, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		clk.add(time.Hour)
		read := func(actor *authsvc.Actor, want authsvc.KeyFilter, limit int) (list []authsvc.Key) {
			t.Helper()
			for page := (authsvc.Page{Limit: limit}); ; {
				part, next, err := s.ListKeys(ctx, actor, want, page)
				if err != nil {
					t.Fatal(err)
				}
				if list = append(list, part...); next == "" {
					return list
				}
				page.Cursor = next
			}
		}
		all := read(operator, authsvc.KeyFilter{Revoked: true}, authsvc.MaxPage)
		if len(all) != 24 {
			t.Fatalf("%d keys", len(all))
		}
		admin := personIn(t, s, authsvc.RoleAdmin, map[uint32]authsvc.Role{one.ID: authsvc.RoleAdmin, three.ID: authsvc.RoleAdmin})
		now, recent := clk.now(), clk.now().Add(-2*time.Hour)
		for name, c := range map[string]struct {
			actor *authsvc.Actor
			want  authsvc.KeyFilter
			keep  func(*authsvc.Key) bool
		}{
			"default":  {operator, authsvc.KeyFilter{}, func(k *authsvc.Key) bool { return k.Revoked.IsZero() }},
			"active":   {operator, authsvc.KeyFilter{State: authsvc.KeyActive}, func(k *authsvc.Key) bool { return k.State(now) == "active" }},
			"expired":  {operator, authsvc.KeyFilter{State: authsvc.KeyExpired}, func(k *authsvc.Key) bool { return k.State(now) == "expired" }},
			"disabled": {operator, authsvc.KeyFilter{State: authsvc.KeyDisabled}, func(k *authsvc.Key) bool { return k.State(now) == "disabled" }},
			"revoked":  {operator, authsvc.KeyFilter{State: authsvc.KeyRevoked}, func(k *authsvc.Key) bool { return k.State(now) == "revoked" }},
			"company":  {operator, authsvc.KeyFilter{Company: two.ID, Revoked: true}, func(k *authsvc.Key) bool { return k.CompanyID == two.ID }},
			"scopes":   {operator, authsvc.KeyFilter{Scope: authsvc.ScopeRead | authsvc.ScopeSQL, Revoked: true}, func(k *authsvc.Key) bool { return k.Scopes.Has(authsvc.ScopeRead | authsvc.ScopeSQL) }},
			"site":     {operator, authsvc.KeyFilter{Text: "TE 1%", Revoked: true}, func(k *authsvc.Key) bool { return k.Site == "Site 1%" }},
			"note":     {operator, authsvc.KeyFilter{Text: "d_O", Revoked: true}, func(k *authsvc.Key) bool { return k.Note == "Old_one" }},
			"prefix":   {operator, authsvc.KeyFilter{Text: all[7].Prefix, Revoked: true}, func(k *authsvc.Key) bool { return k.ID == all[7].ID }},
			"idle":     {operator, authsvc.KeyFilter{Idle: &recent, Revoked: true}, func(k *authsvc.Key) bool { return k.LastUsed.IsZero() }},
			"admin":    {admin, authsvc.KeyFilter{Revoked: true}, func(k *authsvc.Key) bool { return k.CompanyID != two.ID }},
			"admin 2":  {admin, authsvc.KeyFilter{State: authsvc.KeyActive, Company: three.ID}, func(k *authsvc.Key) bool { return k.CompanyID == three.ID && k.State(now) == "active" }},
		} {
			var want, got []uint32
			for i := range all {
				if c.keep(&all[i]) {
					want = append(want, all[i].ID)
				}
			}
			for _, k := range read(c.actor, c.want, 5) {
				got = append(got, k.ID)
			}
			if !slices.Equal(got, want) || len(want) == 0 {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		// What is another company's is not there, in the words for what never was.
		_, foreign := s.GetKey(ctx, admin, all[1].ID)
		_, missing := s.GetKey(ctx, admin, 999)
		if event.ErrorCode(foreign) != event.CodeNotFound || strings.ReplaceAll(foreign.Error(), fmt.Sprint(all[1].ID), "N") != strings.ReplaceAll(missing.Error(), "999", "N") {
			t.Errorf("%v; %v", foreign, missing)
		}
		if _, err := s.FindKey(ctx, admin, all[1].Prefix); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("find a foreign key: %v", err)
		}
		if _, _, err := s.ListKeys(ctx, admin, authsvc.KeyFilter{Company: two.ID}, authsvc.Page{}); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("list a foreign company: %v", err)
		}
		if _, err := s.KeyDays(ctx, admin, one.ID, all[1].ID, now, now); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("days of a foreign key: %v", err)
		}
		user := personIn(t, s, authsvc.RoleUser, map[uint32]authsvc.Role{one.ID: authsvc.RoleUser})
		if _, _, err := s.ListKeys(ctx, user, authsvc.KeyFilter{}, authsvc.Page{}); event.ErrorCode(err) != event.CodeForbidden {
			t.Errorf("a User lists keys: %v", err)
		}
		if _, _, err := s.ListKeys(ctx, operator, authsvc.KeyFilter{State: "asleep"}, authsvc.Page{}); event.ErrorCode(err) != event.CodeInvalid {
			t.Errorf("%v", err)
		}
	})
}

// TestKeyDays: what two servers counted stands under the day on which it came, whatever midnight lies between counting and writing.
func TestKeyDays(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), &clock{t: time.Date(2026, 2, 27, 23, 59, 59, 0, time.UTC)}
		a, b := open(authsvc.WithClock(clk.now)), open(authsvc.WithClock(clk.now))
		c := mustCompany(t, a, "One")
		k, _ := mustKey(t, a, c.ID, authsvc.ScopeIngest)
		ra, rb := newResolver(t, a), newResolver(t, b)
		from := clk.now()
		ra.Record(k.ID, netip.MustParseAddr("192.0.2.1"), "agent/1.0 "+strings.Repeat("x", 200), "", 5, 1)
		rb.Record(k.ID, netip.Addr{}, "", "", 7, 0)
		clk.add(time.Second)
		ra.Record(k.ID, netip.Addr{}, "agent/2.0", "3.2", 11, 0)
		clk.add(25 * time.Hour)
		rb.Record(k.ID, netip.Addr{}, "", "", 0, 3)
		ra.Record(k.ID, netip.Addr{}, "", "", 0, 0) // a report: a use without events
		for _, r := range []*authsvc.Resolver{ra, rb, ra} {
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
		days, err := a.KeyDays(ctx, operator, c.ID, k.ID, from.AddDate(0, 0, -1), clk.now())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range days {
			got = append(got, fmt.Sprintf("%s %d %d", d.Day.Format("01-02"), d.Events, d.Errors))
		}
		if want := []string{"02-26 0 0", "02-27 12 1", "02-28 11 0", "03-01 0 3"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if k, err := a.GetKey(ctx, operator, k.ID); err != nil || k.Events != 23 || k.Errors != 4 || k.LastUsedAgent != "agent/2.0" || k.AgentVersion != "3.2" || k.LastUsedIP != "" && k.LastUsedIP != "192.0.2.1" {
			t.Errorf("%+v, %v", k, err)
		}
		for _, span := range []time.Duration{-24 * time.Hour, 400 * 24 * time.Hour} {
			if _, err := a.KeyDays(ctx, operator, c.ID, k.ID, from, from.Add(span)); event.ErrorCode(err) != event.CodeInvalid {
				t.Errorf("%v: %v", span, err)
			}
		}
	})
}

// TestChangesByWhoLostTheirRights: what somebody had in their hands when they were disabled, demoted or taken out of a company comes too late.
func TestChangesByWhoLostTheirRights(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, s := t.Context(), open()
		company := mustCompany(t, s, "Acme")
		k, _ := mustKey(t, s, company.ID, authsvc.ScopeRead)
		note, number := "mine", 0
		for what, c := range map[string]struct {
			lose func(authsvc.User) error
			code event.Code
		}{
			"disabled": {func(u authsvc.User) error { _, err := s.DisableUser(ctx, operator, u.ID); return err }, event.CodeUnauthorized},
			"deleted":  {func(u authsvc.User) error { return s.DeleteUser(ctx, operator, u.ID) }, event.CodeUnauthorized},
			"demoted": {func(u authsvc.User) error {
				_, err := s.SetMembership(ctx, operator, u.ID, grant(company, authsvc.RoleUser))
				return err
			}, event.CodeConflict},
			"taken out":        {func(u authsvc.User) error { return s.RemoveMembership(ctx, operator, u.ID, company.ID) }, event.CodeConflict},
			"another password": {func(u authsvc.User) error { _, _, err := s.ResetPassword(ctx, operator, u.ID, ""); return err }, event.CodeConflict},
		} {
			number++
			u := mustPerson(t, s, fmt.Sprintf("boss%d", number), authsvc.RoleUser, grant(company, authsvc.RoleCompanyAdmin))
			a := signedInAs(t, s, u, true)
			if err := c.lose(u); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.CreateKey(ctx, a, company.ID, authsvc.NewKey{Scopes: authsvc.ScopeRead})
			wantCode(t, what+": a key", err, c.code)
			_, err = s.UpdateKey(ctx, a, company.ID, k.ID, authsvc.KeyChange{Note: &note})
			wantCode(t, what+": a change of a key", err, c.code)
			_, _, err = s.RotateKey(ctx, a, company.ID, k.ID, 0)
			wantCode(t, what+": an exchange of a key", err, c.code)
			wantCode(t, what+": a revocation", s.RevokeKey(ctx, a, company.ID, k.ID), c.code)
			wantCode(t, what+": an app", s.RemoveTOTP(ctx, a), c.code)
			wantCode(t, what+": a passkey", s.RemovePasskey(ctx, a, 1), c.code)
		}
		mustPerson(t, s, "another", authsvc.RoleGlobalAdmin)
		global := mustPerson(t, s, "global", authsvc.RoleGlobalAdmin)
		a := signedInAs(t, s, global, true)
		if _, err := s.DisableUser(ctx, operator, global.ID); err != nil {
			t.Fatal(err)
		}
		_, err := s.CreateCompany(ctx, a, authsvc.CompanySettings{Name: "Beta"})
		wantCode(t, "a company", err, event.CodeUnauthorized)
		wantCode(t, "an end of a company", s.SetCompanyDisabled(ctx, a, company.ID, true), event.CodeUnauthorized)
	})
}
