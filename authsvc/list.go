package authsvc

import "strings"

// addReach limits a list to companies where the actor has p: to one that is named, else to all of them, of which an operator may have
// none. Whose role has p nowhere gets the error of Require.
func (f *filter) addReach(actor *Actor, p Permission, column string, company uint32) error {
	if company != 0 {
		f.add(column+" = ?", company)
		return actor.Require(p, company)
	}
	everywhere, companies := actor.ReachOf(p)
	row := rowOf(p)
	if !everywhere && len(companies) == 0 && (actor.Stage != StageDone || row.reach(actor.Role) == Never || !actor.Scopes.Has(row.Scope)) {
		return actor.Require(p, 0)
	}
	f.addWithin(actor, p, column)
	return nil
}

// addAnyCase lets through the rows of which one of the columns contains the text. Letters of ASCII match in either case everywhere;
// others do where the database folds them, and else as they are written.
func (f *filter) addAnyCase(text string, columns ...string) {
	if text == "" {
		return
	}
	var any filter
	any.addText(text, columns...)
	folded := make([]string, len(columns))
	for i, column := range columns {
		folded[i] = "LOWER(" + column + ")"
	}
	any.addText(strings.ToLower(text), folded...)
	f.add("("+strings.Join(any.terms, " OR ")+")", any.args...)
}
