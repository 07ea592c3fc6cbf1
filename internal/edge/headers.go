package edge

import "net/http"

// The headers of every answer. Handlers of pages set a Content-Security-Policy of their own, which allows what the page needs;
// this one is for all that is no page: it allows nothing, so that an answer that a browser was tricked into showing does nothing.
//
// The slices are shared by all answers: net/http only reads them, and handlers replace values instead of changing them.
var (
	policy      = []string{"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
	frames      = []string{"DENY"}
	sniff       = []string{"nosniff"}
	referrer    = []string{"same-origin"} // "no-referrer" would have browsers send Origin: null with forms, which CSRF checks read
	permissions = []string{"accelerometer=(), autoplay=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=(), xr-spatial-tracking=()"}
	opener      = []string{"same-origin"}
	resource    = []string{"same-origin"}
	noStore     = []string{"no-store"} // handlers of files say what may be kept
)

// setLean sets what every answer has.
func setLean(h http.Header, info *Info, hsts func() []string) {
	h["X-Content-Type-Options"] = sniff
	h["Content-Security-Policy"] = policy
	if info.Scheme == "https" {
		if v := hsts(); v != nil {
			h["Strict-Transport-Security"] = v
		}
	}
}

// setHeaders sets what all answers have but those that no browser shows.
func setHeaders(h http.Header) {
	h["X-Frame-Options"] = frames
	h["Referrer-Policy"] = referrer
	h["Permissions-Policy"] = permissions
	h["Cross-Origin-Opener-Policy"] = opener
	h["Cross-Origin-Resource-Policy"] = resource
	h["Cache-Control"] = noStore
}
