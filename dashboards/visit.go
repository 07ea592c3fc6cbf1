package dashboards

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"gatehouse/authsvc"
	"gatehouse/authsvc/rest"
	"gatehouse/authsvc/websession"
	"gatehouse/event"
	"gatehouse/internal/edge"
)

// visit is one request for a page.
type visit struct {
	*rest.Visit
	pages *Pages
	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context //nolint:containedctx // of the request, which a visit is
	form  url.Values      // what was posted

	wrong  problem
	status int // of the answer, 0 for 200
}

// problem is what is wrong with what was given. The field is empty where it is the form as a whole.
type problem struct{ form, field, message string }

// validText tells whether all that was sent is text as databases take it.
func validText(values url.Values) bool {
	for name, list := range values {
		for _, text := range append(list, name) {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				return false
			}
		}
	}
	return true
}

// base is the path below which a proxy shows us.
func (v *visit) base() string { return edge.FromContext(v.ctx).Prefix }

// to sends the browser to a path of ours, to be asked for with GET.
func (v *visit) to(path string) error {
	http.Redirect(v.w, v.r, v.base()+path, http.StatusSeeOther)
	return nil
}

// goOn sends the visitor to what is next: what is missing of the sign-in, or where they wanted to go.
func (v *visit) goOn(stage authsvc.Stage) error {
	if place := placeOf(stage); place != "" {
		if next := v.r.URL.Path; stage == authsvc.StageNobody && v.r.Method == http.MethodGet && strings.HasPrefix(next, "/account") {
			place += "?next=" + url.QueryEscape(next)
		}
		return v.to(place)
	}
	values := v.Session().Values
	next := rest.LocalPath(values[websession.NextPage])
	if asked := v.r.URL.Query().Get("next"); asked != "" && v.r.URL.Path == placeOf(authsvc.StageNobody) {
		next = rest.LocalPath(asked) // a link for somebody who is signed in already
	}
	if _, kept := values[websession.NextPage]; kept {
		delete(values, websession.NextPage)
		if err := v.Keep(); err != nil {
			return err
		}
	}
	return v.to(next)
}

// again shows a form once more with what is wrong with it. What is not the visitor's to mend is returned. A problem with a field that the form does not
// have is the whole form's.
func (v *visit) again(f form, err error, show func(*visit) error) error {
	if errors.Is(err, authsvc.ErrNoSession) {
		return v.to(placeOf(authsvc.StageNobody)) // it ended at this moment
	}
	code := event.ErrorCode(err)
	switch code {
	case event.CodeInvalid, event.CodeUnauthorized, event.CodeForbidden, event.CodeNotFound, event.CodeConflict, event.CodeRateLimited:
	default:
		return err
	}
	name := ""
	if e, ok := errors.AsType[*event.Error](err); ok && f.has(e.Field) {
		name = e.Field
	}
	v.pages.api.Refused(v.r, err)
	v.wrong = problem{f.Name, name, event.ErrorMessage(err)}
	v.status = code.Status()
	limited(v.w, err)
	return show(v)
}
