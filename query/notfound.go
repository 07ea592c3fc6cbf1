package query

import (
	"net/http"
	"strings"

	"gatehouse/event"
)

// apiPrefix is where answers are for programs: errors too have the API's form there.
const apiPrefix = "/api/"

// NotFound answers for paths that nothing serves: under /api/ as every error of the
// API, elsewhere in plain text.
func (a *API) NotFound() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !ofAPI(req.URL.Path) {
			http.NotFound(w, req)
			return
		}
		a.fail(w, req, a.idOf(w, req), event.Errorf(event.CodeNotFound, "there is nothing at this path; %s describes what there is", OpenAPIPath))
	})
}

// MethodNotAllowed answers for methods that a path does not take. allowed gives those
// that it does take.
func (a *API) MethodNotAllowed(allowed func(*http.Request) []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		methods := strings.Join(allowed(req), ", ")
		w.Header().Set("Allow", methods)
		if !ofAPI(req.URL.Path) {
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		a.fail(w, req, a.idOf(w, req), event.Errorf(event.CodeMethod, "this path does not take %s; it takes %s", clip(req.Method), methods))
	})
}

func ofAPI(path string) bool { return strings.HasPrefix(path+"/", apiPrefix) }
