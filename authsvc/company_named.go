package authsvc

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"gatehouse/event"
)

// CompanyNamed finds a company that the actor may do p in, by name without regard to case or by id. Every other is CodeNotFound, in the same
// words, whether it exists or not.
func (s *Store) CompanyNamed(ctx context.Context, actor *Actor, p Permission, nameOrID string) (Company, error) {
	none := &event.Error{Code: event.CodeNotFound, Field: "company", Message: "there is no such company"}
	c, err := scanCompany(s.db.QueryRow(ctx, selectCompany+` WHERE name_key = ?`, nameKey(strings.ToValidUTF8(nameOrID, "\uFFFD"))).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		id, parseErr := strconv.ParseUint(strings.TrimSpace(nameOrID), 10, 31)
		if parseErr != nil {
			return Company{}, none
		}
		c, err = scanCompany(s.db.QueryRow(ctx, selectCompany+` WHERE id = ?`, id).Scan)
	}
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
