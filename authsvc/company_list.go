package authsvc

import (
	"context"
)

// CompanyFilter says which companies to list; the zero value lists all that the actor may see.
type CompanyFilter struct {
	Text     string // in the name, without regard to case
	Disabled *bool  // those that are, or are not
}

// CompanyList is one page of companies by name.
type CompanyList struct {
	Companies []Company
	Next      string // cursor of the next page, empty behind the last
	Total     int64  // of all pages, where it was asked for
}

const companiesList = "companies"

// ListCompanies lists companies by name. Those of which the actor may not know are not there.
func (s *Store) ListCompanies(ctx context.Context, actor *Actor, want CompanyFilter, page Page) (CompanyList, error) {
	limit, err := page.size()
	if err != nil {
		return CompanyList{}, err
	}
	if actor.Stage != StageDone || !actor.Scopes.Has(rowOf(PermListCompanies).Scope) {
		return CompanyList{}, actor.Require(PermListCompanies, 0)
	}
	var f filter
	f.addWithin(actor, PermListCompanies, "id")
	if want.Text != "" {
		f.addFolded(want.Text, "name_key")
	}
	if want.Disabled != nil {
		if *want.Disabled {
			f.add("disabled_at IS NOT NULL")
		} else {
			f.add("disabled_at IS NULL")
		}
	}
	var out CompanyList
	if page.Total {
		if err := s.db.QueryRow(ctx, countCompanies+f.where(), f.args...).Scan(&out.Total); err != nil {
			return CompanyList{}, fail(err, "count companies")
		}
	}
	after, err := page.after(companiesList, 1)
	if err != nil {
		return CompanyList{}, err
	}
	if after != nil {
		f.add("name_key > ?", after[0])
	}
	out.Companies, err = s.queryCompanies(ctx, selectCompany+f.where()+` ORDER BY name_key`+firstRows(s.db.Dialect(), limit+1), f.args...)
	if err != nil {
		return CompanyList{}, fail(err, "list companies")
	}
	if len(out.Companies) > limit {
		out.Companies = out.Companies[:limit]
		out.Next = cursorOf(companiesList, nameKey(out.Companies[limit-1].Name))
	}
	return out, nil
}

// GetCompany reads a company that the actor may see. Any other is CodeNotFound.
func (s *Store) GetCompany(ctx context.Context, actor *Actor, companyID uint32) (Company, error) {
	if err := actor.Require(PermListCompanies, companyID); err != nil {
		return Company{}, err
	}
	c, err := s.company(ctx, s.db, companyID)
	return c, fail(err, "read company")
}
