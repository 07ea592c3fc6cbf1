package edge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func nets(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// seen is what a handler behind the edge sees of a request.
type seen struct {
	info   Info
	remote string
	host   string
	header http.Header
}

func pass(t testing.TB, o Options, peer string, header http.Header) (seen, *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", http.NoBody)
	r.RemoteAddr, r.Host, r.Header = peer, "gate.example.org", header
	var s seen
	w := httptest.NewRecorder()
	New(o).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s = seen{FromContext(r.Context()), r.RemoteAddr, r.Host, r.Header}
	})).ServeHTTP(w, r)
	return s, w
}

var allHeaders = Proxies{Trusted: nets("10.0.0.0/8", "fd00::/8"), Hops: 2, For: true, Proto: true, Host: true, Port: true, Prefix: true}

func with(change func(*Proxies)) Proxies {
	p := allHeaders
	change(&p)
	return p
}

func TestProxies(t *testing.T) {
	t.Parallel()
	xff := func(values ...string) http.Header { return http.Header{"X-Forwarded-For": values} }
	for name, c := range map[string]struct {
		proxies Proxies
		peer    string
		header  http.Header
		want    string // remote address, then BaseURL
	}{
		"no proxy":                {allHeaders, "192.0.2.1:5", xff("198.51.100.1"), "192.0.2.1:5 http://gate.example.org"},
		"nobody is trusted":       {Proxies{Hops: 1, For: true}, "10.0.0.1:5", xff("198.51.100.1"), "10.0.0.1:5 http://gate.example.org"},
		"no hops":                 {with(func(p *Proxies) { p.Hops = 0 }), "10.0.0.1:5", xff("198.51.100.1"), "10.0.0.1:5 http://gate.example.org"},
		"one proxy":               {allHeaders, "10.0.0.1:5", xff("198.51.100.1"), "198.51.100.1:0 http://gate.example.org"},
		"mapped peer":             {allHeaders, "[::ffff:10.0.0.1]:5", xff("198.51.100.1"), "198.51.100.1:0 http://gate.example.org"},
		"with a port":             {allHeaders, "10.0.0.1:5", xff("198.51.100.1:4711"), "198.51.100.1:4711 http://gate.example.org"},
		"IPv6":                    {allHeaders, "[fd00::1]:5", xff("2001:db8::7"), "[2001:db8::7]:0 http://gate.example.org"},
		"IPv6 in brackets":        {allHeaders, "10.0.0.1:5", xff("[2001:db8::7]"), "[2001:db8::7]:0 http://gate.example.org"},
		"IPv6 with a port":        {allHeaders, "10.0.0.1:5", xff("[2001:db8::7]:80"), "[2001:db8::7]:80 http://gate.example.org"},
		"mapped client":           {allHeaders, "10.0.0.1:5", xff("::ffff:198.51.100.1"), "198.51.100.1:0 http://gate.example.org"},
		"client's own claim":      {allHeaders, "10.0.0.1:5", xff("203.0.113.66, 198.51.100.1"), "198.51.100.1:0 http://gate.example.org"},
		"claim in another header": {allHeaders, "10.0.0.1:5", xff("203.0.113.66", "198.51.100.1"), "198.51.100.1:0 http://gate.example.org"},
		"two proxies":             {allHeaders, "10.0.0.1:5", xff("203.0.113.66, 198.51.100.1,10.0.0.2"), "198.51.100.1:0 http://gate.example.org"},
		"claims to be a proxy":    {allHeaders, "10.0.0.1:5", xff("203.0.113.66, 10.9.9.9, 10.0.0.2"), "10.9.9.9:0 http://gate.example.org"},
		"one hop only":            {with(func(p *Proxies) { p.Hops = 1 }), "10.0.0.1:5", xff("198.51.100.1, 10.0.0.2"), "10.0.0.2:0 http://gate.example.org"},
		"fewer than hops":         {allHeaders, "10.0.0.1:5", xff("10.0.0.2"), "10.0.0.2:0 http://gate.example.org"},
		"not an address":          {allHeaders, "10.0.0.1:5", xff("unknown"), "10.0.0.1:5 http://gate.example.org"},
		"not one on the left":     {allHeaders, "10.0.0.1:5", xff("_hidden, 10.0.0.2"), "10.0.0.2:0 http://gate.example.org"},
		"empty":                   {allHeaders, "10.0.0.1:5", xff(""), "10.0.0.1:5 http://gate.example.org"},
		"for is off":              {with(func(p *Proxies) { p.For = false }), "10.0.0.1:5", xff("198.51.100.1"), "10.0.0.1:5 http://gate.example.org"},
		"all": {
			allHeaders, "10.0.0.1:5",
			http.Header{"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"logons.example.net"}, "X-Forwarded-Port": {"8443"}, "X-Forwarded-Prefix": {"/gate/"}},
			"198.51.100.1:0 https://logons.example.net:8443/gate",
		},
		"all, of two": {
			allHeaders, "10.0.0.1:5",
			http.Header{"X-Forwarded-For": {"198.51.100.1, 10.0.0.2"}, "X-Forwarded-Proto": {"http, https, http"}, "X-Forwarded-Host": {"evil.example, logons.example.net, inner"}, "X-Forwarded-Port": {"1, 443, 80"}, "X-Forwarded-Prefix": {"/evil, /gate, /in"}},
			"198.51.100.1:0 https://logons.example.net/gate",
		},
		"all are off": {
			Proxies{Trusted: nets("10.0.0.0/8"), Hops: 1},
			"10.0.0.1:5",
			http.Header{"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"logons.example.net"}, "X-Forwarded-Port": {"8443"}, "X-Forwarded-Prefix": {"/gate"}},
			"10.0.0.1:5 http://gate.example.org",
		},
		"all, not trusted": {
			allHeaders, "192.0.2.1:5",
			http.Header{"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Port": {"8443"}, "X-Forwarded-Prefix": {"/gate"}, "X-Real-Ip": {"1.2.3.4"}, "Forwarded": {"for=1.2.3.4"}},
			"192.0.2.1:5 http://gate.example.org",
		},
		"nonsense": {
			allHeaders, "10.0.0.1:5",
			http.Header{"X-Forwarded-Proto": {"gopher"}, "X-Forwarded-Host": {"a/b"}, "X-Forwarded-Port": {"99999"}, "X-Forwarded-Prefix": {"//evil.example"}},
			"10.0.0.1:5 http://gate.example.org",
		},
		"host with a port": {allHeaders, "10.0.0.1:5", http.Header{"X-Forwarded-Host": {"a.example:81"}, "X-Forwarded-Port": {"82"}}, "10.0.0.1:5 http://a.example:81"},
		"websocket":        {allHeaders, "10.0.0.1:5", http.Header{"X-Forwarded-Proto": {"WSS"}}, "10.0.0.1:5 https://gate.example.org"},
		"IPv6 host":        {allHeaders, "10.0.0.1:5", http.Header{"X-Forwarded-Host": {"[2001:db8::1]"}, "X-Forwarded-Port": {"82"}}, "10.0.0.1:5 http://[2001:db8::1]:82"},
	} {
		claims := len(c.header) > 0
		s, w := pass(t, Options{Proxies: c.proxies}, c.peer, c.header)
		if got := s.remote + " " + s.info.BaseURL(); got != c.want || w.Code != 200 {
			t.Errorf("%s: %s (%d), want %s", name, got, w.Code, c.want)
		}
		if s.host != s.info.Host || s.info.Addr != parsePeer(s.remote) {
			t.Errorf("%s: the request says %s %s, the context %+v", name, s.remote, s.host, s.info)
		}
		for header := range s.header {
			if strings.HasPrefix(header, "X-") || header == "Forwarded" {
				t.Errorf("%s: %s went through", name, header)
			}
		}
		if s.info.Forwarded != claims {
			t.Errorf("%s: forwarded is %v", name, s.info.Forwarded)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	n := uint64(0)
	o := Options{Proxies: allHeaders, Random: func() uint64 { n++; return n }}
	for _, c := range []struct{ peer, given, want string }{
		{"10.0.0.1:5", "", "0000000000000001"},
		{"10.0.0.1:5", "7f3c-a.b:c_D", "7f3c-a.b:c_D"},
		{"192.0.2.1:5", "7f3c", "0000000000000002"},
		{"10.0.0.1:5", "a b", "0000000000000003"},
		{"10.0.0.1:5", "<script>", "0000000000000004"},
		{"10.0.0.1:5", strings.Repeat("a", 65), "0000000000000005"},
	} {
		h := http.Header{}
		if c.given != "" {
			h.Set("X-Request-Id", c.given)
		}
		s, w := pass(t, o, c.peer, h)
		if s.info.RequestID != c.want || w.Header().Get("X-Request-Id") != c.want {
			t.Errorf("%s with %q: %q, told %q, want %q", c.peer, c.given, s.info.RequestID, w.Header().Get("X-Request-Id"), c.want)
		}
	}
	a, _ := pass(t, Options{}, "192.0.2.1:5", http.Header{})
	b, _ := pass(t, Options{}, "192.0.2.1:5", http.Header{})
	if a.info.RequestID == b.info.RequestID || len(a.info.RequestID) != 16 {
		t.Errorf("ids %q and %q", a.info.RequestID, b.info.RequestID)
	}
}

// genHeaders draws headers as an attacker would write them.
func genHeaders(t *rapid.T) http.Header {
	entry := rapid.OneOf(rapid.SampledFrom([]string{"", "10.0.0.2", "10.9.9.9", "127.0.0.1", "::1", "198.51.100.1", "[2001:db8::7]:80", "unknown", "_x", "0.0.0.0", "10.0.0.2:80", "fd00::2", "fe80::1%eth0", ",", " "}), rapid.String())
	names := append([]string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix"}, "X-Real-Ip", "Forwarded", "X-Request-Id", "True-Client-Ip", "X-Forwarded-Server", "Via")
	h := http.Header{}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, "names") {
		for _, list := range rapid.SliceOfN(rapid.SliceOf(entry), 1, 3).Draw(t, name) {
			h[name] = append(h[name], strings.Join(list, ","))
		}
	}
	return h
}

// TestUntrustedChoosesNothing: whatever somebody sends who is no trusted proxy, what we take from it is the same as from no
// headers at all.
func TestUntrustedChoosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		proxies := with(func(p *Proxies) {
			p.Hops = rapid.IntRange(0, 16).Draw(rt, "hops")
			p.For, p.Prefix = rapid.Bool().Draw(rt, "for"), rapid.Bool().Draw(rt, "prefix")
		})
		peer := rapid.SampledFrom([]string{"192.0.2.1:5", "[2001:db8::1]:5", "127.0.0.1:5", "11.0.0.1:5", "@", ""}).Draw(rt, "peer")
		o := Options{Proxies: proxies, Random: func() uint64 { return 1 }}
		plain, _ := pass(t, o, peer, http.Header{})
		got, _ := pass(t, o, peer, genHeaders(rt))
		got.info.Forwarded = false
		delete(got.header, "Via")
		if got.info != plain.info || got.remote != peer || got.host != plain.host || len(got.header) != 0 {
			rt.Fatalf("got %+v, want %+v", got, plain)
		}
	})
}

// TestClientIsTheLastStranger holds the walk against its definition: of the addresses that the proxies wrote, ours last, the
// client is the last that is no trusted proxy, but never more than Hops away.
func TestClientIsTheLastStranger(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		chain := rapid.SliceOfN(rapid.SampledFrom([]string{"10.0.0.2", "10.0.0.3", "198.51.100.1", "203.0.113.66", "2001:db8::7", "fd00::2", "garbage"}), 0, 6).Draw(rt, "chain")
		hops := rapid.IntRange(1, 5).Draw(rt, "hops")
		cuts := rapid.IntRange(0, len(chain)).Draw(rt, "cut") // some proxies add a header instead of to it
		h := http.Header{}
		for _, part := range [][]string{chain[:cuts], chain[cuts:]} {
			if len(part) > 0 {
				h["X-Forwarded-For"] = append(h["X-Forwarded-For"], strings.Join(part, rapid.SampledFrom([]string{",", ", "}).Draw(rt, "comma")))
			}
		}
		const peer = "10.0.0.1"
		want := peer
		for i := range hops {
			at := len(chain) - 1 - i
			if at < 0 || chain[at] == "garbage" {
				break
			}
			if want = chain[at]; !strings.HasPrefix(want, "10.") && !strings.HasPrefix(want, "fd") {
				break
			}
		}
		got, _ := pass(t, Options{Proxies: with(func(p *Proxies) { p.Hops = hops })}, peer+":5", h)
		if got.info.Addr != netip.MustParseAddr(want) {
			rt.Fatalf("%q with %d hops: %v, want %s", chain, hops, got.info.Addr, want)
		}
	})
}

