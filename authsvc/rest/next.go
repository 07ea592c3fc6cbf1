package rest

import (
	"net/url"
	"strings"
)

// LocalPath is where a browser is sent after signing in: next where it is a path of this server, else "/". Browsers read "//host",
// "/\host" and control characters in ways of their own, so what is not plainly a path is not taken.
func LocalPath(next string) string {
	const home = "/"
	if len(next) == 0 || len(next) > 2048 || next[0] != '/' {
		return home
	}
	for _, c := range []byte(next) {
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return home
		}
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || strings.HasPrefix(next, "//") {
		return home
	}
	// Escapes that become "//" or "/\" once somebody on the way undoes them.
	if strings.HasPrefix(u.Path, "//") || strings.ContainsAny(u.Path, "\\\r\n\t\x00") || strings.Contains(u.Path, "/../") || strings.HasSuffix(u.Path, "/..") || strings.HasPrefix(u.Path, "/./") {
		return home
	}
	return next
}
