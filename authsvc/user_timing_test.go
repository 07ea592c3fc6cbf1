package authsvc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gatehouse/internal/reldb"
	"gatehouse/schema"
)

const (
	benchPeople    = 100_000
	benchCompanies = 10_000
)

// benchPeopleStore is a database with 10,000 companies, 100,000 people with two memberships each, and one large company that everybody of the first tenth
// belongs to. It is kept between runs at $GATEHOUSE_BENCH_DATABASE, an address as DATABASE_URL takes it; without one it is a
// new SQLite file.
func benchPeopleStore(b *testing.B) *Store {
	b.Helper()
	ctx := b.Context()
	url := os.Getenv("GATEHOUSE_BENCH_DATABASE")
	if url == "" {
		url = reldb.SQLiteURL(filepath.Join(b.TempDir(), "g.db"))
	}
	s, err := Open(ctx, url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	if _, _, err := schema.NewRelational(s.db).Up(ctx); err != nil {
		b.Fatal(err)
	}
	var n int
	if err := s.db.QueryRow(ctx, countUsers).Scan(&n); err != nil {
		b.Fatal(err)
	}
	if n > 0 {
		return s
	}
	if err := s.db.Update(ctx, func(tx *reldb.Tx) error { return fillBench(ctx, tx) }); err != nil {
		b.Fatal(err)
	}
	return s
}

func fillBench(ctx context.Context, tx *reldb.Tx) error {
	for i := range benchCompanies {
		name := fmt.Sprintf("company %05d", i)
		var disabled *int64
		if i%100 == 0 {
			at := int64(1)
			disabled = &at
		}
		if _, err := tx.Exec(ctx, `INSERT INTO companies (name, name_key, timezone, max_session, created_at, disabled_at, revision) VALUES (?, ?, 'UTC', 86400, 0, ?, 1)`, name, name, disabled); err != nil {
			return err
		}
	}
	for i := range benchPeople {
		// Multiplying by a number without a common factor spreads the names, so that their order is not that of the ids.
		name := fmt.Sprintf("person %05d", i*7919%benchPeople)
		role, approved := RoleUser, new(int64)
		switch {
		case i < 3:
			role = RoleGlobalAdmin
		case i < 50:
			role = RoleAdmin
		case i%10_000 == 77:
			approved = nil
		}
		var disabled, secret any
		if i%1000 == 5 {
			disabled = int64(1)
		}
		if i%3 == 0 {
			secret = "sealed"
		}
		id, err := tx.Insert(ctx, `INSERT INTO users (username, username_key, email, email_key, password_hash, role, mfa_policy, must_change_password, created_at, approved_at, disabled_at, totp_secret)
    VALUES (?, ?, ?, ?, '', ?, 'inherit', 0, 0, ?, ?, ?)`, name, name, name+"@example.com", name+"@example.com", string(role), approved, disabled, secret)
		if err != nil {
			return err
		}
		companies := []int{1 + i%benchCompanies, 1 + (i*31+7)%benchCompanies}
		if i < benchPeople/10 {
			companies = append(companies, benchCompanies)
		}
		slices.Sort(companies)
		for n, c := range slices.Compact(companies) {
			member := RoleUser
			if n == 0 && i%10 == 0 {
				member = RoleCompanyAdmin
			}
			if role == RoleAdmin {
				member = RoleAdmin
			}
			if _, err := tx.Exec(ctx, insertMembership, id, c, string(member), 0); err != nil {
				return err
			}
		}
	}
	// One operator with a thousand companies.
	for c := 100; c < 1100; c++ {
		if _, err := tx.Exec(ctx, `DELETE FROM memberships WHERE user_id = ? AND company_id = ?`, 10, c); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertMembership, 10, c, string(RoleAdmin), 0); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkLists are all lists of people and companies at the size that is promised. ns/op is the mean; the median is told besides.
func BenchmarkLists(b *testing.B) {
	s := benchPeopleStore(b)
	ctx := b.Context()
	root := Local("bench")
	actor := func(id uint32) *Actor {
		a, err := s.ActorFor(ctx, id, Claim{SecondFactor: true, Scopes: AllScopes})
		if err != nil {
			b.Fatal(err)
		}
		return a
	}
	operator, chief := actor(10), actor(benchPeople/10-9)
	yes := true
	middle := func(list, key string) Page { return Page{Cursor: cursorOf(list, key)} }
	people := func(name string, a *Actor, f UserFilter, p Page) {
		measure(b, name, func() error {
			_, err := s.ListUsers(ctx, a, f, p)
			return err
		})
	}
	people("people/first page", root, UserFilter{}, Page{})
	people("people/500 rows", root, UserFilter{}, Page{Limit: MaxPage})
	people("people/page in the middle", root, UserFilter{}, middle(usersList, "person 50000"))
	people("people/with total", root, UserFilter{}, Page{Total: true})
	people("people/text found", root, UserFilter{Text: "person 777"}, Page{})
	people("people/text found once", root, UserFilter{Text: "77777@"}, Page{})
	people("people/text not found", root, UserFilter{Text: "nobody"}, Page{})
	people("people/role User", root, UserFilter{Role: RoleUser}, Page{})
	people("people/role User in the middle", root, UserFilter{Role: RoleUser}, middle(usersList, "person 50000"))
	people("people/role Admin", root, UserFilter{Role: RoleAdmin}, Page{})
	people("people/waiting", root, UserFilter{State: UserWaiting}, Page{})
	people("people/disabled", root, UserFilter{State: UserDisabled}, Page{})
	people("people/with second factor", root, UserFilter{MFA: &yes}, Page{})
	people("people/of a small company", root, UserFilter{Company: 5}, Page{})
	people("people/of a large company", root, UserFilter{Company: benchCompanies}, Page{})
	people("people/of a large company with total and text", root, UserFilter{Company: benchCompanies, Text: "99"}, Page{Total: true})
	people("people/by an operator of 1000 companies", operator, UserFilter{}, Page{})
	people("people/by an operator, text not found", operator, UserFilter{Text: "nobody"}, Page{Total: true})
	people("people/by a CompanyAdmin", chief, UserFilter{}, Page{})
	companies := func(name string, a *Actor, f CompanyFilter, p Page) {
		measure(b, name, func() error {
			_, err := s.ListCompanies(ctx, a, f, p)
			return err
		})
	}
	companies("companies/first page", root, CompanyFilter{}, Page{})
	companies("companies/with total", root, CompanyFilter{}, Page{Total: true})
	companies("companies/text not found", root, CompanyFilter{Text: "nobody"}, Page{})
	companies("companies/disabled", root, CompanyFilter{Disabled: &yes}, Page{})
	companies("companies/by an operator of 1000 companies", operator, CompanyFilter{}, Page{})
	measure(b, "actor/GlobalAdmin", func() error { _, err := s.ActorFor(ctx, 1, Claim{}); return err })
	measure(b, "actor/User of two companies", func() error { _, err := s.ActorFor(ctx, 50_000, Claim{}); return err })
	measure(b, "actor/operator of 1000 companies", func() error { _, err := s.ActorFor(ctx, 10, Claim{}); return err })
	measure(b, "settings", func() error { _, err := s.GetSettings(ctx); return err })
}

// measure tells the median besides the mean: one pause of a busy machine moves the mean alone.
func measure(b *testing.B, name string, fn func() error) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		var took []time.Duration
		for b.Loop() {
			start := time.Now()
			if err := fn(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
	})
}
