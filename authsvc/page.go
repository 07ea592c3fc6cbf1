package authsvc

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"gatehouse/event"
	"gatehouse/internal/reldb"
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

// size is the length of the page; a wrong one is a field error.
func (p Page) size() (int, error) {
	switch {
	case p.Limit == 0:
		return DefaultPage, nil
	case p.Limit < 0 || p.Limit > MaxPage:
		return 0, event.FieldError("limit", "must be between 1 and %d", MaxPage)
	}
	return p.Limit, nil
}

// cursorOf makes a cursor of the key of the last row of a page. name says of which list and order it is, so that it cannot be
// used in another. It is opaque to clients, and no secret: it holds what its list has shown.
func cursorOf(name string, key ...string) string {
	text, err := json.Marshal(append([]string{name}, key...))
	if err != nil {
		panic("BUG: a cursor of texts cannot be JSON: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func badCursor() error {
	return event.FieldError("cursor", "is not one of this list: leave it out to begin anew")
}

// after gives back the n parts of the key behind which the page begins, nil for the first page, and a field error for what was not
// made by cursorOf for this list.
func (p Page) after(name string, n int) ([]string, error) {
	if p.Cursor == "" {
		return nil, nil
	}
	if len(p.Cursor) > maxCursor {
		return nil, badCursor()
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(p.Cursor)
	if err != nil {
		return nil, badCursor()
	}
	var parts []string
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != n+1 || parts[0] != name {
		return nil, badCursor()
	}
	for _, part := range parts {
		if strings.ContainsRune(part, 0) { // PostgreSQL takes no NUL in a text
			return nil, badCursor()
		}
	}
	return parts[1:], nil
}

// searchRows is how many rows one page of a search by text looks at: such a search has no index, and must not hold a processor for as long as it takes
// to look through all that was ever written. A page that ends there has fewer rows than were asked for, or none, and the cursor to go on with.
const searchRows = 10_000

// searched bounds a page of a list by descending numbers to the next searchRows of them. span gives the first and last number that there are. below is
// the number beneath which the next page goes on; 0: this one looks at all that is left.
func searched(f *filter, column string, before int64, span func() (first, last int64, err error)) (below int64, err error) {
	first, last, err := span()
	if err != nil {
		return 0, err
	}
	if before == 0 || before > last {
		before = last + 1
	}
	if below = before - searchRows; below <= first {
		return 0, nil
	}
	f.add(column+" >= ?", below)
	return below, nil
}

// maxID is the largest id that the INTEGER columns hold. PostgreSQL refuses to compare them with more.
const maxID = math.MaxInt32

// afterID is after for lists in the order of a number, which counts up from 1 and to last at most; 0 for the first page.
func (p Page) afterID(name string, last int64) (int64, error) {
	key, err := p.after(name, 1)
	if err != nil || key == nil {
		return 0, err
	}
	id, err := strconv.ParseInt(key[0], 10, 64)
	if err != nil || id < 1 || id > last {
		return 0, badCursor()
	}
	return id, nil
}

// Part says which of n rows of a list that is held whole make the page: those from the first to before the last. Such pages are counted, so that rows may move
// between them when the list changes meanwhile.
func (p Page) Part(name string, n int) (first, last int, next string, err error) {
	limit, err := p.size()
	if err != nil {
		return 0, 0, "", err
	}
	skip, err := p.afterID(name, math.MaxInt)
	if err != nil {
		return 0, 0, "", err
	}
	first = int(min(skip, int64(n)))
	if last = min(first+limit, n); last < n {
		next = cursorOf(name, strconv.Itoa(last))
	}
	return first, last, next, nil
}

// likeEscape is the character that patterns are escaped with.
const likeEscape = "!"

// SQL Server reads [ as the begin of a set.
var likeEscaper = strings.NewReplacer(likeEscape, likeEscape+likeEscape, "%", likeEscape+"%", "_", likeEscape+"_", "[", likeEscape+"[")

// filter collects what a list's rows must fulfil; no value ever stands in the text.
type filter struct {
	terms []string
	args  []any
}

func (f *filter) add(term string, args ...any) {
	f.terms = append(f.terms, term)
	f.args = append(f.args, args...)
}

// addNothing lets no row through.
func (f *filter) addNothing() { f.add("1 = 0") }

// addText lets through the rows of which one of the columns contains the text as it is written.
func (f *filter) addText(text string, columns ...string) {
	f.addLike("%"+likeEscaper.Replace(withoutNUL(text))+"%", columns)
}

// addFolded is addText for columns that hold the folded form of a name (nameKey).
func (f *filter) addFolded(text string, columns ...string) { f.addText(nameKey(text), columns...) }

// addPrefix lets through the rows whose column begins with the text.
func (f *filter) addPrefix(column, text string) {
	f.addLike(likeEscaper.Replace(withoutNUL(text))+"%", []string{column})
}

func (f *filter) addLike(pattern string, columns []string) {
	var any filter
	for _, column := range columns {
		any.add(column+" LIKE ? ESCAPE '"+likeEscape+"'", pattern)
	}
	f.add("("+strings.Join(any.terms, " OR ")+")", any.args...)
}

// withoutNUL makes a text that every database takes; no stored text holds a NUL, so one that does is still not found.
func withoutNUL(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// where is the clause, empty without terms.
func (f *filter) where() string {
	if len(f.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.terms, " AND ")
}

// addWithin limits a column that holds a company's id to the companies where the actor may do p. It asks the memberships in the
// database rather than to list them: an operator may have thousands.
func (f *filter) addWithin(actor *Actor, p Permission, column string) {
	row := rowOf(p)
	switch {
	case actor.Stage != StageDone || !actor.Scopes.Has(row.Scope):
		f.addNothing()
	case actor.Kind == ActorKey:
		if !actor.Can(p, actor.Company) {
			f.addNothing()
			return
		}
		f.add(column+" = ?", actor.Company)
	case row.reach(actor.Role) == Everywhere:
	default:
		roles := actor.rolesWith(row)
		if len(roles) == 0 {
			f.addNothing()
			return
		}
		f.add(column+` IN (SELECT company_id FROM memberships WHERE user_id = ? AND role IN (`+reldb.Marks(len(roles))+`))`, append([]any{actor.ID}, roles...)...)
	}
}

// rolesWith lists the roles that a membership of the actor must have for the permission to reach that company.
func (a *Actor) rolesWith(row *permissionRow) (list []any) {
	for _, r := range companyRoles {
		effective := (&Actor{Role: a.Role, Members: map[uint32]Role{1: r}}).RoleIn(1)
		if row.reach(effective) >= Companies {
			list = append(list, string(r))
		}
	}
	return list
}

// firstRows ends an ordered SELECT so that it gives n rows at most.
func firstRows(d reldb.Dialect, n int) string {
	if d == reldb.SQLServer {
		return " OFFSET 0 ROWS FETCH NEXT " + strconv.Itoa(n) + " ROWS ONLY"
	}
	return " LIMIT " + strconv.Itoa(n)
}
