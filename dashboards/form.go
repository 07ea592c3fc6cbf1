package dashboards

import (
	"cmp"
	"slices"
	"strings"
)

// form is a form as it is shown: what its fields are is said in Go, what they look like in templates/form.html.
type form struct {
	Name   string // before the ids of its fields
	Action string // the path that it is sent to
	Button string
	About  string // what the button does, for screen readers, where the button's text alone does not say; may be empty
	Quiet  bool   // the button is not the page's main one
	Danger bool   // what it does cannot be undone
	Fields []field
	Hidden []hidden

	Username string // whose password the form sets, for password managers; empty where a field asks for it or no password is set

	// These are put in by visit.filled.
	CSRF    string
	Problem string
}

// field is one field of a form.
type field struct {
	Name, Label string
	Type        string // of the input; "select" and "checks" have Options
	Value       string
	Hint        string
	Rules       []string // what it must be
	Complete    string   // autocomplete, by which password managers know what it is
	Mode        string   // inputmode
	Optional    bool
	Focus       bool
	Long        int // maxlength, 0 for none
	Options     []option

	ID, Problem string
}

// oneTimeCode is the autocomplete of fields for a code of a second factor.
const oneTimeCode = "one-time-code"

// option is one thing to choose.
type option struct {
	Value, Label string
	Chosen       bool
}

// hidden is a value that goes along.
type hidden struct{ Name, Value string }

// has tells whether the form has a field of that name.
func (f *form) has(name string) bool {
	return slices.ContainsFunc(f.Fields, func(one field) bool { return one.Name == name })
}

// filled completes a form for the page: with the token by which it is taken, and, where it was sent and is shown again, with what was
// given and what is wrong with it. Passwords and codes, which count once, are not given back. Where the problem is the form's as a whole, the
// first empty field is the one to go on with.
func (v *visit) filled(f form) form {
	f.Action = v.base() + f.Action
	f.CSRF, _ = v.CSRF() // visit.show has asked before, and tells of the error
	mine := v.wrong.form == f.Name
	if mine && v.wrong.field == "" {
		f.Problem = v.wrong.message
	}
	f.Fields = slices.Clone(f.Fields)
	for i := range f.Fields {
		one := &f.Fields[i]
		one.ID, one.Type = f.Name+"-"+one.Name, cmp.Or(one.Type, "text")
		if !mine {
			continue
		}
		if one.Type != "password" && one.Complete != oneTimeCode {
			one.Value = v.form.Get(one.Name)
		}
		one.Options = slices.Clone(one.Options)
		for j := range one.Options {
			one.Options[j].Chosen = slices.Contains(v.form[one.Name], one.Options[j].Value)
		}
		if one.Focus = false; one.Name == v.wrong.field {
			one.Focus, one.Problem = true, v.wrong.message
		}
	}
	if f.Problem != "" {
		if i := slices.IndexFunc(f.Fields, func(one field) bool { return one.Value == "" && !one.Optional && len(one.Options) == 0 }); i >= 0 {
			f.Fields[i].Focus = true
		}
	}
	return f
}

// given is a field of what was posted, without space around it; for passwords, ask v.form.
func (v *visit) given(name string) string { return strings.TrimSpace(v.form.Get(name)) }
