package edge

import (
	"net"
	"net/http"
	"path"
	"strings"
)

// isAPI tells the paths of programs, in every form that leads to one: //api/log_event and /x/../api/log_event are sent on to it.
func isAPI(p string) bool { return strings.HasPrefix(path.Clean("/"+p)+"/", "/api/") }

// Redirect sends plain HTTP to HTTPS at port, with the same path and parameters and the same method.
//
// Programs are not sent on: one that is set up with http:// by mistake would send its key in plain text each time and never notice. Everything
// under /api/ is refused with the reason.
//
// It goes to the name that was asked for only where known says that it is ours, and to fallback otherwise: a redirect to
// whatever name a request bears would let others use our address for theirs. With fallback "" such a request is refused.
func Redirect(port string, known func(host string) bool, fallback string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isAPI(r.URL.Path) {
			Fail(w, r, http.StatusForbidden, "forbidden", "this server speaks HTTPS: use https:// in the address. What was sent could be read on the way, so exchange the key or password that was in it")
			return
		}
		name, _ := splitHost(r.Host)
		switch {
		case name != "" && known(name):
		case fallback != "":
			name = fallback
		default:
			Fail(w, r, http.StatusMisdirectedRequest, "misdirected", "this server speaks HTTPS, and does not go by the name in the address; use https:// and the name that you were given")
			return
		}
		if port != "443" {
			name = net.JoinHostPort(name, port)
		} else if strings.Contains(name, ":") {
			name = "[" + name + "]"
		}
		uri := r.URL.RequestURI()
		if !strings.HasPrefix(uri, "/") { // OPTIONS *
			uri = "/"
		}
		w.Header().Set("Location", "https://"+name+FromContext(r.Context()).Prefix+uri)
		w.WriteHeader(http.StatusPermanentRedirect)
	})
}

// OnlyHTTPS gives next the requests that came by HTTPS, or of which nobody says how they came. Those of which a trusted proxy says that the client
// used plain HTTP are answered by redirect: whoever signed in over it would show their password and cookie on the way. Probes are let through.
func OnlyHTTPS(next, redirect http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i, ok := r.Context().Value(infoKey{}).(*Info); ok && i.Plain && !isProbe(r.URL.Path) {
			redirect.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
