package edge

import (
	"net/http"
	"net/netip"
	"testing"
)

// sink is a writer that costs nothing.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// BenchmarkHandler is what the edge adds to a request as agents make it.
func BenchmarkHandler(b *testing.B) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	proxies := Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Hops: 1, For: true, Proto: true, Host: true, Port: true}
	for name, c := range map[string]struct {
		h     http.Handler
		extra map[string]string
	}{
		"none":    {answer, nil},
		"direct":  {New(Options{}).Handler(answer), nil},
		"lean":    {New(Options{Lean: func(r *http.Request) bool { return r.URL.Path == "/api/log_event" && r.Method == http.MethodPost }}).Handler(answer), nil},
		"proxied": {New(Options{Proxies: proxies}).Handler(answer), map[string]string{"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "logons.example.org", "X-Forwarded-Port": "443"}},
	} {
		b.Run(name, func(b *testing.B) {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://logons.example.org/api/log_event", http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			r.RemoteAddr = "10.1.2.3:50000"
			w := &sink{}
			b.ReportAllocs()
			for b.Loop() {
				w.h = make(http.Header)
				r.Header = http.Header{"Content-Type": {"application/json"}, "User-Agent": {"agent"}, "X-Api-Key": {"k"}, "Accept-Encoding": {"gzip"}}
				for k, v := range c.extra {
					r.Header[k] = []string{v}
				}
				c.h.ServeHTTP(w, r)
			}
		})
	}
}
