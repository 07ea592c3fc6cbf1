// Package edge is the first thing that a request from the network meets, and the last that an answer passes. It tells who the
// client is (behind proxies too), gives each request an id, refuses names that are not ours, adds the headers that browsers
// are protected by, and turns a panic into an answer that says nothing but that id.
//
// What is behind it reads the client's address from RemoteAddr, the name from Host, and the rest from the context; no other
// header about forwarding reaches it. Who may do what is not the edge's business.
package edge

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/logctx"
)

// Options of [New]. The zero value trusts nobody, takes every name and sends no HSTS.
type Options struct {
	Proxies Proxies
	// Hosts are the names that we answer to; see [Hosts].
	Hosts Hosts
	// HSTS gives the header Strict-Transport-Security for requests that came by HTTPS; nil: none. It is asked each
	// time, as the certificate may change; answers share the slice.
	HSTS func() []string
	// Lean tells requests whose answers no browser ever shows: those of agents that send events, thousands a second. They get
	// of the headers for browsers only those that keep an answer from being used as something else. nil: none.
	Lean func(*http.Request) bool
	// Random gives the ids of requests; nil: random ones. They need not be secret.
	Random func() uint64
	Log    *slog.Logger // nil: none
}

// Edge makes middleware. Its methods may be called concurrently.
type Edge struct {
	proxies Proxies
	hosts   Hosts
	hsts    func() []string
	lean    func(*http.Request) bool
	random  func() uint64
	log     *slog.Logger
}

// New makes an Edge.
func New(o Options) *Edge {
	e := &Edge{proxies: o.Proxies, hosts: o.Hosts, hsts: o.HSTS, lean: o.Lean, random: o.Random, log: o.Log}
	if e.hsts == nil {
		e.hsts = func() []string { return nil }
	}
	if e.lean == nil {
		e.lean = func(*http.Request) bool { return false }
	}
	if e.random == nil {
		e.random = rand.Uint64
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	return e
}

// Handler gives next requests as described for the package. next may set each header of an answer anew.
func (e *Edge) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{ResponseWriter: w, ctx: requestContext{Context: r.Context()}}
		info := &x.ctx.info
		ok := e.identify(r, info)
		x.ctx.log.Set(logctx.Fields{RequestID: info.RequestID, Address: info.Addr})
		h := w.Header()
		h["X-Request-Id"] = []string{info.RequestID}
		setLean(h, info, e.hsts)
		if !e.lean(r) {
			setHeaders(h)
		}
		r = r.WithContext(&x.ctx)
		if info.Addr != info.Peer {
			r.RemoteAddr = info.remote()
		}
		r.Host = info.Host
		defer e.recover(x, r)
		switch {
		case !ok:
			Fail(x, r, http.StatusBadRequest, "invalid", "the name in the address is not one that can be; check the address")
		case !e.hosts.allow(info.Host) && !isProbe(r.URL.Path):
			Fail(x, r, http.StatusMisdirectedRequest, "misdirected", "this server does not go by the name in the address; use the name that you were given (administrators: [security] allowed_hosts)")
		default:
			next.ServeHTTP(x, r)
		}
		if e.log.Enabled(r.Context(), slog.LevelDebug) {
			e.log.LogAttrs(r.Context(), slog.LevelDebug, "request", append(x.attrs(r), slog.Int("status", x.status))...)
		}
	})
}

// isProbe tells the paths that load balancers ask by address. They say nothing but that we live.
func isProbe(path string) bool { return path == "/healthz" || path == "/readyz" }

// identify fills info, and takes away from r what only a trusted proxy may say. It is false for a Host that no browser
// would send.
func (e *Edge) identify(r *http.Request, info *Info) (ok bool) {
	info.Peer = parsePeer(r.RemoteAddr)
	info.Addr, info.Scheme, info.Host = info.Peer, "http", r.Host
	if r.TLS != nil {
		info.Scheme = "https"
	}
	forwarded := takeForwarding(r.Header)
	info.Forwarded = forwarded.any
	if len(e.proxies.Trusted) > 0 && e.proxies.Hops > 0 && e.proxies.trusts(info.Peer) {
		e.proxies.read(&forwarded, info)
	}
	if info.RequestID == "" {
		info.RequestID = e.newID()
	}
	return validHost(info.Host)
}

func (e *Edge) newID() string {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], e.random())
	var text [16]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// parsePeer is the address in RemoteAddr; the zero Addr for anything but TCP.
func parsePeer(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// exchange is one request under way: the writer that next sees. It remembers whether anything was sent.
type exchange struct {
	http.ResponseWriter
	ctx    requestContext
	status int // of the answer, 0 before it has begun
}

// WriteHeader begins the answer.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= http.StatusOK { // those below announce another
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the answer.
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	return x.ResponseWriter.Write(p)
}

// Flush sends what is buffered.
func (x *exchange) Flush() {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	_ = http.NewResponseController(x.ResponseWriter).Flush() // all that it can say is that there is no buffer
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// attrs are what a log says of a request; never its parameters, which may hold secrets.
func (x *exchange) attrs(r *http.Request) []slog.Attr {
	return append(logctx.From(r.Context()).Attrs(), slog.String("method", r.Method), slog.String("path", r.URL.Path))
}

// recover answers for a handler that panicked. Deferred.
func (e *Edge) recover(x *exchange, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v) // the handler's way to cut the connection
	}
	e.log.LogAttrs(r.Context(), slog.LevelError, "BUG: a handler panicked",
		append(x.attrs(r), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))...)
	if x.status != 0 {
		panic(http.ErrAbortHandler) // nobody may take the half for the whole
	}
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Disposition", "Etag", "Last-Modified"} {
		x.Header().Del(name)
	}
	Fail(x, r, http.StatusInternalServerError, "internal", "something went wrong on our side; tell your administrator the request id")
}

// HSTSHeader is the value of Strict-Transport-Security, for [Options].
func HSTSHeader(maxAge time.Duration, subdomains bool) []string {
	v := "max-age=" + strconv.FormatInt(int64(maxAge/time.Second), 10)
	if subdomains {
		v += "; includeSubDomains"
	}
	return []string{v}
}

// CloseAfter has the server answer r at once and close the connection, where it would read the rest of the body before it answers. HTTP/2 need not be told:
// there it ends the one stream, and would take this for the end of the connection, at which clients may drop the answer.
func CloseAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// LimitBody refuses request bodies of more than limit bytes to next, but for those that except tells, which see to it
// themselves.
func LimitBody(next http.Handler, limit int64, except func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody || except(r) {
			next.ServeHTTP(w, r)
			return
		}
		if r.ContentLength > limit {
			CloseAfter(w, r)
			Fail(w, r, http.StatusRequestEntityTooLarge, "too_large", "the request is larger than "+strconv.FormatInt(limit>>10, 10)+" KiB; send less")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}

// WantsPage tells whether whoever asks is a person with a browser: then an error is a page. Under /api/ that is so only where the browser
// itself says that it is to show the answer, as when an identity provider sends somebody back.
func WantsPage(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Dest") == "document" {
		return true
	}
	path := r.URL.Path
	return path != "/api" && !strings.HasPrefix(path, "/api/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}
