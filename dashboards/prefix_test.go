package dashboards_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/net/html"

	"gatehouse/authsvc"
	"gatehouse/dashboards"
)

// TestBelowAPath has a proxy show everything below a path: whatever leads elsewhere would be lost.
func TestBelowAPath(t *testing.T) {
	t.Parallel()
	const base = "/gate-1"
	s := newSite(t, func(c *dashboards.PagesConfig) { c.Provider = "Sign in elsewhere" })
	s.person(t, "ada")
	s.below(t, base)
	b := s.browser(t)
	files := map[string]bool{}
	whole := func() {
		t.Helper()
		n := 0
		for _, at := range []string{"href", "src", "action", "data-next"} {
			for _, e := range find(b.doc, func(e *html.Node) bool { return strings.HasPrefix(attr(e, at), "/") }) {
				if n++; !strings.HasPrefix(attr(e, at), base+"/") {
					t.Errorf("%s leads to %s", b.path, attr(e, at))
				}
				if strings.HasPrefix(attr(e, at), base+"/assets/") {
					files[attr(e, at)] = true
				}
			}
		}
		for _, e := range find(b.doc, func(e *html.Node) bool { return attr(e, "data-csrf") != "" || e.Data == "html" && b.path == base+"/" }) {
			if attr(e, "data-base") != base {
				t.Errorf("%s tells its script the path %q", b.path, attr(e, "data-base"))
			}
		}
		if n < 5 {
			t.Errorf("%s has %d addresses: the test looks for the wrong thing", b.path, n)
		}
	}

	b.get(base+"/").want(base+"/", 200)
	whole()
	b.get(base+"/account").want(base+"/login?next=%2Faccount", 200)
	whole()
	b.send(base+"/login", "login", "ada", "password", good).want(base+"/account", 200)
	whole()

	// By the provider and back.
	s.idp.who = authsvc.Identity{Issuer: "https://id.example", Subject: "s-1", SignedIn: time.Now()}
	b.send(base + "/account/identities/link")
	whole()
	b.follow("Go on to the provider").want(base+"/account?done=linked", 200, "s-1")
	whole()
	b.send(base+"/logout").want(base+"/login?done=signedout", 200)
	b.follow("Sign in elsewhere").want(base+"/", 200)
	b.get(base+"/account").want(base+"/account", 200)

	for path := range files {
		if b.get(path); b.status != 200 {
			t.Errorf("%s: %d", path, b.status)
		}
	}
	if len(files) < 6 {
		t.Errorf("files %v: the test looks for the wrong thing", files)
	}
	// What scripts ask for and lead to begins with the path too.
	for path := range files {
		if !strings.HasSuffix(path, ".js") {
			continue
		}
		for _, line := range strings.Split(b.get(path).text, "\n") {
			if regexp.MustCompile(`(fetch|assign|replace|open)\(["'` + "`" + `]/|(href|src): ["'` + "`" + `]/|fetch\((path|request)`).MatchString(line) {
				t.Errorf("%s: %s", path, strings.TrimSpace(line))
			}
		}
	}
}

// TestViewerBelowAPath runs the viewer in a real browser, behind a proxy that shows it below a path.
func TestViewerBelowAPath(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	s := newSite(t)
	s.person(t, "ada", func(n *authsvc.NewUser) { n.Role = authsvc.RoleGlobalAdmin })
	s.below(t, "/gate-1")
	w := newWindow(t, s)
	w.run(chromedp.Navigate(s.url + "/gate-1/login"))
	w.run(chromedp.WaitVisible("#login-login", chromedp.ByQuery))
	w.fill("#login-login", "ada", "#login-password", good)
	w.press("form[action='/gate-1/login'] button")
	w.run(chromedp.WaitVisible("#sign-out", chromedp.ByQuery), chromedp.WaitReady("#company option", chromedp.ByQuery), chromedp.WaitReady("#report option", chromedp.ByQuery))
	w.press("#sign-out")
	w.run(chromedp.WaitVisible(".good", chromedp.ByQuery))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.complaints {
		t.Errorf("the browser complains: %s", c)
	}
}
