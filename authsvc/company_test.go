package authsvc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

func TestCompanies(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx, clk := t.Context(), newClock()
		s := open(authsvc.WithClock(clk.now))

		acme := mustCompany(t, s, "  Acme   Ltd ")
		if acme.ID == 0 || acme.Name != "Acme Ltd" || acme.Timezone != "UTC" || acme.MaxSession != 24*time.Hour || !acme.Created.Equal(clk.now()) || !acme.Disabled.IsZero() {
			t.Errorf("defaults: %+v", acme)
		}
		tokyo, err := s.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: "Straße Kyōto", Timezone: "Asia/Tokyo", MaxSession: 8 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if tokyo.Location.String() != "Asia/Tokyo" || tokyo.MaxSession != 8*time.Hour {
			t.Errorf("settings: %+v", tokyo)
		}

		// The same name in the eyes of a person is taken, whatever the database thinks of letters.
		for _, name := range []string{"Acme Ltd", "ACME LTD", "acme  ltd", "ａｃｍｅ ltd", "STRASSE KYŌTO", "straße kyo\u0304to"} {
			_, err := s.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: name})
			if event.ErrorCode(err) != event.CodeConflict || !strings.Contains(err.Error(), "exists already") {
				t.Errorf("%q a second time: %v", name, err)
			}
		}
		for field, bad := range map[string]authsvc.CompanySettings{
			"name":          {Name: "x\u202Ey"},
			"name ":         {Name: strings.Repeat("x", 201)},
			"name  ":        {Name: strings.Repeat("\uFDFA", 30)}, // folds to 18 letters each
			"name   ":       {Name: " \t"},
			"name    ":      {Name: "a\xffb"},
			"timezone":      {Name: "ok", Timezone: "Mars/Base"},
			"timezone ":     {Name: "ok", Timezone: "Local"},
			"timezone  ":    {Name: "ok", Timezone: "../../etc/passwd"},
			"name     ":     {Name: " 1 "},
			"name      ":    {Name: "\uff11\uff12"}, // as digits: 12
			"max_session":   {Name: "ok", MaxSession: time.Second},
			"max_session ":  {Name: "ok", MaxSession: 32 * 24 * time.Hour},
			"max_session  ": {Name: "ok", MaxSession: time.Hour + time.Millisecond},
		} {
			_, err := s.CreateCompany(ctx, operator, bad)
			e, ok := err.(*event.Error) //nolint:errorlint // it must be this very type, unwrapped
			if !ok || e.Code != event.CodeInvalid || e.Field != strings.TrimSpace(field) {
				t.Errorf("%q: %v", field, err)
			}
		}
		if _, err := s.CreateCompany(ctx, operator, authsvc.CompanySettings{Name: strings.Repeat("é", 200)}); err != nil {
			t.Errorf("a name of 200 letters: %v", err)
		}

		for _, ref := range []string{"acme ltd", "Acme Ltd", " 1 "} {
			if got, err := s.FindCompany(ctx, ref); err != nil || got.ID != acme.ID {
				t.Errorf("find %q: %+v, %v", ref, got, err)
			}
		}
		_, err = s.UpdateCompany(ctx, operator, acme.ID, authsvc.CompanySettings{Name: "1"})
		wantCode(t, "digits alone as another name", err, event.CodeInvalid)
		// Digits are an id, also where a company got a name of digits before such were refused.
		old := mustCompany(t, s, "one")
		exec(t, s, `UPDATE companies SET name = '1', name_key = '1' WHERE id = ?`, old.ID)
		for ref, id := range map[string]uint32{"1": acme.ID, "\uff11": acme.ID, fmt.Sprint(old.ID): old.ID} {
			if got, err := s.FindCompany(ctx, ref); err != nil || got.ID != id {
				t.Errorf("find %q: %+v, %v", ref, got, err)
			}
			if got, err := s.CompanyNamed(ctx, operator, authsvc.PermReadReports, ref); err != nil || got.ID != id {
				t.Errorf("company=%s: %+v, %v", ref, got, err)
			}
		}
		if got, err := s.UpdateCompany(ctx, operator, old.ID, authsvc.CompanySettings{Timezone: "Europe/London"}); err != nil || got.Name != "1" {
			t.Errorf("update of the zone beside a name of digits: %+v, %v", got, err)
		}
		for ref, want := range map[string]string{
			"Acme Ldt":              `did you mean "Acme Ltd"?`,
			"acme":                  `did you mean "Acme Ltd"?`,
			"nothing like it":       "gatehouse company list",
			"4000000000":            "gatehouse company list",
			"99999999999999999999":  "gatehouse company list",
			"x'; DROP TABLE users;": "gatehouse company list",
			"nothing like \x00":     "gatehouse company list",
			"nothing like \xff":     "gatehouse company list",
		} {
			if _, err := s.FindCompany(ctx, ref); event.ErrorCode(err) != event.CodeNotFound || !strings.Contains(err.Error(), want) {
				t.Errorf("find %q: %v, want %s", ref, err, want)
			}
		}

		if got, err := s.UpdateCompany(ctx, operator, acme.ID, authsvc.CompanySettings{Timezone: "Europe/London"}); err != nil ||
			got.Timezone != "Europe/London" || got.Name != "Acme Ltd" || got.MaxSession != 24*time.Hour {
			t.Errorf("update of the zone: %+v, %v", got, err)
		}
		if got, err := s.UpdateCompany(ctx, operator, acme.ID, authsvc.CompanySettings{Name: "ACME Ltd"}); err != nil || got.Name != "ACME Ltd" || got.Timezone != "Europe/London" {
			t.Errorf("update of the name's case: %+v, %v", got, err)
		}
		if _, err := s.UpdateCompany(ctx, operator, acme.ID, authsvc.CompanySettings{Name: "strasse kyōto"}); event.ErrorCode(err) != event.CodeConflict {
			t.Errorf("update to a name that is taken: %v", err)
		}
		if _, err := s.UpdateCompany(ctx, operator, 999, authsvc.CompanySettings{Timezone: "UTC"}); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("update of no company: %v", err)
		}

		if err := s.SetCompanyDisabled(ctx, operator, tokyo.ID, true); err != nil {
			t.Fatal(err)
		}
		first := clk.now()
		clk.add(time.Hour)
		if err := s.SetCompanyDisabled(ctx, operator, tokyo.ID, true); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Company(ctx, tokyo.ID); err != nil || !got.Disabled.Equal(first) {
			t.Errorf("disabled twice: %+v, %v; want the first time kept", got, err)
		}
		if err := s.SetCompanyDisabled(ctx, operator, 999, true); event.ErrorCode(err) != event.CodeNotFound {
			t.Errorf("disable no company: %v", err)
		}

		list, err := s.Companies(ctx)
		if err != nil || !slices.IsSortedFunc(list, func(a, b authsvc.Company) int { return int(a.ID) - int(b.ID) }) || len(list) != 4 {
			t.Errorf("list: %+v, %v", list, err)
		}
	})
}
