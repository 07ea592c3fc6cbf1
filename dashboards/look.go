package dashboards

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"gatehouse/authsvc"
)

//go:embed templates
var templateFiles embed.FS

// looks are the templates of all pages, by name.
type looks struct {
	byName map[string]*template.Template
	names  *strings.Replacer // of files, by their versioned names
}

// newLooks reads the templates: layout.html and form.html, which all pages share, with each of the others.
func newLooks() *looks {
	files, err := load(web)
	if err != nil {
		panic("BUG: " + err.Error()) // the files are part of the binary
	}
	var pairs []string
	for name, f := range files {
		if !f.versioned && strings.HasPrefix(name, "/assets/") {
			pairs = append(pairs, name, versionedName(name, f.body))
		}
	}
	l := &looks{byName: map[string]*template.Template{}, names: strings.NewReplacer(pairs...)}
	shared := template.New("shared").Funcs(template.FuncMap{
		"asset": l.names.Replace, "sentence": sentence, "when": when, "moment": moment,
	})
	shared = template.Must(shared.ParseFS(templateFiles, "templates/layout.html", "templates/form.html"))
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".html")
		if name != "layout" && name != "form" {
			l.byName[name] = template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, "templates/"+e.Name()))
		}
	}
	return l
}

// view is what a template sees.
type view struct {
	Base   string // before every path of ours
	Title  string
	Who    string // username of who is signed in to the end; empty: nobody
	Leave  form   // for signing out; without a button there is nobody to sign out
	CSRF   string // for scripts
	Notice string // what was done
	Page   any
}

// show answers with a page. What it shows is asked for once the session is certain, by which its forms are made.
func (v *visit) show(name, title string, page func() any) error {
	csrf, err := v.CSRF()
	if err != nil {
		return err
	}
	seen := view{Base: v.base(), Title: title, CSRF: csrf, Notice: notice(v.r.URL.Query().Get("done")), Page: page()}
	if actor := v.Actor(); actor.Stage != authsvc.StageNobody {
		seen.Leave = v.filled(form{Name: "leave", Action: "/logout", Button: "Sign out", Quiet: true})
		if actor.Stage == authsvc.StageDone {
			seen.Who = actor.Name
		}
	}
	var text bytes.Buffer
	if err := v.pages.looks.byName[name].ExecuteTemplate(&text, "layout", seen); err != nil {
		return fmt.Errorf("BUG: page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.status == 0 {
		v.status = http.StatusOK
	}
	v.w.WriteHeader(v.status)
	_, _ = text.WriteTo(v.w) // else the client is gone
	return nil
}

// notice is what a page says after something was done, by the word in its address; empty for any other word.
func notice(done string) string {
	switch done {
	case "name":
		return "Your name is changed."
	case "password":
		return "Your password is changed. Your other sessions, the programs that were signed in for you and your personal tokens have ended."
	case "linked":
		return "Your account is linked. From now on you sign in with the identity provider."
	case "unlinked":
		return "The identity is unlinked. Your other sessions, and the programs that were signed in for you, have ended."
	case "app":
		return "The authenticator app is set up."
	case "no-app":
		return "The authenticator app is removed."
	case "passkey":
		return "The passkey is added."
	case "no-key":
		return "The passkey is removed."
	case "session":
		return "The session has ended."
	case "sessions":
		return "Your other sessions, and the programs that were signed in for you, have ended."
	case "no-token":
		return "The token is revoked."
	case "program":
		return "The program is signed out."
	case "signedout":
		return "You are signed out."
	}
	return ""
}

// sentence makes a message, which begins in lower case as errors do, a sentence.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

// when is a time for people.
func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2 Jan 2006, 15:04") + " UTC"
}

// moment is a time for programs.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }
