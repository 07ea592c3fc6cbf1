package authsvc

import (
	"context"
	"database/sql"
	"errors"

	"gatehouse/event"
)

// CompanyNamed finds a company that the actor may do p in, by id, which is digits alone, or by name without regard to case. Every other is
// CodeNotFound, in the same words, whether it exists or not.
func (s *Store) CompanyNamed(ctx context.Context, actor *Actor, p Permission, nameOrID string) (Company, error) {
	none := &event.Error{Code: event.CodeNotFound, Field: "company", Message: "there is no such company"}
	c, err := s.companyNamed(ctx, nameOrID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Company{}, none
	case err != nil:
		return Company{}, fail(err, "find company")
	case !actor.Knows(c.ID):
		return Company{}, hidden(none)
	}
	return c, actor.Require(p, c.ID)
}
