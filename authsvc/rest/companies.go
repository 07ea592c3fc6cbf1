package rest

import (
	"net/http"
	"time"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// companyView is a company.
type companyView struct {
	ID         uint32     `json:"id"`
	Name       string     `json:"name"`
	Timezone   string     `json:"timezone"`
	MaxSession string     `json:"max_session"` // such as 24h0m0s
	Created    time.Time  `json:"created"`
	Disabled   *time.Time `json:"disabled"`
}

func viewCompany(c *authsvc.Company) companyView {
	return companyView{c.ID, c.Name, c.Timezone, c.MaxSession.String(), c.Created, optional(c.Disabled)}
}

// companyChange is what to change of a company; what is not given stays.
type companyChange struct {
	Name       *string `json:"name,omitempty"`
	Timezone   *string `json:"timezone,omitempty"`
	MaxSession *string `json:"max_session,omitempty"`
}

func (b *companyChange) settings() (authsvc.CompanySettings, error) {
	var whole companyBody
	for _, f := range []struct {
		name string
		from *string
		to   *string
	}{{"name", b.Name, &whole.Name}, {"timezone", b.Timezone, &whole.Timezone}, {"max_session", b.MaxSession, &whole.MaxSession}} {
		if f.from == nil {
			continue
		}
		if *f.to = *f.from; *f.to == "" {
			return authsvc.CompanySettings{}, event.FieldError(f.name, "must not be empty: leave it out to keep what it is")
		}
	}
	return whole.settings()
}

// companyBody is a company to be made.
type companyBody struct {
	Name       string `json:"name"`
	Timezone   string `json:"timezone,omitempty"`
	MaxSession string `json:"max_session,omitempty"`
}

func (b *companyBody) settings() (authsvc.CompanySettings, error) {
	s := authsvc.CompanySettings{Name: b.Name, Timezone: b.Timezone}
	if b.MaxSession != "" {
		d, err := time.ParseDuration(b.MaxSession)
		if err != nil {
			return s, event.FieldError("max_session", "must be a time span such as 12h or 24h")
		}
		if s.MaxSession = d; d == 0 {
			s.MaxSession = -1 // refused as too short, where zero would stand for nothing said
		}
	}
	return s, nil
}

var companyRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/companies", does: "List companies", answer: list[companyView]{},
		params: append([]param{{"q", "string", "In the name."}, {"disabled", "boolean", "Those that are, or are not."}, {"total", "boolean", "Count all rows."}}, pageParams...),
		run:    listCompanies,
	},
	{
		method: http.MethodPost, path: "/api/v1/companies", perm: authsvc.PermCreateCompany, does: "Create a company", body: companyBody{}, answer: companyView{}, status: http.StatusCreated,
		run: func(c *call) (any, error) {
			var b companyBody
			if err := c.body(&b); err != nil {
				return nil, err
			}
			s, err := b.settings()
			if err != nil {
				return nil, err
			}
			made, err := c.api.store.CreateCompany(c.ctx, c.actor, s)
			if err != nil {
				return nil, err
			}
			return viewCompany(&made), nil
		},
	},
	{method: http.MethodGet, path: "/api/v1/companies/{company}", perm: authsvc.PermListCompanies, does: "One company", answer: companyView{}, run: onCompany(func(c *call, id uint32) (authsvc.Company, error) {
		return c.api.store.GetCompany(c.ctx, c.actor, id)
	})},
	{method: http.MethodPatch, path: "/api/v1/companies/{company}", perm: authsvc.PermChangeCompany, does: "Change a company; what is not given stays", body: companyChange{}, answer: companyView{}, run: onCompany(func(c *call, id uint32) (authsvc.Company, error) {
		var b companyChange
		if err := c.body(&b); err != nil {
			return authsvc.Company{}, err
		}
		s, err := b.settings()
		if err != nil {
			return authsvc.Company{}, err
		}
		return c.api.store.UpdateCompany(c.ctx, c.actor, id, s)
	})},
	{method: http.MethodPost, path: "/api/v1/companies/{company}/disable", perm: authsvc.PermChangeCompany, does: "Stop all keys of a company; its events stay", answer: companyView{}, run: onCompany(setDisabled(true))},
	{method: http.MethodPost, path: "/api/v1/companies/{company}/enable", perm: authsvc.PermChangeCompany, does: "Let a company's keys work again", answer: companyView{}, run: onCompany(setDisabled(false))},
}

// onCompany makes a route of an act on one company that gives the company as it is after it.
func onCompany(act func(*call, uint32) (authsvc.Company, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		id, err := c.id("company")
		if err != nil {
			return nil, err
		}
		company, err := act(c, id)
		if err != nil {
			return nil, err
		}
		return viewCompany(&company), nil
	}
}

func setDisabled(disabled bool) func(*call, uint32) (authsvc.Company, error) {
	return func(c *call, id uint32) (authsvc.Company, error) {
		if err := c.api.store.SetCompanyDisabled(c.ctx, c.actor, id, disabled); err != nil {
			return authsvc.Company{}, err
		}
		return c.api.store.GetCompany(c.ctx, c.actor, id)
	}
}

func listCompanies(c *call) (any, error) {
	page, err := c.page()
	if err != nil {
		return nil, err
	}
	want := authsvc.CompanyFilter{Text: c.text("q")}
	if c.text("disabled") != "" {
		is, err := c.flag("disabled", false)
		if err != nil {
			return nil, err
		}
		want.Disabled = &is
	}
	found, err := c.api.store.ListCompanies(c.ctx, c.actor, want, page)
	if err != nil {
		return nil, err
	}
	return listOf(found.Companies, viewCompany, found.Next).withTotal(page, found.Total), nil
}