func FuzzForwarding(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.2", "https", "a.example:80", "443", "/gate", "id-1", uint8(2))
	f.Add("[2001:db8::7]:80,unknown,,", "http,wss", "[::1]:1", "0", "//x", "<", uint8(16))
	f.Add(strings.Repeat(",", 1000), "\x00", "..", "-1", "/../", "\r\n", uint8(1))
	f.Fuzz(func(t *testing.T, xff, proto, host, port, prefix, id string, hops uint8) {
		h := http.Header{"X-Forwarded-For": {xff}, "X-Forwarded-Proto": {proto}, "X-Forwarded-Host": {host}, "X-Forwarded-Port": {port}, "X-Forwarded-Prefix": {prefix}, "X-Request-Id": {id}}
		o := Options{Proxies: with(func(p *Proxies) { p.Hops = 1 + int(hops%16) })}
		s, w := pass(t, o, "10.0.0.1:5", h)
		i := s.info
		if w.Code != 200 || !i.Addr.IsValid() || i.Addr.IsUnspecified() || i.Addr.Is4In6() || i.Addr.Zone() != "" || parsePeer(s.remote) != i.Addr {
			t.Errorf("address %v, remote %q, status %d", i.Addr, s.remote, w.Code)
		}
		if i.Scheme != "http" && i.Scheme != "https" || !validHost(i.Host) || i.Host == "" || !validID(i.RequestID) {
			t.Errorf("%+v", i)
		}
		if i.Prefix != "" && (!validPrefix(i.Prefix) || strings.HasSuffix(i.Prefix, "/")) {
			t.Errorf("prefix %q", i.Prefix)
		}
		if strings.ContainsAny(i.BaseURL(), " \r\n\"'<>\\") {
			t.Errorf("address %q", i.BaseURL())
		}
		if i.Addr != i.Peer && !strings.Contains(xff, "10.") && !strings.ContainsAny(xff, ".:") {
			t.Errorf("the address %v is not from %q", i.Addr, xff)
		}
		if s.remote != "10.0.0.1:5" && i.Addr == i.Peer {
			t.Error(fmt.Sprint("changed without need: ", s.remote))
		}
	})
}
