package authsvc

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"gatehouse/event"
)

// How long a page of a list is. Beyond MaxPage a list is refused: one answer must not hold a server's memory.
const (
	DefaultPage = 50
	MaxPage     = 500
)

// maxCursor bounds what is decoded: the longest key that a cursor holds is a folded name.
const maxCursor = 4096

// Page is which part of a list is wanted.
type Page struct {
	Limit  int    // rows, 0 for DefaultPage
	Cursor string // Next of the page before, empty for the first page
	Total  bool   // count all rows that the filter lets through, which costs more than the page itself
}

// rows is the length of the page; a wrong one is a field error.
func (p Page) rows() (int, error) {
	switch {
	case p.Limit == 0:
		return DefaultPage, nil
	case p.Limit < 0 || p.Limit > MaxPage:
		return 0, event.FieldError("limit", "must be between 1 and %d", MaxPage)
	}
	return p.Limit, nil
}

// encodeCursor makes a cursor of the key of the last row of a page. kind says of which list and order it is, so that it cannot be
// used in another. It is opaque to clients, and no secret: it holds what its list has shown.
func encodeCursor(kind string, key ...string) string {
	text, err := json.Marshal(append([]string{kind}, key...))
	if err != nil {
		panic("BUG: a cursor of texts cannot be JSON: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// decodeCursor gives the n parts of a key back, nil for the first page, and a field error for what was not made by encodeCursor.
func decodeCursor(kind, cursor string, n int) ([]string, error) {
	if cursor == "" {
		return nil, nil
	}
	bad := event.FieldError("cursor", "is not one of this list: leave it out to begin anew")
	if len(cursor) > maxCursor {
		return nil, bad
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, bad
	}
	var parts []string
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != n+1 || parts[0] != kind {
		return nil, bad
	}
	for _, p := range parts {
		if strings.ContainsRune(p, 0) { // PostgreSQL takes no NUL in a text
			return nil, bad
		}
	}
	return parts[1:], nil
}

// likeEscape is the character that likePattern escapes with: write LIKE ? ESCAPE '!'.
const likeEscape = "!"

var likeEscaper = strings.NewReplacer(likeEscape, likeEscape+likeEscape, "%", likeEscape+"%", "_", likeEscape+"_", "[", likeEscape+"[")

// likePattern is a LIKE pattern for columns that contain the text, in its folded form. SQL Server reads [ as the begin of a set.
func likePattern(text string) string { return "%" + likeEscaper.Replace(nameKey(text)) + "%" }

// conditions collects what a list's rows must fulfil; no value ever stands in the text.
type conditions struct {
	text []string
	args []any
}

func (c *conditions) add(text string, args ...any) {
	c.text = append(c.text, text)
	c.args = append(c.args, args...)
}

// where is the clause, empty without conditions.
func (c *conditions) where() string {
	if len(c.text) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.text, " AND ")
}

// within limits a column that holds a company's id to the companies where the actor may do p. It asks the memberships in the
// database rather than to list them: an operator may have thousands.
func (c *conditions) within(actor *Actor, p Permission, column string) {
	row := rowOf(p)
	switch {
	case actor.Stage != StageDone || !actor.Scopes.Has(row.Scope):
		c.add("1 = 0")
	case actor.Kind == ActorKey:
		if actor.Can(p, actor.Company) {
			c.add(column+" = ?", actor.Company)
		} else {
			c.add("1 = 0")
		}
	case row.reach(actor.Role) == Everywhere:
	default:
		names, args := actor.rolesWith(row)
		if len(args) == 0 {
			c.add("1 = 0")
			return
		}
		c.add(column+` IN (SELECT company_id FROM memberships WHERE user_id = ? AND role IN (`+names+`))`, append([]any{actor.ID}, args...)...)
	}
}

// rolesWith lists the roles that a membership of the actor must have for the permission to reach that company.
func (a *Actor) rolesWith(row *permissionRow) (marks string, args []any) {
	for _, r := range companyRoles {
		effective := (&Actor{Role: a.Role, Members: map[uint32]Role{1: r}}).RoleIn(1)
		if row.reach(effective) >= Companies {
			args = append(args, string(r))
		}
	}
	return placeholders(len(args)), args
}

// placeholders is n question marks for an IN list.
func placeholders(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
